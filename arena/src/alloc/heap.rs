//! A heap: the pages of one process, and all that is cut from them.

use std::{ptr::NonNull, sync::PoisonError};

use super::{
    class::{self, BLOCK, CLASSES, SPAN_PAGES},
    map::{Data, Tables},
    pages::Pages,
    span::{Class, Released, newer},
};
use crate::{
    Error,
    block::Header,
    layout::{Entry, MAGAZINE_SLOTS, Magazines, PAGE},
    range,
    step::step,
    sync::{Mutex, MutexGuard, atomic::Ordering::*},
};

/// What is kept for envelopes is a hundredth of the limit, but at least a span for each kind of them.
const LEAST_RESERVE: usize = if cfg!(loom) { 0 } else { 64 };

/// The first entry of the magazine table that a thread gets. The one before it begins a page, as do the first block of a span and each
/// large one. Processors tell lines at the same place of different pages apart by a few bits of their addresses; where those happen
/// to be equal, magazines and block push each other out of the cache: 4 to 18 ns instead of 2.7 for a block that is
/// allocated and freed, in one process of ten.
const FIRST_ENTRY: u64 = if cfg!(loom) { 0 } else { 1 };

/// One heap. It is never closed.
pub(crate) struct Heap {
    /// Its addresses, shifted by [`range::HEAP_BITS`].
    pub(super) number: usize,
    pub(super) base: *mut u8,
    pub(super) limit: Option<u64>,
    /// The limit in pages, and how many of them only envelopes get.
    most: usize,
    reserve: usize,
    tables: Tables,
    pub(super) pages: Mutex<Pages>,
    /// Held by whoever gives pages back to the system.
    pub(super) purging: Mutex<()>,
    classes: [Mutex<Class>; CLASSES],
    /// Entries of the magazine table that were given back.
    free_slots: Mutex<Vec<u32>>,
}

// SAFETY: `base` is an address to compute with; everything else is `Sync`.
unsafe impl Sync for Heap {}
// SAFETY: as above.
unsafe impl Send for Heap {}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic under one of these locks is a failed assertion of ours; what follows must at least not hang.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Heap {
    /// A heap over these mappings.
    pub(super) fn new(index: usize, data: Data, tables: Tables, limit: Option<u64>) -> Heap {
        let most = match limit {
            Some(limit) => data.capacity().min((limit / PAGE as u64) as usize),
            None => data.capacity(),
        };
        tables.counters().limit_pages.store(most as u64, Relaxed);
        Heap {
            number: range::heap_base(index) >> range::HEAP_BITS,
            base: data.base(),
            limit,
            most,
            reserve: (most / 100).max(LEAST_RESERVE),
            tables,
            pages: Mutex::new(Pages::new(data)),
            purging: Mutex::new(()),
            classes: std::array::from_fn(|number| Mutex::new(Class::new(number))),
            free_slots: Mutex::new(Vec::new()),
        }
    }

