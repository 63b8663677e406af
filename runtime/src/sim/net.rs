//! A network that a seed plays: streams between sockets of one node, as [`System`].
//!
//! What is written is under way until [`SimNetwork::step`] moves some of it, so bytes come in pieces of any size, connections take their
//! time, ends arrive late, and resets come in between. Every direction holds few bytes, so that writers are refused often. Who
//! watches a descriptor is told of what changes once, as by the kernel (edge-triggered). There are no datagrams, and no descriptors
//! from outside.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, ErrorKind, IoSlice, IoSliceMut},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use skein_arena::sync::{Mutex, MutexGuard};

use crate::socket::{
    Address, System,
    system::{Carrier, Dialled, Fd, Interest, Ready},
};

/// Bytes of one direction that may be under way or unread.
const ROOM: usize = 4096;

/// A network; clones are the same one.
#[derive(Clone)]
pub struct SimNetwork(Arc<Mutex<Net>>);

struct Net {
    random: u64,
    /// One step in so many resets a connection; 0: none does.
    resets: u64,
    last_fd: Fd,
    last_port: u16,
    listeners: BTreeMap<Fd, Listener>,
    ends: BTreeMap<Fd, End>,
    watched: BTreeMap<Fd, Watched>,
}

struct Watched {
    token: u64,
    interest: Interest,
    /// Something changed, and it was not told yet.
    changed: bool,
}

struct Listener {
    at: SocketAddr,
    backlog: VecDeque<Fd>,
    most: usize,
}

/// One end of a connection. It stays behind its descriptor's end until what it sent has arrived.
struct End {
    peer: Option<Fd>,
    local: SocketAddr,
    remote: SocketAddr,
    connecting: bool,
    closed: bool,
    unread: VecDeque<u8>,
    under_way: VecDeque<u8>,
    /// It will send no more; the other end knows.
    finished: bool,
    told: bool,
    /// The other end will send no more.
    ended: bool,
    /// A write found no room.
    refused: bool,
    reset: bool,
    error: Option<ErrorKind>,
}

impl End {
    fn new(local: SocketAddr, remote: SocketAddr, peer: Option<Fd>) -> Self {
        Self {
            peer,
            local,
            remote,
            connecting: peer.is_none(),
            closed: false,
            unread: VecDeque::new(),
            under_way: VecDeque::new(),
            finished: false,
            told: false,
            ended: false,
            refused: false,
            reset: false,
            error: None,
        }
    }

    /// Whether a step could do something for it.
    fn moves(&self) -> bool {
        !self.reset && (self.connecting || !self.under_way.is_empty() || (self.finished && !self.told))
    }
}

impl SimNetwork {
    /// A network whose steps follow from a seed. One step in `resets` resets a connection, if that is not 0.
    pub fn new(seed: u64, resets: u64) -> Self {
        Self(Arc::new(Mutex::new(Net {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            resets,
            last_fd: 2,
            last_port: 40_000,
            listeners: BTreeMap::new(),
            ends: BTreeMap::new(),
            watched: BTreeMap::new(),
        })))
    }

    /// Whether anything is under way.
    pub fn is_moving(&self) -> bool {
        self.net().ends.values().any(End::moves)
    }

    /// Moves some of what is under way, at random.
    ///
    /// # Panics
    /// If nothing is.
    pub fn step(&self) {
        self.net().step();
    }

    /// Whether somebody who watches could be told something.
    pub fn has_ready(&self) -> bool {
        let net = self.net();
        net.watched.iter().any(|(fd, it)| it.changed && net.ready(*fd, it).is_some())
    }

    /// How many descriptors are open.
    pub fn open(&self) -> usize {
        let net = self.net();
        net.listeners.len() + net.ends.values().filter(|it| !it.closed).count()
    }

    fn net(&self) -> MutexGuard<'_, Net> {
        self.0.lock().unwrap_or_else(|it| it.into_inner())
    }
}

impl Net {
    /// One of 0 to `end` - 1.
    fn below(&mut self, end: u64) -> u64 {
        // Xorshift: any seed but 0.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % end
    }

    fn new_fd(&mut self) -> Fd {
        self.last_fd += 1;
        self.last_fd
    }

    fn new_address(&mut self) -> SocketAddr {
        self.last_port += 1;
        (Ipv4Addr::LOCALHOST, self.last_port).into()
    }

    fn end(&mut self, fd: Fd) -> io::Result<&mut End> {
        self.ends.get_mut(&fd).filter(|it| !it.closed).ok_or(ErrorKind::NotConnected.into())
    }

    fn changed(&mut self, fd: Fd) {
        if let Some(it) = self.watched.get_mut(&fd) {
            it.changed = true;
        }
    }

    /// Bytes that an end may write.
    fn room(&self, end: &End) -> usize {
        let unread = end.peer.and_then(|it| self.ends.get(&it)).map_or(0, |it| it.unread.len());
        ROOM.saturating_sub(end.under_way.len() + unread)
    }

