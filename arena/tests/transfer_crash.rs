//! One of two processes that pass blocks is killed, at random and at each step: the other loses nothing.

#[macro_use]
mod common;

use std::{os::unix::process::ExitStatusExt, path::Path, time::Duration, time::Instant};

use common::{
    Child, LONG, directory,
    exchange::{filled, is_whole, message, open, send, slot},
};
use skein_arena::{
    Block, check, domain,
    transfer::{Arrival, Closed},
};

roles! {
    "survivor" => survivor,
    "victim" => victim,
    "sender" => sender,
    "linked" => linked,
    "watcher" => watcher,
}

/// Sends blocks of its own and what it got in every way there is, until it is killed or its peer is gone.
fn victim(path: &Path) {
    let (exchange, mut inbox) = open(path);
    let mut link = exchange.link(slot(1)).unwrap();
    common::say("linked");
    let mut kept: Vec<Block> = Vec::new();
    for round in 0..4000u32 {
        let block = filled(&exchange, round, (round as usize * 37) % 3000);
        if !send(&mut link, &mut inbox, block, &mut kept) {
            return;
        }
        match inbox.recv().unwrap() {
            Some(Arrival::Message { block, .. }) => kept.push(block),
            Some(_) => return,
            None => {}
        }
        assert!(kept.iter().all(is_whole));
        if round % 3 == 0
            && let Some(block) = kept.pop()
        {
            if !send(&mut link, &mut inbox, block, &mut kept) {
                return;
            }
        } else if round % 7 == 0
            && let Some(block) = kept.pop()
        {
            let envelope = block.envelope();
            let payload = block.share();
            let _ = link.send_payload(&payload, envelope, 1);
        } else if kept.len() > 20 {
            kept.truncate(5);
        }
    }
}

/// Lives through the deaths of many peers; afterwards nothing is lent, lost or changed.
fn survivor(path: &Path) {
    let (exchange, mut inbox) = open(path);
    assert_eq!(exchange.domain().slot().number(), 1);
    let arena = exchange.domain().arena();
    common::say("ready");
    loop {
        common::wait();
        let mut kept: Vec<Block> = Vec::new();
        let (mut round, end) = (0u32, Instant::now() + LONG);
        loop {
            assert!(Instant::now() < end, "the victim's end was not told");
            match inbox.wait(Duration::from_millis(50)).unwrap() {
                Some(Arrival::Message { from, block, .. }) => {
                    assert!(is_whole(&block), "{:?}", block.envelope());
                    kept.push(block);
                    round += 1;
                    if let Ok(mut link) = exchange.link(from) {
                        let _ = link.send(filled(&exchange, round, (round as usize * 53) % 5000), 1);
                        if round % 4 == 0
                            && let Some(block) = kept.pop()
                        {
                            let _ = link.send(block, 1);
                        }
                    }
                    if kept.len() > 50 {
                        kept.drain(..30);
                    }
                }
                Some(Arrival::Gone { why, .. }) => {
                    assert_eq!(why, Closed::Died);
                    break;
                }
                _ => {}
            }
        }
        // The dead one's bytes are still there, and then they go.
        assert!(kept.iter().all(is_whole));
        drop(kept);
        assert_eq!((exchange.stats().lent, arena.stats().live_blocks), (0, 0));
        let swept = exchange.domain().sweep().unwrap();
        assert_eq!((swept.held.len(), exchange.domain().peers().unwrap().len()), (0, 1), "{swept:?}");
        common::say("clean");
    }
}

/// Opens a link to slot 1, and ends.
fn linked(path: &Path) {
    let (exchange, _inbox) = open(path);
    exchange.link(slot(1)).unwrap();
}

/// Sends three blocks to slot 2 when it is told.
fn sender(path: &Path) {
    let (exchange, _inbox) = open(path);
    common::say(&exchange.domain().slot().to_string());
    common::wait();
    let mut link = exchange.link(slot(2)).unwrap();
    (0..3).for_each(|seed| link.send(filled(&exchange, seed, 100), 1).unwrap());
    common::wait();
}

