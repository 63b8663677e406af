//! The policy, step by step: what a worker and a look decide, and when.

use core::ptr::NonNull;

use skein_arena::sync::Arc;

use super::{Next, Pool, Scheduled, Step, Wake, Worker, policy::*};

/// A service, told from others by its number.
fn service(number: usize) -> Scheduled {
    Scheduled::from_raw(NonNull::new(core::ptr::without_provenance_mut(number)).expect("numbers begin at 1"))
}

fn number(step: Step) -> usize {
    match step.next {
        Next::Run(scheduled) => scheduled.into_raw().as_ptr().addr(),
        next => panic!("nothing to run, but {next:?}"),
    }
}

/// A worker that runs service 1, beside others that sleep, on a pool that is watched from `LOOK_EVERY` on.
fn one_busy(workers: usize) -> (Arc<Pool>, Vec<Worker>) {
    let (pool, workers) = Pool::new(workers);
    for worker in &workers {
        let step = worker.step(0);
        assert_eq!(step.next, Next::Park);
    }
    assert_eq!(pool.look(0).again, None, "all sleep");
    let first = workers.len() - 1;
    let woken = pool.inject(service(1));
    assert_eq!(woken, Wake { worker: Some(first), watch: first > 0 });
    assert_eq!(number(workers[first].step(0)), 1);
    (pool, workers)
}

#[test]
fn a_chain_through_the_slot_goes_behind_the_others_when_its_messages_are_spent() {
    let (_pool, workers) = one_busy(1);
    let worker = &workers[0];
    assert_eq!(worker.again(service(9)), Wake::NOBODY);
    for message in 1..BUDGET {
        assert!(!worker.spend(u64::from(message)), "message {message}");
        assert_eq!(worker.wake(service(2)), Wake::NOBODY);
        assert_eq!(number(worker.step(u64::from(message))), 2, "the one just woken");
    }
    assert!(worker.spend(u64::from(BUDGET)), "and another waits");
    assert_eq!(worker.wake(service(2)), Wake::NOBODY);
    assert_eq!(number(worker.step(u64::from(BUDGET))), 9, "its turn has come");
    assert_eq!(number(worker.step(u64::from(BUDGET))), 2, "and then that of the chain");
}

#[test]
fn a_chain_ends_by_time_too_and_goes_on_when_nobody_waits() {
    let (_pool, workers) = one_busy(1);
    let worker = &workers[0];
    assert!(!worker.spend(BUDGET_NANOS - 1));
    assert!(!worker.spend(BUDGET_NANOS), "nobody waits: it has a new budget");
    assert_eq!(worker.again(service(9)), Wake::NOBODY);
    assert!(!worker.spend(2 * BUDGET_NANOS - 1));
    assert!(worker.spend(2 * BUDGET_NANOS), "somebody waits");
}

#[test]
fn a_busy_worker_looks_at_the_injector_now_and_then() {
    let (pool, workers) = one_busy(1);
    let worker = &workers[0];
    assert_eq!(pool.inject(service(7)), Wake::NOBODY, "nobody sleeps");
    for _ in 0..3 {
        assert_eq!(worker.again(service(2)), Wake::NOBODY);
        assert_eq!(worker.wake(service(3)), Wake::NOBODY);
    }
    let mut served = Vec::new();
    for time in [INJECTOR_EVERY - 1, BUDGET_NANOS, BUDGET_NANOS + 1] {
        served.push(number(worker.step(time)));
    }
    assert_eq!(served, [3, 7, 2], "the chain while it lasts, then who came from outside, then the queue");
}

#[test]
fn a_sleeper_is_woken_at_once_only_for_work_that_is_worth_it() {
    let (pool, workers) = one_busy(2);
    let busy = &workers[1];
    let enough = WORTH.div_ceil(FIRST_MEAN) as usize;
    for queued in 1..enough {
        assert_eq!(busy.again(service(1 + queued)), Wake::NOBODY, "{queued} queued");
    }
    assert_eq!(busy.again(service(8)).worker, Some(0));
    assert_eq!(busy.again(service(9)).worker, None, "it is on its way");
    assert_eq!(number(workers[0].step(1)), 2, "the oldest");
    let counters = pool.counters();
    assert_eq!((counters[1].wakes, counters[0].woken, counters[0].steals), (1, 1, 1));
}

#[test]
fn a_short_queue_is_taken_from_when_two_looks_found_it() {
    let (pool, workers) = one_busy(2);
    let busy = &workers[1];
    assert_eq!(busy.again(service(2)), Wake::NOBODY);
    let mut looks = Vec::new();
    for now in (FIRST_MEAN..=2 * LOOK_EVERY).step_by(FIRST_MEAN as usize) {
        // Its turns are short, and behind each of them another service waits.
        assert_eq!(busy.again(service(3)), Wake::NOBODY);
        assert!(matches!(busy.step(now).next, Next::Run(_)));
        if now % LOOK_EVERY == 0 {
            looks.push(pool.look(now).wake.worker);
        }
    }
    assert_eq!(looks, [None, Some(0)]);
    assert_eq!(number(workers[0].step(2 * LOOK_EVERY)), 3);
    assert_eq!(pool.looks(), 3, "the one when all slept is one");
}

