//! One service as the runtime sees it: its address, its mailbox, its counters; and what it may ask for.
//!
//! # Invariants
//! * **C1** `instance` is touched by the holder of the mailbox only: a worker during a turn, or the launching thread before
//!   the first one.
//! * **C2** The handle table's count keeps a context alive until its last turn ended; a run queue needs no count of its own.
//!
//! # From skynet
//! struct skynet_context → [`ServiceContext`]; skynet_send → [`ServiceContext::send`]; skynet_sendname →
//! [`ServiceContext::send_name`]; skynet_context_newsession → [`ServiceContext::new_session`]; skynet_error →
//! [`ServiceContext::log`]; skynet_context_endless → `endless`.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use skein_arena::{
    Block,
    sync::{
        atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering::Relaxed},
        cell::UnsafeCell,
    },
};

use super::{Service, Signaller};
use crate::{
    Handle, MessageType, Node, SendError, Session, command,
    handle::table::Entry,
    log::MessageLog,
    mailbox::Mailbox,
    timer::TimeoutKey,
};

/// A service's own view of the node.
pub struct ServiceContext {
    pub(crate) mailbox: Mailbox,
    /// How many messages may wait; 0 for no bound.
    bound: AtomicU32,
    /// Messages that found no room.
    refused: AtomicU64,
    handle: Handle,
    node: Arc<Node>,
    /// Module and arguments, as they were launched.
    name: Box<str>,
    instance: UnsafeCell<Option<Box<dyn Service>>>,
    session: AtomicI32,
    pub(crate) retired: AtomicBool,
    pub(crate) endless: AtomicBool,
    /// Set for the harbor service, which does not keep a node alive.
    pub(crate) reserved: AtomicBool,
    pub(crate) signaller: OnceLock<Signaller>,
    pub(crate) message_log: MessageLog,
    pub(crate) work: Work,
}

/// What a service has done. Written by its holder, read by anybody.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) messages: AtomicU64,
    pub(crate) cpu_nanos: AtomicU64,
    /// When the current message began, on the worker's clock.
    pub(crate) began: AtomicU64,
    copied_in: AtomicU64,
    copied_out: AtomicU64,
    /// One more than the tasks that wait; 0: not told.
    waiting: AtomicU32,
}

/// A snapshot of the counters of a service.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ServiceCounters {
    /// Messages dispatched, the current one included.
    pub messages: u64,
    /// CPU time of past messages, in ns; 0 without `profile`.
    pub cpu_nanos: u64,
    /// Messages waiting.
    pub queued: usize,
    /// Payload bytes copied from the service's values into blocks.
    pub copied_in: u64,
    /// Payload bytes copied from blocks into the service's values.
    pub copied_out: u64,
}

// SAFETY: `instance` is `Send` and follows C1; everything else is `Sync` by itself.
unsafe impl Sync for ServiceContext {}

impl Entry for ServiceContext {
    fn handle(&self) -> Handle {
        self.handle
    }
}

impl ServiceContext {
    pub(super) fn new(handle: Handle, node: Arc<Node>, name: Box<str>) -> Self {
        Self {
            mailbox: Mailbox::new(),
            bound: AtomicU32::new(0),
            refused: AtomicU64::new(0),
            handle,
            node,
            name,
            instance: UnsafeCell::new(None),
            session: AtomicI32::new(0),
            retired: AtomicBool::new(false),
            endless: AtomicBool::new(false),
            reserved: AtomicBool::new(false),
            signaller: OnceLock::new(),
            message_log: MessageLog::default(),
            work: Work::default(),
        }
    }

    /// Its address.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Its node.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Module and arguments, as they were launched.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next session: 1 to 2^31 - 1, and again from 1.
    pub fn new_session(&self) -> Session {
        let session = self.session.fetch_add(1, Relaxed).wrapping_add(1);
        if session > 0 {
            return session;
        }
        // Once in 2^31 sessions. Who else wrapped meanwhile goes on from where the first one set it.
        let _ = self.session.compare_exchange(session, 0, Relaxed, Relaxed);
        self.new_session()
    }

    /// Sends a message. `source` is this service unless given; `session` is a new one unless given; `body` is the NULL
    /// message unless given. Answers the session.
    ///
    /// Nothing is allocated but an envelope for a missing body, and no lock is taken on the way to a local service.
    ///
    /// # Errors
    /// The body is dropped. For [`SendError::ZeroDestination`] a line is logged; an address without a body to 0 is no error:
    /// that is how a session is made.
    #[inline]
    pub fn send(
        &self,
        to: Handle,
        source: Option<Handle>,
        ty: MessageType,
        session: Option<Session>,
        body: Option<Block>,
    ) -> Result<Session, SendError> {
        let session = session.unwrap_or_else(|| self.new_session());
        if to.is_none() {
            if body.is_none() {
                return Ok(session);
            }
            self.log(b"error: Destination address can't be 0");
            return Err(SendError::ZeroDestination);
        }
        self.node.deliver(to, self.or_self(source), ty, session, body)?;
        Ok(session)
    }

    /// Sends to `:hex`, to a local `.name`, or to a global name, which the harbor service resolves.
    ///
    /// # Errors
    /// As [`Self::send`]; [`SendError::NoDestination`] for a local name nobody has.
    pub fn send_name(
        &self,
        name: &[u8],
        source: Option<Handle>,
        ty: MessageType,
        session: Option<Session>,
        body: Option<Block>,
    ) -> Result<Session, SendError> {
        match name {
            [b':', hex @ ..] => self.send(Handle::parse_hex(hex), source, ty, session, body),
            [b'.', local @ ..] => match self.node.names.find(local) {
                Some(to) => self.send(to, source, ty, session, body),
                None => Err(SendError::NoDestination),
            },
            global => {
                let session = session.unwrap_or_else(|| self.new_session());
                self.node.deliver_global(global, self.or_self(source), ty, session, body)?;
                Ok(session)
            }
        }
    }

