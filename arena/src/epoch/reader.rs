//! Readers of other processes' memory: who is looking at something without owning it.
//!
//! Nobody writes into another's memory, so there is no epoch that all processes advance together. Instead every thread that reads has a
//! *record* in the control memory of its own process, with one number that it alone writes: odd while it is pinned, one
//! more at each step. Whoever retires something notes which records are odd, and frees it once each of them has moved on or
//! belongs to a dead process ([`Retired`](super::Retired)).
//!
//! # Invariants
//! * **P1** A record is written by one thread of its process at a time.
//! * **P2** A reader makes its number odd, then fences, then looks at others' memory; an owner unlinks, then fences, then looks
//!   at the numbers. So the owner sees the number odd, or the reader does not find what was unlinked.
//! * **P3** The number never has the same value twice: one that differs from what was noted belongs to a reader that has
//!   left since.
//! * **P4** Pins live inside one native call (E1); a reader pins at most once at a time, and nested pins share the first.
//!
//! # When a process dies
//! Its records stay as they are, and nobody waits for them: whose lock is free reads nothing. The next process in the slot
//! begins with even numbers and another life.

use std::{cell::Cell, fmt, sync::PoisonError};

use crate::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU32, AtomicU64, Ordering::*, fence},
};

/// Threads of one process that may read others' memory at the same time.
pub const READERS: usize = if cfg!(loom) { 2 } else { 64 };

/// What one reading thread says of itself.
#[repr(C, align(64))]
#[derive(Default)]
pub(super) struct Record {
    /// Odd: pinned. See P3.
    number: AtomicU64,
    /// When the pin began, in nanoseconds since the system started.
    since: AtomicU64,
}

/// The records of one process. Zeros are records of nobody.
#[repr(C)]
pub struct Records {
    /// All records that have ever been used are before this one.
    used: AtomicU32,
    records: [Record; READERS],
}

#[cfg(not(loom))]
const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(Records, records) == 64 && size_of::<Record>() == 64);
    assert!(offset_of!(Record, number) == 0 && offset_of!(Record, since) == 8);
};

impl Default for Records {
    fn default() -> Records {
        Records { used: AtomicU32::new(0), records: std::array::from_fn(|_| Record::default()) }
    }
}

impl Record {
    /// # Safety of the protocol
    /// Only by the thread that has the record (P1).
    #[inline]
    fn pin(&self, now: u64) {
        let number = self.number.load(Relaxed);
        debug_assert!(number.is_multiple_of(2), "a reader pinned twice (P4)");
        self.since.store(now, Relaxed);
        // Release: whoever finds this number instead of the one before knows that the reads before it are over.
        self.number.store(number.wrapping_add(1), Release);
        // Pairs with the fence in `Records::pinned` (P2).
        fence(SeqCst);
    }

    #[inline]
    fn unpin(&self) {
        let number = self.number.load(Relaxed);
        // Release pairs with the Acquire in `Records::pinned` and `has_left`: we have read.
        self.number.store(number.wrapping_add(1), Release);
    }

    /// Whether the reader whose number was `number` is there no more.
    pub(super) fn has_left(&self, number: u64) -> bool {
        // Acquire pairs with the Release in `unpin` and `pin`.
        self.number.load(Acquire) != number
    }

    pub(super) fn since(&self) -> u64 {
        self.since.load(Relaxed)
    }
}

impl Records {
    /// The record with this index, if there is one.
    pub(super) fn get(&self, index: u16) -> Option<&Record> {
        self.records.get(usize::from(index))
    }

    /// Which records are pinned, with their numbers. The caller has unlinked what it wants to free, and then fenced (P2).
    pub(super) fn pinned(&self) -> impl Iterator<Item = (u16, u64)> {
        let used = self.used.load(Relaxed) as usize;
        self.records.iter().take(used).enumerate().filter_map(|(index, record)| {
            // Acquire pairs with the Release in `unpin`: who is not pinned has read.
            let number = record.number.load(Acquire);
            (!number.is_multiple_of(2)).then_some((index as u16, number))
        })
    }

    /// How many are pinned, and since when the first of them is: for tools.
    pub fn summary(&self) -> (usize, Option<u64>) {
        let used = (self.used.load(Relaxed) as usize).min(READERS);
        let pinned = || self.records[..used].iter().filter(|it| !it.number.load(Relaxed).is_multiple_of(2));
        (pinned().count(), pinned().map(Record::since).min())
    }
}

