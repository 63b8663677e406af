//! Blocks for models: each from the system allocator, with its size in front.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    ptr::NonNull,
};

use super::Fresh;
use crate::{Error, Stats, block::Header};

/// Keeps the header aligned.
const PREFIX: usize = align_of::<Header>();
const _: () = assert!(PREFIX >= size_of::<usize>());

/// No heap at all.
#[derive(Debug)]
pub(crate) struct Heap;

impl Heap {
    pub(crate) fn open(_limit: Option<u64>) -> Result<&'static Heap, Error> {
        Ok(&Heap)
    }

    pub(crate) fn allocate(&self, bytes: usize, _size: usize, _reserve: bool) -> Result<Fresh, Error> {
        let layout = layout(PREFIX + bytes);
        // SAFETY: the layout is not empty, and what is written lies inside.
        unsafe {
            let Some(start) = NonNull::new(alloc_zeroed(layout)) else { handle_alloc_error(layout) };
            start.cast::<usize>().write(layout.size());
            let header = start.byte_add(PREFIX).cast::<Header>();
            header.write(Header::free(0, 0));
            Ok(Fresh { header, class: 0 })
        }
    }

    pub(crate) fn limit(&self) -> Option<u64> {
        None
    }

    pub(crate) fn trim(&self) {}

    pub(crate) fn flush(&self) {}

    pub(crate) fn stats(&self) -> Stats {
        Stats::default()
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, PREFIX).expect("sizes are bounded")
}

/// # Safety
/// Nobody owns the block any more, and the caller was told so.
pub(crate) unsafe fn free(header: NonNull<Header>, _class: u16) {
    // SAFETY: `allocate` put the size there and initialised the header.
    unsafe {
        header.drop_in_place();
        let start = header.cast::<u8>().byte_sub(PREFIX);
        let size = start.cast::<usize>().read();
        dealloc(start.as_ptr(), layout(size));
    }
}

/// # Safety
/// The caller is the sole owner.
pub(crate) unsafe fn shrink(_header: NonNull<Header>, _size: usize) {}

/// # Safety
/// The caller is an owner.
pub(crate) unsafe fn room(header: NonNull<Header>) -> usize {
    // SAFETY: passed on.
    unsafe { footprint(header) - Header::SIZE - 1 }
}

/// # Safety
/// The caller is an owner.
pub(crate) unsafe fn footprint(header: NonNull<Header>) -> usize {
    // SAFETY: `allocate` put the size there.
    unsafe { header.cast::<u8>().byte_sub(PREFIX).cast::<usize>().read() - PREFIX }
}

/// # Safety
/// The caller is the sole owner.
pub(crate) unsafe fn extend(header: NonNull<Header>, size: usize) -> bool {
    // SAFETY: passed on.
    size <= unsafe { room(header) }
}

pub(crate) fn beside(_header: NonNull<Header>, size: usize, _room: bool) -> Result<Fresh, Error> {
    Heap.allocate(Header::SIZE + size + 1, size, false)
}

pub(crate) fn find(_ptr: *const u8) -> Option<NonNull<Header>> {
    None
}
