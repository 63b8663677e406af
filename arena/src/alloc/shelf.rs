//! Half magazines that one thread has given and another may take.
//!
//! A thread that only frees a class fills magazine after magazine, while the one that only allocates it empties as many. A few
//! halves for each class wait on a shelf between them, as they are: handing one over copies a list of pointers, and neither
//! looks up spans nor touches blocks. When the shelf is full, blocks go back to their spans in batches; a thread that goes to
//! sleep clears all shelves, so that nothing is pinned by what waits.

use std::ptr::null_mut;

use super::{
    class::CLASSES,
    heap::{Heap, lock},
    magazine,
    span::MOST_IN_BATCH,
};
use crate::{
    block::Header,
    layout::SHELF_HALVES,
    sync::atomic::{AtomicPtr, Ordering::*},
};

impl Heap {
    /// Puts blocks on the shelf of their class; whether there was room.
    ///
    /// # Safety
    /// They are blocks of this class and heap, without owners, and in no other place (A1).
    pub(super) unsafe fn shelve(&self, class: usize, blocks: &[AtomicPtr<Header>]) -> bool {
        let shelf = &self.tables().shelves()[class];
        let _guard = lock(&self.shelves[class]);
        let halves = shelf.halves.load(Relaxed) as usize;
        if halves == SHELF_HALVES {
            return false;
        }
        for (slot, block) in shelf.blocks[halves].iter().zip(blocks) {
            slot.store(block.load(Relaxed), Relaxed);
        }
        shelf.lens[halves].store(blocks.len() as u32, Relaxed);
        shelf.halves.store(halves as u32 + 1, Relaxed);
        if halves == 0 {
            self.tables().counters().shelved.fetch_or(1 << class, Relaxed);
        }
        true
    }

    /// Takes a half magazine off the shelf, if there is one, and writes it to the front of `blocks`; how many they are.
    pub(super) fn unshelve(&self, class: usize, blocks: &[AtomicPtr<Header>]) -> Option<usize> {
        let shelf = &self.tables().shelves()[class];
        if shelf.halves.load(Relaxed) == 0 {
            return None;
        }
        let _guard = lock(&self.shelves[class]);
        let halves = shelf.halves.load(Relaxed).checked_sub(1)?;
        // Off the shelf before they are anywhere else: blocks that are lost when the process dies now are in no two places.
        shelf.halves.store(halves, Relaxed);
        if halves == 0 {
            self.tables().counters().shelved.fetch_and(!(1 << class), Relaxed);
        }
        let len = shelf.lens[halves as usize].load(Relaxed) as usize;
        for (block, slot) in blocks[..len].iter().zip(&shelf.blocks[halves as usize]) {
            block.store(slot.load(Relaxed), Relaxed);
        }
        Some(len)
    }

    /// Gives all that is on shelves back to the spans.
    pub(super) fn clear_shelves(&self) {
        if self.tables().counters().shelved.load(Relaxed) == 0 {
            return;
        }
        let blocks: [_; MOST_IN_BATCH] = std::array::from_fn(|_| AtomicPtr::new(null_mut()));
        for class in 0..CLASSES {
            while let Some(len) = self.unshelve(class, &blocks) {
                // SAFETY: they were put there as blocks of this class and heap, and are in no other place now.
                unsafe { magazine::give(self, class, &blocks[..len]) };
            }
        }
    }
}
