//! Who sleeps is woken by whoever publishes something: no ring is lost, also of somebody who first looks for a while. And who is still
//! looking is not woken: that takes no system call.
//!
//! Broken by hand and caught:
//! * the fence of who rings, or of who sleeps, removed; both made AcqRel;
//! * the Release of a call, or the Acquire of who takes callers, made Relaxed;
//! * a caller that rings before it sets its bit, a sleeper that looks before it says that it sleeps, or that takes the looks before for the
//!   one after: deadlocks, which abort the model;
//! * a sender that makes the system call whether or not anybody sleeps.
#![cfg(loom)]

use std::time::Duration;

use loom::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::*},
    },
    thread,
};
use skein_arena::transfer::{Doorbell, Futex};

/// A futex of one word, whose sleepers loom can see, and with them the system calls of who wakes.
#[derive(Default)]
struct Model {
    calls: Mutex<usize>,
    woken: Condvar,
}

impl Futex for Model {
    fn wait(&self, word: &AtomicU32, expected: u32, _timeout: Duration) {
        let guard = self.calls.lock().unwrap();
        if word.load(Relaxed) == expected {
            drop(self.woken.wait(guard).unwrap());
        }
    }

    fn wake(&self, _word: &AtomicU32) {
        *self.calls.lock().unwrap() += 1;
        self.woken.notify_all();
    }
}

#[derive(Default)]
struct Shared {
    bell: Doorbell,
    futex: Model,
    published: AtomicBool,
}

#[test]
fn a_sleeper_never_misses_what_was_published() {
    loom::model(|| {
        let shared = Arc::new(Shared::default());
        let sender = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                shared.published.store(true, Relaxed);
                shared.bell.ring(&shared.futex);
            }
        });
        // Without the wake this thread sleeps for ever, and loom says so.
        while !shared.published.load(Relaxed) {
            shared.bell.sleep(&shared.futex, Duration::MAX, || shared.published.load(Relaxed));
        }
        sender.join().unwrap();
    });
}

#[test]
fn who_looks_before_it_sleeps_misses_nothing_and_is_not_woken_while_it_looks() {
    const LOOKS: usize = 2;
    loom::model(|| {
        let shared = Arc::new(Shared::default());
        let sender = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                shared.published.store(true, Relaxed);
                shared.bell.ring(&shared.futex)
            }
        });
        let is_there = || shared.published.load(Relaxed);
        let came = (0..LOOKS).any(|_| is_there());
        while !is_there() {
            shared.bell.sleep(&shared.futex, Duration::MAX, is_there);
        }
        let woke = sender.join().unwrap();
        let calls = *shared.futex.calls.lock().unwrap();
        assert_eq!(calls, usize::from(woke));
        assert!(!came || calls == 0, "a system call for somebody who was looking");
    });
}

#[test]
fn a_caller_is_looked_at() {
    loom::model(|| {
        let shared = Arc::new(Shared::default());
        let caller = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                shared.published.store(true, Relaxed);
                shared.bell.call(&shared.futex, 3);
            }
        });
        while !shared.bell.has_callers() {
            shared.bell.sleep(&shared.futex, Duration::MAX, || false);
        }
        assert_eq!(shared.bell.take_callers().collect::<Vec<_>>(), [3]);
        assert!(shared.published.load(Relaxed), "what the caller set up is there");
        caller.join().unwrap();
    });
}
