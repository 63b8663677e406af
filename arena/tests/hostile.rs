//! A process that writes garbage into everything it may write, while others use it: they read nothing outside of what is mapped, wait
//! for nobody, are told what was wrong, and go on with each other.
//!
//! `SKEIN_LIARS` is how many liars of the random kind there are; 24 if it is not set. `SKEIN_LIAR_SEED` begins with a certain one.

#[macro_use]
mod common;

use std::{
    env,
    fs::{File, OpenOptions},
    mem::{offset_of, size_of},
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use common::{Child, LONG, Random, directory};
use skein_arena::{
    Block, Domain, DomainOptions, Envelope, Slot, check,
    epoch::Retired,
    transfer::{Arrival, Closed, Control, Exchange, Inbox, Ledger, Receiving, Ring, Sending},
};

/// Which garbage a liar writes.
const SEED: &str = "SKEIN_LIAR_SEED";
/// Which lie it tells, if a certain one.
const LIE: &str = "SKEIN_LIE";
/// Begins what an honest process says as soon as it hears a lie.
const LIED: &str = "lie: ";
/// Slots of the honest, and how many blocks they pass to and fro.
const HONEST: [u8; 2] = [1, 2];
const BALLS: u32 = 8;

roles! { "honest" => honest, "liar" => liar }

fn open(path: &Path) -> (Exchange, Inbox) {
    let domain = Domain::open(&DomainOptions::in_directory(path).patience(LONG)).unwrap();
    let exchange = Exchange::open(domain).unwrap();
    let inbox = exchange.inbox().unwrap();
    (exchange, inbox)
}

/// Bytes that tell where they come from.
fn filled(exchange: &Exchange, seed: u32, len: usize) -> Block {
    let mut block = exchange.domain().arena().alloc(len).unwrap();
    block.bytes_mut().unwrap().iter_mut().enumerate().for_each(|(at, it)| *it = pattern(seed, at));
    block.set_envelope(Envelope { source: seed, session: len as i32, ty: 10 });
    block
}

fn pattern(seed: u32, at: usize) -> u8 {
    (seed as usize * 31 + at * 7) as u8
}

fn is_whole(block: &Block) -> bool {
    let Envelope { source, session, .. } = block.envelope();
    block.len() == session as usize && block.iter().enumerate().all(|(at, &it)| it == pattern(source, at))
}

/// Passes balls to the other honest one, takes what liars send, and looks at them in every way there is.
struct Honest {
    exchange: Exchange,
    inbox: Inbox,
    mate: Slot,
    /// What liars sent: their memory, whatever is in it by now.
    kept: Vec<Block>,
    balls: u64,
    retired: Retired<Block>,
    random: Random,
}

fn honest(path: &Path) {
    let (exchange, inbox) = open(path);
    let me = exchange.domain().slot().number();
    common::say(&me.to_string());
    common::wait();
    let mate = Slot::new(HONEST[usize::from(me == HONEST[0])]).unwrap();
    // Longer than a liar lives: it is its death that ends the wait.
    let retired = Retired::new(LONG.as_nanos() as u64 * 100);
    let (kept, random) = (Vec::new(), Random(me.into()));
    let mut honest = Honest { exchange, inbox, mate, kept, balls: 0, retired, random };
    if me == HONEST[0] {
        let mut link = honest.exchange.link(mate).unwrap();
        (0..BALLS)
            .for_each(|it| link.send(filled(&honest.exchange, it, 100 + it as usize * 5000), 1).unwrap());
    }
    loop {
        honest.step(Duration::from_millis(10));
        if common::told() {
            common::wait();
            honest.settle();
            common::say(&honest.balls.to_string());
        }
    }
}

impl Honest {
    fn step(&mut self, timeout: Duration) {
        let began = Instant::now();
        match self.inbox.wait(timeout).unwrap() {
            Some(Arrival::Message { from, block, .. }) if from == self.mate => {
                assert!(is_whole(&block), "a ball was damaged");
                self.balls += 1;
                self.exchange.link(from).unwrap().send(block, 1).unwrap();
            }
            Some(Arrival::Message { from, block, .. }) => self.take_from_liar(from, block),
            Some(Arrival::Gone { from, why }) => {
                assert_ne!(from, self.mate, "{why}");
                if why != Closed::Died {
                    common::say(&format!("{LIED}{why}"));
                }
            }
            _ => {}
        }
        if self.random.below(40) == 0 {
            self.look_around();
        }
        assert!(began.elapsed() < LONG, "somebody was waited for");
    }

    fn take_from_liar(&mut self, from: Slot, block: Block) {
        // Any bytes, but as many as were told, and none of them outside of what is mapped.
        let sum: u64 = block.iter().map(|&it| u64::from(it)).sum();
        assert!(sum <= 255 * block.len() as u64);
        match self.random.below(4) {
            0 => drop(block),
            1 => drop(self.exchange.link(from).map(|mut it| it.send(block, 1))),
            2 if self.kept.len() < 50 => self.kept.push(block),
            _ => drop(self.exchange.link(self.mate).map(|_| block)),
        }
        let len = self.random.below(3000);
        if let Ok(mut link) = self.exchange.link(from) {
            for seed in 0..3 {
                let _ = link.send(filled(&self.exchange, seed, len), 1);
            }
        }
    }

    /// What a tool, an owner that reclaims, and a process that looks for peers do.
    fn look_around(&mut self) {
        let domain = self.exchange.domain();
        let living = domain.peers().unwrap();
        assert!(living.iter().any(|it| it.slot == self.mate), "an honest process is not seen");
        for other in living.iter().filter(|it| it.slot != domain.slot()) {
            let Ok(peer) = domain.peer(other.slot) else { continue };
            let _ = peer.stats();
            let base = skein_arena::range::heap_base(usize::from(other.slot.number())) as u64;
            for _ in 0..20 {
                let _ = peer.find(base + 32 + 16 * self.random.below(1 << 18) as u64);
            }
        }
        self.retired.retire(domain.arena().alloc(10).unwrap());
        let _ = self.exchange.collect(&mut self.retired);
    }

    /// The liars are dead: nothing of theirs is left, and nothing of ours is with them.
    fn settle(&mut self) {
        let end = Instant::now() + LONG;
        loop {
            self.step(Duration::from_millis(10));
            self.kept.clear();
            let swept = self.exchange.domain().sweep().unwrap();
            let _ = self.exchange.collect(&mut self.retired);
            let lent = self.exchange.stats().lent;
            let gone = swept.held.is_empty() && self.exchange.domain().peers().unwrap().len() == HONEST.len();
            if gone && self.retired.is_empty() && lent <= BALLS as usize {
                return;
            }
            assert!(Instant::now() < end, "{swept:?}, {} wait, {lent} lent", self.retired.len());
        }
    }
}

/// A process's own files, open to be written over.
struct Files {
    control: File,
    tables: File,
    heap: File,
    doorbells: File,
}

impl Files {
    fn of(domain: Domain) -> Files {
        let open = |name: &str| {
            let path = domain.path().join(name);
            OpenOptions::new().read(true).write(true).open(path).unwrap()
        };
        let mine = |part: &str| open(&format!("{part}.{:03}", domain.slot().number()));
        Files {
            control: mine("control"),
            tables: mine("tables"),
            heap: mine("heap"),
            doorbells: open("doorbells"),
        }
    }

    fn control(&self, at: usize, value: u64) {
        self.control.write_all_at(&value.to_le_bytes(), at as u64).unwrap();
    }

    /// Writes an entry of the ring to a slot, as a sender would; its words are whatever they are.
    fn entry(&self, to: u8, kind: u64, ticket: u64, rest: [u64; 3]) {
        let tail_at = sending(to) + offset_of!(Sending, tail);
        let mut tail = [0; 8];
        self.control.read_exact_at(&mut tail, tail_at as u64).unwrap();
        let tail = u64::from_le_bytes(tail);
        let cell = ring(to) + tail as usize % 512 * 32;
        for (at, word) in rest.into_iter().enumerate() {
            self.control(cell + 8 * (at + 1), word);
        }
        let stamp = (tail.wrapping_add(1) & 0xffff_ffff) << 32;
        self.control(cell, stamp | (ticket & 0xffff) << 16 | (kind & 0xff) << 8 | 10);
        self.control(tail_at, tail.wrapping_add(1));
    }
}

fn sending(slot: u8) -> usize {
    offset_of!(Control, sending) + usize::from(slot) * size_of::<Sending>()
}

fn receiving(slot: u8) -> usize {
    offset_of!(Control, receiving) + usize::from(slot) * size_of::<Receiving>()
}

fn ring(slot: u8) -> usize {
    offset_of!(Control, rings) + usize::from(slot) * size_of::<Ring>()
}

/// Says hello to the honest, has blocks with them, and then tells lies until it is killed.
fn liar(path: &Path) {
    let (exchange, mut inbox) = open(path);
    let domain = exchange.domain();
    let mut kept = Vec::new();
    for to in HONEST {
        let mut link = exchange.link(Slot::new(to).unwrap()).unwrap();
        for seed in 0..4 {
            link.send(filled(&exchange, seed, 500), 1).unwrap();
        }
    }
    let end = Instant::now() + LONG;
    while kept.len() < 12 && Instant::now() < end {
        if let Some(Arrival::Message { block, .. }) = inbox.wait(Duration::from_millis(100)).unwrap() {
            kept.push(block);
        }
    }
    // Blocks of ours that the lies may be about.
    let mine: Vec<Block> = (0..4).map(|it| filled(&exchange, it, 200 + it as usize * 40_000)).collect();
    let base = skein_arena::range::heap_base(usize::from(domain.slot().number()));
    let units: Vec<u64> = mine.iter().map(|it| ((it.as_ptr().addr() - base) / 16) as u64).collect();
    let files = Files::of(domain);
    let shared: Vec<_> = mine.into_iter().map(|it| (it.len() as u64, it.share())).collect();
    let blocks: Vec<[u64; 2]> = shared
        .iter()
        .zip(units)
        .map(|((len, it), unit)| [unit << 32 | len, u64::from(it.generation()) << 32 | 7])
        .collect();
    common::say("lies");
    match env::var(LIE) {
        Ok(lie) => tell(&files, &lie, &blocks),
        Err(_) => scribble(&files, &blocks, env::var(SEED).unwrap().parse().unwrap()),
    }
    common::say("told");
    loop {
        std::thread::park();
    }
}

/// One certain lie to the first of the honest.
fn tell(files: &Files, lie: &str, blocks: &[[u64; 2]]) {
    let to = HONEST[0];
    let [place, life] = blocks[0];
    match lie {
        "a kind that there is none of" => files.entry(to, 77, 0, [0; 3]),
        "a ticket beyond the last" => files.entry(to, 1, 8192, [place, life, 0]),
        "an address beyond the heap" => files.entry(to, 1, 4000, [u64::MAX << 32 | 10, life, 0]),
        "an address inside of a block" => files.entry(to, 1, 4000, [place + (2 << 32), life, 0]),
        "another length" => files.entry(to, 1, 4000, [place + 1, life, 0]),
        "another life" => files.entry(to, 1, 4000, [place, life ^ 1 << 40, 0]),
        "a hold that it has not" => files.entry(to, 3, 4000, [0; 3]),
        "a return of what it has not" => files.entry(to, 4, 8191, [0; 3]),
        "a give-back of what it has not" => files.entry(to, 5, 65_535, [0; 3]),
        other => panic!("no such lie: {other}"),
    }
}

/// Garbage everywhere, with entries among it that look real.
fn scribble(files: &Files, blocks: &[[u64; 2]], seed: u64) {
    let mut random = Random(seed);
    let value = |random: &mut Random| match random.below(7) {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => 1 << random.below(64),
        4 => random.next() & 0xffff,
        5 => random.next() & 0xffff_ffff_0000_ffff,
        _ => random.next(),
    };
    // Some leave the rings and what is said of them alone, so that what is behind them is reached.
    let places: &[usize] =
        if random.below(2) == 0 { &[0, 1, 2, 3, 9, 9] } else { &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9] };
    for _ in 0..3000 {
        let to = HONEST[random.below(2)];
        let word = value(&mut random);
        let write = |file: &File, first: usize, end: usize, random: &mut Random| {
            let at = first + random.below(end - first) / 8 * 8;
            file.write_all_at(&word.to_le_bytes(), at as u64).unwrap();
        };
        match places[random.below(places.len())] {
            // Records, attachments, expulsions.
            0 => write(&files.control, 8, offset_of!(Control, sending), &mut random),
            // Superblock and counters, page table, spans, magazines: of all the file, and of its first pages.
            1 => write(&files.tables, 0, 8192, &mut random),
            2 => {
                let len = files.tables.metadata().unwrap().len() as usize;
                let end = if random.below(2) == 0 { len } else { 1 << 20 };
                write(&files.tables, 0, end.min(len), &mut random);
            }
            3 => write(&files.heap, 0, 1 << 20, &mut random),
            4 => write(&files.control, sending(to), sending(to) + size_of::<Sending>(), &mut random),
            5 => write(&files.control, receiving(to), receiving(to) + size_of::<Receiving>(), &mut random),
            6 => write(&files.control, ring(to), ring(to) + size_of::<Ring>(), &mut random),
            7 => {
                let ledgers = offset_of!(Control, ledgers);
                let first = ledgers + usize::from(to) * size_of::<Ledger>();
                write(&files.control, first, first + 1024, &mut random);
            }
            8 => write(&files.doorbells, 0, 256 * 64, &mut random),
            _ => {
                let [place, life] = blocks[random.below(blocks.len())];
                let rest = if random.below(40) == 0 { [word; 3] } else { [place, life, word] };
                // Mostly blocks; now and then one of those that it may have.
                match random.below(20) {
                    0 => files.entry(to, 3 + random.next() % 3, random.next() % 6, rest),
                    1..4 => files.entry(to, 2, 0, rest),
                    _ => files.entry(to, 1, 100 + random.next() % 8000, rest),
                }
            }
        }
        if random.below(30) == 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

/// The two honest ones, in play.
fn honest_pair(path: &Path) -> [Child; 2] {
    let mut pair = HONEST.map(|number| {
        let mut child = Child::start("honest", path);
        assert_eq!(child.line(), number.to_string());
        child
    });
    pair.iter_mut().rev().for_each(Child::go);
    pair
}

/// The liar is dead. The lies that the honest have heard and not told of yet; both have played on.
fn settled(pair: &mut [Child; 2], balls: &mut [u64; 2], what: &str) -> Vec<String> {
    pair.iter_mut().for_each(Child::go);
    let mut lies = Vec::new();
    for (child, balls) in pair.iter_mut().zip(balls) {
        let count: u64 = loop {
            let line = child.try_line().unwrap_or_else(|| panic!("{what}: an honest process ended"));
            match line.strip_prefix(LIED) {
                Some(lie) => lies.push(lie.to_owned()),
                None => break line.parse().unwrap(),
            }
        };
        assert!(count > *balls, "{what}: nothing was played");
        *balls = count;
    }
    lies
}

#[test]
fn a_certain_lie_is_told_as_what_it_is() {
    let path = directory().join("domain");
    let mut pair = honest_pair(&path);
    let mut balls = [0; 2];
    for (lie, told) in [
        ("a kind that there is none of", "an entry is of kind 77"),
        ("a ticket beyond the last", "ticket 8192 names a ticket that is taken, or that there is none of"),
        ("an address beyond the heap", "ticket 4000 names slot 3 has no block at"),
        ("an address inside of a block", "ticket 4000 names slot 3 has no block at"),
        ("another length", "ticket 4000 names a block of 200 bytes in life"),
        ("another life", "ticket 4000 names a block of 200 bytes in life"),
        ("a hold that it has not", "ticket 4000 came back and was not lent"),
        ("a return of what it has not", "ticket 8191 came back and was not lent"),
        ("a give-back of what it has not", "ticket 65535 came back and was not lent"),
    ] {
        let mut liar = Child::start_with("liar", &path, &[(LIE, lie)]);
        assert_eq!((liar.line(), liar.line()), ("lies".to_owned(), "told".to_owned()));
        let heard = pair[0].line();
        assert!(heard.strip_prefix(LIED).is_some_and(|it| it.starts_with(told)), "{lie}: {heard}");
        liar.kill();
        assert_eq!(settled(&mut pair, &mut balls, lie), [""; 0], "{lie}");
    }
}

#[test]
fn nobody_is_hurt_by_garbage() {
    let liars: u64 = env::var("SKEIN_LIARS").map_or(24, |it| it.parse().unwrap());
    let first: u64 = env::var(SEED).map_or(1, |it| it.parse().unwrap());
    let path = directory().join("domain");
    let mut pair = honest_pair(&path);
    let mut balls = [0; 2];
    let mut found = 0;
    for seed in first..first + liars {
        let mut liar = Child::start_with("liar", &path, &[(SEED, &seed.to_string())]);
        // It may fall over what it wrote itself.
        if liar.try_line().is_some() {
            let _ = liar.try_line();
        }
        // The checker believes nothing either, while it lives and when it is dead.
        let _ = check::check(&path);
        liar.kill();
        let report = check::check(&path).unwrap();
        found += usize::from(!report.problems.is_empty());
        let lies = settled(&mut pair, &mut balls, &format!("seed {seed}"));
        eprintln!("seed {seed}: {lies:?}");
    }
    assert!(found > 0, "the checker saw none of it");
    let report = check::check(&path).unwrap();
    assert!(
        report.problems.iter().all(|it| it.file.to_string_lossy().contains("dead")),
        "{:#?}",
        report.problems
    );
}
