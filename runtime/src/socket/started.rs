//! Connections that are read when they are started, and watched at the end of the turn that did so.
//!
//! Who connects has something to say, as a rule, and has said it by the time a service takes the connection. So it is read there and
//! then; and a service that answers and closes at once never has the poller told of that connection, which saves two system calls
//! and a wake-up.
//!
//! # Invariants
//! * **T1** A socket that is connected and not watched is in the list of a worker whose turn has not ended, or is about to empty
//!   the list. A poller that begins to watch tells what has come before, so nothing is missed.

use skein_arena::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use super::{
    EventKind, Network,
    record::{Socket, State},
    table::Locked,
};

/// What is read beyond the socket's first block is copied, so that one call is enough.
const ROOM: usize = 2048;

/// What a worker has started in its turn.
#[derive(Default)]
pub(super) struct Started {
    any: AtomicBool,
    ids: Mutex<Vec<i32>>,
}

impl<'n> Network<'n> {
    /// Reads from a connection that was just started, by a turn of `worker`.
    pub(super) fn read_first(self, worker: usize, locked: Locked<'n>) {
        let started = &self.sockets().started[worker];
        started.ids.lock().unwrap_or_else(|it| it.into_inner()).push(locked.id);
        started.any.store(true, Relaxed);
        drop(self.readable(locked, false, &mut [0; ROOM]));
    }

    /// The turn of a worker has ended: what it started is watched from now on.
    #[inline]
    pub(super) fn watch_started(self, worker: usize) {
        let started = &self.sockets().started[worker];
        if started.any.load(Relaxed) {
            self.watch_list(started);
        }
    }

    #[cold]
    fn watch_list(self, started: &Started) {
        started.any.store(false, Relaxed);
        let ids = core::mem::take(&mut *started.ids.lock().unwrap_or_else(|it| it.into_inner()));
        for id in ids {
            if let Some(mut socket) = self.lock(id) {
                self.watch_at_last(&mut socket);
            }
        }
    }

    fn watch_at_last(self, socket: &mut Socket) {
        let (reading, writing) = (socket.reading, socket.writing);
        let open = matches!(socket.state, State::Connected | State::HalfRead | State::HalfWrite);
        if open && !socket.watched && self.watch(socket, reading, writing).is_err() {
            self.tell(socket, EventKind::Error, "enable read failed");
        }
    }
}
