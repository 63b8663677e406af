//! One socket: what it is, in which state, whose, and what waits to be sent.
//!
//! # States
//!
//! ```text
//! PREPARED ──start──► LISTENING                 a listener
//! DIALLING ─────────► CONNECTED ─► HALF_READ    the peer has closed: we may still write
//! ACCEPTED ──start──► CONNECTED ─► HALF_WRITE   a write failed: what comes is still read
//! BOUND                                         somebody else's descriptor
//! ```
//!
//! # From skynet
//! struct socket → [`Socket`]; SOCKET_TYPE_* → [`State`]; struct write_buffer → [`Piece`]; struct socket_stat → [`Tally`].

use std::{collections::VecDeque, io::IoSlice, net::SocketAddr};

use skein_arena::{Block, Payload};

use super::{
    Address,
    read::Room,
    system::{Carrier, Fd},
    whole::Whole,
};
use crate::Handle;

/// The life of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Listening for the kernel; connections are taken once it is started.
    Prepared,
    /// Takes connections.
    Listening,
    /// On its way to the peer.
    Dialling,
    /// Taken from a listener; reads once it is started.
    Accepted,
    /// Both ways are open. Datagram sockets are always.
    Connected,
    /// Nothing more comes.
    HalfRead,
    /// Nothing more goes.
    HalfWrite,
    /// A descriptor that was handed to us, and is not ours to close.
    Bound,
}

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A stream.
    Stream,
    /// A descriptor from outside.
    Foreign(Carrier),
    /// Datagrams, IPv6 or not, to this address unless told otherwise.
    Datagram { v6: bool, to: Option<SocketAddr> },
}

/// A connection that is being made: addresses to try, and those being tried.
#[derive(Default, Debug)]
pub(crate) struct Dial {
    pub(crate) left: VecDeque<Address>,
    pub(crate) tried: Vec<Fd>,
    /// Ticks of the node's clock when the next one is tried, though the last has not failed.
    pub(crate) next: Option<u64>,
    /// Why the first one failed.
    pub(crate) problem: Option<String>,
}

/// Bytes that wait.
pub(crate) enum Bytes {
    /// Ours alone.
    Block(Block),
    /// Others may have them too: `start`, `len`.
    Shared(Payload, usize, usize),
}

impl Bytes {
    fn all(&self) -> &[u8] {
        match self {
            Self::Block(block) => block,
            Self::Shared(payload, start, len) => &payload[*start..*start + *len],
        }
    }
}

/// One write that waits, from `at` on.
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    pub(crate) at: usize,
    /// Of a datagram.
    pub(crate) to: Option<SocketAddr>,
}

impl Piece {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0, to: None }
    }

    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes.all()[self.at..]
    }

    /// How long [`Self::rest`] is.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        let all = match &self.bytes {
            Bytes::Block(block) => block.len(),
            Bytes::Shared(_, _, len) => *len,
        };
        all - self.at
    }
}

/// Writes that wait, those of high priority before the others.
#[derive(Default)]
pub(crate) struct Outbox {
    high: VecDeque<Piece>,
    low: VecDeque<Piece>,
    /// Bytes in both.
    pub(crate) size: usize,
    /// From where on the next warning is due; 0 before the first.
    pub(crate) watermark: usize,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.high.is_empty() && self.low.is_empty()
    }

    /// Appends. When nothing waits, priority means nothing.
    pub(crate) fn push(&mut self, piece: Piece, low: bool) {
        self.size += piece.len();
        if low && !self.is_empty() { &mut self.low } else { &mut self.high }.push_back(piece);
    }

    /// The first writes, as many as fit.
    pub(crate) fn slices<'a>(&'a self, into: &mut Vec<IoSlice<'a>>, most: usize) {
        let queue = if self.high.is_empty() { &self.low } else { &self.high };
        into.extend(queue.iter().take(most).map(|it| IoSlice::new(it.rest())));
    }

    /// The writes, if they are at least `least`, none has begun, and all are of payloads that others may have too.
    pub(crate) fn shared(&self, least: usize) -> Option<impl ExactSizeIterator<Item = (&Payload, usize, usize)>> {
        let begins = |it: &Piece| it.at == 0 && matches!(it.bytes, Bytes::Shared(..));
        let all = self.high.len() >= least && self.low.is_empty() && self.high.iter().all(begins);
        all.then(|| {
            self.high.iter().map(|it| match &it.bytes {
                Bytes::Shared(payload, start, len) => (payload, *start, *len),
                Bytes::Block(_) => unreachable!("all are shared"),
            })
        })
    }

    /// The write that is next.
    pub(crate) fn front(&self) -> Option<&Piece> {
        self.high.front().or(self.low.front())
    }

    /// Takes it out.
    pub(crate) fn pop(&mut self) -> Option<Piece> {
        let piece = self.high.pop_front().or_else(|| self.low.pop_front());
        self.size -= piece.as_ref().map_or(0, |it| it.len());
        piece
    }

    /// `written` bytes of what [`slices`](Self::slices) gave are gone.
    pub(crate) fn advance(&mut self, mut written: usize) {
        self.size -= written;
        let low = self.high.is_empty();
        let queue = if low { &mut self.low } else { &mut self.high };
        while let Some(first) = queue.front_mut() {
            let len = first.len();
            if len > written {
                first.at += written;
                break;
            }
            written -= len;
            queue.pop_front();
        }
        // One that was begun is finished before anything else.
        if low && self.low.front().is_some_and(|it| it.at > 0) {
            self.high.extend(self.low.pop_front());
        }
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        *self = Self { watermark: self.watermark, ..Self::default() };
    }

    /// The backlog has grown: what to warn of, in KiB.
    pub(crate) fn warning(&mut self) -> Option<i32> {
        if self.size < WARN_FROM || self.size < self.watermark {
            return None;
        }
        self.watermark = if self.watermark == 0 { 2 * WARN_FROM } else { self.watermark.saturating_mul(2) };
        Some(i32::try_from(self.size.div_ceil(1024)).unwrap_or(i32::MAX))
    }

    /// Nothing waits any more: whether there was a warning.
    pub(crate) fn calm(&mut self) -> bool {
        core::mem::take(&mut self.watermark) > 0
    }
}

