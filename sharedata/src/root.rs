//! The current version of a value, and the leases on versions that were current once.
//!
//! # State
//! `current` points to the newest [`Version`]. A version counts its holders: one for being current, one for each lease.
//!
//! # Invariants
//! * **R1** A version is never written once it can be reached through `current`.
//! * **R2** The root's own hold is dropped only after a grace period, so a reader that found the version under a pin may
//!   still become a holder: the count it adds to cannot have reached zero.
//! * **R3** Whoever takes the count to zero frees the version, exactly once.

use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;

use skein_arena::epoch;
use skein_arena::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// One version of the value.
struct Version<T> {
    holders: AtomicUsize,
    number: u64,
    value: T,
}

impl<T> Version<T> {
    fn boxed(number: u64, value: T) -> *mut Version<T> {
        Box::into_raw(Box::new(Version { holders: AtomicUsize::new(1), number, value }))
    }
}

/// Names the current version of a `T`.
pub struct Root<T: Send + Sync + 'static> {
    current: AtomicPtr<Version<T>>,
}

impl<T: Send + Sync + 'static> Root<T> {
    /// A root whose first version, number 1, is `value`.
    pub fn new(value: T) -> Root<T> {
        Root { current: AtomicPtr::new(Version::boxed(1, value)) }
    }

    /// Calls `read` with the current version. Short work only: the pin holds back all reclamation of the process.
    pub fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        let _pin = epoch::pin();
        // Acquire pairs with the AcqRel swap of `publish`: the value is complete.
        let version = self.current.load(Ordering::Acquire);
        // SAFETY: the root held the version when we loaded it, and drops that hold after our pin at the earliest (R2).
        read(unsafe { &(*version).value })
    }

    /// The number of the current version; it grows by one with every publish.
    pub fn version(&self) -> u64 {
        let _pin = epoch::pin();
        // SAFETY: as in `read`.
        unsafe { (*self.current.load(Ordering::Acquire)).number }
    }

    /// A hold on the current version.
    pub fn lease(&self) -> Lease<T> {
        let _pin = epoch::pin();
        let version = self.current.load(Ordering::Acquire);
        // SAFETY: as in `read`; the count is at least one while we are pinned (R2).
        // Relaxed: a new hold comes out of an existing one, and publishes nothing.
        unsafe { (*version).holders.fetch_add(1, Ordering::Relaxed) };
        Lease { version: NonNull::new(version).expect("a root always has a version") }
    }

    /// Makes `value` the current version and returns its number. Publishers that race are ordered by the swap of the
    /// pointer, and each gets a number of its own.
    pub fn publish(&self, value: T) -> u64 {
        let new = Version::boxed(0, value);
        let pin = epoch::pin();
        loop {
            let old = self.current.load(Ordering::Acquire);
            // SAFETY: `old` is current and we are pinned (R2); `new` is ours until the swap succeeds (R1).
            let number = unsafe {
                (*new).number = (*old).number + 1;
                (*new).number
            };
            if self.swap(&pin, old, new) {
                return number;
            }
        }
    }

    /// Replaces the current version by what `next` makes of it, and returns its number. `next` is asked again when
    /// another publisher came first; `None` leaves everything as it is.
    pub fn update(&self, mut next: impl FnMut(&T) -> Option<T>) -> Option<u64> {
        let pin = epoch::pin();
        loop {
            let old = self.current.load(Ordering::Acquire);
            // SAFETY: `old` is current and we are pinned (R2).
            let before = unsafe { &*old };
            let number = before.number + 1;
            let new = Version::boxed(number, next(&before.value)?);
            if self.swap(&pin, old, new) {
                return Some(number);
            }
            // SAFETY: `new` came from `boxed` and was not published.
            drop(unsafe { Box::from_raw(new) });
        }
    }

    /// One try to make `new` current in the place of `old`.
    fn swap(&self, pin: &epoch::Guard, old: *mut Version<T>, new: *mut Version<T>) -> bool {
        // AcqRel: the new version is complete before it can be found; the old one is seen whole.
        let swapped = self.current.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if swapped {
            let hold = Lease { version: NonNull::new(old).expect("a root always has a version") };
            // The root's own hold on `old` ends once nobody can still find it there (R2).
            // SAFETY: `old` is out of reach for whoever pins from now on, and only this swap took it out.
            unsafe { pin.defer(move || drop(hold)) };
        }
        swapped
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Root<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").field("version", &self.version()).finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Drop for Root<T> {
    fn drop(&mut self) {
        let version = self.current.load(Ordering::Acquire);
        // Nobody else can reach the root any more, so the hold can go at once.
        drop(Lease { version: NonNull::new(version).expect("a root always has a version") });
    }
}

