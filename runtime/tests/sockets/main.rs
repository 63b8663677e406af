//! Sockets as a service in Rust sees them: which events come, in which order, and what closes what. The peers are plain sockets of the
//! standard library.

#[path = "../common/mod.rs"]
mod common;
mod rules;
mod whole;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use common::World;
use skein_runtime::{
    Handle, Settings,
    socket::{Data, EventKind, Network, SocketEvent, SocketType, address},
};

/// How long anything may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node with a service that hands its events to the test.
struct Bench {
    world: World,
    service: Handle,
    events: Receiver<SocketEvent>,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let world = World::with(|settings, _| change(settings));
        let (service, events) = owner(&world, "owner");
        Self { world, service, events }
    }

    fn network(&self) -> Network<'_> {
        self.world.node.network()
    }

    #[track_caller]
    fn next(&self) -> SocketEvent {
        self.events.recv_timeout(PATIENCE).expect("an event")
    }

    /// The next event is this one; says its number.
    #[track_caller]
    fn expect(&self, kind: EventKind, id: i32, text: &str) -> i32 {
        let event = self.next();
        let found = (event.kind, event.id, String::from_utf8_lossy(&event.text).into_owned());
        assert_eq!(found, (kind, id, text.to_owned()));
        event.ud
    }

    /// All bytes until there are `count`.
    #[track_caller]
    fn data(&self, id: i32, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let event = self.next();
            assert_eq!((event.kind, event.id), (EventKind::Data, id), "{event:?}");
            let block = event.data.expect("data comes with a block");
            assert_eq!(block.len() as i32, event.ud);
            bytes.extend_from_slice(&block);
        }
        bytes
    }

    #[track_caller]
    fn quiet(&self) {
        // The next thing that happens is what the test does itself.
        let id = self.network().bind(self.service, -1).unwrap();
        self.expect(EventKind::Error, id, "reach skynet socket number limit");
    }

    fn listen(&self) -> (i32, SocketAddr) {
        let id = self.network().listen(self.service, b"127.0.0.1", 0, 32).unwrap();
        let port = self.expect(EventKind::Connect, id, "127.0.0.1");
        (id, (Ipv4Addr::LOCALHOST, port as u16).into())
    }

    /// A connection that this node accepted and started, and its peer.
    fn accepted(&self) -> (i32, TcpStream) {
        let (listener, at) = self.listen();
        self.network().start(self.service, listener);
        self.expect(EventKind::Connect, listener, "start");
        let peer = TcpStream::connect(at).unwrap();
        let id = self.expect(EventKind::Accept, listener, &peer.local_addr().unwrap().to_string());
        self.network().start(self.service, id);
        self.expect(EventKind::Connect, id, "start");
        (id, peer)
    }

    /// A connection that this node made, and its peer.
    fn connected(&self) -> (i32, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let id = self
            .network()
            .connect(self.service, b"127.0.0.1", listener.local_addr().unwrap().port())
            .unwrap();
        let (peer, _) = listener.accept().unwrap();
        self.expect(EventKind::Connect, id, "127.0.0.1");
        (id, peer)
    }

    fn send(&self, id: i32, bytes: &[u8]) -> bool {
        self.network().send(id, Data::Bytes(bytes), false).unwrap()
    }
}

fn owner(world: &World, name: &str) -> (Handle, Receiver<SocketEvent>) {
    let (events, received) = channel();
    let service = world.service(name, move |_, message| {
        if let Some(event) = SocketEvent::from_message(message) {
            // The test may be over.
            let _ = events.send(event);
        }
    });
    (service, received)
}

fn read_all(mut peer: &TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    peer.read_exact(&mut bytes).unwrap();
    bytes
}

/// A peer that goes with a reset.
fn reset(peer: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: sets an option of a socket that is ours, from a value of its type.
    let done = unsafe {
        let at = (&raw const linger).cast();
        libc::setsockopt(peer.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, at, size_of_val(&linger) as u32)
    };
    assert_eq!(done, 0);
}

