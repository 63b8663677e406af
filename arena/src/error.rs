//! Why an arena could not serve.

use std::io;

/// What an arena can refuse. A broken invariant of ours is not here: it is an assertion, and stops the process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No room, and the arena is at its limit. Drop blocks, or raise `arena_limit`.
    #[error(
        "no room for {size} bytes in an arena limited to {limit}: raise arena_limit, or send less at once"
    )]
    Full {
        /// Payload bytes asked for.
        size: usize,
        /// The arena's limit in bytes: the one it was opened with, or the size of its heap.
        limit: u64,
    },
    /// A payload's size is a 32-bit number. Send the data in parts.
    #[error("a payload of {size} bytes is larger than the largest of {max}")]
    TooLarge {
        /// Payload bytes asked for.
        size: usize,
        /// The largest payload there is.
        max: usize,
    },
    /// A limit so small that no arena could work under it.
    #[error("an arena limit of {limit} bytes is below the least of {least}")]
    Limit {
        /// The limit asked for.
        limit: u64,
        /// The smallest limit there is.
        least: u64,
    },
    /// Something else of this process lies in the fixed range: a sanitizer, a preloaded library, a second copy of this one.
    #[error("the address range at {base:#x}, {size} bytes, is taken by something else")]
    AddressTaken {
        /// Where the range begins.
        base: usize,
        /// How much of it was asked for.
        size: usize,
    },
    /// The system refused to reserve even the smallest range. Raise `ulimit -v`.
    #[error("could not reserve {size} bytes of address space at {base:#x}")]
    Reserve {
        /// Where the range begins.
        base: usize,
        /// How much was asked for last.
        size: usize,
        /// What the system said.
        source: io::Error,
    },
    /// Every heap of the range, or of the part that `ulimit -v` left of it, is in use.
    #[error("no heap is left: {heaps} fit the {reserved} bytes of reserved address space")]
    NoHeap {
        /// Heaps that fit.
        heaps: usize,
        /// Bytes of address space that could be reserved.
        reserved: usize,
    },
    /// The system refused memory for reserved addresses, or for the tables of a heap.
    #[error("the system refused {size} bytes of memory")]
    Map {
        /// Bytes asked for.
        size: usize,
        /// What the system said.
        source: io::Error,
    },
    /// The file system that holds a domain, `/dev/shm`, is full, or the process may not make files this large (`ulimit -f`).
    /// Drop blocks, or give it more.
    #[error("no room for {size} more bytes in the file system that processes share")]
    SharedFull {
        /// Bytes asked for.
        size: usize,
        /// What the system said.
        source: io::Error,
    },
}
