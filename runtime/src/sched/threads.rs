//! The threads that play the workers of a node.

use std::{cell::Cell, marker::PhantomData, ptr, sync::Arc, time::Duration};

use skein_arena::sync::Mutex;

use super::{
    Look, Next, Pool, Scheduled, Wake, Worker, WorkerCounters, bed::Bed, cpu::CpuMeter, policy, quiet::Room,
};
use crate::{
    Handle, Node,
    service::{After, Turn},
    socket::Poller,
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

    /// A look of the one who keeps watch.
    pub(crate) fn look(&self, now: u64) -> Look {
        self.pool.look(now)
    }

    /// Wakes a worker to search, unless one does or none sleeps.
    pub(crate) fn help(&self) -> Wake {
        self.pool.help()
    }

    /// Sends all workers home, after their turn.
    pub(crate) fn close(&self) {
        self.pool.close();
        for bed in &self.beds {
            // Who waits for sockets is woken by their end.
            bed.wake(|| {});
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

    /// How often somebody who keeps watch looked at them.
    pub(crate) fn looks(&self) -> u64 {
        self.pool.looks()
    }

    /// The worker of that number, once.
    pub(crate) fn employ(&self, index: usize) -> Worker {
        let mut workers = self.workers.lock().unwrap_or_else(|it| it.into_inner());
        let at = workers.iter().position(|it| it.index() == index);
        workers.swap_remove(at.expect("each worker is played by one thread"))
    }

    /// Takes back a worker that was played between two of its steps.
    fn dismiss(&self, worker: Worker) {
        self.workers.lock().unwrap_or_else(|it| it.into_inner()).push(worker);
    }
}

impl Node {
    /// Hands a mailbox to a worker: to this thread's, if it is one of ours.
    #[inline]
    pub(crate) fn schedule(&self, scheduled: Scheduled) {
        let (worker, pool) = (WORKER.get(), &*self.scheduler.pool);
        // SAFETY: set by `Playing` for as long as the worker lives in a frame of this thread.
        let wake = match unsafe { worker.as_ref() } {
            Some(worker) if ptr::eq(worker.pool(), pool) => worker.wake(scheduled),
            _ => pool.inject(scheduled),
        };
        self.wake(wake);
    }

    /// The turn that this thread is in, if it plays a worker of this node: the worker's number, and one that no other turn has.
    #[inline]
    pub(crate) fn turn(&self) -> Option<(usize, u64)> {
        // SAFETY: as in `schedule`.
        let worker = unsafe { WORKER.get().as_ref() }?;
        ptr::eq(worker.pool(), &*self.scheduler.pool)
            .then(|| (worker.index(), (worker.turns() << 8 | worker.index() as u64) + 1))
    }

    fn wake_worker(&self, index: usize) {
        self.scheduler.beds[index].wake(|| self.sockets.wake());
    }

    /// Does what the scheduler asks for.
    #[inline]
    pub(crate) fn wake(&self, wake: Wake) {
        if let Some(worker) = wake.worker {
            self.wake_worker(worker);
        }
        if wake.watch {
            self.timer.look_at(self.clock.nanos() + policy::LOOK_EVERY, || self.clock.nanos());
        }
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
    /// The node ends.
    Home,
}

/// One step of a worker, and the turn that comes of it.
pub(crate) fn play(node: &Arc<Node>, worker: &Worker, meter: &mut CpuMeter) -> Played {
    let _playing = Playing::new(worker);
    let step = worker.step(meter.last());
    node.wake(step.wake);
    match step.next {
        Next::Run(scheduled) => {
            serve(node, worker, meter, scheduled);
            node.network().turn_ended(worker.index());
            Played::Turn
        }
        Next::Park => Played::Park,
        Next::Home => Played::Home,
    }
}

/// Serves mailboxes until the node ends. Runs on its own thread; `index` is that of its watch.
pub(crate) fn run(node: &Arc<Node>, index: usize) {
    let worker = node.scheduler.employ(index);
    let mut meter = CpuMeter::new(node.profile);
    let mut poller = Poller::default();
    let mut room = Room::default();
    loop {
        match play(node, &worker, &mut meter) {
            Played::Turn => {
                if node.sockets.is_due(meter.last()) {
                    look_at_sockets(node, &worker, &mut poller, meter.last());
                }
                continue;
            }
            Played::Home => return,
            Played::Park => {}
        }
        // A worker that sleeps keeps no blocks at hand: near a limit the others may need what those pin.
        node.arena().flush();
        let until_due = node.quiet.until_due(&mut room, meter.last());
        meter.rest();
        if !lie_down(node, &worker, &mut poller, until_due) && until_due.is_some() {
            node.quiet.tidy(&mut room, || {
                (0..node.scheduler.workers()).filter(|it| *it != index).for_each(|it| node.wake_worker(it));
            });
            lie_down(node, &worker, &mut poller, None);
        }
        meter.wake();
    }
}

/// A worker that parked waits for sockets, if no other does, or in its bed; no longer than `limit`. Whether it was woken, or
/// served sockets. May end early, for no reason.
fn lie_down(node: &Arc<Node>, worker: &Worker, poller: &mut Poller, limit: Option<Duration>) -> bool {
    let bed = &node.scheduler.beds[worker.index()];
    if !node.sockets.sit_down() {
        return bed.sleep(limit);
    }
    let network = node.network();
    let mut woken = true;
    if bed.leave() {
        let waited = network.wait(poller, limit);
        woken = bed.come_back();
        if let Err(error) = waited {
            node.log(Handle::NONE, format!("socket-server error: {error}").as_bytes());
        }
    }
    node.sockets.get_up(node.clock.stamp());
    if !poller.has_ready() {
        return woken;
    }
    // The searcher runs what comes of it, if that is not worth waking somebody for; else it lies where another searcher looks.
    let risen = worker.rouse();
    node.wake(risen.unwrap_or_default());
    let _playing = risen.map(|_| Playing::new(worker));
    network.serve(poller);
    true
}

/// A worker that is busy serves sockets between two turns, at `now`, and then what comes of it: nobody is woken for that.
fn look_at_sockets(node: &Arc<Node>, worker: &Worker, poller: &mut Poller, now: u64) {
    if node.sockets.sit_down() {
        // What fails here fails for who waits, and is told there.
        let _ = node.network().wait(poller, Some(Duration::ZERO));
        node.sockets.get_up(now);
        let _playing = Playing::new(worker);
        node.network().serve(poller);
    }
}

fn serve(node: &Node, worker: &Worker, meter: &mut CpuMeter, scheduled: Scheduled) {
    let watch = &node.watches[worker.index()];
    match (Turn { worker, watch, meter }).run(scheduled) {
        After::Again(scheduled) => node.wake(worker.again(scheduled)),
        After::Idle | After::Ended => {}
    }
}

/// Serves what waits on the calling thread, for `turns` turns at most, and returns. For the beginning and the end of a start, when
/// no thread plays a worker.
pub(crate) fn drain(node: &Arc<Node>, turns: usize) {
    let worker = node.scheduler.employ(0);
    let mut meter = CpuMeter::new(false);
    for _ in 0..turns {
        let Played::Turn = play(node, &worker, &mut meter) else { break };
    }
    node.scheduler.dismiss(worker);
}
