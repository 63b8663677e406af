//! Publishing a version beside readers and leases.
//!
//! Broken by hand and caught: the swap with `Relaxed` instead of `AcqRel`; the old hold dropped at once instead of after a
//! grace period; the count of a lease given back with `Relaxed`; no fence behind the last of them.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use skein_sharedata::Root;

/// A value that loom watches: read by holders, written only while nobody else can reach it.
struct Watched(UnsafeCell<u32>);

// SAFETY: written before it is published and when it is dropped, read in between; the model checks just that.
unsafe impl Send for Watched {}
// SAFETY: as above.
unsafe impl Sync for Watched {}

impl Watched {
    fn new(value: u32) -> Watched {
        let made = Watched(UnsafeCell::new(0));
        // SAFETY: nobody else knows it yet. A write that loom sees, where `UnsafeCell::new` is none.
        made.0.with_mut(|it| unsafe { *it = value });
        made
    }

    fn get(&self) -> u32 {
        // SAFETY: see the type.
        self.0.with(|it| unsafe { *it })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // SAFETY: the last holder drops it; loom fails the model when a reader is not done.
        self.0.with_mut(|it| unsafe { *it = u32::MAX });
    }
}

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(check);
}

#[test]
fn a_reader_sees_whole_versions_only() {
    model(|| {
        let root = Arc::new(Root::new(Watched::new(1)));
        let reader = thread::spawn({
            let root = Arc::clone(&root);
            move || root.read(Watched::get)
        });
        // `update` and not `publish`: it writes the value behind the pin, whose fence would stand in for the swap's Release.
        root.update(|it| Some(Watched::new(it.get() + 1))).unwrap();
        assert!(matches!(reader.join().unwrap(), 1 | 2));
    });
}

#[test]
fn a_lease_outlives_the_publish_that_retires_it() {
    model(|| {
        let root = Arc::new(Root::new(Watched::new(1)));
        let reader = thread::spawn({
            let root = Arc::clone(&root);
            move || {
                let lease = root.lease();
                let (number, value) = (lease.version(), lease.get());
                assert_eq!(u64::from(value), number);
            }
        });
        assert_eq!(root.publish(Watched::new(2)), 2);
        reader.join().unwrap();
        assert_eq!(root.read(Watched::get), 2);
    });
}

#[test]
fn holders_read_before_the_last_of_them_frees() {
    model(|| {
        let root = Root::new(Watched::new(1));
        let lease = root.lease();
        drop(root);
        let other = thread::spawn({
            let lease = lease.clone();
            move || assert_eq!(lease.get(), 1)
        });
        assert_eq!(lease.get(), 1);
        drop(lease);
        other.join().unwrap();
    });
}
