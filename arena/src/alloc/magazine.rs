//! A thread's blocks at hand.
//!
//! Per class a small stack of free blocks. Taking one and putting one back touches nothing that other threads use; when a
//! stack is empty or full, half of it is exchanged with the spans under one lock. A thread has magazines for one heap, the
//! first whose blocks it handled; blocks of other heaps go through the locks.
//!
//! # Invariants
//! * **M1** Only the thread itself writes its magazines; others read their lengths, for the stats.
//! * **M2** A magazine's blocks are of its class and its heap, and have no owners (A1).
//! * **M3** When the thread ends, its blocks go back before its magazines are freed.

use std::{cell::Cell, ptr::NonNull};

use super::{
    class::{BLOCK, CLASSES},
    heap::Heap,
};
use crate::{
    Error,
    block::Header,
    sync::atomic::{AtomicU32, Ordering::*},
};

/// The most blocks of one class that a thread keeps.
const MOST: usize = 64;
/// And about the most bytes of one class.
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

struct Magazine {
    len: AtomicU32,
    blocks: [Cell<*mut Header>; MOST],
}

/// The magazines of one thread.
pub(crate) struct Magazines {
    /// Number of the heap they belong to; none has `usize::MAX`.
    heap: usize,
    by_class: [Magazine; CLASSES],
}

/// Of threads that have no magazines yet, or no longer.
struct Nobody(Magazines);

// SAFETY: it belongs to no heap, so nobody looks further than at its `heap`.
unsafe impl Sync for Nobody {}

static NOBODY: Nobody = Nobody(Magazines::new(usize::MAX));

thread_local! {
    /// This thread's magazines. Without a destructor, so that looking is one load.
    static MINE: Cell<&'static Magazines> = const { Cell::new(&NOBODY.0) };
    /// Gives them back when the thread ends.
    static KEEPER: Keeper = const { Keeper(Cell::new(None)) };
}

