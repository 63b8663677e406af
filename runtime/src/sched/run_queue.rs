//! Mailboxes that have messages and no worker: first in, first out.
//!
//! # Invariants
//! * **R1** A mailbox is in the queue, or with a worker, or idle, and never twice: an entry is the hold (`mailbox`, M2).

use std::ptr::NonNull;

use crossbeam_deque::{Injector, Steal};
use skein_arena::sync::{
    atomic::{AtomicBool, Ordering::SeqCst},
    hint,
};

use super::park::Park;
use crate::service::ServiceContext;

/// The hold of a mailbox, on its way to a worker.
pub(crate) struct Scheduled(NonNull<ServiceContext>);

// SAFETY: a context is `Sync`, and the entry is the only hold.
unsafe impl Send for Scheduled {}

impl Scheduled {
    /// # Safety
    /// The caller gives up the hold of the context's mailbox, and the handle table counts the context until its last turn.
    pub(crate) unsafe fn new(ctx: *const ServiceContext) -> Self {
        // SAFETY: comes from a reference or an `Arc`.
        Self(unsafe { NonNull::new_unchecked(ctx.cast_mut()) })
    }

    pub(crate) fn as_ptr(&self) -> *const ServiceContext {
        self.0.as_ptr()
    }
}

/// The queue, and the bed of those who wait for it.
pub(crate) struct RunQueue {
    waiting: Injector<Scheduled>,
    park: Park,
    closed: AtomicBool,
}

impl RunQueue {
    pub(crate) fn new() -> Self {
        Self { waiting: Injector::new(), park: Park::new(), closed: AtomicBool::new(false) }
    }

    /// Appends a mailbox, and wakes a worker if one sleeps.
    #[inline]
    pub(crate) fn push(&self, scheduled: Scheduled) {
        self.waiting.push(scheduled);
        self.park.wake_one();
    }

    /// Whether another mailbox waits for a worker.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next mailbox; sleeps while there is none. `idle` is called before a sleep. `None`: the node ends.
    pub(crate) fn next(&self, idle: impl FnMut()) -> Option<Scheduled> {
        // Closed, there is nothing to find: the worker goes to sleep, and does not.
        let open = || !self.closed.load(SeqCst);
        self.park.next(|| if open() { self.take() } else { None }, || open() && self.has_waiting(), idle)
    }

    /// Takes the first mailbox without waiting.
    pub(crate) fn take(&self) -> Option<Scheduled> {
        loop {
            match self.waiting.steal() {
                Steal::Success(scheduled) => return Some(scheduled),
                Steal::Empty => return None,
                Steal::Retry => hint::spin_loop(),
            }
        }
    }

    /// Sends all workers home.
    pub(crate) fn close(&self) {
        self.closed.store(true, SeqCst);
        self.park.close();
    }
}
