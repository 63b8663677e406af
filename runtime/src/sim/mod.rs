//! A node played by one thread, on a clock that moves only when it is told to.
//!
//! Everything decided is decided by the real code: mailboxes, the scheduler's workers and their wake-ups, turns, handles, the
//! wheel of timeouts. Only threads, sleep and the clock are played. Whoever has the simulation says which [`Actor`] steps next, so
//! a program with a seed is a schedule that can be had again.
//!
//! A step of a worker is a whole turn. It may be left in the middle all the same: a service may have other actors step while it
//! handles a message, and may let time pass. That is what a thread looks like that is slow, or that the system has
//! put aside.
//!
//! Sockets can be on a network that is simulated too ([`SimNetwork`]).
//!
//! ```
//! use skein_arena::{Arena, Options};
//! use skein_runtime::{Settings, sim::Simulation};
//!
//! let mut settings = Settings::new();
//! settings.set("thread", "2").set("harbor", "0");
//! let sim = Simulation::new(settings, Arena::private(&Options::default())?)?;
//! loop {
//!     if let Some(actor) = sim.ready().next() {
//!         sim.step(actor);
//!     } else if let Some(at) = sim.next_event() {
//!         sim.set_time(at);
//!     } else {
//!         // Nothing to do: all sleep until somebody wakes them, and no time will.
//!         break;
//!     }
//! }
//! assert!(sim.now() < 1_000_000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod net;

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    time::Duration,
};

pub use net::SimNetwork;

