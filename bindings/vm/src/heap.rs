//! The blocks of one small state, without a header each: a state says how large a block is when it gives it back.
//!
//! Blocks up to [`LARGEST`] bytes are cut from runs of [`pages`], one behind the other, and when they are free they wait in
//! a list of their size. Nothing is joined and no page goes back before the state ends; then all do at once, whatever was
//! left of them: services that come and go leave no holes. What is cut up next, once a run is used up, is the smallest free
//! block of more than [`FINE`] bytes that is large enough, so the places that stacks and hash parts grow out of do not wait
//! for others of their size. Without joining this is for small states only: one that has [`MOST`] pages takes what it needs
//! beyond from the process's allocator, like every larger block.
//!
//! A state that builds one thing and ends is another matter: its heap is a [passing](Heap::passing) one, without a bound, and
//! knows of larger blocks, too.
//!
//! # Sizes
//! Multiples of [`GRAIN`] up to [`FINE`]; from there eight to each doubling, 16 bytes above the round number: so the hash
//! part of a table, 24 bytes for each of 2ⁿ nodes and 8, fits without a rest.
//!
//! # Invariants
//! * **H1** Only the thread that runs the state uses its heap.
//! * **H2** A block of a heap is as large as its size rounded up to one of the sizes. Whose it is can be told from its
//!   address: [`pages::holds`].
//! * **H3** A bit of `waiting` is set if and only if the list of that size is not empty.

use std::alloc::{Layout, dealloc};
use std::collections::HashMap;
use std::ptr::{self, NonNull};

use crate::pages::{self, PAGE};

/// The largest block that comes from here.
const LARGEST: usize = 4096 + GRAIN;
/// Up to here every multiple of the grain is a size.
const FINE: usize = 256;
const GRAIN: usize = 16;
const WORD: usize = size_of::<usize>();
/// Sizes from one power of two to the next, as a power of two.
const STEPS: u32 = 3;
const SIZES: usize = slot_of(LARGEST) + 1;
/// Pages of a heap: 256 KiB.
const MOST: usize = pages::SPAN;
/// Pages of the first run: a state that does nothing has about that.
const FIRST: usize = 32;

const _: () = assert!(SIZES <= u64::BITS as usize && bytes_of(SIZES - 1) == LARGEST);

/// The number of the size that a block of `size` bytes, not 0, gets.
#[inline]
const fn slot_of(size: usize) -> usize {
    if size <= FINE + GRAIN {
        return (size - 1) / GRAIN;
    }
    let above = size - 1 - GRAIN;
    let power = above.ilog2();
    let step = (above >> (power - STEPS)) & ((1 << STEPS) - 1);
    FINE / GRAIN + 1 + (((power - FINE.ilog2()) as usize) << STEPS) + step
}

/// The bytes of a size.
#[inline]
const fn bytes_of(slot: usize) -> usize {
    let Some(coarse) = slot.checked_sub(FINE / GRAIN + 1) else { return (slot + 1) * GRAIN };
    let power = FINE.ilog2() + (coarse >> STEPS) as u32;
    (((1 << STEPS) + (coarse & ((1 << STEPS) - 1)) + 1) << (power - STEPS)) + GRAIN
}

/// The blocks of a state.
#[derive(Debug)]
pub(crate) struct Heap {
    /// By size, the first free block: its distance from the base of the pages, in grains, plus one.
    free: [u32; SIZES],
    /// A bit for each size of which there are free blocks.
    waiting: u64,
    next: usize,
    end: usize,
    runs: Vec<Run>,
    pages: usize,
    /// How many it may become.
    most: usize,
    given: Given,
    /// Of a passing heap: blocks of the process's allocator, their sizes by address.
    large: Option<HashMap<usize, Layout>>,
}

