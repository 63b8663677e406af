//! Rules of the specification that no other test is about: who hears of what, what each state allows, and what is said in the log.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream, UdpSocket},
    os::{
        fd::{AsRawFd, IntoRawFd},
        unix::net::{UnixListener, UnixStream},
    },
};

use skein_runtime::socket::{Data, EventKind, SocketType};

use super::{Bench, PATIENCE, common, owner, read_all};

/// A connection of this node to a Unix socket, and its peer, who can end each way by itself.
fn neighbour(bench: &Bench) -> (i32, UnixStream) {
    let path = bench.world.dir.path().join("neighbour");
    let listener = UnixListener::bind(&path).unwrap();
    let name = format!("unix:{}", path.display());
    let id = bench.network().connect(bench.service, name.as_bytes(), 0).unwrap();
    let (peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let event = bench.next();
    assert_eq!((event.kind, event.id), (EventKind::Connect, id));
    (id, peer)
}

#[test]
fn a_write_that_fails_is_an_error_and_what_comes_is_still_read() {
    let bench = Bench::new();
    let (id, mut peer) = neighbour(&bench);
    peer.shutdown(Shutdown::Read).unwrap();
    assert!(bench.send(id, b"to nobody"));
    bench.expect(EventKind::Error, id, "Broken pipe");
    // Dropped in silence from now on.
    assert!(bench.send(id, b"more to nobody"));
    assert_eq!(bench.network().queued(id), Some(0));
    peer.write_all(b"still heard").unwrap();
    assert_eq!(bench.data(id, 11), b"still heard");
    assert_eq!(bench.network().info()[0].ty, SocketType::Closing);
    // It can be paused and resumed, without an event.
    bench.network().pause(id);
    bench.network().start(bench.service, id);
    bench.quiet();
    // The end of the other way ends all.
    drop(peer);
    bench.expect(EventKind::Close, id, "");
    bench.quiet();
    assert!(!bench.send(id, b"x"));
    assert!(bench.network().info().is_empty());
}

#[test]
fn what_can_not_be_written_any_more_does_not_keep_a_socket_that_is_closed() {
    let bench = Bench::new();
    let (id, mut peer) = neighbour(&bench);
    peer.shutdown(Shutdown::Read).unwrap();
    assert!(bench.send(id, b"to nobody"));
    bench.expect(EventKind::Error, id, "Broken pipe");
    bench.network().close(id);
    bench.expect(EventKind::Close, id, "");
    assert!(bench.network().info().is_empty());
    assert!(peer.write_all(b"x").is_err());
}

#[test]
fn writing_to_a_peer_that_is_gone_ends_the_socket_without_a_second_close() {
    let bench = Bench::new();
    let (id, peer) = bench.accepted();
    drop(peer);
    bench.expect(EventKind::Close, id, "");
    // The first write brings the reset, which a later one meets.
    assert!(common::eventually(|| !bench.send(id, b"to nobody")));
    let more: Vec<_> = bench.events.try_iter().map(|it| it.kind).collect();
    assert!(!more.contains(&EventKind::Close), "{more:?}");
    assert_eq!(bench.network().info().len(), 1, "only the listener is left");
}

/// The write that waited met the reset as well, and told of it a second time.
#[test]
fn a_reset_is_told_of_once_also_when_something_waits_to_be_written() {
    let bench = Bench::new();
    let (id, mut peer) = bench.accepted();
    assert!(bench.send(id, &vec![7; 20_000_000]));
    assert_eq!(bench.next().kind, EventKind::Warning);
    // What has come and is not read makes the end a reset.
    peer.read_exact(&mut [0; 1]).unwrap();
    drop(peer);
    bench.expect(EventKind::Error, id, "Connection reset by peer");
    bench.network().shutdown(id);
    bench.expect(EventKind::Close, id, "");
    bench.quiet();
}

#[test]
fn who_starts_a_listener_owns_it_and_what_it_accepts() {
    let bench = Bench::new();
    let (listener, at) = bench.listen();
    let (other, events) = owner(&bench.world, "other");
    bench.network().start(other, listener);
    let next = || events.recv_timeout(PATIENCE).unwrap();
    assert_eq!((next().kind, bench.network().info()[0].owner), (EventKind::Connect, other));
    let _peer = TcpStream::connect(at).unwrap();
    let accepted = next();
    assert_eq!((accepted.kind, accepted.id), (EventKind::Accept, listener));
    bench.network().close(accepted.ud);
    let closed = next();
    assert_eq!((closed.kind, closed.id), (EventKind::Close, accepted.ud));
    // Started again by somebody else, it stays with its owner, and nobody is told.
    bench.network().start(bench.service, listener);
    bench.quiet();
    assert_eq!(bench.network().info()[0].owner, other);
}

#[test]
fn a_listener_that_is_paused_accepts_when_it_is_started_again() {
    let bench = Bench::new();
    let (listener, at) = bench.listen();
    bench.network().start(bench.service, listener);
    bench.expect(EventKind::Connect, listener, "start");
    bench.network().pause(listener);
    let peer = TcpStream::connect(at).unwrap();
    bench.quiet();
    bench.network().start(bench.service, listener);
    bench.expect(EventKind::Accept, listener, &peer.local_addr().unwrap().to_string());
}

#[test]
fn a_listener_that_is_closed_says_so_and_its_connections_stay() {
    let bench = Bench::new();
    let (id, mut peer) = bench.accepted();
    let listener = bench.network().info().iter().find(|it| it.ty == SocketType::Listen).unwrap().id;
    bench.network().close(listener);
    bench.expect(EventKind::Close, listener, "");
    assert!(TcpStream::connect(peer.peer_addr().unwrap()).is_err());
    peer.write_all(b"here").unwrap();
    assert_eq!(bench.data(id, 4), b"here");
}

#[test]
fn an_ipv6_peer_is_named_without_brackets() {
    let bench = Bench::new();
    // Where there is no IPv6 there is nothing to name.
    let Ok(listener) = bench.network().listen(bench.service, b"::1", 0, 8) else { return };
    let port = bench.expect(EventKind::Connect, listener, "::1");
    bench.network().start(bench.service, listener);
    bench.expect(EventKind::Connect, listener, "start");
    let peer = TcpStream::connect(("::1", port as u16)).unwrap();
    let from = format!("::1:{}", peer.local_addr().unwrap().port());
    bench.expect(EventKind::Accept, listener, &from);
    let id = bench.network().connect(bench.service, b"::1", port as u16).unwrap();
    let kinds = [bench.next(), bench.next()].map(|it| (it.kind, it.id));
    assert!(kinds.contains(&(EventKind::Connect, id)) && kinds.contains(&(EventKind::Accept, listener)));
}

#[test]
fn a_host_that_nobody_knows_is_an_error_with_the_resolvers_text_and_the_id_is_free() {
    let bench = Bench::new();
    let id = bench.network().connect(bench.service, b"no such host", 80).unwrap();
    let event = bench.next();
    assert_eq!((event.kind, event.id), (EventKind::Error, id));
    assert!(!event.text.is_empty());
    assert!(!bench.send(id, b"x"));
    assert!(bench.network().connect(bench.service, &[b'a'; 232], 80).is_err());
    bench.world.log_until(&format!("socket-server error: Invalid addr {}.", "a".repeat(232)));
}

#[test]
fn only_sockets_that_were_started_are_listed() {
    let bench = Bench::new();
    let types = || -> Vec<_> { bench.network().info().iter().map(|it| it.ty).collect() };
    let (listener, at) = bench.listen();
    assert_eq!(types(), []);
    bench.network().start(bench.service, listener);
    bench.expect(EventKind::Connect, listener, "start");
    let mut peer = TcpStream::connect(at).unwrap();
    let id = bench.next().ud;
    assert_eq!(types(), [SocketType::Listen]);
    bench.network().start(bench.service, id);
    bench.expect(EventKind::Connect, id, "start");
    assert_eq!(types(), [SocketType::Tcp, SocketType::Listen]);
    peer.write_all(b"x").unwrap();
    bench.data(id, 1);
    peer.shutdown(Shutdown::Write).unwrap();
    bench.expect(EventKind::Close, id, "");
    assert_eq!(types(), [SocketType::Closing, SocketType::Listen]);
    bench.network().udp(bench.service, None).unwrap();
    assert_eq!(types(), [SocketType::Udp, SocketType::Closing, SocketType::Listen]);
}

#[test]
fn a_descriptor_from_outside_resumes_in_silence_and_is_closed_after_its_end() {
    let bench = Bench::new();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    // From here on it is the node's to close.
    let id = bench.network().bind(bench.service, ours.into_raw_fd()).unwrap();
    bench.expect(EventKind::Connect, id, "binding");
    bench.network().pause(id);
    theirs.write_all(b"wait").unwrap();
    bench.quiet();
    bench.network().start(bench.service, id);
    assert_eq!(bench.data(id, 4), b"wait");
    theirs.shutdown(Shutdown::Write).unwrap();
    bench.expect(EventKind::Close, id, "");
    assert!(bench.send(id, b"answer"));
    bench.network().close(id);
    bench.quiet();
    let mut all = Vec::new();
    theirs.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"answer");
}