#[test]
fn what_a_long_turn_woke_is_taken_as_soon_as_that_is_long() {
    let (pool, workers) = one_busy(2);
    assert_eq!(workers[1].wake(service(5)), Wake::NOBODY, "it may end at any moment");
    let look = pool.look(OLD / 2);
    assert_eq!((look.wake, look.again), (Wake::NOBODY, Some(OLD)), "then it will be long");
    let look = pool.look(OLD);
    assert_eq!((look.wake.worker, look.again), (Some(0), Some(OLD + LOOK_EVERY)));
    assert_eq!(number(workers[0].step(OLD)), 5);
    assert_eq!(pool.counters()[0].slots_taken, 1);
    assert_eq!(pool.look(OLD + LOOK_EVERY).again, None, "nobody sleeps");
}

#[test]
fn looks_come_no_sooner_than_they_may() {
    let (pool, workers) = one_busy(2);
    assert_eq!(workers[1].wake(service(5)), Wake::NOBODY);
    assert_eq!(pool.look(OLD - 1).again, Some(OLD - 1 + LOOK_SOON));
}

#[test]
fn a_busy_worker_takes_over_what_waits_behind_a_long_turn_of_another() {
    let (pool, workers) = one_busy(2);
    let (stuck, busy) = (&workers[1], &workers[0]);
    assert_eq!(pool.inject(service(2)).worker, Some(0));
    assert_eq!(number(busy.step(0)), 2);
    assert_eq!(stuck.wake(service(5)), Wake::NOBODY);
    assert!(!busy.spend(OLD - 1));
    assert_eq!(busy.again(service(3)), Wake::NOBODY);
    assert_eq!(number(busy.step(OLD - 1)), 3, "not yet");
    assert_eq!(busy.again(service(3)), Wake::NOBODY);
    assert_eq!(number(busy.step(INJECTOR_EVERY + OLD)), 5);
}

#[test]
fn a_service_that_is_never_done_leaves_its_worker_to_those_behind_a_long_turn() {
    let (pool, workers) = one_busy(2);
    let (stuck, busy) = (&workers[1], &workers[0]);
    assert_eq!(pool.inject(service(2)).worker, Some(0));
    assert_eq!(number(busy.step(0)), 2);
    assert!(!busy.spend(2 * BUDGET_NANOS), "nobody waits");
    assert_eq!(stuck.wake(service(5)), Wake::NOBODY);
    assert!(busy.spend(4 * BUDGET_NANOS), "the one behind the long turn does");
    assert_eq!(busy.again(service(2)), Wake::NOBODY);
    assert_eq!(number(busy.step(4 * BUDGET_NANOS)), 5);
}

#[test]
fn one_searches_at_a_time_and_says_when_there_is_more() {
    let (pool, workers) = one_busy(3);
    assert_eq!(pool.inject(service(2)).worker, Some(1));
    assert_eq!(pool.inject(service(3)), Wake::NOBODY, "one searches");
    let step = workers[1].step(1);
    assert_eq!(step.wake.worker, Some(0), "it found two");
    assert_eq!(number(step), 2);
    assert_eq!(number(workers[0].step(1)), 3);
    assert_eq!(workers[1].step(2).next, Next::Park);
}

#[test]
fn who_is_roused_keeps_what_it_makes_runnable_and_wakes_another_only_for_much() {
    let (pool, workers) = one_busy(2);
    // The busy one ends; the other, which sleeps, is told of something by the sockets.
    assert_eq!(workers[1].step(1_000).next, Next::Park);
    let sleeper = &workers[0];
    assert_eq!(sleeper.rouse(), Some(Wake::NOBODY), "the watch has not ended yet");
    assert_eq!(sleeper.wake(service(2)), Wake::NOBODY);
    assert_eq!(sleeper.wake(service(3)), Wake::NOBODY, "it searches, so nobody else need");
    assert_eq!(pool.inject(service(4)), Wake::NOBODY);
    let step = sleeper.step(2_000);
    assert_eq!(step.wake.worker, Some(1), "for what was injected");
    assert_eq!(number(step), 2, "its last chain is over: first what waits in the queue");
    assert_eq!(number(workers[1].step(3_000)), 4);
    assert_eq!(number(sleeper.step(3_000)), 3);
}

#[test]
fn who_is_roused_while_another_searches_stays_parked() {
    let (pool, workers) = one_busy(3);
    assert_eq!(pool.inject(service(2)).worker, Some(1));
    assert_eq!(workers[0].rouse(), None, "worker 1 is about to search");
    assert_eq!(workers[0].step(1_000).next, Next::Park);
    assert_eq!(number(workers[1].step(1_000)), 2);
}