/// What becomes of a block that is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    /// It waits for the next one of its size.
    Kept,
    /// That too, and it is wiped: nothing that was in one block is ever seen in another.
    Wiped,
    /// Nothing: the end is near.
    Left,
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
        Self {
            free: [0; SIZES],
            waiting: 0,
            next: 0,
            end: 0,
            runs: Vec::new(),
            pages: 0,
            most: MOST,
            given: Given::Kept,
            large: None,
        }
    }

    /// A heap of any size. It frees all that was allocated for its state, also what was not given back.
    pub(crate) fn passing() -> Self {
        let mut heap = Self::new();
        (heap.most, heap.large) = (usize::MAX, Some(HashMap::new()));
        heap
    }

    /// Whether it is such a heap.
    pub(crate) fn is_passing(&self) -> bool {
        self.large.is_some()
    }

    /// The process's allocator has made a block for this state.
    #[inline]
    pub(crate) fn add_large(&mut self, at: *mut u8, layout: Layout) {
        if let Some(large) = &mut self.large
            && !at.is_null()
        {
            large.insert(at.expose_provenance(), layout);
        }
    }

    /// It was given such a block back.
    #[inline]
    pub(crate) fn remove_large(&mut self, at: *mut u8) {
        if let Some(large) = &mut self.large {
            large.remove(&at.addr());
        }
    }

    /// A block of `size` bytes, not 0. `None`: it is not for us, or there is no room; the system has it.
    #[inline]
    pub(crate) fn take(&mut self, size: usize) -> Option<NonNull<u8>> {
        if size > LARGEST {
            return None;
        }
        let slot = slot_of(size);
        if self.free[slot] != 0 {
            return NonNull::new(self.pop(slot));
        }
        let bytes = bytes_of(slot);
        if self.end - self.next < bytes && !self.make_room(slot) {
            return None;
        }
        let at = self.next;
        self.next += bytes;
        NonNull::new(ptr::with_exposed_provenance_mut(at))
    }

    /// [`Heap::take`], if that is a matter of a few steps.
    #[inline(always)]
    pub(crate) fn take_waiting(&mut self, size: usize) -> Option<NonNull<u8>> {
        if size.wrapping_sub(1) >= FINE {
            return None;
        }
        let slot = (size - 1) / GRAIN;
        if self.free[slot] == 0 {
            return None;
        }
        NonNull::new(self.pop(slot))
    }

    /// [`Heap::give`], if the block is from here and that is a matter of a few steps; false: nothing was done.
    ///
    /// # Safety
    ///
    /// As there, if the block is from here.
    #[inline(always)]
    pub(crate) unsafe fn give_usual(&mut self, at: *mut u8, size: usize) -> bool {
        if size.wrapping_sub(1) >= FINE || self.given != Given::Kept || !pages::holds(at.addr()) {
            return false;
        }
        // SAFETY: promised by the caller.
        unsafe { self.put(at, (size - 1) / GRAIN) };
        true
    }

    /// Takes a block back.
    ///
    /// # Safety
    ///
    /// It came from here with at least `size` bytes, which are 1 to [`LARGEST`], and nobody uses it any more.
    #[inline]
    pub(crate) unsafe fn give(&mut self, at: *mut u8, size: usize) {
        let slot = slot_of(size);
        if self.given != Given::Kept {
            if self.given == Given::Left {
                return;
            }
            // SAFETY: promised by the caller (H2).
            unsafe { at.write_bytes(0, bytes_of(slot)) };
        }
        // SAFETY: promised by the caller.
        unsafe { self.put(at, slot) };
    }

    /// Whether a block of `old` bytes from here is as good for `new` bytes.
    #[inline]
    pub(crate) fn fits(old: usize, new: usize) -> bool {
        new <= LARGEST && slot_of(old) == slot_of(new)
    }

    /// From here on blocks are not kept when they are given back: the end is near.
    pub(crate) fn close(&mut self) {
        self.given = Given::Left;
    }

    /// Takes the first free block of a size that has one.
    #[inline]
    fn pop(&mut self, slot: usize) -> *mut u8 {
        let at = place(self.free[slot]);
        // SAFETY: a free block of ours begins with the number of the next one.
        let next = unsafe { at.cast::<u32>().replace(0) };
        self.free[slot] = next;
        if next == 0 {
            self.waiting &= !(1 << slot);
        }
        at
    }

    /// Adds a block to the free ones of its size.
    ///
    /// # Safety
    ///
    /// It is a part of our runs, with so many bytes, and nobody uses it.
    #[inline]
    unsafe fn put(&mut self, at: *mut u8, slot: usize) {
        // SAFETY: promised by the caller: at least one grain that nobody uses.
        unsafe { at.cast::<u32>().write(self.free[slot]) };
        self.free[slot] = ((at.addr() - pages::base()) / GRAIN) as u32 + 1;
        self.waiting |= 1 << slot;
    }

    /// Sees to it that a block of a size can be cut next: from a larger free block, or from a new run, small beside what
    /// there is.
    #[cold]
    fn make_room(&mut self, slot: usize) -> bool {
        let larger = self.waiting & (u64::MAX << (slot + 1).max(FINE / GRAIN));
        if larger != 0 {
            let found = larger.trailing_zeros() as usize;
            self.keep_rest();
            self.next = self.pop(found).expose_provenance();
            self.end = self.next + bytes_of(found);
            return true;
        }
        let bytes = bytes_of(slot);
        let usual = match self.pages {
            0 => FIRST,
            pages if self.large.is_none() => (pages / 8).clamp(1, MOST / 8),
            pages => pages.min(pages::SPAN),
        };
        let count = usual.max(bytes.div_ceil(PAGE));
        if self.pages + count > self.most {
            return false;
        }
        let Some(at) = pages::take(count) else { return false };
        if at.addr().get() != self.end {
            self.keep_rest();
            self.next = at.addr().get();
        }
        self.end = at.addr().get() + count * PAGE;
        self.pages += count;
        self.runs.push(Run { at, pages: count });
        debug_assert!(self.end - self.next >= bytes, "the run holds the block");
        true
    }

    /// Puts what is left of the place that was cut up among the free blocks.
    fn keep_rest(&mut self) {
        while self.end > self.next {
            let rest = self.end - self.next;
            let slot = slot_of(rest.min(LARGEST));
            // The largest size that is not larger than the rest; up to `FINE` that is the rest.
            let slot = if bytes_of(slot) > rest { slot - 1 } else { slot };
            // SAFETY: nobody has it. Sizes and ends of runs are multiples of the grain.
            unsafe { self.put(ptr::with_exposed_provenance_mut(self.next), slot) };
            self.next += bytes_of(slot);
        }
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        for (at, layout) in self.large.take().into_iter().flatten() {
            // SAFETY: the process's allocator made it so, and nobody gave it back; whoever used it is gone.
            unsafe { dealloc(ptr::with_exposed_provenance_mut(at), layout) };
        }
        for run in &self.runs {
            // SAFETY: the heap took it, and whoever had a block of it is gone: the state ends before its heap.
            unsafe { pages::give(run.at, run.pages) };
        }
    }
}

