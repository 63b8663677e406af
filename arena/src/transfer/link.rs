//! The way out: blocks are lent through a ring, those that came from over there go home.

use super::{
    Closed, Entry, EntryKind, TICKETS, Unsent, WhyUnsent,
    exchange::Shared,
    lane::{Lane, Sender},
};
use crate::{
    Block, Envelope, Kind, Payload, Slot,
    block::RemoteBody,
    range,
    step::step,
    sync::{Arc, atomic::Ordering::*},
};

/// A way to one process. See [`link`](super::Exchange::link).
pub struct Link {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
}

impl Link {
    pub(super) fn new(shared: Arc<Shared>, lane: Arc<Lane>) -> Link {
        Link { shared, lane }
    }

    /// Whom it leads to.
    pub fn to(&self) -> Slot {
        self.lane.slot
    }

    /// Sends a block, with its envelope, to the service `to` over there. Bytes of the domain's arena are lent, not copied;
    /// a block that came from the same process goes home.
    ///
    /// # Errors
    /// [`Unsent`], with the block.
    pub fn send(&mut self, block: Block, to: u32) -> Result<(), Unsent> {
        if self.lane.is_closed.load(Acquire) {
            return Err(Unsent { block, why: WhyUnsent::Closed(self.lane.reason()) });
        }
        let lane = &*self.lane;
        let mut sender = lane.lock();
        lane.flush(&mut sender);
        let sent = match lane.make_room(&mut sender) {
            Ok(true) => self.write(&mut sender, block, to),
            Ok(false) => Err(Unsent { block, why: WhyUnsent::Full }),
            Err(bad) => {
                lane.close(Closed::Head(bad));
                Err(Unsent { block, why: WhyUnsent::Closed(Closed::Head(bad)) })
            }
        };
        drop(sender);
        let left = sent?;
        self.shared.counts.sent.fetch_add(1, Relaxed);
        lane.ring();
        step("send/rung");
        // An envelope around bytes of theirs that others here own too. Its end may be their give-back, behind the entry.
        drop(left);
        lane.settle();
        Ok(())
    }

    /// Writes the entry of a block. There is room. What is left to be dropped.
    fn write(&self, sender: &mut Sender, block: Block, to: u32) -> Result<Option<Block>, Unsent> {
        let lane = &*self.lane;
        let Envelope { source, session, ty } = block.envelope();
        let entry = |kind, ticket| Entry { ty, to, source, session, ..Entry::of(kind, ticket) };
        let is_theirs = |body: RemoteBody| std::ptr::eq(body.lane.cast(), lane);
        match block.kind() {
            Kind::Empty => lane.publish(sender, entry(EntryKind::Empty, 0)),
            Kind::Remote if block.remote().is_some_and(is_theirs) => {
                let body = block.into_remote();
                lane.mine.ledgers[usize::from(lane.slot.number())].clear(body.ticket);
                step("return/cleared");
                lane.publish(sender, entry(EntryKind::Returned, body.ticket));
                step("return/published");
                // SAFETY: the envelope had made it so, and is gone.
                drop(unsafe { Arc::from_raw(body.lane.cast::<Lane>()) });
            }
            Kind::Bytes if self.is_ours(block.as_ptr()) => return self.lend(sender, block, entry),
            Kind::Forward if block.forwarded().is_some_and(|it| is_whole(&block, it)) => {
                let payload = block.forwarded().expect("just seen");
                if let Some(body) = payload.remote().filter(|it| is_theirs(*it)) {
                    lane.publish(sender, entry(EntryKind::Yours, body.ticket));
                    return Ok(Some(block));
                }
                if payload.kind() == Kind::Bytes && self.is_ours(payload.as_ptr()) {
                    return self.lend(sender, block, entry);
                }
                return self.copy(sender, block, entry);
            }
            _ => return self.copy(sender, block, entry),
        }
        Ok(None)
    }

    fn is_ours(&self, at: *const u8) -> bool {
        range::heap_of(at) == Some(self.lane.me.heap())
    }

    fn lend(
        &self,
        sender: &mut Sender,
        block: Block,
        entry: impl Fn(EntryKind, u16) -> Entry,
    ) -> Result<Option<Block>, Unsent> {
        let lane = &*self.lane;
        let Some(ticket) = lane.book.ticket(&mut sender.tickets) else {
            return Err(Unsent { block, why: WhyUnsent::Held(TICKETS) });
        };
        let payload = block.share();
        let offset = payload.as_ptr().addr() - range::heap_base(lane.me.heap());
        let entry = Entry {
            unit: (offset / 16) as u32,
            len: payload.len() as u32,
            generation: payload.generation(),
            ..entry(EntryKind::Block, ticket)
        };
        lane.book.lend(ticket, payload);
        step("send/booked");
        lane.publish(sender, entry);
        Ok(None)
    }

    fn copy(
        &self,
        sender: &mut Sender,
        block: Block,
        entry: impl Fn(EntryKind, u16) -> Entry,
    ) -> Result<Option<Block>, Unsent> {
        let copy = match self.shared.domain.arena().copy_from(&block) {
            Ok(copy) => copy,
            Err(error) => return Err(Unsent { block, why: WhyUnsent::Copy(error) }),
        };
        let bytes = copy.len() as u64;
        match self.lend(sender, copy, entry) {
            Ok(_) => {
                self.shared.counts.copied.fetch_add(1, Relaxed);
                self.shared.counts.copied_bytes.fetch_add(bytes, Relaxed);
                Ok(Some(block))
            }
            Err(unsent) => Err(Unsent { block, why: unsent.why }),
        }
    }

    /// Sends a payload that others own too, under an envelope of its own.
    ///
    /// # Errors
    /// As [`send`](Link::send); the block is the envelope around the payload.
    pub fn send_payload(&mut self, payload: &Payload, envelope: Envelope, to: u32) -> Result<(), SendError> {
        let mut block = self.shared.domain.arena().forward(payload.clone()).map_err(WhyUnsent::Copy)?;
        block.set_envelope(envelope);
        self.send(block, to).map_err(|unsent| unsent.why)
    }
}

/// Why a payload was not sent.
pub type SendError = WhyUnsent;

/// Whether a forward shows all of its payload.
fn is_whole(block: &Block, payload: &Payload) -> bool {
    block.as_ptr() == payload.as_ptr() && block.len() == payload.len()
}
