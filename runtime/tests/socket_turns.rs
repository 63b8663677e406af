//! What a service writes in one turn: the first write goes at once, small ones after it go out together, nothing is lost or overtakes.

mod common;

use std::{
    io::Read,
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use common::{Context, World};
use skein_runtime::{
    Handle, MessageType, Settings,
    socket::{Data, Network, SocketCounters},
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