#[test]
fn a_connection_brings_bytes_both_ways() {
    let bench = Bench::new();
    // Both stay until the end: a peer that goes is an event.
    for (id, peer) in &mut [bench.accepted(), bench.connected()] {
        let id = *id;
        peer.write_all(b"hello").unwrap();
        assert_eq!(bench.data(id, 5), b"hello");
        assert!(bench.send(id, b"world"));
        assert_eq!(read_all(peer, 5), b"world");
    }
    let counters = bench.network().counters();
    assert_eq!((counters.read, counters.written, counters.copied), (10, 10, 0));
}

#[test]
fn many_bytes_come_whole_and_mostly_without_a_copy() {
    let bench = Bench::new();
    let (id, peer) = bench.accepted();
    let bytes: Vec<u8> = (0..8_000_000_u32).map(|it| (it % 251) as u8).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| (&peer).write_all(&bytes).unwrap());
        assert!(bench.data(id, bytes.len()) == bytes);
    });
    // Only while the blocks grow to what comes.
    assert!(bench.network().counters().copied <= 256 << 10, "{:?}", bench.network().counters());
}

#[test]
fn the_end_of_input_closes_once_and_leaves_the_other_way_open() {
    let bench = Bench::new();
    let (id, mut peer) = bench.accepted();
    peer.write_all(b"last words").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bench.data(id, 10), b"last words");
    bench.expect(EventKind::Close, id, "");
    assert!(bench.send(id, b"still"));
    assert_eq!(read_all(&peer, 5), b"still");
    bench.network().start(bench.service, id);
    bench.expect(EventKind::Error, id, "socket closed");
    bench.network().close(id);
    bench.quiet();
    assert!(!bench.send(id, b"late"));
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn closing_tells_once_and_what_waits_is_still_sent() {
    let bench = Bench::new();
    let (id, peer) = bench.accepted();
    let bytes: Vec<u8> = (0..20_000_000_u32).map(|it| (it % 253) as u8).collect();
    assert!(bench.send(id, &bytes));
    assert_eq!(bench.next().kind, EventKind::Warning);
    bench.network().close(id);
    bench.expect(EventKind::Close, id, "");
    assert!(!bench.send(id, b"too late"));
    assert!(
        bench.network().send(id, Data::Bytes(b"too late"), true).unwrap(),
        "low writes are dropped later"
    );
    let mut all = Vec::new();
    (&peer).read_to_end(&mut all).unwrap();
    assert!(all == bytes);
    bench.quiet();
    assert_eq!(bench.network().info().len(), 1, "only the listener is left");
}

#[test]
fn shutting_down_drops_what_waits() {
    let bench = Bench::new();
    let (id, peer) = bench.accepted();
    assert!(bench.send(id, &vec![7; 20_000_000]));
    assert_eq!(bench.next().kind, EventKind::Warning);
    bench.network().shutdown(id);
    bench.expect(EventKind::Close, id, "");
    let mut all = Vec::new();
    let _ = (&peer).read_to_end(&mut all);
    assert!(all.len() < 20_000_000);
    // Neither knows it any more.
    bench.network().shutdown(id);
    bench.network().close(id);
    bench.quiet();
}

#[test]
fn a_reset_is_an_error_and_then_a_close_wherever_it_comes() {
    let bench = Bench::new();
    for sent in 0..4 {
        let (id, mut peer) = bench.accepted();
        peer.write_all(&b"abcd"[..sent]).unwrap();
        assert_eq!(bench.data(id, sent).len(), sent);
        reset(peer);
        bench.expect(EventKind::Error, id, "Connection reset by peer");
        bench.network().shutdown(id);
        // The peer's end may have been seen first.
        bench.expect(EventKind::Close, id, "");
    }
}

#[test]
fn a_failed_write_leaves_the_way_in_open() {
    let bench = Bench::new();
    let (id, peer) = bench.accepted();
    bench.network().pause(id);
    reset(peer);
    // Nobody reads: the hang-up alone ends it.
    loop {
        let event = bench.next();
        assert!(matches!(event.kind, EventKind::Error | EventKind::Close), "{event:?}");
        if event.kind == EventKind::Close {
            break;
        }
    }
    assert!(!bench.send(id, b"x"));
}

