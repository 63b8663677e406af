//! What two lives have with each other: a ring each way, what was lent, and what is held.

use std::{collections::VecDeque, ptr::NonNull};

use super::{
    BadHead, Book, Consumer, Control, Doorbells, Entry, EntryKind, GiveBacks, Kernel, Producer, TICKETS,
    book::Tickets,
    error::{Closed, LinkError},
};
use crate::{
    Domain, Header, Peer, Slot, range,
    step::step,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering::*},
    },
};

/// One peer, as long as it lives or something of it is held here.
pub(super) struct Lane {
    pub(super) slot: Slot,
    pub(super) life: u64,
    pub(super) me: Slot,
    pub(super) my_life: u64,
    pub(super) mine: &'static Control,
    bells: &'static Doorbells,
    /// Keeps what `theirs` points to.
    pub(super) peer: Peer,
    theirs: NonNull<Control>,
    pub(super) sender: Mutex<Sender>,
    pub(super) give_backs: GiveBacks,
    pub(super) book: Book,
    pub(super) closed: Mutex<Option<Closed>>,
    pub(super) is_closed: AtomicBool,
    pub(super) overflowed: AtomicU64,
}

/// The sending side, for one thread at a time.
pub(super) struct Sender {
    pub(super) producer: Producer,
    pub(super) tickets: Tickets,
    /// Tickets that go back when the ring has room.
    pub(super) queue: VecDeque<u16>,
}

// SAFETY: `theirs` is a mapping that `peer` keeps, used through atomics only.
unsafe impl Send for Lane {}
// SAFETY: as above.
unsafe impl Sync for Lane {}

impl Lane {
    pub(super) fn open(
        domain: Domain,
        slot: Slot,
        mine: &'static Control,
        bells: &'static Doorbells,
    ) -> Result<Lane, LinkError> {
        let peer = domain.peer(slot)?;
        let number = usize::from(slot.number());
        let offset = |at: *const u8| at.addr() - std::ptr::from_ref(mine).addr();
        let (ring, ledger) = (&raw const mine.rings[number], &raw const mine.ledgers[number]);
        domain.promise_control(offset(ring.cast()), size_of::<super::Ring>())?;
        domain.promise_control(offset(ledger.cast()), size_of::<super::Ledger>())?;
        let theirs = Control::at(peer.control_area());
        step("link/attached");
        let start = mine.sending[number].open(peer.life());
        let sender =
            Sender { producer: Producer::at(start), tickets: Tickets::default(), queue: VecDeque::new() };
        Ok(Lane {
            slot,
            life: peer.life(),
            me: domain.slot(),
            my_life: domain.life(),
            mine,
            bells,
            peer,
            theirs,
            sender: Mutex::new(sender),
            give_backs: GiveBacks::default(),
            book: Book::default(),
            closed: Mutex::new(None),
            is_closed: AtomicBool::new(false),
            overflowed: AtomicU64::new(0),
        })
    }

    pub(super) fn theirs(&self) -> &Control {
        // SAFETY: `peer` keeps the mapping, of a length that was asserted; it is atomics.
        unsafe { self.theirs.as_ref() }
    }

    /// The entries that the peer sends us.
    pub(super) fn incoming(&self) -> &super::Ring {
        &self.theirs().rings[usize::from(self.me.number())]
    }

    /// Where the peer's entries to us begin, if it has begun.
    fn start(&self) -> Option<u64> {
        self.theirs().sending[usize::from(self.me.number())].start_for(self.my_life)
    }

    /// Whether the peer has begun to send to us.
    pub(super) fn is_written(&self) -> bool {
        self.start().is_some()
    }

    /// The receiving side, once the peer has begun to send to us.
    pub(super) fn consumer(&self) -> Option<Consumer> {
        let start = self.start()?;
        self.mine.receiving[usize::from(self.slot.number())].open(self.life, start);
        Some(Consumer::at(start))
    }

