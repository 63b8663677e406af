//! What a worker counts about itself.

use skein_arena::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter with one writer: no locked instruction.
#[derive(Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    #[inline]
    pub(super) fn add(&self, by: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(by), Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The counters of one worker; written by its thread.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) turns: Count,
    pub(super) from_slot: Count,
    pub(super) from_injector: Count,
    pub(super) steals: Count,
    pub(super) slots_taken: Count,
    pub(super) wakes: Count,
    pub(super) woken: Count,
    pub(super) parks: Count,
    pub(super) contended: Count,
}

/// A snapshot of what one worker did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerCounters {
    /// Turns of services.
    pub turns: u64,
    /// Of these, services that the turn before had woken: taken from the next-slot.
    pub from_slot: u64,
    /// Times that services were fetched from the queue of other threads (timers, sockets).
    pub from_injector: u64,
    /// Times that services were taken from another worker's queue.
    pub steals: u64,
    /// Services taken from the next-slot of a worker whose turn was long.
    pub slots_taken: u64,
    /// Times that this worker woke another.
    pub wakes: u64,
    /// Times that somebody woke this worker.
    pub woken: u64,
    /// Times that it went to sleep.
    pub parks: u64,
    /// Operations on a queue that had to be tried again, because another thread was at it.
    pub contended: u64,
}

impl Counts {
    pub(super) fn snapshot(&self) -> WorkerCounters {
        WorkerCounters {
            turns: self.turns.get(),
            from_slot: self.from_slot.get(),
            from_injector: self.from_injector.get(),
            steals: self.steals.get(),
            slots_taken: self.slots_taken.get(),
            wakes: self.wakes.get(),
            woken: self.woken.get(),
            parks: self.parks.get(),
            contended: self.contended.get(),
        }
    }
}