#[test]
fn datagrams_that_cannot_be_sent_are_told_of_in_the_log_and_large_ones_come_whole() {
    let bench = Bench::new();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let to = peer.local_addr().unwrap();
    let id = bench.network().udp(bench.service, Some((b"127.0.0.1", 0))).unwrap();
    assert!(!bench.send(id, b"to whom?"));
    bench.world.log_until(&format!("socket-server : set udp ({id}) error: address first."));
    assert!(bench.network().send_to(id, to, Data::Bytes(&[0; 70_000])).unwrap());
    bench.world.log_until(&format!("socket-server : udp ({id}) sendto error Message too long."));
    assert!(bench.network().send_to(id, to, Data::Bytes(b"ping")).unwrap());
    let (_, from) = peer.recv_from(&mut [0; 8]).unwrap();
    let large: Vec<u8> = (0..60_000_u32).map(|it| (it % 251) as u8).collect();
    peer.send_to(&large, from).unwrap();
    peer.send_to(b"", from).unwrap();
    let event = bench.next();
    assert_eq!((event.kind, event.ud), (EventKind::Udp, 60_000));
    assert!(event.data.unwrap()[..60_000] == large);
    let event = bench.next();
    assert_eq!((event.kind, event.ud), (EventKind::Udp, 0));
    bench.network().close(id);
    bench.expect(EventKind::Close, id, "");
    assert!(!bench.network().send_to(id, to, Data::Bytes(b"x")).unwrap());
}

