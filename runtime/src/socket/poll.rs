//! Who waits for sockets to be ready, and serves them.
//!
//! A worker with nothing to do waits here instead of in its bed, if no other does: then bytes that come are read by the thread that
//! runs their service next, and nobody has to be woken. A thread of the layer's own waits as well, all the time: it came first,
//! so it is told only what no worker waits for.
//!
//! One report is worked off in this order: read, then write; error and hang-up are looked at only when it spoke of neither.
//!
//! # Invariants
//! * **P1** A worker has the seat while it waits here. It is woken like one that sleeps; its bed knows that it is here.
//! * **P2** A worker that was told something is a searcher before it serves it (`Worker::rouse`), so what it makes runnable needs no
//!   wake-up: it looks for that itself, or who searches already does.

use std::{io, sync::Arc, time::Duration};

use skein_arena::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::{EventKind, Network, Sockets, read::SPILL, record::State, system::Ready};
use crate::Node;

/// What a thread keeps between two waits.
#[derive(Default)]
pub(crate) struct Poller {
    ready: Vec<Ready>,
    /// Made when it is first needed.
    spill: Vec<u8>,
}

/// The layer's own thread.
pub(crate) fn run(node: &Arc<Node>) {
    let mut poller = Poller::default();
    while !node.sockets.closed.load(Relaxed) {
        let network = node.network();
        match network.wait(&mut poller, None) {
            Ok(woken) => {
                network.serve(&mut poller);
                if woken {
                    node.sockets.pass_on();
                }
            }
            Err(error) => network.log(format!("socket-server error: {}", super::text_of(&error))),
        }
    }
    node.sockets.wake();
}

impl Sockets {
    /// A worker sits down to wait here. `false`: another does.
    pub(crate) fn sit_down(&self) -> bool {
        // Acquire and Release: who sits down next sees what the one before left.
        !self.seat.load(Relaxed) && !self.seat.swap(true, Acquire)
    }

    /// It gets up. Who waits behind it must know, too, when all of this ends.
    pub(crate) fn get_up(&self) {
        self.seat.store(false, Release);
        if self.closed.load(Relaxed) {
            self.system.wake();
        }
    }

    /// The layer's own thread was woken in place of a worker that is about to wait here, or about to get up (P1).
    fn pass_on(&self) {
        if self.seat.load(Acquire) {
            std::thread::yield_now();
            self.system.wake();
        }
    }

    /// Wakes the worker that sits here.
    pub(crate) fn wake(&self) {
        self.system.wake();
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
