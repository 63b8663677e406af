//! Blocks straight from the system allocator.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    collections::BTreeSet,
    ptr::NonNull,
    sync::Mutex,
};

use crate::{Error, Stats, block::Header};

const PREFIX: usize = 16;
static LIVE: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

/// A heap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heap;

impl Heap {
    pub(crate) fn open(_limit: Option<u64>) -> Result<&'static Heap, Error> {
        Ok(&Heap)
    }

    pub(crate) fn allocate(&self, size: usize, _reserve: bool) -> Result<NonNull<Header>, Error> {
        let total = PREFIX + Header::SIZE + size + 1;
        let layout = Layout::from_size_align(total, 16).expect("sizes are bounded");
        // SAFETY: the layout is not empty; what is written lies inside.
        unsafe {
            let start = NonNull::new(alloc_zeroed(layout)).ok_or(Error::Full { size, limit: 0 })?;
            start.cast::<usize>().write(total);
            let header = start.byte_add(PREFIX).cast::<Header>();
            header.write(Header::free(0, 0));
            LIVE.lock().unwrap().insert(header.addr().get());
            Ok(header)
        }
    }

    pub(crate) fn limit(&self) -> Option<u64> {
        None
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats { live_blocks: LIVE.lock().unwrap().len() as u64, ..Stats::default() }
    }
}

pub(crate) unsafe fn free(header: NonNull<Header>) {
    LIVE.lock().unwrap().remove(&header.addr().get());
    // SAFETY: `allocate` made it so.
    unsafe {
        header.drop_in_place();
        let start = header.cast::<u8>().byte_sub(PREFIX);
        let total = start.cast::<usize>().read();
        dealloc(start.as_ptr(), Layout::from_size_align_unchecked(total, 16));
    }
}

pub(crate) unsafe fn shrink(_header: NonNull<Header>, _size: usize) {}

pub(crate) unsafe fn room(header: NonNull<Header>) -> usize {
    // SAFETY: `allocate` made it so.
    unsafe { header.cast::<u8>().byte_sub(PREFIX).cast::<usize>().read() - PREFIX - Header::SIZE - 1 }
}

pub(crate) fn find(ptr: *const u8) -> Option<NonNull<Header>> {
    let at = ptr.addr().wrapping_sub(Header::SIZE);
    LIVE.lock().unwrap().contains(&at).then(|| NonNull::new(ptr.cast_mut().map_addr(|_| at).cast()).unwrap())
}
