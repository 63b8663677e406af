//! The scheduler's pool: work is never left lying while a worker sleeps, and the hold of a mailbox has one taker.
//!
//! Workers are threads here, a bed is a lock and a condition, and the one who keeps watch looks whenever it is its turn; a lost
//! wake-up is a deadlock, which loom reports. The deques are stand-ins behind a lock (`sched/deque.rs`): what is checked is the
//! slot, the roles and the looks before and after each change of role.
//!
//! Broken by hand, one at a time, and caught:
//! * nobody is told to keep watch, or not by who wakes a worker of a pool at rest; a look never finds a slot;
//! * no second look before a sleep;
//! * the exchange of `Slot::put`: Relaxed.
//!
//! Before the watch was the timer's thread's, and not tried again since: a searcher that leaves and does not see to the rest, or keeps
//! its role; the exchange of `Slot::take` Relaxed. Not caught then: the fences of `Pool::inject` and `Idle::publish` left out, as the
//! locks of the stand-ins and of the roles order what those fences order.
#![cfg(loom)]

use core::ptr::NonNull;

use loom::{
    cell::UnsafeCell,
    sync::{Arc, Condvar, Mutex},
    thread,
};
use skein_runtime::sched::{Next, Pool, Scheduled, Slot, Wake, Worker, policy};

/// Something to sleep on; a wake-up before the sleep counts. Who wakes a sleeper tells it what time it is: clocks go by that.
#[derive(Default)]
struct Bed {
    woken: Mutex<Option<u64>>,
    changed: Condvar,
}

impl Bed {
    fn wake(&self, now: u64) {
        let mut woken = self.woken.lock().unwrap();
        *woken = (*woken).max(Some(now));
        self.changed.notify_one();
    }

    /// Takes a wake-up, if there is one.
    fn take(&self) -> bool {
        self.woken.lock().unwrap().take().is_some()
    }

    fn sleep(&self) -> u64 {
        let mut woken = self.woken.lock().unwrap();
        loop {
            if let Some(now) = woken.take() {
                return now;
            }
            woken = self.changed.wait(woken).unwrap();
        }
    }
}

/// A pool, the beds of its workers, and that of the one who keeps watch.
struct Node {
    pool: Arc<Pool>,
    beds: Vec<Bed>,
    watch: Bed,
}

impl Node {
    fn new(workers: usize) -> (Arc<Self>, Vec<Worker>) {
        let (pool, workers) = Pool::new(workers);
        let beds = workers.iter().map(|_| Bed::default()).collect();
        (Arc::new(Self { pool, beds, watch: Bed::default() }), workers)
    }

    fn wake(&self, wake: Wake, now: u64) {
        if let Some(index) = wake.worker {
            self.beds[index].wake(now);
        }
        if wake.watch {
            self.watch.wake(now);
        }
    }

    fn inject(&self) {
        self.wake(self.pool.inject(service()), 0);
    }

    /// Plays a worker until it gets a service, which is then in its turn. `false`: it was sent home.
    fn next(&self, worker: &Worker, now: &mut u64) -> bool {
        loop {
            let step = worker.step(*now);
            self.wake(step.wake, *now);
            match step.next {
                Next::Run(_) => return true,
                Next::Home => return false,
                Next::Park => *now = self.beds[worker.index()].sleep().max(*now),
            }
        }
    }

    /// Keeps watch when told to, until `over`. So much time passes before each look that a turn is long by then.
    fn keep_watch(&self, over: impl Fn() -> bool) {
        while !over() {
            let mut now = self.watch.sleep();
            while !over() {
                now += policy::OLD;
                let look = self.pool.look(now);
                self.wake(look.wake, now);
                if look.again.is_none() {
                    break;
                }
                thread::yield_now();
            }
        }
    }
}

