//! What is retired under crossbeam-epoch's guard, by our own guard's functions: freed after each reader that may see it has gone.
//!
//! crossbeam-epoch is built with its feature `loom`. Broken by hand and caught: the version freed at once; the reader not pinned.
//! Not caught: the swap made Relaxed, since the fence of the pin before it stands in.
#![cfg(loom)]

use loom::{
    cell::UnsafeCell,
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering::*},
    thread,
};
use skein_arena::epoch::{self, Atomic, Owned};

/// A version that loom watches: read while it can be found, written when it is freed.
struct Version {
    bytes: UnsafeCell<u32>,
    freed: Arc<AtomicUsize>,
}

// SAFETY: written before it is published and when it is dropped, read in between; the model checks just that.
unsafe impl Send for Version {}
// SAFETY: as above.
unsafe impl Sync for Version {}

impl Version {
    fn new(value: u32, freed: &Arc<AtomicUsize>) -> Version {
        let made = Version { bytes: UnsafeCell::new(0), freed: Arc::clone(freed) };
        // SAFETY: nobody else knows it yet. A write that loom sees, where `UnsafeCell::new` is none.
        made.bytes.with_mut(|it| unsafe { *it = value });
        made
    }
}

impl Drop for Version {
    fn drop(&mut self) {
        // SAFETY: nobody can find it any more, or the model fails here.
        self.bytes.with_mut(|it| unsafe { *it = u32::MAX });
        self.freed.fetch_add(1, Relaxed);
    }
}

fn read(root: &Atomic<Version>) -> u32 {
    let guard = epoch::pin();
    // SAFETY: loaded under the guard, and retired only after it was unlinked.
    let version = unsafe { root.load(Acquire, &guard).deref() };
    // SAFETY: as above.
    version.bytes.with(|it| unsafe { *it })
}

#[test]
fn a_version_is_freed_behind_its_last_reader() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let freed = Arc::new(AtomicUsize::new(0));
        let root = Arc::new(Atomic::new(Version::new(1, &freed)));
        let reader = thread::spawn({
            let root = Arc::clone(&root);
            move || assert!(matches!(read(&root), 1 | 2))
        });
        let next = Owned::new(Version::new(2, &freed));
        let guard = epoch::pin();
        let old = root.swap(next, AcqRel, &guard);
        // SAFETY: the swap took it out of reach, once.
        unsafe { guard.defer_free(old) };
        guard.flush();
        drop(guard);
        // The epoch moves on when nobody is pinned in an older one, one step with each flush.
        for _ in 0..3 {
            epoch::pin().flush();
        }
        assert_eq!(read(&root), 2);
        reader.join().unwrap();
        let Ok(root) = Arc::try_unwrap(root) else { panic!("all threads have ended") };
        // SAFETY: nobody else has it any more.
        drop(unsafe { root.into_owned() });
    });
}
