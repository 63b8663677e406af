//! Sockets, as services see them: an id, operations that return at once, and messages that say what happened.
//!
//! A socket has an owner, a service, which gets a [`SocketEvent`] for everything that happens on it. Bytes come as blocks of the
//! arena, one for each read, and go out as references to blocks.
//!
//! # Who does what
//! Every socket has a lock ([`table`]). Whoever has something to do takes it: a worker that starts, writes to or closes a socket
//! does so at once, on its own thread. Readiness is served by a worker that has nothing to do, and then runs the services itself ([`poll`]).
//! The system is a trait ([`System`]): the kernel, or a network made up by a test.
//!
//! # Order
//! * **O1** Events of a socket are sent while its lock is held, so they come in the order in which things happened.
//! * **O2** CLOSE is told once. An ERROR may follow it.
//! * **O3** Writes of one priority go out in the order in which they were accepted; none is cut by another.
//! * **O4** A descriptor is closed while its socket is locked and out of the table: an event of the poller for a descriptor that
//!   is no more finds an id that is no more, or another descriptor in it, and is dropped.
//!
//! # From skynet
//! socket_server.c → [`Sockets`]; the commands written to its pipe → calls under the socket's lock; skynet_socket.c →
//! [`event`]. Differs: what a worker asks for is done by the time it returns; a host name is looked up elsewhere, and its
//! addresses are tried side by side.

pub mod address;
pub mod event;
pub mod system;

mod common;
mod control;
mod held;
mod info;
mod kernel;
mod open;
mod poll;
mod read;
mod record;
mod resolve;
mod started;
mod table;
mod whole;
mod write;

use std::{io, sync::Arc};

use skein_arena::{
    Block,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
};

pub use address::Address;
pub use event::{EventKind, SocketEvent};
pub use info::{SocketInfo, SocketType};
pub use open::OpenError;
pub use system::System;
pub use write::Data;

pub(crate) use poll::Poller;

use crate::{Handle, Message, MessageType, Node, config::WriteLimit};
use record::{Socket, State};
use resolve::Resolver;
use system::Interest;
use table::{Locked, Table};

/// All sockets of a node.
pub(crate) struct Sockets {
    table: Table,
    system: Box<dyn System>,
    resolver: Resolver,
    counters: Counters,
    /// Bytes that are waited for in one piece, on all sockets.
    promised: Arc<AtomicUsize>,
    /// There was a socket.
    used: AtomicBool,
    /// A worker waits here.
    seat: AtomicBool,
    /// When the last one stopped to, in ns of the workers' clock.
    attended_at: AtomicU64,
    /// What each worker holds.
    held: Box<[held::Held]>,
    /// What each worker has started in its turn.
    started: Box<[started::Started]>,
    limit: Option<WriteLimit>,
}

#[derive(Default)]
struct Counters {
    read: AtomicU64,
    copied: AtomicU64,
    written: AtomicU64,
    writes: AtomicU64,
}

/// A snapshot of what all sockets of a node have moved, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketCounters {
    /// Read from the system.
    pub read: u64,
    /// Copied by the socket layer, on the way in or out.
    pub copied: u64,
    /// Written to the system.
    pub written: u64,
    /// System calls that wrote it, those of streams.
    pub writes: u64,
}

/// The socket layer of a node, for whoever has the node: see [`Node::network`].
#[derive(Clone, Copy)]
pub struct Network<'n> {
    node: &'n Arc<Node>,
}

impl Sockets {
    pub(crate) fn new(system: Box<dyn System>, limit: Option<WriteLimit>, workers: usize) -> Self {
        Self {
            table: Table::new(),
            system,
            resolver: Resolver::default(),
            counters: Counters::default(),
            promised: Arc::default(),
            used: AtomicBool::new(false),
            seat: AtomicBool::new(false),
            attended_at: AtomicU64::new(0),
            held: (0..workers).map(|_| held::Held::default()).collect(),
            started: (0..workers).map(|_| started::Started::default()).collect(),
            limit,
        }
    }

    /// The kernel's sockets. A peer whose host says nothing for `silence` seconds is given up, if that is given.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub(crate) fn of_kernel(silence: Option<u32>) -> io::Result<Box<dyn System>> {
        Ok(Box::new(kernel::Kernel::new(silence)?))
    }
}

impl Node {
    /// The sockets of this node.
    pub fn network(self: &Arc<Self>) -> Network<'_> {
        Network { node: self }
    }
}

