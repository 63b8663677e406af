//! Half magazines that one thread has given and another may take.
//!
//! A thread that only frees a class fills magazine after magazine, while the one that only allocates it empties as many. A few
//! halves for each class wait on a shelf between them, as they are: handing one over copies a list of pointers, and neither
//! looks up spans nor touches blocks. When the shelf is full, blocks go back to their spans in batches; a thread that goes to
//! sleep clears all shelves, so that nothing is pinned by what waits.
//!
//! There is no lock: the list lies in the other thread's cache, and to copy it under one would make both wait for that.
//!
//! ```text
//! empty ──▶ writing ──▶ full ──▶ reading ──▶ empty
//! ```
//!
//! # Invariants
//! * **S1** Who moves a half from empty to writing, or from full to reading, has it to itself until it moves it on.
//! * **S2** What a half holds when it is full are blocks of the shelf's class without owners, and they are in no other place (A1).
//!
//! # When a process dies
//! A half that is being written or read is lost: its blocks are free, and in no list that means anything.

use std::ptr::null_mut;

use super::{batch::MOST_IN_BATCH, class::CLASSES, heap::Heap, magazine};
use crate::{
    block::Header,
    layout::Half,
    step::step,
    sync::atomic::{AtomicPtr, Ordering::*},
};

impl Half {
    /// Makes a half the caller's, if it is in this state.
    fn enter(&self, from: u32, to: u32) -> bool {
        // Acquire pairs with the Release in `leave`: what the one before did with it has happened.
        self.state.load(Relaxed) == from && self.state.compare_exchange(from, to, Acquire, Relaxed).is_ok()
    }

    /// Gives it to whoever comes next.
    fn leave(&self, to: u32) {
        // Release pairs with the Acquire in `enter`.
        self.state.store(to, Release);
    }
}

impl Heap {
    /// Puts blocks on the shelf of their class; whether there was room.
    ///
    /// # Safety
    /// They are blocks of this class and heap, without owners, and in no other place (A1).
    pub(super) unsafe fn shelve(&self, class: usize, blocks: &[AtomicPtr<Header>]) -> bool {
        let shelf = &self.tables().shelves()[class];
        let Some(half) = shelf.halves.iter().find(|it| it.enter(Half::EMPTY, Half::WRITING)) else {
            return false;
        };
        for (slot, block) in half.blocks.iter().zip(blocks) {
            slot.store(block.load(Relaxed), Relaxed);
        }
        half.len.store(blocks.len() as u32, Relaxed);
        step("shelf/written");
        half.leave(Half::FULL);
        step("shelf/full");
        // Release pairs with the Acquire in `clear_shelves`: who takes the bit finds the half full.
        self.tables().counters().shelved.fetch_or(1 << class, Release);
        true
    }

    /// Takes a half magazine off the shelf, if there is one, and writes it to the front of `blocks`; how many they are.
    pub(super) fn unshelve(&self, class: usize, blocks: &[AtomicPtr<Header>]) -> Option<usize> {
        let shelf = &self.tables().shelves()[class];
        let half = shelf.halves.iter().find(|it| it.enter(Half::FULL, Half::READING))?;
        let len = half.len.load(Relaxed) as usize;
        for (block, slot) in blocks[..len].iter().zip(&half.blocks) {
            block.store(slot.load(Relaxed), Relaxed);
        }
        step("shelf/taken");
        half.leave(Half::EMPTY);
        Some(len)
    }

    /// Gives all that is on shelves back to the spans.
    pub(super) fn clear_shelves(&self) {
        let shelved = &self.tables().counters().shelved;
        if shelved.load(Relaxed) == 0 {
            return;
        }
        // Acquire pairs with the Release in `shelve`.
        let may_be = shelved.swap(0, Acquire);
        let blocks: [_; MOST_IN_BATCH] = std::array::from_fn(|_| AtomicPtr::new(null_mut()));
        for class in (0..CLASSES).filter(|class| may_be >> class & 1 != 0) {
            while let Some(len) = self.unshelve(class, &blocks) {
                // SAFETY: they are blocks of this class and heap, and in no other place now (S2).
                unsafe { magazine::give(self, class, &blocks[..len]) };
            }
        }
    }
}