/// What a heap in one run looks like.
#[derive(Debug)]
pub(crate) struct Picture {
    /// Where the run was, and its bytes, used or not.
    pub(crate) base: usize,
    pub(crate) room: usize,
    /// What it contains; zeros where nothing is used.
    pub(crate) words: Box<[usize]>,
    /// Where nothing is used: distances from the base, and bytes, in order.
    pub(crate) holes: Box<[(usize, usize)]>,
}

impl Heap {
    /// A heap of `count` blank pages, which does not grow, and whose blocks are blank when they are taken.
    pub(crate) fn blank(count: usize) -> Option<Self> {
        let at = pages::take(count)?;
        // SAFETY: just taken.
        unsafe { at.write_bytes(0, count * PAGE) };
        let next = at.expose_provenance().get();
        let runs = vec![Run { at, pages: count }];
        Some(Self {
            next,
            end: next + count * PAGE,
            runs,
            most: 0,
            given: Given::Wiped,
            large: None,
            ..Self::new()
        })
    }

    /// A heap that begins with `words`, in a run of its own.
    pub(crate) fn filled(words: &[usize]) -> Option<Self> {
        let count = size_of_val(words).div_ceil(PAGE);
        let at = pages::take(count)?;
        // SAFETY: just taken, and at least as long.
        unsafe { at.cast::<usize>().as_ptr().copy_from_nonoverlapping(words.as_ptr(), words.len()) };
        let base = at.expose_provenance().get();
        let next = base + size_of_val(words).next_multiple_of(GRAIN);
        let runs = vec![Run { at, pages: count }];
        Some(Self { next, end: base + count * PAGE, runs, pages: count, large: None, ..Self::new() })
    }

