//! Timeouts of services: after so many ticks a response without a body comes from `:00000000`.
//!
//! One thread owns the expiry. It sleeps until the wheel has something to do, and is woken early only when a timeout is set
//! that comes before that. The envelope is taken from the arena when a timeout is set: it cannot fail to expire later.
//!
//! A timeout of n ticks expires when the clock shows n ticks more, so after n - 1 to n real ones. skynet's unit is 1/100 s;
//! the wheel turns in ms.
//!
//! # From skynet
//! skynet_timer.c: struct timer → [`Timer`] and [`wheel::Wheel`]; skynet_updatetime, polled each 2.5 ms → a sleep of the
//! right length; skynet_timeout → `Node::timeout`.

use std::{sync::Arc, time::Duration};

use skein_arena::{
    Block,
    sync::{Condvar, Mutex, MutexGuard},
};

use crate::{Handle, Message, MessageType, Node, SendError, Session};

pub mod clock;
pub mod wheel;

use wheel::{Key, Wheel};

/// Milliseconds of a tick.
const TICK_MS: u64 = 10;

/// Pending timeouts, and the sleep of the thread that expires them.
pub(crate) struct Timer {
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    wheel: Wheel<Timeout>,
    /// Until when the thread sleeps, in ms; `None` while it is awake.
    sleeps_until: Option<u64>,
    closed: bool,
}

/// A message to be.
struct Timeout {
    to: Handle,
    session: Session,
    envelope: Block,
}

impl Timer {
    pub(crate) fn new(now_ms: u64) -> Self {
        let inner = Inner { wheel: Wheel::new(now_ms), sleeps_until: None, closed: false };
        Self { inner: Mutex::new(inner), changed: Condvar::new() }
    }

    pub(crate) fn pending(&self) -> usize {
        self.lock().wheel.len()
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn set(&self, expiry_ms: u64, timeout: Timeout) -> Key {
        let mut inner = self.lock();
        let key = inner.wheel.set(expiry_ms, timeout);
        if inner.sleeps_until.is_some_and(|until| expiry_ms < until) {
            inner.sleeps_until = None;
            self.changed.notify_one();
        }
        key
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|it| it.into_inner())
    }
}

/// A pending timeout, for [`Node::cancel_timeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutKey(Key);

impl Node {
    /// After `ticks` (1/100 s) sends a response with this session to `to`; at once if not positive.
    ///
    /// # Errors
    /// The arena has no room for the envelope.
    pub fn timeout(
        self: &Arc<Self>,
        to: Handle,
        session: Session,
        ticks: i32,
    ) -> Result<Option<TimeoutKey>, SendError> {
        let envelope = self.arena().envelope()?;
        if ticks <= 0 {
            let _ = self.post(to, Message::new(envelope, Handle::NONE, session, MessageType::RESPONSE));
            return Ok(None);
        }
        let expiry = (self.now() + ticks as u64) * TICK_MS;
        Ok(Some(TimeoutKey(self.timer.set(expiry, Timeout { to, session, envelope }))))
    }

    /// Takes a timeout back. `false`: it expired, or was taken back before.
    pub fn cancel_timeout(&self, key: TimeoutKey) -> bool {
        self.timer.lock().wheel.cancel(key.0).is_some()
    }
}

/// The timer's thread.
pub(crate) fn run(node: &Arc<Node>) {
    let mut expired = Vec::new();
    let mut inner = node.timer.lock();
    while !inner.closed {
        let now = node.clock.nanos() / 1_000_000;
        inner.wheel.advance(now, |timeout| expired.push(timeout));
        if !expired.is_empty() {
            drop(inner);
            for Timeout { to, session, envelope } in expired.drain(..) {
                // A service that is gone misses nothing.
                let _ = node.post(to, Message::new(envelope, Handle::NONE, session, MessageType::RESPONSE));
            }
            expired.shrink_to(1024);
            inner = node.timer.lock();
            continue;
        }
        inner = sleep(node, inner);
    }
}

/// Sleeps until the wheel's next time, or until something earlier is set.
fn sleep<'a>(node: &'a Node, mut inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
    let next = inner.wheel.next();
    inner.sleeps_until = Some(next.unwrap_or(u64::MAX));
    let mut inner = match next {
        None => node.timer.changed.wait(inner).unwrap_or_else(|it| it.into_inner()),
        Some(at) => {
            let left = Duration::from_nanos((at * 1_000_000).saturating_sub(node.clock.nanos()));
            node.timer.changed.wait_timeout(inner, left).unwrap_or_else(|it| it.into_inner()).0
        }
    };
    inner.sleeps_until = None;
    inner
}
