//! Small writes of one turn that go out together.
//!
//! A system call costs what copying some ten thousand bytes costs. So only the first write to a socket in a turn is tried at once, for the
//! sake of who waits at the other end; the small ones after it are *held*, and go out in one call when the turn ends, when there
//! are many, or when anything else is done to the socket. When a turn takes long, the timer's thread sees to what it holds.
//!
//! Two first writes are held as well. One of the bytes that the write before had, to another socket: who tells many something may
//! have more to tell them. And the first one ever on a connection that was accepted: a server that answers and closes has the
//! answer and the end go out as one packet ([`Network::release_last`]).
//!
//! What many sockets were told in several writes each is put together once for all of them ([`super::common`]).
//!
//! # Invariants
//! * **J1** While a socket's outbox holds bytes that the system has not refused, `Socket::held` is set, and its id is in the list of some
//!   worker; that worker's turn has not ended, or is about to empty the list.
//! * **J2** A list that is not empty has a look of the timer's thread to come ([`Node::see_to_held`]).
//!
//! Nobody holds a socket's lock while it waits for that of a list; a list's lock is taken under a socket's.

use skein_arena::{
    Payload,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    EventKind, Network,
    common::Common,
    record::{Bytes, Kind, Piece, Socket, State},
    write::Data,
};
use crate::Node;

/// From this size on a write is not held: its system call is not what costs.
const LARGE: usize = 16 << 10;
/// What one socket may have held.
const MOST: usize = 64 << 10;
/// From this size on bytes are kept for the next socket that is sent the same.
const WORTH_SHARING: usize = 256;
/// How long a turn may hold what it wrote, in ns.
const PATIENCE: u64 = 2_000_000;

/// What one worker holds.
#[derive(Default)]
pub(super) struct Held {
    /// When the oldest was written, in ns of the node's clock; 0: nothing is held.
    since: AtomicU64,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    ids: Vec<i32>,
    /// The last bytes that were copied to be held.
    last: Option<Payload>,
    /// The last write that was the first to its socket: in which turn, and where its bytes are.
    first: (u64, usize, usize),
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(|it| it.into_inner())
    }
}

impl List {
    /// Bytes to be held, copied unless the ones before were the same. Says whether they were copied.
    fn keep(&mut self, arena: skein_arena::Arena, bytes: &[u8]) -> Result<(Bytes, bool), skein_arena::Error> {
        if bytes.len() < WORTH_SHARING {
            return Ok((Bytes::Block(arena.copy_from(bytes)?), true));
        }
        if let Some(last) = self.last.as_ref().filter(|it| it[..] == *bytes) {
            return Ok((Bytes::Shared(last.clone(), 0, bytes.len()), false));
        }
        let payload = arena.copy_from(bytes)?.share();
        self.last = Some(payload.clone());
        Ok((Bytes::Shared(payload, 0, bytes.len()), true))
    }

    /// Whether the first write to another socket, before this one and in the same turn, was of the bytes at the same place.
    fn spreads(&mut self, turn: u64, data: &Data<'_>) -> bool {
        let bytes = data.bytes();
        // The place of a block that is gone may be the next one's.
        if matches!(data, Data::Block(_)) {
            return false;
        }
        let first = (turn, bytes.as_ptr().addr(), bytes.len());
        core::mem::replace(&mut self.first, first) == first
    }
}

