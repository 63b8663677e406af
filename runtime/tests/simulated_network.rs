//! Random connections over a network that is simulated (`skein_runtime::sim::SimNetwork`), one schedule for each seed: the real sockets,
//! workers, mailboxes and timers.
//!
//! Clients connect to a server, send it random amounts in random pieces, and get all of it back, while both stop and resume reading, other
//! services write into the same turn, and, in every other seed, connections are reset.
//!
//! # What must hold
//! * **N1** What comes is what was sent, in order; without resets, all of it.
//! * **N2** Every id that was told of ends: with one CLOSE, or, if it never connected, with one ERROR.
//! * **N3** In the end nothing waits: no socket, no descriptor, no message, no worker that is awake.
//!
//! A failure names its seed: `SKEIN_SEED=17 cargo test -p skein-runtime --test simulated_network` does it again.
//! `SKEIN_SEEDS=100000` tries more.
//!
//! # Broken by hand, and caught
//! * what the system refuses at the end of a turn does not wait for room; a socket that changes hands does not read on (N1);
//! * what was written while it connects is forgotten, room is not told of, a partial write loses a byte (N1);
//! * CLOSE is told twice (N2).
//!
//! Not caught: what is held at the end of a turn and not sent, as the timer sends it 2 ms later (`socket_turns.rs` counts calls);
//! an end that is not looked for behind a short read, as it always comes as an event of its own here.

mod common;

use std::{
    collections::HashMap,
    env, panic,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
};

use common::{Closure, Context, once};
use skein_arena::{Arena, Options};
use skein_runtime::{
    Handle, InitError, Message, MessageType, Service, Settings,
    sim::{Actor, Doing, SimNetwork, Simulation},
    socket::{Data, EventKind, SocketEvent},
};

/// A small generator of random numbers: the run is a function of the seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Byte `at` of what a client sends over socket `id`.
fn byte(id: i32, at: usize) -> u8 {
    (id as usize * 131 + at * 7 + at / 251) as u8
}

#[derive(Default)]
struct Connection {
    connected: bool,
    /// Bytes that it wants to send, has sent, has got back.
    wants: usize,
    sent: usize,
    got: usize,
    closes: u32,
    errors: u32,
}

/// What a run has seen.
#[derive(Default)]
struct Books {
    clients: HashMap<i32, Connection>,
    served: HashMap<i32, Connection>,
    listening: Option<(i32, u16)>,
}

type Shared = Arc<Mutex<Books>>;

fn text(ctx: &Context, to: Handle) {
    ctx.send(to, None, MessageType::TEXT, Some(0), None).unwrap();
}

/// Sends back what comes. Now and then it stops reading, and goes on when it gets a message of its own.
fn server(books: Shared, mut random: Random) -> Closure {
    let mut paused = Vec::new();
    let dispatch = move |ctx: &Context, message: Message| {
        let network = ctx.node().network();
        if message.ty() == MessageType::TEXT {
            if books.lock().unwrap().listening.is_none() {
                let id = network.listen(ctx.handle(), b"127.0.0.1", 0, 8).unwrap();
                network.start(ctx.handle(), id);
            }
            for id in paused.drain(..) {
                network.start(ctx.handle(), id);
            }
            return;
        }
        let Some(event) = SocketEvent::from_message(message) else { return };
        let books = &mut *books.lock().unwrap();
        match event.kind {
            EventKind::Connect if books.listening.is_none() => {
                books.listening = Some((event.id, event.ud as u16));
            }
            EventKind::Connect => {}
            EventKind::Accept => {
                books.served.entry(event.ud).or_default().connected = true;
                network.start(ctx.handle(), event.ud);
            }
            EventKind::Data => {
                let data = event.data.unwrap();
                // In pieces, so that a turn writes more than once.
                let cut = random.below(data.len() as u64 + 1) as usize;
                let (first, rest) = data.split_at(cut);
                for part in [first, rest] {
                    let _ = network.send(event.id, Data::Bytes(part), false).unwrap();
                }
                if random.below(6) == 0 {
                    network.pause(event.id);
                    paused.push(event.id);
                    text(ctx, ctx.handle());
                }
            }
            EventKind::Close => {
                books.served.entry(event.id).or_default().closes += 1;
                network.close(event.id);
            }
            // It was to go on with a socket that had ended meanwhile.
            EventKind::Error if [&b"invalid socket"[..], b"socket closed"].contains(&&*event.text) => {}
            EventKind::Error => {
                if let Some(it) = books.served.get_mut(&event.id) {
                    it.errors += 1;
                }
                network.shutdown(event.id);
            }
            EventKind::Warning | EventKind::Udp => panic!("{event:?}"),
        }
    };
    Closure { dispatch: Box::new(dispatch), release: None }
}

