//! A worker that waits for sockets instead of in its bed: it misses neither what they tell nor what others tell it, and when nobody waits
//! for them, somebody who sleeps is sent there.
//!
//! Pool, workers and beds are the real ones; the sockets are a count of events behind a lock (`socket/system.rs` is the real trait), and
//! what `socket/poll.rs` and `sched/threads.rs` do with them (`sit_down`, `lie_down`, `attend_sockets`) is done here in the same order.
//!
//! Broken by hand, one at a time, and caught: `Bed::leave` goes although it was woken; no fence in `Pool::help`, which was so until this
//! model came. Not caught: no `Worker::rouse`, which only saves a wake-up; `Bed::come_back` leaves the worker away, for here nobody sits
//! down where another was before.
#![cfg(loom)]

use core::ptr::NonNull;

use loom::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering::*},
    },
    thread,
};
use skein_runtime::sched::{Bed, Next, Pool, Scheduled, Wake, Worker};

/// What the system has for those who wait.
#[derive(Default)]
struct Events {
    ready: usize,
    woken: bool,
}

#[derive(Default)]
struct Sockets {
    used: AtomicBool,
    /// A lock, for loom has a swap return `false` to two threads now and then, and real ones read the last value.
    seat: Mutex<bool>,
    events: Mutex<Events>,
    changed: Condvar,
}

impl Sockets {
    fn sit_down(&self) -> bool {
        self.used.load(Relaxed) && !std::mem::replace(&mut *self.seat.lock().unwrap(), true)
    }

    fn get_up(&self) {
        *self.seat.lock().unwrap() = false;
    }

    /// Something comes from the network.
    fn tell(&self) {
        self.events.lock().unwrap().ready += 1;
        self.changed.notify_one();
    }

    fn wake(&self) {
        self.events.lock().unwrap().woken = true;
        self.changed.notify_one();
    }

    /// Waits until there is something, or somebody wakes. How many events.
    fn wait(&self) -> usize {
        let mut events = self.events.lock().unwrap();
        while events.ready == 0 && !events.woken {
            events = self.changed.wait(events).unwrap();
        }
        events.woken = false;
        std::mem::take(&mut events.ready)
    }
}

struct Node {
    pool: Arc<Pool>,
    beds: Vec<Bed>,
    sockets: Sockets,
}

impl Node {
    fn new(workers: usize, used: bool) -> (Arc<Self>, Vec<Worker>) {
        let (pool, workers) = Pool::new(workers);
        let beds = workers.iter().map(|_| Bed::default()).collect();
        let sockets = Sockets { used: AtomicBool::new(used), ..Sockets::default() };
        (Arc::new(Self { pool, beds, sockets }), workers)
    }

    fn wake(&self, wake: Wake) {
        if let Some(index) = wake.worker {
            self.beds[index].wake(|| self.sockets.wake());
        }
    }

    fn inject(&self) {
        self.wake(self.pool.inject(Scheduled::from_raw(NonNull::dangling())));
    }

    /// The first socket.
    fn open(&self) {
        if !self.sockets.used.swap(true, Relaxed) {
            self.wake(self.pool.help());
        }
    }

    /// `lie_down` of `sched/threads.rs`.
    fn lie_down(&self, worker: &Worker) {
        let bed = &self.beds[worker.index()];
        if !self.sockets.sit_down() {
            bed.sleep(None);
            return;
        }
        let mut ready = 0;
        if bed.leave() {
            ready = self.sockets.wait();
            bed.come_back();
        }
        self.sockets.get_up();
        if ready > 0 {
            let risen = worker.rouse();
            self.wake(risen.unwrap_or_default());
            // An event is a message to a service, which nobody holds.
            for _ in 0..ready {
                match risen {
                    Some(_) => self.wake(worker.wake(Scheduled::from_raw(NonNull::dangling()))),
                    None => self.inject(),
                }
            }
        }
    }

    /// Plays a worker until it gets a service. `false`: it was sent home.
    fn next(&self, worker: &Worker) -> bool {
        loop {
            let step = worker.step(0);
            self.wake(step.wake);
            match step.next {
                Next::Run(_) => return true,
                Next::Home => return false,
                Next::Park => self.lie_down(worker),
            }
        }
    }
}

fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

fn play(node: &Arc<Node>, worker: Worker, turns: usize) -> thread::JoinHandle<()> {
    let node = Arc::clone(node);
    thread::spawn(move || {
        for _ in 0..turns {
            assert!(node.next(&worker));
        }
    })
}

#[test]
fn a_worker_at_the_sockets_misses_neither_them_nor_what_is_injected() {
    check(3, || {
        let (node, mut workers) = Node::new(1, true);
        let worker = play(&node, workers.pop().unwrap(), 2);
        node.sockets.tell();
        node.inject();
        worker.join().unwrap();
    });
}

/// One waits for sockets, the other in its bed, and either of two services may come first to either.
#[test]
fn what_sockets_tell_and_what_is_injected_reach_two_workers_that_are_about_to_sleep() {
    check(3, || {
        let (node, workers) = Node::new(2, true);
        let turns = Arc::new((Mutex::new(0), Condvar::new()));
        // A turn lasts until the other one began: neither worker can do both.
        let threads: Vec<_> = workers
            .into_iter()
            .map(|worker| {
                let (node, turns) = (Arc::clone(&node), Arc::clone(&turns));
                thread::spawn(move || {
                    assert!(node.next(&worker));
                    let (count, changed) = &*turns;
                    let mut begun = count.lock().unwrap();
                    *begun += 1;
                    changed.notify_all();
                    while *begun < 2 {
                        begun = changed.wait(begun).unwrap();
                    }
                })
            })
            .collect();
        node.inject();
        node.inject();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// Who waits for sockets keeps what they tell; the other one searches, sleeps or runs meanwhile.
#[test]
fn what_one_of_two_workers_keeps_and_what_is_injected_are_both_run() {
    check(2, || {
        let (node, workers) = Node::new(2, true);
        let turns = Arc::new((Mutex::new(0), Condvar::new()));
        let threads: Vec<_> = workers
            .into_iter()
            .map(|worker| {
                let (node, turns) = (Arc::clone(&node), Arc::clone(&turns));
                thread::spawn(move || {
                    while node.next(&worker) {
                        *turns.0.lock().unwrap() += 1;
                        turns.1.notify_all();
                    }
                })
            })
            .collect();
        node.sockets.tell();
        node.inject();
        let mut count = turns.0.lock().unwrap();
        while *count < 2 {
            count = turns.1.wait(count).unwrap();
        }
        drop(count);
        node.pool.close();
        node.beds.iter().for_each(|bed| bed.wake(|| node.sockets.wake()));
        threads.into_iter().for_each(|it| it.join().unwrap());
    });
}

#[test]
fn the_first_socket_sends_a_sleeping_worker_to_wait_for_it() {
    check(3, || {
        let (node, mut workers) = Node::new(1, false);
        let worker = play(&node, workers.pop().unwrap(), 1);
        node.open();
        node.sockets.tell();
        worker.join().unwrap();
    });
}

#[test]
fn a_close_reaches_a_worker_at_the_sockets() {
    check(3, || {
        let (node, mut workers) = Node::new(1, true);
        let worker = workers.pop().unwrap();
        let thread = thread::spawn({
            let node = Arc::clone(&node);
            move || assert!(!node.next(&worker))
        });
        node.pool.close();
        node.beds[0].wake(|| node.sockets.wake());
        thread.join().unwrap();
    });
}
