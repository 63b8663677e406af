//! The native gate: connections as a watchdog hears of them, packets as an agent gets them, and clients that behave badly.

mod common;

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::fd::FromRawFd,
    sync::{Arc, Mutex, OnceLock, mpsc::Receiver},
};

use common::{Context, Heard, World, hear};
use skein_runtime::{Handle, MessageType, socket::Data};

/// A gate, its watchdog, and where it listens.
struct Door {
    world: World,
    watchdog: Context,
    heard: Receiver<Heard>,
    gate: Handle,
    port: u16,
}

impl Door {
    fn new(style: &str, most: u32) -> Self {
        let world = World::new();
        let (watchdog, heard) = world.ear();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let args = format!("{style} {} 127.0.0.1:{port} 0 {most}", watchdog.handle());
        let gate = world.node.launch("gate", Some(args.as_bytes())).unwrap();
        Self { world, watchdog, heard, gate, port }
    }

    fn command(&self, text: &str) {
        let body = self.world.block(text.as_bytes());
        self.watchdog.send(self.gate, None, MessageType::TEXT, Some(0), body).unwrap();
    }

    /// What the watchdog is told next.
    #[track_caller]
    fn told(&self) -> (i32, String) {
        let heard = hear(&self.heard);
        assert_eq!(heard.ty, MessageType::TEXT, "{heard:?}");
        (heard.session, String::from_utf8(heard.body.unwrap()).unwrap())
    }

    /// A client whose bytes are read.
    #[track_caller]
    fn client(&self) -> (i32, TcpStream) {
        let peer = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let (_, text) = self.told();
        let (id, rest) = text.split_once(' ').unwrap();
        assert_eq!(rest, format!("open {id} {}:0", peer.local_addr().unwrap()));
        self.command(&format!("start {id}"));
        (id.parse().unwrap(), peer)
    }
}

#[test]
fn packets_go_to_the_watchdog_then_to_the_agent_then_to_the_broker() {
    let door = Door::new("S", 10);
    let (id, mut peer) = door.client();
    peer.write_all(b"\x00\x05hello").unwrap();
    assert_eq!(door.told(), (id, format!("{id} data hello")));
    let (agent, heard) = door.world.ear();
    door.command(&format!("forward {id} :{:x} :1234", agent.handle().0));
    // Empty packets are skipped; one comes in pieces.
    peer.write_all(b"\x00\x00\x00\x03one\x00").unwrap();
    let first = hear(&heard);
    assert_eq!((first.source, first.ty, first.session), (Handle(0x1234), MessageType::CLIENT, id));
    assert_eq!(first.body.unwrap(), b"one");
    peer.write_all(b"\x03two").unwrap();
    assert_eq!(hear(&heard).body.unwrap(), b"two");
    let (broker, brokered) = door.world.ear();
    door.command(&format!("broker :{:x}", broker.handle().0));
    peer.write_all(b"\x00\x05three").unwrap();
    let last = hear(&brokered);
    assert_eq!((last.source, last.session, &last.body.unwrap()[..]), (door.gate, id, &b"three"[..]));
}

#[test]
fn what_services_send_reaches_the_client_as_it_is() {
    let door = Door::new("L", 10);
    let (id, mut peer) = door.client();
    let send = |bytes: &[u8]| {
        let body = door.world.block(bytes);
        door.watchdog.send(door.gate, None, MessageType::CLIENT, Some(0), body).unwrap();
    };
    send(&[b"raw bytes", &id.to_le_bytes()[..]].concat());
    let mut bytes = [0; 9];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"raw bytes");
    let source = door.watchdog.handle().0;
    send(b"abc");
    door.world.log_until(&format!("Invalid client message from {source:x}"));
    send(b"x\xff\0\0\0");
    door.world.log_until(&format!("Invalid client id 255 from {source:x}"));
}

#[test]
fn the_watchdog_hears_of_each_end_once() {
    let door = Door::new("S", 2);
    let (first, peer) = door.client();
    drop(peer);
    assert_eq!(door.told().1, format!("{first} close"));
    let (second, mut peer) = door.client();
    door.command(&format!("kick {second}"));
    assert_eq!(door.told().1, format!("{second} close"));
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
    let (third, peer) = door.client();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(door.told().1, format!("{third} close"));
    door.command("nonsense");
    door.world.log_until("[gate] Unknown command : nonsense");
}

#[test]
fn beyond_its_capacity_a_gate_closes_and_says_nothing() {
    let door = Door::new("S", 1);
    let (_, _peer) = door.client();
    let mut other = TcpStream::connect(("127.0.0.1", door.port)).unwrap();
    assert_eq!(other.read(&mut [0; 1]).unwrap(), 0);
    door.command("close");
    assert!(common::eventually(|| TcpStream::connect(("127.0.0.1", door.port)).is_err()));
    assert!(door.heard.try_recv().is_err());
}

#[test]
fn a_packet_that_is_too_large_ends_its_connection_and_no_other() {
    let door = Door::new("L", 10);
    let (id, mut bad) = door.client();
    let (other, mut good) = door.client();
    bad.write_all(&[0xff; 4]).unwrap();
    assert_eq!(door.told().1, format!("{id} close"));
    door.world.log_until("Recv socket message > 16M");
    let _ = bad.read(&mut [0; 1]);
    good.write_all(b"\0\0\0\x04good").unwrap();
    assert_eq!(door.told(), (other, format!("{other} data good")));
}

