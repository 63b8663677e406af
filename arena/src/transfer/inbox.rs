//! The way in: what the rings of all peers hold, in turn, and the ends of peers.

use std::{
    ptr::NonNull,
    time::{Duration, Instant},
};

use rustix::thread::sched_getaffinity;

use super::{
    BadKind, Closed, Consumer, Entry, EntryKind, Hold, Kernel, Spin,
    exchange::{Shared, lock},
    lane::{Lane, give_back},
};
use crate::{
    Arena, Block, Envelope, Error, Slot,
    block::RemoteBody,
    step::step,
    sync::{Arc, atomic::Ordering::*},
};

/// Polls between two looks whether somebody died.
const POLLS: u32 = 1 << 14;
/// Messages between two looks at the clock, whether it is time for such a look.
const MESSAGES: u32 = 16;
/// Looks between two looks at the clock: it takes as long as some looks do.
const LOOKS: u32 = 8;
/// How long it sleeps at most while something waits for room in a ring.
const UNTIL_ROOM: Duration = Duration::from_millis(2);
/// How often an inbox that waits looks whether somebody died.
const UNTIL_DEATH: Duration = Duration::from_millis(100);

/// Something that arrived.
#[derive(Debug)]
#[non_exhaustive]
pub enum Arrival {
    /// A message.
    Message {
        /// Who sent it.
        from: Slot,
        /// Handle of the service it is for.
        to: u32,
        /// Body and envelope. A body of [`Kind::Remote`](crate::Kind::Remote) is the sender's memory: dropping the last owner gives it back.
        block: Block,
    },
    /// Nothing more will come from this process.
    Gone {
        /// Its slot.
        from: Slot,
        /// What happened.
        why: Closed,
    },
}

/// Where everything arrives. See [`inbox`](super::Exchange::inbox).
pub struct Inbox {
    shared: Arc<Shared>,
    incoming: Vec<Incoming>,
    /// The count of changes up to which `incoming` is complete.
    seen: u64,
    /// Whose turn it is, so that nobody is left out.
    turn: usize,
    polls: u32,
    messages: u32,
    spin: Spin,
    /// Whether the thread has one processor only, so that who is waited for may need it.
    is_confined: bool,
    looked: Instant,
}

struct Incoming {
    lane: Arc<Lane>,
    consumer: Option<Consumer>,
    dead: bool,
    told: bool,
}

impl Inbox {
    pub(super) fn new(shared: Arc<Shared>) -> Inbox {
        Inbox {
            shared,
            incoming: Vec::new(),
            seen: 0,
            turn: 0,
            polls: 0,
            messages: 0,
            spin: Spin::default(),
            is_confined: is_confined(),
            looked: Instant::now(),
        }
    }

    /// How long [`wait`](Inbox::wait) looks before it sleeps, while that is worth it: [`SPIN`](super::SPIN) if nothing is said,
    /// and never if it is zero.
    pub fn set_spin(&mut self, most: Duration) {
        self.spin = Spin::up_to(most);
    }

    /// The next message, or the end of a peer; none if there is nothing. Never blocks.
    ///
    /// # Errors
    /// There is no memory for an envelope. What arrived is still there: try again.
    pub fn recv(&mut self) -> Result<Option<Arrival>, Error> {
        self.look_around();
        // Who is always busy hears of deaths all the same.
        let busy = self.messages >= MESSAGES && {
            self.messages = 0;
            self.looked.elapsed() >= UNTIL_DEATH
        };
        if busy || self.polls >= POLLS {
            self.polls = 0;
            self.look_for_deaths();
            self.settle();
        }
        for _ in 0..self.incoming.len() {
            let at = self.turn;
            self.turn = if at + 1 < self.incoming.len() { at + 1 } else { 0 };
            if let Some(arrival) = self.incoming[at].recv(&self.shared)? {
                self.messages += 1;
                if let Arrival::Gone { why: Closed::Died, .. } = arrival {
                    self.forget(at);
                }
                return Ok(Some(arrival));
            }
        }
        self.polls += 1;
        Ok(None)
    }

    /// As [`recv`](Inbox::recv), but waits up to `timeout`: looks for a moment if what comes has come soon lately, then sleeps
    /// until a sender rings.
    ///
    /// # Errors
    /// As [`recv`](Inbox::recv).
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<Arrival>, Error> {
        if let Some(arrival) = self.recv()? {
            return Ok(Some(arrival));
        }
        let began = Instant::now();
        let spin = self.spin.how_long();
        if !spin.is_zero()
            && let Some(arrival) = self.look(began, spin.min(timeout))?
        {
            self.spin.came();
            return Ok(Some(arrival));
        }
        let looked = began.elapsed();
        loop {
            let waited = began.elapsed();
            if waited >= timeout {
                self.spin.gave_up();
                return Ok(None);
            }
            self.sleep(timeout - waited);
            if let Some(arrival) = self.recv()? {
                self.spin.slept(began.elapsed() - looked);
                return Ok(Some(arrival));
            }
        }
    }

