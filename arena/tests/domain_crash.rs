//! Processes that are killed: at each labelled step, and at any instruction. What they leave agrees with itself, the others go
//! on, and the next ones find a domain.
//!
//! `SKEIN_CRASHES` is how many of the random kind there are; 150 if it is not set. `SKEIN_CRASH_SEED` begins with a certain one.

#[macro_use]
mod common;

use std::{
    collections::BTreeSet, env, fs, os::unix::process::ExitStatusExt, path::Path, thread, time::Duration,
};

use common::{Child, LONG, Random, directory};
use skein_arena::{Arena, Block, BlockWriter, Domain, DomainOptions, check, domain};

/// Which numbers a worker draws.
const SEED: &str = "SKEIN_CRASH_SEED";

roles! {
    "worker" => |path| worker(path, seed(), 40),
    "visitor" => |path| worker(path, seed(), 1),
    "survivor" => |path| worker(path, seed(), usize::MAX),
}

fn seed() -> u64 {
    env::var(SEED).map_or(1, |it| it.parse().unwrap())
}

/// A block with a pattern of its own.
fn filled(arena: Arena, random: &mut Random) -> Block {
    let size = match random.below(20) {
        0 => 40_000 + random.below(300_000),
        1..4 => 1000 + random.below(30_000),
        _ => random.below(600),
    };
    let mut block = if random.below(10) == 0 {
        let mut writer: BlockWriter = arena.writer(random.below(100)).unwrap();
        // In parts, so that it grows.
        vec![0; size].chunks(5000).for_each(|it| writer.put_slice(it).unwrap());
        writer.finish()
    } else {
        arena.alloc(size).unwrap()
    };
    let mark = (block.len() % 251) as u8;
    block.bytes_mut().unwrap().fill(mark);
    block
}

fn assert_filled(block: &[u8]) {
    let mark = (block.len() % 251) as u8;
    assert!(block.iter().all(|&it| it == mark), "a block of {} bytes was written over", block.len());
}

/// Allocates and frees on two threads, reads the heaps of others, sweeps; leaves at the end.
fn worker(path: &Path, seed: u64, rounds: usize) {
    let options = DomainOptions::in_directory(path).patience(LONG);
    let domain = Domain::open(&options).unwrap();
    common::say(&domain.slot().to_string());
    let mut random = Random(seed);
    let mut round = 0;
    while round < rounds && !(rounds == usize::MAX && common::told()) {
        let seeds = [random.next(), random.next()];
        let kept = thread::scope(|scope| {
            let one = |seed: u64| {
                let mut random = Random(seed);
                let mut blocks: Vec<Block> = Vec::new();
                for _ in 0..150 {
                    if random.below(5) < 2 && !blocks.is_empty() {
                        let at = random.below(blocks.len());
                        assert_filled(&blocks.swap_remove(at));
                    } else {
                        blocks.push(filled(domain.arena(), &mut random));
                    }
                }
                let large = domain.arena().alloc(1 << 20).unwrap();
                drop(large);
                blocks
            };
            let threads = seeds.map(|it| scope.spawn(move || one(it)));
            threads.map(|it| it.join().unwrap())
        });
        look_around(domain, &mut random);
        if round == 0 {
            common::say("looked");
        }
        for block in kept.iter().flatten() {
            assert_filled(block);
        }
        drop(kept);
        if random.below(4) == 0 {
            domain.arena().trim();
        }
        if random.below(4) == 0 {
            domain.sweep().unwrap();
        }
        round += 1;
    }
    domain.leave().unwrap();
}

/// Reads what others have, wherever that may be by now.
fn look_around(domain: Domain, random: &mut Random) {
    for other in domain.peers().unwrap() {
        if other.slot == domain.slot() {
            continue;
        }
        // It may be gone meanwhile.
        let Ok(peer) = domain.peer(other.slot) else { continue };
        let base = skein_arena::range::heap_base(usize::from(other.slot.number())) as u64;
        for _ in 0..200 {
            let _ = peer.find(base + 32 + 16 * random.below(200_000) as u64);
        }
        let stats = peer.stats();
        assert!(stats.used_bytes <= stats.limit);
    }
}

