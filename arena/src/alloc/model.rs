//! The allocator for models: the heap itself, with tables of loom's atomics and sixteen pages of memory.
//!
//! Spans, magazines, page lists and locks are those that programs use. Only the mappings are made up, and a thread's magazines
//! are a value that the model holds instead of a thread-local. There is one class, with two blocks to a span, magazines hold two
//! and a shelf one: a few steps fill and empty everything. Each page has a cell, which stands for its bytes: loom sees who reads
//! and writes it, and giving a page back to the system is a write.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    ops::Range,
    ptr::NonNull,
};

use super::{class, heap::Heap};
use crate::{
    Error, Kind,
    block::Header,
    layout::{Counters, Entry, MAGAZINE_SLOTS, Magazines, PAGE, Shelf, Span},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering::*},
        cell::UnsafeCell,
    },
};

const PAGES: usize = 16;
const LAYOUT: Layout = match Layout::from_size_align(PAGES * PAGE, PAGE) {
    Ok(layout) => layout,
    Err(_) => panic!("sixteen pages have a layout"),
};

/// As [`crate::map::Tables`].
pub(crate) struct Tables {
    pages: Vec<AtomicU32>,
    shelves: Vec<Shelf>,
    spans: Vec<Span>,
    magazines: Vec<Magazines>,
    counters: Counters,
    committed: AtomicUsize,
}

impl Tables {
    fn new() -> Tables {
        Tables {
            pages: (0..PAGES).map(|_| AtomicU32::new(0)).collect(),
            shelves: (0..class::CLASSES).map(|_| Shelf::new()).collect(),
            spans: (0..PAGES / 4).map(|_| Span::new()).collect(),
            magazines: (0..MAGAZINE_SLOTS).map(|_| Magazines::new()).collect(),
            counters: Counters::new(),
            committed: AtomicUsize::new(0),
        }
    }

    pub(super) fn entry(&self, page: usize) -> Entry {
        self.pages.get(page).map_or(Entry::Nothing, |it| Entry::from_bits(it.load(Acquire)))
    }

    pub(super) fn set(&self, page: usize, entry: Entry) {
        self.pages[page].store(entry.to_bits(), Release);
    }

    pub(super) fn span(&self, number: u32) -> &Span {
        &self.spans[number as usize]
    }

    pub(super) fn span_count(&self) -> u32 {
        self.spans.len() as u32
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn shelves(&self) -> &[Shelf] {
        &self.shelves
    }

    pub(super) fn magazines(&self) -> &[Magazines] {
        &self.magazines[..self.counters.magazine_entries.load(Acquire) as usize]
    }

    pub(super) fn committed(&self) -> usize {
        self.committed.load(Acquire)
    }

    pub(super) fn set_committed(&self, pages: usize) {
        self.committed.store(pages, Release);
    }
}

/// As [`crate::map::Data`].
pub(crate) struct Data {
    base: NonNull<u8>,
    committed: usize,
    bytes: Arc<Bytes>,
}

/// What stands for the bytes of each page.
struct Bytes(Vec<UnsafeCell<u32>>);

// SAFETY: the cells are used as the allocator says, and that this is right is what the models are about.
unsafe impl Sync for Bytes {}
// SAFETY: as above.
unsafe impl Send for Bytes {}

// SAFETY: the memory belongs to no thread; who uses it is what the models are about.
unsafe impl Send for Data {}

impl Data {
    fn new() -> Data {
        // SAFETY: the layout is not empty.
        let base =
            NonNull::new(unsafe { alloc_zeroed(LAYOUT) }).unwrap_or_else(|| handle_alloc_error(LAYOUT));
        let bytes = Arc::new(Bytes((0..PAGES).map(|_| UnsafeCell::new(0)).collect()));
        Data { base, committed: 0, bytes }
    }

    pub(super) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    pub(super) fn capacity(&self) -> usize {
        PAGES
    }

    pub(super) fn committed(&self) -> usize {
        self.committed
    }

    pub(super) fn grow(&mut self, pages: usize) -> Result<(), Error> {
        self.committed += pages;
        Ok(())
    }

    pub(super) fn back(&mut self, _first: usize, _count: usize) -> Result<(), Error> {
        Ok(())
    }

    pub(super) fn back_magazines(&mut self, _slot: usize) -> Result<(), Error> {
        Ok(())
    }

