//! Random programs against a plain model: what each owner holds is what was written, and nothing else is alive.

use std::{
    collections::{HashMap, HashSet},
    ptr::NonNull,
    sync::{Mutex, mpsc},
    thread,
};

use proptest::prelude::*;
use skein_arena::{Arena, Block, Envelope, Kind, Options, Payload};

/// Addresses of foreign memory that nobody has freed.
static FOREIGN: Mutex<Option<HashSet<usize>>> = Mutex::new(None);

fn foreign(arena: Arena, bytes: &[u8]) -> Block {
    let memory: Box<[u8]> = bytes.into();
    let at = NonNull::new(Box::into_raw(memory).cast::<u8>()).unwrap();
    FOREIGN.lock().unwrap().get_or_insert_default().insert(at.addr().get());
    // SAFETY: the box is given away, and `free` takes it.
    unsafe { arena.foreign(at, bytes.len(), free) }.unwrap()
}

unsafe fn free(at: NonNull<u8>, len: usize) {
    let known = FOREIGN.lock().unwrap().as_mut().unwrap().remove(&at.addr().get());
    assert!(known, "foreign memory was freed twice");
    // SAFETY: `foreign` made it from a box of that length.
    drop(unsafe { Box::from_raw(NonNull::slice_from_raw_parts(at, len).as_ptr()) });
}

/// Sizes at the seams: classes, pages, and what is larger than both.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 0..300_usize,
        2 => 0..5000_usize,
        1 => prop::sample::select(vec![15, 16, 95, 96, 32_735, 32_736, 4063, 4064, 65_503, 65_504]),
        1 => 30_000..200_000_usize,
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Copy(usize),
    Foreign(usize),
    Envelope,
    Write(usize, Vec<usize>),
    Fill(usize, u8),
    Truncate(usize, usize),
    Share(usize),
    Clone(usize),
    Unique(usize),
    Forward(usize),
    Empty(usize),
    Address(usize, u32, i32, u8),
    Elsewhere(usize),
    Drop(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let which = any::<usize>;
    prop_oneof![
        4 => size().prop_map(Step::Copy),
        1 => (1..500_usize).prop_map(Step::Foreign),
        1 => Just(Step::Envelope),
        2 => (size(), prop::collection::vec(size(), 0..6)).prop_map(|(hint, parts)| Step::Write(hint, parts)),
        2 => (which(), any::<u8>()).prop_map(|(at, byte)| Step::Fill(at, byte)),
        2 => (which(), size()).prop_map(|(at, len)| Step::Truncate(at, len)),
        2 => which().prop_map(Step::Share),
        2 => which().prop_map(Step::Clone),
        2 => which().prop_map(Step::Unique),
        1 => which().prop_map(Step::Forward),
        1 => which().prop_map(Step::Empty),
        2 => (which(), any::<u32>(), any::<i32>(), any::<u8>()).prop_map(|(at, a, b, c)| Step::Address(at, a, b, c)),
        1 => which().prop_map(Step::Elsewhere),
        4 => which().prop_map(Step::Drop),
    ]
}

enum Owner {
    Block(Block),
    Payload(Payload),
}

/// An owner, and what it ought to be.
struct Held {
    owner: Owner,
    /// Which body, so that owners of the same can be counted.
    body: usize,
    bytes: Vec<u8>,
    kind: Kind,
    envelope: Envelope,
}

#[derive(Default)]
struct World {
    held: Vec<Held>,
    bodies: usize,
}

impl World {
    fn add(&mut self, block: Block, bytes: Vec<u8>, kind: Kind) {
        self.bodies += 1;
        let envelope = Envelope::default();
        self.held.push(Held { owner: Owner::Block(block), body: self.bodies, bytes, kind, envelope });
    }

