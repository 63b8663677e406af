//! Signals: SIGHUP asks the log service to reopen its file; SIGTERM and SIGINT ask a service to stop the node, if one wants to.
//!
//! A thread of its own sleeps on signal-hook's pipe, so nothing polls and no handler does more than write a byte. SIGPIPE is
//! ignored by the standard library before `main`. SIGTERM and SIGINT keep their default action until a service takes them by
//! the command `STOPPER`; then the first of them is a message to it, and the second has the default action again.
//!
//! # From skynet
//! skynet_start.c: handle_hup and SIG → [`Signals`].

use std::{
    ffi::c_int,
    io,
    sync::Arc,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::{Handle as Closer, Signals as Iterator},
    low_level::emulate_default_handler,
};
use skein_arena::sync::{Mutex, atomic::Ordering::Relaxed};

use crate::{Handle, MessageType, Node, message::Message};

/// The installed handlers, and the way to end their thread.
#[derive(Clone)]
pub(crate) struct Signals {
    signals: Arc<Mutex<Iterator>>,
    closer: Closer,
}

impl Signals {
    /// Takes SIGHUP over.
    pub(crate) fn install() -> io::Result<Self> {
        let signals = Iterator::new([SIGHUP])?;
        let closer = signals.handle();
        Ok(Self { signals: Arc::new(Mutex::new(signals)), closer })
    }

    /// The thread: until [`Self::close`].
    pub(crate) fn run(&self, node: &Arc<Node>) {
        let mut signals = self.signals.lock().unwrap_or_else(|it| it.into_inner());
        let mut asked = false;
        for signal in signals.forever() {
            if signal == SIGHUP {
                node.reopen_log();
            } else if asked || !tell_stopper(node, signal) {
                // Ends the process; if that cannot be, a third one tries again.
                let _ = emulate_default_handler(signal);
            }
            asked |= signal != SIGHUP;
        }
    }

    /// Takes SIGTERM and SIGINT over.
    pub(crate) fn take_stop(&self) -> io::Result<()> {
        self.closer.add_signal(SIGTERM)?;
        self.closer.add_signal(SIGINT)
    }

    /// Ends the thread.
    pub(crate) fn close(&self) {
        self.closer.close();
    }
}

/// Tells the service that took the signals: a system message without a body, whose session is the signal. `false`: it is gone.
fn tell_stopper(node: &Arc<Node>, signal: c_int) -> bool {
    let to = Handle(node.stopper.load(Relaxed));
    let Ok(envelope) = node.arena().envelope() else { return false };
    node.post(to, Message::new(envelope, Handle::NONE, signal, MessageType::SYSTEM)).is_ok()
}
