//! Messages between real processes: what arrives, what is held, and what is left when one of them is gone.

#[macro_use]
mod common;

use std::{path::Path, time::Duration, time::Instant};

use common::{
    Child, LONG, directory,
    exchange::{filled, is_whole, message, open, send, slot},
};
use skein_arena::{
    Block, Envelope, Kind, check,
    epoch::Retired,
    transfer::{Arrival, Closed, Exchange, RING, WhyUnsent},
};

roles! {
    "pinned" => pinned,
    "reclaimer" => reclaimer,
    "echo" => echo,
    "keeper" => keeper,
    "hub" => hub,
    "flood" => flood,
    "busy" => busy,
    "called" => called,
    "greeter" => greeter,
    "quitter" => quitter,
    "late" => late,
    "origin" => origin,
    "relay" => relay,
}

/// Pins, and stays there.
fn pinned(path: &Path) {
    let (exchange, _inbox) = open(path);
    let reader = exchange.readers().join().unwrap();
    let _pinned = reader.pin(7);
    common::say(&exchange.domain().slot().to_string());
    common::wait();
}

/// Waits for a reader in another process, names it, and does not wait for a dead one.
fn reclaimer(path: &Path) {
    let (exchange, _inbox) = open(path);
    let mut stalled = Child::start("pinned", path);
    assert_eq!(stalled.line(), "2");
    let mut retired = Retired::new(u64::MAX);
    retired.retire(filled(&exchange, 1, 10));
    for _ in 0..3 {
        let collected = exchange.collect(&mut retired);
        assert_eq!((collected.freed, collected.waiting), (0, 1));
        assert_eq!((collected.stalled[0].slot, collected.stalled[0].since), (2, 7));
    }
    let report = check::look(path).unwrap();
    let [owner, reader] = [0, 1].map(|at: usize| report.slots[at].reclamation);
    assert_eq!((owner.waiting, owner.stalled), (1, Some((slot(2), stalled.id(), 7))));
    assert_eq!((reader.pinned, reader.pinned_since), (1, Some(7)));
    stalled.kill();
    assert_eq!(exchange.collect(&mut retired).freed, 1);

    // One that lives is expelled when the patience is over.
    exchange.domain().sweep().unwrap();
    let mut stalled = Child::start("pinned", path);
    stalled.line();
    let mut retired = Retired::new(0);
    retired.retire(filled(&exchange, 1, 10));
    let end = Instant::now() + LONG;
    let expelled = loop {
        let collected = exchange.collect(&mut retired);
        if collected.freed == 1 {
            break collected.expelled;
        }
        assert!(Instant::now() < end);
    };
    assert_eq!(expelled.len(), 1);
    stalled.go();
    stalled.end();
}

#[test]
fn a_stalled_reader_of_another_process_is_named_and_a_dead_one_swept() {
    Child::start("reclaimer", &directory().join("domain")).end();
}

/// Sends everything home until its peer is gone.
fn echo(path: &Path) {
    let (exchange, mut inbox) = open(path);
    common::say(&exchange.domain().slot().to_string());
    loop {
        match inbox.wait(LONG).unwrap() {
            Some(Arrival::Message { from, to, block }) => {
                assert!(block.kind() != Kind::Remote || block.len() > 1 << 20 || is_whole(&block));
                let mut block = block;
                loop {
                    match exchange.link(from).unwrap().send(block, to + 1) {
                        Ok(()) => break,
                        Err(unsent) => block = unsent.block,
                    }
                }
            }
            Some(Arrival::Gone { .. }) | None => break,
            Some(_) => unreachable!(),
        }
    }
}

/// Keeps what it gets until it is told.
fn keeper(path: &Path) {
    let (exchange, mut inbox) = open(path);
    common::say(&exchange.domain().slot().to_string());
    let mut kept = Vec::new();
    for _ in 0..3 {
        let (_, block) = message(&mut inbox);
        assert_eq!((block.kind(), block.len()), (Kind::Remote, 100));
        kept.push(block.share());
    }
    common::say("have them");
    common::wait();
    // Its owner may be dead by now: the bytes are there all the same.
    assert!(kept.iter().all(|it| it.len() == 100 && it.iter().any(|&it| it != 0)));
    kept.clear();
    if let Some(Arrival::Gone { from, why }) = inbox.wait(Duration::from_millis(500)).unwrap() {
        assert_eq!((from.number(), why), (1, Closed::Died));
    }
    let swept = exchange.domain().sweep().unwrap();
    common::say(&format!("{} {}", swept.removed.len(), swept.held.len()));
    common::wait();
}