    /// Where the first run begins.
    pub(crate) fn base(&self) -> usize {
        self.runs.first().map_or(0, |run| run.at.addr().get())
    }

    /// A picture of a heap that was made [blank](Self::blank).
    pub(crate) fn picture(&self) -> Option<Picture> {
        let [run] = self.runs[..] else { return None };
        let (base, room) = (run.at.addr().get(), run.pages * PAGE);
        let mut words = vec![0_usize; room / WORD];
        // SAFETY: the run is ours, and as long.
        unsafe { words.as_mut_ptr().copy_from_nonoverlapping(run.at.as_ptr().cast(), words.len()) };
        let mut holes = vec![(self.next - base, self.end - self.next)];
        for slot in 0..SIZES {
            let mut number = self.free[slot];
            while number != 0 {
                let at = place(number);
                holes.push((at.addr() - base, bytes_of(slot)));
                // SAFETY: a free block of ours begins with the number of the next one.
                number = unsafe { at.cast::<u32>().read() };
            }
        }
        holes.sort_unstable();
        for &(from, bytes) in &holes {
            words[from / WORD..][..bytes / WORD].fill(0);
        }
        Some(Picture { base, room, words: words.into(), holes: holes.into() })
    }
}

impl Picture {
    /// Where a distance goes when the holes are closed. The end of a block stays with the block.
    pub(crate) fn closed(&self, distance: usize) -> usize {
        let above = self.holes.iter().take_while(|(from, _)| *from < distance);
        distance - above.map(|(from, bytes)| (*bytes).min(distance - from)).sum::<usize>()
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
    fn sizes_are_in_order_and_a_block_gets_the_least_that_fits() {
        for size in 1..=LARGEST {
            let slot = slot_of(size);
            assert!(bytes_of(slot) >= size && (slot == 0 || bytes_of(slot - 1) < size), "{size}");
            assert!(
                bytes_of(slot).is_multiple_of(GRAIN) && bytes_of(slot) - size < GRAIN.max(size / 8),
                "{size}"
            );
        }
        for nodes in [16, 32, 64, 128] {
            assert_eq!(bytes_of(slot_of(24 * nodes + 8)), 24 * nodes + 16);
        }
    }

    #[test]
    fn what_a_table_grew_out_of_is_cut_up_before_there_is_a_new_run() {
        let mut heap = Heap::new();
        let sizes = [784, 1552, 3088];
        let grown: Vec<_> = sizes.iter().map(|&size| heap.take(size).unwrap()).collect();
        let pages = heap.pages;
        while heap.end - heap.next >= 48 {
            heap.take(48).unwrap();
        }
        for (&at, size) in grown.iter().zip(sizes) {
            // SAFETY: it came from here with this size.
            unsafe { heap.give(at.as_ptr(), size) };
        }
        for _ in 0..sizes.iter().map(|size| size / 48).sum() {
            heap.take(48).unwrap();
        }
        assert_eq!(heap.pages, pages);
        assert_eq!(heap.waiting & (u64::MAX << (FINE / GRAIN)), 0);
    }

    #[test]
    fn random_blocks_never_overlap_and_a_heap_that_ends_gives_all_pages_back() {
        let mut heap = Heap::new();
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut held: Vec<(NonNull<u8>, usize, u8)> = Vec::new();
        for step in 0..50_000_u32 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let size = 1 + (seed >> 20) as usize % if seed & 14 == 0 { LARGEST } else { FINE };
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
