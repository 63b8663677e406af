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
    deque::{Deque, Injector},
    desk::Desk,
    idle::Idle,
};

/// The injector, the desks, and the roles of the workers.
pub struct Pool {
    pub(super) injector: Injector<Scheduled>,
    pub(super) desks: Box<[Desk]>,
    pub(super) idle: Idle,
    closed: AtomicBool,
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
