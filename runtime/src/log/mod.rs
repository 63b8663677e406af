//! Logs: lines on their way to the log service, and the record of a service's messages.
//!
//! A line is a message of type TEXT to the service named `logger`, which is looked up once; before it exists lines are
//! dropped, so the log service's own LAUNCH line never appears. When it ended by itself, a log service in Lua with an error, say,
//! the lines that it has not read and all later ones go to standard error; skynet's are lost.
//!
//! # From skynet
//! skynet_error.c → [`Node::log`], [`Node::orphaned`]; skynet_log.c → [`MessageLog`].

use std::io::{self, Write};
use std::sync::Arc;

use skein_arena::sync::atomic::Ordering::Relaxed;

use crate::{Handle, Message, MessageType, Node, counters::Dropped};

mod record;
pub(crate) mod time;

pub(crate) use record::MessageLog;

impl Node {
    /// A line for the log; `source` is [`Handle::NONE`] for the runtime itself.
    pub fn log(self: &Arc<Self>, source: Handle, text: &[u8]) {
        let Some(logger) = self.logger() else { return self.counters.dropped(Dropped::Log) };
        let sent = self.arena().copy_from(text).map(|block| {
            let message = Message::new(block, source, 0, MessageType::TEXT);
            self.post(logger, message)
        });
        if !matches!(sent, Ok(Ok(()))) {
            self.counters.dropped(Dropped::Log);
            self.orphaned(source, text);
        }
    }

    /// A line that no log service will read. At the end of a node, that is no news.
    #[cold]
    pub(crate) fn orphaned(&self, source: Handle, text: &[u8]) {
        if !self.aborting.load(Relaxed) {
            let line = [format!("[{source}] ").as_bytes(), text, b"\n"].concat();
            // If that fails, too, there is nowhere left to say so.
            let _ = io::stderr().write_all(&line);
        }
    }

    /// The service named `logger`, once there was one.
    pub(crate) fn logger(&self) -> Option<Handle> {
        match self.logger.load(Relaxed) {
            0 => {
                let found = self.names.find(b"logger")?;
                self.logger.store(found.0, Relaxed);
                Some(found)
            }
            handle => Some(Handle(handle)),
        }
    }

    /// Asks the log service to reopen its file: what SIGHUP does.
    pub fn reopen_log(self: &Arc<Self>) {
        if let (Some(logger), Ok(envelope)) = (self.names.find(b"logger"), self.arena().envelope()) {
            let _ = self.post(logger, Message::new(envelope, Handle::NONE, 0, MessageType::SYSTEM));
        }
    }
}