use skein_arena::{
    Arena, Block,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{
    Node, Settings, StartError,
    sched::{
        Worker,
        cpu::CpuMeter,
        threads::{self, Played},
    },
    socket::{Poller, System},
    timer::{self, clock::Clock},
};

/// A clock that is set by hand.
#[derive(Default)]
struct SimClock(AtomicU64);

impl Clock for SimClock {
    fn nanos(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn stamp(&self) -> u64 {
        self.nanos()
    }

    fn started(&self) -> u32 {
        0
    }
}

/// Who can make a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Actor {
    /// A worker, by its number.
    Worker(usize),
    /// The timer's thread, which keeps watch over the workers too.
    Timer,
    /// Who serves sockets, when some are ready; only with a [`SimNetwork`].
    Sockets,
    /// That network, while something is under way.
    Network,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// About to step.
    Awake,
    /// In a turn.
    Serving,
    /// Asleep until woken.
    Parked,
    /// At home: the node has ended.
    Home,
}

struct Player {
    worker: Worker,
    /// Away during a turn.
    meter: Cell<Option<CpuMeter>>,
    doing: Cell<Doing>,
}

/// A node without threads, and those who play them.
pub struct Simulation {
    node: Arc<Node>,
    clock: Arc<SimClock>,
    players: Vec<Player>,
    timer_ended: Cell<bool>,
    batch: RefCell<Vec<Block>>,
    network: Option<SimNetwork>,
    poller: RefCell<Poller>,
}

impl Simulation {
    /// A node with as many workers as `thread` says, at the time 0. It has no log service unless one is launched.
    ///
    /// # Errors
    /// A setting is wrong.
    pub fn new(settings: Settings, arena: Arena) -> Result<Self, StartError> {
        let system = crate::socket::Sockets::of_kernel(settings.socket_silence()?).map_err(StartError::Sockets)?;
        Self::assemble(settings, arena, system, None)
    }

    /// The same, with its sockets on a network that is simulated too.
    ///
    /// # Errors
    /// A setting is wrong.
    pub fn with_network(
        settings: Settings,
        arena: Arena,
        network: SimNetwork,
    ) -> Result<Self, StartError> {
        Self::assemble(settings, arena, Box::new(network.clone()), Some(network))
    }

    fn assemble(
        mut settings: Settings,
        arena: Arena,
        system: Box<dyn System>,
        network: Option<SimNetwork>,
    ) -> Result<Self, StartError> {
        settings.fill_defaults();
        let clock = Arc::new(SimClock::default());
        let node = Node::assemble(settings, arena, Arc::clone(&clock) as Arc<dyn Clock>, system)?;
        let players = (0..node.scheduler.workers()).map(|index| Player {
            worker: node.scheduler.employ(index),
            meter: Cell::new(Some(CpuMeter::simulated(Arc::clone(&clock) as Arc<dyn Clock>))),
            doing: Cell::new(Doing::Awake),
        });
        let players = players.collect();
        Ok(Self {
            node,
            clock,
            players,
            timer_ended: Cell::new(false),
            batch: RefCell::default(),
            network,
            poller: RefCell::default(),
        })
    }

    /// The node.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The time, in ns.
    pub fn now(&self) -> u64 {
        self.clock.nanos()
    }

    /// Sets the clock.
    ///
    /// # Panics
    /// If that would be back in time.
    pub fn set_time(&self, nanos: u64) {
        assert!(nanos >= self.now(), "time went back, from {} to {nanos}", self.now());
        self.clock.0.store(nanos, Relaxed);
    }

    /// What each worker is doing.
    pub fn doing(&self) -> impl Iterator<Item = Doing> {
        self.players.iter().map(|it| it.doing.get())
    }

    /// Whether an actor could step now.
    pub fn is_ready(&self, actor: Actor) -> bool {
        match actor {
            Actor::Worker(index) => {
                let woken = self.node.scheduler.beds[index].is_woken();
                match self.players[index].doing.get() {
                    Doing::Awake => true,
                    Doing::Parked => woken,
                    Doing::Serving | Doing::Home => false,
                }
            }
            Actor::Timer => {
                let due = self.node.timer.wakes_at().is_some_and(|at| at <= self.now());
                !self.timer_ended.get() && (due || self.node.timer.is_closed())
            }
            Actor::Sockets => self.network.as_ref().is_some_and(SimNetwork::has_ready),
            Actor::Network => self.network.as_ref().is_some_and(SimNetwork::is_moving),
        }
    }

    /// Everybody who could step now.
    pub fn ready(&self) -> impl Iterator<Item = Actor> {
        let workers = (0..self.players.len()).map(Actor::Worker);
        workers.chain([Actor::Timer, Actor::Sockets, Actor::Network]).filter(|it| self.is_ready(*it))
    }

    /// When one who sleeps will wake up by himself; it may be past.
    pub fn next_event(&self) -> Option<u64> {
        if self.timer_ended.get() { None } else { self.node.timer.wakes_at() }
    }

    /// Has an actor step: a worker until its turn ends or it goes to sleep, the timer until it has sent a batch and looked
    /// at the workers, the network until it has moved something.
    ///
    /// # Panics
    /// If it is not ready.
    pub fn step(&self, actor: Actor) {
        assert!(self.is_ready(actor), "{actor:?} cannot step");
        match actor {
            Actor::Worker(index) => self.step_worker(index),
            Actor::Timer if self.node.timer.is_closed() => self.timer_ended.set(true),
            Actor::Timer => {
                timer::work(&self.node, &mut self.batch.borrow_mut());
                self.node.timer.lie_down();
            }
            Actor::Sockets => {
                let (network, mut poller) = (self.node.network(), self.poller.borrow_mut());
                network.wait(&mut poller, Some(Duration::ZERO)).expect("a simulated network waits for nothing");
                network.serve(&mut poller);
            }
            Actor::Network => self.network.as_ref().expect("it is ready").step(),
        }
    }

    fn step_worker(&self, index: usize) {
        let player = &self.players[index];
        let mut meter = player.meter.take().expect("who is ready is in no turn");
        if player.doing.replace(Doing::Serving) != Doing::Awake {
            self.node.scheduler.beds[index].take();
            meter.wake();
        }
        player.doing.set(match threads::play(&self.node, &player.worker, &mut meter) {
            Played::Turn => Doing::Awake,
            Played::Park => Doing::Parked,
            Played::Home => Doing::Home,
        });
        player.meter.set(Some(meter));
    }
}