fn hub(path: &Path) {
    let (exchange, mut inbox) = open(path);
    let mut echo = Child::start("echo", path);
    assert_eq!(echo.line(), "2");
    let mut link = exchange.link(slot(2)).unwrap();

    // A block goes and comes home: the same memory, nothing copied.
    for len in [0, 1, 64, 4096, 1 << 20, 4 << 20] {
        let block = filled(&exchange, 5, len);
        let (at, envelope) = (block.as_ptr(), block.envelope());
        link.send(block, 40).unwrap();
        let (to, block) = message(&mut inbox);
        assert_eq!((to, block.as_ptr(), block.kind(), block.envelope()), (41, at, Kind::Bytes, envelope));
        assert!(is_whole(&block));
    }
    let stats = exchange.stats();
    assert_eq!((stats.sent, stats.received, stats.returned, stats.copied), (6, 6, 6, 0));

    // No body; an other arena's body, which is copied; a payload with several owners.
    let arena = exchange.domain().arena();
    link.send(arena.envelope().unwrap(), 1).unwrap();
    assert_eq!(message(&mut inbox).1.kind(), Kind::Empty);
    let private = skein_arena::Arena::private(&Default::default()).unwrap();
    let mut foreign = private.alloc(3).unwrap();
    foreign.set_envelope(Envelope { source: 0, session: 3, ty: 1 });
    foreign.bytes_mut().unwrap().copy_from_slice(&[0, 7, 14]);
    link.send(foreign, 1).unwrap();
    let (_, home) = message(&mut inbox);
    assert_eq!((&home[..], home.kind()), (&[0, 7, 14][..], Kind::Bytes));
    assert_eq!((exchange.stats().copied, exchange.stats().copied_bytes), (1, 3));
    let shared = filled(&exchange, 9, 50).share();
    link.send_payload(&shared, Envelope { source: 9, session: 50, ty: 3 }, 1).unwrap();
    let (_, forward) = message(&mut inbox);
    assert_eq!((forward.kind(), forward.as_ptr(), shared.owners()), (Kind::Forward, shared.as_ptr(), 2));
    drop(forward);
    assert_eq!((shared.owners(), exchange.stats().lent), (1, 0));
    drop((shared, home));

    // More than a ring has room for, both ways.
    let mut kept = Vec::new();
    for number in 0..RING as u32 * 5 {
        let block = filled(&exchange, number, 100);
        assert!(send(&mut link, &mut inbox, block, &mut kept));
    }
    while kept.len() < RING * 5 {
        kept.push(message(&mut inbox).1);
    }
    assert!(kept.iter().enumerate().all(|(at, it)| it.envelope().source == at as u32 && is_whole(it)));
    kept.clear();
    assert_eq!(exchange.stats().lent, 0);

    // Its death is told once, and frees what it had.
    echo.kill();
    let _ = link.send(filled(&exchange, 1, 1), 1);
    match inbox.wait(LONG).unwrap() {
        Some(Arrival::Gone { from, why }) => assert_eq!((from.number(), why), (2, Closed::Died)),
        other => panic!("{other:?}"),
    }
    assert_eq!(exchange.stats().lent, 0);
    let unsent = link.send(filled(&exchange, 1, 1), 1).unwrap_err();
    assert!(matches!(unsent.why, WhyUnsent::Closed(Closed::Died)) && is_whole(&unsent.block));
    drop((unsent, link));

    // What a receiver keeps stays; when it is killed, it is free again.
    for kill in [false, true] {
        exchange.domain().sweep().unwrap();
        let mut keeper = Child::start("keeper", path);
        let number = keeper.line().parse().unwrap();
        let mut link = exchange.link(slot(number)).unwrap();
        for seed in 0..3 {
            link.send(filled(&exchange, seed, 100), 1).unwrap();
        }
        assert_eq!(keeper.line(), "have them");
        assert_eq!(exchange.stats().lent, 3);
        let report = check::check(path).unwrap();
        assert_eq!(report.problems, []);
        let lanes = |slot: usize| -> Vec<_> {
            let lanes = &report.slots[slot - 1].lanes;
            lanes.iter().map(|it| (it.with.number(), it.sent, it.unread, it.holds)).collect()
        };
        assert_eq!((lanes(1), lanes(2)), (vec![(2, 3, 0, 0)], vec![(1, 0, 0, 3)]));
        if kill {
            keeper.kill();
            assert!(matches!(inbox.wait(LONG).unwrap(), Some(Arrival::Gone { why: Closed::Died, .. })));
        } else {
            keeper.go();
            assert_eq!(keeper.line(), "0 0");
            let end = Instant::now() + LONG;
            while exchange.stats().lent > 0 {
                assert!(inbox.recv().unwrap().is_none() && Instant::now() < end);
            }
            keeper.kill();
            assert!(matches!(inbox.wait(LONG).unwrap(), Some(Arrival::Gone { why: Closed::Died, .. })));
        }
        assert_eq!((exchange.stats().lent, arena.stats().live_blocks), (0, 0));
    }
}

