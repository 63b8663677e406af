//! The next-slot: the service that a worker woke last, which it will run next.
//!
//! Its owner puts and takes; thieves take. One exchange each: whoever gets the word has it.
//!
//! # Invariants
//! * **N1** Only the owner makes a slot full.
//! * **N2** Nobody is told of what is put: the owner comes to it after its turn, or whoever looks at the pool does (`idle`, I2).

use core::ptr::{self, NonNull};

use skein_arena::sync::atomic::{
    AtomicPtr,
    Ordering::{AcqRel, Acquire, Relaxed},
};

use super::Scheduled;

/// Room for one.
pub struct Slot(AtomicPtr<()>);

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

impl Slot {
    /// An empty slot.
    pub fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// The owner puts one in, and gets what was there.
    #[inline]
    pub fn put(&self, scheduled: Scheduled) -> Option<Scheduled> {
        // Release pairs with the Acquire of `take`; Acquire is for what comes back.
        let before = self.0.swap(scheduled.into_raw().as_ptr(), AcqRel);
        NonNull::new(before).map(Scheduled::from_raw)
    }

    /// Takes what is there; the owner and thieves alike.
    #[inline]
    pub fn take(&self) -> Option<Scheduled> {
        if self.is_empty() {
            return None;
        }
        // Acquire pairs with the Release in `put`: the hold comes with what its last holder wrote.
        NonNull::new(self.0.swap(ptr::null_mut(), Acquire)).map(Scheduled::from_raw)
    }

    /// Whether there is nothing to take. Exact for the owner only when it says no more than it must: thieves come and go.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.load(Relaxed).is_null()
    }
}
