//! Names of hosts, by the system's resolver.
//!
//! It blocks, so names that are no addresses are looked up by a few threads of their own, which come when there is something to
//! do and go when there has been nothing for a while.

use std::{
    collections::VecDeque,
    ffi::{CStr, CString},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ptr,
    sync::Arc,
    time::Duration,
};

use skein_arena::sync::{Condvar, Mutex};

use super::Address;

/// Most names that are looked up at the same time.
const THREADS: usize = 4;
/// How long a thread waits for the next one.
const REST: Duration = Duration::from_secs(5);

/// What kind of addresses is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// For streams.
    Stream,
    /// For datagrams.
    Datagram,
    /// Any; the same address comes once for each kind of socket.
    Anything,
}

/// The address that a host already is, without asking anybody. No host is the one that stands for any.
pub(crate) fn literal(host: &[u8], port: u16) -> Option<Address> {
    if let Some(path) = host.strip_prefix(super::address::UNIX) {
        use std::os::unix::ffi::OsStrExt;
        return Some(Address::Unix(std::ffi::OsStr::from_bytes(path).into()));
    }
    let ip: IpAddr = std::str::from_utf8(host).ok()?.parse().ok()?;
    Some(Address::Ip(SocketAddr::new(ip, port)))
}

/// Looks a host up. Blocks.
///
/// # Errors
/// What the resolver says.
pub(crate) fn resolve(host: &[u8], port: u16, what: For) -> Result<Vec<Address>, String> {
    if what != For::Anything
        && let Some(address) = literal(host, port)
    {
        return Ok(vec![address]);
    }
    let host = CString::new(host).map_err(|_| "Name or service not known".to_owned())?;
    // SAFETY: all zeros are valid hints.
    let mut hints: libc::addrinfo = unsafe { core::mem::zeroed() };
    hints.ai_family = libc::AF_UNSPEC;
    match what {
        For::Stream => hints.ai_socktype = libc::SOCK_STREAM,
        For::Datagram => hints.ai_socktype = libc::SOCK_DGRAM,
        For::Anything => {}
    }
    let mut found: *mut libc::addrinfo = ptr::null_mut();
    // SAFETY: the strings end in a NUL, and both structures outlive the call.
    let status = unsafe { libc::getaddrinfo(host.as_ptr(), ptr::null(), &hints, &mut found) };
    if status != 0 {
        // SAFETY: the texts are static.
        let text = unsafe { CStr::from_ptr(libc::gai_strerror(status)) };
        return Err(text.to_string_lossy().into_owned());
    }
    let mut addresses = Vec::new();
    let mut entry = found;
    // SAFETY: a list that the resolver made; each entry has an address of its family, and is freed below.
    unsafe {
        while let Some(it) = entry.as_ref() {
            addresses.extend(ip_of(it).map(|ip| Address::Ip(SocketAddr::new(ip, port))));
            entry = it.ai_next;
        }
        libc::freeaddrinfo(found);
    }
    Ok(addresses)
}

/// # Safety
/// An entry that the resolver made.
unsafe fn ip_of(entry: &libc::addrinfo) -> Option<IpAddr> {
    // SAFETY: by the caller's promise.
    unsafe {
        match entry.ai_family {
            libc::AF_INET => {
                let address = entry.ai_addr.cast::<libc::sockaddr_in>().read_unaligned();
                Some(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)).into())
            }
            libc::AF_INET6 => {
                let address = entry.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(Ipv6Addr::from(address.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Threads that wait for the resolver, so that nobody else has to.
#[derive(Default)]
pub(crate) struct Resolver(Arc<Shared>);

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    more: Condvar,
}

#[derive(Default)]
struct Inner {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl Resolver {
    /// Looks a host up for a stream, elsewhere, and calls `done` there.
    pub(crate) fn find(
        &self,
        host: Vec<u8>,
        port: u16,
        done: impl FnOnce(Result<Vec<Address>, String>) + Send + 'static,
    ) {
        let job = Box::new(move || done(resolve(&host, port, For::Stream)));
        let mut inner = self.0.inner.lock().unwrap_or_else(|it| it.into_inner());
        inner.jobs.push_back(job);
        if inner.idle > 0 {
            self.0.more.notify_one();
            return;
        }
        if inner.threads < THREADS {
            inner.threads += 1;
            let shared = Arc::clone(&self.0);
            let thread = std::thread::Builder::new().name("skein-resolve".to_owned());
            if thread.stack_size(1 << 20).spawn(move || shared.work()).is_err() {
                inner.threads -= 1;
                // Nobody else is there to do it: then it takes its time here.
                if inner.threads == 0 {
                    let jobs = core::mem::take(&mut inner.jobs);
                    drop(inner);
                    jobs.into_iter().for_each(|job| job());
                }
            }
        }
    }
}

impl Shared {
    fn work(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(|it| it.into_inner());
        loop {
            if let Some(job) = inner.jobs.pop_front() {
                drop(inner);
                job();
                inner = self.inner.lock().unwrap_or_else(|it| it.into_inner());
                continue;
            }
            inner.idle += 1;
            let waited = self.more.wait_timeout(inner, REST).unwrap_or_else(|it| it.into_inner());
            inner = waited.0;
            inner.idle -= 1;
            if waited.1.timed_out() && inner.jobs.is_empty() {
                inner.threads -= 1;
                return;
            }
        }
    }
}

/// Orders addresses so that the families take turns, the first one's first.
pub(crate) fn take_turns(addresses: Vec<Address>) -> VecDeque<Address> {
    let is_v6 = |it: &Address| matches!(it, Address::Ip(ip) if ip.is_ipv6());
    let first = addresses.first().is_some_and(is_v6);
    let (mut a, mut b): (VecDeque<_>, VecDeque<_>) = addresses.into_iter().partition(|it| is_v6(it) == first);
    let mut all = VecDeque::with_capacity(a.len() + b.len());
    while !a.is_empty() || !b.is_empty() {
        all.extend(a.pop_front());
        all.extend(b.pop_front());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let list =
            |hosts: &[&str]| hosts.iter().map(|it| literal(it.as_bytes(), 1).unwrap()).collect::<Vec<_>>();
        let turns: Vec<_> = take_turns(list(&["::1", "::2", "::3", "1.1.1.1"])).into();
        assert_eq!(turns, list(&["::1", "1.1.1.1", "::2", "::3"]));
    }

    #[test]
    fn a_name_that_nobody_has_is_an_error_of_the_resolver() {
        let error = resolve(b"no such host", 1, For::Stream).unwrap_err();
        assert!(!error.is_empty());
        assert!(resolve(b"a\0b", 1, For::Stream).is_err());
    }
}