    pub(super) fn discard(&mut self, first: usize, count: usize) -> Discard {
        Discard(Arc::clone(&self.bytes), first..first + count)
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        // SAFETY: `new` allocated it.
        unsafe { dealloc(self.base.as_ptr(), LAYOUT) }
    }
}

/// As [`crate::map::Discard`].
#[must_use]
pub(super) struct Discard(Arc<Bytes>, Range<usize>);

impl Discard {
    /// # Safety
    /// As the other's.
    pub(super) unsafe fn run(self) {
        for page in &self.0.0[self.1] {
            // SAFETY: by the caller's promise nobody else uses the page.
            page.with_mut(|it| unsafe { *it = 0 });
        }
    }
}

/// A heap of one model.
pub struct ModelHeap(Heap, Arc<Bytes>);

/// One thread's magazines, given back when dropped.
pub struct Hand {
    heap: Arc<ModelHeap>,
    magazines: *const Magazines,
}

impl ModelHeap {
    /// An empty heap.
    #[allow(clippy::new_without_default)] // Nobody wants one by default.
    pub fn new() -> ModelHeap {
        let data = Data::new();
        let bytes = Arc::clone(&data.bytes);
        ModelHeap(Heap::new(0, data, Tables::new(), None), bytes)
    }

    /// A block with pages of its own.
    pub fn alloc_large(&self) -> NonNull<Header> {
        let block = self.0.new_large(class::LARGEST + 1, false, 0).expect("models fit their heap");
        // SAFETY: the block was handed to us, and to nobody else.
        unsafe { block.as_ref() }.begin(0, Header::LARGE, Kind::Bytes);
        block
    }

    /// Takes such a block back.
    ///
    /// # Safety
    /// It came from `alloc_large`, and its last owner has left.
    pub unsafe fn free_large(&self, block: NonNull<Header>) {
        // SAFETY: passed on.
        unsafe { self.0.cut_large(block, 0) }
    }

    /// Makes such a block longer by a page, if the one behind it is free; whether it was.
    ///
    /// # Safety
    /// It came from `alloc_large`, and the caller is its owner.
    pub unsafe fn extend_large(&self, block: NonNull<Header>) -> bool {
        let bytes = (self.0.large_pages(self.0.page_of(block.as_ptr())) + 1) * PAGE;
        // SAFETY: passed on.
        unsafe { self.0.extend_large(block, bytes) }
    }

    /// Writes a block's bytes: those of its `page`-th page stand for a page's.
    ///
    /// # Safety
    /// The caller is its only owner, and it has so many pages.
    pub unsafe fn write(&self, block: NonNull<Header>, page: usize, value: u32) {
        // SAFETY: passed on.
        self.1.0[self.0.page_of(block.as_ptr()) + page].with_mut(|it| unsafe { *it = value });
    }

    /// Reads what [`write`](ModelHeap::write) wrote.
    ///
    /// # Safety
    /// The caller is an owner.
    pub unsafe fn read(&self, block: NonNull<Header>, page: usize) -> u32 {
        // SAFETY: passed on.
        self.1.0[self.0.page_of(block.as_ptr()) + page].with(|it| unsafe { *it })
    }

    /// The block that begins here, if there is one.
    pub fn find(&self, block: NonNull<Header>) -> Option<NonNull<Header>> {
        self.0.block_at(block.addr().get() - self.0.base.addr())
    }

    /// Gives back what is kept for speed and belongs to no thread.
    pub fn trim(&self) {
        self.0.clear_shelves();
        self.0.release_spares();
        self.0.purge_all();
    }

    /// Blocks that are in use or at hand, and pages that spans and large blocks have.
    pub fn used(&self) -> (u64, u64) {
        let counters = self.0.tables().counters();
        (counters.classes[0].out.load(Relaxed), counters.used_pages.load(Relaxed))
    }
}

impl Hand {
    /// Magazines for the calling thread.
    pub fn of(heap: &Arc<ModelHeap>) -> Hand {
        let magazines = heap.0.claim_magazines().expect("models have few threads");
        Hand { magazines, heap: Arc::clone(heap) }
    }

    fn magazines(&self) -> &Magazines {
        // SAFETY: they lie in the tables of a heap that `self` keeps.
        unsafe { &*self.magazines }
    }

    /// A block with one owner.
    pub fn alloc(&self) -> NonNull<Header> {
        let heap = &self.heap.0;
        let refill = || self.magazines().refill(heap, 0, false, 0);
        let block = match self.magazines().take(0) {
            Some(block) => block,
            None => heap.refill(0, 0, refill, || self.heap.trim()).expect("models fit their heap"),
        };
        // SAFETY: the block was handed to us, and to nobody else.
        unsafe { block.as_ref() }.begin(0, 0, Kind::Bytes);
        block
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// It came from `alloc` of a hand of this heap, and its last owner has left.
    pub unsafe fn free(&self, block: NonNull<Header>) {
        // SAFETY: passed on; there is one class.
        unsafe {
            if !self.magazines().put(0, block) {
                self.magazines().spill(&self.heap.0, 0, block);
            }
        }
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.heap.0.give_back_magazines(self.magazines());
    }
}