/// The records of this process, and which of them a thread has. Clones are the same ones.
#[derive(Clone)]
pub struct Readers(Arc<Shared>);

struct Shared {
    records: &'static Records,
    free: Mutex<Vec<u16>>,
}

impl Readers {
    /// Hands out these records. They are this process's own, and nobody else hands them out.
    pub fn new(records: &'static Records) -> Readers {
        let free = Mutex::new((0..READERS as u16).rev().collect());
        Readers(Arc::new(Shared { records, free }))
    }

    /// Makes the calling thread a reader, if there are less than [`READERS`].
    pub fn join(&self) -> Option<Reader> {
        let index = self.free().pop()?;
        // Before the first pin, whose fence makes it visible along with the number.
        self.0.records.used.fetch_max(u32::from(index) + 1, Relaxed);
        Some(Reader { all: self.clone(), index, depth: Cell::new(0) })
    }

    fn free(&self) -> MutexGuard<'_, Vec<u16>> {
        self.0.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that may read others' memory. It stays on its thread.
pub struct Reader {
    all: Readers,
    index: u16,
    depth: Cell<u32>,
}

impl Reader {
    #[inline]
    fn record(&self) -> &Record {
        &self.all.0.records.records[usize::from(self.index)]
    }

    /// Keeps what is reachable in others' memory from being freed until the answer is dropped (E1). `now` is for whoever asks
    /// who has been here so long: [`now`].
    #[inline]
    pub fn pin(&self, now: u64) -> Pinned<'_> {
        let depth = self.depth.get();
        if depth == 0 {
            self.record().pin(now);
        }
        self.depth.set(depth + 1);
        Pinned(self)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.depth.get() > 0 {
            // A pin was leaked: the record stays odd, and is not used again.
            return;
        }
        self.all.free().push(self.index);
    }
}

/// A pin of one thread. See [`Reader::pin`].
#[must_use]
pub struct Pinned<'a>(&'a Reader);

impl Pinned<'_> {
    /// Reads something of an owner's, and tells whether the owner was still waiting for us all the while.
    ///
    /// An owner does not wait for ever: a reader that stays pinned beyond its patience is *expelled*, and what it reads then
    /// may be anything. `read` therefore copies out what it wants, and checks it like anything that comes from outside; on
    /// [`Expelled`] the copy is worth nothing. What is read is found inside of `read`, from a root on: an address that was found before
    /// may have been expelled before.
    ///
    /// # Errors
    /// [`Expelled`].
    pub fn read<R>(&self, from: &Expulsions, me: u8, read: impl FnOnce() -> R) -> Result<R, Expelled> {
        let before = from.count(me);
        let result = read();
        // Pairs with the fence in `Expulsions::expel`: if we read something newer, we see that we are expelled.
        fence(Acquire);
        if from.count(me) == before { Ok(result) } else { Err(Expelled) }
    }
}

impl Drop for Pinned<'_> {
    #[inline]
    fn drop(&mut self) {
        let depth = self.0.depth.get() - 1;
        self.0.depth.set(depth);
        if depth == 0 {
            self.0.record().unpin();
        }
    }
}

/// What was read under a pin may have been freed meanwhile: the owner had waited long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the owner of the memory did not wait for this reader any longer")]
pub struct Expelled;

/// For each slot, how many times its readers were expelled by the process whose control memory this is.
#[repr(C)]
pub struct Expulsions {
    counts: [AtomicU64; SLOTS],
}

const SLOTS: usize = if cfg!(loom) { 2 } else { 256 };

impl Default for Expulsions {
    fn default() -> Expulsions {
        Expulsions { counts: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Expulsions {
    /// How many times readers of `slot` were expelled.
    pub fn count(&self, slot: u8) -> u64 {
        // Acquire: nothing that is read afterwards is older than the expulsions that were counted.
        self.counts[usize::from(slot)].load(Acquire)
    }

    /// Says that readers of `slot` are waited for no longer. Only by the owner, before it frees.
    pub fn expel(&self, slot: u8) {
        let count = &self.counts[usize::from(slot)];
        count.store(count.load(Relaxed) + 1, Relaxed);
        // Pairs with the fence in `Pinned::read`: who reads what is written from here on sees the count.
        fence(Release);
    }
}

/// Nanoseconds since the system started, to a few milliseconds: the same clock in every process.
#[cfg(not(loom))]
pub fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("index", &self.index).field("depth", &self.depth).finish()
    }
}
