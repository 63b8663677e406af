//! Looks every 5 s for a service stuck in one message.
//!
//! A worker notes in its [`Watch`] what it handles; the monitor compares two looks. The version tells messages apart that
//! look alike.
//!
//! # From skynet
//! skynet_monitor.c: struct skynet_monitor → [`Watch`]; skynet_monitor_check → `Node::check_watches`.

use std::sync::Arc;

use skein_arena::{
    epoch,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use crate::{Handle, Node};

/// What a worker is doing. Written by the worker, read by the monitor.
#[derive(Default)]
pub(crate) struct Watch {
    version: AtomicU32,
    /// Source and destination of the message being handled, the source on top; 0 between messages.
    message: AtomicU64,
    /// The version at the monitor's last look.
    checked: AtomicU32,
}

impl Watch {
    #[inline]
    pub(crate) fn begin(&self, source: Handle, destination: Handle) {
        self.message.store(u64::from(source.0) << 32 | u64::from(destination.0), Relaxed);
        // One writer: no locked instruction.
        self.version.store(self.version.load(Relaxed).wrapping_add(1), Relaxed);
    }

    #[inline]
    pub(crate) fn end(&self) {
        self.message.store(0, Relaxed);
    }

    /// The message that was there at the last look already: source, destination, version.
    fn stuck(&self) -> Option<(Handle, Handle, u32)> {
        let version = self.version.load(Relaxed);
        if self.checked.swap(version, Relaxed) != version {
            return None;
        }
        match self.message.load(Relaxed) {
            0 => None,
            message => Some((Handle((message >> 32) as u32), Handle(message as u32), version)),
        }
    }
}

/// Lets the monitor sleep, and end.
#[derive(Default)]
pub(crate) struct MonitorRest {
    closed: Mutex<bool>,
    changed: Condvar,
}

impl MonitorRest {
    pub(crate) fn close(&self) {
        *self.closed.lock().unwrap_or_else(|it| it.into_inner()) = true;
        self.changed.notify_all();
    }

    /// Sleeps for one period. `false`: the node ends.
    fn sleep(&self, period: std::time::Duration) -> bool {
        let until = std::time::Instant::now() + period;
        let mut closed = self.closed.lock().unwrap_or_else(|it| it.into_inner());
        loop {
            let left = until.saturating_duration_since(std::time::Instant::now());
            if *closed || left.is_zero() {
                return !*closed;
            }
            closed = self.changed.wait_timeout(closed, left).unwrap_or_else(|it| it.into_inner()).0;
        }
    }
}

/// The monitor's thread.
pub(crate) fn run(node: &Arc<Node>) {
    while node.monitor_rest.sleep(node.settings().monitor_period()) {
        for (source, to, version) in node.watches.iter().filter_map(Watch::stuck) {
            if let Some(service) = node.handles.find(to, &epoch::pin()) {
                service.endless.store(true, Relaxed);
            }
            let text = format!(
                "error: A message from [ {source} ] to [ {to} ] maybe in an endless loop (version = {version})"
            );
            node.log(Handle::NONE, text.as_bytes());
        }
    }
}
