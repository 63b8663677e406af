//! The threads that play the workers of a node.

use std::{cell::Cell, marker::PhantomData, num::NonZeroU64, ptr, sync::Arc, time::Duration};

use skein_arena::sync::Mutex;

use super::{Next, Pool, Scheduled, Wake, Worker, WorkerCounters, bed::Bed, cpu::CpuMeter, quiet::Room};
use crate::{
    Node,
    monitor::Watch,
    service::{After, Turn},
};

thread_local! {
    /// The worker that the calling thread plays, while it does.
    static WORKER: Cell<*const Worker> = const { Cell::new(ptr::null()) };
}

/// The scheduler of a node: its pool, and a bed for each worker.
pub(crate) struct Scheduler {
    pool: skein_arena::sync::Arc<Pool>,
    pub(crate) beds: Box<[Bed]>,
    /// Those that no thread plays yet.
    workers: Mutex<Vec<Worker>>,
}

impl Scheduler {
    pub(crate) fn new(workers: usize) -> Self {
        let (pool, workers) = Pool::new(workers);
        let beds = workers.iter().map(|_| Bed::default()).collect();
        Self { pool, beds, workers: Mutex::new(workers) }
    }

    /// Hands a mailbox to a worker: to this thread's, if it is one of ours.
    #[inline]
    pub(crate) fn schedule(&self, scheduled: Scheduled) {
        let worker = WORKER.get();
        // SAFETY: set by `Playing` for as long as the worker lives in a frame of this thread.
        let wake = match unsafe { worker.as_ref() } {
            Some(worker) if ptr::eq(worker.pool(), &*self.pool) => worker.wake(scheduled),
            _ => self.pool.inject(scheduled),
        };
        self.wake(wake);
    }

    #[inline]
    fn wake(&self, wake: Wake) {
        if let Wake::Worker(index) = wake {
            self.beds[index].wake();
        }
    }

    /// Sends all workers home, after their turn.
    pub(crate) fn close(&self) {
        self.pool.close();
        for bed in &self.beds {
            bed.wake();
        }
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.beds.len()
    }

    /// What they did.
    pub(crate) fn counters(&self) -> Vec<WorkerCounters> {
        self.pool.counters()
    }

    /// The worker of that number, once.
    pub(crate) fn employ(&self, index: usize) -> Worker {
        let mut workers = self.workers.lock().unwrap_or_else(|it| it.into_inner());
        let at = workers.iter().position(|it| it.index() == index);
        workers.swap_remove(at.expect("each worker is played by one thread"))
    }
}

/// Makes a worker the thread's own, until dropped. A simulation plays one inside of another's turn.
struct Playing<'a> {
    before: *const Worker,
    _worker: PhantomData<&'a Worker>,
}

impl<'a> Playing<'a> {
    fn new(worker: &'a Worker) -> Self {
        Self { before: WORKER.replace(worker), _worker: PhantomData }
    }
}

impl Drop for Playing<'_> {
    fn drop(&mut self) {
        WORKER.set(self.before);
    }
}

/// What the player of a worker does next.
#[must_use]
pub(crate) enum Played {
    /// A turn: it plays on.
    Turn,
    /// Sleeps until its bed says so.
    Park,
    /// Sleeps until that, or until this time.
    Watch(u64),
    /// The node ends.
    Home,
}

/// One step of a worker, and the turn that comes of it.
pub(crate) fn play(node: &Node, worker: &Worker, meter: &mut CpuMeter) -> Played {
    let _playing = Playing::new(worker);
    let scheduler = &node.scheduler;
    let step = worker.step(meter.last());
    scheduler.wake(step.wake);
    match step.next {
        Next::Run(scheduled) => {
            serve(scheduler, worker, &node.watches[worker.index()], meter, scheduled);
            Played::Turn
        }
        Next::Park => Played::Park,
        Next::Watch(until) => Played::Watch(until),
        Next::Home => Played::Home,
    }
}

/// Serves mailboxes until the node ends. Runs on its own thread; `index` is that of its watch.
pub(crate) fn run(node: &Arc<Node>, index: usize) {
    // The kernel makes short sleeps 50 µs longer unless told otherwise: much for one on watch. It may refuse; then they are.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1000));
    let scheduler = &node.scheduler;
    let worker = scheduler.employ(index);
    let mut meter = CpuMeter::new(node.profile);
    let bed = &scheduler.beds[index];
    let mut room = Room::default();
    loop {
        let (limit, tidy) = match play(node, &worker, &mut meter) {
            Played::Turn => continue,
            Played::Home => return,
            Played::Park => {
                let until_due = node.quiet.until_due(&mut room, meter.last());
                (until_due, until_due.is_some())
            }
            Played::Watch(until) => (Some(Duration::from_nanos(until.saturating_sub(meter.last()))), false),
        };
        // A worker that sleeps keeps no blocks at hand: near a limit the others may need what those pin.
        node.arena().flush();
        meter.rest();
        if !bed.sleep(limit) && tidy {
            node.quiet.tidy(&mut room, &scheduler.beds, index);
            bed.sleep(None);
        }
        meter.wake();
    }
}

fn serve(scheduler: &Scheduler, worker: &Worker, watch: &Watch, meter: &mut CpuMeter, scheduled: Scheduled) {
    match (Turn { worker, watch, meter }).run(scheduled) {
        After::Again(scheduled) => scheduler.wake(worker.again(scheduled)),
        After::Idle | After::Ended => {}
    }
}

/// Serves what waits on the calling thread, and returns. For the end of a start that failed, when no other worker exists.
pub(crate) fn drain(node: &Arc<Node>) {
    let worker = node.scheduler.employ(0);
    let mut meter = CpuMeter::new(false);
    while let Played::Turn = play(node, &worker, &mut meter) {}
}
