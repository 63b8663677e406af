//! Where a worker sleeps.
//!
//! # Invariants
//! * **B1** A wake-up ends one sleep: the one under way, or the next. Here or elsewhere: a worker that is away is woken where it is, and
//!   one that is about to leave stays.

use std::time::Duration;

use skein_arena::sync::{Condvar, Mutex, MutexGuard};

/// The bed of one worker. A wake-up that comes before the sleep is kept for it.
#[derive(Default)]
pub struct Bed {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    woken: bool,
    /// The worker waits for sockets, and not here.
    away: bool,
}

impl Bed {
    /// Ends the sleep of the worker, or the next one. `away` wakes it where it waits for sockets.
    pub fn wake(&self, away: impl FnOnce()) {
        let mut state = self.lock();
        state.woken = true;
        let is_away = state.away;
        drop(state);
        if is_away {
            away();
        } else {
            self.changed.notify_one();
        }
    }

    /// Sleeps until woken; no longer than `limit`, if given. May end early, for no reason. Whether it was woken.
    pub fn sleep(&self, limit: Option<Duration>) -> bool {
        let mut state = self.lock();
        if !state.woken {
            state = match limit {
                None => self.changed.wait(state).unwrap_or_else(|it| it.into_inner()),
                Some(limit) => self.changed.wait_timeout(state, limit).unwrap_or_else(|it| it.into_inner()).0,
            };
        }
        std::mem::take(&mut state.woken)
    }

    /// The worker is going to wait for sockets. `false`: it was woken before that.
    pub fn leave(&self) -> bool {
        let mut state = self.lock();
        state.away = !state.woken;
        state.woken = false;
        state.away
    }

    /// It is back. Whether it was woken meanwhile.
    pub fn come_back(&self) -> bool {
        let mut state = self.lock();
        state.away = false;
        std::mem::take(&mut state.woken)
    }

    /// Whether a wake-up waits for a sleep, for a simulation, which never sleeps.
    pub fn is_woken(&self) -> bool {
        self.lock().woken
    }

    /// Takes a wake-up, as the end of a sleep does.
    pub fn take(&self) {
        self.lock().woken = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|it| it.into_inner())
    }
}
