//! Timeouts of services: after so many ticks a response without a body comes from `:00000000`.
//!
//! A pending timeout is its envelope, taken from the arena when it is set, so that it cannot fail to expire later; and an
//! entry of the [`wheel`] that owns the envelope. Until it expires the envelope's source is the service it goes to.
//!
//! One thread owns the expiry. It sleeps until the next timeout is due, however far that is, and is woken early only when one
//! is set that comes before. What is due it takes in batches, so that nobody who sets one waits for a crowd that expires.
//!
//! A timeout of n ticks expires when the clock shows n ticks more, so after n - 1 to n real ones. skynet's unit is 1/100 s;
//! the wheel turns in ms.
//!
//! # Invariants
//! * **E1** While `sleeps_until` is a time, no pending timeout is due before it. Whoever breaks that clears it and notifies.
//!
//! # From skynet
//! skynet_timer.c: struct timer → [`Timer`] and [`wheel::Wheel`]; skynet_updatetime, polled each 2.5 ms → a sleep of the
//! right length; skynet_timeout → `Node::timeout`.

use std::{sync::Arc, time::Duration};

use skein_arena::{
    Block, Envelope,
    sync::{Condvar, Mutex, MutexGuard},
};

use crate::{Handle, Message, MessageType, Node, SendError, Session};

pub mod clock;
mod slab;
pub mod wheel;

use wheel::{Advanced, Key, Wheel};

/// Milliseconds of a tick.
const TICK_MS: u64 = 10;
/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;
/// Entries that expire or move while the lock is held.
const BATCH: usize = 128;

/// Pending timeouts, and the sleep of the thread that expires them.
pub(crate) struct Timer {
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    /// Envelopes, each with its destination as the source.
    wheel: Wheel<Block>,
    /// Until when the thread sleeps, in ms; `None` while it is awake, or is to wake up (E1).
    sleeps_until: Option<u64>,
    closed: bool,
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

    fn set(&self, expiry_ms: u64, envelope: Block) -> Key {
        let mut inner = self.lock();
        let key = inner.wheel.set(expiry_ms, envelope);
        if inner.sleeps_until.is_some_and(|until| expiry_ms < until) {
            inner.sleeps_until = None;
            drop(inner);
            self.changed.notify_one();
        }
        key
    }

    /// Takes a batch of what is due. When nothing is left that is, the thread counts as asleep, and is to.
    fn take_due(&self, now_ms: u64, due: &mut Vec<Block>) {
        let mut inner = self.lock();
        let advanced = inner.wheel.advance(now_ms, BATCH, |envelope| due.push(envelope));
        inner.sleeps_until = match advanced {
            Advanced::Done => Some(inner.wheel.next().unwrap_or(u64::MAX)),
            Advanced::More => None,
        };
    }

    /// Sleeps until something is due. `false`: the node ends.
    fn sleep(&self, now_ns: impl Fn() -> u64) -> bool {
        let mut inner = self.lock();
        loop {
            if inner.closed {
                return false;
            }
            let Some(until) = inner.sleeps_until else { return true };
            if until == u64::MAX {
                inner = self.changed.wait(inner).unwrap_or_else(|it| it.into_inner());
                continue;
            }
            let left = until.saturating_mul(MS).saturating_sub(now_ns());
            if left == 0 {
                return true;
            }
            let left = Duration::from_nanos(left);
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(|it| it.into_inner()).0;
        }
    }

    /// Whether the node ends.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// When the thread, played by a simulation, goes on: `None` if it is to sleep until somebody sets a timeout.
    pub(crate) fn wakes_at(&self) -> Option<u64> {
        match self.lock().sleeps_until {
            None => Some(0),
            Some(u64::MAX) => None,
            Some(until) => Some(until * MS),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|it| it.into_inner())
    }
}

/// A pending timeout, for [`Node::cancel_timeout`]. Once it has expired or was taken back it names nothing, also when its
/// place is another's.
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
        let mut envelope = self.arena().envelope()?;
        if ticks <= 0 {
            let _ = self.post(to, Message::new(envelope, Handle::NONE, session, MessageType::RESPONSE));
            return Ok(None);
        }
        envelope.set_envelope(Envelope { source: to.0, session, ty: MessageType::RESPONSE.0 });
        let expiry = (self.now() + ticks as u64) * TICK_MS;
        Ok(Some(TimeoutKey(self.timer.set(expiry, envelope))))
    }

    /// Takes a timeout back, in the same time whatever is pending. `false`: it expired, or was taken back before.
    pub fn cancel_timeout(&self, key: TimeoutKey) -> bool {
        let cancelled = self.timer.lock().wheel.cancel(key.0);
        cancelled.is_some()
    }
}

/// Sends a batch of the timeouts that are due. `batch` is room, empty before and after.
pub(crate) fn expire(node: &Arc<Node>, batch: &mut Vec<Block>) {
    node.timer.take_due(node.clock.nanos() / MS, batch);
    for envelope in batch.drain(..) {
        let (to, session) = (Handle(envelope.envelope().source), envelope.envelope().session);
        // A service that is gone misses nothing.
        let _ = node.post(to, Message::new(envelope, Handle::NONE, session, MessageType::RESPONSE));
    }
}

/// The timer's thread.
pub(crate) fn run(node: &Arc<Node>) {
    let mut batch = Vec::with_capacity(BATCH);
    while node.timer.sleep(|| node.clock.nanos()) {
        expire(node, &mut batch);
    }
}
