//! A thread's blocks at hand.
//!
//! Per class a small stack of free blocks, in the heap's tables, and apart from them the block that was freed last: who frees and
//! allocates in turn uses that one again, and waits for no counter that was stored a moment ago. None of it is touched by other
//! threads. When a stack is empty or full, half of it is exchanged with the spans under one lock: so a block that was
//! allocated by one thread and freed by another goes back to its span in a batch, and costs the lock of the class a sixty-fourth
//! part of once.
//!
//! # Invariants
//! * **M1** Only the thread that claimed magazines writes them; others read them, for the stats and after a crash.
//! * **M2** A magazine's blocks are of its class and its heap, and have no owners (A1).
//! * **M3** When the thread ends, its blocks go back before its magazines are claimed by another.

use std::ptr::NonNull;

use super::{
    batch::{Batch, MOST_IN_BATCH},
    class::{BLOCK, CLASSES},
    heap::Heap,
};
use crate::{
    Error,
    block::Header,
    layout::{MOST_AT_HAND as MOST, Magazines},
    step::step,
    sync::atomic::{AtomicPtr, Ordering::*},
};

/// About the most bytes of one class that a thread keeps. Less, and threads that free what others allocate exchange more often than
/// every 64 blocks of 1 KiB: at 64 KiB a block took a fifth longer on its way there and back.
const MOST_BYTES: u32 = 160 << 10;

/// How many blocks a thread takes from the spans first; then twice as many, and so on, until it is half a magazine.
const LEAST: usize = 4;

/// How many blocks of each class a thread keeps.
const DEPTH: [u8; CLASSES] = {
    let mut depth = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        let fits = MOST_BYTES / BLOCK[class];
        depth[class] = if fits > MOST as u32 {
            MOST as u8
        } else if fits < 2 {
            2
        } else {
            fits as u8
        };
        class += 1;
    }
    depth
};

impl Magazines {
    /// A block, if there is one at hand.
    #[inline]
    pub(super) fn take(&self, class: usize) -> Option<NonNull<Header>> {
        if self.last_class.load(Relaxed) as usize == class + 1 {
            self.last_class.store(0, Relaxed);
            // SAFETY: it goes with the class, and is a block (M2).
            return Some(unsafe { NonNull::new_unchecked(self.last.load(Relaxed)) });
        }
        let magazine = &self.by_class[class];
        let len = magazine.len.load(Relaxed).checked_sub(1)?;
        magazine.len.store(len, Relaxed);
        // SAFETY: below `len` there are blocks (M2).
        Some(unsafe { NonNull::new_unchecked(magazine.blocks[len as usize % MOST].load(Relaxed)) })
    }

    /// Keeps a block, if there is room.
    ///
    /// # Safety
    /// It is a block of this class and of the heap that the magazines belong to, without owners, and in no other place (A1).
    #[inline]
    pub(super) unsafe fn put(&self, class: usize, block: NonNull<Header>) -> bool {
        match self.last_class.load(Relaxed) {
            0 => {}
            // The one before makes place.
            last if !self.push(last as usize - 1, self.last.load(Relaxed)) => return false,
            _ => {}
        }
        self.last.store(block.as_ptr(), Relaxed);
        self.last_class.store(class as u32 + 1, Relaxed);
        true
    }

    #[inline]
    fn push(&self, class: usize, block: *mut Header) -> bool {
        let magazine = &self.by_class[class];
        let len = magazine.len.load(Relaxed);
        if len >= u32::from(DEPTH[class]) {
            return false;
        }
        magazine.blocks[len as usize % MOST].store(block, Relaxed);
        magazine.len.store(len + 1, Relaxed);
        true
    }

