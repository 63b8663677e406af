//! The open heaps, and what a thread asks of one.

use std::ptr::{NonNull, null_mut};

use super::{Fresh, class, heap::Heap, thread};
use crate::{
    Error,
    block::Header,
    map::{Data, Tables},
    range,
    stats::Stats,
    sync::atomic::{AtomicPtr, Ordering::*},
};

/// The least limit there is: a few spans of different classes, and what is kept for envelopes.
const LEAST_LIMIT: u64 = 1 << 20;

/// The open heaps, by number.
static HEAPS: [AtomicPtr<Heap>; range::HEAPS] = [const { AtomicPtr::new(null_mut()) }; range::HEAPS];

/// Whether an arena could work under a limit.
pub(crate) fn check_limit(limit: Option<u64>) -> Result<(), Error> {
    match limit {
        Some(limit) if limit < LEAST_LIMIT => Err(Error::Limit { limit, least: LEAST_LIMIT }),
        _ => Ok(()),
    }
}

impl Heap {
    /// Opens a heap in memory of this process's own.
    pub(crate) fn open(limit: Option<u64>) -> Result<&'static Heap, Error> {
        check_limit(limit)?;
        let index = range::claim_private()?;
        let open = || {
            let data = Data::private(index)?;
            let tables = Tables::private(index, data.capacity())?;
            Ok(Heap::over(index, data, tables, limit))
        };
        open().inspect_err(|_| range::unclaim(index))
    }

    /// Opens heap `index`, which the caller has claimed, over these mappings.
    pub(crate) fn over(index: usize, data: Data, tables: Tables, limit: Option<u64>) -> &'static Heap {
        let heap = Box::leak(Box::new(Heap::new(index, data, tables, limit)));
        // Release pairs with the Acquire in `of`.
        HEAPS[index].store(heap, Release);
        heap
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

    /// A block of `bytes`, header and all. `size` is what the caller wanted, for the error; `reserve` is whether the block
    /// is an envelope.
    #[inline]
    pub(crate) fn allocate(&'static self, bytes: usize, size: usize, reserve: bool) -> Result<Fresh, Error> {
        if bytes <= class::LARGEST {
            let class = class::of(bytes);
            if let Some(header) = thread::take(self.number(), class) {
                return Ok(Fresh { header, class: class as u16 });
            }
        }
        self.allocate_elsewhere(bytes, size, reserve, false).map(Fresh::of)
    }

    /// As [`allocate`](Heap::allocate), for a block that may have to grow in place.
    pub(crate) fn allocate_roomy(&'static self, bytes: usize, size: usize) -> Result<Fresh, Error> {
        match bytes {
            0..=class::LARGEST => self.allocate(bytes, size, false),
            _ => self.allocate_elsewhere(bytes, size, false, true).map(Fresh::of),
        }
    }

    /// A block that the thread has not got at hand.
    #[cold]
    fn allocate_elsewhere(
        &'static self,
        bytes: usize,
        size: usize,
        reserve: bool,
        room: bool,
    ) -> Result<NonNull<Header>, Error> {
        if bytes <= class::LARGEST {
            let class = class::of(bytes);
            return self.refill(class, size, || thread::refill(self, class, reserve, size), || self.trim());
        }
        match self.new_large(bytes, room, size) {
            Err(Error::Full { .. } | Error::Map { .. } | Error::SharedFull { .. }) => {
                self.trim();
                self.new_large(bytes, false, size)
            }
            other => other,
        }
    }

    /// Gives back this thread's magazines, and what waits for any thread.
    pub(crate) fn flush(&'static self) {
        thread::flush(self);
        self.clear_shelves();
    }

    /// Gives the system all that is only kept for speed: this thread's magazines, empty spans, free pages.
    pub(crate) fn trim(&'static self) {
        self.flush();
        self.release_spares();
        self.purge_all();
    }

    /// What the heap holds.
    pub(crate) fn stats(&self) -> Stats {
        Stats::of(self.tables())
    }
}