struct Keeper(Cell<Option<&'static Heap>>);

impl Magazines {
    const fn new(heap: usize) -> Magazines {
        Magazines {
            heap,
            by_class: [const {
                Magazine { len: AtomicU32::new(0), blocks: [const { Cell::new(std::ptr::null_mut()) }; MOST] }
            }; CLASSES],
        }
    }

    /// How many blocks of a class are in here: for other threads a snapshot.
    pub(crate) fn len(&self, class: usize) -> u32 {
        self.by_class[class].len.load(Relaxed)
    }
}

/// A block of this thread's, if it has one at hand.
#[inline]
pub(crate) fn take(heap: usize, class: usize) -> Option<NonNull<Header>> {
    let mine = MINE.get();
    if mine.heap != heap {
        return None;
    }
    let magazine = &mine.by_class[class];
    let len = magazine.len.load(Relaxed).checked_sub(1)?;
    magazine.len.store(len, Relaxed);
    NonNull::new(magazine.blocks[len as usize % MOST].get())
}

/// Keeps a block for this thread, if there is room.
///
/// # Safety
/// It is a block of this heap and class, without owners, and in no other place (A1).
#[inline]
pub(crate) unsafe fn put(heap: usize, class: usize, block: NonNull<Header>) -> bool {
    let mine = MINE.get();
    if mine.heap != heap {
        return false;
    }
    let magazine = &mine.by_class[class];
    let len = magazine.len.load(Relaxed);
    if len >= u32::from(DEPTH[class]) {
        return false;
    }
    magazine.blocks[len as usize % MOST].set(block.as_ptr());
    magazine.len.store(len + 1, Relaxed);
    true
}

/// Takes a block from the spans, and some more for next time.
#[cold]
pub(crate) fn refill(
    heap: &'static Heap,
    class: usize,
    reserve: bool,
    size: usize,
) -> Result<NonNull<Header>, Error> {
    let mine = mine(heap);
    let mut batch = [std::ptr::null_mut(); MOST / 2];
    let wanted = if mine.is_some() { usize::from(DEPTH[class] / 2) } else { 1 };
    let got = heap.class(class).take(heap, &mut batch[..wanted], reserve, size)?;
    if let Some(mine) = mine {
        let magazine = &mine.by_class[class];
        let len = magazine.len.load(Relaxed) as usize;
        // The first of the batch is handed out; the rest is kept the other way round, so that it goes out in order.
        for (slot, &block) in magazine.blocks[len..].iter().zip(batch[1..got].iter().rev()) {
            slot.set(block);
        }
        magazine.len.store((len + got - 1) as u32, Relaxed);
    }
    Ok(NonNull::new(batch[0]).expect("a filled batch has blocks"))
}

/// Makes room by giving half a magazine back to the spans, then keeps the block.
///
/// # Safety
/// As for [`put`].
#[cold]
pub(crate) unsafe fn spill(heap: &'static Heap, class: usize, block: NonNull<Header>) {
    if let Some(mine) = mine(heap) {
        // SAFETY: the blocks are of this heap and class (M2).
        unsafe { give_oldest(mine, heap, class, usize::from(DEPTH[class]).div_ceil(2)) };
        // SAFETY: passed on.
        let kept = unsafe { put(heap.number(), class, block) };
        debug_assert!(kept);
    } else {
        // SAFETY: passed on.
        unsafe { heap.class(class).give(heap, &[block.as_ptr()]) };
    }
}

/// Gives all that this thread has at hand back to the spans of `heap`.
pub(crate) fn flush(heap: &'static Heap) {
    let mine = MINE.get();
    if mine.heap == heap.number() {
        for class in 0..CLASSES {
            // SAFETY: the blocks are of this heap and class (M2).
            unsafe { give_oldest(mine, heap, class, MOST) };
        }
    }
}

/// Gives up to `count` blocks back, those first that have been here longest.
///
/// # Safety
/// `mine` are this thread's magazines (M1), and of `heap`.
unsafe fn give_oldest(mine: &Magazines, heap: &Heap, class: usize, count: usize) {
    let magazine = &mine.by_class[class];
    let len = magazine.len.load(Relaxed) as usize;
    let count = count.min(len);
    if count == 0 {
        return;
    }
    let mut batch = [std::ptr::null_mut(); MOST];
    for (slot, block) in batch.iter_mut().zip(&magazine.blocks[..count]) {
        *slot = block.get();
    }
    for at in count..len {
        magazine.blocks[at - count].set(magazine.blocks[at].get());
    }
    // Out of the magazine before they are in the spans: the stats may miss blocks for a moment, but never see too few live.
    magazine.len.store((len - count) as u32, Relaxed);
    // SAFETY: they are blocks of this heap and class without owners (M2), and have just left the magazine.
    unsafe { heap.class(class).give(heap, &batch[..count]) };
}

/// This thread's magazines for `heap`, made if it has none at all yet; none if it has others, or is ending.
fn mine(heap: &'static Heap) -> Option<&'static Magazines> {
    let mine = MINE.get();
    if mine.heap == usize::MAX {
        // The keeper cannot be had while the thread ends, and must not be brought back.
        KEEPER.try_with(|keeper| keeper.0.set(Some(heap))).ok()?;
        let made: &'static Magazines = Box::leak(Box::new(Magazines::new(heap.number())));
        heap.register(made);
        MINE.set(made);
        return Some(made);
    }
    (mine.heap == heap.number()).then_some(mine)
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let Some(heap) = self.0.take() else { return };
        flush(heap);
        // From here on this thread's blocks go through the locks: `mine` finds no keeper.
        let mine = MINE.replace(&NOBODY.0);
        heap.unregister(mine);
        // SAFETY: `mine` made it with `Box::leak`; nobody else has a reference now that it is not registered, and it is
        // empty (M3).
        drop(unsafe { Box::from_raw(std::ptr::from_ref(mine).cast_mut()) });
    }
}
