//! What the socket layer asks of the system, as a trait: the kernel, or a network that a test made up.
//!
//! A descriptor is a number; who got one from here closes it here. All calls return at once, but for [`System::wait`].

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::SocketAddr,
    time::Duration,
};

use super::Address;

/// A descriptor.
pub type Fd = i32;

/// What a descriptor is being watched for. It tells of errors and hang-ups in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// There is something to read.
    pub read: bool,
    /// There is room to write.
    pub write: bool,
}

/// What a descriptor has become ready for. It is said once, to one of those who wait: who gets it reads, or writes, until there is
/// no more, or has it said again by [`System::rewatch`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Ready {
    /// What it was being watched as.
    pub token: u64,
    /// There is something to read, if only the end.
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
    /// [`System::take_error`] has something.
    pub failed: bool,
    /// The other end has closed: what is read ends somewhere.
    pub ended: bool,
    /// Both directions are closed.
    pub hung_up: bool,
}

/// What carries bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A socket.
    Socket,
    /// Something else that was handed to us: a pipe, a terminal.
    File,
}

/// A descriptor that is on its way to be connected.
#[derive(Debug)]
pub struct Dialled {
    /// The descriptor.
    pub fd: Fd,
    /// It is connected already; otherwise it is writable once it is known.
    pub connected: bool,
}

/// The calls. Errors are the system's own; `WouldBlock` means later.
pub trait System: Send + Sync {
    /// Waits until something is ready, [`wake`](Self::wake) is called or the time is over, and appends to `ready`. Several threads
    /// may wait; the one that came last is the first to be told.
    /// Whether it was woken.
    fn wait(&self, ready: &mut Vec<Ready>, timeout: Option<Duration>) -> io::Result<bool>;
    /// Has one of the calls of `wait` that are under way, or else the next one, return.
    fn wake(&self);

    /// Begins to watch a descriptor.
    fn watch(&self, fd: Fd, token: u64, interest: Interest) -> io::Result<()>;
    /// Changes what it is watched for. What it is ready for by then is said, also if it was before.
    fn rewatch(&self, fd: Fd, token: u64, interest: Interest) -> io::Result<()>;
    /// Ends watching. A descriptor that is closed need not be told of.
    fn unwatch(&self, fd: Fd);

    /// Binds and listens.
    fn listen(&self, at: &Address, backlog: i32) -> io::Result<Fd>;
    /// Takes a connection.
    fn accept(&self, listener: Fd) -> io::Result<(Fd, Address)>;
    /// A listener had no descriptor left for a connection: accepts one all the same, and closes it.
    fn refuse(&self, listener: Fd);
    /// Begins to connect.
    fn dial(&self, to: &Address) -> io::Result<Dialled>;
    /// Prepares a descriptor that was made elsewhere, and says what it is.
    fn adopt(&self, fd: Fd) -> io::Result<Carrier>;
    /// A datagram socket, bound unless `at` is `None`.
    fn datagram(&self, v6: bool, at: Option<SocketAddr>) -> io::Result<Fd>;

    /// Reads into the first buffer, then into the next ones. 0 is the end.
    fn read(&self, fd: Fd, carrier: Carrier, into: &mut [IoSliceMut<'_>]) -> io::Result<usize>;
    /// Writes as much as there is room for. `more`: the caller writes more, or ends the stream, right after; until then the bytes may
    /// be kept.
    fn write(&self, fd: Fd, carrier: Carrier, bytes: &[IoSlice<'_>], more: bool) -> io::Result<usize>;
    /// Takes a datagram.
    fn receive(&self, fd: Fd, into: &mut [u8]) -> io::Result<(usize, Option<SocketAddr>)>;
    /// Sends one.
    fn send_to(&self, fd: Fd, to: SocketAddr, bytes: &[u8]) -> io::Result<()>;

    /// The error that is pending on a descriptor.
    fn take_error(&self, fd: Fd) -> Option<io::Error>;
    /// Its own address.
    fn local(&self, fd: Fd) -> Option<Address>;
    /// The other end's.
    fn peer(&self, fd: Fd) -> Option<Address>;
    /// Closes the reading side.
    fn shut_read(&self, fd: Fd);
    /// Closes the writing side.
    fn shut_write(&self, fd: Fd);
    /// Small packets go at once.
    fn set_nodelay(&self, fd: Fd);
    /// Closes a descriptor.
    fn close(&self, fd: Fd);
}
