//! The log service: lines to standard output, or to a file that SIGHUP reopens.
//!
//! ```text
//! [:00000008] LAUNCH snlua main
//! 23/11/26 04:06:32.57 [:00000008] hello        (in a file)
//! ```
//!
//! # From skynet
//! service_logger.c → [`Logger`]. Differs: when the file cannot be reopened lines go to standard error.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    sync::Arc,
};

use crate::{InitError, Message, MessageType, Service, ServiceContext, log::time::LocalTime};

/// Writes what others log.
#[derive(Default)]
pub(crate) struct Logger {
    path: Option<PathBuf>,
    file: Option<File>,
    line: Vec<u8>,
    /// The second that `stamp` was made for: the local time is asked once a second.
    second: u64,
    stamp: String,
}

impl Logger {
    fn open(path: &PathBuf) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).open(path)
    }

    fn write(&mut self, ctx: &Arc<ServiceContext>, message: &Message) {
        self.line.clear();
        if self.path.is_some() {
            let now = ctx.node().now();
            if self.stamp.is_empty() || self.second != now / 100 {
                self.second = now / 100;
                self.stamp = LocalTime::of(i64::from(ctx.node().starttime()) + self.second as i64).short();
            }
            let _ = write!(self.line, "{}.{:02} ", self.stamp, now % 100);
        }
        let _ = write!(self.line, "[{}] ", message.source());
        self.line.extend_from_slice(message);
        self.line.push(b'\n');
        // A log that cannot be written is no reason to stop: there is nowhere to say so.
        let _ = match (&mut self.file, &self.path) {
            (Some(file), _) => file.write_all(&self.line),
            (None, Some(_)) => io::stderr().write_all(&self.line),
            (None, None) => {
                let mut out = io::stdout().lock();
                out.write_all(&self.line).and_then(|()| out.flush())
            }
        };
        self.line.shrink_to(1 << 16);
    }
}

impl Service for Logger {
    fn init(&mut self, _: &Arc<ServiceContext>, args: Option<&[u8]>) -> Result<(), InitError> {
        if let Some(args) = args {
            let path = PathBuf::from(std::ffi::OsStr::from_bytes(args));
            self.file = Some(Self::open(&path).map_err(|error| format!("{}: {error}", path.display()))?);
            self.path = Some(path);
        }
        Ok(())
    }

    fn dispatch(&mut self, ctx: &Arc<ServiceContext>, message: Message) {
        match message.ty() {
            MessageType::TEXT => self.write(ctx, &message),
            MessageType::SYSTEM => {
                if let Some(path) = &self.path {
                    self.file = Self::open(path).ok();
                }
            }
            _ => {}
        }
    }

    fn drains(&self) -> bool {
        true
    }
}
