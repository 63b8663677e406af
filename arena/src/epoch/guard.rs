//! A pin, and what is retired under it.

use std::{fmt, ops::Deref};

use super::Shared;

/// Keeps what its holder can reach from being freed. Dereferences to crossbeam's guard, which [`Atomic`](super::Atomic) takes.
pub struct Guard(crossbeam_epoch::Guard);

/// Pins the current epoch for this thread until the guard is dropped (rule E1).
#[inline]
pub fn pin() -> Guard {
    Guard(crossbeam_epoch::pin())
}

/// Whether this thread holds a guard: for assertions of rule E1.
#[inline]
pub fn is_pinned() -> bool {
    crossbeam_epoch::is_pinned()
}

/// A guard that protects nothing, for structures that nobody else can reach: while they are built, or in their `drop`.
///
/// # Safety
/// No other thread uses what is loaded under it.
pub unsafe fn unprotected() -> &'static crossbeam_epoch::Guard {
    // SAFETY: the caller promises what crossbeam asks for.
    unsafe { crossbeam_epoch::unprotected() }
}

impl Guard {
    /// Frees what `retired` points to once no reader can still see it.
    ///
    /// # Safety
    /// It is out of reach for whoever pins from now on (E2), is retired once, and its destructor only frees memory (E3).
    pub unsafe fn defer_free<T: Send + 'static>(&self, retired: Shared<'_, T>) {
        // SAFETY: passed on to our caller; `Send`, because any thread may be the one that frees.
        unsafe { self.0.defer_destroy(retired) }
    }

    /// Runs `free` once no reader can still see what it frees.
    ///
    /// # Safety
    /// As for [`defer_free`](Guard::defer_free).
    pub unsafe fn defer(&self, free: impl FnOnce() + Send + 'static) {
        // SAFETY: passed on to our caller.
        unsafe { self.0.defer_unchecked(free) }
    }

    /// Lets the epoch move on under a long traversal. References loaded before are invalid afterwards, and the borrow
    /// checker says so.
    pub fn repin(&mut self) {
        self.0.repin();
    }

    /// Hands this thread's retired pieces to whoever collects next. For threads that retire rarely, or are about to end.
    pub fn flush(&self) {
        self.0.flush();
    }
}

impl Deref for Guard {
    type Target = crossbeam_epoch::Guard;

    #[inline]
    fn deref(&self) -> &crossbeam_epoch::Guard {
        &self.0
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{
        epoch::{Atomic, Owned},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::*},
            thread,
        },
    };

    /// Counts its own destruction.
    struct Version {
        number: usize,
        freed: Arc<AtomicUsize>,
    }

    impl Drop for Version {
        fn drop(&mut self) {
            self.freed.fetch_add(1, Relaxed);
        }
    }

    /// Pins until everything retired before has been freed; fails a broken collector by never ending (the runner's timeout).
    fn until(freed: &AtomicUsize, wanted: usize) {
        while freed.load(Relaxed) < wanted {
            pin().flush();
            thread::yield_now();
        }
        assert_eq!(freed.load(Relaxed), wanted);
    }

    #[test]
    fn a_pinned_reader_keeps_the_version_it_saw() {
        let freed = Arc::new(AtomicUsize::new(0));
        let version = |number| Owned::new(Version { number, freed: Arc::clone(&freed) });
        let root = Atomic::from(version(1));

        let reader = pin();
        // SAFETY: loaded under a guard that is still held.
        let seen = unsafe { root.load(Acquire, &reader).deref() };
        thread::scope(|scope| {
            scope.spawn(|| {
                let guard = pin();
                let old = root.swap(version(2), AcqRel, &guard);
                // SAFETY: the swap took it out of reach, and nobody else retires it.
                unsafe { guard.defer_free(old) };
                for _ in 0..1000 {
                    guard.flush();
                    drop(pin());
                }
            });
        });
        assert_eq!((seen.number, freed.load(Relaxed)), (1, 0));
        drop(reader);
        until(&freed, 1);

        // SAFETY: the test is the only user left.
        drop(unsafe { root.into_owned() });
        assert_eq!(freed.load(Relaxed), 2);
    }

    #[test]
    fn readers_never_meet_a_freed_version() {
        const SWAPS: usize = 2000;
        let freed = Arc::new(AtomicUsize::new(0));
        let root = Atomic::new(Version { number: 0, freed: Arc::clone(&freed) });
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = 0;
                    while last < SWAPS {
                        let guard = pin();
                        // SAFETY: loaded under the guard.
                        let version = unsafe { root.load(Acquire, &guard).deref() };
                        assert!(version.number >= last && Arc::strong_count(&version.freed) > 0);
                        last = version.number;
                    }
                });
            }
            for number in 1..=SWAPS {
                let guard = pin();
                let next = Owned::new(Version { number, freed: Arc::clone(&freed) });
                let old = root.swap(next, AcqRel, &guard);
                // SAFETY: as above.
                unsafe { guard.defer_free(old) };
            }
        });
        until(&freed, SWAPS);
        // SAFETY: all readers have ended.
        drop(unsafe { root.into_owned() });
    }

    #[test]
    fn a_thread_knows_whether_it_is_pinned() {
        assert!(!is_pinned());
        let guard = pin();
        assert!(is_pinned());
        drop(guard);
        assert!(!is_pinned());
    }
}
