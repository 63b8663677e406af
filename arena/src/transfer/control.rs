//! The memory with which a process speaks to the others of its domain.
//!
//! Each process has one [`Control`], mapped from a file that it alone may write; all others map it read-only. Zeros are its valid
//! first state: a file of the right length is ready. Pages take memory when they are first written, so an idle process of a
//! domain has a few of them.
//!
//! | part | written | by whom it is read |
//! |---|---|---|
//! | `life` | once, when everything else is in place | whoever wants to know which process this is |
//! | `attached` | before another's memory is mapped, and after it was unmapped | whoever sweeps a dead process |
//! | `records`, `expulsions`, `reclaim` | [`crate::epoch`] | owners of memory that this process reads; tools |
//! | `sending`, `rings` | entries to each peer | that peer |
//! | `receiving`, `ledgers` | what was read from each peer, and is held of its heap | that peer; tools |
//!
//! # Invariants
//! * **C1** A *life* is a number that no other process of the domain ever has or had: it tells a process from the next one
//!   in the same slot.
//! * **C2** While `attached[n]` has the life of slot `n`'s process, dead or alive, the files of that life are mapped here. Its
//!   slot is not given to another process until nobody living says so.
//!
//! # When a process dies
//! What it wrote stays, readable, until the slot is swept; then the files are new, and zeros.

use std::ptr::NonNull;

use super::{Doorbell, Ledger, Receiving, Ring, Sending};
use crate::{
    epoch::{Expulsions, Records},
    sync::atomic::{AtomicU32, AtomicU64},
};

/// Slots that a byte can name. The slots of processes are 1 to 254.
pub const SLOTS: usize = 256;

/// What one process writes for all others to read. See the module.
#[repr(C, align(4096))]
pub struct Control {
    /// Written and read by [`crate::domain`], which knows processes before anything is sent.
    pub(crate) life: AtomicU64,
    kept: [AtomicU32; 2],
    /// Counts of [`crate::epoch::Retired`], for tools.
    pub reclaim: Reclaim,
    /// Which life of each slot's process is mapped here: as `life`.
    pub(crate) attached: [AtomicU64; SLOTS],
    /// Whom this process has expelled.
    pub expulsions: Expulsions,
    /// Its readers.
    pub records: Records,
    /// What it sends: where each ring begins and ends.
    pub sending: [Sending; SLOTS],
    /// What it receives: how far each ring has been read.
    pub receiving: [Receiving; SLOTS],
    /// Entries to each slot.
    pub rings: [Ring; SLOTS],
    /// Holds of each slot's blocks.
    pub ledgers: [Ledger; SLOTS],
}

/// What an owner says of its reclamation.
#[repr(C, align(64))]
#[derive(Default)]
pub struct Reclaim {
    /// Grace periods that have ended.
    pub periods: AtomicU64,
    /// Pieces that wait.
    pub waiting: AtomicU64,
    /// Slot of the reader that is waited for; none: zero.
    pub stalled_slot: AtomicU32,
    /// Process id of that reader.
    pub stalled_process: AtomicU32,
    /// When it pinned, in nanoseconds since the system started.
    pub stalled_since: AtomicU64,
}

/// The bells of all slots: the only memory of a domain that every process writes.
#[repr(C, align(4096))]
pub struct Doorbells {
    bells: [Doorbell; SLOTS],
}

const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(Control, attached) == 128);
    assert!(offset_of!(Control, rings) % 4096 == 0 && offset_of!(Control, ledgers) % 4096 == 0);
    assert!(size_of::<Doorbells>() == SLOTS * 64);
    assert!(size_of::<Sending>() == 64 && size_of::<Receiving>() == 64);
    assert!(size_of::<Control>() <= crate::domain::CONTROL_SIZE);
};

impl Control {
    /// The control memory that a mapped area of bytes is. Any bytes are one: it is made of atomics, and used as such by everybody.
    pub(crate) fn at(area: NonNull<[u8]>) -> NonNull<Control> {
        assert!(area.len() >= size_of::<Control>() && area.cast::<Control>().is_aligned());
        area.cast()
    }

    /// Blocks of `slot`'s heap that this process holds, as its ledger says.
    pub fn holds(&self, slot: u8) -> usize {
        self.ledgers[usize::from(slot)].holds().count()
    }
}

impl Doorbells {
    /// The bell of a slot.
    #[inline]
    pub fn of(&self, slot: u8) -> &Doorbell {
        &self.bells[usize::from(slot)]
    }
}