    fn ready(&self, fd: Fd, watched: &Watched) -> Option<Ready> {
        let Interest { read, write } = watched.interest;
        let mut ready = Ready { token: watched.token, ..Ready::default() };
        if let Some(listener) = self.listeners.get(&fd) {
            ready.readable = read && !listener.backlog.is_empty();
        } else if let Some(end) = self.ends.get(&fd) {
            let ended = end.ended || end.reset;
            ready.readable = read && (!end.unread.is_empty() || ended);
            ready.writable = write && !end.connecting && (end.reset || self.room(end) > 0);
            ready.failed = end.error.is_some();
            ready.ended = ended;
            ready.hung_up = end.reset || (end.ended && end.finished);
        }
        let Ready { readable, writable, failed, ended, hung_up, .. } = ready;
        (readable || writable || failed || ended || hung_up).then_some(ready)
    }

    fn step(&mut self) {
        let moving: Vec<Fd> = self.ends.iter().filter(|it| it.1.moves()).map(|it| *it.0).collect();
        let fd = moving[self.below(moving.len() as u64) as usize];
        if self.resets > 0 && self.below(self.resets) == 0 {
            return self.reset(fd);
        }
        let end = &self.ends[&fd];
        if end.connecting {
            return self.arrive(fd);
        }
        let peer = end.peer.expect("it is connected");
        let waits = end.under_way.len() as u64;
        if waits > 0 {
            let count = 1 + self.below(waits) as usize;
            if self.ends.get(&peer).is_none_or(|it| it.closed) {
                // Nobody is there to take it.
                return self.reset(fd);
            }
            let end = self.ends.get_mut(&fd).expect("it moves");
            let bytes: Vec<u8> = end.under_way.drain(..count).collect();
            self.ends.get_mut(&peer).expect("seen above").unread.extend(bytes);
        } else {
            self.ends.get_mut(&fd).expect("it moves").told = true;
            if let Some(peer) = self.ends.get_mut(&peer) {
                peer.ended = true;
            }
            self.forget(fd);
        }
        self.changed(peer);
    }

    /// A connection reaches its listener, or does not.
    fn arrive(&mut self, fd: Fd) {
        let (local, remote) = (self.ends[&fd].local, self.ends[&fd].remote);
        let other = self.new_fd();
        let listener = self.listeners.values_mut().find(|it| it.at == remote && it.backlog.len() < it.most);
        let end = self.ends.get_mut(&fd).expect("the caller has it");
        end.connecting = false;
        match listener {
            Some(listener) => {
                listener.backlog.push_back(other);
                end.peer = Some(other);
                self.ends.insert(other, End::new(remote, local, Some(fd)));
                let at = self.listeners.iter().find(|it| it.1.at == remote).map(|it| *it.0);
                at.into_iter().for_each(|it| self.changed(it));
            }
            None => {
                end.reset = true;
                end.error = Some(ErrorKind::ConnectionRefused);
            }
        }
        self.changed(fd);
        self.forget(fd);
    }

    /// Both ends of a connection are cut off.
    fn reset(&mut self, fd: Fd) {
        let peer = self.ends.get(&fd).and_then(|it| it.peer);
        for fd in [Some(fd), peer].into_iter().flatten() {
            if let Some(end) = self.ends.get_mut(&fd) {
                (end.reset, end.connecting) = (true, false);
                end.error = Some(ErrorKind::ConnectionReset);
                end.unread.clear();
                end.under_way.clear();
            }
            self.changed(fd);
            self.forget(fd);
        }
    }

    /// An end that is closed goes once everything has arrived.
    fn forget(&mut self, fd: Fd) {
        if self.ends.get(&fd).is_some_and(|it| it.closed && !it.moves()) {
            self.ends.remove(&fd);
        }
    }

    fn close(&mut self, fd: Fd) {
        self.watched.remove(&fd);
        if let Some(listener) = self.listeners.remove(&fd) {
            listener.backlog.into_iter().for_each(|it| self.close(it));
            return;
        }
        let Some(end) = self.ends.get_mut(&fd) else { return };
        (end.closed, end.finished) = (true, true);
        if end.connecting {
            end.reset = true;
        } else if !end.unread.is_empty() {
            // What nobody will read is answered so.
            self.reset(fd);
        }
        self.forget(fd);
    }
}

impl System for SimNetwork {
    /// Never waits.
    fn wait(&self, ready: &mut Vec<Ready>, _: Option<Duration>) -> io::Result<bool> {
        let mut net = self.net();
        // As in the kernel, a change that concerns nobody now is not remembered.
        let changed: Vec<Fd> = net
            .watched
            .iter_mut()
            .filter_map(|(fd, it)| core::mem::take(&mut it.changed).then_some(*fd))
            .collect();
        ready.extend(changed.iter().filter_map(|fd| net.ready(*fd, &net.watched[fd])));
        Ok(false)
    }