#[test]
fn warnings_double_and_end_with_nought() {
    let bench = Bench::new();
    let (id, peer) = bench.accepted();
    let piece = vec![1; 64 << 10];
    let mut sent = 0;
    let mut warned = Vec::new();
    while warned.len() < 3 {
        assert!(bench.send(id, &piece));
        sent += piece.len();
        warned.extend(bench.events.try_iter().map(|it| (it.kind, it.ud)));
    }
    assert_eq!(warned[0].0, EventKind::Warning);
    let kib: Vec<i32> = warned.iter().map(|it| it.1).collect();
    assert!(kib[0] >= 1024 && kib[0] < 1024 + 64 && kib[1] >= 2048 && kib[2] >= 4096, "{kib:?}");
    read_all(&peer, sent);
    let last = bench.next();
    assert_eq!((last.kind, last.ud), (EventKind::Warning, 0));
}

#[test]
fn a_low_write_waits_for_the_others() {
    let bench = Bench::new();
    let (id, peer) = bench.accepted();
    let first = vec![b'-'; 8_000_000];
    assert!(bench.send(id, &first));
    let low = |bytes: &'static [u8]| bench.network().send(id, Data::Bytes(bytes), true).unwrap();
    assert!(low(b"low") && bench.send(id, b"high") && low(b"low2"));
    read_all(&peer, first.len());
    assert_eq!(read_all(&peer, 11), b"highlowlow2");
}

#[test]
fn one_block_goes_to_many_without_a_copy() {
    let bench = Bench::new();
    let connections: Vec<_> = (0..8).map(|_| bench.connected()).collect();
    let payload = bench.world.node.arena().copy_from(&vec![9; 20_000_000]).unwrap().share();
    for (id, _) in &connections {
        let data = Data::Shared { payload: payload.clone(), start: 1000, len: 18_000_000 };
        assert!(bench.network().send(*id, data, false).unwrap());
    }
    assert!(payload.owners() > 1);
    for (_, peer) in &connections {
        assert!(read_all(peer, 18_000_000).iter().all(|it| *it == 9));
    }
    assert_eq!(bench.network().counters().copied, 0);
    assert!(common::eventually(|| payload.owners() == 1));
}

#[test]
fn a_paused_socket_brings_nothing_until_it_is_started_again() {
    let bench = Bench::new();
    let (id, mut peer) = bench.accepted();
    bench.network().pause(id);
    peer.write_all(b"wait").unwrap();
    bench.quiet();
    bench.network().start(bench.service, id);
    bench.expect(EventKind::Connect, id, "transfer");
    assert_eq!(bench.data(id, 4), b"wait");
}

#[test]
fn who_starts_a_socket_gets_what_comes_from_then_on() {
    let bench = Bench::new();
    let (id, mut peer) = bench.accepted();
    let (other, events) = owner(&bench.world, "other");
    bench.network().start(other, id);
    peer.write_all(b"for the other").unwrap();
    let start = events.recv_timeout(PATIENCE).unwrap();
    assert_eq!((start.kind, &start.text[..]), (EventKind::Connect, &b"transfer"[..]));
    assert_eq!(events.recv_timeout(PATIENCE).unwrap().data.unwrap()[..], *b"for the other");
    bench.quiet();
}

#[test]
fn data_for_a_dead_owner_is_dropped_and_the_socket_stays() {
    let bench = Bench::new();
    let (id, mut peer) = bench.accepted();
    let (other, events) = owner(&bench.world, "other");
    bench.network().start(other, id);
    events.recv_timeout(PATIENCE).unwrap();
    bench.world.puppet().command("KILL", format!(":{:x}", other.0).as_bytes());
    peer.write_all(b"to nobody").unwrap();
    assert!(common::eventually(|| bench.network().counters().read == 9));
    assert!(bench.send(id, b"still here"));
    assert_eq!(read_all(&peer, 10), b"still here");
}

#[test]
fn unknown_ids_are_refused_or_ignored() {
    let bench = Bench::new();
    let network = bench.network();
    for id in [0, -1, 77, i32::MAX, i32::MIN] {
        network.start(bench.service, id);
        bench.expect(EventKind::Error, id, "invalid socket");
        network.pause(id);
        network.close(id);
        network.shutdown(id);
        network.nodelay(id);
        assert!(!bench.send(id, b"x"));
        assert!(!network.send(id, Data::Bytes(b"x"), true).unwrap());
        assert!(network.udp_connect(id, b"127.0.0.1", 1).is_err());
    }
    bench.quiet();
}

