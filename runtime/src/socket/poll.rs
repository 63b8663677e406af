//! The thread that waits for sockets to be ready, and serves them.
//!
//! One report is worked off in this order: read, then write; error and hang-up are looked at only when it spoke of neither.

use std::sync::Arc;

use skein_arena::sync::atomic::Ordering::Relaxed;

use super::{EventKind, Network, read::SPILL, record::State, system::Ready};
use crate::Node;

/// What the thread keeps between two waits.
pub(crate) struct Poller {
    ready: Vec<Ready>,
    spill: Box<[u8]>,
}

impl Default for Poller {
    fn default() -> Self {
        Self { ready: Vec::with_capacity(256), spill: vec![0; SPILL].into() }
    }
}

/// The thread.
pub(crate) fn run(node: &Arc<Node>) {
    let mut poller = Poller::default();
    while !node.sockets.closed.load(Relaxed) {
        let network = node.network();
        let timeout = network.impatient();
        if let Err(error) = network.system().wait(&mut poller.ready, timeout) {
            network.log(format!("socket-server error: {}", super::text_of(&error)));
        }
        network.serve(&mut poller);
    }
}

impl Network<'_> {
    /// Serves all that is ready.
    pub(crate) fn serve(self, poller: &mut Poller) {
        let Poller { ready, spill } = poller;
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
            match self.readable(locked, spill) {
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
            return self.destroy(locked);
        }
        // A report that nobody acts upon would come again at once.
        if ready.failed && socket.state == State::Bound {
            self.stop_reading(socket);
        }
    }
}