#[test]
fn wrong_arguments_are_refused_with_skynets_texts() {
    let world = World::new();
    for (args, text) in [
        ("S !", "Invalid gate parm S !"),
        ("S ! 127.0.0.1:0 0", "Need max connection"),
        ("S ! 127.0.0.1:0 0 -1", "Need max connection"),
        ("X ! 127.0.0.1:0 0 1", "Invalid data header style"),
        ("S .nobody 127.0.0.1:0 0 1", "Invalid watchdog .nobody"),
        ("S name 127.0.0.1:0 0 1", "error: Don't support query global name name"),
        ("S ! 127.0.0.1:x 0 1", "Invalid gate address 127.0.0.1:x"),
    ] {
        assert!(world.node.launch("gate", Some(args.as_bytes())).is_err(), "{args}");
        world.log_until(text);
    }
}

#[test]
fn a_packet_is_not_copied_on_its_way_from_gate_to_agent_to_a_third_service_to_another_socket() {
    let door = Door::new("L", 10);
    let world = &door.world;
    let (id, mut peer) = door.client();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = target.local_addr().unwrap().port();
    // The third one has the other socket; the agent hands on what it gets.
    let out = Arc::new(OnceLock::new());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (to, sees) = (Arc::clone(&out), Arc::clone(&seen));
    let third = world.service("third", move |ctx, message| {
        if message.ty() == MessageType::CLIENT {
            let block = message.into_block();
            sees.lock().unwrap().push((block.forwarded().is_some(), block.as_ptr().addr()));
            assert!(ctx.node().network().send(*to.get().unwrap(), Data::Block(block), false).unwrap());
        }
    });
    let sees = Arc::clone(&seen);
    let agent = world.service("agent", move |ctx, message| {
        let block = message.into_block();
        sees.lock().unwrap().push((block.forwarded().is_some(), block.as_ptr().addr()));
        ctx.send(third, None, MessageType::CLIENT, Some(0), Some(block)).unwrap();
    });
    out.set(world.node.network().connect(third, b"127.0.0.1", port).unwrap()).unwrap();
    let (mut received, _) = target.accept().unwrap();
    door.command(&format!("forward {id} {agent} {agent}"));

    // The first ones teach the socket how much comes.
    let bytes: Vec<u8> = (0..50_000_u32).map(|it| (it % 251) as u8).collect();
    let packet = [&(bytes.len() as u32).to_be_bytes()[..], &bytes].concat();
    let mut copied = 0;
    for round in 0..40 {
        if round == 10 {
            copied = world.node.network().counters().copied;
        }
        peer.write_all(&packet).unwrap();
        let mut got = vec![0; bytes.len()];
        received.read_exact(&mut got).unwrap();
        assert!(got == bytes);
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 80);
    for hop in seen.chunks(2) {
        assert_eq!(hop[0], hop[1], "the third one gets the agent's payload");
    }
    // Most packets come in one read; one that comes in two is put together once.
    assert!(seen.iter().filter(|it| it.0).count() >= 2, "{seen:?}");
    let counters = world.node.network().counters();
    assert!(counters.copied - copied <= 10 * (64 << 10), "{counters:?}");
    // What was written is counted after the peer may have read it: the last packet is perhaps not in it yet.
    assert!(counters.written >= 39 * 50_000 && counters.read >= 2_000_000, "{counters:?}");
}

/// A packet that did not come in one read was put together by a copy, whatever its size.
#[test]
fn a_large_packet_that_comes_in_pieces_is_read_straight_into_its_own_block() {
    let door = Door::new("L", 10);
    let (id, mut peer) = door.client();
    let (agent, heard) = door.world.ear();
    door.command(&format!("forward {id} :{:x} :1", agent.handle().0));
    let bytes: Vec<u8> = (0..250_000_u32).map(|it| (it % 251) as u8).collect();
    let header = (bytes.len() as u32).to_be_bytes();
    let read = || door.world.node.network().counters().read;
    let mut expected = 0;
    for round in 0..4 {
        // A length in two pieces, and a body in many.
        for (at, piece) in [&header[..1], &header[1..]].into_iter().chain(bytes.chunks(100_000)).enumerate() {
            expected += piece.len() as u64;
            peer.write_all(piece).unwrap();
            assert!(common::eventually(|| read() == expected));
            // Who reads holds the socket until the gate was told; and the gate answers in the order of what it is told.
            door.world.node.network().queued(id);
            door.command(&format!("settle {round} {at}"));
            door.world.log_until(&format!("[gate] Unknown command : settle {round} {at}"));
        }
        let packet = hear(&heard).body.unwrap();
        assert!(packet == bytes, "round {round}");
    }
    assert_eq!(door.world.node.network().counters().copied, 0);
}

#[test]
fn what_a_gate_sends_waits_for_no_answer_of_the_peer() {
    let door = Door::new("S", 10);
    let (_, peer) = door.client();
    let of_gate = |fd: i32| {
        // SAFETY: asked of a number that may be any descriptor or none; it is not closed.
        let fd = std::mem::ManuallyDrop::new(unsafe { TcpStream::from_raw_fd(fd) });
        let its = fd.peer_addr().is_ok_and(|it| it == peer.local_addr().unwrap());
        its.then(|| fd.nodelay().unwrap())
    };
    let found: Vec<bool> = (3..1024).filter_map(of_gate).collect();
    assert_eq!(found, [true], "one end of this process is the gate's");
}