#[test]
fn blocks_go_to_another_process_and_come_home() {
    Child::start("hub", &directory().join("domain")).end();
}

#[test]
fn what_a_dead_sender_sent_stays_readable() {
    let path = directory().join("domain");
    // The sender of three blocks, killed while they are held.
    let mut sender = Child::start("flood", &path);
    assert_eq!(sender.line(), "1");
    let mut keeper = Child::start("keeper", &path);
    assert_eq!(keeper.line(), "2");
    sender.go();
    assert_eq!(keeper.line(), "have them");
    sender.kill();
    keeper.go();
    assert_eq!(keeper.line(), "1 0", "the dead process's files go when nobody holds its blocks");
    keeper.go();
    keeper.end();
}

/// Passes a block to and fro with an echo without a pause, while another process dies that has blocks of ours.
fn busy(path: &Path) {
    let (exchange, mut inbox) = open(path);
    let [mut echo, mut keeper] = [("echo", "2"), ("keeper", "3")].map(|(role, number)| {
        let mut child = Child::start(role, path);
        assert_eq!(child.line(), number);
        child
    });
    let [mut link, mut dying] = [2, 3].map(|it| exchange.link(slot(it)).unwrap());
    for seed in 0..3 {
        dying.send(filled(&exchange, seed, 100), 1).unwrap();
    }
    assert_eq!(keeper.line(), "have them");
    keeper.kill();
    drop(dying);
    for seed in 0..RING as u32 / 2 {
        link.send(filled(&exchange, seed, 10), 1).unwrap();
    }
    // An inbox that always finds something never waits, and heard of no death.
    let end = Instant::now() + LONG;
    loop {
        match inbox.recv().unwrap() {
            None => {}
            Some(Arrival::Message { block, .. }) => link.send(block, 1).unwrap(),
            Some(Arrival::Gone { from, why }) => break assert_eq!((from.number(), why), (3, Closed::Died)),
            other => panic!("{other:?}"),
        }
        assert!(Instant::now() < end, "the death was not told");
    }
    assert!(exchange.domain().sweep().unwrap().held.is_empty());
    echo.kill();
}

#[test]
fn a_busy_inbox_hears_of_a_death() {
    Child::start("busy", &directory().join("domain")).end();
}

/// Is called in the name of a process that is dead and done with, while its files are still there.
fn called(path: &Path) {
    let (_exchange, mut inbox) = open(path);
    let mut sender = Child::start("greeter", path);
    assert_eq!(sender.line(), "2");
    let held: Vec<Block> = (0..3).map(|_| message(&mut inbox).1).collect();
    sender.kill();
    assert!(matches!(inbox.wait(LONG).unwrap(), Some(Arrival::Gone { .. })));
    // The bell of slot 1: behind its word a bit for each caller.
    let bells = std::fs::OpenOptions::new().write(true).open(path.join("doorbells")).unwrap();
    for _ in 0..3 {
        std::os::unix::fs::FileExt::write_all_at(&bells, &[1 << 2], 64 + 8).unwrap();
        assert!(inbox.wait(Duration::from_millis(1)).unwrap().is_none(), "a message came twice");
    }
    assert!(held.iter().all(is_whole));
}

/// Sends three blocks, has nothing to do with the exchange any more, and uses its memory.
fn quitter(path: &Path) {
    let (exchange, inbox) = open(path);
    let arena = exchange.domain().arena();
    let mut link = exchange.link(slot(1)).unwrap();
    (0..3).for_each(|seed| link.send(filled(&exchange, seed, 100), 1).unwrap());
    drop((link, inbox, exchange));
    let others: Vec<Block> = (0..1000).map(|_| arena.copy_from(&[0xee; 100]).unwrap()).collect();
    common::say("quit");
    common::wait();
    drop(others);
}