    #[inline]
    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    pub(super) fn class(&self, class: usize) -> MutexGuard<'_, Class> {
        lock(&self.classes[class])
    }

    /// How many pages may be used, by envelopes or by others.
    pub(super) fn most(&self, reserve: bool) -> usize {
        if reserve { self.most } else { self.most - self.reserve }
    }

    pub(super) fn full(&self, size: usize) -> Error {
        Error::Full { size, limit: self.limit.unwrap_or((self.most * PAGE) as u64) }
    }

    /// The address `offset` bytes into the data.
    ///
    /// # Safety
    /// It lies inside of the heap.
    #[inline]
    pub(super) unsafe fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: passed on; all data are one reservation.
        unsafe { self.base.byte_add(offset) }
    }

    #[inline]
    pub(super) fn page_of(&self, block: *const Header) -> usize {
        (block.addr() - self.base.addr()) / PAGE
    }

    /// A large block of so many bytes. With `room`, there is more behind it if anywhere, to grow into.
    pub(super) fn new_large(&self, bytes: usize, room: bool, size: usize) -> Result<NonNull<Header>, Error> {
        let pages = bytes.div_ceil(PAGE);
        let first = self.take_pages(pages, false, room, size)?;
        let counters = self.tables.counters();
        step("large/taken");
        counters.large_blocks.fetch_add(1, Relaxed);
        counters.large_pages.fetch_add(pages as u64, Relaxed);
        // SAFETY: the pages are committed and ours alone.
        let block = unsafe {
            let block = self.at(first * PAGE).cast::<Header>();
            Header::place(block, Header::LARGE, self.newest());
            NonNull::new_unchecked(block)
        };
        step("large/written");
        self.tables.set(first, Entry::Large(pages as u32));
        step("large/entered");
        Ok(block)
    }

    /// The pages of a large block.
    pub(super) fn large_pages(&self, first: usize) -> usize {
        match self.tables.entry(first) {
            Entry::Large(pages) => pages as usize,
            other => panic!("a large block lies in pages that are {other:?} (A2)"),
        }
    }

    /// Frees the pages of a large block behind its first `keep`.
    ///
    /// # Safety
    /// The block is large, nobody else uses it, and with `keep` = 0 nobody owns it.
    pub(super) unsafe fn cut_large(&self, block: NonNull<Header>, keep: usize) {
        let first = self.page_of(block.as_ptr());
        let pages = self.large_pages(first);
        if keep >= pages {
            return;
        }
        let counters = self.tables.counters();
        if keep == 0 {
            // SAFETY: nobody else uses the block.
            self.leave_behind(unsafe { block.as_ref() }.generation());
            self.tables.set(first, Entry::Nothing);
            step("large/forgotten");
            counters.large_blocks.fetch_sub(1, Relaxed);
        } else {
            self.tables.set(first, Entry::Large(keep as u32));
        }
        counters.large_pages.fetch_sub((pages - keep) as u64, Relaxed);
        step("large/cut");
        // SAFETY: no block is in these pages any more.
        unsafe { self.give_pages(first + keep, pages - keep, keep == 0) };
    }

    /// The block that begins `offset` bytes into the data, if one does. Only tables are read, so the offset may be any.
    #[inline]
    pub(super) fn block_at(&self, offset: usize) -> Option<NonNull<Header>> {
        let page = offset / PAGE;
        if !offset.is_multiple_of(align_of::<Header>()) || page >= self.tables.committed() {
            return None;
        }
        let starts = match self.tables.entry(page) {
            Entry::Nothing => false,
            Entry::Large(_) => offset.is_multiple_of(PAGE),
            Entry::Span(number) => {
                let span = self.tables.span(number);
                // Acquire pairs with the Release in `carve`: the headers of so many blocks are there.
                let carved = span.carved.load(Acquire);
                let class = span.class.load(Relaxed) as usize;
                let block = *BLOCK.get(class)? as usize;
                let inside = offset.checked_sub(span.first.load(Relaxed) as usize * PAGE)?;
                let index = class::index_in_span(class, inside);
                index < carved && index as usize * block == inside
            }
        };
        // SAFETY: the offset lies inside of the heap.
        starts.then(|| unsafe { NonNull::new_unchecked(self.at(offset).cast()) })
    }

    /// Makes a large block longer by the pages behind it, so that it has `bytes`; whether they were free.
    ///
    /// # Safety
    /// The block is large, and the caller is its only owner.
    pub(super) unsafe fn extend_large(&self, block: NonNull<Header>, bytes: usize) -> bool {
        let first = self.page_of(block.as_ptr());
        let (pages, wanted) = (self.large_pages(first), bytes.div_ceil(PAGE));
        if wanted > pages {
            if !self.take_pages_at(first + pages, wanted - pages) {
                return false;
            }
            self.tables.counters().large_pages.fetch_add((wanted - pages) as u64, Relaxed);
            step("large/extending");
            self.tables.set(first, Entry::Large(wanted as u32));
        }
        true
    }

    /// A span of a class, not in any list yet. The caller holds the lock of the class (A3).
    pub(super) fn new_span(&self, class: usize, reserve: bool, size: usize) -> Result<u32, Error> {
        let pages = usize::from(SPAN_PAGES[class]);
        let first = self.take_pages(pages, reserve, false, size)?;
        let number = lock(&self.pages).take_number(self);
        step("span/numbered");
        let span = self.tables.span(number);
        let birth = self.newest();
        span.carved.store(0, Relaxed);
        span.first.store(first as u32, Relaxed);
        span.class.store(class as u32, Relaxed);
        span.free_len.store(0, Relaxed);
        span.hint.store(0, Relaxed);
        span.birth.store(birth, Relaxed);
        span.newest.store(birth, Relaxed);
        for page in first..first + pages {
            self.tables.set(page, Entry::Span(number));
            step("span/entered");
        }
        Ok(number)
    }

    /// Frees the pages of spans that have left their class, whose lock need not be held.
    pub(super) fn release(&self, class: usize, mut released: Released) {
        if released.is_empty() {
            return;
        }
        let pages = usize::from(SPAN_PAGES[class]);
        while let Some(number) = released.pop(self) {
            let span = self.tables.span(number);
            let first = span.first.load(Relaxed) as usize;
            self.leave_behind(span.newest.load(Relaxed));
            // All blocks are free. The next span with this number begins with no bit.
            span.carved.store(0, Relaxed);
            span.free_len.store(0, Relaxed);
            span.free.iter().for_each(|it| it.store(0, Relaxed));
            step("span/emptied");
            for page in first..first + pages {
                self.tables.set(page, Entry::Nothing);
                step("span/forgotten");
            }
            lock(&self.pages).give_number(number);
            // SAFETY: all blocks of the span were free, and the page table has forgotten it.
            unsafe { self.give_pages(first, pages, true) };
        }
    }

    fn newest(&self) -> u32 {
        self.tables.counters().newest.load(Relaxed) as u32
    }

    /// Keeps generations rising over the lives of pages (A4).
    fn leave_behind(&self, generation: u32) {
        let later = |newest| newer(generation, newest as u32).then_some(generation.into());
        let _ = self.tables.counters().newest.fetch_update(Relaxed, Relaxed, later);
    }

    /// A block for a thread that has none of this class at hand; `magazine` gets one, and some more for next time.
    #[cold]
    pub(super) fn refill(
        &self,
        class: usize,
        size: usize,
        magazine: impl Fn() -> Result<NonNull<Header>, Error>,
        trim: impl Fn(),
    ) -> Result<NonNull<Header>, Error> {
        match magazine() {
            Err(Error::Full { .. } | Error::Map { .. } | Error::SharedFull { .. }) => trim(),
            other => return other,
        }
        match magazine() {
            // A whole span is a lot to ask near the limit, when a few pages would do.
            Err(Error::Full { .. }) if class >= class::FIRST_OF_PAGES => {
                self.new_large(BLOCK[class] as usize, false, size)
            }
            other => other,
        }
    }

    /// Lets go what is kept for speed and belongs to no thread: each class's empty span.
    pub(super) fn release_spares(&self) {
        for class in 0..CLASSES {
            let released = self.class(class).trim(self);
            self.release(class, released);
        }
    }

    /// Magazines for a thread; none if a thousand threads have some, or there is no memory.
    pub(super) fn claim_magazines(&self) -> Option<&Magazines> {
        let mut free = lock(&self.free_slots);
        let entries = &self.tables.counters().magazine_entries;
        let slot = free.pop().or_else(|| {
            let used = entries.load(Relaxed);
            let next = used.max(FIRST_ENTRY);
            if next as usize >= MAGAZINE_SLOTS {
                return None;
            }
            // Also what lies before the first one: others look through all of them.
            for entry in used..=next {
                lock(&self.pages).data().back_magazines(entry as usize).ok()?;
            }
            // Release pairs with the Acquire in `Tables::magazines`: they can be touched.
            step("magazines/backed");
            entries.store(next + 1, Release);
            Some(next as u32)
        })?;
        let claimed = &self.tables.magazines()[slot as usize];
        claimed.slot.store(slot, Relaxed);
        claimed.heap.store(self.number, Relaxed);
        Some(claimed)
    }

    /// Takes back what [`claim_magazines`](Heap::claim_magazines) gave, and the blocks in it.
    pub(super) fn give_back_magazines(&self, magazines: &Magazines) {
        magazines.flush(self);
        lock(&self.free_slots).push(magazines.slot.load(Relaxed));
    }
}