    fn wake(&self) {}

    fn watch(&self, fd: Fd, token: u64, interest: Interest) -> io::Result<()> {
        self.net().watched.insert(fd, Watched { token, interest, changed: true });
        Ok(())
    }

    fn rewatch(&self, fd: Fd, token: u64, interest: Interest) -> io::Result<()> {
        self.watch(fd, token, interest)
    }

    fn unwatch(&self, fd: Fd) {
        self.net().watched.remove(&fd);
    }

    fn listen(&self, at: &Address, backlog: i32) -> io::Result<Fd> {
        let Address::Ip(at) = at else { return Err(ErrorKind::Unsupported.into()) };
        let mut net = self.net();
        let at = if at.port() == 0 { net.new_address() } else { *at };
        if net.listeners.values().any(|it| it.at == at) {
            return Err(ErrorKind::AddrInUse.into());
        }
        let fd = net.new_fd();
        net.listeners.insert(fd, Listener { at, backlog: VecDeque::new(), most: backlog.max(1) as usize });
        Ok(fd)
    }

    fn accept(&self, listener: Fd) -> io::Result<(Fd, Address)> {
        let mut net = self.net();
        let it = net.listeners.get_mut(&listener).ok_or(ErrorKind::InvalidInput)?;
        let fd = it.backlog.pop_front().ok_or(ErrorKind::WouldBlock)?;
        let remote = net.end(fd)?.remote;
        Ok((fd, Address::Ip(remote)))
    }

    fn refuse(&self, listener: Fd) {
        if let Ok((fd, _)) = self.accept(listener) {
            self.close(fd);
        }
    }

    fn dial(&self, to: &Address) -> io::Result<Dialled> {
        let Address::Ip(to) = to else { return Err(ErrorKind::Unsupported.into()) };
        let mut net = self.net();
        let (fd, local) = (net.new_fd(), net.new_address());
        net.ends.insert(fd, End::new(local, *to, None));
        Ok(Dialled { fd, connected: false })
    }

    fn adopt(&self, _: Fd) -> io::Result<Carrier> {
        Err(ErrorKind::Unsupported.into())
    }

    fn datagram(&self, _: bool, _: Option<SocketAddr>) -> io::Result<Fd> {
        Err(ErrorKind::Unsupported.into())
    }

    fn read(&self, fd: Fd, _: Carrier, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let mut net = self.net();
        let end = net.end(fd)?;
        if let Some(error) = end.error.take() {
            return Err(error.into());
        }
        let mut count = 0;
        for slice in into {
            let part = slice.len().min(end.unread.len());
            for (to, byte) in slice.iter_mut().zip(end.unread.drain(..part)) {
                *to = byte;
            }
            count += part;
        }
        if count == 0 {
            return if end.ended || end.reset { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let writer = end.peer;
        if let Some(writer) = writer
            && net.ends.get_mut(&writer).is_some_and(|it| core::mem::take(&mut it.refused))
        {
            net.changed(writer);
        }
        Ok(count)
    }

    fn write(&self, fd: Fd, _: Carrier, bytes: &[IoSlice<'_>], _: bool) -> io::Result<usize> {
        let mut net = self.net();
        let end = net.end(fd)?;
        if end.reset || end.finished {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if end.connecting {
            return Err(ErrorKind::WouldBlock.into());
        }
        let room = net.room(&net.ends[&fd]);
        let end = net.end(fd)?;
        let before = end.under_way.len();
        end.under_way.extend(bytes.iter().flat_map(|it| it.iter()).take(room));
        let count = end.under_way.len() - before;
        end.refused |= count < bytes.iter().map(|it| it.len()).sum();
        if count == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    fn receive(&self, _: Fd, _: &mut [u8]) -> io::Result<(usize, Option<SocketAddr>)> {
        Err(ErrorKind::Unsupported.into())
    }

    fn send_to(&self, _: Fd, _: SocketAddr, _: &[u8]) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn take_error(&self, fd: Fd) -> Option<io::Error> {
        self.net().end(fd).ok()?.error.take().map(Into::into)
    }

    fn local(&self, fd: Fd) -> Option<Address> {
        let mut net = self.net();
        let at = match net.listeners.get(&fd) {
            Some(listener) => listener.at,
            None => net.end(fd).ok()?.local,
        };
        Some(Address::Ip(at))
    }

    fn peer(&self, fd: Fd) -> Option<Address> {
        Some(Address::Ip(self.net().end(fd).ok()?.remote))
    }

    fn shut_read(&self, _: Fd) {}

    fn shut_write(&self, fd: Fd) {
        if let Ok(end) = self.net().end(fd) {
            end.finished = true;
        }
    }

    fn set_nodelay(&self, _: Fd) {}

    fn close(&self, fd: Fd) {
        self.net().close(fd);
    }
}
