//! What time it is: real, or whatever a test says.
//!
//! skynet's clock counts hundredths of a second since the process started, and begins at the hundredths that the wall clock
//! showed then: so `starttime + now / 100` is the wall clock, until somebody sets that.
//!
//! # From skynet
//! skynet_timer.c: systime, gettime, skynet_now → [`Clock`]. The clock is read when it is asked, never advanced by polling,
//! so there is no `time diff error`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds of a tick.
pub(crate) const NANOS_OF_TICK: u64 = 10_000_000;

/// A monotonic clock that knows when it was started.
pub trait Clock: Send + Sync {
    /// Nanoseconds: of the wall clock's second at start, plus what passed since.
    fn nanos(&self) -> u64;

    /// Nanoseconds of the clock that workers go by: cheaper to read, with another beginning.
    fn stamp(&self) -> u64;

    /// The wall clock's second at start.
    fn started(&self) -> u32;

    /// skynet's `now`, in ticks of 1/100 s.
    fn ticks(&self) -> u64 {
        self.nanos() / NANOS_OF_TICK
    }
}

/// The system's monotonic clock.
pub struct SystemClock {
    origin: Instant,
    offset: u64,
    started: u32,
}

impl SystemClock {
    /// A clock that starts now.
    pub fn start() -> Self {
        // A wall clock before 1970 reads as 1970.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { origin: Instant::now(), offset: u64::from(wall.subsec_nanos()), started: wall.as_secs() as u32 }
    }
}

impl Clock for SystemClock {
    fn nanos(&self) -> u64 {
        self.offset + self.origin.elapsed().as_nanos() as u64
    }

    fn stamp(&self) -> u64 {
        crate::sched::tsc::stamp()
    }

    fn started(&self) -> u32 {
        self.started
    }
}
