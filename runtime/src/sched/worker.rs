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
    idle::Role,
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
    /// Sleep until woken, or until this time; then step.
    Watch(u64),
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
    role: Cell<Option<Role>>,
    /// What is left of the budget of the current chain of turns.
    messages_left: Cell<u32>,
    chain_ends: Cell<u64>,
    /// When the injector was last looked at.
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
            role: Cell::new(None),
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
            None => self.count_wake(self.pool.idle.guard()),
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
        // The push is before the look at who is about (I2).
        fence(SeqCst);
        let queued = self.deque.len();
        let wake = if self.desk().backlog(queued) >= policy::WORTH {
            self.pool.idle.help()
        } else if queued > 0 {
            self.pool.idle.guard()
        } else {
            Wake::Nobody
        };
        self.count_wake(wake)
    }

    /// One more message of the running turn was handled. `true`: the budget is spent and others wait, so the turn is over.
    #[inline]
    pub fn spend(&self, now: u64) -> bool {
        let left = self.messages_left.get().saturating_sub(1);
        self.messages_left.set(left);
        if left > 0 && now < self.chain_ends.get() {
            return false;
        }
        let others = !self.desk().slot.is_empty() || !self.deque.is_empty() || !self.pool.injector.is_empty();
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
            return Step { wake: Wake::Nobody, next: Next::Home };
        }
        match self.role.get() {
            None => {
                if let Some((scheduled, wake)) = self.take_own(now) {
                    return self.run(scheduled, now, wake);
                }
                if !self.pool.idle.search(self.index) {
                    return self.rest(now);
                }
            }
            Some(_) => match self.pool.idle.role(self.index) {
                Role::Searching => self.desk().counts.woken.add(1),
                Role::Asleep => return self.lie(Role::Asleep, now),
                Role::OnWatch => {
                    if self.pool.idle.is_alone() {
                        return self.rest(now);
                    }
                    self.desk().counts.looks.add(1);
                    if !self.sees_work(now) || !self.pool.idle.rise(self.index) {
                        return self.lie(Role::OnWatch, now);
                    }
                }
            },
        }
        self.go_searching(now).unwrap_or_else(|| self.rest(now))
    }

    /// This worker is the searcher.
    fn go_searching(&self, now: u64) -> Option<Step> {
        self.role.set(Some(Role::Searching));
        let scheduled = self.search(now)?;
        self.pool.idle.found(self.index);
        self.role.set(None);
        let wake = self.see_to_the_rest(now);
        Some(self.run(scheduled, now, wake))
    }

    /// Nothing was found: on watch, or to sleep; after one more look, for what was made by those who saw us searching.
    fn rest(&self, now: u64) -> Step {
        loop {
            let role = self.pool.idle.rest(self.index);
            if !self.sees_work(now) || !self.pool.idle.rise(self.index) {
                return self.lie(role, now);
            }
            if let Some(step) = self.go_searching(now) {
                return step;
            }
        }
    }

    fn lie(&self, role: Role, now: u64) -> Step {
        self.role.set(Some(role));
        let next = if role == Role::OnWatch {
            Next::Watch(self.next_look(now))
        } else {
            self.desk().counts.parks.add(1);
            Next::Park
        };
        Step { wake: Wake::Nobody, next }
    }

    /// When something that waits now will be old, and not much later than that.
    fn next_look(&self, now: u64) -> u64 {
        let old = self.others().filter(|it| it.has_waiting()).map(Desk::stuck_at).min();
        let latest = now.saturating_add(policy::LOOK_EVERY);
        old.map_or(latest, |at| at.clamp(now.saturating_add(policy::LOOK_SOON), latest))
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
            return Some((next, Wake::Nobody));
        }
        if now.saturating_sub(self.injector_seen.get()) >= policy::INJECTOR_EVERY
            && let Some(next) = self.take_injected(now)
        {
            return Some((next, self.see_to_queue()));
        }
        if let Some(next) = self.deque.pop() {
            self.refill(now);
            // The chain is over: what it woke last goes behind the others.
            let wake = self.desk().slot.take().map_or(Wake::Nobody, |last| self.queue(last));
            return Some((next, wake));
        }
        if let Some(next) = self.take_slot() {
            self.refill(now);
            return Some((next, Wake::Nobody));
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
        if let Some(next) = self.take_injected(now) {
            return Some(next);
        }
        for desk in self.others() {
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

    /// Whether a search would find something; seen by one who is about to sleep, or on watch.
    fn sees_work(&self, now: u64) -> bool {
        // All of them: a look is also what makes a queue old.
        let due = self.others().fold(false, |due, desk| desk.look(now) | due);
        due || !self.pool.injector.is_empty()
    }

    /// A searcher left that role for a turn: who made work meanwhile counted on it.
    fn see_to_the_rest(&self, now: u64) -> Wake {
        let pool = &*self.pool;
        let mut others = self.others();
        let wake =
            if !pool.injector.is_empty() || others.any(|it| it.queue_is_due(now) || it.slot_is_due(now)) {
                pool.idle.help()
            } else if self.others().any(Desk::has_waiting) {
                pool.idle.guard()
            } else {
                Wake::Nobody
            };
        match self.count_wake(wake) {
            Wake::Nobody => self.see_to_queue(),
            somebody => somebody,
        }
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
        if wake != Wake::Nobody {
            self.desk().counts.wakes.add(1);
        }
        wake
    }

    fn desk(&self) -> &Desk {
        &self.pool.desks[self.index]
    }
}
