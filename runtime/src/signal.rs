//! Signals: SIGHUP asks the log service to reopen its file.
//!
//! A thread of its own sleeps on signal-hook's pipe, so nothing polls and no handler does more than write a byte. SIGPIPE is
//! ignored by the standard library before `main`; SIGTERM and SIGINT keep their default action.
//!
//! # From skynet
//! skynet_start.c: handle_hup and SIG → [`Signals`].

use std::{io, sync::Arc};

use signal_hook::{
    consts::SIGHUP,
    iterator::{Handle as Closer, Signals as Iterator},
};
use skein_arena::sync::Mutex;

use crate::Node;

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
        for _ in signals.forever() {
            node.reopen_log();
        }
    }

    /// Ends the thread.
    pub(crate) fn close(&self) {
        self.closer.close();
    }
}