impl<'n> Network<'n> {
    /// Takes a write to hold it, unless it is better tried at once: then it comes back. What is held already goes first.
    pub(super) fn hold<'a>(self, socket: &mut Socket, data: Data<'a>) -> Option<Data<'a>> {
        let len = data.bytes().len();
        let turn = self.node.turn();
        let fits = len < LARGE
            && socket.outbox.size + len <= self.sockets().limit.map_or(MOST, |it| it.bytes.min(MOST));
        let may_hold = matches!((socket.kind, socket.state), (Kind::Stream, State::Connected | State::HalfRead));
        let wanted = socket.held
            || turn.is_some_and(|(worker, turn)| {
                turn == core::mem::replace(&mut socket.wrote_in, turn)
                    || core::mem::take(&mut socket.answers)
                    || len >= WORTH_SHARING && self.sockets().held[worker].lock().spreads(turn, &data)
            });
        if !fits || !may_hold || !wanted {
            self.release(socket);
            return Some(data);
        }
        let Some((worker, _)) = turn.or(socket.held.then_some((0, 0))) else { return Some(data) };
        let held = &self.sockets().held[worker];
        let mut list = held.lock();
        let bytes = match data {
            Data::Bytes(bytes) => match list.keep(self.node.arena(), bytes) {
                Ok((kept, copied)) => {
                    if copied {
                        self.sockets().counters.copied.fetch_add(bytes.len() as u64, Relaxed);
                    }
                    kept
                }
                // No room to hold it; there may be to send it.
                Err(_) => {
                    drop(list);
                    self.release(socket);
                    return Some(data);
                }
            },
            Data::Block(block) => Bytes::Block(block),
            Data::Shared { payload, start, len } => Bytes::Shared(payload, start, len),
        };
        socket.outbox.push(Piece::new(bytes), false);
        if !core::mem::replace(&mut socket.held, true) {
            list.ids.push(socket.id);
            if list.ids.len() == 1 {
                let now = self.node.clock.nanos();
                held.since.store(now.max(1), Relaxed);
                drop(list);
                self.node.timer.look_at(now + PATIENCE, || now);
            }
        }
        None
    }

    /// Sends what is held of a socket. What the system refuses waits, as if it had been refused at once.
    pub(super) fn release(self, socket: &mut Socket) {
        self.release_of(socket, None);
    }

    /// The same, for one of many sockets that may have been told the same.
    fn release_of(self, socket: &mut Socket, common: Option<&mut Common>) {
        if !core::mem::take(&mut socket.held) {
            return;
        }
        // A failure is met again by the poller, which tells of it.
        let _ = match common.and_then(|it| it.joined(self, &socket.outbox)) {
            Some(joined) => self.flush_joined(socket, joined),
            None => self.flush_stream(socket),
        };
        if !socket.outbox.is_empty() {
            self.wait_for_room(socket);
        }
    }

    /// Sends what is held of a socket that is closed next: the end of the stream goes in the same packet, if all of it goes.
    pub(super) fn release_last(self, socket: &mut Socket) {
        if !core::mem::take(&mut socket.held) {
            return;
        }
        let _ = self.flush(socket, true);
        if socket.outbox.is_empty() {
            self.system().shut_write(socket.fd);
        } else {
            self.wait_for_room(socket);
        }
    }

    /// The turn of a worker has ended: sends what it holds.
    #[inline]
    pub(super) fn send_held(self, worker: usize) {
        let held = &self.sockets().held[worker];
        if held.since.load(Relaxed) != 0 {
            self.send_list(held);
        }
    }

    #[cold]
    fn send_list(self, held: &Held) {
        let (mut ids, last) = {
            let mut list = held.lock();
            held.since.store(0, Relaxed);
            (core::mem::take(&mut list.ids), list.last.take())
        };
        drop(last);
        let mut common = Common::default();
        for id in ids.drain(..) {
            if let Some(mut socket) = self.lock(id) {
                self.release_of(&mut socket, Some(&mut common));
            }
        }
        let mut list = held.lock();
        if list.ids.capacity() == 0 {
            list.ids = ids;
        }
    }

    /// The backlog has grown, or there is one: has the poller tell when there is room, and warns.
    pub(super) fn wait_for_room(self, socket: &mut Socket) {
        if socket.state != State::Dialling {
            let reading = socket.reading;
            if self.watch(socket, reading, true).is_err() {
                self.tell(socket, EventKind::Error, "enable write failed");
            }
        }
        if let Some(kib) = socket.outbox.warning() {
            self.send_event(socket.owner, EventKind::Warning, socket.id, kib, None, b"");
        }
    }
}

impl Node {
    /// The timer's thread looks here: sends what a turn holds that takes long, and has itself come back for the rest (J2).
    pub(crate) fn see_to_held(self: &std::sync::Arc<Self>) {
        let now = self.clock.nanos();
        for held in &self.sockets.held {
            match held.since.load(Relaxed) {
                0 => {}
                since if since + PATIENCE <= now => self.network().send_list(held),
                since => self.timer.look_at(since + PATIENCE, || now),
            }
        }
    }
}
