//! One run: the schedule, what must hold, and the books that tell.
//!
//! # What must hold
//! * **V1** A message is handled once, by the service it was sent to, or never: then that service is dead.
//! * **V2** What one service sends another comes in its order, and nothing of it is left out.
//! * **V3** A service handles one message at a time.
//! * **V4** Whoever calls gets one answer, from the callee or because that is dead.
//! * **V5** While a worker sleeps, nobody waits longer than `IDLE_WAIT`; and in any case not for more messages of others
//!   than budgets allow, also while one of those takes long.
//! * **V6** While the timer's thread sleeps, exactly those timeouts are pending that are not due. Those of one service come by
//!   time, and then as they were set.
//! * **V7** In the end all is quiet: no message waits, no worker watches, nothing wakes up. Then the node is told to end, ends,
//!   and all memory is back.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    rc::Rc,
    sync::Arc,
};

use skein_arena::{Arena, epoch};
use skein_runtime::{
    Handle, MessageType, Node, Service, ServiceContext, Settings,
    sched::policy,
    sim::{Actor, Doing, Simulation},
};

use crate::program::{Keeper, Program};

/// A thread that could run does so within this time, in ns.
const SLACK: u64 = 20_000;
/// V5: old enough to be taken, a look that sees it, and one before that which did not; each may be late.
const IDLE_WAIT: u64 = policy::OLD + 2 * policy::LOOK_EVERY + 10 * SLACK;
/// Services at a time.
pub(crate) const CROWD: usize = 12;

thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// The run that is under way.
pub(crate) fn world() -> Rc<World> {
    WORLD.with_borrow(|it| it.clone().expect("a run is under way"))
}

