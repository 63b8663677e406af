//! The small blocks of one state, without a header each: a state says how large a block is when it gives it back.
//!
//! Blocks up to [`LARGEST`] bytes are cut from runs of [`pages`], one behind the other, and when they are free they wait in
//! a list of their size. Nothing is joined and no page goes back before the state ends; then all do at once. So this is for
//! small states: one that has [`MOST`] pages takes what it needs beyond from the system, like every larger block: those are
//! stacks and hash parts that grow, and their old places would wait here for nobody.
//!
//! # Invariants
//! * **H1** Only the thread that runs the state uses its heap.
//! * **H2** A block of a heap is as large as its size rounded up to [`GRAIN`], or larger. Whose it is can be told from its
//!   address: [`pages::holds`].

use std::ptr::{self, NonNull};

use crate::pages::{self, PAGE};

/// The largest block that comes from here.
const LARGEST: usize = 256;
const GRAIN: usize = 16;
const SIZES: usize = LARGEST / GRAIN;
/// Pages of a heap: 256 KiB.
const MOST: usize = pages::SPAN;
/// Pages of the first run: a state that does nothing has more than that.
const FIRST: usize = 4;

/// The blocks of a state.
#[derive(Debug)]
pub(crate) struct Heap {
    /// By size, the first free block: its distance from the base of the pages, in grains, plus one.
    free: [u32; SIZES],
    next: usize,
    end: usize,
    runs: Vec<Run>,
    pages: usize,
    closing: bool,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    at: NonNull<u8>,
    pages: usize,
}

// SAFETY: runs belong to the heap, which one thread at a time uses (H1).
unsafe impl Send for Heap {}

impl Heap {
    pub(crate) const fn new() -> Self {
        Self { free: [0; SIZES], next: 0, end: 0, runs: Vec::new(), pages: 0, closing: false }
    }

    /// A block of `size` bytes, not 0. `None`: it is not for us, or there is no room; the system has it.
    #[inline]
    pub(crate) fn take(&mut self, size: usize) -> Option<NonNull<u8>> {
        if size > LARGEST {
            return None;
        }
        let slot = (size - 1) / GRAIN;
        let first = self.free[slot];
        if first != 0 {
            let at = place(first);
            // SAFETY: a free block of ours begins with the number of the next one.
            self.free[slot] = unsafe { at.cast::<u32>().read() };
            return NonNull::new(at);
        }
        let bytes = (slot + 1) * GRAIN;
        if self.end - self.next < bytes && !self.grow(bytes) {
            return None;
        }
        let at = self.next;
        self.next += bytes;
        NonNull::new(ptr::with_exposed_provenance_mut(at))
    }

    /// Takes a block back.
    ///
    /// # Safety
    ///
    /// It came from here with at least `size` bytes, which are 1 to [`LARGEST`], and nobody uses it any more.
    #[inline]
    pub(crate) unsafe fn give(&mut self, at: *mut u8, size: usize) {
        if !self.closing {
            // SAFETY: promised by the caller.
            unsafe { self.put(at, (size - 1) / GRAIN) };
        }
    }

    /// Whether a block of `old` bytes from here is as good for `new` bytes.
    #[inline]
    pub(crate) fn fits(old: usize, new: usize) -> bool {
        new <= LARGEST && (old - 1) / GRAIN == (new - 1) / GRAIN
    }

    /// From here on blocks are not kept when they are given back: the end is near.
    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    unsafe fn put(&mut self, at: *mut u8, slot: usize) {
        // SAFETY: promised by the caller: at least one grain that nobody uses.
        unsafe { at.cast::<u32>().write(self.free[slot]) };
        self.free[slot] = ((at.addr() - pages::base()) / GRAIN) as u32 + 1;
    }

    /// Makes room for a block, by a run that is small beside what there is.
    #[cold]
    fn grow(&mut self, bytes: usize) -> bool {
        let count = if self.pages == 0 { FIRST } else { (self.pages / 8).clamp(1, MOST / 8) };
        if self.pages + count > MOST {
            return false;
        }
        let Some(at) = pages::take(count) else { return false };
        if at.addr().get() != self.end {
            let rest = self.end - self.next;
            if rest > 0 {
                // SAFETY: nobody has it. Its size is a multiple of the grain, and less than what was asked for.
                unsafe { self.put(ptr::with_exposed_provenance_mut(self.next), rest / GRAIN - 1) };
            }
            self.next = at.addr().get();
        }
        self.end = at.addr().get() + count * PAGE;
        self.pages += count;
        self.runs.push(Run { at, pages: count });
        debug_assert!(self.end - self.next >= bytes, "a page holds the largest block");
        true
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        for run in &self.runs {
            // SAFETY: the heap took it, and whoever had a block of it is gone: the state ends before its heap.
            unsafe { pages::give(run.at, run.pages) };
        }
    }
}

/// The block with that number.
#[inline]
fn place(number: u32) -> *mut u8 {
    ptr::with_exposed_provenance_mut(pages::base() + (number as usize - 1) * GRAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_blocks_never_overlap_and_a_heap_that_ends_gives_all_pages_back() {
        let mut heap = Heap::new();
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut held: Vec<(NonNull<u8>, usize, u8)> = Vec::new();
        for step in 0..50_000_u32 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let size = 1 + (seed >> 20) as usize % LARGEST;
            if held.len() < 300 && seed & 1 == 0 {
                let Some(at) = heap.take(size) else { continue };
                assert!(pages::holds(at.addr().get()) && at.addr().get().is_multiple_of(GRAIN));
                // SAFETY: ours until it is given back.
                unsafe { at.write_bytes(step as u8, size) };
                held.push((at, size, step as u8));
            } else if !held.is_empty() {
                let (at, size, mark) = held.swap_remove((seed >> 8) as usize % held.len());
                // SAFETY: as above.
                let bytes = unsafe { std::slice::from_raw_parts(at.as_ptr(), size) };
                assert!(bytes.iter().all(|&it| it == mark), "another block was written here");
                // SAFETY: it came from here with this size.
                unsafe { heap.give(at.as_ptr(), size) };
            }
        }
        assert!(heap.pages > FIRST && heap.pages <= MOST, "{}", heap.pages);
        assert!(heap.take(LARGEST + 1).is_none());
        let before = pages::used();
        let taken = heap.pages;
        drop(heap);
        // Other tests of this process take pages meanwhile.
        assert!(pages::used() + taken <= before + MOST, "{taken} of {before}");
    }

    #[test]
    fn a_heap_is_for_small_states_only() {
        let mut heap = Heap::new();
        let count = std::iter::from_fn(|| heap.take(100)).count(); // of 112 bytes
        assert!(count * 112 > MOST * PAGE * 3 / 4 && count * 112 <= MOST * PAGE, "{count}");
    }
}
