//! From an address to what is there: a block comes back, gets shorter, or is looked for.
//!
//! A block carries no reference to its heap; the heap of an address is a shift ([`range::heap_of`]), and what lies at it is in
//! the tables of that heap.

use std::ptr::NonNull;

use super::{
    Fresh,
    class::{BLOCK, CLASSES},
    heap::Heap,
    thread,
};
use crate::{Error, block::Header, layout::PAGE, range};

/// The heap that a block of ours belongs to.
#[inline]
pub(super) fn heap_of(header: NonNull<Header>) -> &'static Heap {
    let index = range::heap_of(header.as_ptr().cast()).expect("a block lies in the range");
    Heap::of(index).expect("a block lies in an open heap")
}

/// Takes a block of this class back.
///
/// # Safety
/// Nobody owns the block any more, and the caller was told so (H2); the class is the header's.
#[inline]
pub(crate) unsafe fn free(header: NonNull<Header>, class: u16) {
    let class = usize::from(class);
    // SAFETY: the block is of this class and heap, and nowhere else.
    unsafe {
        if class >= CLASSES {
            return free_large(header);
        }
        if cfg!(debug_assertions) {
            header.add(1).cast::<u8>().write_bytes(0xdf, BLOCK[class] as usize - Header::SIZE);
        }
        if !thread::put(header.addr().get() >> range::HEAP_BITS, class, header) {
            thread::spill(header, class);
        }
    }
}

#[cold]
unsafe fn free_large(header: NonNull<Header>) {
    // SAFETY: nobody owns the block.
    unsafe {
        assert_eq!(header.as_ref().class(), Header::LARGE, "a block that is of no class was freed");
        if cfg!(debug_assertions) {
            header.add(1).cast::<u8>().write_bytes(0xdf, PAGE - Header::SIZE);
        }
        heap_of(header).cut_large(header, 0);
    }
}

/// Gives back the pages of a large block that a payload of `size` bytes does not need.
///
/// # Safety
/// The caller is the sole owner, and the payload is no longer than `size`.
#[inline]
pub(crate) unsafe fn shrink(header: NonNull<Header>, size: usize) {
    // SAFETY: the caller is the sole owner.
    unsafe {
        if header.as_ref().class() == Header::LARGE {
            heap_of(header).cut_large(header, (Header::SIZE + size + 1).div_ceil(PAGE));
        }
    }
}

/// The longest payload that the block has room for.
///
/// # Safety
/// The caller is an owner of a block of an arena.
#[inline]
pub(crate) unsafe fn room(header: NonNull<Header>) -> usize {
    // SAFETY: passed on.
    (unsafe { footprint(header) } - Header::SIZE - 1).min(crate::MAX_PAYLOAD)
}

/// Bytes of memory that the block takes.
///
/// # Safety
/// As for [`room`].
#[inline]
pub(crate) unsafe fn footprint(header: NonNull<Header>) -> usize {
    // SAFETY: the caller is an owner.
    let class = usize::from(unsafe { header.as_ref() }.class());
    match BLOCK.get(class) {
        Some(&bytes) => bytes as usize,
        None => {
            let heap = heap_of(header);
            heap.large_pages(heap.page_of(header.as_ptr())) * PAGE
        }
    }
}

/// Makes a block longer where it is, if it has pages of its own and those behind it are free; whether it has room for a payload
/// of `size` bytes now.
///
/// # Safety
/// The caller is the sole owner.
pub(crate) unsafe fn extend(header: NonNull<Header>, size: usize) -> bool {
    // SAFETY: the caller is the sole owner.
    unsafe {
        if size <= room(header) {
            return true;
        }
        header.as_ref().class() == Header::LARGE
            && heap_of(header).extend_large(header, Header::SIZE + size + 1)
    }
}

/// A block for a payload of `size` bytes in the heap of another block. With `room` it has free pages behind it to grow into, if
/// there are any.
///
/// # Errors
/// As `Heap::allocate`.
pub(crate) fn beside(header: NonNull<Header>, size: usize, room: bool) -> Result<Fresh, Error> {
    let (heap, bytes) = (heap_of(header), Header::SIZE + size + 1);
    if room { heap.allocate_roomy(bytes, size) } else { heap.allocate(bytes, size, false) }
}

/// The header whose payload would begin at `ptr`, if a block of some heap begins there. Whether that block has owners is
/// another question.
///
/// Only tables are read, so `ptr` may be anything. Blocks come and go meanwhile; their memory stays mapped.
#[inline]
pub(crate) fn find(ptr: *const u8) -> Option<NonNull<Header>> {
    let heap = Heap::of(range::heap_of(ptr)?)?;
    let offset = (ptr.addr() - heap.base.addr()).checked_sub(Header::SIZE)?;
    heap.block_at(offset)
}