/// Keeps one version alive and readable, whatever is published meanwhile.
pub struct Lease<T: Send + Sync + 'static> {
    version: NonNull<Version<T>>,
}

// SAFETY: a lease gives shared access to a `T` that is `Send + Sync`, and its count is atomic.
unsafe impl<T: Send + Sync + 'static> Send for Lease<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync + 'static> Sync for Lease<T> {}

impl<T: Send + Sync + 'static> Lease<T> {
    /// Which version this is.
    pub fn version(&self) -> u64 {
        self.inner().number
    }

    fn inner(&self) -> &Version<T> {
        // SAFETY: we are one of its holders (R3).
        unsafe { self.version.as_ref() }
    }
}

impl<T: Send + Sync + 'static> Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T: Send + Sync + 'static> Clone for Lease<T> {
    fn clone(&self) -> Lease<T> {
        // Relaxed: a new hold comes out of an existing one.
        self.inner().holders.fetch_add(1, Ordering::Relaxed);
        Lease { version: self.version }
    }
}

impl<T: Send + Sync + 'static> Drop for Lease<T> {
    fn drop(&mut self) {
        // Release pairs with the load below: what this holder read happens before the value is dropped.
        if self.inner().holders.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // A load and not a fence: ThreadSanitizer follows it.
        self.inner().holders.load(Ordering::Acquire);
        // SAFETY: the count is zero, so nobody holds the version, and a root drops its hold only when no pinned reader
        // can turn up any more (R2, R3). It came from `boxed`.
        drop(unsafe { Box::from_raw(self.version.as_ptr()) });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use skein_arena::sync::{Arc, thread};

    struct Counted(Arc<AtomicUsize>, u64);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_lease_keeps_its_version_and_the_root_moves_on() {
        let root = Root::new(1);
        let old = root.lease();
        assert_eq!(root.publish(2), 2);
        assert_eq!((*old, old.version()), (1, 1));
        assert_eq!((root.read(|it| *it), root.version()), (2, 2));
    }

    #[test]
    fn racing_updates_lose_no_step() {
        let root = Arc::new(Root::new(0u64));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let root = Arc::clone(&root);
                thread::spawn(move || {
                    (0..1000)
                        .map(|_| root.update(|it| Some(it + 1)).expect("never refused"))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let numbers: BTreeSet<u64> =
            threads.into_iter().flat_map(|it| it.join().expect("no panic")).collect();
        assert_eq!(numbers.len(), 4000, "each publish has a number of its own");
        assert_eq!(root.read(|it| *it), 4000);
    }

    #[test]
    fn an_update_without_an_answer_changes_nothing() {
        let root = Root::new(5);
        assert_eq!(root.update(|_| None), None);
        assert_eq!((root.read(|it| *it), root.version()), (5, 1));
    }

    #[test]
    fn every_version_is_freed_once_and_not_before_its_last_lease() {
        let freed = Arc::new(AtomicUsize::new(0));
        let root = Root::new(Counted(Arc::clone(&freed), 0));
        let mut leases = Vec::new();
        for number in 1..=100 {
            leases.push(root.lease());
            root.publish(Counted(Arc::clone(&freed), number));
        }
        assert!(leases.iter().enumerate().all(|(at, lease)| lease.1 == at as u64));
        assert_eq!(freed.load(Ordering::SeqCst), 0);
        drop((leases, root));
        // Grace periods pass as others pin: the collector of the epochs runs in their pins.
        for _ in 0..100_000 {
            epoch::pin().flush();
            if freed.load(Ordering::SeqCst) == 101 {
                return;
            }
            thread::yield_now();
        }
        panic!("{} of 101 versions were freed", freed.load(Ordering::SeqCst));
    }
}
