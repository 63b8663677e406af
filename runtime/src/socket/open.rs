//! How sockets come to be: listen, connect, bind, datagrams.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use super::{
    Address, EventKind, Network,
    record::{Dial, Kind, Socket, State},
    resolve::{self, For},
    system::{Carrier, Fd},
    table::{Locked, MOST},
    text_of,
};
use crate::Handle;

/// How long a connection may take before the next address is tried beside it, in ticks of 1/100 s (RFC 8305 says 250 ms).
const PATIENCE: u64 = 25;

/// The longest name of a host.
const LONGEST_HOST: usize = 231;

/// Why a socket was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The resolver does not know the host.
    #[error("{0}")]
    Host(String),
    /// The host has no address of a kind that fits.
    #[error("no address that fits")]
    NoAddress,
    /// The system refused.
    #[error("{}", text_of(.0))]
    System(#[source] io::Error),
    /// All ids are in use.
    #[error("all {MOST} sockets are in use")]
    NoId,
    /// No such socket, or of another kind.
    #[error("no datagram socket has id {0}")]
    Unknown(i32),
    /// The name of the host is too long to be one.
    #[error("a host name of {0} bytes is too long")]
    LongHost(usize),
}

impl<'n> Network<'n> {
    fn first_address(self, host: &[u8], port: u16, what: For) -> Result<Address, OpenError> {
        resolve::resolve(host, port, what)
            .map_err(OpenError::Host)?
            .into_iter()
            .next()
            .ok_or(OpenError::NoAddress)
    }

