//! A heap: the pages of one process, and all that is cut from them.

use std::{
    ptr::{NonNull, null_mut},
    sync::{MutexGuard, PoisonError},
};

use super::{
    class::{self, BLOCK, CLASSES, SPAN_PAGES},
    large::Runs,
    magazine::{self, Magazines},
    span::{Class, newer},
};
use crate::{
    Error,
    block::Header,
    layout::{Entry, PAGE},
    map::{Data, Tables},
    range,
    stats::{ClassStats, Stats},
    sync::{
        Mutex,
        atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::*},
    },
};

/// The least limit there is: a few spans of different classes, and what is kept for envelopes.
const LEAST_LIMIT: u64 = 1 << 20;
/// What is kept for envelopes is a hundredth of the limit, but at least a span for each kind of them.
const LEAST_RESERVE: usize = 64;
/// The heap grows by an eighth, but at least and at most by this many pages.
const LEAST_STEP: usize = 256;
const MOST_STEP: usize = 4096;
/// Free pages that the system does not get back at once: they are likely to be used again.
const MOST_DIRTY: u32 = 4096;

/// The open heaps, by number.
static HEAPS: [AtomicPtr<Heap>; range::HEAPS] = [const { AtomicPtr::new(null_mut()) }; range::HEAPS];
/// Held while one is opened.
static OPENING: Mutex<()> = Mutex::new(());

/// One heap. It is never closed.
pub(crate) struct Heap {
    /// Its addresses, shifted by [`range::HEAP_BITS`].
    number: usize,
    pub(super) base: *mut u8,
    limit: Option<u64>,
    /// The limit in pages, and how many of them only envelopes get.
    most: usize,
    reserve: usize,
    tables: Tables,
    /// Pages that may be looked at: a copy of `Data::committed` for `find`.
    pub(super) committed: AtomicUsize,
    /// See A4.
    newest: AtomicU32,
    pages: Mutex<Pages>,
    classes: [Mutex<Class>; CLASSES],
    /// The magazines of the threads that have some.
    threads: Mutex<Vec<&'static Magazines>>,
    large_blocks: AtomicU64,
    large_pages: AtomicU64,
}

// SAFETY: `base` is an address to compute with; everything else is `Sync`, but for the cells in magazines, of which only the
// lengths are read here (M1).
unsafe impl Sync for Heap {}
// SAFETY: as above.
unsafe impl Send for Heap {}

/// What the lock of the pages guards.
struct Pages {
    data: Data,
    runs: Runs,
    /// Pages that are not free.
    used: usize,
    /// Numbers of spans that were given back, and the first that was never used.
    free_spans: Vec<u32>,
    next_span: u32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic under one of these locks is a failed assertion of ours; what follows must at least not hang.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Heap {
    /// Opens the next heap that is not open.
    pub(crate) fn open(limit: Option<u64>) -> Result<&'static Heap, Error> {
        if let Some(limit) = limit.filter(|&it| it < LEAST_LIMIT) {
            return Err(Error::Limit { limit, least: LEAST_LIMIT });
        }
        let _guard = lock(&OPENING);
        let index = HEAPS.iter().position(|it| it.load(Relaxed).is_null()).unwrap_or(range::HEAPS);
        let data = Data::of_heap(index)?;
        let most = match limit {
            Some(limit) => data.capacity().min((limit / PAGE as u64) as usize),
            None => data.capacity(),
        };
        let heap = Box::leak(Box::new(Heap {
            number: range::heap_base(index) >> range::HEAP_BITS,
            base: data.base(),
            limit,
            most,
            reserve: (most / 100).max(LEAST_RESERVE),
            tables: Tables::map(index, data.capacity())?,
            committed: AtomicUsize::new(0),
            newest: AtomicU32::new(0),
            pages: Mutex::new(Pages {
                data,
                runs: Runs::default(),
                used: 0,
                free_spans: Vec::new(),
                next_span: 0,
            }),
            classes: std::array::from_fn(|number| Mutex::new(Class::new(number))),
            threads: Mutex::new(Vec::new()),
            large_blocks: AtomicU64::new(0),
            large_pages: AtomicU64::new(0),
        }));
        // Release pairs with the Acquire in `of`.
        HEAPS[index].store(heap, Release);
        Ok(heap)
    }

