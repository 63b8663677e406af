//! The record of a service's messages: one line each, before it is handled (LOGON, LOGOFF).
//!
//! Needs `logpath` in the configuration; the file is `<logpath>/<handle>.log`, appended to.

use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::Write as _,
    sync::Arc,
};

use skein_arena::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use super::time::LocalTime;
use crate::{Handle, Message, MessageType, Node, service::ServiceContext};

/// The open record of one service, or none.
#[derive(Default)]
pub(crate) struct MessageLog {
    /// Looked at for every message, so that the lock is not.
    open: AtomicBool,
    file: Mutex<Option<File>>,
}

impl MessageLog {
    /// LOGON. Without `logpath`, or when open already: nothing.
    pub(crate) fn open(&self, by: &ServiceContext, service: Handle) {
        let Some(path) = by.node().settings().log_path() else { return };
        let mut file = self.file();
        if file.is_some() {
            return;
        }
        let path = path.join(format!("{:08x}.log", service.0));
        match OpenOptions::new().append(true).create(true).open(&path) {
            Ok(mut opened) => {
                by.log(format!("Open log file {}", path.display()));
                let now = by.node().now();
                let wall = LocalTime::of(i64::from(by.node().starttime()) + (now / 100) as i64);
                let _ = writeln!(opened, "open time: {now} {}", wall.long());
                *file = Some(opened);
                self.open.store(true, Relaxed);
            }
            Err(_) => by.log(format!("Open log file {} fail", path.display())),
        }
    }

    /// LOGOFF.
    pub(crate) fn close(&self, by: &ServiceContext, service: Handle) {
        let Some(mut file) = self.file().take() else { return };
        self.open.store(false, Relaxed);
        by.log(format!("Close log file {service}"));
        let _ = writeln!(file, "close time: {}", by.node().now());
    }

    /// The service is gone.
    pub(crate) fn close_silently(&self) {
        self.open.store(false, Relaxed);
        *self.file() = None;
    }

    /// Writes a message, if the record is open.
    #[inline]
    pub(crate) fn record(&self, node: &Arc<Node>, message: &Message) {
        if self.open.load(Relaxed)
            && let Some(file) = self.file().as_mut()
        {
            // A full disk must not stop the service.
            let _ = file.write_all(line(message, node.now()).as_bytes());
        }
    }

    fn file(&self) -> MutexGuard<'_, Option<File>> {
        self.file.lock().unwrap_or_else(|it| it.into_inner())
    }
}

fn line(message: &Message, now: u64) -> String {
    let mut line = String::with_capacity(48 + message.len() * 2);
    if message.ty() == MessageType::SOCKET {
        socket_line(&mut line, message);
    } else {
        let (source, ty, session) = (message.source(), message.ty().0, message.session());
        let _ = write!(line, "{source} {ty} {session} {now} ");
        hex(&mut line, message);
    }
    line.push('\n');
    line
}

/// A socket message is three numbers, a pointer, and text if the pointer is NULL.
fn socket_line(line: &mut String, message: &Message) {
    let number = |at: usize| message.get(at..at + 4).map_or(0, |it| i32::from_ne_bytes([it[0], it[1], it[2], it[3]]));
    let _ = write!(line, "[socket] {} {} {} ", number(0), number(4), number(8));
    let pointer = message.get(16..24).map_or(0, |it| it.iter().rev().fold(0_usize, |sum, byte| sum << 8 | *byte as usize));
    if pointer == 0 {
        let text = message.get(24..).unwrap_or_default();
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let _ = write!(line, "[{}]", String::from_utf8_lossy(text));
    } else if let Some(found) = skein_arena::Arena::find(pointer as *const u8) {
        let len = found.size.min(number(8).max(0) as usize);
        // SAFETY: the message being recorded owns this payload, which is alive, and `len` lies inside it.
        hex(line, unsafe { core::slice::from_raw_parts(pointer as *const u8, len) });
    }
}

fn hex(line: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(line, "{byte:02x}");
    }
}
