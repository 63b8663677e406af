//! Sleep and wake: no item stays in the queue while every worker sleeps.
//!
//! Broken by hand, one at a time, and caught:
//! * no fence in `wake_one`, in `prepare`, in `found`;
//! * no second look before a sleep;
//! * a searcher that finds an item wakes nobody; one that sleeps stays counted as a searcher;
//! * `cancel` leaves the token it was paid.
//!
//! A waker that leaves the sleeper counted is not caught, and need not be: it costs a wake-up too many, never one too few.
#![cfg(loom)]

use loom::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::*},
    },
    thread,
};
use skein_runtime::sched::Park;

/// A run queue of items without a name.
#[derive(Default)]
struct Queue {
    items: AtomicUsize,
    park: Park,
}

impl Queue {
    fn push(&self) {
        // Relaxed: what orders it against sleep is the park's business alone.
        self.items.fetch_add(1, Relaxed);
        self.park.wake_one();
    }

    fn take(&self) -> Option<()> {
        let mut items = self.items.load(Relaxed);
        while items > 0 {
            match self.items.compare_exchange(items, items - 1, Relaxed, Relaxed) {
                Ok(_) => return Some(()),
                Err(now) => items = now,
            }
        }
        None
    }

    /// A worker that goes home after `turns` items. If its wake-up is lost loom reports a deadlock.
    fn work(&self, turns: usize) {
        for _ in 0..turns {
            let item = self.park.next(|| self.take(), || self.items.load(Relaxed) > 0, || {});
            assert!(item.is_some());
        }
    }
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn a_worker_about_to_sleep_does_not_miss_a_push() {
    loom::model(|| {
        let queue = Arc::new(Queue::default());
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.work(1)
        });
        queue.push();
        worker.join().unwrap();
    });
}

#[test]
fn two_pushes_reach_a_worker_that_sleeps_between_them() {
    check(|| {
        let queue = Arc::new(Queue::default());
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.work(2)
        });
        queue.push();
        queue.push();
        worker.join().unwrap();
    });
}

#[test]
fn two_pushes_wake_two_workers_one_after_the_other() {
    check(|| {
        let queue = Arc::new(Queue::default());
        let workers = [(); 2].map(|()| {
            let queue = Arc::clone(&queue);
            // Each goes home after one item: the second push must not count on the first one's worker.
            thread::spawn(move || queue.work(1))
        });
        queue.push();
        queue.push();
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!(queue.items.load(Relaxed), 0);
    });
}

#[test]
fn a_close_reaches_those_who_sleep_and_those_about_to() {
    loom::model(|| {
        let park = Arc::new(Park::new());
        let worker = thread::spawn({
            let park = Arc::clone(&park);
            move || assert!(park.next(|| None::<()>, || false, || {}).is_none())
        });
        park.close();
        worker.join().unwrap();
    });
}