    /// The open heap with this index.
    #[inline]
    pub(super) fn of(index: usize) -> Option<&'static Heap> {
        // SAFETY: what is stored there lives as long as the process. Acquire pairs with the Release in `open`.
        unsafe { HEAPS[index].load(Acquire).as_ref() }
    }

    #[inline]
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    pub(crate) fn limit(&self) -> Option<u64> {
        self.limit
    }

    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    pub(crate) fn class(&self, class: usize) -> MutexGuard<'_, Class> {
        lock(&self.classes[class])
    }

    /// The address `offset` bytes into the data.
    ///
    /// # Safety
    /// It lies inside of the heap.
    #[inline]
    pub(crate) unsafe fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: passed on; all data are one reservation.
        unsafe { self.base.byte_add(offset) }
    }

    #[inline]
    pub(super) fn page_of(&self, block: *const Header) -> usize {
        (block.addr() - self.base.addr()) / PAGE
    }

    /// The span that a block was cut from.
    pub(crate) fn span_of(&self, block: *const Header) -> u32 {
        match self.tables.entry(self.page_of(block)) {
            Entry::Span(number) => number,
            other => panic!("a block lies in pages that are {other:?} (A2)"),
        }
    }

    /// A block of `bytes`, header and all. `size` is what the caller wanted, for the error; `reserve` is whether the block
    /// is an envelope.
    #[inline]
    pub(crate) fn allocate(
        &'static self,
        bytes: usize,
        size: usize,
        reserve: bool,
    ) -> Result<NonNull<Header>, Error> {
        match class::of(bytes) {
            Some(class) => match magazine::take(self.number, class) {
                Some(block) => Ok(block),
                None => self.refill(class, reserve, size),
            },
            None => self.allocate_large(bytes, size),
        }
    }

    #[cold]
    fn refill(&'static self, class: usize, reserve: bool, size: usize) -> Result<NonNull<Header>, Error> {
        match magazine::refill(self, class, reserve, size) {
            Err(Error::Full { .. }) => {}
            other => return other,
        }
        self.trim();
        match magazine::refill(self, class, reserve, size) {
            // A whole span is a lot to ask near the limit, when a few pages would do.
            Err(Error::Full { .. }) if class >= class::FIRST_OF_PAGES => {
                self.new_large(BLOCK[class] as usize, size)
            }
            other => other,
        }
    }

    #[cold]
    fn allocate_large(&'static self, bytes: usize, size: usize) -> Result<NonNull<Header>, Error> {
        match self.new_large(bytes, size) {
            Err(Error::Full { .. }) => {
                self.trim();
                self.new_large(bytes, size)
            }
            other => other,
        }
    }

    fn new_large(&self, bytes: usize, size: usize) -> Result<NonNull<Header>, Error> {
        let pages = bytes.div_ceil(PAGE);
        let first = self.take_pages(pages, false, size)?;
        self.large_blocks.fetch_add(1, Relaxed);
        self.large_pages.fetch_add(pages as u64, Relaxed);
        // SAFETY: the pages are committed and ours alone.
        let block = unsafe {
            let block = self.at(first * PAGE).cast::<Header>();
            block.write(Header::free(Header::LARGE, self.newest.load(Relaxed)));
            NonNull::new_unchecked(block)
        };
        self.tables.set(first, Entry::Large(pages as u32));
        Ok(block)
    }

    /// Frees the pages of a large block behind its first `keep`.
    ///
    /// # Safety
    /// The block is large, nobody else uses it, and with `keep` = 0 nobody owns it.
    pub(super) unsafe fn cut_large(&self, block: NonNull<Header>, keep: usize) {
        let first = self.page_of(block.as_ptr());
        let Entry::Large(pages) = self.tables.entry(first) else {
            panic!("a large block is not in the page table (A2)")
        };
        let pages = pages as usize;
        if keep >= pages {
            return;
        }
        if keep == 0 {
            // SAFETY: nobody else uses the block.
            self.leave_behind(unsafe { block.as_ref() }.generation());
            self.tables.set(first, Entry::Nothing);
            self.large_blocks.fetch_sub(1, Relaxed);
        } else {
            self.tables.set(first, Entry::Large(keep as u32));
        }
        self.large_pages.fetch_sub((pages - keep) as u64, Relaxed);
        // SAFETY: no block is in these pages any more.
        unsafe { self.give_pages(first + keep, pages - keep) };
    }

    /// A span of a class, not in any list yet. The caller holds the lock of the class (A3).
    pub(crate) fn new_span(&self, class: usize, reserve: bool, size: usize) -> Result<u32, Error> {
        let pages = usize::from(SPAN_PAGES[class]);
        let first = self.take_pages(pages, reserve, size)?;
        let number = {
            let mut pages = lock(&self.pages);
            pages.free_spans.pop().unwrap_or_else(|| {
                let next = pages.next_span;
                assert!(next < self.tables.span_count(), "there are more spans than pages for them");
                pages.next_span += 1;
                next
            })
        };
        let span = self.tables.span(number);
        let birth = self.newest.load(Relaxed);
        span.carved.store(0, Relaxed);
        span.first.store(first as u32, Relaxed);
        span.class.store(class as u32, Relaxed);
        span.free.store(null_mut(), Relaxed);
        span.free_len.store(0, Relaxed);
        span.birth.store(birth, Relaxed);
        span.newest.store(birth, Relaxed);
        for page in first..first + pages {
            self.tables.set(page, Entry::Span(number));
        }
        Ok(number)
    }

    /// Frees the pages of a span none of whose blocks is out. The caller holds the lock of the class (A3).
    pub(crate) fn release_span(&self, number: u32, class: usize) {
        let span = self.tables.span(number);
        let (first, pages) = (span.first.load(Relaxed) as usize, usize::from(SPAN_PAGES[class]));
        self.leave_behind(span.newest.load(Relaxed));
        for page in first..first + pages {
            self.tables.set(page, Entry::Nothing);
        }
        lock(&self.pages).free_spans.push(number);
        // SAFETY: all blocks of the span were free, and the page table has forgotten it.
        unsafe { self.give_pages(first, pages) };
    }

    /// Keeps generations rising over the lives of pages (A4).
    fn leave_behind(&self, generation: u32) {
        let later = |newest| newer(generation, newest).then_some(generation);
        let _ = self.newest.fetch_update(Relaxed, Relaxed, later);
    }

    /// Takes pages out of the free ones, or makes the heap larger.
    fn take_pages(&self, count: usize, reserve: bool, size: usize) -> Result<usize, Error> {
        let mut pages = lock(&self.pages);
        let most = if reserve { self.most } else { self.most - self.reserve };
        if count > most.saturating_sub(pages.used) {
            return Err(self.full(size));
        }
        let first = loop {
            if let Some(first) = pages.runs.take(count as u32) {
                break first as usize;
            }
            let committed = pages.data.committed();
            let left = pages.data.capacity() - committed;
            let need = count - pages.runs.ending_at(committed as u32) as usize;
            if need > left {
                return Err(self.full(size));
            }
            let step = (committed / 8).clamp(LEAST_STEP, MOST_STEP).clamp(need, left);
            pages.data.grow(step)?;
            pages.runs.give_clean(committed as u32, step as u32);
            // Release pairs with the Acquire in `find`: what it may look at is mapped.
            self.committed.store(committed + step, Release);
        };
        pages.used += count;
        Ok(first)
    }

    /// Puts pages back to the free ones; when many have piled up, the system gets some.
    ///
    /// # Safety
    /// No block has a byte in there.
    unsafe fn give_pages(&self, first: usize, count: usize) {
        let mut pages = lock(&self.pages);
        pages.runs.give(first as u32, count as u32);
        pages.used -= count;
        if pages.runs.dirty() > MOST_DIRTY {
            pages.purge(MOST_DIRTY / 2);
        }
    }

    fn full(&self, size: usize) -> Error {
        Error::Full { size, limit: self.limit.unwrap_or((self.most * PAGE) as u64) }
    }

    /// Gives back what is only kept for speed: this thread's magazines and each class's empty span.
    fn release_kept(&'static self) {
        self.flush();
        for class in 0..CLASSES {
            self.class(class).trim(self);
        }
    }

    /// Gives back this thread's magazines.
    pub(crate) fn flush(&'static self) {
        magazine::flush(self);
    }

    /// As `release_kept`; then the system gets all free pages.
    pub(crate) fn trim(&'static self) {
        self.release_kept();
        lock(&self.pages).purge(0);
    }

    pub(crate) fn register(&self, magazines: &'static Magazines) {
        lock(&self.threads).push(magazines);
    }

    pub(crate) fn unregister(&self, magazines: &'static Magazines) {
        lock(&self.threads).retain(|it| !std::ptr::eq(*it, magazines));
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for (class, &block) in BLOCK.iter().enumerate() {
            // Under both locks, so that no block is on its way from one to the other.
            let (threads, guard) = (lock(&self.threads), self.class(class));
            let kept: u64 = threads.iter().map(|it| u64::from(it.len(class))).sum();
            let (spans, live) = (u64::from(guard.spans()), guard.out().saturating_sub(kept));
            if spans > 0 {
                stats.classes.push(ClassStats { block: block as usize, live, spans });
            }
            stats.live_blocks += live;
            stats.live_bytes += live * u64::from(block);
        }
        stats.large_blocks = self.large_blocks.load(Relaxed);
        stats.large_bytes = self.large_pages.load(Relaxed) * PAGE as u64;
        stats.live_blocks += stats.large_blocks;
        stats.live_bytes += stats.large_bytes;
        let pages = lock(&self.pages);
        stats.used_bytes = (pages.used * PAGE) as u64;
        stats.committed_bytes = (pages.data.committed() * PAGE) as u64;
        stats.retained_bytes = u64::from(pages.runs.dirty()) * PAGE as u64;
        stats.limit = (self.most * PAGE) as u64;
        stats
    }
}

impl Pages {
    /// Gives free pages back to the system until at most `keep` are left that it could have.
    fn purge(&mut self, keep: u32) {
        while self.runs.dirty() > keep {
            let Some((first, count)) = self.runs.next_dirty() else { break };
            // SAFETY: dirty pages are free ones.
            unsafe { self.data.discard(first as usize, count as usize) };
        }
    }
}