/// Sends the next piece of what a client has to say.
fn talk(ctx: &Context, id: i32, it: &mut Connection, random: &mut Random) {
    for _ in 0..=random.below(3) {
        // Now and then more than is held for the end of a turn.
        let most = if random.below(8) == 0 { 40_000 } else { 3000 };
        let size = (1 + random.below(most) as usize).min(it.wants - it.sent);
        let bytes: Vec<u8> = (it.sent..it.sent + size).map(|at| byte(id, at)).collect();
        let data = if random.below(2) == 0 {
            Data::Block(ctx.node().arena().copy_from(&bytes).unwrap())
        } else {
            Data::Bytes(&bytes)
        };
        if ctx.node().network().send(id, data, false).unwrap() {
            it.sent += size;
        }
    }
}

/// Connects, once for each message, and checks what comes back.
fn client(books: Shared, mut random: Random) -> Closure {
    let dispatch = move |ctx: &Context, message: Message| {
        let network = ctx.node().network();
        let books = &mut *books.lock().unwrap();
        if message.ty() == MessageType::TEXT {
            let (_, port) = books.listening.unwrap();
            let id = network.connect(ctx.handle(), b"127.0.0.1", port).unwrap();
            let it = books.clients.entry(id).or_default();
            it.wants = 1 + random.below(50_000) as usize;
            // What is written before it is connected waits.
            if random.below(2) == 0 {
                talk(ctx, id, it, &mut random);
            }
            return;
        }
        let Some(event) = SocketEvent::from_message(message) else { return };
        let id = event.id;
        let it = books.clients.get_mut(&id).unwrap();
        match event.kind {
            EventKind::Connect => {
                it.connected = true;
                talk(ctx, id, it, &mut random);
            }
            EventKind::Data => {
                for byte_got in &*event.data.unwrap() {
                    assert_eq!(*byte_got, byte(id, it.got), "byte {} of socket {id} (N1)", it.got);
                    it.got += 1;
                }
                if it.sent < it.wants {
                    talk(ctx, id, it, &mut random);
                }
                if it.got == it.wants {
                    network.close(id);
                } else if random.below(8) == 0 {
                    network.pause(id);
                    network.start(ctx.handle(), id);
                }
            }
            EventKind::Close => {
                it.closes += 1;
                network.close(id);
            }
            EventKind::Error => {
                it.errors += 1;
                network.shutdown(id);
            }
            EventKind::Warning | EventKind::Accept | EventKind::Udp => panic!("{event:?}"),
        }
    };
    Closure { dispatch: Box::new(dispatch), release: None }
}

/// Who sends from outside.
struct Outside(Arc<Mutex<Option<Context>>>);

impl Service for Outside {
    fn init(&mut self, ctx: &Context, _: Option<&[u8]>) -> Result<(), InitError> {
        *self.0.lock().unwrap() = Some(Arc::clone(ctx));
        Ok(())
    }

    fn dispatch(&mut self, _: &Context, _: Message) {}
}

