//! From a size to a block, and back.
//!
//! ```text
//! a thread's magazines       blocks of one class at hand, no lock
//!   ↕ half a magazine        under the lock of the class
//! spans of a class           64 to 256 KiB cut into equal blocks
//!   ↕ a span                 under the lock of the pages
//! free pages of the heap     best fit; also serve large blocks directly
//!   ↕                        madvise, mprotect
//! the system
//! ```
//!
//! # Invariants
//! * **A1** A block without owners is in exactly one place: a magazine, the free list of its span, or the part of the span that
//!   has not been carved. Who takes it out owns it.
//! * **A2** The page table names a span or a large block exactly as long as its pages are not free.
//! * **A3** Locks are taken in the order threads, class, pages; never two classes; and no foreign code runs under one.
//! * **A4** A block's generation differs from all that its address had before (modulo 2³² lives): pages that become free
//!   leave the highest generation of their blocks in `Heap::newest`, and headers begin where it stands.
//!
//! # Under loom
//! There is no mapping: `boxed` takes blocks from the system allocator, and the protocols above do not notice.

#[cfg(not(loom))]
mod address;
#[cfg(loom)]
mod boxed;
#[cfg(not(loom))]
mod class;
#[cfg(not(loom))]
mod heap;
#[cfg(not(loom))]
mod large;
#[cfg(not(loom))]
mod magazine;
#[cfg(not(loom))]
mod span;

#[cfg(loom)]
pub(crate) use boxed::{Heap, find, footprint, free, room, shrink};
#[cfg(not(loom))]
pub(crate) use {
    address::{find, footprint, free, room, shrink},
    heap::Heap,
};
