//! A thread's blocks at hand.
//!
//! Per class a small stack of free blocks, in the heap's tables. Taking one and putting one back touches nothing that other
//! threads use. When a stack is empty or full, half of it is exchanged with the spans under one lock: so a block that was
//! allocated by one thread and freed by another goes back to its span in a batch, and costs the lock of the class a thirty-second
//! part of once.
//!
//! # Invariants
//! * **M1** Only the thread that claimed magazines writes them; others read them, for the stats and after a crash.
//! * **M2** A magazine's blocks are of its class and its heap, and have no owners (A1).
//! * **M3** When the thread ends, its blocks go back before its magazines are claimed by another.

use std::ptr::{NonNull, null_mut};

use super::{
    class::{BLOCK, CLASSES},
    heap::Heap,
};
use crate::{
    Error,
    block::Header,
    layout::{MOST_AT_HAND as MOST, Magazines},
    sync::atomic::Ordering::*,
};

/// About the most bytes of one class that a thread keeps.
const MOST_BYTES: u32 = 32 << 10;

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
        let magazine = &self.by_class[class];
        let len = magazine.len.load(Relaxed).checked_sub(1)?;
        magazine.len.store(len, Relaxed);
        NonNull::new(magazine.blocks[len as usize % MOST].load(Relaxed))
    }

    /// Keeps a block, if there is room.
    ///
    /// # Safety
    /// It is a block of this class and of the heap that the magazines belong to, without owners, and in no other place (A1).
    #[inline]
    pub(super) unsafe fn put(&self, class: usize, block: NonNull<Header>) -> bool {
        let magazine = &self.by_class[class];
        let len = magazine.len.load(Relaxed);
        if len >= u32::from(DEPTH[class]) {
            return false;
        }
        magazine.blocks[len as usize % MOST].store(block.as_ptr(), Relaxed);
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
        let mut batch = [null_mut(); MOST / 2];
        let wanted = usize::from(DEPTH[class] / 2);
        let got = heap.class(class).take(heap, &mut batch[..wanted], reserve, size)?;
        let magazine = &self.by_class[class];
        let len = magazine.len.load(Relaxed) as usize;
        // The first of the batch is handed out; the rest is kept the other way round, so that it goes out in order.
        for (slot, &block) in magazine.blocks[len..].iter().zip(batch[1..got].iter().rev()) {
            slot.store(block, Relaxed);
        }
        magazine.len.store((len + got - 1) as u32, Relaxed);
        Ok(NonNull::new(batch[0]).expect("a filled batch has blocks"))
    }

    /// Makes room by giving half a magazine back to the spans, then keeps the block.
    ///
    /// # Safety
    /// As for [`put`](Magazines::put), and the magazines are of `heap`.
    #[cold]
    pub(super) unsafe fn spill(&self, heap: &Heap, class: usize, block: NonNull<Header>) {
        // SAFETY: the blocks are of this heap and class (M2).
        unsafe { self.give_oldest(heap, class, usize::from(DEPTH[class]).div_ceil(2)) };
        // SAFETY: passed on.
        let kept = unsafe { self.put(class, block) };
        debug_assert!(kept);
    }

    /// Gives all blocks back to the spans of `heap`, which the magazines belong to.
    pub(super) fn flush(&self, heap: &Heap) {
        for class in 0..CLASSES {
            // SAFETY: the blocks are of this heap and class (M2).
            unsafe { self.give_oldest(heap, class, MOST) };
        }
    }

    /// Gives up to `count` blocks back, those first that have been here longest.
    ///
    /// # Safety
    /// The caller has claimed these magazines (M1), and they are of `heap`.
    unsafe fn give_oldest(&self, heap: &Heap, class: usize, count: usize) {
        let magazine = &self.by_class[class];
        let len = magazine.len.load(Relaxed) as usize;
        let count = count.min(len);
        if count == 0 {
            return;
        }
        let mut batch = [null_mut(); MOST];
        for (slot, block) in batch.iter_mut().zip(&magazine.blocks[..count]) {
            *slot = block.load(Relaxed);
        }
        for at in count..len {
            magazine.blocks[at - count].store(magazine.blocks[at].load(Relaxed), Relaxed);
        }
        // Out of the magazine before they are in the spans: the stats may miss blocks for a moment, but never see too few live.
        magazine.len.store((len - count) as u32, Relaxed);
        // SAFETY: they are blocks of this heap and class without owners (M2), and have just left the magazine.
        let released = unsafe { heap.class(class).give(heap, &batch[..count]) };
        heap.release(class, released);
    }
}
