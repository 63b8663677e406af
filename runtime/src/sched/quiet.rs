//! What a worker does before it sleeps on, some time after services ended: a hook of the program, which lets its allocator give
//! back what they held.
//!
//! Allocators keep free memory for each thread, and only that thread can give it back. A service is made on one worker and may
//! end on another; when both have gone to sleep nobody would look any more. So a worker that goes to sleep after services ended
//! sleeps for [`AFTER`] at most, in one piece or several, calls the hook, and sleeps on; the first one to do so wakes the others
//! for the same. While no service ends this costs nobody anything.

use std::{sync::OnceLock, time::Duration};

use skein_arena::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How long after services ended the hook is called: others may end meanwhile, or begin and take what is free.
const AFTER: Duration = Duration::from_millis(100);

type Hook = Box<dyn Fn() + Send + Sync>;

/// The hook, and what calls for it.
#[derive(Default)]
pub(crate) struct Quiet {
    hook: OnceLock<Hook>,
    /// Services that ended so far.
    ended: AtomicU64,
    /// Of these, those that all workers have been told about.
    told: AtomicU64,
}

/// What a worker knows.
#[derive(Default)]
pub(crate) struct Room {
    /// How many services had ended when it called the hook.
    tidy: u64,
    /// When it will call it again; nanoseconds of its clock.
    due: Option<u64>,
}

impl Quiet {
    /// Sets the hook. The first one stays.
    pub(crate) fn set(&self, hook: Hook) {
        let _ = self.hook.set(hook);
    }

    /// A service ended.
    pub(crate) fn service_ended(&self) {
        self.ended.fetch_add(1, Relaxed);
    }

    /// For how long a worker sleeps at `now` before it calls the hook, if it has to.
    pub(crate) fn until_due(&self, room: &mut Room, now: u64) -> Option<Duration> {
        if self.ended.load(Relaxed) == room.tidy || self.hook.get().is_none() {
            return None;
        }
        let due = *room.due.get_or_insert(now.saturating_add(AFTER.as_nanos() as u64));
        Some(Duration::from_nanos(due.saturating_sub(now)))
    }

    /// Calls the hook, and wakes the other workers if they do not know.
    pub(crate) fn tidy(&self, room: &mut Room, wake_others: impl FnOnce()) {
        let ended = self.ended.load(Relaxed);
        *room = Room { tidy: ended, due: None };
        if let Some(hook) = self.hook.get() {
            hook();
        }
        if self.told.fetch_max(ended, Relaxed) < ended {
            wake_others();
        }
    }
}
