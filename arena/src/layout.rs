//! What lies where: the constants that docs/arena-layout.md explains, and the first page of a heap's tables.
//!
//! A heap is two mappings. Its *data* are pages at a fixed address, blocks and nothing else. Its *tables* say what each page
//! is; they lie elsewhere, so that a write past the end of a payload damages at worst the next block.
//!
//! Numbers are little-endian. A change here is a new [`VERSION`].

use crate::sync::atomic::{AtomicPtr, AtomicU32};

use crate::block::Header;

/// The unit in which a heap hands out memory.
pub(crate) const PAGE: usize = 4096;
/// Begins the tables of every heap.
pub(crate) const MAGIC: [u8; 8] = *b"skein\0ar";
/// The layout that this crate writes and reads.
pub(crate) const VERSION: u32 = 1;
/// The shortest span, in pages. There are never more spans than a heap has room for of these.
pub(crate) const SHORTEST_SPAN: usize = 16;

/// First page of the tables: what a tool needs to read the rest.
#[repr(C)]
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
}

const _: () = assert!(size_of::<Superblock>() == 48 && cfg!(target_endian = "little"));

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
    /// Blocks on the `free` list.
    pub(crate) free_len: AtomicU32,
    /// Free blocks, by their link.
    pub(crate) free: AtomicPtr<Header>,
    /// Neighbours in the class's list of spans that have room.
    pub(crate) before: AtomicU32,
    pub(crate) after: AtomicU32,
    /// Generation that carved headers begin with.
    pub(crate) birth: AtomicU32,
    /// Highest generation of a block that came back.
    pub(crate) newest: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Span>() == 64 && std::mem::offset_of!(Span, birth) == 32);

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
