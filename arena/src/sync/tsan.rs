//! Locks and fences that ThreadSanitizer can follow (`--cfg skein_tsan`).
//!
//! The standard library comes compiled, without the sanitizer's marks: a lock taken after waiting, and every fence, order nothing in its
//! eyes, and all that they guard would be reported. So a lock here says the same once more with an atomic of our own, which
//! is marked: released before the lock is let go, acquired after it was taken. A fence is a read-modify-write of one word for
//! all, which orders more than a fence does; what a missing fence lets through is loom's to find.

#![allow(clippy::disallowed_types)]

use std::{
    ops::{Deref, DerefMut},
    sync::{
        LockResult, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use std::sync::WaitTimeoutResult;

/// As `std::sync::atomic::fence`.
pub fn fence(_: Ordering) {
    static FENCES: AtomicU32 = AtomicU32::new(0);
    FENCES.fetch_add(1, Ordering::SeqCst);
}

/// One lock's history, for the sanitizer.
#[derive(Debug, Default)]
struct History(AtomicU32);

impl History {
    const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    fn taken(&self) {
        self.0.load(Ordering::Acquire);
    }

    fn leaving(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// Joins the results of a lock into ours.
fn wrap<G, H>(result: LockResult<G>, with: impl FnOnce(G) -> H) -> LockResult<H> {
    match result {
        Ok(guard) => Ok(with(guard)),
        Err(poisoned) => Err(PoisonError::new(with(poisoned.into_inner()))),
    }
}

/// As `std::sync::Mutex`.
#[derive(Debug, Default)]
pub struct Mutex<T: ?Sized> {
    history: History,
    inner: std::sync::Mutex<T>,
}

/// As `std::sync::MutexGuard`.
#[derive(Debug)]
pub struct MutexGuard<'a, T: ?Sized> {
    /// Taken out to wait, and when dropped.
    inner: Option<std::sync::MutexGuard<'a, T>>,
    history: &'a History,
}

impl<T> Mutex<T> {
    /// An open lock.
    pub const fn new(value: T) -> Self {
        Self { history: History::new(), inner: std::sync::Mutex::new(value) }
    }

    /// As in std.
    ///
    /// # Errors
    /// A holder panicked.
    pub fn into_inner(self) -> LockResult<T> {
        self.inner.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// As in std.
    ///
    /// # Errors
    /// A holder panicked.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.inner.get_mut()
    }

    /// As in std.
    ///
    /// # Errors
    /// A holder panicked.
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        wrap(self.inner.lock(), |inner| MutexGuard::new(inner, &self.history))
    }

    /// As in std.
    ///
    /// # Errors
    /// Somebody has it, or a holder panicked.
    pub fn try_lock(&self) -> std::sync::TryLockResult<MutexGuard<'_, T>> {
        use std::sync::TryLockError::{Poisoned, WouldBlock};
        match self.inner.try_lock() {
            Ok(inner) => Ok(MutexGuard::new(inner, &self.history)),
            Err(WouldBlock) => Err(WouldBlock),
            Err(Poisoned(it)) => {
                Err(Poisoned(PoisonError::new(MutexGuard::new(it.into_inner(), &self.history))))
            }
        }
    }
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    fn new(inner: std::sync::MutexGuard<'a, T>, history: &'a History) -> Self {
        history.taken();
        Self { inner: Some(inner), history }
    }

    fn leave(&mut self) -> std::sync::MutexGuard<'a, T> {
        self.history.leaving();
        self.inner.take().expect("a guard has its lock until it is gone")
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.inner.as_ref().expect("a guard has its lock until it is gone")
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect("a guard has its lock until it is gone")
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if self.inner.is_some() {
            drop(self.leave());
        }
    }
}

/// As `std::sync::Condvar`.
#[derive(Debug, Default)]
pub struct Condvar(std::sync::Condvar);

impl Condvar {
    /// Nobody waits.
    pub const fn new() -> Self {
        Self(std::sync::Condvar::new())
    }

    /// As in std.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// As in std.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }

    /// As in std.
    ///
    /// # Errors
    /// A holder of the lock panicked.
    pub fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let history = guard.history;
        wrap(self.0.wait(guard.leave()), |inner| MutexGuard::new(inner, history))
    }

    /// As in std.
    ///
    /// # Errors
    /// A holder of the lock panicked.
    pub fn wait_timeout<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        time: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let history = guard.history;
        wrap(self.0.wait_timeout(guard.leave(), time), |(inner, timeout)| {
            (MutexGuard::new(inner, history), timeout)
        })
    }
}

/// As `std::sync::RwLock`.
#[derive(Debug, Default)]
pub struct RwLock<T: ?Sized> {
    history: History,
    inner: std::sync::RwLock<T>,
}

impl<T> RwLock<T> {
    /// An open lock.
    pub const fn new(value: T) -> Self {
        Self { history: History::new(), inner: std::sync::RwLock::new(value) }
    }
}

impl<T: ?Sized> RwLock<T> {
    /// As in std.
    ///
    /// # Errors
    /// A writer panicked.
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        wrap(self.inner.read(), |inner| RwLockReadGuard(Tracked::new(inner, &self.history)))
    }

    /// As in std.
    ///
    /// # Errors
    /// A writer panicked.
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        wrap(self.inner.write(), |inner| RwLockWriteGuard(Tracked::new(inner, &self.history)))
    }
}

/// A guard that tells the history when it goes, before the lock is open.
#[derive(Debug)]
struct Tracked<'a, G> {
    history: &'a History,
    guard: G,
}

impl<'a, G> Tracked<'a, G> {
    fn new(guard: G, history: &'a History) -> Self {
        history.taken();
        Self { history, guard }
    }
}

impl<G> Drop for Tracked<'_, G> {
    fn drop(&mut self) {
        // The guard is a field, so it goes after this.
        self.history.leaving();
    }
}

/// As `std::sync::RwLockReadGuard`.
#[derive(Debug)]
pub struct RwLockReadGuard<'a, T: ?Sized>(Tracked<'a, std::sync::RwLockReadGuard<'a, T>>);

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.guard
    }
}

/// As `std::sync::RwLockWriteGuard`.
#[derive(Debug)]
pub struct RwLockWriteGuard<'a, T: ?Sized>(Tracked<'a, std::sync::RwLockWriteGuard<'a, T>>);

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.guard
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0.guard
    }
}