    /// Gives a descriptor an id; closed if there is none.
    fn adopt(self, fd: Fd, owner: Handle, state: State, kind: Kind) -> Result<Locked<'n>, OpenError> {
        let made = self.reserve(|id| Socket::new(id, fd, owner, state, kind));
        if made.is_none() && fd >= 0 {
            self.system().close(fd);
        }
        made.ok_or(OpenError::NoId)
    }

    /// Listens. No host is `0.0.0.0`; only the first address of a name counts. Blocks while the name is looked up. Connections
    /// are taken once the socket is started; a CONNECT event tells address and port.
    ///
    /// # Errors
    /// The host is unknown, the system refuses, or no id is free.
    pub fn listen(self, owner: Handle, host: &[u8], port: u16, backlog: i32) -> Result<i32, OpenError> {
        let host = if host.is_empty() { b"0.0.0.0" } else { host };
        let address = self.first_address(host, port, For::Stream)?;
        let fd = self.system().listen(&address, backlog).map_err(OpenError::System)?;
        let socket = self.adopt(fd, owner, State::Prepared, Kind::Stream)?;
        let local = self.system().local(fd).unwrap_or(address);
        let text = super::address::HostOf(&local).to_string();
        self.send_event(owner, EventKind::Connect, socket.id, i32::from(local.port()), None, text.as_bytes());
        Ok(socket.id)
    }

    /// Connects. Events tell the outcome: CONNECT with the peer's address, or ERROR, and the id is free.
    ///
    /// # Errors
    /// No id is free, or the host is no name at all.
    pub fn connect(self, owner: Handle, host: &[u8], port: u16) -> Result<i32, OpenError> {
        if host.len() > LONGEST_HOST {
            self.log([b"socket-server error: Invalid addr ", host, b"."].concat());
            return Err(OpenError::LongHost(host.len()));
        }
        let mut socket = self.adopt(-1, owner, State::Dialling, Kind::Stream)?;
        socket.reading = true;
        let id = socket.id;
        match resolve::literal(host, port) {
            Some(address) => {
                socket.dial = Some(Box::new(Dial { left: [address].into(), ..Dial::default() }));
                self.dial(socket);
            }
            None => {
                drop(socket);
                let node = Arc::downgrade(self.node);
                let weak = node.clone();
                self.sockets().resolver.find(host.to_vec(), port, move |found| {
                    let Some(node) = node.upgrade() else { return };
                    node.network().found(id, found);
                    drop(node);
                    // This thread has time: it tries the next address when one takes long.
                    while let Some(wait) = weak.upgrade().and_then(|node| node.network().impatient(id)) {
                        std::thread::sleep(wait);
                    }
                });
            }
        }
        Ok(id)
    }

    /// The resolver has answered for a socket.
    fn found(self, id: i32, found: Result<Vec<Address>, String>) {
        let Some(mut socket) = self.lock(id) else { return };
        match found {
            Ok(addresses) => {
                socket.dial =
                    Some(Box::new(Dial { left: resolve::take_turns(addresses), ..Dial::default() }));
                self.dial(socket);
            }
            Err(text) => {
                self.tell(&socket, EventKind::Error, text);
                self.destroy(socket);
            }
        }
    }

    /// Tries the next address. When none is left and none is being tried, the connection has failed.
    pub(super) fn dial(self, mut locked: Locked<'n>) {
        let socket = &mut *locked;
        let mut dial = socket.dial.take().expect("only of a socket that is being connected");
        dial.next = None;
        while let Some(address) = dial.left.pop_front() {
            match self.system().dial(&address) {
                Ok(dialled) if dialled.connected => {
                    dial.tried.push(dialled.fd);
                    socket.dial = Some(dial);
                    return self.connected(locked, dialled.fd);
                }
                Ok(dialled) => {
                    let interest = super::system::Interest { read: false, write: true };
                    if self.system().watch(dialled.fd, socket.token(dialled.fd), interest).is_err() {
                        self.system().close(dialled.fd);
                        dial.problem.get_or_insert_with(|| LIMIT.to_owned());
                        continue;
                    }
                    dial.tried.push(dialled.fd);
                    if !dial.left.is_empty() {
                        dial.next = Some(self.node.now() + PATIENCE);
                    }
                    break;
                }
                Err(error) => {
                    dial.problem.get_or_insert_with(|| text_of(&error));
                }
            }
        }
        if dial.tried.is_empty() {
            let text = dial.problem.take().unwrap_or_else(|| "Unknown error".to_owned());
            self.tell(socket, EventKind::Error, text);
            return self.destroy(locked);
        }
        socket.dial = Some(dial);
    }

    /// Tries the next address of a connection that takes long. Says when to look again; `None`: there is none to try.
    fn impatient(self, id: i32) -> Option<Duration> {
        let socket = self.lock(id)?;
        let at = socket.dial.as_ref()?.next?;
        let now = self.node.now();
        if at <= now {
            self.dial(socket);
        }
        Some(Duration::from_millis(at.saturating_sub(now).max(1) * 10))
    }

    /// One of the descriptors of a socket that is being connected is known to have made it, or not.
    pub(super) fn dialled(self, mut locked: Locked<'n>, fd: Fd) {
        let socket = &mut *locked;
        let dial = socket.dial.as_mut().expect("only of a socket that is being connected");
        if !dial.tried.contains(&fd) {
            return;
        }
        match self.system().take_error(fd) {
            None => self.connected(locked, fd),
            Some(error) => {
                dial.tried.retain(|it| *it != fd);
                dial.problem.get_or_insert_with(|| text_of(&error));
                self.system().close(fd);
                // Others are under way, unless there is one to try.
                if !dial.left.is_empty() || dial.tried.is_empty() {
                    self.dial(locked);
                }
            }
        }
    }

    /// The first descriptor that made it becomes the socket's.
    fn connected(self, mut locked: Locked<'n>, fd: Fd) {
        let socket = &mut *locked;
        let dial = socket.dial.take().expect("only of a socket that is being connected");
        dial.tried.iter().filter(|it| **it != fd).for_each(|it| self.system().close(*it));
        socket.fd = fd;
        // Watched for writing by now, unless it was connected at once.
        let pending = !socket.outbox.is_empty();
        let reading = socket.reading && !socket.closing;
        socket.watched = false;
        self.system().unwatch(fd);
        if self.watch(socket, reading, pending).is_err() {
            self.tell(socket, EventKind::Error, LIMIT);
            return self.destroy(locked);
        }
        if socket.closing {
            socket.state = State::HalfRead;
            return;
        }
        socket.state = State::Connected;
        let peer = self.system().peer(fd);
        self.tell(
            socket,
            EventKind::Connect,
            peer.map(|it| super::address::HostOf(&it).to_string()).unwrap_or_default(),
        );
    }

    /// Takes in a descriptor of the process, which stays its owner.
    ///
    /// # Errors
    /// No id is free.
    pub fn bind(self, owner: Handle, fd: Fd) -> Result<i32, OpenError> {
        let made = self.reserve(|id| Socket::new(id, fd, owner, State::Bound, Kind::Foreign(Carrier::File)));
        let mut socket = made.ok_or(OpenError::NoId)?;
        let id = socket.id;
        let carrier = self.system().adopt(fd);
        let watched = carrier.and_then(|carrier| {
            socket.kind = Kind::Foreign(carrier);
            self.watch(&mut socket, true, false)
        });
        match watched {
            Ok(()) => self.tell(&socket, EventKind::Connect, "binding"),
            Err(_) => {
                self.tell(&socket, EventKind::Error, LIMIT);
                // Not ours to close, and the poller does not know it.
                socket.fd = -1;
                self.destroy(socket);
            }
        }
        Ok(id)
    }

    fn datagram(
        self,
        owner: Handle,
        v6: bool,
        at: Option<SocketAddr>,
        to: Option<SocketAddr>,
    ) -> Result<i32, OpenError> {
        let fd = self.system().datagram(v6, at).map_err(OpenError::System)?;
        let mut socket = self.adopt(fd, owner, State::Connected, Kind::Datagram { v6, to })?;
        let id = socket.id;
        if self.watch(&mut socket, true, false).is_err() {
            self.destroy(socket);
        }
        Ok(id)
    }

    /// A datagram socket: bound to an address, or to none for IPv4.
    ///
    /// # Errors
    /// As [`Self::listen`].
    pub fn udp(self, owner: Handle, at: Option<(&[u8], u16)>) -> Result<i32, OpenError> {
        let at = at.map(|(host, port)| self.datagram_address(host, port)).transpose()?;
        self.datagram(owner, at.is_some_and(|it| it.is_ipv6()), at, None)
    }

    /// A datagram socket of the family of an address, which is where it sends to.
    ///
    /// # Errors
    /// As [`Self::listen`].
    pub fn udp_dial(self, owner: Handle, host: &[u8], port: u16) -> Result<i32, OpenError> {
        let to = self.datagram_address(host, port)?;
        self.datagram(owner, to.is_ipv6(), None, Some(to))
    }

    fn datagram_address(self, host: &[u8], port: u16) -> Result<SocketAddr, OpenError> {
        let host = if host.is_empty() { b"0.0.0.0" } else { host };
        match self.first_address(host, port, For::Datagram)? {
            Address::Ip(ip) => Ok(ip),
            Address::Unix(_) => Err(OpenError::NoAddress),
        }
    }

    /// Says where a datagram socket sends to. An address of the other family is an ERROR event.
    ///
    /// # Errors
    /// The host is unknown, or the socket.
    pub fn udp_connect(self, id: i32, host: &[u8], port: u16) -> Result<(), OpenError> {
        // Whether there is one is told before anybody has to wait for a name.
        self.lock(id).ok_or(OpenError::Unknown(id))?;
        let address = self.datagram_address(host, port)?;
        let mut socket = self.lock(id).ok_or(OpenError::Unknown(id))?;
        match &mut socket.kind {
            Kind::Datagram { v6, to } if *v6 == address.is_ipv6() => *to = Some(address),
            Kind::Datagram { .. } => self.tell(&socket, EventKind::Error, "protocol mismatch"),
            Kind::Stream | Kind::Foreign(_) => return Err(OpenError::Unknown(id)),
        }
        Ok(())
    }

    /// The addresses of a host, each as often as the resolver says it. Blocks.
    ///
    /// # Errors
    /// What the resolver says.
    pub fn resolve(self, host: &[u8]) -> Result<Vec<Address>, OpenError> {
        resolve::resolve(host, 0, For::Anything).map_err(OpenError::Host)
    }

    /// Takes what has come to a listener.
    pub(super) fn accept(self, listener: &mut Socket) {
        for _ in 0..AT_ONCE {
            match self.system().accept(listener.fd) {
                Ok((fd, from)) => {
                    listener.tally.accepted += 1;
                    listener.tally.read_at = self.node.clock.stamp();
                    // Of all locks only this one is taken while another is held, and the slot is free.
                    let Ok(socket) = self.adopt(fd, listener.owner, State::Accepted, Kind::Stream) else {
                        continue;
                    };
                    let text = from.to_string();
                    self.send_event(
                        listener.owner,
                        EventKind::Accept,
                        listener.id,
                        socket.id,
                        None,
                        text.as_bytes(),
                    );
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EMFILE | libc::ENFILE) => {
                        self.tell_error(listener, &error);
                        self.system().refuse(listener.fd);
                        break;
                    }
                    // Gone before we came: the next one.
                    Some(libc::ECONNABORTED | libc::EINTR) => {}
                    _ => return,
                },
            }
        }
        self.ask_again(listener);
    }
}

/// Connections that are taken before others have their turn.
const AT_ONCE: usize = 64;

/// Text for a poller that takes no more.
pub(super) const LIMIT: &str = "reach skynet socket number limit";
