//! What lies where: the constants that docs/arena-layout.md explains, and the first page of a heap's tables.
//!
//! A heap is two mappings. Its *data* are pages at a fixed address, blocks and nothing else. Its *tables* say what each page
//! is; they lie elsewhere, so that a write past the end of a payload damages at worst the next block.
//!
//! Numbers are little-endian. A change here is a new [`VERSION`].

#[cfg(not(loom))]
use std::mem::offset_of;

use crate::{
    alloc::class,
    block::Header,
    sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::*},
};

/// The unit in which a heap hands out memory.
pub(crate) const PAGE: usize = 4096;
/// Begins the tables of every heap.
pub(crate) const MAGIC: [u8; 8] = *b"skein\0ar";
/// The layout that this crate writes and reads.
pub(crate) const VERSION: u32 = 1;
/// The shortest span, in pages. There are never more spans than a heap has room for of these.
pub(crate) const SHORTEST_SPAN: usize = if cfg!(loom) { 1 } else { 16 };

/// First page of the tables: what a tool needs to read the rest, and the heap's counters.
///
/// Of a file in a domain everything but the atomics is written before `state` becomes [`READY`], and never again.
#[repr(C, align(4096))]
pub(crate) struct Superblock {
    pub(crate) magic: [u8; 8],
    pub(crate) version: u32,
    /// Which heap of the range.
    pub(crate) heap: u32,
    /// Where its pages begin.
    pub(crate) base: u64,
    /// How many pages it may have.
    pub(crate) pages: u32,
    /// How many spans it may have.
    pub(crate) spans: u32,
    /// Bytes from here to the page table, one [`Entry`] per page.
    pub(crate) page_table: u64,
    /// Bytes from here to the span table, one [`Span`] each.
    pub(crate) span_table: u64,
    /// [`BUILD`], mixed with what the embedder adds; 0 in private tables.
    pub(crate) build: u64,
    /// The domain that this heap belongs to; 0 in private tables.
    pub(crate) domain: u64,
    /// Which taking of the slot this is: a random number.
    pub(crate) incarnation: u64,
    /// When the slot was taken, in nanoseconds since 1970.
    pub(crate) taken_ns: u64,
    /// The process that owns the slot.
    pub(crate) pid: u32,
    /// [`READY`] once the rest is written.
    pub(crate) state: AtomicU32,
    /// Pages that are usable: those from the first on.
    pub(crate) committed: AtomicU32,
    /// How many of the counters by class are used.
    pub(crate) classes: u32,
    /// Bytes from here to the magazine table, and how many entries it has.
    pub(crate) magazine_table: u64,
    pub(crate) magazines: u32,
    pub(crate) counters: Counters,
}

/// [`Superblock::state`] of tables that are complete.
pub(crate) const READY: u32 = 1;

/// What a heap holds, for whoever maps its tables, also after the death of its process.
///
/// Written with plain stores under the heap's locks or with atomic additions; a reader gets a snapshot of each number, not of
/// all of them.
#[repr(C, align(64))]
pub(crate) struct Counters {
    /// What `used_pages` cannot exceed.
    pub(crate) limit_pages: AtomicU64,
    /// Pages of spans and large blocks.
    pub(crate) used_pages: AtomicU64,
    /// Free pages that the system has not got back.
    pub(crate) retained_pages: AtomicU64,
    /// Large blocks, and their pages.
    pub(crate) large_blocks: AtomicU64,
    pub(crate) large_pages: AtomicU64,
    /// Entries of the span table that have ever been used: those from the first on.
    pub(crate) span_entries: AtomicU64,
    /// Entries of the magazine table that have ever been used.
    pub(crate) magazine_entries: AtomicU64,
    /// Highest generation of a block whose pages were freed, in the low half.
    pub(crate) newest: AtomicU64,
    /// A bit for each class whose [`Shelf`] may not be empty.
    pub(crate) shelved: AtomicU64,
    pub(crate) classes: [ClassCounters; MOST_CLASSES],
}