/// Plays until nobody has anything to do.
fn play(sim: &Simulation, random: &mut Random) {
    for _ in 0..2_000_000 {
        let ready: Vec<Actor> = sim.ready().collect();
        if ready.is_empty() {
            match sim.next_event() {
                Some(at) => sim.set_time(at.max(sim.now())),
                None => return,
            }
        } else {
            sim.step(ready[random.below(ready.len() as u64) as usize]);
            sim.set_time(sim.now() + random.below(20_000));
        }
    }
    panic!("the run does not end");
}

fn run(seed: u64, arena: Arena) -> String {
    let mut random = Random(seed.wrapping_mul(2) | 1);
    let resets = if seed.is_multiple_of(2) { 0 } else { 100 };
    let network = SimNetwork::new(seed + 1, resets);
    let mut settings = Settings::new();
    settings.set("thread", "2").set("harbor", "0");
    let sim = Simulation::with_network(settings, arena, network.clone()).unwrap();
    let node = sim.node();
    let books = Shared::default();
    once(node, "server", server(Arc::clone(&books), Random(seed ^ 1)));
    once(node, "client", client(Arc::clone(&books), Random(seed ^ 2)));
    let server = node.launch("server", None).unwrap();
    let client = node.launch("client", None).unwrap();
    let outside = Arc::default();
    once(node, "outside", Outside(Arc::clone(&outside)));
    node.launch("outside", None).unwrap();
    let outside = outside.lock().unwrap().take().unwrap();
    let wake = |to| text(&outside, to);
    wake(server);
    play(&sim, &mut random);
    for _ in 0..1 + random.below(6) {
        wake(client);
        for _ in 0..random.below(200) {
            let ready: Vec<Actor> = sim.ready().collect();
            if ready.is_empty() {
                break;
            }
            sim.step(ready[random.below(ready.len() as u64) as usize]);
        }
    }
    play(&sim, &mut random);

    let told = {
        let books = books.lock().unwrap();
        let mut told = Vec::new();
        for (side, all) in [("client", &books.clients), ("server", &books.served)] {
            for (id, it) in all {
                told.push(format!(
                    "{side} {id}: {} {} {} {} {}",
                    it.wants, it.sent, it.got, it.closes, it.errors
                ));
                if resets == 0 {
                    assert_eq!((it.got, it.errors), (it.wants, 0), "{side} {id} (N1)");
                }
                // A connection that was reset before the server could start it, ends there without a word.
                let least = u32::from(it.connected && (side == "client" || resets == 0));
                assert!(
                    (least..=1).contains(&it.closes) && it.closes + it.errors > 0,
                    "{side} {id} (N2): {told:?}"
                );
            }
        }
        told.sort();
        let (listener, _) = books.listening.unwrap();
        node.network().close(listener);
        told
    };
    play(&sim, &mut random);
    assert_eq!(
        (node.network().info().len(), network.open()),
        (0, 0),
        "sockets and descriptors are left (N3)"
    );
    assert!(sim.doing().all(|it| it == Doing::Parked), "(N3)");
    let counters = node.network().counters();
    node.abort();
    play(&sim, &mut random);
    format!("{told:?} {counters:?}")
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|it| it.parse().unwrap_or_else(|_| panic!("{name} is to be a number")))
}

#[test]
fn whatever_the_seed_what_is_sent_arrives_and_every_socket_ends() {
    let arena = Arena::private(&Options::default()).unwrap();
    if let Some(seed) = number("SKEIN_SEED") {
        println!("{}", run(seed, arena));
        return;
    }
    for seed in 0..number("SKEIN_SEEDS").unwrap_or(300) {
        let whole = AssertUnwindSafe(|| {
            let told = run(seed, arena);
            if seed % 64 == 0 {
                assert_eq!(run(seed, arena), told, "the same seed went another way");
            }
        });
        if let Err(panic) = panic::catch_unwind(whole) {
            eprintln!("SKEIN_SEED={seed} fails, and does so again with that in the environment");
            panic::resume_unwind(panic);
        }
    }
}
