//! Which magazines a thread has.
//!
//! A thread claims an entry of the magazine table of one heap, the first whose blocks it handles; blocks of other heaps, and
//! those of a thread that found no entry, go through the locks.

use std::{cell::Cell, ptr::NonNull};

use super::{address::heap_of, batch::Batch, heap::Heap, magazine};
use crate::{
    Error,
    block::Header,
    layout::Magazines,
    sync::atomic::{AtomicPtr, Ordering::*},
};

/// Of threads that have no magazines yet, or no longer.
static NOBODY: Magazines = Magazines::new();

thread_local! {
    /// This thread's magazines. Without a destructor, so that looking is one load.
    static MINE: Cell<&'static Magazines> = const { Cell::new(&NOBODY) };
    /// Gives them back when the thread ends.
    static KEEPER: Keeper = const { Keeper(Cell::new(None)) };
}

struct Keeper(Cell<Option<&'static Heap>>);

/// A block of this thread's, if it has one at hand. `heap` is [`Heap::number`].
#[inline]
pub(super) fn take(heap: usize, class: usize) -> Option<NonNull<Header>> {
    let mine = MINE.get();
    if mine.heap.load(Relaxed) != heap {
        return None;
    }
    mine.take(class)
}

/// Keeps a block for this thread, if there is room.
///
/// # Safety
/// It is a block of this heap and class, without owners, and in no other place (A1).
#[inline]
pub(super) unsafe fn put(heap: usize, class: usize, block: NonNull<Header>) -> bool {
    let mine = MINE.get();
    // SAFETY: passed on.
    mine.heap.load(Relaxed) == heap && unsafe { mine.put(class, block) }
}

/// Takes a block from the spans, and some more for next time.
///
/// # Errors
/// As [`Heap::new_span`].
pub(super) fn refill(
    heap: &'static Heap,
    class: usize,
    reserve: bool,
    size: usize,
) -> Result<NonNull<Header>, Error> {
    if let Some(mine) = mine(heap) {
        return mine.refill(heap, class, reserve, size);
    }
    let mut batch = Batch::new(class);
    heap.class(class).take(heap, 1, &mut batch, reserve, size)?;
    let block = AtomicPtr::new(std::ptr::null_mut());
    batch.write_to(heap, std::slice::from_ref(&block));
    Ok(NonNull::new(block.into_inner()).expect("a filled batch has blocks"))
}

/// Keeps a block in a magazine that is full, or gives it back at once.
///
/// # Safety
/// As for [`put`].
#[cold]
pub(super) unsafe fn spill(block: NonNull<Header>, class: usize) {
    let heap = heap_of(block);
    // SAFETY: passed on.
    unsafe {
        match mine(heap) {
            // They may have been made this moment, or emptied.
            Some(mine) if mine.put(class, block) => {}
            Some(mine) => mine.spill(heap, class, block),
            None => magazine::give(heap, class, &[AtomicPtr::new(block.as_ptr())]),
        }
    }
}

/// Gives all that this thread has at hand back to the spans of `heap`.
pub(super) fn flush(heap: &'static Heap) {
    let mine = MINE.get();
    if mine.heap.load(Relaxed) == heap.number() {
        mine.flush(heap);
    }
}

/// This thread's magazines for `heap`, claimed if it has none at all yet; none if it has others, is ending, or there are no
/// more.
fn mine(heap: &'static Heap) -> Option<&'static Magazines> {
    let mine = MINE.get();
    if mine.heap.load(Relaxed) == 0 {
        // The keeper cannot be had while the thread ends, and must not be brought back.
        KEEPER.try_with(|keeper| keeper.0.set(Some(heap))).ok()?;
        let claimed = heap.claim_magazines()?;
        MINE.set(claimed);
        return Some(claimed);
    }
    (mine.heap.load(Relaxed) == heap.number()).then_some(mine)
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let Some(heap) = self.0.take() else { return };
        // From here on this thread's blocks go through the locks: `mine` finds no keeper.
        let mine = MINE.replace(&NOBODY);
        if mine.heap.load(Relaxed) == heap.number() {
            heap.give_back_magazines(mine);
        }
    }
}
