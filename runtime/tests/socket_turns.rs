//! What a service writes in one turn: the first write goes at once, small ones after it go out together, nothing is lost or overtakes;
//! and what it starts.

mod common;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use common::{Context, World};
use skein_runtime::{
    Handle, MessageType, Settings,
    socket::{Data, EventKind, Network, SocketCounters, SocketEvent},
};

const PATIENCE: Duration = Duration::from_secs(30);

type Work = Box<dyn FnOnce(&Context, Network<'_>) + Send>;

/// A node with a service that does in one message what a test gives it.
struct Bench {
    world: World,
    puppet: Context,
    service: Handle,
    work: Sender<Work>,
    done: Receiver<()>,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let world = World::with(|settings, _| change(settings));
        let (work, works) = channel::<Work>();
        let (tell, done) = channel();
        let service = world.service("writer", move |ctx, message| {
            if message.ty() == MessageType::TEXT {
                works.recv().unwrap()(ctx, ctx.node().network());
                tell.send(()).unwrap();
            }
        });
        Self { puppet: world.puppet(), world, service, work, done }
    }

    fn begin(&self, work: impl FnOnce(&Context, Network<'_>) + Send + 'static) {
        self.work.send(Box::new(work)).unwrap();
        self.puppet.send(self.service, None, MessageType::TEXT, Some(0), None).unwrap();
    }

    fn one_turn(&self, work: impl FnOnce(&Context, Network<'_>) + Send + 'static) {
        self.begin(work);
        self.done.recv_timeout(PATIENCE).unwrap();
    }

    fn counters(&self) -> SocketCounters {
        self.world.node.network().counters()
    }

    /// A connection that the service has, and its peer.
    fn connection(&self) -> (i32, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let network = self.world.node.network();
        let id = network.connect(self.service, b"127.0.0.1", port).unwrap();
        let (peer, _) = listener.accept().unwrap();
        let connected = || network.info().iter().any(|it| it.id == id);
        assert!(common::eventually(connected));
        (id, peer)
    }
}

fn send(network: Network<'_>, id: i32, bytes: &[u8]) {
    assert!(network.send(id, Data::Bytes(bytes), false).unwrap());
}

#[track_caller]
fn expect(mut peer: &TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.read_exact(&mut read).unwrap();
    assert!(read == bytes, "{} bytes that differ", bytes.len());
}

#[test]
fn small_writes_of_a_turn_take_few_system_calls_and_keep_their_order() {
    let bench = Bench::new();
    let (id, peer) = bench.connection();
    let all: Vec<u8> = (0..500).flat_map(|it| format!("line {it}\n").into_bytes()).collect();
    bench.one_turn(move |_, network| {
        for line in 0..500 {
            let low = line % 3 == 1;
            let text = format!("line {line}\n");
            assert!(network.send(id, Data::Bytes(text.as_bytes()), low).unwrap());
        }
    });
    expect(&peer, &all);
    assert!(common::eventually(|| bench.counters().written == all.len() as u64));
    let counters = bench.counters();
    // One at once, 499 in runs of 64; more if the timer's thread thought that the turn takes long.
    assert!(counters.writes < 250, "{counters:?}");
}

#[test]
fn a_large_write_does_not_overtake_small_ones() {
    let bench = Bench::new();
    let (id, peer) = bench.connection();
    let mut all = b"onetwothree".to_vec();
    all.resize(all.len() + 3_000_000, b'x');
    all.extend(b"fourfive");
    bench.one_turn(move |_, network| {
        for part in [&b"one"[..], b"two", b"three", &vec![b'x'; 3_000_000], b"four", b"five"] {
            send(network, id, part);
        }
    });
    expect(&peer, &all);
}

#[test]
fn what_a_turn_wrote_goes_out_before_its_socket_is_closed_or_shut_down() {
    let bench = Bench::new();
    for closes in [true, false] {
        let (id, mut peer) = bench.connection();
        bench.one_turn(move |_, network| {
            send(network, id, b"first");
            send(network, id, b"second");
            send(network, id, b"third");
            if closes {
                network.close(id)
            } else {
                network.shutdown(id)
            }
            assert!(!network.send(id, Data::Bytes(b"late"), false).unwrap());
        });
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"firstsecondthird");
    }
    assert!(bench.world.node.network().info().is_empty());
}

#[test]
fn a_turn_that_never_ends_does_not_keep_what_it_wrote() {
    let bench = Bench::new();
    let (id, peer) = bench.connection();
    let (go_on, waits) = channel::<()>();
    bench.begin(move |_, network| {
        send(network, id, b"first");
        send(network, id, b"second");
        // Only once the peer has both.
        waits.recv_timeout(PATIENCE).unwrap();
        send(network, id, b"third");
    });
    expect(&peer, b"firstsecond");
    go_on.send(()).unwrap();
    bench.done.recv_timeout(PATIENCE).unwrap();
    expect(&peer, b"third");
}

#[test]
fn what_many_are_sent_in_a_turn_is_copied_once() {
    let bench = Bench::new();
    let connections: Vec<_> = (0..40).map(|_| bench.connection()).collect();
    let ids: Vec<i32> = connections.iter().map(|it| it.0).collect();
    let text = vec![b't'; 1024];
    let sent = text.clone();
    bench.one_turn(move |_, network| {
        for _ in 0..2 {
            for id in &ids {
                send(network, *id, &sent);
            }
        }
    });
    for (_, peer) in &connections {
        expect(peer, &[&text[..], &text].concat());
    }
    // Once each time that the list was emptied, which a turn that takes long may have done.
    let copied = bench.counters().copied;
    assert!(copied < 40 * 1024 && copied.is_multiple_of(1024), "{copied}");
}

#[test]
fn what_many_are_told_in_several_writes_is_put_together_and_who_is_told_more_gets_that_too() {
    let bench = Bench::new();
    let connections: Vec<_> = (0..12).map(|_| bench.connection()).collect();
    let ids: Vec<i32> = connections.iter().map(|it| it.0).collect();
    let texts: Vec<Vec<u8>> = (b'a'..b'h').map(|it| vec![it; 700]).collect();
    let all = texts.concat();
    bench.one_turn(move |_, network| {
        for text in &texts {
            for (at, id) in ids.iter().enumerate() {
                send(network, *id, text);
                if at == 5 && text[0] == b'c' {
                    send(network, *id, &[b'!'; 700]);
                }
            }
        }
    });
    for (at, (_, peer)) in connections.iter().enumerate() {
        match at {
            5 => expect(peer, &[&all[..2100], &[b'!'; 700], &all[2100..]].concat()),
            _ => expect(peer, &all),
        }
    }
}

#[test]
fn a_peer_that_reads_nothing_is_warned_of_also_for_small_writes() {
    let bench = Bench::with(|settings| _ = settings.set("socket_write_limit", "4M"));
    let (id, peer) = bench.connection();
    // More than the system and the limit take, in small pieces and several turns.
    let refused = channel();
    let mut rounds = 0;
    loop {
        let tell: Sender<bool> = refused.0.clone();
        bench.one_turn(move |_, network| {
            let ok = (0..1000).all(|_| network.send(id, Data::Bytes(&[7; 1000]), false).unwrap());
            tell.send(ok).unwrap();
        });
        rounds += 1;
        assert!(rounds < 1000, "the limit is never reached");
        if !refused.1.recv().unwrap() {
            break;
        }
    }
    drop(peer);
    bench.world.log_until("closed");
    assert!(bench.world.node.network().info().is_empty());
}

#[test]
fn a_message_of_a_peer_that_is_gone_harms_nobody() {
    let bench = Bench::new();
    let (gone, peer) = bench.connection();
    let (stays, other) = bench.connection();
    drop(peer);
    for _ in 0..20 {
        bench.one_turn(move |_, network| {
            for _ in 0..10 {
                let _ = network.send(gone, Data::Bytes(b"anybody?"), false).unwrap();
                send(network, stays, b"!");
            }
        });
    }
    expect(&other, &[b'!'; 200]);
}

#[test]
fn what_one_is_told_and_then_another_waits_for_what_they_are_told_next() {
    let bench = Bench::new();
    let connections: Vec<_> = (0..10).map(|_| bench.connection()).collect();
    let ids: Vec<i32> = connections.iter().map(|it| it.0).collect();
    let text = vec![b't'; 1024];
    let sent = text.clone();
    bench.one_turn(move |_, network| ids.iter().for_each(|id| send(network, *id, &sent)));
    for (_, peer) in &connections {
        expect(peer, &text);
    }
    // To be held it is copied: once, or again each time that the timer's thread thought that the turn takes long.
    let copied = bench.counters().copied;
    assert!(copied > 0 && copied.is_multiple_of(1024), "{copied}");
}

/// A node whose service takes connections; they come in the order in which they were made.
struct Server {
    bench: Bench,
    accepts: Receiver<i32>,
    port: u16,
}

impl Server {
    fn new() -> Self {
        let bench = Bench::new();
        let (tell, accepts) = channel();
        let doorman = bench.world.service("doorman", move |_, message| {
            if message.ty() == MessageType::SOCKET {
                let event = SocketEvent::from_message(message).unwrap();
                if event.kind == EventKind::Accept {
                    tell.send(event.ud).unwrap();
                }
            }
        });
        let network = bench.world.node.network();
        let listener = network.listen(doorman, b"127.0.0.1", 0, 8).unwrap();
        network.start(doorman, listener);
        let info = network.info().into_iter().find(|it| it.id == listener).unwrap();
        let port = info.local.unwrap().rsplit(':').next().unwrap().parse().unwrap();
        Self { bench, accepts, port }
    }

    /// A connection that nobody has started, whose peer has said `hello`.
    fn accepted(&self, hello: &[u8]) -> (i32, TcpStream) {
        let mut peer = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        peer.write_all(hello).unwrap();
        // What was acknowledged has arrived.
        let arrived = || {
            let mut left = 1;
            // SAFETY: writes how many bytes the other end has not acknowledged.
            let status = unsafe { libc::ioctl(peer.as_raw_fd(), libc::TIOCOUTQ, &raw mut left) };
            assert_eq!(status, 0);
            left == 0
        };
        assert!(common::eventually(arrived));
        (self.accepts.recv_timeout(PATIENCE).unwrap(), peer)
    }
}

#[test]
fn what_a_peer_said_before_the_start_is_read_by_it_and_what_it_says_later_as_well() {
    let server = Server::new();
    let (id, mut peer) = server.accepted(b"hello");
    let service = server.bench.service;
    server.bench.one_turn(move |_, network| {
        network.start(service, id);
        assert_eq!(network.counters().read, 5);
    });
    for count in 1..=3 {
        peer.write_all(b"again").unwrap();
        assert!(common::eventually(|| server.bench.counters().read == 5 + 5 * count));
    }
    drop(peer);
    assert!(common::eventually(|| {
        let network = server.bench.world.node.network();
        network.close(id);
        network.info().iter().all(|it| it.id != id)
    }));
}

#[test]
fn an_end_that_came_before_the_start_is_seen() {
    let server = Server::new();
    let (id, peer) = server.accepted(b"last words");
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    let service = server.bench.service;
    server.bench.one_turn(move |_, network| network.start(service, id));
    let ended = |it: &skein_runtime::socket::SocketInfo| it.id == id && !it.reading;
    assert!(common::eventually(|| server.bench.world.node.network().info().iter().any(ended)));
    assert_eq!(server.bench.counters().read, 10);
}

#[test]
fn the_first_answer_is_held_and_goes_out_with_the_end() {
    let server = Server::new();
    let (id, mut peer) = server.accepted(b"question");
    let service = server.bench.service;
    server.bench.one_turn(move |_, network| {
        network.start(service, id);
        send(network, id, b"answer");
        // To be held it is copied.
        assert_eq!(network.counters().copied, 6);
        network.close(id);
        assert_eq!(network.counters().written, 6);
    });
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"answer");
    assert!(server.bench.counters().writes == 1);
}
