//! Timeouts: order, cancelling, time that passes.

mod common;

use std::time::{Duration, Instant};

use common::{World, eventually, hear};
use skein_runtime::MessageType;

#[test]
fn timeouts_fire_by_time_and_then_in_the_order_they_were_set() {
    let world = World::new();
    let (ear, heard) = world.ear();
    let mut expected = Vec::new();
    for ticks in [7, 3, 5, 3, 7, 1, 5, 0, 3] {
        expected.push((ticks, ear.timeout(ticks).unwrap()));
    }
    let fired: Vec<_> = expected.iter().map(|_| hear(&heard).session).collect();
    // All were set within one tick, or the order could differ: then try no further.
    expected.sort_by_key(|(ticks, _)| *ticks);
    assert_eq!(fired, expected.into_iter().map(|it| it.1).collect::<Vec<_>>());
}

#[test]
fn a_timeout_never_fires_before_the_clock_shows_its_ticks() {
    let world = World::new();
    let (ear, heard) = world.ear();
    for ticks in [1, 2, 5] {
        let (now, begun) = (world.node.now(), Instant::now());
        ear.timeout(ticks).unwrap();
        hear(&heard);
        assert!(world.node.now() >= now + ticks as u64);
        assert!(begun.elapsed() >= Duration::from_millis((ticks as u64 - 1) * 10));
    }
}

#[test]
fn an_earlier_timeout_wakes_a_timer_that_sleeps_long() {
    let world = World::new();
    let (ear, heard) = world.ear();
    ear.timeout(100_000).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let soon = ear.timeout(1).unwrap();
    assert_eq!(hear(&heard).session, soon);
    assert_eq!(world.node.counters().timeouts, 1);
}

#[test]
fn a_cancelled_timeout_never_comes() {
    let world = World::new();
    let (ear, heard) = world.ear();
    let key = world.node.timeout(ear.handle(), 77, 2).unwrap().unwrap();
    let late = ear.timeout(4).unwrap();
    assert!(world.node.cancel_timeout(key));
    assert!(!world.node.cancel_timeout(key));
    assert_eq!(hear(&heard).session, late);
    assert!(!world.node.cancel_timeout(key));
}

#[test]
fn timeouts_of_the_dead_are_dropped_and_cost_nothing() {
    let world = World::new();
    let puppet = world.puppet();
    for _ in 0..1000 {
        puppet.timeout(2).unwrap();
    }
    assert!(world.node.arena().stats().live_blocks >= 1000, "their envelopes are reserved");
    world.node.retire(puppet.handle());
    assert!(eventually(|| world.node.counters().dropped_undeliverable == 1000));
    assert!(eventually(|| world.node.arena().stats().live_blocks == 0));
}

#[test]
fn a_hundred_thousand_timeouts_all_fire() {
    let world = World::new();
    let (ear, heard) = world.ear();
    const MANY: i32 = 100_000;
    for number in 0..MANY {
        ear.timeout(1 + number % 10).unwrap();
    }
    let mut sessions: Vec<_> = (0..MANY).map(|_| hear(&heard)).map(|it| it.session).collect();
    sessions.sort_unstable();
    assert!(sessions.iter().copied().eq(1..=MANY));
    assert!(heard.try_recv().is_err());
}

#[test]
fn the_clock_begins_within_the_wall_clocks_second() {
    let world = World::new();
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let ours = f64::from(world.node.starttime()) + world.node.now() as f64 / 100.0;
    assert!((wall - ours).abs() < 1.0, "{wall} and {ours}");
    assert!(world.node.now() < 200);
    let (ear, heard) = world.ear();
    ear.timeout(-1).unwrap();
    assert_eq!(hear(&heard).ty, MessageType::RESPONSE);
}

#[test]
fn a_crowd_that_is_due_at_once_comes_in_the_order_it_was_set() {
    let world = World::new();
    let (ear, heard) = world.ear();
    // Far enough that all are set before the first is due; they expire in many batches.
    let due = world.node.now() + 60;
    let mut sessions = Vec::new();
    for _ in 0..5_000 {
        let (now, session) = (world.node.now(), ear.new_session());
        let key = world.node.timeout(ear.handle(), session, (due - now) as i32).unwrap().unwrap();
        // If the clock went on meanwhile it may be due a tick later: that one does not count.
        if world.node.now() == now || !world.node.cancel_timeout(key) {
            sessions.push(session);
        }
    }
    for session in sessions {
        assert_eq!(hear(&heard).session, session);
    }
}
