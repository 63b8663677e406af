//! Who sleeps is woken by whoever publishes something: no ring is lost.
//!
//! Broken by hand and caught:
//! * the fence of who rings, or of who sleeps, removed; both made AcqRel;
//! * the Release of a call, or the Acquire of who takes callers, made Relaxed;
//! * a caller that rings before it sets its bit, a sleeper that looks before it says that it sleeps: deadlocks, which abort the model.
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

/// A futex of one word, whose sleepers loom can see.
#[derive(Default)]
struct Model {
    lock: Mutex<()>,
    woken: Condvar,
}

impl Futex for Model {
    fn wait(&self, word: &AtomicU32, expected: u32, _timeout: Duration) {
        let guard = self.lock.lock().unwrap();
        if word.load(Relaxed) == expected {
            drop(self.woken.wait(guard).unwrap());
        }
    }

    fn wake(&self, _word: &AtomicU32) {
        drop(self.lock.lock().unwrap());
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
