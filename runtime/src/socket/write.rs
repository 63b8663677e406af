//! How bytes go out: at once if nothing waits, on the thread that has them; the rest when the poller says that there is room. Small
//! writes of one turn are joined ([`super::held`]).

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
};

use skein_arena::{Block, Error, Payload, sync::atomic::Ordering::Relaxed};

use super::{
    EventKind, Network,
    record::{Bytes, Kind, Piece, Socket, State},
    table::Locked,
};
use crate::config::AtLimit;

/// Most pieces of one system call.
const PIECES: usize = 64;

/// What is to be sent.
pub enum Data<'a> {
    /// Bytes of somebody else's; what cannot be sent at once is copied.
    Bytes(&'a [u8]),
    /// A block; the same, but kept as it is.
    Block(Block),
    /// A part of a payload that others may have too.
    Shared {
        /// The payload.
        payload: Payload,
        /// Where the part begins.
        start: usize,
        /// Its size.
        len: usize,
    },
}

impl Data<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Data::Bytes(bytes) => bytes,
            Data::Block(block) => block,
            Data::Shared { payload, start, len } => &payload[*start..*start + *len],
        }
    }
}

impl<'n> Network<'n> {
    /// Sends bytes over a stream, or a datagram to where its socket sends. `low`: behind everything that is not. `false`: no such
    /// socket, or it is being closed, or it has more waiting than the node allows.
    ///
    /// # Errors
    /// The arena has no room for what has to wait. If a part is out already, the socket is ended.
    ///
    /// # Panics
    /// If a part is not inside of its payload.
    pub fn send(self, id: i32, data: Data<'_>, low: bool) -> Result<bool, Error> {
        let Some(mut locked) = self.lock(id) else { return Ok(false) };
        let socket = &mut *locked;
        if socket.closing {
            return Ok(low);
        }
        match (socket.state, socket.kind) {
            (State::Prepared | State::Listening, _) => {
                self.log(format!("socket-server error: write to listen fd {id}."));
                Ok(true)
            }
            (State::Accepted | State::HalfWrite, _) => Ok(true),
            (_, Kind::Datagram { to: Some(to), .. }) => self.send_datagram(socket, to, data),
            (_, Kind::Datagram { to: None, .. }) => {
                self.log(format!("socket-server : set udp ({id}) error: address first."));
                Ok(false)
            }
            _ => self.send_stream(locked, data, low),
        }
    }

    fn send_stream(self, mut locked: Locked<'n>, data: Data<'_>, low: bool) -> Result<bool, Error> {
        let socket = &mut *locked;
        if data.bytes().is_empty() {
            return Ok(true);
        }
        let data = if socket.outbox.is_empty() || socket.held {
            let Some(data) = self.hold(socket, data) else { return Ok(true) };
            data
        } else {
            data
        };
        let bytes = data.bytes();
        let mut written = 0;
        if socket.outbox.is_empty() && socket.state != State::Dialling {
            // A failure is met again by the poller, which tells of it.
            written = self.write_now(socket, &[IoSlice::new(bytes)], false).unwrap_or(0);
            self.wrote(socket, written);
            if written == bytes.len() {
                return Ok(true);
            }
        }
        if let Some(limit) = self.sockets().limit
            && socket.outbox.size + bytes.len() - written > limit.bytes
        {
            if limit.policy == AtLimit::Refuse && written == 0 {
                return Ok(false);
            }
            let (id, size) = (socket.id, socket.outbox.size);
            self.log(format!(
                "socket {id}: more than {} bytes wait to be sent ({size}), closed",
                limit.bytes
            ));
            self.tell_close(socket);
            self.destroy(locked);
            return Ok(false);
        }
        let piece = match self.keep(data, written) {
            Ok(piece) => piece,
            Err(error) => {
                if written > 0 {
                    self.tell_close(socket);
                    self.destroy(locked);
                }
                return Err(error);
            }
        };
        socket.outbox.push(piece, low);
        self.wait_for_room(socket);
        Ok(true)
    }

    /// What is left of `data` behind `at`, to wait.
    fn keep(self, data: Data<'_>, at: usize) -> Result<Piece, Error> {
        Ok(match data {
            Data::Bytes(bytes) => {
                let rest = &bytes[at..];
                self.sockets().counters.copied.fetch_add(rest.len() as u64, Relaxed);
                Piece::new(Bytes::Block(self.node.arena().copy_from(rest)?))
            }
            Data::Block(block) => Piece { at, ..Piece::new(Bytes::Block(block)) },
            Data::Shared { payload, start, len } => {
                Piece { at, ..Piece::new(Bytes::Shared(payload, start, len)) }
            }
        })
    }