/// The least backlog that is worth a warning.
const WARN_FROM: usize = 1 << 20;

/// What has been done. Times are those of the workers' clock; 0 is never.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Tally {
    pub(crate) read: u64,
    pub(crate) written: u64,
    pub(crate) accepted: u64,
    pub(crate) read_at: u64,
    pub(crate) written_at: u64,
}

/// One socket.
pub(crate) struct Socket {
    pub(crate) id: i32,
    /// -1 while there is none.
    pub(crate) fd: Fd,
    pub(crate) owner: Handle,
    pub(crate) state: State,
    pub(crate) kind: Kind,
    /// What is asked of the poller, once it knows the descriptor.
    pub(crate) watched: bool,
    pub(crate) reading: bool,
    pub(crate) writing: bool,
    /// To be destroyed once everything is written.
    pub(crate) closing: bool,
    /// What waits was not refused by the system: see [`super::held`].
    pub(crate) held: bool,
    /// Nothing was written yet on a connection that was accepted.
    pub(crate) answers: bool,
    /// The turn that wrote last.
    pub(crate) wrote_in: u64,
    /// The owner knows that it has closed.
    pub(crate) close_told: bool,
    /// How much the next read has room for.
    pub(crate) room: Room,
    /// How many bytes the owner was told of since it started the socket.
    pub(crate) told: u64,
    /// What it waits for in one piece.
    pub(crate) whole: Option<Box<Whole>>,
    pub(crate) dial: Option<Box<Dial>>,
    pub(crate) outbox: Outbox,
    pub(crate) tally: Tally,
}

impl Socket {
    pub(crate) fn new(id: i32, fd: Fd, owner: Handle, state: State, kind: Kind) -> Self {
        Self {
            id,
            fd,
            owner,
            state,
            kind,
            watched: false,
            reading: false,
            writing: false,
            closing: false,
            held: false,
            answers: state == State::Accepted,
            wrote_in: 0,
            close_told: false,
            room: Room::FIRST,
            told: 0,
            whole: None,
            dial: None,
            outbox: Outbox::default(),
            tally: Tally::default(),
        }
    }

    /// How the bytes are written.
    pub(crate) fn carrier(&self) -> Carrier {
        match self.kind {
            Kind::Foreign(carrier) => carrier,
            Kind::Stream | Kind::Datagram { .. } => Carrier::Socket,
        }
    }

    /// What the poller says when one of its descriptors is ready.
    pub(crate) fn token(&self, fd: Fd) -> u64 {
        u64::from(self.id as u32) | u64::from(fd as u32) << 32
    }
}

#[cfg(test)]
mod tests {
    use skein_arena::{Arena, Options};

    use super::*;

    fn piece(arena: Arena, bytes: &[u8]) -> Piece {
        Piece::new(Bytes::Block(arena.copy_from(bytes).unwrap()))
    }

    /// Writes `step` bytes at a time until nothing waits.
    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut written = Vec::new();
        while !outbox.is_empty() {
            written.extend(one(outbox, step));
        }
        assert_eq!(outbox.size, 0);
        written
    }

    fn one(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut slices = Vec::new();
        outbox.slices(&mut slices, 64);
        let bytes: Vec<u8> = slices.iter().flat_map(|it| it.iter().copied()).take(step).collect();
        drop(slices);
        outbox.advance(bytes.len());
        bytes
    }

    #[test]
    fn a_low_write_that_was_begun_is_finished_before_newer_high_ones() {
        let arena = Arena::private(&Options::default()).unwrap();
        let mut outbox = Outbox::default();
        outbox.push(piece(arena, b"first"), true);
        outbox.push(piece(arena, b"LOW1"), true);
        outbox.push(piece(arena, b"LOW2"), true);
        outbox.push(piece(arena, b"high"), false);
        assert_eq!(one(&mut outbox, 5), b"first");
        assert_eq!(one(&mut outbox, 4), b"high");
        assert_eq!(one(&mut outbox, 2), b"LO");
        outbox.push(piece(arena, b"late"), false);
        assert_eq!(drain(&mut outbox, 3), b"W1lateLOW2");
    }

    #[test]
    fn every_step_of_writing_gives_the_same_bytes() {
        let arena = Arena::private(&Options::default()).unwrap();
        for step in 1..12 {
            let mut outbox = Outbox::default();
            for bytes in [&b"abc"[..], b"d", b"efghij", b"kl"] {
                outbox.push(piece(arena, bytes), false);
            }
            assert_eq!(drain(&mut outbox, step), b"abcdefghijkl");
        }
    }

    #[test]
    fn warnings_double_and_are_taken_back_when_nothing_waits() {
        let arena = Arena::private(&Options::default()).unwrap();
        let mut outbox = Outbox::default();
        let mut warnings = Vec::new();
        for _ in 0..70 {
            outbox.push(piece(arena, &[0; 64 << 10]), false);
            warnings.extend(outbox.warning());
        }
        assert_eq!(warnings, [1024, 2048, 4096]);
        outbox.clear();
        assert!(outbox.calm());
        assert!(!outbox.calm());
    }
}
