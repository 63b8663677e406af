//! What the owner of a socket, or who becomes it, can do: start, pause, close, shut down.

use super::{
    EventKind, Network,
    record::{Kind, State},
};
use crate::Handle;

impl Network<'_> {
    /// Takes a socket over: from now on its events go to `owner`. Begins or resumes reading, or taking connections.
    ///
    /// An event tells `owner` the outcome: CONNECT with the text `start` or `transfer`, or ERROR.
    pub fn start(self, owner: Handle, id: i32) {
        let refuse = |text: &str| self.send_event(owner, EventKind::Error, id, 0, None, text.as_bytes());
        let Some(mut locked) = self.lock(id) else { return refuse("invalid socket") };
        let socket = &mut *locked;
        if socket.closing || socket.state == State::HalfRead {
            return refuse("socket closed");
        }
        let (next, text) = match socket.state {
            State::Dialling => {
                socket.reading = true;
                return;
            }
            State::Accepted => (State::Connected, Some("start")),
            State::Prepared => (State::Listening, Some("start")),
            State::Connected => (State::Connected, Some("transfer")),
            other => (other, None),
        };
        let first = (socket.state == State::Accepted).then(|| self.node.turn()).flatten();
        let writing = socket.writing;
        if first.is_some() {
            socket.reading = true;
        } else if self.watch(socket, true, writing).is_err() {
            return refuse("enable read failed");
        }
        socket.state = next;
        if let Some(text) = text {
            if socket.owner != owner {
                self.give_up_whole(socket);
                socket.told = 0;
            }
            socket.owner = owner;
            self.tell(socket, EventKind::Connect, text);
        }
        if let Some((worker, _)) = first {
            self.read_first(worker, locked);
        }
    }

    /// Stops reading: what comes waits in the system.
    pub fn pause(self, id: i32) {
        if let Some(mut socket) = self.lock(id) {
            self.stop_reading(&mut socket);
        }
    }

    /// Closes a socket: what waits is still sent, in the background. The owner gets a CLOSE unless it had one.
    pub fn close(self, id: i32) {
        let Some(mut locked) = self.lock(id) else { return };
        let socket = &mut *locked;
        self.release_last(socket);
        self.tell_close(socket);
        if socket.outbox.is_empty() || matches!(socket.state, State::HalfWrite | State::Accepted) {
            return self.destroy(locked);
        }
        socket.closing = true;
        if socket.state == State::Dialling {
            return;
        }
        self.stop_reading(socket);
        socket.state = State::HalfRead;
    }

    /// Ends a socket: what waits is dropped. The owner gets a CLOSE unless it had one.
    pub fn shutdown(self, id: i32) {
        if let Some(mut locked) = self.lock(id) {
            self.release(&mut locked);
            self.tell_close(&mut locked);
            self.destroy(locked);
        }
    }

    /// Has small packets of a stream go at once.
    pub fn nodelay(self, id: i32) {
        if let Some(socket) = self.lock(id)
            && socket.fd >= 0
            && !matches!(socket.kind, Kind::Datagram { .. })
        {
            self.system().set_nodelay(socket.fd);
        }
    }
}
