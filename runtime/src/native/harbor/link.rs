//! The connections to other nodes, one to each.
//!
//! A node that nobody has seen yet may come: what is for it waits. One whose connection ended never comes back in the life of this
//! process: what is for it is answered with an error.
//!
//! # Invariants
//! * **L1** Messages to one node are sent under its lock, in the order in which they came: also those that waited.

use std::{collections::VecDeque, sync::Arc};

use skein_arena::sync::{Mutex, MutexGuard};

use super::packet::{Head, MOST, Malformed, Reader};
use crate::{Handle, Message, Node, socket::Data};

/// Up to this size a body is sent in one piece with what goes around it.
const ONE_PIECE: usize = 16 << 10;

/// The other nodes, by number.
pub(super) struct Links(Box<[Mutex<Link>]>);

struct Link {
    state: State,
    /// What the slave service said of it.
    fd: Option<i32>,
}

enum State {
    /// Not seen yet; these wait.
    Waiting(VecDeque<(Handle, Message)>),
    /// We connected, and expect its number.
    Shaking(VecDeque<(Handle, Message)>),
    /// Messages go both ways.
    Open(Reader),
    /// Its connection ended.
    Down,
}

/// What became of a message.
pub(super) enum Sent {
    Gone,
    /// The node is down; here it is again.
    Down(Message),
    /// The body is larger than a packet can be.
    TooLarge(Message),
}

/// What a connection brought.
pub(super) enum Arrived {
    /// Whatever was in it has been given out.
    Messages,
    /// No connection of ours.
    Unknown,
    /// The other side is not who it should be.
    WrongId { harbor: u8, said: u8 },
    /// Its bytes make no sense.
    Malformed { harbor: u8, why: Malformed },
}

impl Links {
    /// All unknown as yet, or all `down` for good.
    pub(super) fn new(down: bool) -> Self {
        let state = || if down { State::Down } else { State::Waiting(VecDeque::new()) };
        Self((0..=u8::MAX).map(|_| Mutex::new(Link { state: state(), fd: None })).collect())
    }

    fn lock(&self, harbor: u8) -> MutexGuard<'_, Link> {
        self.0[usize::from(harbor)].lock().unwrap_or_else(|it| it.into_inner())
    }

    /// Sends a message to the node of `to`.
    pub(super) fn send(&self, node: &Arc<Node>, to: Handle, message: Message) -> Sent {
        if message.len() > MOST {
            return Sent::TooLarge(message);
        }
        let mut link = self.lock(to.harbor());
        let fd = link.fd;
        match (&mut link.state, fd) {
            (State::Waiting(queue) | State::Shaking(queue), _) => queue.push_back((to, message)),
            (State::Open(_), Some(fd)) => write(node, fd, to, message),
            (State::Open(_), None) | (State::Down, _) => return Sent::Down(message),
        }
        Sent::Gone
    }

    /// Whether there is, or was, a connection to this node.
    pub(super) fn is_known(&self, harbor: u8) -> bool {
        let link = self.lock(harbor);
        link.fd.is_some() || !matches!(link.state, State::Waiting(_))
    }

    /// Takes a connection to an unknown node over. `connector`: we opened it, and its number has yet to come.
    pub(super) fn adopt(&self, node: &Arc<Node>, harbor: u8, fd: i32, connector: bool) {
        let mut link = self.lock(harbor);
        let State::Waiting(queue) = &mut link.state else { return };
        let queue = std::mem::take(queue);
        link.fd = Some(fd);
        let _ = node.network().send(fd, Data::Bytes(&[node.harbor() as u8]), false);
        if connector {
            link.state = State::Shaking(queue);
        } else {
            link.open(node, fd, queue);
        }
    }

    /// Bytes of a connection. `each` gets the messages in them.
    pub(super) fn arrived(
        &self,
        node: &Arc<Node>,
        fd: i32,
        mut bytes: &[u8],
        each: impl FnMut(Head, &[u8]),
    ) -> Arrived {
        let Some(harbor) = self.harbor_of(fd) else { return Arrived::Unknown };
        // Messages are given out without the lock: answers to them may be for the same node.
        let mut reader = {
            let mut link = self.lock(harbor);
            if let State::Shaking(queue) = &mut link.state {
                let Some((&said, rest)) = bytes.split_first() else { return Arrived::Messages };
                if said != harbor {
                    return Arrived::WrongId { harbor, said };
                }
                bytes = rest;
                let queue = std::mem::take(queue);
                link.open(node, fd, queue);
            }
            let State::Open(reader) = &mut link.state else { return Arrived::Unknown };
            std::mem::take(reader)
        };
        let outcome = reader.push(bytes, each);
        // Only the harbor service reads, so nobody put anything there meanwhile.
        if let State::Open(kept) = &mut self.lock(harbor).state {
            *kept = reader;
        }
        match outcome {
            Ok(()) => Arrived::Messages,
            Err(why) => Arrived::Malformed { harbor, why },
        }
    }

    /// Which node a connection leads to.
    pub(super) fn harbor_of(&self, fd: i32) -> Option<u8> {
        (0..=u8::MAX).find(|&harbor| self.lock(harbor).fd == Some(fd))
    }

    /// The connection to a node ended: gives what waited for it. None: that was known.
    pub(super) fn end(&self, harbor: u8) -> Option<VecDeque<(Handle, Message)>> {
        match std::mem::replace(&mut self.lock(harbor).state, State::Down) {
            State::Waiting(queue) | State::Shaking(queue) => Some(queue),
            State::Open(_) => Some(VecDeque::new()),
            State::Down => None,
        }
    }
}

impl Link {
    /// Messages may go; those that waited are the first (L1).
    fn open(&mut self, node: &Arc<Node>, fd: i32, queue: VecDeque<(Handle, Message)>) {
        for (to, message) in queue {
            write(node, fd, to, message);
        }
        self.state = State::Open(Reader::default());
    }
}

/// Sends one packet. A connection that is gone takes it: its end is on the way to the harbor service.
fn write(node: &Arc<Node>, fd: i32, to: Handle, message: Message) {
    let network = node.network();
    let head = Head { source: message.source(), destination: to.0, ty: message.ty(), session: message.session() };
    let (size, tail) = head.encode(message.len());
    let sent = if message.len() <= ONE_PIECE {
        network.send(fd, Data::Bytes(&[&size[..], &message[..], &tail[..]].concat()), false)
    } else {
        // The body travels as it is.
        let body = message.into_block();
        network
            .send(fd, Data::Bytes(&size), false)
            .and_then(|_| network.send(fd, Data::Block(body), false))
            .and_then(|_| network.send(fd, Data::Bytes(&tail), false))
    };
    if let Err(why) = sent {
        // Half a packet would make nonsense of the rest.
        node.log(head.source, format!("error: a message to :{:08x}: {why}", to.0).as_bytes());
        network.shutdown(fd);
    }
}
