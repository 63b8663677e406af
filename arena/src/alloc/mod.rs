//! From a size to a block, and back.
//!
//! ```text
//! a thread's magazines       blocks of one class at hand, no lock
//!   ↕ half a magazine
//! shelves of a class         a few halves between threads, no lock
//!   ↕ half a magazine        when the shelf is empty or full; under the lock of the class
//! spans of a class           64 to 256 KiB cut into equal blocks, a bit for each that is free
//!   ↕ a span                 under the lock of the pages
//! free pages of the heap     runs that were freed a moment ago, then best fit; also serve large blocks
//!   ↕                        mprotect; madvise, outside of the locks
//! the system
//! ```
//!
//! # Invariants
//! * **A1** A block without owners is in exactly one place: a magazine, a shelf, the free bits of its span, or the part of the span
//!   that has not been carved. Who takes it out owns it.
//! * **A2** The page table names a span or a large block exactly as long as its pages are not free.
//! * **A3** Locks are taken in the order threads, class, purging, pages; never two classes; and no foreign
//!   code runs under one.
//! * **A4** A block's generation differs from all that its address had before (modulo 2³² lives): pages that become free
//!   leave the highest generation of their blocks in `Counters::newest`, and headers begin where it stands.
//!
//! # Under loom
//! There is no mapping. `model` puts the heap over made-up ones, for the models of the allocator itself; those of other protocols
//! take their blocks from `boxed`, which has none of the above.

#[cfg(not(loom))]
mod address;
mod batch;
#[cfg(loom)]
mod boxed;
pub(crate) mod class;
mod heap;
mod large;
mod magazine;
#[cfg(loom)]
pub(crate) mod model;
#[cfg(not(loom))]
mod open;
mod pages;
mod recent;
mod shelf;
mod span;
#[cfg(not(loom))]
mod thread;

#[cfg(not(loom))]
use crate::map;
#[cfg(loom)]
use model as map;

#[cfg(loom)]
pub(crate) use boxed::{Heap, beside, extend, find, footprint, free, room, shrink};
#[cfg(not(loom))]
pub(crate) use {
    address::{beside, extend, find, footprint, free, room, shrink},
    heap::Heap,
    open::check_limit,
};

/// A block that nobody owns yet.
pub(crate) struct Fresh {
    pub(crate) header: std::ptr::NonNull<crate::Header>,
    /// As its header says.
    pub(crate) class: u16,
}

#[cfg(not(loom))]
impl Fresh {
    fn of(header: std::ptr::NonNull<crate::Header>) -> Fresh {
        // SAFETY: the allocator has just found it, and written the header.
        let class = unsafe { header.as_ref() }.class();
        Fresh { header, class }
    }
}
