//! The face: links to send through, and the inbox of a process.

use std::{
    collections::BTreeMap,
    ptr::NonNull,
    sync::PoisonError,
    time::{Duration, Instant},
};

use super::{
    BadKind, Closed, Consumer, Control, Doorbells, Entry, EntryKind, Hold, Kernel, LinkError, TICKETS,
    Unsent, WhyUnsent,
    lane::{Lane, Sender, give_back},
};
use crate::{
    Arena, Block, Domain, Envelope, Error, Kind, Payload, Slot,
    block::RemoteBody,
    epoch::Readers,
    range,
    step::step,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering::*},
    },
};

/// Polls between two looks whether somebody died.
const POLLS: u32 = 1 << 14;
/// Messages between two looks at the clock, whether it is time for such a look.
const MESSAGES: u32 = 16;
/// How long [`Inbox::wait`] looks before it sleeps, if not told otherwise.
const SPIN: Duration = Duration::from_micros(20);
/// How long it sleeps at most while something waits for room in a ring.
const UNTIL_ROOM: Duration = Duration::from_millis(2);
/// How often an inbox that waits looks whether somebody died.
const UNTIL_DEATH: Duration = Duration::from_millis(100);

static TAKEN: AtomicBool = AtomicBool::new(false);

/// What this process has to do with the others of its domain. Clones are the same one. When the last is dropped, what is lent
/// stays lent for as long as the process runs.
#[derive(Clone)]
pub struct Exchange(Arc<Shared>);

struct Shared {
    domain: Domain,
    mine: &'static Control,
    bells: &'static Doorbells,
    lanes: Mutex<BTreeMap<Slot, Arc<Lane>>>,
    /// Lives that have been told as gone: nothing of theirs is received again, whoever rings for them.
    gone: Mutex<BTreeMap<Slot, u64>>,
    /// One more for each change of `lanes`.
    changes: AtomicU64,
    inbox: AtomicBool,
    counts: Counts,
    readers: Readers,
}

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    received: AtomicU64,
    returned: AtomicU64,
    given_back: AtomicU64,
    copied: AtomicU64,
    copied_bytes: AtomicU64,
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
        /// Body and envelope. A body of [`Kind::Remote`] is the sender's memory: dropping the last owner gives it back.
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
        Ok(Link { shared: Arc::clone(&self.0), lane })
    }

    /// Where everything arrives. There is one.
    ///
    /// # Errors
    /// [`LinkError::Taken`].
    pub fn inbox(&self) -> Result<Inbox, LinkError> {
        if self.0.inbox.swap(true, AcqRel) {
            return Err(LinkError::Taken);
        }
        let shared = Arc::clone(&self.0);
        Ok(Inbox {
            shared,
            incoming: Vec::new(),
            seen: 0,
            turn: 0,
            polls: 0,
            messages: 0,
            spin: SPIN,
            looked: Instant::now(),
        })
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
    fn lane(&self, slot: Slot) -> Result<Arc<Lane>, LinkError> {
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

/// A way to one process. See [`Exchange::link`].
pub struct Link {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
}

impl Link {
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

/// Where everything arrives. See [`Exchange::inbox`].
pub struct Inbox {
    shared: Arc<Shared>,
    incoming: Vec<Incoming>,
    /// The count of changes up to which `incoming` is complete.
    seen: u64,
    /// Whose turn it is, so that nobody is left out.
    turn: usize,
    polls: u32,
    messages: u32,
    spin: Duration,
    looked: Instant,
}

struct Incoming {
    lane: Arc<Lane>,
    consumer: Option<Consumer>,
    dead: bool,
    told: bool,
}

impl Inbox {
    /// How long [`wait`](Inbox::wait) looks before it sleeps.
    pub fn set_spin(&mut self, spin: Duration) {
        self.spin = spin;
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

    /// As [`recv`](Inbox::recv), but waits up to `timeout`: looks for a moment, then sleeps until a sender rings.
    ///
    /// # Errors
    /// As [`recv`](Inbox::recv).
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<Arrival>, Error> {
        let began = Instant::now();
        loop {
            if let Some(arrival) = self.recv()? {
                return Ok(Some(arrival));
            }
            let waited = began.elapsed();
            if waited >= timeout {
                return Ok(None);
            }
            if waited < self.spin {
                std::hint::spin_loop();
                continue;
            }
            if self.looked.elapsed() >= UNTIL_DEATH {
                self.look_for_deaths();
                if self.incoming.iter().any(|it| it.dead && !it.told) {
                    continue;
                }
            }
            let waits = self.settle();
            let most = if waits { UNTIL_ROOM } else { UNTIL_DEATH };
            let bell = self.shared.bells.of(self.shared.domain.slot().number());
            let seen = (self.seen, self.shared.changes.load(Acquire));
            bell.sleep(&Kernel, (timeout - waited).min(most), || {
                seen.0 != seen.1 || self.incoming.iter().any(Incoming::is_ready)
            });
        }
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

impl Drop for Inbox {
    fn drop(&mut self) {
        self.shared.inbox.store(false, Release);
    }
}