#[cfg(loom)]
impl Counters {
    /// Zeros.
    pub(crate) fn new() -> Counters {
        let zero = || AtomicU64::new(0);
        Counters {
            limit_pages: zero(),
            used_pages: zero(),
            retained_pages: zero(),
            large_blocks: zero(),
            large_pages: zero(),
            span_entries: zero(),
            magazine_entries: zero(),
            newest: zero(),
            shelved: zero(),
            classes: std::array::from_fn(|_| ClassCounters { out: zero(), spans: zero() }),
        }
    }
}

/// What one size class of a heap holds.
#[repr(C)]
pub(crate) struct ClassCounters {
    /// Blocks that are out: in use, or at hand in some thread of the process.
    pub(crate) out: AtomicU64,
    /// Spans of the class.
    pub(crate) spans: AtomicU64,
}

/// Room for counters by class.
pub(crate) const MOST_CLASSES: usize = if cfg!(loom) { 1 } else { 64 };

#[cfg(not(loom))]
const _: () = {
    assert!(cfg!(target_endian = "little"));
    assert!(size_of::<Superblock>() == PAGE && offset_of!(Superblock, build) == 48);
    assert!(offset_of!(Superblock, counters) == 128 && offset_of!(Counters, classes) == 72);
};

/// Where the parts of a heap's tables lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) pages: usize,
    pub(crate) spans: usize,
    pub(crate) page_table: usize,
    pub(crate) shelves: usize,
    pub(crate) span_table: usize,
    pub(crate) magazine_table: usize,
    /// Bytes of all of it.
    pub(crate) size: usize,
}

impl Shape {
    /// The tables of a heap that may have so many pages.
    pub(crate) const fn of(pages: usize) -> Shape {
        let spans = pages.div_ceil(SHORTEST_SPAN);
        let shelves = size_of::<Superblock>();
        let page_table = (shelves + class::CLASSES * size_of::<Shelf>()).next_multiple_of(PAGE);
        let span_table = (page_table + pages * size_of::<AtomicU32>()).next_multiple_of(PAGE);
        let magazine_table = (span_table + spans * size_of::<Span>()).next_multiple_of(PAGE);
        let size = (magazine_table + MAGAZINE_SLOTS * size_of::<Magazines>()).next_multiple_of(PAGE);
        Shape { pages, spans, page_table, shelves, span_table, magazine_table, size }
    }
}

/// What two processes have to agree on to read each other's heaps: sizes, classes and addresses, as one number.
pub(crate) const BUILD: u64 = {
    let mut hash = mix(0xcbf2_9ce4_8422_2325, VERSION as u64);
    hash = mix(hash, crate::range::BASE as u64);
    hash = mix(hash, (crate::range::BITS as u64) << 32 | crate::range::HEAP_BITS as u64);
    hash = mix(hash, (size_of::<Header>() as u64) << 32 | size_of::<Span>() as u64);
    hash = mix(hash, (size_of::<Superblock>() as u64) << 32 | size_of::<Magazines>() as u64);
    hash = mix(hash, size_of::<Shelf>() as u64);
    let mut class = 0;
    while class < class::CLASSES {
        hash = mix(hash, (class::BLOCK[class] as u64) << 32 | class::SPAN_PAGES[class] as u64);
        class += 1;
    }
    hash
};

/// Mixes a number into a hash, byte by byte (FNV-1a).
pub(crate) const fn mix(mut hash: u64, number: u64) -> u64 {
    let mut shift = 0;
    while shift < 64 {
        hash = (hash ^ (number >> shift & 0xff)).wrapping_mul(0x100_0000_01b3);
        shift += 8;
    }
    hash
}

/// What a page is: an entry of the page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Free, or inside of a large block.
    Nothing,
    /// Part of the span with this number.
    Span(u32),
    /// The first of this many pages of a large block.
    Large(u32),
}

impl Entry {
    const TAG: u32 = 30;
    const VALUE: u32 = (1 << Self::TAG) - 1;

