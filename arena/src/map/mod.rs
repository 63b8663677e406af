//! The two mappings of a heap: its tables, and its data as they grow.
//!
//! The tables are mapped by memmap2 wherever the system likes; they are touched page by page as the heap grows, so that the
//! tables of a small heap are small. The data lie at the heap's fixed address, and rustix makes them usable in steps.
//!
//! There are two backings. *Private*: memory of this process's own. *Files*: two files of a domain ([`crate::domain`]), which
//! other processes map read-only. A page of a file is touched only once the file system has promised it (F1), because a store
//! that finds the file system full is a signal and not an error.
//!
//! # Invariants
//! * **F1** Before a page of a file is written or handed out, `fallocate` has promised it, and it was not given back since.
//! * **F2** `committed` in the superblock only grows, and what it counts is inside of the file: who reads it may map so much.

mod file;

use std::{fs::File, io, ptr::NonNull};

use memmap2::{Mmap, MmapMut, MmapOptions};

pub(crate) use file::{grow_to, promise};

use crate::{
    Error,
    alloc::class::CLASSES,
    layout::{
        BUILD, Counters, Entry, MAGAZINE_SLOTS, MAGIC, Magazines, PAGE, READY, Shape, Shelf, Span,
        Superblock, VERSION,
    },
    range,
    step::step,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::*},
};

/// What each page of a heap is. See [`crate::layout`].
pub(crate) struct Tables {
    superblock: NonNull<Superblock>,
    pages: NonNull<[AtomicU32]>,
    shelves: NonNull<[Shelf]>,
    spans: NonNull<[Span]>,
    magazines: NonNull<[Magazines]>,
    /// Keeps the mapping.
    map: Map,
}

/// A mapping, for as long as somebody keeps it.
enum Map {
    Own { _kept: MmapMut },
    Peer { _kept: Mmap },
}

// SAFETY: everything behind the pointers that changes is atomic, and the mapping belongs to no thread.
unsafe impl Send for Tables {}
// SAFETY: as above.
unsafe impl Sync for Tables {}

/// Whose tables these are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Identity {
    pub(crate) build: u64,
    pub(crate) domain: u64,
    pub(crate) incarnation: u64,
    pub(crate) taken_ns: u64,
    pub(crate) pid: u32,
}

impl Tables {
    /// Maps tables for `pages` pages of heap `heap`, in memory of this process's own.
    pub(crate) fn private(heap: usize, pages: usize) -> Result<Tables, Error> {
        let shape = Shape::of(pages);
        let refused = |source: io::Error| Error::Map { size: shape.size, source };
        let map = MmapOptions::new().len(shape.size).no_reserve_swap().map_anon().map_err(refused)?;
        Ok(Tables::write(map, heap, shape, Identity::default()))
    }

    /// Makes an empty file the tables for `pages` pages of heap `heap`.
    pub(crate) fn create(
        file: &File,
        heap: usize,
        pages: usize,
        identity: Identity,
    ) -> Result<Tables, Error> {
        let shape = Shape::of(pages);
        grow_to(file, shape.size as u64)?;
        promise(file, 0, shape.page_table)?;
        let refused = |source: io::Error| Error::Map { size: shape.size, source };
        // SAFETY: the file is ours alone to write; that nobody truncates it is a rule of the domain.
        let map = unsafe { MmapOptions::new().len(shape.size).map_mut(file) }.map_err(refused)?;
        Ok(Tables::write(map, heap, shape, identity))
    }

    /// Maps the tables of another process, to read. The caller has compared `shape` with their superblock, and with the
    /// length of the file.
    pub(crate) fn of_peer(file: &File, shape: Shape) -> io::Result<Tables> {
        // SAFETY: what the owner writes meanwhile is read through atomics; that nobody truncates the file is a rule of the
        // domain.
        let map = unsafe { MmapOptions::new().len(shape.size).map(file)? };
        let start = NonNull::new(map.as_ptr().cast_mut()).expect("a mapping is not at zero");
        Ok(Tables::at(start, shape, Map::Peer { _kept: map }))
    }

    /// Writes the superblock, the state last.
    fn write(mut map: MmapMut, heap: usize, shape: Shape, identity: Identity) -> Tables {
        let start = NonNull::new(map.as_mut_ptr()).expect("a mapping is not at zero");
        let at = start.as_ptr().cast::<Superblock>();
        // SAFETY: the mapping is longer than a superblock, zeros, and known to nobody else; a page begins it.
        unsafe {
            (*at).magic = MAGIC;
            (*at).version = VERSION;
            (*at).heap = heap as u32;
            (*at).base = range::heap_base(heap) as u64;
            (*at).pages = shape.pages as u32;
            (*at).spans = shape.spans as u32;
            (*at).page_table = shape.page_table as u64;
            (*at).span_table = shape.span_table as u64;
            (*at).magazine_table = shape.magazine_table as u64;
            (*at).magazines = MAGAZINE_SLOTS as u32;
            (*at).build = identity.build;
            (*at).domain = identity.domain;
            (*at).incarnation = identity.incarnation;
            (*at).taken_ns = identity.taken_ns;
            (*at).pid = identity.pid;
            (*at).classes = CLASSES as u32;
            // Release: whoever maps the file and finds it ready (Acquire) finds the rest too.
            (*at).state.store(READY, Release);
        }
        Tables::at(start, shape, Map::Own { _kept: map })
    }