/// Sees the death of another process, of which it holds a block that is beyond its first view of the heap.
fn watcher(path: &Path) {
    let (exchange, mut inbox) = open(path);
    let mut mortal = Child::start("sender", path);
    assert_eq!((exchange.domain().slot().number(), mortal.line()), (2, "3".to_owned()));
    mortal.go();
    for _ in 0..3 {
        drop(message(&mut inbox));
    }
    mortal.kill();
    while !matches!(inbox.wait(LONG).unwrap(), Some(Arrival::Gone { .. })) {}
    exchange.domain().sweep().unwrap();
}

/// One after the other is killed at a step, the n-th time it comes by. Whether it came so far.
fn kill_at(survivor: &mut Child, path: &Path, step: &str, count: u32) -> bool {
    let deadly = format!("{step}:{count}");
    let victim = Child::start_with("victim", path, &[("SKEIN_DIE_AT", &deadly)]);
    survivor.go();
    let status = victim.ended();
    let report = check::check(path).unwrap();
    assert!(report.problems.is_empty(), "after a death at {deadly}: {:#?}", report.problems);
    assert_eq!(survivor.line(), "clean", "after a death at {deadly}");
    status.signal() == Some(9)
}

/// Steps before the survivor has been called, so that there is no death to be told, and those of one who sees another's death.
const UNTOLD: [(&str, &str); 8] = [
    ("link/attached", "linked"),
    ("link/started", "linked"),
    ("link/open", "linked"),
    ("peer/attached", "linked"),
    ("peer/grown", "watcher"),
    ("sweep/closed", "watcher"),
    ("sweep/freed", "watcher"),
    ("peer/unmapped", "watcher"),
];

/// From when the survivor has been called.
const STEPS: [&str; 17] = [
    "inbox/headed",
    "inbox/open",
    "send/booked",
    "send/written",
    "send/published",
    "send/rung",
    "recv/checked",
    "recv/enveloped",
    "recv/entered",
    "recv/advanced",
    "give/cleared",
    "give/listed",
    "give/published",
    "take/seen",
    "take/unbooked",
    "return/cleared",
    "return/published",
];

#[test]
fn a_process_killed_at_any_step_leaves_the_other_whole() {
    let rounds: u32 = std::env::var("SKEIN_KILLS").ok().and_then(|it| it.parse().ok()).unwrap_or(2);
    let path = directory().join("domain");
    let mut survivor = Child::start("survivor", &path);
    assert_eq!(survivor.line(), "ready");
    for round in 0..rounds {
        for step in STEPS {
            let count = if step.starts_with("inbox") { 1 } else { 1 + round * 97 % 2000 };
            let died = kill_at(&mut survivor, &path, step, count);
            assert!(died || count > 1, "nobody came by {step}");
        }
        for (step, role) in UNTOLD {
            let victim = Child::start_with(role, &path, &[("SKEIN_DIE_AT", step)]);
            assert_eq!(victim.ended().signal(), Some(9), "nobody came by {step}");
            // A watcher's own child goes with its input.
            let end = Instant::now() + LONG;
            while !domain::sweep(&path, LONG).unwrap().held.is_empty() || slots(&path) > 1 {
                assert!(Instant::now() < end, "after a death at {step}");
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
    assert!(kill_at(&mut survivor, &path, "send/published", 5));
}

fn slots(path: &Path) -> usize {
    check::look(path).unwrap().slots.len()
}

/// A step that is in the code and in no list is one at which nobody was killed.
#[test]
fn each_step_of_the_transfer_is_in_the_lists() {
    let mut listed: Vec<String> =
        STEPS.iter().chain(UNTOLD.iter().map(|it| &it.0)).map(|it| it.to_string()).collect();
    listed.retain(|it| !it.starts_with("peer/"));
    listed.sort();
    assert_eq!(common::labels(&["transfer"]), listed);
}

#[test]
fn a_process_killed_at_random_leaves_the_other_whole() {
    let rounds: u32 = std::env::var("SKEIN_KILLS").ok().and_then(|it| it.parse().ok()).unwrap_or(10);
    let path = directory().join("domain");
    let mut survivor = Child::start("survivor", &path);
    assert_eq!(survivor.line(), "ready");
    for round in 0..rounds {
        let mut victim = Child::start("victim", &path);
        assert_eq!(victim.line(), "linked");
        survivor.go();
        std::thread::sleep(Duration::from_micros(u64::from(round.wrapping_mul(2_654_435_761) % 40_000)));
        victim.kill();
        assert_eq!(survivor.line(), "clean", "round {round}");
    }
}