#[test]
fn a_closed_port_refuses_and_the_id_is_free() {
    let bench = Bench::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let id = bench.network().connect(bench.service, b"127.0.0.1", port).unwrap();
    bench.expect(EventKind::Error, id, "Connection refused");
    assert!(!bench.send(id, b"x"));
    bench.quiet();
}

#[test]
fn a_name_with_several_addresses_is_tried_until_one_answers() {
    let bench = Bench::new();
    // `localhost` is ::1 first where there is IPv6; nobody listens there.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let id =
        bench.network().connect(bench.service, b"localhost", listener.local_addr().unwrap().port()).unwrap();
    assert!(bench.send(id, b"early"), "what is sent meanwhile waits");
    let (peer, _) = listener.accept().unwrap();
    bench.expect(EventKind::Connect, id, "127.0.0.1");
    assert_eq!(read_all(&peer, 5), b"early");
}

#[test]
fn a_connection_that_is_closed_before_it_is_made_sends_what_it_was_given() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let id =
        bench.network().connect(bench.service, b"127.0.0.1", listener.local_addr().unwrap().port()).unwrap();
    bench.send(id, b"bye");
    bench.network().close(id);
    let (peer, _) = listener.accept().unwrap();
    let mut all = Vec::new();
    (&peer).read_to_end(&mut all).unwrap();
    assert_eq!(all, b"bye");
    let kinds: Vec<_> = std::iter::from_fn(|| bench.events.recv_timeout(Duration::from_millis(200)).ok())
        .map(|it| it.kind)
        .collect();
    assert!(kinds == [EventKind::Close] || kinds == [EventKind::Connect, EventKind::Close], "{kinds:?}");
}

#[test]
fn what_is_sent_before_the_start_is_dropped() {
    let bench = Bench::new();
    let (listener, at) = bench.listen();
    bench.network().start(bench.service, listener);
    bench.expect(EventKind::Connect, listener, "start");
    let peer = TcpStream::connect(at).unwrap();
    let id = bench.next().ud;
    assert!(bench.send(id, b"too early"));
    assert!(bench.send(listener, b"to a listener"));
    bench.network().start(bench.service, id);
    bench.expect(EventKind::Connect, id, "start");
    assert!(bench.send(id, b"now"));
    assert_eq!(read_all(&peer, 3), b"now");
    bench.world.log_until(&format!("socket-server error: write to listen fd {listener}."));
}

#[test]
fn a_write_limit_closes_or_refuses() {
    let bench = Bench::with(|settings| _ = settings.set("socket_write_limit", "4M"));
    let (id, peer) = bench.accepted();
    let piece = vec![0; 1 << 20];
    while bench.send(id, &piece) {}
    let last = bench.events.iter().find(|it| it.kind == EventKind::Close).unwrap();
    assert_eq!(last.id, id);
    drop(peer);
    let bench = Bench::with(|settings| {
        _ = settings.set("socket_write_limit", "4M").set("socket_write_policy", "refuse")
    });
    let (id, peer) = bench.accepted();
    let mut sent = 0;
    while bench.send(id, &piece) {
        sent += piece.len();
    }
    read_all(&peer, sent);
    assert!(bench.send(id, b"again"));
    assert_eq!(read_all(&peer, 5), b"again");
}