    fn step(&mut self, arena: Arena, step: Step) {
        let bytes = |len: usize| -> Vec<u8> { (0..len).map(|it| (it * 7 + it / 256 + len) as u8).collect() };
        let count = self.held.len();
        let (Step::Fill(at, ..)
        | Step::Truncate(at, _)
        | Step::Share(at)
        | Step::Clone(at)
        | Step::Unique(at)
        | Step::Forward(at)
        | Step::Empty(at)
        | Step::Address(at, ..)
        | Step::Elsewhere(at)
        | Step::Drop(at)) = step
        else {
            let bodies = match step {
                Step::Copy(len) => (arena.copy_from(&bytes(len)).unwrap(), bytes(len), Kind::Bytes),
                Step::Foreign(len) => (foreign(arena, &bytes(len)), bytes(len), Kind::Foreign),
                Step::Envelope => (arena.envelope().unwrap(), Vec::new(), Kind::Empty),
                Step::Write(hint, parts) => {
                    let mut writer = arena.writer(hint).unwrap();
                    let mut all = Vec::new();
                    for len in parts {
                        writer.put_slice(&bytes(len)).unwrap();
                        writer.put_u16_le(len as u16).unwrap();
                        all.extend(bytes(len));
                        all.extend((len as u16).to_le_bytes());
                        assert_eq!(writer.written(), all);
                    }
                    (writer.finish(), all, Kind::Bytes)
                }
                _ => unreachable!("the other steps have an owner"),
            };
            return self.add(bodies.0, bodies.1, bodies.2);
        };
        if count == 0 {
            return;
        }
        let mut held = self.held.swap_remove(at % count);
        held.owner = match (step, held.owner) {
            (Step::Drop(_), _) => return,
            (Step::Fill(_, byte), Owner::Block(mut block)) => {
                match block.bytes_mut() {
                    Some(all) => {
                        all.fill(byte);
                        held.bytes.fill(byte);
                    }
                    None => assert_eq!(held.kind, Kind::Forward),
                }
                Owner::Block(block)
            }
            (Step::Truncate(_, len), Owner::Block(mut block)) => {
                block.truncate(len);
                held.bytes.truncate(len);
                Owner::Block(block)
            }
            (Step::Share(_), Owner::Block(block)) => {
                held.envelope = Envelope::default();
                if held.kind == Kind::Forward {
                    // The payload that it forwarded, in full length and with its own kind.
                    let payload = block.share();
                    (held.kind, held.bytes) = (payload.kind(), payload.to_vec());
                    Owner::Payload(payload)
                } else {
                    Owner::Payload(block.share())
                }
            }
            (Step::Empty(_), Owner::Block(block)) => {
                self.bodies += 1;
                (held.body, held.kind) = (self.bodies, Kind::Empty);
                held.bytes.clear();
                Owner::Block(block.become_empty())
            }
            (Step::Address(_, source, session, ty), Owner::Block(mut block)) => {
                held.envelope = Envelope { source, session, ty };
                block.set_envelope(held.envelope);
                Owner::Block(block)
            }
            (Step::Clone(_), Owner::Payload(payload)) => {
                let (owner, bytes) = (Owner::Payload(payload.clone()), held.bytes.clone());
                self.held.push(Held { owner, bytes, ..held });
                Owner::Payload(payload)
            }
            (Step::Forward(_), Owner::Payload(payload)) => {
                let block = arena.forward(payload.clone()).unwrap();
                let (owner, bytes) = (Owner::Block(block), held.bytes.clone());
                let envelope = Envelope::default();
                self.held.push(Held { owner, bytes, kind: Kind::Forward, envelope, ..held });
                Owner::Payload(payload)
            }
            (Step::Unique(_), Owner::Payload(payload)) => {
                let others = self.held.iter().any(|it| it.body == held.body);
                match payload.try_unique() {
                    Ok(block) => {
                        assert!(!others, "a block became unique that others hold");
                        held.envelope = block.envelope();
                        Owner::Block(block)
                    }
                    Err(payload) => {
                        assert!(others, "a sole owner was refused its block");
                        Owner::Payload(payload)
                    }
                }
            }
            (Step::Elsewhere(_), owner) => thread::spawn(move || owner).join().unwrap(),
            (_, owner) => owner,
        };
        self.held.push(held);
    }

