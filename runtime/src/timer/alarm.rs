//! What the timer's thread sleeps on: a timer of the kernel, which others may set while it sleeps.
//!
//! Setting it costs what waking a thread costs, and the thread sleeps on: it wakes once, when there is something to do.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime};

/// One timer.
pub(super) struct Alarm(OwnedFd);

impl Alarm {
    /// A timer that is not set.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?))
    }

    /// Rings after this time, and not when it was to ring before.
    pub(super) fn set(&self, after: Duration) {
        // Zero would stop it.
        let after = after.max(Duration::from_nanos(1));
        let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
        let value = Timespec { tv_sec: seconds, tv_nsec: after.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once).expect("a timer of ours takes any time");
    }

    /// Sleeps until it rings, or has rung since it was set. May end early, for no reason.
    pub(super) fn sleep(&self) {
        // Interrupted by a signal: the caller looks at the clock in any case.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn an_alarm_set_while_somebody_sleeps_ends_that_sleep() {
        let alarm = Alarm::new().unwrap();
        alarm.set(Duration::from_secs(3600));
        let began = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| alarm.sleep());
            alarm.set(Duration::from_millis(5));
        });
        assert!(began.elapsed() >= Duration::from_millis(5));
    }

    #[test]
    fn an_alarm_for_now_rings_and_one_for_ever_is_taken() {
        let alarm = Alarm::new().unwrap();
        alarm.set(Duration::MAX);
        alarm.set(Duration::ZERO);
        alarm.sleep();
    }
}
