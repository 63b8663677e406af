//! What a worker does next: decisions only, no thread and no clock of its own.
//!
//! # Invariants
//! * **W1** What waits at a desk is served by its owner before that goes to rest: a slot or a deque that is not empty belongs to
//!   a worker that is running, or is being taken from by the searcher.

use core::cell::Cell;

use skein_arena::sync::{
    Arc,
    atomic::{Ordering::SeqCst, fence},
    hint,
};

use super::{
    Pool, Scheduled, Wake,
    deque::{Deque, Steal},
    desk::Desk,
    policy,
};

/// What [`Worker::step`] asks for.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// Whom to wake first.
    pub wake: Wake,
    /// What to do then.
    pub next: Next,
}

/// What a worker does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Serve this mailbox for a turn; then step.
    Run(Scheduled),
    /// Sleep until woken; then step.
    Park,
    /// The node ends.
    Home,
}

/// One worker, in the hands of the thread that plays it.
///
/// `&self` throughout: a service that runs on it schedules others by way of its thread, while the loop of that thread has it too.
pub struct Worker {
    pool: Arc<Pool>,
    index: usize,
    deque: Deque<Scheduled>,
    running: Cell<bool>,
    /// It was told to sleep.
    parked: Cell<bool>,
    /// What is left of the budget of the current chain of turns.
    messages_left: Cell<u32>,
    chain_ends: Cell<u64>,
    /// When the injector was last looked at, and long turns of others.
    injector_seen: Cell<u64>,
    /// Where the next search begins.
    victim: Cell<usize>,
}

impl Worker {
    pub(super) fn new(pool: Arc<Pool>, index: usize, deque: Deque<Scheduled>) -> Self {
        Self {
            pool,
            index,
            deque,
            running: Cell::new(false),
            parked: Cell::new(false),
            messages_left: Cell::new(policy::BUDGET),
            chain_ends: Cell::new(0),
            injector_seen: Cell::new(0),
            victim: Cell::new(index),
        }
    }

    /// Its number in the pool.
    pub fn index(&self) -> usize {
        self.index
    }

    /// How many turns it began.
    pub fn turns(&self) -> u64 {
        self.desk().counts.turns.get()
    }

    /// The pool it works for.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A service was woken by the one that runs here: it is next, and what was next before goes behind the others.
    ///
    /// Nobody is woken for it while the turn before it is short: that ends sooner than another worker could begin.
    #[inline]
    pub fn wake(&self, scheduled: Scheduled) -> Wake {
        match self.desk().slot.put(scheduled) {
            None => Wake::NOBODY,
            Some(before) => self.queue(before),
        }
    }

    /// The turn of this service was cut short by its budget: it goes behind the others.
    pub fn again(&self, scheduled: Scheduled) -> Wake {
        self.queue(scheduled)
    }

    fn queue(&self, scheduled: Scheduled) -> Wake {
        self.deque.push(scheduled);
        self.see_to_queue()
    }

    /// The own queue grew: whom that concerns.
    fn see_to_queue(&self) -> Wake {
        // The push is before the look at who is about: a searcher that leaves sees it, or we see that one left.
        fence(SeqCst);
        if self.desk().backlog(self.deque.len()) >= policy::WORTH {
            self.count_wake(self.pool.idle.help())
        } else {
            Wake::NOBODY
        }
    }

    /// One more message of the running turn was handled. `true`: the budget is spent and others wait, so the turn is over.
    #[inline]
    pub fn spend(&self, now: u64) -> bool {
        let left = self.messages_left.get().saturating_sub(1);
        self.messages_left.set(left);
        if left > 0 && now < self.chain_ends.get() {
            return false;
        }
        let others = !self.desk().slot.is_empty()
            || !self.deque.is_empty()
            || !self.pool.injector.is_empty()
            || self.others().any(|it| it.is_stuck(now) && it.has_waiting());
        if !others {
            self.refill(now);
        }
        others
    }

    /// What to do next, at the time `now` in ns of any clock that never goes back.
    pub fn step(&self, now: u64) -> Step {
        if self.running.replace(false) {
            self.desk().end(now);
        }
        if self.pool.is_closed() {
            return Step { wake: Wake::NOBODY, next: Next::Home };
        }
        if self.parked.get() {
            if !self.pool.idle.is_searcher(self.index) {
                return self.park(false);
            }
            self.parked.set(false);
            self.desk().counts.woken.add(1);
            // What it made runnable itself since it was roused.
            if let Some((scheduled, _)) = self.take_own(now) {
                return self.found(scheduled, now);
            }
        } else {
            if let Some((scheduled, wake)) = self.take_own(now) {
                return self.run(scheduled, now, wake);
            }
            if !self.pool.idle.search(self.index) {
                return self.rest(now);
            }
        }
        self.go_searching(now).unwrap_or_else(|| self.rest(now))
    }

    /// This worker, which parked, was told of something that will make work: it is the searcher at its next step, and may
    /// [`wake`](Self::wake) services until then, for which nobody else is woken before that. `None`: another is the searcher, who sees
    /// what is injected; this one stays parked.
    pub fn rouse(&self) -> Option<Wake> {
        let risen = if self.parked.get() { self.pool.idle.rise(self.index) } else { None };
        risen.map(|watch| Wake { worker: None, watch })
    }

    /// This worker is the searcher.
    fn go_searching(&self, now: u64) -> Option<Step> {
        let scheduled = self.search(now)?;
        Some(self.found(scheduled, now))
    }