    /// One of skynet's text commands. `param` is empty when there is none. `None`: no result.
    pub fn command(&self, name: impl AsRef<[u8]>, param: &[u8]) -> Option<Vec<u8>> {
        command::run(self, name.as_ref(), param)
    }

    /// A line for the log, from this service.
    pub fn log(&self, text: impl AsRef<[u8]>) {
        self.node.log(self.handle, text.as_ref());
    }

    /// After `ticks` (1/100 s) a response with the session answered comes from `:00000000`; at once if not positive.
    ///
    /// # Errors
    /// The arena has no room for the message, which is made now.
    pub fn timeout(&self, ticks: i32) -> Result<Session, SendError> {
        Ok(self.arm(ticks)?.0)
    }

    /// As [`Self::timeout`], with what takes it back by [`Node::cancel_timeout`]; nothing does when it is due at once.
    ///
    /// # Errors
    /// As [`Self::timeout`].
    pub fn arm(&self, ticks: i32) -> Result<(Session, Option<TimeoutKey>), SendError> {
        let session = self.new_session();
        let key = self.node.timeout(self.handle, session, ticks)?;
        Ok((session, key))
    }

    /// At most this many messages wait for the service, 0 for no bound. Beyond it requests are refused with an error to
    /// whoever waits, and sends are dropped; answers, timers, and what sockets, consoles and the system send always come.
    pub fn set_bound(&self, bound: u32) {
        self.bound.store(bound, Relaxed);
    }

    /// The bound, and how many messages were refused because of it.
    pub fn bound(&self) -> (u32, u64) {
        (self.bound.load(Relaxed), self.refused.load(Relaxed))
    }

    /// Whether a message of this class finds no room; counts it then.
    #[inline]
    pub(crate) fn refuses(&self, ty: MessageType) -> bool {
        let bound = self.bound.load(Relaxed);
        if bound == 0 || !ty.is_bounded() || self.mailbox.len() < bound as usize {
            return false;
        }
        self.refused.fetch_add(1, Relaxed);
        true
    }

    /// Whether this service is out of reach: it ends with the message it is handling.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    /// Messages waiting, without the one being handled.
    pub fn queued(&self) -> usize {
        self.mailbox.len()
    }

    /// Messages dispatched, the current one included.
    pub fn messages(&self) -> u64 {
        self.work.messages.load(Relaxed)
    }

    /// CPU time of past messages, in ns; 0 without `profile`.
    pub fn cpu_nanos(&self) -> u64 {
        self.work.cpu_nanos.load(Relaxed)
    }

    /// CPU time since the current message began, in ns; 0 without `profile`. For the service itself.
    pub fn current_nanos(&self) -> u64 {
        match self.work.began.load(Relaxed) {
            0 => 0,
            began => crate::sched::tsc::stamp().saturating_sub(began),
        }
    }

    /// Whether the monitor found it stuck since the last time somebody asked.
    pub fn take_endless(&self) -> bool {
        self.endless.swap(false, Relaxed)
    }

    /// Counts payload bytes copied into blocks. By the service itself only.
    #[inline]
    pub fn add_copied_in(&self, bytes: usize) {
        add(&self.work.copied_in, bytes as u64);
    }

    /// Counts payload bytes copied out of blocks. By the service itself only.
    #[inline]
    pub fn add_copied_out(&self, bytes: usize) {
        add(&self.work.copied_out, bytes as u64);
    }

    /// Says how many tasks of the service wait for something; `None`: nobody knows. By the service itself, when a message was handled.
    #[inline]
    pub fn tell_waiting(&self, tasks: Option<u32>) {
        self.work.waiting.store(tasks.map_or(0, |it| it.saturating_add(1)), Relaxed);
    }

    /// What [`Self::tell_waiting`] said last.
    pub fn waiting(&self) -> Option<u32> {
        self.work.waiting.load(Relaxed).checked_sub(1)
    }

    /// Whether the service had nothing to do: no message is being handled, none waits.
    pub fn is_idle(&self) -> bool {
        self.mailbox.is_idle()
    }

    /// All counters.
    pub fn counters(&self) -> ServiceCounters {
        ServiceCounters {
            messages: self.messages(),
            cpu_nanos: self.cpu_nanos(),
            queued: self.queued(),
            copied_in: self.work.copied_in.load(Relaxed),
            copied_out: self.work.copied_out.load(Relaxed),
        }
    }

    fn or_self(&self, source: Option<Handle>) -> Handle {
        source.filter(|it| !it.is_none()).unwrap_or(self.handle)
    }

    /// The instance, for the holder.
    ///
    /// # Safety
    /// C1.
    #[allow(clippy::mut_from_ref, reason = "exclusive by the hold of the mailbox")]
    pub(super) unsafe fn instance(&self) -> &mut Option<Box<dyn Service>> {
        // SAFETY: passed on to the caller.
        self.instance.with_mut(|it| unsafe { &mut *it })
    }
}

/// Adds to a counter with one writer: no locked instruction.
#[inline]
pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

impl fmt::Debug for ServiceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({} queued)", self.handle, self.name, self.queued())
    }
}