/// Nobody finds a problem, and what is dead goes away.
fn assert_sound(path: &Path, what: &str) {
    let report = check::check(path).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(report.problems.is_empty(), "{what}: {:#?}", report.problems);
    for tries in 0.. {
        let swept = domain::sweep(path, LONG).unwrap_or_else(|error| panic!("{what}: {error}"));
        if swept.held.is_empty() {
            break;
        }
        // The survivor has mapped it, and lets go when it looks round next.
        assert!(tries < 2000, "{what}: nobody lets go: {swept:?}");
        thread::sleep(Duration::from_millis(5));
    }
    let report = check::check(path).unwrap_or_else(|error| panic!("{what}, swept: {error}"));
    assert!(report.problems.is_empty(), "{what}, swept: {:#?}", report.problems);
    let dead: Vec<_> = report.slots.iter().filter(|it| it.state != check::SlotState::Alive).collect();
    assert!(dead.is_empty(), "{what}: {dead:?}");
}

/// The names of the steps in the sources; workers pass each of them.
fn steps(path: &Path) -> Vec<String> {
    let all = common::labels(&["alloc", "map", "domain"]);
    let log = path.with_extension("steps");
    let at = log.to_str().unwrap();
    let mut missing = Vec::new();
    for seed in 3..30 {
        let variables: &[(&str, &str)] = &[(SEED, &seed.to_string()), ("SKEIN_STEPS", at)];
        let mut survivor = Child::start("survivor", path);
        survivor.line();
        // One is killed, so that somebody who had mapped it lets go and sweeps.
        let mut killed = Child::start_with("survivor", path, variables);
        killed.line();
        let mut worker = Child::start_with("worker", path, variables);
        worker.line();
        // It has mapped the one that dies.
        assert_eq!(worker.line(), "looked");
        killed.kill();
        worker.end();
        survivor.go();
        survivor.end();
        // The last one to go takes the domain along.
        Child::start_with("visitor", path, variables).end();
        let passed = fs::read_to_string(&log).unwrap();
        let passed: BTreeSet<&str> = passed.lines().collect();
        missing = all.iter().filter(|it| !passed.contains(it.as_str())).cloned().collect();
        if missing.is_empty() {
            return all;
        }
    }
    panic!("nobody came by {missing:?}");
}

#[test]
fn a_process_may_die_at_each_step() {
    let path = directory().join("domain");
    let steps = steps(&path);
    let mut random = Random(7);
    let mut deaths = 0;
    let mut die = |name: &str, count: usize, what: &str| {
        let deadly = format!("{name}:{count}");
        let seed = random.next().to_string();
        let victim = Child::start_with("worker", &path, &[("SKEIN_DIE_AT", &deadly), (SEED, &seed)]);
        let status = victim.ended();
        deaths += usize::from(status.signal() == Some(9));
        assert!(status.success() || status.signal() == Some(9), "{deadly}, {what}: {status}");
        if path.join("domain").exists() {
            assert_sound(&path, &format!("{deadly}, {what}"));
        }
    };
    // With a domain that is there, and another process that lives through all of it.
    let mut survivor = Child::start_with("survivor", &path, &[(SEED, "11")]);
    let what = format!("survivor in {}", survivor.line());
    let mut counts = Random(8);
    for name in &steps {
        die(name, 1, &what);
        // Some are passed hundreds of times, others a few: each order of magnitude gets its share.
        let most = 1 << (1 + counts.below(6));
        die(name, 2 + counts.below(most), &what);
    }
    survivor.go();
    survivor.end();
    // With one that the victim makes. Whatever is there then, a process can open it.
    for name in &steps {
        for count in [1, 2] {
            die(name, count, "alone");
            Child::start("visitor", &path).end();
        }
    }
    println!("{deaths} deaths at {} steps", steps.len());
    assert!(deaths >= 2 * steps.len() + steps.len() / 2, "{deaths} deaths at {} steps", steps.len());
}

#[test]
fn a_process_may_die_anywhere() {
    let crashes: usize = env::var("SKEIN_CRASHES").map_or(150, |it| it.parse().unwrap());
    let first: u64 = env::var(SEED).map_or(1, |it| it.parse().unwrap());
    let path = directory().join("domain");
    let mut survivor = Child::start_with("survivor", &path, &[(SEED, "5")]);
    survivor.line();
    for seed in first..first + crashes as u64 {
        let mut random = Random(seed);
        let mut victims: Vec<Child> = (0..1 + random.below(3))
            .map(|_| Child::start_with("survivor", &path, &[(SEED, &random.next().to_string())]))
            .collect();
        // Some are killed before they have a slot.
        if random.below(8) != 0 {
            victims.iter_mut().for_each(|it| drop(it.line()));
        }
        thread::sleep(Duration::from_micros(random.below(8000) as u64));
        victims.iter_mut().for_each(Child::kill);
        assert_sound(&path, &format!("seed {seed}"));
    }
    survivor.go();
    survivor.end();
}