/// A small generator of random numbers: the run is a function of the seed.
pub(crate) struct Random(Cell<u64>);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Cell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d))
    }

    /// One of 0 to `end` - 1.
    pub(crate) fn below(&self, end: u64) -> u64 {
        let next = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    pub(crate) fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A message on its way.
struct Letter {
    to: Handle,
    from: Handle,
    /// Which of those from this sender to this receiver.
    place: u64,
    handled: bool,
}

/// What is known of a service.
pub(crate) struct Life {
    pub(crate) ctx: Option<Arc<ServiceContext>>,
    /// It handles a message, or is being launched or released.
    pub(crate) busy: Cell<bool>,
    pub(crate) gone: Cell<bool>,
    /// Sessions it waits for.
    pub(crate) calls: RefCell<Vec<i32>>,
    /// Its timeouts: session → when, and the how-manieth of the run.
    pub(crate) timeouts: RefCell<BTreeMap<i32, (u64, u64)>>,
    last_timeout: Cell<(u64, u64)>,
    /// Waits for a worker while another sleeps: since when.
    idle_since: Cell<Option<u64>>,
    /// Waits for a worker: how many messages were handled before.
    handled_at: Cell<Option<u64>>,
}

/// A run.
pub(crate) struct World {
    pub(crate) sim: Simulation,
    pub(crate) random: Random,
    /// What the services may still do.
    pub(crate) fuel: Cell<u64>,
    pub(crate) lives: RefCell<BTreeMap<Handle, Rc<Life>>>,
    letters: RefCell<Vec<Letter>>,
    /// Sent and handled, by sender and receiver.
    places: RefCell<HashMap<(Handle, Handle), (u64, u64)>>,
    /// Expiries in ms of pending timeouts, and how many.
    expiries: RefCell<BTreeMap<u64, usize>>,
    timeouts_set: Cell<u64>,
    ready_since: RefCell<BTreeMap<Actor, u64>>,
    handled: Cell<u64>,
}

/// Runs a seed. The answer tells two runs apart.
pub(crate) fn run(seed: u64, arena: Arena) -> String {
    let before = arena.stats().live_blocks;
    let random = Random::new(seed);
    let mut settings = Settings::new();
    settings.set("thread", (1 + random.below(4)).to_string()).set("harbor", "0").set("bootstrap", "");
    let fuel = 20 + random.below(600);
    let world = Rc::new(World {
        sim: Simulation::new(settings, arena).unwrap(),
        random,
        fuel: Cell::new(fuel),
        lives: RefCell::default(),
        letters: RefCell::default(),
        places: RefCell::default(),
        expiries: RefCell::default(),
        timeouts_set: Cell::new(0),
        ready_since: RefCell::default(),
        handled: Cell::new(0),
    });
    let factory = |_: &Arc<Node>| -> Box<dyn Service> { Box::new(Program::default()) };
    world.sim.node().register("program", Arc::new(factory));
    world.sim.node().register("keeper", Arc::new(|_| Box::new(Keeper)));
    world.sim.node().launch("keeper", None).unwrap();
    WORLD.set(Some(Rc::clone(&world)));
    world.play();
    let told = world.end();
    let node = Arc::downgrade(world.sim.node());
    WORLD.set(None);
    drop(world);
    for _ in 0..1000 {
        if node.strong_count() == 0 {
            break;
        }
        epoch::pin().flush();
    }
    assert_eq!(node.strong_count(), 0, "somebody still holds the node");
    assert_eq!(arena.stats().live_blocks, before, "blocks are left behind (V7)");
    told
}

impl World {
    /// Until all is quiet.
    fn play(&self) {
        for _ in 0..1 + self.random.below(CROWD as u64 / 2) {
            self.launch();
        }
        let mut steps = 0;
        loop {
            steps += 1;
            assert!(steps < 1_000_000, "the run does not end");
            if self.fuel.get() > 0 && self.random.one_in(10) {
                self.act_from_outside();
            }
            self.look();
            let ready: Vec<_> = self.sim.ready().collect();
            if !ready.is_empty() && !self.random.one_in(8) {
                self.step(ready[self.random.below(ready.len() as u64) as usize]);
            } else if !ready.is_empty() || self.fuel.get() > 0 && self.random.one_in(2) {
                self.pass(self.random.below(3 * SLACK));
            } else if let Some(at) = self.sim.next_event() {
                self.pass(at.saturating_sub(self.sim.now()));
            } else if self.fuel.get() == 0 {
                return;
            } else {
                self.act_from_outside();
            }
        }
    }

    /// A thread that is no worker does something.
    fn act_from_outside(&self) {
        self.fuel.set(self.fuel.get().saturating_sub(1));
        let alive = self.alive();
        match self.random.below(6) {
            0 => drop(self.launch()),
            1 if alive.len() > 2 => drop(self.sim.node().retire(self.any(&alive))),
            _ if alive.is_empty() => drop(self.launch()),
            _ => {
                let ctx = self.life(self.any(&alive)).ctx.clone();
                let ctx = ctx.expect("it is alive");
                let to = self.any(&alive);
                self.send(&ctx, to, None, &[]);
            }
        }
    }

    pub(crate) fn launch(&self) -> Option<Handle> {
        if self.alive().len() >= CROWD {
            return None;
        }
        self.sim.node().launch("program", None).ok()
    }

    /// Those that can be reached.
    pub(crate) fn alive(&self) -> Vec<Handle> {
        let node = self.sim.node();
        self.lives.borrow().keys().copied().filter(|it| node.is_alive(*it)).collect()
    }

    pub(crate) fn any(&self, of: &[Handle]) -> Handle {
        of[self.random.below(of.len() as u64) as usize]
    }

    pub(crate) fn life(&self, handle: Handle) -> Rc<Life> {
        Rc::clone(&self.lives.borrow()[&handle])
    }

    /// A service comes to life.
    pub(crate) fn born(&self, ctx: &Arc<ServiceContext>) {
        let life = Life {
            ctx: Some(Arc::clone(ctx)),
            busy: Cell::new(true),
            gone: Cell::new(false),
            calls: RefCell::default(),
            timeouts: RefCell::default(),
            last_timeout: Cell::new((0, 0)),
            idle_since: Cell::new(None),
            handled_at: Cell::new(None),
        };
        let before = self.lives.borrow_mut().insert(ctx.handle(), Rc::new(life));
        assert!(before.is_none(), "{} lives twice", ctx.handle());
    }

    /// Sends a request or an answer, with its number in front of `rest`. `false`: there is nobody.
    pub(crate) fn send(&self, from: &ServiceContext, to: Handle, answers: Option<i32>, rest: &[u8]) -> bool {
        let ty = if answers.is_some() { MessageType::RESPONSE } else { MessageType::LUA };
        self.post(from, to, ty, answers.unwrap_or(0), rest)
    }

    /// Calls. The session is open until the answer comes.
    pub(crate) fn call(&self, from: &ServiceContext, to: Handle) {
        let session = from.new_session();
        let life = self.life(from.handle());
        life.calls.borrow_mut().push(session);
        if !self.post(from, to, MessageType::LUA, session, &[]) {
            self.answered(&life, session);
        }
    }

    fn post(&self, from: &ServiceContext, to: Handle, ty: MessageType, session: i32, rest: &[u8]) -> bool {
        let number = self.letters.borrow().len() as u64;
        let mut places = self.places.borrow_mut();
        let place = places.entry((from.handle(), to)).or_default();
        let letter = Letter { to, from: from.handle(), place: place.0, handled: false };
        let body = [&number.to_le_bytes(), rest].concat();
        let block = self.sim.node().arena().copy_from(&body).unwrap();
        let sent = from.send(to, None, ty, Some(session), Some(block)).is_ok();
        if sent {
            place.0 += 1;
            self.letters.borrow_mut().push(letter);
        }
        sent
    }

    /// V1, V2: a message is being handled.
    pub(crate) fn received(&self, by: Handle, body: &[u8]) {
        let number = u64::from_le_bytes(body[..8].try_into().unwrap());
        let mut letters = self.letters.borrow_mut();
        let letter = &mut letters[number as usize];
        assert!(!letter.handled, "message {number} was handled twice (V1)");
        letter.handled = true;
        assert_eq!(letter.to, by, "message {number} went astray (V1)");
        let mut places = self.places.borrow_mut();
        let place = places.get_mut(&(letter.from, by)).expect("it was sent");
        assert_eq!(letter.place, place.1, "from {} to {by} out of order (V2)", letter.from);
        place.1 += 1;
    }

    /// V4: the answer to a call.
    pub(crate) fn answered(&self, life: &Life, session: i32) {
        let mut calls = life.calls.borrow_mut();
        let at = calls.iter().position(|it| *it == session);
        calls.swap_remove(at.unwrap_or_else(|| panic!("nobody waits for session {session} (V4)")));
    }

    /// V3: a service begins to do something.
    pub(crate) fn begin(&self, life: &Life) {
        assert!(!life.busy.replace(true), "a service does two things at a time (V3)");
        life.idle_since.set(None);
        life.handled_at.set(None);
        self.handled.set(self.handled.get() + 1);
    }

    /// A timeout was set.
    pub(crate) fn set_timeout(&self, life: &Life, session: i32, ticks: i32) {
        let when = self.sim.now() / 10_000_000 * 10 + ticks as u64 * 10;
        self.timeouts_set.set(self.timeouts_set.get() + 1);
        let old = life.timeouts.borrow_mut().insert(session, (when, self.timeouts_set.get()));
        assert!(old.is_none());
        *self.expiries.borrow_mut().entry(when).or_default() += 1;
    }

    /// A timeout was taken back.
    pub(crate) fn cancelled(&self, life: &Life, session: i32) {
        let (when, _) = life.timeouts.borrow_mut().remove(&session).expect("it was pending");
        *self.expiries.borrow_mut().get_mut(&when).expect("it was counted") -= 1;
    }

    /// V6: a timeout came.
    pub(crate) fn expired(&self, life: &Life, session: i32) {
        let came = life.timeouts.borrow_mut().remove(&session);
        let came = came.unwrap_or_else(|| panic!("timeout {session} was not set, or came twice (V6)"));
        assert!(self.sim.now() / 1_000_000 >= came.0, "timeout {session} came early (V6)");
        assert!(life.last_timeout.replace(came) < came, "timeouts came out of order (V6)");
    }

    /// Time passes, for whoever is in a turn: the others go on meanwhile, as threads do.
    pub(crate) fn pass(&self, nanos: u64) {
        let end = self.sim.now() + nanos;
        loop {
            self.look();
            let now = self.sim.now();
            let late =
                self.ready_since.borrow().iter().find(|(_, since)| **since + SLACK <= now).map(|it| *it.0);
            if let Some(actor) = late {
                self.step(actor);
                continue;
            }
            if now >= end {
                return;
            }
            let limit = self.ready_since.borrow().values().map(|since| since + SLACK).min();
            let event = self.sim.next_event().filter(|at| *at > now);
            self.sim.set_time([limit, event, Some(end)].into_iter().flatten().min().unwrap_or(end));
        }
    }

    /// Some others step, for no time at all.
    pub(crate) fn others_step(&self) {
        for _ in 0..1 + self.random.below(3) {
            let ready: Vec<_> = self.sim.ready().collect();
            if !ready.is_empty() {
                self.step(ready[self.random.below(ready.len() as u64) as usize]);
            }
        }
    }

    fn step(&self, actor: Actor) {
        self.ready_since.borrow_mut().remove(&actor);
        self.sim.step(actor);
        self.look();
    }

    /// What must hold at any time.
    fn look(&self) {
        let now = self.sim.now();
        let ready: Vec<_> = self.sim.ready().collect();
        let mut since = self.ready_since.borrow_mut();
        since.retain(|actor, _| ready.contains(actor));
        for actor in &ready {
            since.entry(*actor).or_insert(now);
        }
        let asleep = self
            .sim
            .doing()
            .enumerate()
            .any(|(index, it)| matches!(it, Doing::Parked) && !ready.contains(&Actor::Worker(index)));
        let lives = self.lives.borrow();
        for (handle, life) in lives.iter() {
            self.look_at(*handle, life, asleep, now);
        }
        if !ready.contains(&Actor::Timer) {
            let mut expiries = self.expiries.borrow_mut();
            *expiries = expiries.split_off(&(now / 1_000_000 + 1));
            let pending = self.sim.node().counters().timeouts;
            assert_eq!(pending, expiries.values().sum::<usize>(), "timeouts pending at {now} ns (V6)");
        }
    }

    /// V5.
    fn look_at(&self, handle: Handle, life: &Life, asleep: bool, now: u64) {
        let waits =
            !life.gone.get() && !life.busy.get() && life.ctx.as_ref().is_some_and(|it| it.queued() > 0);
        if !waits {
            life.idle_since.set(None);
            life.handled_at.set(None);
            return;
        }
        let handled = self.handled.get();
        let since = life.handled_at.get().unwrap_or(handled);
        life.handled_at.set(Some(since));
        let waited = handled - since;
        // Each worker may first serve all others, each for a budget, and look at the injector, and at long turns of others, after
        // another while.
        let workers = self.sim.doing().count() as u64;
        let most = workers * (u64::from(policy::BUDGET) * (CROWD as u64 + 4) + 400);
        assert!(waited < most, "{handle} waited for {waited} messages of others (V5)");
        let since = life.idle_since.get().filter(|_| asleep);
        let since = since.or(asleep.then_some(now));
        life.idle_since.set(since);
        let waited = since.map_or(0, |since| now - since);
        assert!(waited <= IDLE_WAIT, "{handle} waits for {waited} ns, and a worker sleeps (V5)");
    }

    /// V7, and what the books say.
    fn end(&self) -> String {
        let node = self.sim.node();
        for doing in self.sim.doing() {
            assert_eq!(doing, Doing::Parked, "all is quiet (V7)");
        }
        for (handle, life) in self.lives.borrow().iter() {
            let alive = node.is_alive(*handle);
            assert!(alive != life.gone.get(), "{handle} is neither alive nor gone");
            if alive {
                assert_eq!(life.ctx.as_ref().map(|it| it.queued()), Some(0), "{handle} has messages (V7)");
                assert_eq!(*life.calls.borrow(), [], "{handle} waits for answers (V4)");
                assert!(life.timeouts.borrow().is_empty(), "{handle} waits for timeouts (V6)");
            }
        }
        for (number, letter) in self.letters.borrow().iter().enumerate() {
            assert!(letter.handled || !node.is_alive(letter.to), "message {number} was lost (V1)");
        }
        let told = format!(
            "{} services, {} messages, {} timeouts, {} handled in {} ns: {:?}",
            self.lives.borrow().len(),
            self.letters.borrow().len(),
            self.timeouts_set.get(),
            self.handled.get(),
            self.sim.now(),
            node.counters(),
        );
        node.abort();
        while let Some(actor) = self.sim.ready().next() {
            self.step(actor);
        }
        for life in self.lives.borrow().values() {
            assert!(life.gone.get(), "a service outlives its node (V7)");
        }
        for doing in self.sim.doing() {
            assert_eq!(doing, Doing::Home, "the node has ended (V7)");
        }
        self.lives.borrow_mut().clear();
        told
    }
}