fn service() -> Scheduled {
    Scheduled::from_raw(NonNull::dangling())
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// A worker that goes home after so many turns; the pool goes on to count it as running.
fn play(node: &Arc<Node>, worker: Worker, turns: usize) -> thread::JoinHandle<()> {
    let node = Arc::clone(node);
    thread::spawn(move || {
        let mut now = 0;
        for _ in 0..turns {
            assert!(node.next(&worker, &mut now));
        }
    })
}

#[test]
fn a_worker_about_to_sleep_does_not_miss_what_is_injected() {
    check(|| {
        let (node, mut workers) = Node::new(1);
        let worker = play(&node, workers.pop().unwrap(), 2);
        node.inject();
        node.inject();
        worker.join().unwrap();
    });
}

#[test]
fn two_injections_reach_two_workers_that_are_about_to_sleep() {
    check(|| {
        let (node, workers) = Node::new(2);
        // Each goes home after one: the second must not count on the worker of the first.
        let threads: Vec<_> = workers.into_iter().map(|it| play(&node, it, 1)).collect();
        node.inject();
        node.inject();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// Turns that began, and the end of waiting for the next.
#[derive(Default)]
struct Turns {
    begun: Mutex<usize>,
    changed: Condvar,
}

impl Turns {
    /// One begins; which it is.
    fn begin(&self) -> usize {
        let mut begun = self.begun.lock().unwrap();
        *begun += 1;
        self.changed.notify_all();
        *begun
    }

    fn wait_for(&self, count: usize) {
        let mut begun = self.begun.lock().unwrap();
        while *begun < count {
            begun = self.changed.wait(begun).unwrap();
        }
    }

    fn begun(&self) -> usize {
        *self.begun.lock().unwrap()
    }
}

/// Two workers with one turn each. The first turn wakes a service, and lasts until the other worker runs that: it is asleep, or
/// about to be, and nobody but the one who keeps watch will tell it.
#[test]
fn what_a_long_turn_woke_is_run_by_another_worker_before_it_ends() {
    check(|| {
        let (node, workers) = Node::new(2);
        let turns = Arc::new(Turns::default());
        let threads: Vec<_> = workers
            .into_iter()
            .map(|worker| {
                let (node, turns) = (Arc::clone(&node), Arc::clone(&turns));
                thread::spawn(move || {
                    let mut now = 0;
                    assert!(node.next(&worker, &mut now));
                    if turns.begin() == 1 {
                        node.wake(worker.wake(service()), now);
                        turns.wait_for(2);
                    }
                    // For the one who keeps watch, that it may end.
                    node.watch.wake(now);
                })
            })
            .collect();
        // The watch may have begun by now, and end here because both sleep.
        if node.watch.take() && node.pool.look(0).again.is_some() {
            node.watch.wake(0);
        }
        node.inject();
        node.keep_watch(|| turns.begun() == 2);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_close_reaches_those_who_sleep_and_those_about_to() {
    check(|| {
        let (node, mut workers) = Node::new(1);
        let worker = workers.pop().unwrap();
        let thread = thread::spawn({
            let node = Arc::clone(&node);
            move || assert!(!node.next(&worker, &mut 0))
        });
        node.pool.close();
        node.beds[0].wake(0);
        thread.join().unwrap();
    });
}

/// A slot, and the data of the service in it.
struct Handed {
    slot: Slot,
    data: UnsafeCell<u32>,
}

// SAFETY: `data` is the taker's, which is what the model checks.
unsafe impl Sync for Handed {}
// SAFETY: as above.
unsafe impl Send for Handed {}

impl Handed {
    fn take(&self) -> usize {
        let Some(_hold) = self.slot.take() else { return 0 };
        // SAFETY: the hold is ours.
        self.data.with_mut(|it| unsafe { *it += 1 });
        1
    }
}

#[test]
fn owner_and_thieves_take_a_slot_once_and_see_what_was_put() {
    loom::model(|| {
        let handed = Arc::new(Handed { slot: Slot::new(), data: UnsafeCell::new(0) });
        let thief = thread::spawn({
            let handed = Arc::clone(&handed);
            move || handed.take()
        });
        // SAFETY: nobody else has the hold yet.
        handed.data.with_mut(|it| unsafe { *it = 1 });
        assert!(handed.slot.put(service()).is_none());
        let mine = handed.take();
        assert_eq!(mine + thief.join().unwrap(), 1);
    });
}
