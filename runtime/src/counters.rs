//! Counters of a node: what was sent, what was dropped, and why.

use skein_arena::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::sched::WorkerCounters;

/// Why a message was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// The service was gone; the sender got an error.
    Request,
    /// The service was gone; an answer is not answered.
    Answer,
    /// The service was gone; nobody sent it (timers, sockets).
    NoSource,
    /// Nobody has the address.
    NoDestination,
    /// A log line that found no logger, or no room.
    Log,
    /// The node it was for is down.
    Remote,
}

/// The counters themselves.
#[derive(Default)]
pub(crate) struct NodeCounters {
    dropped: [AtomicU64; 6],
}

/// A snapshot of the counters of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Services alive.
    pub services: usize,
    /// Requests whose service was gone; the sender got an error.
    pub dropped_requests: u64,
    /// Responses and errors whose service was gone.
    pub dropped_answers: u64,
    /// Messages without a sender (timers, sockets) whose service was gone.
    pub dropped_unsent: u64,
    /// Messages to an address that nobody has.
    pub dropped_undeliverable: u64,
    /// Log lines that found no logger, or no room in the arena.
    pub dropped_log_lines: u64,
    /// Messages to nodes that are down.
    pub dropped_remote: u64,
    /// Timeouts pending.
    pub timeouts: usize,
    /// Looks at the workers while some ran and some slept.
    pub looks: u64,
    /// What each worker did.
    pub workers: Vec<WorkerCounters>,
}

impl NodeCounters {
    pub(crate) fn dropped(&self, reason: Dropped) {
        self.dropped[reason as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn snapshot(&self, services: usize, timeouts: usize, looks: u64, workers: Vec<WorkerCounters>) -> Counters {
        let of = |reason: Dropped| self.dropped[reason as usize].load(Relaxed);
        Counters {
            services,
            timeouts,
            looks,
            workers,
            dropped_requests: of(Dropped::Request),
            dropped_answers: of(Dropped::Answer),
            dropped_unsent: of(Dropped::NoSource),
            dropped_undeliverable: of(Dropped::NoDestination),
            dropped_log_lines: of(Dropped::Log),
            dropped_remote: of(Dropped::Remote),
        }
    }
}