    /// Looks for so long. Who has to share a processor with others lets them go first.
    fn look(&mut self, began: Instant, spin: Duration) -> Result<Option<Arrival>, Error> {
        let mut looks = 0_u32;
        loop {
            looks += 1;
            if looks.is_multiple_of(LOOKS) {
                if self.is_confined {
                    rustix::thread::sched_yield();
                }
                // Before the look: if others had the processor for that long, this was no way to wait.
                if began.elapsed() >= spin {
                    return Ok(None);
                }
            }
            if let Some(arrival) = self.recv()? {
                return Ok(Some(arrival));
            }
            std::hint::spin_loop();
        }
    }

    /// Sleeps until somebody rings, or it is time to look around.
    fn sleep(&mut self, timeout: Duration) {
        if self.looked.elapsed() >= UNTIL_DEATH {
            self.look_for_deaths();
            if self.incoming.iter().any(|it| it.dead && !it.told) {
                return;
            }
        }
        let most = if self.settle() { UNTIL_ROOM } else { UNTIL_DEATH };
        let bell = self.shared.bells.of(self.shared.domain.slot().number());
        let seen = (self.seen, self.shared.changes.load(Acquire));
        bell.sleep(&Kernel, timeout.min(most), || {
            seen.0 != seen.1 || self.incoming.iter().any(Incoming::is_ready)
        });
    }

    /// Lanes that are new, and callers that want one.
    fn look_around(&mut self) {
        let bell = self.shared.bells.of(self.shared.domain.slot().number());
        if bell.has_callers() {
            for slot in bell.take_callers().filter_map(Slot::new) {
                if slot != self.shared.domain.slot() {
                    // Anybody may have written this: a slot without a process is no error.
                    let _ = self.shared.lane(slot);
                }
            }
        }
        let changes = self.shared.changes.load(Acquire);
        if changes != self.seen {
            let lanes = lock(&self.shared.lanes);
            for lane in lanes.values() {
                if !self.incoming.iter().any(|it| Arc::ptr_eq(&it.lane, lane)) {
                    self.incoming.push(Incoming {
                        lane: Arc::clone(lane),
                        consumer: None,
                        dead: false,
                        told: false,
                    });
                }
            }
            self.seen = changes;
        }
    }

    fn look_for_deaths(&mut self) {
        self.looked = Instant::now();
        self.is_confined = is_confined();
        for incoming in &mut self.incoming {
            incoming.dead |= !incoming.lane.peer.is_alive();
        }
    }

    /// Sends back what waits for room. Whether something still does.
    fn settle(&self) -> bool {
        self.incoming.iter().filter(|it| !it.dead).fold(false, |waits, it| {
            let mut sender = it.lane.lock();
            let sent = it.lane.flush(&mut sender);
            let left = !sender.queue.is_empty();
            drop(sender);
            if sent {
                it.lane.ring();
            }
            it.lane.settle();
            waits | left
        })
    }

    /// Lets go of a peer that is dead: what it held of ours is free, its own memory stays until nobody here holds any of it.
    fn forget(&mut self, at: usize) {
        let gone = self.incoming.swap_remove(at);
        self.turn = 0;
        gone.lane.close(Closed::Died);
        step("sweep/closed");
        // Nobody lends any more: who has the lock sees that it is closed afterwards.
        drop(gone.lane.lock());
        gone.lane.book.take_all();
        step("sweep/freed");
        lock(&self.shared.gone).insert(gone.lane.slot, gone.lane.life);
        lock(&self.shared.lanes).retain(|_, it| !Arc::ptr_eq(it, &gone.lane));
    }
}

impl Incoming {
    /// Whether `recv` would find something.
    fn is_ready(&self) -> bool {
        match &self.consumer {
            Some(consumer) => !self.told && !matches!(consumer.peek(self.lane.incoming()), Ok(None)),
            None => false,
        }
    }