    /// Makes room as far as the peer has read. Whether there is some.
    pub(super) fn make_room(&self, sender: &mut Sender) -> Result<bool, BadHead> {
        if sender.producer.room() > 0 {
            return Ok(true);
        }
        let Some(head) = self.theirs().receiving[usize::from(self.me.number())].head_for(self.my_life) else {
            // Somebody may have written over our call.
            self.call();
            return Ok(false);
        };
        Ok(sender.producer.refresh(head)? > 0)
    }

    /// Writes an entry. There is room.
    pub(super) fn publish(&self, sender: &mut Sender, entry: Entry) {
        let number = usize::from(self.slot.number());
        sender.producer.publish(&self.mine.rings[number], entry, || step("send/written"));
        step("send/published");
        self.mine.sending[number].advance(sender.producer.tail());
    }

    /// Sends back what is on the list and in the queue, as far as there is room. Whether something was sent.
    pub(super) fn flush(&self, sender: &mut Sender) -> bool {
        self.give_backs.move_to(&mut sender.queue);
        let mut sent = false;
        while let Some(&ticket) = sender.queue.front() {
            match self.make_room(sender) {
                Ok(true) => {}
                Ok(false) => {
                    self.overflowed.fetch_add(1, Relaxed);
                    break;
                }
                Err(bad) => {
                    self.close(Closed::Head(bad));
                    break;
                }
            }
            sender.queue.pop_front();
            self.publish(sender, Entry::of(EntryKind::GiveBack, ticket));
            step("give/published");
            sent = true;
        }
        sent
    }

    /// Gives a ticket back to the peer: the last owner of its block has gone.
    fn give_back(&self, ticket: u16) {
        self.mine.ledgers[usize::from(self.slot.number())].clear(ticket);
        step("give/cleared");
        self.give_backs.push(ticket);
        step("give/listed");
        self.settle();
    }

    /// Sends back what waits, if nobody else is sending.
    pub(super) fn settle(&self) {
        let mut sent = false;
        self.give_backs.settle(&self.sender, |sender| sent |= self.flush(sender));
        if sent {
            self.ring();
        }
    }

    pub(super) fn ring(&self) {
        self.bells.of(self.slot.number()).ring(&Kernel);
    }

    /// Asks the peer to look at us.
    pub(super) fn call(&self) {
        self.bells.of(self.slot.number()).call(&Kernel, self.me.number());
    }

    pub(super) fn close(&self, why: Closed) {
        self.closed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(why);
        self.is_closed.store(true, Release);
    }

    pub(super) fn reason(&self) -> Closed {
        let closed = self.closed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        closed.clone().unwrap_or(Closed::Died)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Sender> {
        self.sender.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Checks what an entry of kind `Block` says; where the bytes are.
    pub(super) fn check(&self, entry: &Entry) -> Result<NonNull<u8>, Closed> {
        let bad = |why| Closed::Block { ticket: entry.ticket, why };
        let ledger = &self.mine.ledgers[usize::from(self.slot.number())];
        if usize::from(entry.ticket) >= TICKETS || ledger.has(entry.ticket) {
            return Err(bad("a ticket that is taken, or that there is none of".to_owned()));
        }
        let offset = u64::from(entry.unit & (u32::MAX >> 1)) * 16;
        let address = range::heap_base(self.slot.heap()) as u64 + offset;
        let found = self.peer.find(address).map_err(|error| bad(error.to_string()))?;
        if (found.size, found.generation) != (entry.len as usize, entry.generation) {
            return Err(bad(format!(
                "a block of {} bytes in life {}, not {} in life {}",
                found.size, found.generation, entry.len, entry.generation
            )));
        }
        // SAFETY: the payload is behind its header, in the same block, which `find` says is mapped.
        Ok(unsafe { found.header.cast::<u8>().byte_add(Header::SIZE) })
    }
}

/// Takes a hold back from an envelope: [`crate::block::RemoteBody::give_back`].
///
/// # Safety
/// `lane` came from `Arc::into_raw`, and is given once.
pub(super) unsafe fn give_back(lane: *const (), ticket: u16) {
    // SAFETY: passed on.
    let lane = unsafe { Arc::from_raw(lane.cast::<Lane>()) };
    lane.give_back(ticket);
}
