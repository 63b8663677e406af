//! Readers of another process's memory, and the owner that frees behind them.
//!
//! Broken by hand and caught:
//! * the fence of a pin, or of a period's beginning, removed;
//! * the Release of a pin or of its end, the Acquire of `pinned` or `has_left`, made Relaxed;
//! * the fence of an expulsion, or of who reads, removed; the Acquire of the count made Relaxed.
#![cfg(loom)]

use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering::*},
    },
    thread,
};
use skein_arena::epoch::{Expelled, Expulsions, Others, Readers, Records, Retired};

/// The one other process.
struct Other(&'static Records);

impl Others for Other {
    fn each(&self, look: &mut dyn FnMut(u8, u64, &Records)) -> Vec<u8> {
        look(1, 1, self.0);
        Vec::new()
    }

    fn with(&self, _: u8, _: u64, look: &mut dyn FnMut(&Records)) {
        look(self.0);
    }
}

struct Shared {
    root: AtomicUsize,
    versions: [UnsafeCell<u32>; 2],
}

// SAFETY: versions are used as the protocol says, which is what the model checks.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

/// The right to reuse a version: exercised when it is dropped.
struct Old(Arc<Shared>, usize);

impl Drop for Old {
    fn drop(&mut self) {
        // SAFETY: nobody reads it any more, or the model fails here.
        self.0.versions[self.1].with_mut(|it| unsafe { *it = 0xdead });
    }
}

#[test]
fn a_version_is_freed_when_no_reader_can_see_it() {
    loom::model(|| {
        let records: &'static Records = Box::leak(Box::default());
        let shared = Arc::new(Shared {
            root: AtomicUsize::new(0),
            versions: [UnsafeCell::new(1), UnsafeCell::new(1)],
        });
        let reader = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let reader = Readers::new(records).join().unwrap();
                // Twice, so that the owner may find the second pin where it noted the first.
                for _ in 0..2 {
                    let pinned = reader.pin(0);
                    let seen = shared.root.load(Acquire);
                    // SAFETY: found under a pin.
                    assert_eq!(shared.versions[seen].with(|it| unsafe { *it }), 1);
                    drop(pinned);
                }
            }
        });
        let expulsions = Expulsions::default();
        let mut retired = Retired::new(u64::MAX);
        shared.root.store(1, Release);
        retired.retire(Old(Arc::clone(&shared), 0));
        while !retired.is_empty() {
            retired.collect(&Other(records), &expulsions, 0);
            thread::yield_now();
        }
        reader.join().unwrap();
    });
}

/// Memory that is used again though somebody may be reading it: words, as bytes of another process are.
#[derive(Default)]
struct Reused {
    root: AtomicUsize,
    words: [AtomicU32; 2],
    expulsions: Expulsions,
}

/// The right to use a word again.
struct Again(Arc<Reused>, usize);

impl Drop for Again {
    fn drop(&mut self) {
        self.0.words[self.1].store(0xdead, Relaxed);
    }
}

#[test]
fn who_is_expelled_can_tell() {
    loom::model(|| {
        let records: &'static Records = Box::leak(Box::default());
        let shared = Arc::new(Reused::default());
        let reader = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let reader = Readers::new(records).join().unwrap();
                let pinned = reader.pin(0);
                let read = || shared.words[shared.root.load(Acquire)].load(Relaxed);
                // Expelled before, in the middle, behind it, or never: nonsense is never taken for a word.
                for _ in 0..2 {
                    assert!(matches!(pinned.read(&shared.expulsions, 1, read), Ok(0) | Err(Expelled)));
                }
            }
        });
        let mut retired = Retired::new(0);
        shared.root.store(1, Release);
        retired.retire(Again(Arc::clone(&shared), 0));
        for now in 0.. {
            if retired.is_empty() {
                break;
            }
            retired.collect(&Other(records), &shared.expulsions, now);
        }
        reader.join().unwrap();
    });
}