    /// The searcher has work, and sees to what else there is.
    fn found(&self, scheduled: Scheduled, now: u64) -> Step {
        self.pool.idle.found(self.index);
        let wake = self.see_to_the_rest(now);
        self.run(scheduled, now, wake)
    }

    /// Nothing was found: to sleep; after one more look, for what was made by those who saw us searching.
    fn rest(&self, now: u64) -> Step {
        let mut watch = false;
        loop {
            watch |= self.pool.idle.rest(self.index);
            if !self.sees_work(now) {
                return self.park(watch);
            }
            let Some(begins) = self.pool.idle.rise(self.index) else { return self.park(watch) };
            watch |= begins;
            if let Some(mut step) = self.go_searching(now) {
                step.wake.watch |= watch;
                return step;
            }
        }
    }

    fn park(&self, watch: bool) -> Step {
        self.parked.set(true);
        self.desk().counts.parks.add(1);
        Step { wake: Wake { worker: None, watch }, next: Next::Park }
    }

    fn run(&self, scheduled: Scheduled, now: u64, wake: Wake) -> Step {
        self.running.set(true);
        self.desk().begin(now);
        self.desk().counts.turns.add(1);
        Step { wake, next: Next::Run(scheduled) }
    }

    /// From slot, deque and injector. Also whom to wake, for what was moved on the way.
    #[inline]
    fn take_own(&self, now: u64) -> Option<(Scheduled, Wake)> {
        let spent = self.messages_left.get() == 0 || now >= self.chain_ends.get();
        if !spent && let Some(next) = self.take_slot() {
            return Some((next, Wake::NOBODY));
        }
        if now.saturating_sub(self.injector_seen.get()) >= policy::INJECTOR_EVERY
            && let Some(next) = self.take_injected(now).or_else(|| self.take_from_others(Desk::is_stuck, now))
        {
            return Some((next, self.see_to_queue()));
        }
        if let Some(next) = self.deque.pop() {
            self.refill(now);
            // The chain is over: what it woke last goes behind the others.
            let wake = self.desk().slot.take().map_or(Wake::NOBODY, |last| self.queue(last));
            return Some((next, wake));
        }
        if let Some(next) = self.take_slot() {
            self.refill(now);
            return Some((next, Wake::NOBODY));
        }
        let next = self.take_injected(now)?;
        Some((next, self.see_to_queue()))
    }

    fn take_slot(&self) -> Option<Scheduled> {
        let next = self.desk().slot.take()?;
        self.desk().counts.from_slot.add(1);
        Some(next)
    }

    fn take_injected(&self, now: u64) -> Option<Scheduled> {
        self.injector_seen.set(now);
        let next = self.until_sure(|| self.pool.injector.steal_batch_and_pop(&self.deque))?;
        self.desk().counts.from_injector.add(1);
        self.refill(now);
        Some(next)
    }

    fn refill(&self, now: u64) {
        self.messages_left.set(policy::BUDGET);
        self.chain_ends.set(now.saturating_add(policy::BUDGET_NANOS));
    }

    /// From the injector, and from others.
    fn search(&self, now: u64) -> Option<Scheduled> {
        self.take_injected(now).or_else(|| self.take_from_others(|_, _| true, now))
    }

    /// What is due at the desks of others, or at those of them that are meant.
    fn take_from_others(&self, meant: impl Fn(&Desk, u64) -> bool, now: u64) -> Option<Scheduled> {
        for desk in self.others().filter(|it| meant(it, now)) {
            if desk.queue_is_due(now)
                && let Some(next) = self.until_sure(|| desk.stealer.steal_batch_and_pop(&self.deque))
            {
                desk.relieved();
                self.desk().counts.steals.add(1);
                self.refill(now);
                return Some(next);
            }
            if desk.slot_is_due(now)
                && let Some(next) = desk.slot.take()
            {
                self.desk().counts.slots_taken.add(1);
                self.refill(now);
                return Some(next);
            }
        }
        None
    }

    /// The desks of the others, another one first each time.
    fn others(&self) -> impl Iterator<Item = &Desk> {
        let desks = &self.pool.desks;
        let first = (self.victim.get() + 1) % desks.len();
        self.victim.set(first);
        let (before, after) = desks.split_at(first);
        after.iter().chain(before).filter(|it| !core::ptr::eq(*it, self.desk()))
    }

    /// Whether a search would find something; seen by one who is about to sleep.
    fn sees_work(&self, now: u64) -> bool {
        !self.pool.injector.is_empty() || self.others().any(|it| it.is_due(now))
    }

    /// A searcher left that role for a turn: who made work meanwhile counted on it.
    fn see_to_the_rest(&self, now: u64) -> Wake {
        if self.sees_work(now) { self.count_wake(self.pool.idle.help()) } else { self.see_to_queue() }
    }

    /// Repeats an operation on a queue until it is not disturbed by another thread.
    fn until_sure(&self, mut steal: impl FnMut() -> Steal<Scheduled>) -> Option<Scheduled> {
        loop {
            match steal() {
                Steal::Success(scheduled) => return Some(scheduled),
                Steal::Empty => return None,
                Steal::Retry => {
                    self.desk().counts.contended.add(1);
                    hint::spin_loop();
                }
            }
        }
    }

    fn count_wake(&self, wake: Wake) -> Wake {
        if wake.worker.is_some() {
            self.desk().counts.wakes.add(1);
        }
        wake
    }

    fn desk(&self) -> &Desk {
        &self.pool.desks[self.index]
    }
}