/// Reads what somebody sent who has dropped its exchange since.
fn late(path: &Path) {
    let (_exchange, mut inbox) = open(path);
    let mut quitter = Child::start("quitter", path);
    assert_eq!(quitter.line(), "quit");
    for _ in 0..3 {
        assert!(is_whole(&message(&mut inbox).1));
    }
    quitter.go();
    quitter.end();
}

/// Dropping the exchange freed what was lent, and the receiver found other blocks there.
#[test]
fn what_was_sent_stays_when_the_exchange_is_dropped() {
    Child::start("late", &directory().join("domain")).end();
}

/// Sends three blocks to slot 1.
fn greeter(path: &Path) {
    let (exchange, _inbox) = open(path);
    let mut link = exchange.link(slot(1)).unwrap();
    (0..3).for_each(|seed| link.send(filled(&exchange, seed, 100), 1).unwrap());
    common::say(&exchange.domain().slot().to_string());
    common::wait();
}

#[test]
fn who_is_called_for_a_dead_process_gets_nothing_twice() {
    Child::start("called", &directory().join("domain")).end();
}

/// Three processes in a triangle: each sends on what it gets, to the next.
fn origin(path: &Path) {
    const ROUNDS: u32 = 300;
    let (exchange, mut inbox) = open(path);
    let mut relays = [2, 3].map(|number| {
        let mut relay = Child::start("relay", path);
        assert_eq!(relay.line(), number.to_string());
        relay
    });
    relays.iter_mut().for_each(Child::go);
    let mut link = exchange.link(slot(2)).unwrap();
    let (mut kept, mut bytes) = (Vec::new(), 0);
    for seed in 0..ROUNDS {
        let block = filled(&exchange, seed, (seed as usize * 997) % 70_000);
        bytes += block.len() as u64;
        assert!(send(&mut link, &mut inbox, block, &mut kept));
    }
    while kept.len() < ROUNDS as usize {
        kept.push(message(&mut inbox).1);
    }
    // They are the last one's memory by now, in the order in which they were sent.
    for (seed, block) in kept.iter().enumerate() {
        assert!(block.envelope().source == seed as u32 && is_whole(block));
        assert!(block.is_empty() || skein_arena::range::heap_of(block.as_ptr()) == Some(3));
    }
    drop(kept);
    for relay in &mut relays {
        relay.go();
        // Bytes of a third process are copied, once by each; nothing stays with anybody.
        assert_eq!(relay.line(), format!("{ROUNDS} {bytes} 0 0"));
    }
    let end = Instant::now() + LONG;
    while exchange.stats().lent > 0 {
        assert!(inbox.recv().unwrap().is_none() && Instant::now() < end);
    }
    assert_eq!((exchange.domain().arena().stats().live_blocks, exchange.stats().copied), (0, 0));
    for mut relay in relays {
        relay.go();
        relay.end();
    }
}

/// Sends all that it gets to the next one, until it is told; then says what it copied, and what it has lent and alive.
fn relay(path: &Path) {
    let (exchange, mut inbox) = open(path);
    let me = exchange.domain().slot().number();
    common::say(&me.to_string());
    common::wait();
    let mut link = exchange.link(slot(me % 3 + 1)).unwrap();
    let mut waiting = std::collections::VecDeque::new();
    let rest =
        |exchange: &Exchange| (exchange.stats().lent as u64, exchange.domain().arena().stats().live_blocks);
    while !common::told() || rest(&exchange) != (0, 0) || !waiting.is_empty() {
        if let Some(Arrival::Message { block, .. }) = inbox.wait(Duration::from_millis(1)).unwrap() {
            waiting.push_back(block);
        }
        while let Some(block) = waiting.pop_front() {
            if let Err(unsent) = link.send(block, 1) {
                assert!(matches!(unsent.why, WhyUnsent::Full), "{unsent}");
                waiting.push_front(unsent.block);
                break;
            }
        }
    }
    common::wait();
    let (stats, (lent, live)) = (exchange.stats(), rest(&exchange));
    common::say(&format!("{} {} {lent} {live}", stats.copied, stats.copied_bytes));
    common::wait();
}

#[test]
fn three_processes_pass_payloads_in_a_triangle() {
    Child::start("origin", &directory().join("domain")).end();
}

fn flood(path: &Path) {
    let (exchange, _inbox) = open(path);
    common::say(&exchange.domain().slot().to_string());
    common::wait();
    let mut link = exchange.link(slot(2)).unwrap();
    for seed in 0..3 {
        link.send(filled(&exchange, seed, 100), 1).unwrap();
    }
    common::wait();
}