impl<'n> Network<'n> {
    /// What has been moved.
    pub fn counters(self) -> SocketCounters {
        let counters = &self.sockets().counters;
        SocketCounters {
            read: counters.read.load(Relaxed),
            copied: counters.copied.load(Relaxed),
            written: counters.written.load(Relaxed),
            writes: counters.writes.load(Relaxed),
        }
    }

    fn sockets(self) -> &'n Sockets {
        &self.node.sockets
    }

    fn system(self) -> &'n dyn System {
        &*self.sockets().system
    }

    /// Gives a new socket an id. The first one has somebody wait for sockets from now on.
    fn reserve(self, make: impl FnOnce(i32) -> Socket) -> Option<Locked<'n>> {
        if !self.sockets().used.swap(true, Relaxed) {
            self.node.wake(self.node.scheduler.help());
        }
        self.sockets().table.reserve(make)
    }

    fn lock(self, id: i32) -> Option<Locked<'n>> {
        self.sockets().table.lock(id)
    }

    /// Sends an event to a service. Without room for a message nobody can be told, and a block is dropped.
    fn send_event(self, to: Handle, kind: EventKind, id: i32, ud: i32, data: Option<Block>, text: &[u8]) {
        if let Ok(block) = event::message(self.node.arena(), kind, id, ud, data, text) {
            // A service that is gone misses nothing; the socket stays.
            let _ = self.node.post(to, Message::new(block, Handle::NONE, 0, MessageType::SOCKET));
        }
    }

    /// Tells the owner.
    fn tell(self, socket: &Socket, kind: EventKind, text: impl AsRef<[u8]>) {
        self.send_event(socket.owner, kind, socket.id, 0, None, text.as_ref());
    }

    /// Tells the owner that the socket has closed, once (O2).
    fn tell_close(self, socket: &mut Socket) {
        if !core::mem::replace(&mut socket.close_told, true) {
            self.give_up_whole(socket);
            self.tell(socket, EventKind::Close, "");
        }
    }

    /// Tells the owner what failed.
    fn tell_error(self, socket: &mut Socket, error: &io::Error) {
        self.give_up_whole(socket);
        self.tell(socket, EventKind::Error, text_of(error));
    }

    /// The turn of a worker has ended.
    #[inline]
    pub(crate) fn turn_ended(self, worker: usize) {
        self.send_held(worker);
        self.watch_started(worker);
    }

    /// Has the poller watch for what the socket waits for.
    fn watch(self, socket: &mut Socket, reading: bool, writing: bool) -> io::Result<()> {
        let interest = Interest { read: reading, write: writing };
        if !socket.watched {
            self.system().watch(socket.fd, socket.token(socket.fd), interest)?;
            socket.watched = true;
        } else if (socket.reading, socket.writing) != (reading, writing) {
            self.system().rewatch(socket.fd, socket.token(socket.fd), interest)?;
        }
        (socket.reading, socket.writing) = (reading, writing);
        Ok(())
    }

    /// Has the poller say again what the socket is ready for.
    fn ask_again(self, socket: &Socket) {
        if socket.watched {
            let interest = Interest { read: socket.reading, write: socket.writing };
            let _ = self.system().rewatch(socket.fd, socket.token(socket.fd), interest);
        }
    }

    /// Ends reading; a poller that refuses has nothing to tell either.
    fn stop_reading(self, socket: &mut Socket) {
        if socket.watched {
            let writing = socket.writing;
            let _ = self.watch(socket, false, writing);
        }
        socket.reading = false;
    }

    /// Ends a socket at once: what waits is dropped.
    fn destroy(self, mut locked: Locked<'n>) {
        let socket = &mut *locked;
        if socket.fd >= 0 {
            if socket.state == State::Bound {
                self.system().unwatch(socket.fd);
            } else {
                self.system().close(socket.fd);
            }
        }
        if let Some(dial) = socket.dial.take() {
            dial.tried.iter().for_each(|fd| self.system().close(*fd));
        }
        // The blocks go when the lock is free again.
        let socket = locked.remove();
        drop(socket);
    }

    fn log(self, text: impl AsRef<[u8]>) {
        self.node.log(Handle::NONE, text.as_ref());
    }
}

/// What the system calls an error.
fn text_of(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => {
            let mut text = [0_u8; 128];
            // SAFETY: writes a text that ends in a NUL into so many bytes.
            let status = unsafe { libc::strerror_r(code, text.as_mut_ptr().cast(), text.len()) };
            match std::ffi::CStr::from_bytes_until_nul(&text) {
                Ok(text) if status == 0 => text.to_string_lossy().into_owned(),
                _ => error.to_string(),
            }
        }
        None => error.to_string(),
    }
}