    /// Takes a block from the spans, and some more for next time.
    #[cold]
    pub(super) fn refill(
        &self,
        heap: &Heap,
        class: usize,
        reserve: bool,
        size: usize,
    ) -> Result<NonNull<Header>, Error> {
        let magazine = &self.by_class[class];
        debug_assert_eq!(magazine.len.load(Relaxed), 0);
        let got = match heap.unshelve(class, &magazine.blocks) {
            Some(got) => got,
            None => {
                // Few at first: a thread that wakes for a message or two gives back what it took.
                let wanted = (magazine.taken.load(Relaxed) as usize * 2).clamp(LEAST, half(class).max(LEAST));
                let mut batch = Batch::new(class);
                heap.class(class).take(heap, wanted.min(half(class)), &mut batch, reserve, size)?;
                magazine.taken.store(wanted as u32, Relaxed);
                batch.write_to(heap, &magazine.blocks)
            }
        };
        let block = magazine.blocks[got - 1].load(Relaxed);
        step("magazine/refilled");
        magazine.len.store(got as u32 - 1, Relaxed);
        Ok(NonNull::new(block).expect("a filled batch has blocks"))
    }

    /// Makes room by giving half a magazine back to the spans, then keeps the block.
    ///
    /// # Safety
    /// As for [`put`](Magazines::put), which has found no room, and the magazines are of `heap`.
    #[cold]
    pub(super) unsafe fn spill(&self, heap: &Heap, class: usize, block: NonNull<Header>) {
        let full = self.last_class.load(Relaxed) as usize - 1;
        // SAFETY: the blocks are of this heap and class (M2), and not in use here any more.
        self.take_oldest(full, half(full), |blocks| unsafe {
            if !heap.shelve(full, blocks) {
                give(heap, full, blocks);
            }
        });
        // SAFETY: passed on.
        let kept = unsafe { self.put(class, block) };
        debug_assert!(kept);
    }

    /// Gives all blocks back to the spans of `heap`, which the magazines belong to.
    pub(super) fn flush(&self, heap: &Heap) {
        let last = (self.last_class.load(Relaxed) as usize).checked_sub(1);
        for class in 0..CLASSES {
            // SAFETY: the blocks are of this heap and class (M2), and not in use here any more.
            let give = |blocks: &[AtomicPtr<Header>]| unsafe { give(heap, class, blocks) };
            while self.take_oldest(class, MOST_IN_BATCH, give) {}
            self.by_class[class].taken.store(0, Relaxed);
            if last == Some(class) {
                self.last_class.store(0, Relaxed);
                give(std::slice::from_ref(&self.last));
            }
        }
    }

    /// Passes up to `count` blocks on, at most [`MOST_IN_BATCH`] and those first that have been here longest; whether there
    /// were any.
    fn take_oldest(&self, class: usize, count: usize, pass: impl FnOnce(&[AtomicPtr<Header>])) -> bool {
        let magazine = &self.by_class[class];
        let len = magazine.len.load(Relaxed) as usize;
        let count = count.min(len).min(MOST_IN_BATCH);
        if count == 0 {
            return false;
        }
        // Gone from here before they are anywhere else: blocks that are lost when the process dies now are in no two places.
        magazine.len.store(0, Relaxed);
        step("magazine/emptied");
        pass(&magazine.blocks[..count]);
        step("magazine/passed");
        for at in count..len {
            magazine.blocks[at - count].store(magazine.blocks[at].load(Relaxed), Relaxed);
        }
        magazine.len.store((len - count) as u32, Relaxed);
        true
    }
}

/// How many blocks are half a magazine.
fn half(class: usize) -> usize {
    usize::from(DEPTH[class]).div_ceil(2)
}

/// Gives blocks back to their spans.
///
/// # Safety
/// They are at most [`MOST_IN_BATCH`] blocks of this class and heap, without owners, and in no other place (A1).
pub(super) unsafe fn give(heap: &Heap, class: usize, blocks: &[AtomicPtr<Header>]) {
    // SAFETY: passed on.
    let released = unsafe {
        let mut batch = Batch::new(class);
        batch.look_up(heap, blocks);
        heap.class(class).give(heap, &batch)
    };
    heap.release(class, released);
}
