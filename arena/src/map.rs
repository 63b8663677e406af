//! The two mappings of a heap: its tables, and its data as they grow.
//!
//! The tables are memory of this process's own, mapped by memmap2 wherever the system likes; they are touched page by page as
//! the heap grows, so that the tables of a small heap are small. The data lie at the heap's fixed address, and rustix makes
//! them usable in steps.

use std::io;

use memmap2::{MmapMut, MmapOptions};

use crate::{
    Error,
    layout::{Entry, MAGIC, PAGE, SHORTEST_SPAN, Span, Superblock, VERSION},
    range,
    sync::atomic::{AtomicU32, Ordering::*},
};

/// What each page of a heap is. See [`crate::layout`].
pub(crate) struct Tables {
    pages: &'static [AtomicU32],
    spans: &'static [Span],
}

impl Tables {
    /// Maps tables for `pages` pages of heap `heap`.
    pub(crate) fn map(heap: usize, pages: usize) -> Result<Tables, Error> {
        let spans = pages.div_ceil(SHORTEST_SPAN);
        let page_table = size_of::<Superblock>().next_multiple_of(PAGE);
        let span_table = (page_table + pages * size_of::<AtomicU32>()).next_multiple_of(PAGE);
        let size = span_table + spans * size_of::<Span>();

        let refused = |source: io::Error| Error::Map { size, source };
        let map = MmapOptions::new().len(size).no_reserve_swap().map_anon().map_err(refused)?;
        // A heap lives as long as the process, and so do its tables.
        let map: &'static mut MmapMut = Box::leak(Box::new(map));
        let start = map.as_mut_ptr();
        // SAFETY:
        // * the three parts lie inside the mapping, apart from each other, and the mapping is never undone;
        // * they are aligned, since the mapping and the parts begin with a page;
        // * zeros are valid for atomics, and nobody has another reference.
        unsafe {
            start.cast::<Superblock>().write(Superblock {
                magic: MAGIC,
                version: VERSION,
                heap: heap as u32,
                base: range::heap_base(heap) as u64,
                pages: pages as u32,
                spans: spans as u32,
                page_table: page_table as u64,
                span_table: span_table as u64,
            });
            Ok(Tables {
                pages: std::slice::from_raw_parts(start.byte_add(page_table).cast(), pages),
                spans: std::slice::from_raw_parts(start.byte_add(span_table).cast(), spans),
            })
        }
    }

    /// What page `page` is; nothing if there is no such page.
    #[inline]
    pub(crate) fn entry(&self, page: usize) -> Entry {
        // Acquire pairs with the Release in `set`: who reads the entry sees the span or the header that it tells of.
        self.pages.get(page).map_or(Entry::Nothing, |it| Entry::from_bits(it.load(Acquire)))
    }

    /// Says what page `page` is from now on.
    #[inline]
    pub(crate) fn set(&self, page: usize, entry: Entry) {
        // Release pairs with the Acquire in `entry`.
        self.pages[page].store(entry.to_bits(), Release);
    }

    /// Span number `number`.
    #[inline]
    pub(crate) fn span(&self, number: u32) -> &Span {
        &self.spans[number as usize]
    }

    /// How many spans there can be.
    pub(crate) fn span_count(&self) -> u32 {
        self.spans.len() as u32
    }
}

/// The data pages of a heap: how many there may be, and how many are usable.
pub(crate) struct Data {
    base: *mut u8,
    capacity: usize,
    committed: usize,
}

// SAFETY: the pointer is an address to compute with; who uses the bytes is decided by the page table.
unsafe impl Send for Data {}

impl Data {
    /// The data of heap `heap`, none of them usable yet.
    ///
    /// # Errors
    /// The range cannot be reserved, or the heap does not lie in what could be.
    pub(crate) fn of_heap(heap: usize) -> Result<Data, Error> {
        let reserved = range::ensure_reserved()?;
        let whole = 1 << range::HEAP_BITS;
        let room = reserved.saturating_sub(heap << range::HEAP_BITS).min(whole);
        if heap >= range::HEAPS || room == 0 {
            return Err(Error::NoHeap { heaps: reserved.div_ceil(whole).min(range::HEAPS), reserved });
        }
        let base = std::ptr::with_exposed_provenance_mut(range::heap_base(heap));
        Ok(Data { base, capacity: room / PAGE, committed: 0 })
    }

    /// Where they begin.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }

    /// How many pages there may be.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many pages are usable: those from the first on.
    pub(crate) fn committed(&self) -> usize {
        self.committed
    }

    /// Makes `pages` more pages usable.
    pub(crate) fn grow(&mut self, pages: usize) -> Result<(), Error> {
        assert!(pages <= self.capacity - self.committed, "a heap grew past its end");
        // SAFETY: the pages are this heap's, and reserved.
        unsafe { range::commit(self.base.byte_add(self.committed * PAGE), pages * PAGE)? };
        self.committed += pages;
        Ok(())
    }

    /// Gives the memory of `pages` pages from `first` on back; they stay usable and read as zeros.
    ///
    /// # Safety
    /// No block has a byte there.
    pub(crate) unsafe fn discard(&self, first: usize, pages: usize) {
        debug_assert!(first + pages <= self.committed);
        // SAFETY: the pages are committed, and free by the caller's promise.
        unsafe { range::discard(self.base.byte_add(first * PAGE), pages * PAGE) }
    }
}