    fn at(start: NonNull<u8>, shape: Shape, map: Map) -> Tables {
        // SAFETY: the parts lie inside of the mapping, apart from each other.
        let part = |offset| unsafe { start.byte_add(offset) };
        let magazines = part(shape.magazine_table).cast();
        Tables {
            superblock: start.cast(),
            pages: NonNull::slice_from_raw_parts(part(shape.page_table).cast(), shape.pages),
            shelves: NonNull::slice_from_raw_parts(part(shape.shelves).cast(), CLASSES),
            spans: NonNull::slice_from_raw_parts(part(shape.span_table).cast(), shape.spans),
            magazines: NonNull::slice_from_raw_parts(magazines, MAGAZINE_SLOTS),
            map,
        }
    }

    fn pages(&self) -> &[AtomicU32] {
        // SAFETY: they lie inside of the mapping, which `self` keeps; the mapping and its parts begin with a page; zeros are
        // valid atomics, and only atomics change.
        unsafe { self.pages.as_ref() }
    }

    fn spans(&self) -> &[Span] {
        // SAFETY: as in `pages`.
        unsafe { self.spans.as_ref() }
    }

    /// What a tool reads first. Of a peer, look only at its atomics: the rest was checked before.
    #[inline]
    pub(crate) fn superblock(&self) -> &Superblock {
        // SAFETY: as in `pages`; of our own tables nobody else writes what is not atomic.
        unsafe { self.superblock.as_ref() }
    }

    /// What the heap holds.
    #[inline]
    pub(crate) fn counters(&self) -> &Counters {
        &self.superblock().counters
    }

    /// How many pages are usable: those from the first on.
    #[inline]
    pub(crate) fn committed(&self) -> usize {
        // Acquire pairs with the Release in `set_committed`: so much is mapped, or can be.
        self.superblock().committed.load(Acquire) as usize
    }

    /// Says how many pages are usable from now on.
    pub(crate) fn set_committed(&self, pages: usize) {
        debug_assert!(matches!(self.map, Map::Own { .. }));
        // Release pairs with the Acquire in `committed`.
        self.superblock().committed.store(pages as u32, Release);
    }

    /// What page `page` is; nothing if there is no such page.
    #[inline]
    pub(crate) fn entry(&self, page: usize) -> Entry {
        // Acquire pairs with the Release in `set`: who reads the entry sees the span or the header that it tells of.
        self.pages().get(page).map_or(Entry::Nothing, |it| Entry::from_bits(it.load(Acquire)))
    }

    /// Says what page `page` is from now on.
    #[inline]
    pub(crate) fn set(&self, page: usize, entry: Entry) {
        // Release pairs with the Acquire in `entry`.
        self.pages()[page].store(entry.to_bits(), Release);
    }

    /// Span number `number`, which our own tables gave us.
    #[inline]
    pub(crate) fn span(&self, number: u32) -> &Span {
        &self.spans()[number as usize]
    }

    /// Span number `number`, if there can be such a one.
    #[inline]
    pub(crate) fn try_span(&self, number: u32) -> Option<&Span> {
        self.spans().get(number as usize)
    }

    /// What waits between threads, by class.
    #[inline]
    pub(crate) fn shelves(&self) -> &[Shelf] {
        // SAFETY: as in `pages`.
        unsafe { self.shelves.as_ref() }
    }

    /// The magazines of the threads of the process: entries that were claimed once, and no others in a file (F1).
    pub(crate) fn magazines(&self) -> &[Magazines] {
        let claimed = self.counters().magazine_entries.load(Acquire) as usize;
        // SAFETY: as in `pages`.
        let all = unsafe { self.magazines.as_ref() };
        &all[..claimed.min(MAGAZINE_SLOTS)]
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
    files: Option<Files>,
}

/// The files behind a heap of a domain.
struct Files {
    heap: File,
    tables: File,
    shape: Shape,
    /// One bit per usable page: whether the file system has promised it (F1).
    promised: Vec<u64>,
}

// SAFETY: the pointer is an address to compute with; who uses the bytes is decided by the page table.
unsafe impl Send for Data {}

impl Data {
    /// The data of heap `heap`, none of them usable yet, in memory of this process's own.
    ///
    /// # Errors
    /// The range cannot be reserved, or the heap does not lie in what could be.
    pub(crate) fn private(heap: usize) -> Result<Data, Error> {
        let base = std::ptr::with_exposed_provenance_mut(range::heap_base(heap));
        Ok(Data { base, capacity: range::room(heap)? / PAGE, committed: 0, files: None })
    }

