//! What a message costs in CPU time, without asking the kernel for each.
//!
//! The thread's CPU clock is a system call. So a message is measured by the workers' clock ([`tsc`](super::tsc)), which is read
//! once per message: the end of one is the beginning of the next, what the worker does to find it included. Every 200 µs of such
//! time the thread's clock is asked after all, and what it says less (the thread was preempted) is taken off the message that was
//! running: the longest of the stretch, as a rule the one that was interrupted. A thread that sleeps often is not asked each time, so what
//! it does between messages may hide as much of a preemption: that of a millisecond, at most.

use std::sync::Arc;

use super::tsc::{stamp, thread_time};
use crate::timer::clock::Clock;

/// Measured time after which the thread's clock is asked.
const CORRECT_AFTER: u64 = 200_000;
/// Time after which it is asked before a sleep.
const SETTLE_AFTER: u64 = 1_000_000;

/// The clock of one worker.
pub(crate) struct CpuMeter {
    /// What time it is in a simulation.
    simulated: Option<Arc<dyn Clock>>,
    enabled: bool,
    last: u64,
    /// Time measured since the thread's clock was asked.
    measured: u64,
    /// What it said, and when.
    thread: u64,
    asked_at: u64,
}

impl CpuMeter {
    /// A meter for the calling thread; `enabled` is `profile`.
    pub(crate) fn new(enabled: bool) -> Self {
        let thread = if enabled { thread_time() } else { 0 };
        let now = stamp();
        Self { simulated: None, enabled, last: now, measured: 0, thread, asked_at: now }
    }

    /// A meter whose time is this clock's. It accounts nothing.
    pub(crate) fn simulated(clock: Arc<dyn Clock>) -> Self {
        let now = clock.nanos();
        Self { enabled: false, last: now, measured: 0, thread: 0, asked_at: now, simulated: Some(clock) }
    }

    #[inline]
    fn now(&self) -> u64 {
        match &self.simulated {
            None => stamp(),
            Some(clock) => clock.nanos(),
        }
    }

    /// The stamp of the last event.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// A message begins: the stamp, 0 when nothing is accounted.
    pub(crate) fn message_begins(&self) -> u64 {
        if self.enabled { self.last } else { 0 }
    }

    /// A message ended: its CPU time.
    pub(crate) fn message_ends(&mut self) -> u64 {
        let now = self.now();
        let mut took = now.saturating_sub(self.last);
        self.last = now;
        if !self.enabled {
            return 0;
        }
        self.measured += took;
        if self.measured >= CORRECT_AFTER {
            let thread = thread_time();
            took = took.saturating_sub(self.measured.saturating_sub(thread.saturating_sub(self.thread)));
            self.restart(thread);
        }
        took
    }

    /// The worker slept.
    pub(crate) fn wake(&mut self) {
        self.last = self.now();
    }

    /// The worker is about to sleep: what was measured so far is settled, unless that was done a moment ago.
    pub(crate) fn rest(&mut self) {
        if self.enabled && self.last.saturating_sub(self.asked_at) >= SETTLE_AFTER {
            // What the thread does between messages is nobody's; asked here so that it is not held against the next one.
            self.restart(thread_time());
        }
    }

    fn restart(&mut self, thread: u64) {
        self.thread = thread;
        self.asked_at = self.last;
        self.measured = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sleep_is_not_work_and_spinning_is() {
        let mut meter = CpuMeter::new(true);
        meter.wake();
        std::thread::sleep(Duration::from_millis(20));
        let slept = meter.message_ends();
        assert!(slept < 10_000_000, "{slept} ns");
        let until = stamp() + 5_000_000;
        while stamp() < until {}
        let spun = meter.message_ends();
        assert!((1..=50_000_000).contains(&spun), "{spun} ns");
    }

    #[test]
    fn a_meter_that_is_off_says_nothing() {
        let mut meter = CpuMeter::new(false);
        meter.wake();
        assert_eq!((meter.message_begins(), meter.message_ends()), (0, 0));
    }
}
