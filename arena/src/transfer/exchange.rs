//! The part that a process takes in the exchange of its domain.

use std::{collections::BTreeMap, sync::PoisonError};

use super::{Closed, Control, Doorbells, Inbox, Link, LinkError, lane::Lane};
use crate::{
    Domain, Slot,
    epoch::Readers,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering::*},
    },
};

static TAKEN: AtomicBool = AtomicBool::new(false);

/// What this process has to do with the others of its domain. Clones are the same one. When the last is dropped, what is lent
/// stays lent for as long as the process runs.
#[derive(Clone)]
pub struct Exchange(Arc<Shared>);

pub(super) struct Shared {
    pub(super) domain: Domain,
    pub(super) mine: &'static Control,
    pub(super) bells: &'static Doorbells,
    pub(super) lanes: Mutex<BTreeMap<Slot, Arc<Lane>>>,
    /// Lives that have been told as gone: nothing of theirs is received again, whoever rings for them.
    pub(super) gone: Mutex<BTreeMap<Slot, u64>>,
    /// One more for each change of `lanes`.
    pub(super) changes: AtomicU64,
    pub(super) inbox: AtomicBool,
    pub(super) counts: Counts,
    readers: Readers,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) returned: AtomicU64,
    pub(super) given_back: AtomicU64,
    pub(super) copied: AtomicU64,
    pub(super) copied_bytes: AtomicU64,
}

/// What went through an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExchangeStats {
    /// Messages sent.
    pub sent: u64,
    /// Messages received.
    pub received: u64,
    /// Of those, blocks of our own that came home.
    pub returned: u64,
    /// Blocks of ours that others have given back.
    pub given_back: u64,
    /// Payloads that had to be copied to be sent: of other arenas or allocators, of third processes, parts.
    pub copied: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Blocks that others hold at the moment.
    pub lent: usize,
    /// How often a ring was full when something was to be given back.
    pub overflowed: u64,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Exchange {
    /// Takes part in the exchange of a domain. Once per process.
    ///
    /// # Errors
    /// [`LinkError::Taken`]; the file system is full.
    pub fn open(domain: Domain) -> Result<Exchange, LinkError> {
        if TAKEN.swap(true, AcqRel) {
            return Err(LinkError::Taken);
        }
        let opened = (|| {
            // All but the rings and ledgers, which are promised peer by peer.
            domain.promise_control(0, std::mem::offset_of!(Control, rings))?;
            // SAFETY: our own area is mapped as long as the process runs, and is used as atomics.
            let mine: &'static Control = unsafe { Control::at(domain.control_area()).as_ref() };
            let bells = domain.doorbells_area();
            // SAFETY: as above.
            let bells: &'static Doorbells = unsafe { bells.cast::<Doorbells>().as_ref() };
            Ok(Exchange(Arc::new(Shared {
                domain,
                mine,
                bells,
                lanes: Mutex::default(),
                gone: Mutex::default(),
                changes: AtomicU64::new(0),
                inbox: AtomicBool::new(false),
                counts: Counts::default(),
                readers: Readers::new(&mine.records),
            })))
        })();
        if opened.is_err() {
            TAKEN.store(false, Release);
        }
        opened
    }

    /// The domain.
    pub fn domain(&self) -> Domain {
        self.0.domain
    }

    /// The readers of this process, for threads that look at others' memory without holding it ([`crate::epoch`]).
    pub fn readers(&self) -> Readers {
        self.0.readers.clone()
    }

    pub(super) fn control(&self) -> &'static Control {
        self.0.mine
    }

    /// A link to the process in a slot.
    ///
    /// # Errors
    /// There is no such process, or it has been closed; the file system is full.
    pub fn link(&self, slot: Slot) -> Result<Link, LinkError> {
        let lane = self.0.lane(slot)?;
        if lane.is_closed.load(Acquire) {
            return Err(lane.reason().into());
        }
        Ok(Link::new(Arc::clone(&self.0), lane))
    }

    /// Where everything arrives. There is one.
    ///
    /// # Errors
    /// [`LinkError::Taken`].
    pub fn inbox(&self) -> Result<Inbox, LinkError> {
        if self.0.inbox.swap(true, AcqRel) {
            return Err(LinkError::Taken);
        }
        Ok(Inbox::new(Arc::clone(&self.0)))
    }

    /// What went through it so far.
    pub fn stats(&self) -> ExchangeStats {
        let counts = &self.0.counts;
        let lanes = lock(&self.0.lanes);
        ExchangeStats {
            sent: counts.sent.load(Relaxed),
            received: counts.received.load(Relaxed),
            returned: counts.returned.load(Relaxed),
            given_back: counts.given_back.load(Relaxed),
            copied: counts.copied.load(Relaxed),
            copied_bytes: counts.copied_bytes.load(Relaxed),
            lent: lanes.values().map(|it| it.book.lent()).sum(),
            overflowed: lanes.values().map(|it| it.overflowed.load(Relaxed)).sum(),
        }
    }
}

impl Shared {
    /// The lane to whoever has a slot; a new one calls the other side.
    pub(super) fn lane(&self, slot: Slot) -> Result<Arc<Lane>, LinkError> {
        let mut lanes = lock(&self.lanes);
        if let Some(lane) = lanes.get(&slot)
            && lane.peer.is_alive()
        {
            return Ok(Arc::clone(lane));
        }
        if lanes.contains_key(&slot) {
            // The inbox tells of the death first.
            return Err(Closed::Died.into());
        }
        let lane = Arc::new(Lane::open(self.domain, slot, self.mine, self.bells)?);
        // A dead process may have sent something before; one that has not, or that we have done with, is nobody's peer.
        let is_gone = lock(&self.gone).get(&slot) == Some(&lane.life);
        if !lane.peer.is_alive() && (is_gone || !lane.is_written()) {
            return Err(Closed::Died.into());
        }
        lanes.insert(slot, Arc::clone(&lane));
        self.changes.fetch_add(1, Release);
        drop(lanes);
        lane.call();
        Ok(lane)
    }
}
