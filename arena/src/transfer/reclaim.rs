//! Reclamation among the processes of a domain: [`crate::epoch`]'s readers and lists, in the control memory that all can read.

use super::{Control, Exchange};
use crate::{
    DomainError, Peer, Slot,
    epoch::{Collected, Others, Records, Retired, now},
    sync::atomic::Ordering::*,
};

impl Exchange {
    /// Frees what no reader of any process can see any more, and says in our control memory who is waited for.
    pub fn collect<T>(&self, retired: &mut Retired<T>) -> Collected {
        let mine = self.control();
        let collected = retired.collect(self, &mine.expulsions, now());
        let reclaim = &mine.reclaim;
        reclaim.periods.store(retired.periods(), Relaxed);
        reclaim.waiting.store(collected.waiting as u64, Relaxed);
        let first = collected.stalled.iter().min_by_key(|it| it.since);
        let process = first.and_then(|it| Some(self.peer(it.slot, it.life)?.pid()));
        reclaim.stalled_slot.store(first.map_or(0, |it| it.slot.into()), Relaxed);
        reclaim.stalled_process.store(process.unwrap_or(0), Relaxed);
        reclaim.stalled_since.store(first.map_or(0, |it| it.since), Relaxed);
        collected
    }

    /// The living process that has this slot, if it is in this life.
    fn peer(&self, slot: u8, life: u64) -> Option<Peer> {
        let peer = self.domain().peer(Slot::new(slot)?).ok()?;
        (peer.life() == life && peer.is_alive()).then_some(peer)
    }
}

fn records(peer: &Peer) -> &Records {
    // SAFETY: the peer keeps the mapping for as long as it is borrowed; it is atomics.
    let control: &Control = unsafe { Control::at(peer.control_area()).as_ref() };
    &control.records
}

impl Others for Exchange {
    fn each(&self, look: &mut dyn FnMut(u8, u64, &Records)) -> Vec<u8> {
        let me = self.domain().slot();
        look(me.number(), self.domain().life(), &self.control().records);
        let others = |it: &Slot| *it != me;
        let Ok(living) = self.domain().peers() else {
            return Slot::all().filter(others).map(Slot::number).collect();
        };
        let mut unseen = Vec::new();
        for slot in living.iter().map(|it| it.slot).filter(others) {
            match self.domain().peer(slot) {
                Ok(peer) => look(slot.number(), peer.life(), records(&peer)),
                // It left meanwhile.
                Err(DomainError::NoPeer { .. }) => {}
                // Who writes nonsense into its own files is not waited for.
                Err(error) if error.is_of_file() => {}
                Err(_) => unseen.push(slot.number()),
            }
        }
        unseen
    }

    fn with(&self, slot: u8, life: u64, look: &mut dyn FnMut(&Records)) {
        if slot == self.domain().slot().number() {
            look(&self.control().records);
        } else if let Some(peer) = self.peer(slot, life) {
            look(records(&peer));
        }
    }
}