    fn check(&self, arena: Arena) {
        let mut owners: HashMap<usize, u32> = HashMap::new();
        let mut forwards = 0;
        for held in &self.held {
            *owners.entry(held.body).or_default() += 1;
            forwards += u64::from(held.kind == Kind::Forward);
        }
        for held in &self.held {
            let (bytes, at, len, kind) = match &held.owner {
                Owner::Block(it) => {
                    assert_eq!(it.envelope(), held.envelope);
                    (&it[..], it.as_ptr(), it.len(), it.kind())
                }
                Owner::Payload(it) => (&it[..], it.as_ptr(), it.len(), it.kind()),
            };
            assert!(bytes == held.bytes && len == held.bytes.len());
            assert_eq!(kind, held.kind);
            let found = Arena::find(at);
            match kind {
                Kind::Bytes => {
                    assert_eq!(at.addr() % 16, 0);
                    // SAFETY: a NUL is always there.
                    assert_eq!(unsafe { at.add(len).read() }, 0);
                    let found = found.expect("a live block is found");
                    assert_eq!((found.size, found.owners), (len, owners[&held.body]));
                }
                Kind::Foreign => assert!(found.is_none()),
                Kind::Forward => assert!(found.is_none_or(|it| it.owners == owners[&held.body])),
                Kind::Remote => unreachable!("nothing comes from another process"),
                Kind::Empty => assert!(at.is_null() && found.is_none()),
            }
        }
        // A forward is a block of its own, beside the one it forwards.
        assert_eq!(arena.stats().live_blocks, owners.len() as u64 + forwards);
    }
}

#[test]
fn owners_hold_what_was_written_and_nothing_else_lives() {
    let arena = Arena::private(&Options::default()).unwrap();
    proptest!(|(steps in prop::collection::vec(step(), 1..60))| {
        let mut world = World::default();
        for step in steps {
            world.step(arena, step);
            world.check(arena);
        }
        drop(world);
        let stats = arena.stats();
        prop_assert_eq!((stats.live_blocks, stats.live_bytes), (0, 0));
        prop_assert!(FOREIGN.lock().unwrap().get_or_insert_default().is_empty(), "foreign memory was not freed");
    });
    arena.trim();
    assert_eq!(arena.stats().used_bytes, 0);
}

/// Small, fast, and the same on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn threads_hand_blocks_round_and_lose_none() {
    const THREADS: u64 = 4;
    let rounds = if cfg!(debug_assertions) { 20_000 } else { 100_000 };
    let arena = Arena::private(&Options { limit: Some(256 << 20) }).unwrap();
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| mpsc::channel::<Payload>()).unzip();
    let threads: Vec<_> = receivers
        .into_iter()
        .zip(1..)
        .map(|(receiver, seed)| {
            let senders = senders.clone();
            thread::spawn(move || {
                let mut random = Random(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
                for _ in 0..rounds {
                    let size = match random.below(100) {
                        0 => 40_000 + random.below(100_000),
                        1..10 => random.below(20_000),
                        _ => random.below(400),
                    } as usize;
                    let mut block = arena.alloc(size + 16).unwrap();
                    let mark = random.below(u64::MAX);
                    let bytes = block.bytes_mut().unwrap();
                    bytes[..8].copy_from_slice(&mark.to_le_bytes());
                    bytes[size + 8..].copy_from_slice(&mark.to_le_bytes());
                    let payload = block.share();
                    for _ in 0..random.below(3) {
                        let _ = senders[random.below(THREADS) as usize].send(payload.clone());
                    }
                    for got in receiver.try_iter().take(4) {
                        assert_eq!(got[..8], got[got.len() - 8..], "bytes changed under a shared payload");
                        if let Ok(mut block) = got.try_unique() {
                            block.bytes_mut().unwrap().fill(0xff);
                        }
                    }
                }
                drop(senders);
                for got in receiver {
                    assert_eq!(got[..8], got[got.len() - 8..]);
                }
            })
        })
        .collect();
    drop(senders);
    threads.into_iter().for_each(|it| it.join().unwrap());
    // The threads have ended: what they had at hand is back as well.
    assert_eq!((arena.stats().live_blocks, arena.stats().live_bytes), (0, 0));
    arena.trim();
    assert_eq!(arena.stats().used_bytes, 0);
}