    fn wrote(self, socket: &mut Socket, bytes: usize) {
        if bytes > 0 {
            socket.tally.written += bytes as u64;
            socket.tally.written_at = self.node.clock.stamp();
            self.sockets().counters.written.fetch_add(bytes as u64, Relaxed);
        }
    }

    fn write_now(self, socket: &Socket, bytes: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        self.sockets().counters.writes.fetch_add(1, Relaxed);
        self.system().write(socket.fd, socket.carrier(), bytes, more)
    }

    /// Sends one datagram to an address. `false`: no such socket, not one of datagrams, or of the other family.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_to(self, id: i32, to: SocketAddr, data: Data<'_>) -> Result<bool, Error> {
        let Some(mut socket) = self.lock(id) else { return Ok(false) };
        match socket.kind {
            Kind::Datagram { v6, .. } if v6 == to.is_ipv6() && !socket.closing => {
                self.send_datagram(&mut socket, to, data)
            }
            _ => Ok(false),
        }
    }

    fn send_datagram(self, socket: &mut Socket, to: SocketAddr, data: Data<'_>) -> Result<bool, Error> {
        if socket.outbox.is_empty() {
            let size = data.bytes().len();
            match self.system().send_to(socket.fd, to, data.bytes()) {
                Ok(()) => {
                    self.wrote(socket, size);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.cannot_send(socket.id, &error);
                    return Ok(true);
                }
            }
        }
        let piece = Piece { to: Some(to), ..self.keep(data, 0)? };
        socket.outbox.push(piece, false);
        let reading = socket.reading;
        if self.watch(socket, reading, true).is_err() {
            self.tell(socket, EventKind::Error, "enable write failed");
        }
        Ok(true)
    }

    fn cannot_send(self, id: i32, error: &io::Error) {
        self.log(format!("socket-server : udp ({id}) sendto error {}.", super::text_of(error)));
    }

    /// There is room: writes what waits.
    pub(super) fn writable(self, mut locked: Locked<'n>) {
        let socket = &mut *locked;
        if matches!(socket.kind, Kind::Datagram { .. }) {
            self.flush_datagrams(socket);
        } else if let Err(error) = self.flush_stream(socket) {
            return self.write_failed(locked, &error);
        }
        let socket = &mut *locked;
        if !socket.outbox.is_empty() {
            return;
        }
        if socket.closing {
            return self.destroy(locked);
        }
        let reading = socket.reading;
        if self.watch(socket, reading, false).is_err() {
            self.tell(socket, EventKind::Error, "disable write failed");
        }
        if socket.outbox.calm() {
            self.send_event(socket.owner, EventKind::Warning, socket.id, 0, None, b"");
        }
    }

    pub(super) fn flush_stream(self, socket: &mut Socket) -> io::Result<()> {
        self.flush(socket, false)
    }

    /// Writes what waits, as much as there is room for; `last`: the stream ends behind it.
    pub(super) fn flush(self, socket: &mut Socket, last: bool) -> io::Result<()> {
        while !socket.outbox.is_empty() {
            let mut slices = Vec::with_capacity(PIECES);
            socket.outbox.slices(&mut slices, PIECES);
            let offered: usize = slices.iter().map(|it| it.len()).sum();
            match self.write_now(socket, &slices, last) {
                Ok(written) => {
                    drop(slices);
                    socket.outbox.advance(written);
                    self.wrote(socket, written);
                    if written < offered {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes what waits, which is `all`, as much as there is room for.
    pub(super) fn flush_joined(self, socket: &mut Socket, all: &[u8]) -> io::Result<()> {
        let written = self.write_now(socket, &[IoSlice::new(all)], false)?;
        socket.outbox.advance(written);
        self.wrote(socket, written);
        Ok(())
    }

    fn flush_datagrams(self, socket: &mut Socket) {
        while let Some((piece, to)) = socket.outbox.front().and_then(|it| Some((it, it.to?))) {
            let size = piece.rest().len();
            match self.system().send_to(socket.fd, to, piece.rest()) {
                Ok(()) => self.wrote(socket, size),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => self.cannot_send(socket.id, &error),
            }
            socket.outbox.pop();
        }
    }

    fn write_failed(self, mut locked: Locked<'n>, error: &io::Error) {
        let socket = &mut *locked;
        match socket.state {
            _ if socket.closing => self.destroy(locked),
            State::HalfRead => {
                self.tell_close(socket);
                self.destroy(locked);
            }
            _ => {
                socket.state = State::HalfWrite;
                socket.outbox.clear();
                self.system().shut_write(socket.fd);
                let reading = socket.reading;
                let _ = self.watch(socket, reading, false);
                self.tell_error(socket, error);
            }
        }
    }
}
