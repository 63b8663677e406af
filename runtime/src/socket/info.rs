//! What an operator sees of sockets.

use super::{
    Network,
    record::{Kind, State, Tally},
};
use crate::{Handle, timer::clock::NANOS_OF_TICK};

/// How a socket is called in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketType {
    /// Takes connections.
    Listen,
    /// Connected.
    Tcp,
    /// One way is closed.
    Closing,
    /// Datagrams.
    Udp,
    /// A descriptor from outside.
    Bind,
}

/// One socket of [`Network::info`]. Times are ticks of the node's clock; 0 is never.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SocketInfo {
    /// Its id.
    pub id: i32,
    /// Who owns it.
    pub owner: Handle,
    /// What it is.
    pub ty: SocketType,
    /// Connections taken.
    pub accepted: u64,
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
    /// Bytes that wait to be written.
    pub queued: usize,
    /// When it last read, or took a connection.
    pub read_at: u64,
    /// When it last wrote.
    pub written_at: u64,
    /// It is being read from.
    pub reading: bool,
    /// It waits for room to write.
    pub writing: bool,
    /// Its own address, of a listener.
    pub local: Option<String>,
    /// The other end's address; where a datagram socket sends to.
    pub peer: Option<String>,
}

impl Network<'_> {
    /// All sockets that are started, the last slot first.
    pub fn info(self) -> Vec<SocketInfo> {
        self.sockets().table.ids().into_iter().filter_map(|id| self.info_of(id)).collect()
    }

    /// Bytes of one socket that wait to be written; nothing for one that is not there.
    pub fn queued(self, id: i32) -> Option<usize> {
        Some(self.lock(id)?.outbox.size)
    }

    fn info_of(self, id: i32) -> Option<SocketInfo> {
        let mut socket = self.lock(id)?;
        self.release(&mut socket);
        let ty = match (socket.state, socket.kind) {
            (State::Prepared | State::Dialling | State::Accepted, _) => return None,
            (State::Listening, _) => SocketType::Listen,
            (State::HalfRead | State::HalfWrite, _) => SocketType::Closing,
            (State::Bound, _) => SocketType::Bind,
            (State::Connected, Kind::Datagram { .. }) => SocketType::Udp,
            (State::Connected, _) => SocketType::Tcp,
        };
        let (local, peer) = match (ty, socket.kind) {
            (SocketType::Listen, _) => (self.system().local(socket.fd), None),
            (_, Kind::Datagram { to, .. }) => (None, to.map(super::Address::Ip)),
            (_, _) => (None, self.system().peer(socket.fd)),
        };
        let Tally { read, written, accepted, read_at, written_at } = socket.tally;
        Some(SocketInfo {
            id,
            owner: socket.owner,
            ty,
            accepted,
            read,
            written,
            queued: socket.outbox.size,
            read_at: self.ticks_of(read_at),
            written_at: self.ticks_of(written_at),
            reading: socket.reading,
            writing: socket.writing,
            local: local.map(|it| it.to_string()),
            peer: peer.map(|it| it.to_string()),
        })
    }

    /// Ticks of the node's clock at a time of the workers' clock, which is cheaper to read.
    fn ticks_of(self, stamp: u64) -> u64 {
        if stamp == 0 {
            return 0;
        }
        let clock = &self.node.clock;
        clock.nanos().saturating_sub(clock.stamp().saturating_sub(stamp)) / NANOS_OF_TICK
    }
}
