//! Who waits for sockets to be ready, and serves them: a worker.
//!
//! A worker with nothing to do waits here instead of in its bed, if no other does. So what comes is read by the thread that runs
//! its service next, and nobody has to be woken. While it runs that service nobody waits, for it will be back sooner than
//! another could be here; if it is not, who keeps watch over the workers sends one who sleeps ([`Node::attend_sockets`]). When none
//! sleeps, workers look here between two turns, now and then ([`Sockets::is_due`]).
//!
//! One report is worked off in this order: read, then write; error and hang-up are looked at only when it spoke of neither.
//!
//! # Invariants
//! * **P1** A worker has the seat while it waits here. It is woken like one that sleeps; its bed knows that it is here.
//! * **P2** A worker that was told something is a searcher before it serves it (`Worker::rouse`), and keeps what it makes runnable: another
//!   is woken for that only if it is much. If somebody else searches, it injects it, and that one looks for it.
//! * **P3** Once there was a socket: when all workers are asleep, one of them has the seat. Who parks takes it if it is free.

use std::{io, time::Duration};

use skein_arena::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::{EventKind, Network, Sockets, read::SPILL, record::State, system::Ready};
use crate::Node;

/// How long busy workers may leave sockets alone, in ns. They look then themselves, between two turns, or one who sleeps is sent here.
const OFTEN: u64 = 200_000;

/// What a thread keeps between two waits.
#[derive(Default)]
pub(crate) struct Poller {
    ready: Vec<Ready>,
    /// Made when it is first needed.
    spill: Vec<u8>,
}

impl Sockets {
    /// A worker sits down to wait here. `false`: another does, or there never was a socket.
    pub(crate) fn sit_down(&self) -> bool {
        // Acquire and Release: who sits down next sees what the one before left.
        self.used.load(Relaxed) && !self.seat.load(Relaxed) && !self.seat.swap(true, Acquire)
    }

    /// It gets up, at `now` of the workers' clock.
    pub(crate) fn get_up(&self, now: u64) {
        self.attended_at.store(now, Relaxed);
        self.seat.store(false, Release);
    }

    /// Whether somebody should look here, at `now` of the workers' clock: nobody waits here, and for a while nobody has.
    #[inline]
    pub(crate) fn is_due(&self, now: u64) -> bool {
        self.used.load(Relaxed)
            && !self.seat.load(Relaxed)
            && now.saturating_sub(self.attended_at.load(Relaxed)) >= OFTEN
    }

    /// Wakes the worker that sits here.
    pub(crate) fn wake(&self) {
        self.system.wake();
    }
}

impl Node {
    /// Who keeps watch looks here, at `now` of the workers' clock. If nobody has waited here for a while, and some worker sleeps, that one
    /// is woken, and will wait here when it finds nothing else.
    pub(crate) fn attend_sockets(&self, now: u64) {
        if self.sockets.is_due(now) {
            self.wake(self.scheduler.help());
        }
    }
}

impl Network<'_> {
    /// Waits until something is ready, somebody wakes, or the time is over. Whether somebody woke.
    ///
    /// # Errors
    /// The system refuses to wait.
    pub(crate) fn wait(self, poller: &mut Poller, limit: Option<Duration>) -> io::Result<bool> {
        self.system().wait(&mut poller.ready, limit)
    }

    /// Serves all that is ready.
    pub(crate) fn serve(self, poller: &mut Poller) {
        let Poller { ready, spill } = poller;
        spill.resize(SPILL, 0);
        for ready in ready.drain(..) {
            self.serve_one(ready, spill);
        }
    }

    fn serve_one(self, ready: Ready, spill: &mut [u8]) {
        let (id, fd) = (ready.token as u32 as i32, (ready.token >> 32) as i32);
        let Some(mut locked) = self.lock(id) else { return };
        let socket = &mut *locked;
        if socket.state == State::Dialling {
            if socket.dial.is_some() {
                self.dialled(locked, fd);
            }
            return;
        }
        if socket.fd != fd {
            return;
        }
        if socket.state == State::Listening {
            if socket.reading {
                self.accept(socket);
            }
            return;
        }
        if !ready.readable && !ready.writable {
            return self.failed(locked, ready);
        }
        if ready.readable && locked.reading {
            match self.readable(locked, ready.ended, spill) {
                Some(still) => locked = still,
                None => return,
            }
        }
        if ready.writable && locked.writing {
            self.writable(locked);
        }
    }

    /// Neither something to read nor room to write, and a report all the same.
    fn failed(self, mut locked: super::Locked<'_>, ready: Ready) {
        let socket = &mut *locked;
        self.give_up_whole(socket);
        if ready.failed {
            match self.system().take_error(socket.fd) {
                Some(error) => self.tell_error(socket, &error),
                None => self.tell(socket, EventKind::Error, "Unknown error"),
            }
        }
        if ready.hung_up {
            self.tell_close(socket);
            self.destroy(locked);
        }
    }
}

impl Poller {
    /// Whether there is something to serve.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }
}