    /// The data of heap `heap` in the empty file `heap_file`, with tables in the file `tables`.
    ///
    /// # Errors
    /// As for [`private`](Data::private).
    pub(crate) fn shared(heap: usize, heap_file: File, tables: File) -> Result<Data, Error> {
        let data = Data::private(heap)?;
        let shape = Shape::of(data.capacity);
        let files = Files { heap: heap_file, tables, shape, promised: Vec::new() };
        Ok(Data { files: Some(files), ..data })
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

    /// Makes `pages` more pages usable. Those of a file have to be [`back`](Data::back)ed before they are touched.
    pub(crate) fn grow(&mut self, pages: usize) -> Result<(), Error> {
        assert!(pages <= self.capacity - self.committed, "a heap grew past its end");
        let committed = self.committed + pages;
        // SAFETY: the pages are this heap's, and reserved.
        let at = unsafe { self.base.byte_add(self.committed * PAGE) };
        match &mut self.files {
            // SAFETY: as above.
            None => unsafe { range::commit(at, pages * PAGE)? },
            Some(files) => {
                step("heap/growing");
                files.promise_tables(self.committed, committed)?;
                step("heap/promised");
                grow_to(&files.heap, (committed * PAGE) as u64)?;
                // SAFETY: as above; the file is that long now.
                unsafe { range::map_file(at, pages * PAGE, &files.heap, self.committed * PAGE, true)? };
                files.promised.resize(committed.div_ceil(64), 0);
            }
        }
        self.committed = committed;
        Ok(())
    }

    /// Makes sure that usable pages can be touched: of a file, those that it does not hold yet are promised (F1).
    pub(crate) fn back(&mut self, first: usize, count: usize) -> Result<(), Error> {
        debug_assert!(first + count <= self.committed);
        match &mut self.files {
            Some(files) => files.promise_data(first, count),
            None => Ok(()),
        }
    }

    /// Has the file system promise an entry of the magazine table (F1).
    pub(crate) fn back_magazines(&mut self, slot: usize) -> Result<(), Error> {
        match &mut self.files {
            Some(files) => files.promise_magazines(slot),
            None => Ok(()),
        }
    }

    /// Prepares to give the memory of `count` pages from `first` on back: they stay usable and read as zeros, once they are
    /// [`back`](Data::back)ed again. What is returned does it, and takes a while: no lock need be held, but the pages must not
    /// be used before it is done.
    pub(crate) fn discard(&mut self, first: usize, count: usize) -> Discard {
        debug_assert!(first + count <= self.committed);
        if let Some(files) = &mut self.files {
            // Forgotten first: should the system keep a page, promising it again costs nothing.
            files.forget(first, count);
        }
        Discard {
            at: self.base.wrapping_byte_add(first * PAGE),
            size: count * PAGE,
            file: self.files.is_some(),
        }
    }
}

/// Pages on their way back to the system.
#[must_use]
pub(crate) struct Discard {
    at: *mut u8,
    size: usize,
    file: bool,
}

impl Discard {
    /// Gives them back.
    ///
    /// # Safety
    /// No block has a byte there, and nobody uses the pages before this is done.
    pub(crate) unsafe fn run(self) {
        // SAFETY: the pages are committed, and free by the caller's promise.
        unsafe {
            match self.file {
                false => range::discard(self.at, self.size),
                true => range::remove(self.at, self.size),
            }
        }
    }
}

impl Files {
    /// Makes the parts of the tables that speak of pages `from..to` safe to touch (F1).
    fn promise_tables(&self, from: usize, to: usize) -> Result<(), Error> {
        let Shape { page_table, span_table, .. } = self.shape;
        let part = |at: usize, size: usize, from: usize, to: usize| {
            promise(&self.tables, (at + from * size) as u64, (to - from) * size)
        };
        part(page_table, size_of::<AtomicU32>(), from, to)?;
        part(span_table, size_of::<Span>(), from.div_ceil(16), to.div_ceil(16))
    }

    fn promise_magazines(&self, slot: usize) -> Result<(), Error> {
        let size = size_of::<Magazines>();
        promise(&self.tables, (self.shape.magazine_table + slot * size) as u64, size)
    }

    /// Promises those of some pages that are not.
    fn promise_data(&mut self, first: usize, count: usize) -> Result<(), Error> {
        let mut page = first;
        let end = first + count;
        while page < end {
            if self.is_promised(page) {
                page += 1;
                continue;
            }
            let start = page;
            while page < end && !self.is_promised(page) {
                page += 1;
            }
            promise(&self.heap, (start * PAGE) as u64, (page - start) * PAGE)?;
            for it in start..page {
                self.promised[it / 64] |= 1 << (it % 64);
            }
        }
        Ok(())
    }

    fn is_promised(&self, page: usize) -> bool {
        self.promised[page / 64] >> (page % 64) & 1 != 0
    }

    fn forget(&mut self, first: usize, count: usize) {
        for page in first..first + count {
            self.promised[page / 64] &= !(1 << (page % 64));
        }
    }
}

/// What `build` of a domain's files is, for an embedder that adds `own`.
pub(crate) fn build_of(own: u64) -> u64 {
    crate::layout::mix(BUILD, own)
}

const _: () = assert!(align_of::<AtomicU64>() == 8);
