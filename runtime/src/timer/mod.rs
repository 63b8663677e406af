//! Timeouts of services: after so many ticks a response without a body comes from `:00000000`.
//!
//! A pending timeout is its envelope, taken from the arena when it is set, so that it cannot fail to expire later; and an
//! entry of the [`wheel`] that owns the envelope. Until it expires the envelope's source is the service it goes to.
//!
//! One thread owns the expiry. It sleeps until the next timeout is due, however far that is; who sets one that comes before sets its
//! [`alarm`]. What is due it takes in batches, so that nobody who sets one waits for a crowd that expires.
//!
//! The same thread keeps watch over the workers ([`Pool::look`](crate::sched::Pool::look)), when it is told to: it is the one that
//! has a clock to sleep by, and as a rule it is awake anyway when a node at rest begins to work.
//!
//! A timeout of n ticks expires when the clock shows n ticks more, so after n - 1 to n real ones. skynet's unit is 1/100 s;
//! the wheel turns in ms.
//!
//! # Invariants
//! * **E1** While `sleeps_until` is a time, neither a timeout nor a look is due before it. Whoever breaks that lowers it and sets the
//!   alarm, under the lock.
//!
//! # From skynet
//! skynet_timer.c: struct timer → [`Timer`] and [`wheel::Wheel`]; skynet_updatetime, polled each 2.5 ms → a sleep of the
//! right length; skynet_timeout → `Node::timeout`.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use skein_arena::{
    Block, Envelope,
    sync::{Mutex, MutexGuard},
};

use crate::{Handle, Message, MessageType, Node, SendError, Session};

mod alarm;
pub mod clock;
mod slab;
pub mod wheel;

use alarm::Alarm;
use wheel::{Advanced, Key, Wheel};

/// Milliseconds of a tick.
const TICK_MS: u64 = 10;
/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;
/// Entries that expire or move while the lock is held.
const BATCH: usize = 128;

/// When there is nothing to wait for.
const NEVER: u64 = u64::MAX;

/// Pending timeouts, the watch over the workers, and the sleep of the thread that sees to both. Times are in ns, but the wheel's.
pub(crate) struct Timer {
    inner: Mutex<Inner>,
    /// Made when the thread is; a simulation has none.
    alarm: OnceLock<Alarm>,
}

struct Inner {
    /// Envelopes, each with its destination as the source.
    wheel: Wheel<Block>,
    /// The last batch left something that is due.
    more: bool,
    /// When to look at the workers.
    look_at: u64,
    /// Until when the thread sleeps; `None` while it is awake (E1).
    sleeps_until: Option<u64>,
    /// What the alarm is set to.
    rings_at: u64,
    closed: bool,
}

impl Inner {
    /// When there is something to do.
    fn next(&self) -> u64 {
        if self.more {
            return 0;
        }
        let expiry = self.wheel.next().map_or(NEVER, |ms| ms.saturating_mul(MS));
        expiry.min(self.look_at)
    }
}

impl Timer {
    pub(crate) fn new(now_ms: u64) -> Self {
        let inner = Inner {
            wheel: Wheel::new(now_ms),
            more: false,
            look_at: NEVER,
            sleeps_until: None,
            rings_at: NEVER,
            closed: false,
        };
        Self { inner: Mutex::new(inner), alarm: OnceLock::new() }
    }

