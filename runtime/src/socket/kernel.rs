//! The kernel as [`System`]: epoll, edge-triggered, and sockets that never block.
//!
//! Edge-triggered, because several threads wait on it: what is level-triggered wakes the next one while the first one is at it.
//! One short read is enough all the same, unless the other end has closed. Who waited last is woken first: the kernel has waiters
//! on a stack.

use std::{
    ffi::OsStr,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::SocketAddr,
    os::{
        fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    event::{EventfdFlags, Timespec, epoll, eventfd},
    fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat},
    io::{Errno, readv, write, writev},
    net::{
        AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrAny, SocketAddrUnix,
        SocketFlags, SocketType, acceptfrom_with, bind, connect, getpeername, getsockname, listen, recv, recvfrom,
        send, sendmsg, sendto, shutdown, socket_with, sockopt,
    },
};
use skein_arena::sync::Mutex;

use super::{
    Address,
    system::{Carrier, Dialled, Fd, Interest, Ready, System},
};

/// Events that one wait takes.
const EVENTS: usize = 256;
/// Watches the descriptor that wakes.
const WAKE: u64 = u64::MAX;

/// The kernel.
pub(crate) struct Kernel {
    epoll: OwnedFd,
    wake: OwnedFd,
    /// Given up for a moment when descriptors run out, so that a connection can be refused.
    reserve: Mutex<Option<OwnedFd>>,
    /// After how many seconds a host that says nothing is given up, if not when the system does.
    silence: Option<u32>,
}

impl Kernel {
    /// # Errors
    /// The process has no descriptors left.
    pub(crate) fn new(silence: Option<u32>) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(WAKE), flags)?;
        Ok(Self { epoll, wake, reserve: Mutex::new(spare()), silence })
    }

    /// Has a connection end that nobody is at any more; what a listener accepts inherits it. A host that vanished says nothing, so it is
    /// asked after half of the time, and then every eighth of it. A system that does not know how keeps its own times.
    fn keep_alive(&self, fd: &OwnedFd) {
        let _ = sockopt::set_socket_keepalive(fd, true);
        if let Some(silence) = self.silence {
            let each = |part: u32| Duration::from_secs(u64::from((silence / part).max(1)));
            let _ = sockopt::set_tcp_keepidle(fd, each(2));
            let _ = sockopt::set_tcp_keepintvl(fd, each(8));
            let _ = sockopt::set_tcp_user_timeout(fd, silence.saturating_mul(1000));
        }
    }
}

fn spare() -> Option<OwnedFd> {
    eventfd(0, EventfdFlags::CLOEXEC).ok()
}

fn flags(Interest { read, write }: Interest) -> epoll::EventFlags {
    let mut flags = epoll::EventFlags::ET | epoll::EventFlags::RDHUP;
    flags.set(epoll::EventFlags::IN, read);
    flags.set(epoll::EventFlags::OUT, write);
    flags
}

/// A descriptor for one call.
fn at(fd: &Fd) -> BorrowedFd<'_> {
    // SAFETY: the layer passes descriptors that it has not closed yet; -1, which is none, it never passes.
    unsafe { BorrowedFd::borrow_raw(*fd) }
}

fn new_socket(family: AddressFamily, ty: SocketType) -> io::Result<OwnedFd> {
    Ok(socket_with(family, ty, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?)
}

fn family(v6: bool) -> AddressFamily {
    if v6 { AddressFamily::INET6 } else { AddressFamily::INET }
}

fn address(any: SocketAddrAny) -> Option<Address> {
    if let Ok(ip) = SocketAddr::try_from(any.clone()) {
        return Some(Address::Ip(ip));
    }
    let unix = SocketAddrUnix::try_from(any).ok()?;
    let path = unix.path_bytes().map(|it| PathBuf::from(OsStr::from_bytes(it)));
    Some(Address::Unix(path.unwrap_or_default()))
}

fn unix(path: &Path) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(path)?)
}

