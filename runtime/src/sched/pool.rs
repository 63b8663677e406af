//! What all workers of a node share.

use skein_arena::sync::{
    Arc,
    atomic::{
        AtomicBool,
        Ordering::{Acquire, Release, SeqCst},
        fence,
    },
};

use super::{
    Scheduled, Wake, Worker, WorkerCounters,
    counts::Count,
    deque::{Deque, Injector},
    desk::Desk,
    idle::Idle,
    policy,
};

/// The injector, the desks, and the roles of the workers.
pub struct Pool {
    pub(super) injector: Injector<Scheduled>,
    pub(super) desks: Box<[Desk]>,
    pub(super) idle: Idle,
    closed: AtomicBool,
    /// By the one who keeps watch.
    looks: Count,
}

/// What [`Pool::look`] asks for.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub struct Look {
    /// Whom to wake.
    pub wake: Wake,
    /// When to look again; `None` when a [`Wake`] says so.
    pub again: Option<u64>,
}

impl Pool {
    /// A pool of so many workers, numbered from 0. They count as running until they step for the first time.
    pub fn new(workers: usize) -> (Arc<Self>, Vec<Worker>) {
        let deques: Vec<_> = (0..workers).map(|_| Deque::new_fifo()).collect();
        let pool = Arc::new(Self {
            injector: Injector::new(),
            desks: deques.iter().map(Desk::new).collect(),
            idle: Idle::new(workers),
            closed: AtomicBool::new(false),
            looks: Count::default(),
        });
        let workers = deques.into_iter().enumerate();
        let workers = workers.map(|(index, deque)| Worker::new(Arc::clone(&pool), index, deque)).collect();
        (pool, workers)
    }

    /// A thread that is no worker schedules a service.
    #[inline]
    pub fn inject(&self, scheduled: Scheduled) -> Wake {
        self.injector.push(scheduled);
        // The push is before the look at who is about (I1).
        fence(SeqCst);
        self.idle.help()
    }

    /// Wakes a sleeper to search, unless somebody does already: for work that is nowhere in the pool.
    pub fn help(&self) -> Wake {
        // What the caller made is before the look at who is about (I1).
        fence(SeqCst);
        self.idle.help()
    }

    /// A look at the whole pool, at the time `now` of the workers' clock: finds what waits behind long turns, and in queues that
    /// never run empty, and wakes a worker for it. By one thread, when [`Wake::watch`] said so and when the last look did.
    pub fn look(&self, now: u64) -> Look {
        self.looks.add(1);
        if !self.idle.goes_on_watching() {
            return Look { wake: Wake::NOBODY, again: None };
        }
        // All of them: a look is also what makes a queue old.
        let due = self.desks.iter().fold(false, |due, desk| desk.look(now) | due);
        let wake = if due { self.idle.help() } else { Wake::NOBODY };
        // When something that waits now will be old, and not much later than that.
        let soonest = now.saturating_add(policy::LOOK_SOON);
        let waiting = || self.desks.iter().filter(|it| it.has_waiting());
        let after = if waiting().next().is_some() { policy::LOOK_EVERY } else { policy::LOOK_SELDOM };
        let latest = now.saturating_add(after);
        let old = waiting().map(Desk::stuck_at).filter(|at| *at > now).min();
        Look { wake, again: Some(old.map_or(latest, |at| at.clamp(soonest, latest))) }
    }

    /// How often [`Self::look`] was called.
    pub fn looks(&self) -> u64 {
        self.looks.get()
    }

    /// From now on every step says [`super::Next::Home`]. The caller wakes all workers.
    pub fn close(&self) {
        self.closed.store(true, Release);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }

    /// What the workers did so far, by their numbers.
    pub fn counters(&self) -> Vec<WorkerCounters> {
        self.desks.iter().map(|it| it.counts.snapshot()).collect()
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.desks.len()
    }
}