    #[inline]
    pub(crate) fn to_bits(self) -> u32 {
        match self {
            Entry::Nothing => 0,
            Entry::Span(number) => 1 << Self::TAG | number,
            Entry::Large(pages) => 2 << Self::TAG | pages,
        }
    }

    #[inline]
    pub(crate) fn from_bits(bits: u32) -> Entry {
        match bits >> Self::TAG {
            1 => Entry::Span(bits & Self::VALUE),
            2 => Entry::Large(bits & Self::VALUE),
            _ => Entry::Nothing,
        }
    }
}

/// A run of pages that is cut into blocks of one class: an entry of the span table.
///
/// Everything is written under the lock of the class, or before the first page-table entry names the span. `first`, `class`
/// and `carved` are read without it by `find`; hence atomics, which cost nothing here.
#[repr(C, align(64))]
pub(crate) struct Span {
    /// First page.
    pub(crate) first: AtomicU32,
    /// Size class.
    pub(crate) class: AtomicU32,
    /// Blocks whose header has been written; the others have never been handed out.
    pub(crate) carved: AtomicU32,
    /// Bits of `free` that are set.
    pub(crate) free_len: AtomicU32,
    /// Neighbours in the class's list of spans that have room.
    pub(crate) before: AtomicU32,
    pub(crate) after: AtomicU32,
    /// Generation that carved headers begin with.
    pub(crate) birth: AtomicU32,
    /// Highest generation of a block that came back.
    pub(crate) newest: AtomicU32,
    /// No word of `free` before this one has a bit.
    pub(crate) hint: AtomicU32,
    kept: [u32; 7],
    /// A bit for each carved block that is in the span, and neither in use nor in a magazine.
    pub(crate) free: [AtomicU64; SPAN_BLOCKS / 64],
}

/// The most blocks a span can have: of the smallest class, in the shortest span.
pub(crate) const SPAN_BLOCKS: usize = if cfg!(loom) { 64 } else { SHORTEST_SPAN * PAGE / Header::SMALLEST };

/// The most blocks of one class that a thread has at hand, apart from the one that it freed last.
pub(crate) const MOST_AT_HAND: usize = if cfg!(loom) { 2 } else { 128 };

/// How many half magazines of a class wait for a thread to take them.
pub(crate) const SHELF_HALVES: usize = if cfg!(loom) { 1 } else { 4 };

/// Free blocks of one class that no thread has, on their way from one to another.
#[repr(C)]
pub(crate) struct Shelf {
    pub(crate) halves: [Half; SHELF_HALVES],
}

/// Half a magazine on a shelf.
#[repr(C, align(64))]
pub(crate) struct Half {
    /// One of the states below. Who made it [`Half::WRITING`] or [`Half::READING`] has the rest to itself.
    pub(crate) state: AtomicU32,
    pub(crate) len: AtomicU32,
    kept: [u32; 14],
    pub(crate) blocks: [AtomicPtr<Header>; MOST_AT_HAND / 2],
}

/// One thread's free blocks of one class: a stack. What lies beyond `len` means nothing.
#[repr(C)]
pub(crate) struct Magazine {
    pub(crate) len: AtomicU32,
    /// How many blocks were taken from the spans last time; zero after a flush.
    pub(crate) taken: AtomicU32,
    pub(crate) blocks: [AtomicPtr<Header>; MOST_AT_HAND],
}

/// One thread's magazines: an entry of the magazine table. Zeros are empty magazines of nobody.
///
/// Only the thread that has claimed them writes; others may look.
#[repr(C, align(64))]
pub(crate) struct Magazines {
    /// [`range::heap_base`](crate::range::heap_base), shifted by [`range::HEAP_BITS`](crate::range::HEAP_BITS), of their heap;
    /// zero as long as they were never claimed.
    pub(crate) heap: AtomicUsize,
    /// Their place in the table.
    pub(crate) slot: AtomicU32,
    /// One more than the class of `last`; zero if there is no such block.
    pub(crate) last_class: AtomicU32,
    /// The block that was freed last, whatever its class.
    pub(crate) last: AtomicPtr<Header>,
    pub(crate) by_class: [Magazine; class::CLASSES],
}