impl System for Kernel {
    fn wait(&self, ready: &mut Vec<Ready>, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout =
            timeout.map(|it| Timespec::try_from(it).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 }));
        let mut room = [const { MaybeUninit::uninit() }; EVENTS];
        let events = match epoll::wait(&self.epoll, &mut room[..], timeout.as_ref()) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let mut woken = false;
        for event in events {
            let data = event.data;
            let token = data.u64();
            let flags = event.flags;
            let has = |flag| flags.intersects(flag);
            if token == WAKE {
                // Its number is left: each write is an edge.
                woken = true;
                continue;
            }
            ready.push(Ready {
                token,
                readable: has(epoll::EventFlags::IN),
                writable: has(epoll::EventFlags::OUT),
                failed: has(epoll::EventFlags::ERR),
                ended: has(epoll::EventFlags::RDHUP),
                hung_up: has(epoll::EventFlags::HUP),
            });
        }
        Ok(woken)
    }

    fn wake(&self) {
        // Its limit would be reached in a few thousand years.
        let _ = write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn watch(&self, fd: Fd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, at(&fd), epoll::EventData::new_u64(token), flags(interest))?)
    }

    fn rewatch(&self, fd: Fd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, at(&fd), epoll::EventData::new_u64(token), flags(interest))?)
    }

    fn unwatch(&self, fd: Fd) {
        let _ = epoll::delete(&self.epoll, at(&fd));
    }

    fn listen(&self, address: &Address, backlog: i32) -> io::Result<Fd> {
        let fd = match address {
            Address::Ip(ip) => {
                let fd = new_socket(family(ip.is_ipv6()), SocketType::STREAM)?;
                sockopt::set_socket_reuseaddr(&fd, true)?;
                self.keep_alive(&fd);
                bind(&fd, ip)?;
                fd
            }
            Address::Unix(path) => {
                let fd = new_socket(AddressFamily::UNIX, SocketType::STREAM)?;
                bind(&fd, &unix(path)?)?;
                fd
            }
        };
        listen(&fd, backlog)?;
        Ok(fd.into_raw_fd())
    }

    fn accept(&self, listener: Fd) -> io::Result<(Fd, Address)> {
        let (fd, from) = acceptfrom_with(at(&listener), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        let from = from.and_then(address).unwrap_or(Address::Unix(PathBuf::new()));
        Ok((fd.into_raw_fd(), from))
    }

    fn refuse(&self, listener: Fd) {
        let mut reserve = self.reserve.lock().unwrap_or_else(|it| it.into_inner());
        *reserve = None;
        drop(acceptfrom_with(at(&listener), SocketFlags::CLOEXEC | SocketFlags::NONBLOCK));
        *reserve = spare();
    }

    fn dial(&self, to: &Address) -> io::Result<Dialled> {
        let (fd, begun) = match to {
            Address::Ip(ip) => {
                let fd = new_socket(family(ip.is_ipv6()), SocketType::STREAM)?;
                self.keep_alive(&fd);
                let begun = connect(&fd, ip);
                (fd, begun)
            }
            Address::Unix(path) => {
                let fd = new_socket(AddressFamily::UNIX, SocketType::STREAM)?;
                let begun = connect(&fd, &unix(path)?);
                (fd, begun)
            }
        };
        match begun {
            Ok(()) => Ok(Dialled { fd: fd.into_raw_fd(), connected: true }),
            Err(Errno::INPROGRESS) => Ok(Dialled { fd: fd.into_raw_fd(), connected: false }),
            Err(error) => Err(error.into()),
        }
    }

    fn adopt(&self, fd: Fd) -> io::Result<Carrier> {
        if fd < 0 {
            return Err(Errno::BADF.into());
        }
        let flags = fcntl_getfl(at(&fd))?;
        fcntl_setfl(at(&fd), flags | OFlags::NONBLOCK)?;
        let kind = FileType::from_raw_mode(fstat(at(&fd))?.st_mode);
        Ok(if kind == FileType::Socket { Carrier::Socket } else { Carrier::File })
    }

    fn datagram(&self, v6: bool, at: Option<SocketAddr>) -> io::Result<Fd> {
        let fd = new_socket(family(v6), SocketType::DGRAM)?;
        if let Some(at) = at {
            sockopt::set_socket_reuseaddr(&fd, true)?;
            bind(&fd, &at)?;
        }
        Ok(fd.into_raw_fd())
    }

    fn read(&self, fd: Fd, carrier: Carrier, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        Ok(match (carrier, into) {
            // A fourth less than what `readv` costs, which comes by way of files.
            (Carrier::Socket, [one]) => recv(at(&fd), &mut **one, RecvFlags::empty())?.0,
            (_, all) => readv(at(&fd), all)?,
        })
    }

    fn write(&self, fd: Fd, carrier: Carrier, bytes: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        let flags = SendFlags::NOSIGNAL | if more { SendFlags::MORE } else { SendFlags::empty() };
        Ok(match (carrier, bytes) {
            (Carrier::Socket, [one]) => send(at(&fd), one, flags)?,
            (Carrier::Socket, all) => sendmsg(at(&fd), all, &mut SendAncillaryBuffer::default(), flags)?,
            (Carrier::File, all) => writev(at(&fd), all)?,
        })
    }

    fn receive(&self, fd: Fd, into: &mut [u8]) -> io::Result<(usize, Option<SocketAddr>)> {
        let (taken, _, from) = recvfrom(at(&fd), into, RecvFlags::empty())?;
        Ok((taken, from.and_then(|it| SocketAddr::try_from(it).ok())))
    }

    fn send_to(&self, fd: Fd, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        sendto(at(&fd), bytes, SendFlags::NOSIGNAL, &to)?;
        Ok(())
    }

    fn take_error(&self, fd: Fd) -> Option<io::Error> {
        match sockopt::socket_error(at(&fd)) {
            Ok(Ok(())) => None,
            Ok(Err(error)) | Err(error) => Some(error.into()),
        }
    }

    fn local(&self, fd: Fd) -> Option<Address> {
        getsockname(at(&fd)).ok().and_then(address)
    }

    fn peer(&self, fd: Fd) -> Option<Address> {
        getpeername(at(&fd)).ok().flatten().and_then(address)
    }

    fn shut_read(&self, fd: Fd) {
        let _ = shutdown(at(&fd), Shutdown::Read);
    }

    fn shut_write(&self, fd: Fd) {
        let _ = shutdown(at(&fd), Shutdown::Write);
    }

    fn set_nodelay(&self, fd: Fd) {
        let _ = sockopt::set_tcp_nodelay(at(&fd), true);
    }

    fn close(&self, fd: Fd) {
        // SAFETY: the layer closes each descriptor it got from here once, and does not use it afterwards.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    #[test]
    fn a_connection_that_was_accepted_is_kept_alive_and_not_for_longer_than_it_is_said() {
        for silence in [None, Some(20), Some(2)] {
            let kernel = Kernel::new(silence).unwrap();
            let listener = kernel.listen(&Address::Ip((Ipv4Addr::LOCALHOST, 0).into()), 8).unwrap();
            let port = kernel.local(listener).unwrap().port();
            let _peer = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            let (fd, _) = kernel.accept(listener).unwrap();
            assert!(sockopt::socket_keepalive(at(&fd)).unwrap());
            let idle = sockopt::tcp_keepidle(at(&fd)).unwrap().as_secs();
            let most = sockopt::tcp_user_timeout(at(&fd)).unwrap();
            match silence {
                None => assert_eq!(most, 0),
                Some(silence) => assert_eq!((idle, most), (u64::from(silence / 2), silence * 1000)),
            }
            kernel.close(fd);
            kernel.close(listener);
        }
    }

    #[test]
    fn small_packets_wait_for_one_another_unless_told_otherwise() {
        let kernel = Kernel::new(None).unwrap();
        let listener = kernel.listen(&Address::Ip((Ipv4Addr::LOCALHOST, 0).into()), 8).unwrap();
        let dialled = kernel.dial(&kernel.local(listener).unwrap()).unwrap().fd;
        // The system may take its time with the handshake.
        let accepted = std::iter::repeat_with(|| kernel.accept(listener)).find_map(Result::ok).unwrap().0;
        for fd in [dialled, accepted] {
            assert!(!sockopt::tcp_nodelay(at(&fd)).unwrap());
            kernel.set_nodelay(fd);
            assert!(sockopt::tcp_nodelay(at(&fd)).unwrap());
            kernel.close(fd);
        }
        kernel.close(listener);
    }
}
