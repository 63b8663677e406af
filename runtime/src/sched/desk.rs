//! What a worker shows to the others: the service it will run next, the queue behind that, and how it gets on.
//!
//! The owner writes plain numbers, once or twice a turn; who keeps watch reads them every 200 µs. That is how it tells old from
//! young without a clock reading for each service that is woken: what waits is as old as the turn that runs, or younger.

use skein_arena::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::{
    Scheduled,
    counts::Counts,
    deque::{Deque, Stealer},
    policy,
    slot::Slot,
};

/// One worker's place. A cache line of its own, and the next one, which the processor fetches along.
#[repr(align(128))]
pub(super) struct Desk {
    pub(super) slot: Slot,
    pub(super) stealer: Stealer<Scheduled>,
    /// When the current turn began, by the clock of [`super::Worker::step`].
    began: AtomicU64,
    /// What a turn takes here, about, in ns.
    mean: AtomicU64,
    /// The last look found the queue not empty.
    lasting: AtomicBool,
    pub(super) counts: Counts,
}

impl Desk {
    pub(super) fn new(deque: &Deque<Scheduled>) -> Self {
        Self {
            slot: Slot::new(),
            stealer: deque.stealer(),
            began: AtomicU64::new(0),
            mean: AtomicU64::new(policy::FIRST_MEAN),
            lasting: AtomicBool::new(false),
            counts: Counts::default(),
        }
    }

    /// The owner begins a turn.
    #[inline]
    pub(super) fn begin(&self, now: u64) {
        self.began.store(now, Relaxed);
    }

    /// The owner's turn is over.
    #[inline]
    pub(super) fn end(&self, now: u64) {
        let took = now.saturating_sub(self.began.load(Relaxed));
        let mean = self.mean.load(Relaxed);
        // An eighth of the way; one writer, so a load and a store will do.
        self.mean.store(mean - mean / 8 + took / 8, Relaxed);
    }

    /// What waits in the queue, in ns of work.
    #[inline]
    pub(super) fn backlog(&self, queued: usize) -> u64 {
        self.mean.load(Relaxed).saturating_mul(queued as u64)
    }

    /// Whether the turn that runs here is so long that nobody should wait for its end.
    pub(super) fn is_stuck(&self, now: u64) -> bool {
        now.saturating_sub(self.began.load(Relaxed)) >= policy::OLD
    }

    /// When [`Self::is_stuck`] will be true of this turn.
    pub(super) fn stuck_at(&self) -> u64 {
        self.began.load(Relaxed).saturating_add(policy::OLD)
    }

    /// Whether anything waits.
    pub(super) fn has_waiting(&self) -> bool {
        !self.slot.is_empty() || !self.stealer.is_empty()
    }

    /// Whether another worker should take from the queue: there is much, or it has been there for a while.
    pub(super) fn queue_is_due(&self, now: u64) -> bool {
        let queued = self.stealer.len();
        queued > 0
            && (self.lasting.load(Relaxed) || self.backlog(queued) >= policy::WORTH || self.is_stuck(now))
    }

    /// Whether another worker should take the slot.
    pub(super) fn slot_is_due(&self, now: u64) -> bool {
        !self.slot.is_empty() && self.is_stuck(now)
    }

    /// Whether another worker should take from here.
    pub(super) fn is_due(&self, now: u64) -> bool {
        self.queue_is_due(now) || self.slot_is_due(now)
    }

    /// A look, which remembers. Whether anything is due now.
    pub(super) fn look(&self, now: u64) -> bool {
        let due = self.is_due(now);
        self.lasting.store(!self.stealer.is_empty(), Relaxed);
        due
    }

    /// The queue was taken from: it is young again.
    pub(super) fn relieved(&self) {
        self.lasting.store(false, Relaxed);
    }
}