    /// Before the thread is made.
    ///
    /// # Errors
    /// There is no room for its alarm.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        let _ = self.alarm.set(Alarm::new()?);
        Ok(())
    }

    pub(crate) fn pending(&self) -> usize {
        self.lock().wheel.len()
    }

    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        self.ring(&mut inner, 0, 0);
    }

    fn set(&self, expiry_ms: u64, envelope: Block, now: impl Fn() -> u64) -> Key {
        let mut inner = self.lock();
        let key = inner.wheel.set(expiry_ms, envelope);
        self.ends_sleep(&mut inner, expiry_ms * MS, now);
        key
    }

    /// Has the thread look at the workers at this time; or earlier, if it is to do so already.
    pub(crate) fn look_at(&self, at: u64, now: impl Fn() -> u64) {
        let mut inner = self.lock();
        inner.look_at = inner.look_at.min(at);
        self.ends_sleep(&mut inner, at, now);
    }

    /// Something is due at `at`: a sleep ends then (E1).
    fn ends_sleep(&self, inner: &mut Inner, at: u64, now: impl Fn() -> u64) {
        if inner.sleeps_until.is_some_and(|until| at < until) {
            inner.sleeps_until = Some(at);
            self.ring(inner, at, now());
        }
    }

    fn ring(&self, inner: &mut Inner, at: u64, now: u64) {
        inner.rings_at = at;
        if let Some(alarm) = self.alarm.get() {
            alarm.set(Duration::from_nanos(at.saturating_sub(now)));
        }
    }

    /// Takes a batch of what is due, and whether a look is.
    fn take_due(&self, now: u64, due: &mut Vec<Block>) -> bool {
        let mut inner = self.lock();
        let advanced = inner.wheel.advance(now / MS, BATCH, |envelope| due.push(envelope));
        inner.more = matches!(advanced, Advanced::More);
        let look = inner.look_at <= now;
        if look {
            inner.look_at = NEVER;
        }
        look
    }

    /// From now on the thread counts as asleep, and is to be.
    pub(crate) fn lie_down(&self) {
        let mut inner = self.lock();
        inner.sleeps_until = Some(inner.next());
    }

    /// Sleeps until something is due. `false`: the node ends.
    fn sleep(&self, now: impl Fn() -> u64) -> bool {
        self.lie_down();
        let alarm = self.alarm.get().expect("it is prepared before the thread is made");
        loop {
            let mut inner = self.lock();
            if inner.closed {
                return false;
            }
            let until = inner.sleeps_until.expect("only the thread itself gets up");
            let time = if until == NEVER { 0 } else { now() };
            if until <= time {
                inner.sleeps_until = None;
                return true;
            }
            // Nothing is left to wait for: an alarm that is set already rings for nothing, and once.
            if until != NEVER && inner.rings_at != until {
                self.ring(&mut inner, until, time);
            }
            drop(inner);
            alarm.sleep();
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
            Some(NEVER) => None,
            Some(until) => Some(until),
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
        Ok(Some(TimeoutKey(self.timer.set(expiry, envelope, || self.clock.nanos()))))
    }

    /// Takes a timeout back, in the same time whatever is pending. `false`: it expired, or was taken back before.
    pub fn cancel_timeout(&self, key: TimeoutKey) -> bool {
        let cancelled = self.timer.lock().wheel.cancel(key.0);
        cancelled.is_some()
    }
}

/// Does what is due: sends a batch of timeouts, looks at the workers. `batch` is room, empty before and after.
pub(crate) fn work(node: &Arc<Node>, batch: &mut Vec<Block>) {
    let look = node.timer.take_due(node.clock.nanos(), batch);
    for envelope in batch.drain(..) {
        let (to, session) = (Handle(envelope.envelope().source), envelope.envelope().session);
        // A service that is gone misses nothing.
        let _ = node.post(to, Message::new(envelope, Handle::NONE, session, MessageType::RESPONSE));
    }
    if look {
        node.see_to_held();
        let now = node.clock.stamp();
        let look = node.scheduler.look(now);
        node.wake(look.wake);
        if let Some(at) = look.again {
            node.attend_sockets(now);
            node.timer.look_at(node.clock.nanos() + at.saturating_sub(now), || node.clock.nanos());
        }
    }
}

/// The timer's thread.
pub(crate) fn run(node: &Arc<Node>) {
    let mut batch = Vec::with_capacity(BATCH);
    while node.timer.sleep(|| node.clock.nanos()) {
        work(node, &mut batch);
    }
}