    fn recv(&mut self, shared: &Shared) -> Result<Option<Arrival>, Error> {
        let from = self.lane.slot;
        if self.lane.is_closed.load(Relaxed) && !self.dead {
            // It wrote nonsense. Its end is told when it dies, so that what it holds stays its until then.
            if self.told {
                return Ok(None);
            }
            self.told = true;
            return Ok(Some(Arrival::Gone { from, why: self.lane.reason() }));
        }
        loop {
            if self.consumer.is_none() {
                self.consumer = self.lane.consumer();
            }
            let head = &self.lane.mine.receiving[usize::from(from.number())].head;
            let next = match &self.consumer {
                Some(consumer) if !self.lane.is_closed.load(Relaxed) => consumer.peek(self.lane.incoming()),
                _ => Ok(None),
            };
            let closed = match next {
                Ok(Some(entry)) => match self.open(shared, &entry) {
                    Ok(opened) => {
                        step("recv/entered");
                        self.consumer.as_mut().expect("it has just been read").advance(head);
                        step("recv/advanced");
                        match opened {
                            None => continue,
                            Some(mut block) => {
                                let Entry { source, session, ty, to, .. } = entry;
                                block.set_envelope(Envelope { source, session, ty });
                                shared.counts.received.fetch_add(1, Relaxed);
                                return Ok(Some(Arrival::Message { from, to, block }));
                            }
                        }
                    }
                    Err(Trouble::Ours(error)) => return Err(error),
                    Err(Trouble::Theirs(closed)) => closed,
                },
                Ok(None) if self.dead => return Ok(Some(Arrival::Gone { from, why: Closed::Died })),
                Ok(None) => return Ok(None),
                Err(BadKind(kind)) => Closed::Kind(kind),
            };
            self.lane.close(closed.clone());
            self.told = true;
            return Ok(Some(Arrival::Gone { from, why: closed }));
        }
    }

    /// Takes what an entry says; none if it is no message.
    fn open(&self, shared: &Shared, entry: &Entry) -> Result<Option<Block>, Trouble> {
        let (lane, arena) = (&self.lane, shared.domain.arena());
        let ticket = entry.ticket;
        let lent = || lane.book.look(ticket).ok_or(Trouble::Theirs(Closed::Ticket(ticket)));
        match entry.kind {
            EntryKind::Empty => Ok(Some(arena.envelope()?)),
            EntryKind::Block => {
                self.hold(arena, entry, lane.check(entry).map_err(Trouble::Theirs)?).map(Some)
            }
            EntryKind::Yours => {
                let block = arena.forward(lent()?)?;
                shared.counts.returned.fetch_add(1, Relaxed);
                Ok(Some(block))
            }
            EntryKind::Returned => {
                let payload = lent()?;
                // Two owners: the book, and the look at it. Nobody else can become one.
                let block = if payload.owners() == 2 {
                    drop(lane.book.take(ticket));
                    payload.try_unique().or_else(|payload| arena.forward(payload))?
                } else {
                    let block = arena.forward(payload)?;
                    drop(lane.book.take(ticket));
                    block
                };
                shared.counts.returned.fetch_add(1, Relaxed);
                Ok(Some(block))
            }
            EntryKind::GiveBack => {
                step("take/seen");
                let payload = lane.book.take(ticket).ok_or(Trouble::Theirs(Closed::Ticket(ticket)))?;
                step("take/unbooked");
                shared.counts.given_back.fetch_add(1, Relaxed);
                drop(payload);
                Ok(None)
            }
        }
    }

    /// An envelope around bytes of theirs, written down in the ledger.
    fn hold(&self, arena: Arena, entry: &Entry, at: NonNull<u8>) -> Result<Block, Trouble> {
        let lane = &self.lane;
        step("recv/checked");
        let body =
            RemoteBody { at, lane: Arc::into_raw(Arc::clone(lane)).cast(), ticket: entry.ticket, give_back };
        // SAFETY: the lane keeps the peer's mapping, and the block stays in this life until the ticket is given back;
        // the envelope does that once.
        let block = unsafe { arena.remote(body, entry.len) }.inspect_err(|_| {
            // SAFETY: nobody got it.
            drop(unsafe { Arc::from_raw(body.lane.cast::<Lane>()) });
        })?;
        step("recv/enveloped");
        let hold = Hold { unit: entry.unit & (u32::MAX >> 1), generation: entry.generation };
        lane.mine.ledgers[usize::from(lane.slot.number())].enter(entry.ticket, hold);
        Ok(block)
    }
}

/// Why an entry was not taken.
enum Trouble {
    /// We have no memory: it stays where it is.
    Ours(Error),
    /// It is nonsense.
    Theirs(Closed),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Ours(error)
    }
}

/// Whether the calling thread may run on one processor only.
fn is_confined() -> bool {
    sched_getaffinity(None).is_ok_and(|processors| processors.count() == 1)
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.shared.inbox.store(false, Release);
    }
}