#[test]
fn datagrams_go_both_ways_and_name_their_sender() {
    let bench = Bench::new();
    for (host, any) in [("127.0.0.1", "127.0.0.1:0"), ("::1", "[::1]:0")] {
        let Ok(peer) = UdpSocket::bind(any) else { continue };
        let id = bench.network().udp(bench.service, Some((host.as_bytes(), 0))).unwrap();
        let to = peer.local_addr().unwrap();
        assert!(bench.network().send_to(id, to, Data::Bytes(b"ping")).unwrap());
        let mut bytes = [0; 64];
        let (count, from) = peer.recv_from(&mut bytes).unwrap();
        assert_eq!(&bytes[..count], b"ping");
        peer.send_to(b"pong", from).unwrap();
        let event = bench.next();
        assert_eq!((event.kind, event.id, event.ud), (EventKind::Udp, id, 4));
        let block = event.data.unwrap();
        assert_eq!(&block[..4], b"pong");
        assert_eq!(address::decode(&block[4..]), Some(to));
        assert!(!bench.send(id, b"to whom?"));
        bench.network().udp_connect(id, host.as_bytes(), to.port()).unwrap();
        assert!(bench.send(id, b"to you"));
        let (count, _) = peer.recv_from(&mut bytes).unwrap();
        assert_eq!(&bytes[..count], b"to you");
        let other = if host == "::1" { "127.0.0.1:9" } else { "[::1]:9" }.parse().unwrap();
        assert!(!bench.network().send_to(id, other, Data::Bytes(b"x")).unwrap());
        bench.network().udp_connect(id, other.ip().to_string().as_bytes(), 9).unwrap();
        bench.expect(EventKind::Error, id, "protocol mismatch");
    }
}

#[test]
fn unix_sockets_are_named_by_their_path() {
    let bench = Bench::new();
    let path = format!("unix:{}/door", bench.world.dir.path().display());
    let listener = bench.network().listen(bench.service, path.as_bytes(), 0, 8).unwrap();
    bench.expect(EventKind::Connect, listener, path.strip_prefix("unix:").unwrap());
    bench.network().start(bench.service, listener);
    bench.expect(EventKind::Connect, listener, "start");
    let id = bench.network().connect(bench.service, path.as_bytes(), 0).unwrap();
    let mut accepted = 0;
    for _ in 0..2 {
        let event = bench.next();
        match event.kind {
            EventKind::Accept => accepted = event.ud,
            EventKind::Connect => assert_eq!(event.id, id),
            other => panic!("{other:?}"),
        }
    }
    bench.network().start(bench.service, accepted);
    bench.expect(EventKind::Connect, accepted, "start");
    bench.send(id, b"through the door");
    assert_eq!(bench.data(accepted, 16), b"through the door");
}

#[test]
fn a_descriptor_from_outside_is_read_and_not_closed() {
    let bench = Bench::new();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let id = bench.network().bind(bench.service, reader.as_raw_fd()).unwrap();
    bench.expect(EventKind::Connect, id, "binding");
    writer.write_all(b"line\n").unwrap();
    assert_eq!(bench.data(id, 5), b"line\n");
    let types: Vec<_> = bench.network().info().iter().map(|it| it.ty).collect();
    assert_eq!(types, [SocketType::Bind]);
    bench.network().close(id);
    bench.expect(EventKind::Close, id, "");
    writer.write_all(b"rest").unwrap();
    let mut rest = [0; 4];
    (&reader).read_exact(&mut rest).unwrap();
    assert_eq!(&rest, b"rest");
}

#[test]
fn a_list_of_sockets_says_what_each_is() {
    let bench = Bench::new();
    let (id, mut peer) = bench.accepted();
    peer.write_all(b"12345").unwrap();
    bench.data(id, 5);
    bench.send(id, b"123");
    let list = bench.network().info();
    let types: Vec<_> = list.iter().map(|it| (it.ty, it.accepted, it.read, it.written)).collect();
    assert_eq!(types, [(SocketType::Tcp, 0, 5, 3), (SocketType::Listen, 1, 0, 0)]);
    assert_eq!(list[0].peer, Some(peer.local_addr().unwrap().to_string()));
    assert_eq!(list[1].local, Some(peer.peer_addr().unwrap().to_string()));
    assert_eq!(list[0].owner, bench.service);
}

#[test]
fn a_flood_of_connections_leaves_nothing_behind() {
    let bench = Bench::new();
    let (listener, at) = bench.listen();
    bench.network().start(bench.service, listener);
    bench.expect(EventKind::Connect, listener, "start");
    for _ in 0..50 {
        // No more than may wait for the listener.
        let peers: Vec<_> = (0..20).map(|_| TcpStream::connect(at).unwrap()).collect();
        let ids: Vec<_> = peers.iter().map(|_| bench.next().ud).collect();
        drop(peers);
        for id in &ids {
            bench.network().close(*id);
            bench.expect(EventKind::Close, *id, "");
        }
    }
    let list = bench.network().info();
    assert_eq!((list.len(), list[0].accepted), (1, 1000));
}
