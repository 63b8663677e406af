//! Where a worker sleeps.

use std::time::Duration;

use skein_arena::sync::{Condvar, Mutex, MutexGuard};

/// The bed of one worker. A wake-up that comes before the sleep is kept for it.
#[derive(Default)]
pub(crate) struct Bed {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Bed {
    /// Ends the sleep of the worker, or the next one.
    pub(crate) fn wake(&self) {
        *self.lock() = true;
        self.changed.notify_one();
    }

    /// Sleeps until woken; no longer than `limit`, if given. May end early, for no reason. Whether it was woken.
    pub(crate) fn sleep(&self, limit: Option<Duration>) -> bool {
        let mut woken = self.lock();
        if !*woken {
            woken = match limit {
                None => self.changed.wait(woken).unwrap_or_else(|it| it.into_inner()),
                Some(limit) => self.changed.wait_timeout(woken, limit).unwrap_or_else(|it| it.into_inner()).0,
            };
        }
        std::mem::take(&mut *woken)
    }

    /// Whether a wake-up waits for a sleep, for a simulation, which never sleeps.
    pub(crate) fn is_woken(&self) -> bool {
        *self.lock()
    }

    /// Takes a wake-up, as the end of a sleep does.
    pub(crate) fn take(&self) {
        *self.lock() = false;
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.woken.lock().unwrap_or_else(|it| it.into_inner())
    }
}