#[test]
fn writes_of_many_threads_are_never_cut_by_one_another() {
    let bench = Bench::new();
    let (id, peer) = bench.connected();
    let (writers, writes, size) = (4_u8, 40, 50_000);
    let all = std::thread::scope(|scope| {
        for writer in 0..writers {
            let network = bench.network();
            scope.spawn(move || {
                for number in 0..writes {
                    let mut bytes = vec![writer; size];
                    bytes[0] = number;
                    // Low ones, too: whole writes are what waits.
                    assert!(network.send(id, Data::Bytes(&bytes), number % 4 == 3).unwrap());
                }
            });
        }
        read_all(&peer, usize::from(writers) * usize::from(writes) * size)
    });
    let mut seen = vec![Vec::new(); usize::from(writers)];
    for write in all.chunks(size) {
        let writer = write[1];
        assert!(write[1..].iter().all(|it| *it == writer), "a write was cut");
        seen[usize::from(writer)].push(write[0]);
    }
    for numbers in seen {
        let (low, high): (Vec<u8>, Vec<u8>) = numbers.into_iter().partition(|it| it % 4 == 3);
        assert!(low.is_sorted() && high.is_sorted() && low.len() + high.len() == usize::from(writes));
    }
}

#[test]
fn the_poller_refuses_what_is_no_descriptor_it_can_watch() {
    let bench = Bench::new();
    let file = std::fs::File::open("/proc/self/status").unwrap();
    for fd in [-1, file.as_raw_fd()] {
        let id = bench.network().bind(bench.service, fd).unwrap();
        bench.expect(EventKind::Error, id, "reach skynet socket number limit");
        assert!(!bench.send(id, b"x"));
    }
}