/// How many threads of a process can have magazines. Others go through the locks.
pub(crate) const MAGAZINE_SLOTS: usize = if cfg!(loom) { 3 } else { 1024 };

impl Span {
    /// An entry that has never been used: what zeros in the table are.
    #[cfg(loom)]
    pub(crate) fn new() -> Span {
        let zero = || AtomicU32::new(0);
        Span {
            first: zero(),
            class: zero(),
            carved: zero(),
            free_len: zero(),
            before: zero(),
            after: zero(),
            birth: zero(),
            newest: zero(),
            hint: zero(),
            kept: [0; 7],
            free: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Half {
    pub(crate) const EMPTY: u32 = 0;
    pub(crate) const WRITING: u32 = 1;
    pub(crate) const FULL: u32 = 2;
    pub(crate) const READING: u32 = 3;
}

impl Shelf {
    #[cfg(loom)]
    pub(crate) fn new() -> Shelf {
        Shelf {
            halves: std::array::from_fn(|_| Half {
                state: AtomicU32::new(Half::EMPTY),
                len: AtomicU32::new(0),
                kept: [0; 14],
                blocks: std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut())),
            }),
        }
    }

    /// What waits: a snapshot, and exact when nobody allocates or frees, or the process is dead.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &[AtomicPtr<Header>]> {
        // Acquire pairs with the Release that says a half is full.
        let full = self.halves.iter().filter(|it| it.state.load(Acquire) == Half::FULL);
        full.map(|it| &it.blocks[..(it.len.load(Relaxed) as usize).min(it.blocks.len())])
    }

    /// How many blocks wait.
    pub(crate) fn count(&self) -> u64 {
        self.waiting().map(|it| it.len() as u64).sum()
    }
}

impl Magazine {
    #[cfg(not(loom))]
    const fn new() -> Magazine {
        let blocks = [const { AtomicPtr::new(std::ptr::null_mut()) }; MOST_AT_HAND];
        Magazine { len: AtomicU32::new(0), taken: AtomicU32::new(0), blocks }
    }

    #[cfg(loom)]
    fn new() -> Magazine {
        let blocks = std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut()));
        Magazine { len: AtomicU32::new(0), taken: AtomicU32::new(0), blocks }
    }
}

impl Magazines {
    /// Of nobody.
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Magazines {
        Magazines {
            heap: AtomicUsize::new(0),
            slot: AtomicU32::new(0),
            last_class: AtomicU32::new(0),
            last: AtomicPtr::new(std::ptr::null_mut()),
            by_class: [const { Magazine::new() }; class::CLASSES],
        }
    }

    /// Of nobody.
    #[cfg(loom)]
    pub(crate) fn new() -> Magazines {
        Magazines {
            heap: AtomicUsize::new(0),
            slot: AtomicU32::new(0),
            last_class: AtomicU32::new(0),
            last: AtomicPtr::new(std::ptr::null_mut()),
            by_class: std::array::from_fn(|_| Magazine::new()),
        }
    }

    /// How many blocks of a class are here: of another thread's magazines a snapshot.
    pub(crate) fn count(&self, class: usize) -> u32 {
        let last = self.last_class.load(Relaxed) == class as u32 + 1;
        self.by_class[class].len.load(Relaxed).saturating_add(u32::from(last))
    }
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<Span>() == 320 && offset_of!(Span, birth) == 24 && offset_of!(Span, free) == 64);
    assert!(size_of::<Shelf>() == SHELF_HALVES * (64 + 8 * MOST_AT_HAND / 2));
    assert!(size_of::<Magazine>() == 1032 && offset_of!(Magazines, by_class) == 24);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_the_table() {
        for entry in
            [Entry::Nothing, Entry::Span(0), Entry::Span(524_287), Entry::Large(1), Entry::Large(1 << 20)]
        {
            assert_eq!(Entry::from_bits(entry.to_bits()), entry);
        }
        assert_eq!(Entry::Nothing.to_bits(), 0, "fresh tables are zeros");
    }
}
