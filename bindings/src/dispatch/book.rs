//! What a service remembers of its tasks: who waits for what, whom a task serves, who is to run next.
//!
//! Plain data; nothing here calls Lua, so a borrow of the book never meets a finalizer. A *task* is a coroutine with work:
//! the serving of one request, a timer, a fork. Its place in the book is its *slot*; a slot is used again and again, each
//! time with another *life*, so that whoever remembers a task of a past life finds nobody.
//!
//! # Invariants
//! * **B1** `waiting[s]` is a task exactly as long as something may still resume it under `s`. [`Waiter::Gone`] in its
//!   place means: the message for `s` is still to come, and nobody wants it.
//! * **B2** A task has a request only while that is unanswered; whoever answers takes it away.
//! * **B3** The coroutine of a slot in `idle` has no work, that of a slot in `free` does not exist.
//! * **B4** `sleeping[t]` implies a waiting session; the sleeper drops it when it continues.
//!
//! # From skynet
//! skynet.lua: `session_id_coroutine` → [`Book::waiting`], `session_coroutine_id` and `session_coroutine_address` →
//! [`Task`], `watching_session` → [`Target`], `unresponse` → [`Book::closures`], `sleep_session` → [`Book::sleeping`],
//! `wakeup_queue`, `error_queue`, `fork_queue` → [`Book::woken`], [`Book::failed`], [`Book::forks`], `coroutine_pool` →
//! [`Book::idle`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::ptr;

use crate::raw::lua_State;

use super::late::Late;
use super::mix::Mix;
use super::task::{Task, TaskId};
use super::token::Token;

/// Requests that ended without an answer, of which this many are remembered.
const FORGOTTEN: usize = 1024;

/// More places for timers than this are given up when all are free.
const MANY_TIMERS: i64 = 1024;

/// Whom a call was made to, as the caller named it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Target {
    /// Nobody: a timer, or a wait.
    None,
    /// A handle.
    Handle(i64),
    /// A name.
    Name(Box<[u8]>),
}

/// Who waits for a session.
#[derive(Debug)]
pub(super) enum Waiter {
    /// Nobody any more.
    Gone,
    /// Nobody any more; if an answer comes, it is late.
    Late,
    /// A task.
    Task {
        task: TaskId,
        target: Target,
        /// A message for the session is still to come. Not so for a `wait`.
        ticks: bool,
    },
    /// A timer whose coroutine nobody has seen, so that it has none yet: its function is kept in this place.
    Timer(i64),
}

/// What came of a response.
#[must_use]
pub(super) enum Arrived {
    /// Nobody waits for this session.
    Unknown,
    /// Nobody waits for it any more.
    Dropped,
    /// This task continues.
    Task(TaskId),
    /// The function in this place is to run.
    Timer(i64),
}

/// A sleeper or waiter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sleeper {
    pub(super) session: i32,
    /// A wake-up for it is in the queue.
    pub(super) woken: bool,
}

/// A wake-up in the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Woken {
    token: Token,
    session: i32,
    /// For a second wake-up of the same sleeper: where the token is kept. It wakes whoever sleeps on it by then.
    pub(super) kept: Option<i64>,
}

/// What a wake-up found.
#[must_use]
pub(super) enum Wakeup {
    /// Nobody sleeps on the token.
    Nobody,
    /// It is queued.
    Queued,
    /// It was queued before: the token is to be kept in the place named.
    Again(i64),
}

/// A place in the fork queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fork {
    /// A task that has not begun.
    Task(TaskId),
    /// Nothing but the draining behind it.
    Drain,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) tasks: Vec<Task>,
    pub(super) free: Vec<u32>,
    pub(super) idle: Vec<u32>,
    /// The fewest idle coroutines since the last trim: so many were not needed.
    pub(super) least_idle: usize,
    pub(super) waiting: HashMap<i32, Waiter, BuildHasherDefault<Mix>>,
    /// There may be sessions in `waiting` that nobody waits for any more.
    pub(super) given_up: bool,
    /// Places for functions of timers: how many there are, and those that are free.
    timers: i64,
    free_timers: Vec<i64>,
    pub(super) sleeping: HashMap<Token, Sleeper, BuildHasherDefault<Mix>>,
    pub(super) woken: VecDeque<Woken>,
    /// Places for tokens that were ever given out.
    kept: i64,
    pub(super) failed: VecDeque<i32>,
    pub(super) late: Late,
    pub(super) forks: VecDeque<Fork>,
    /// Unused `response` closures, by number: who waits for them.
    pub(super) closures: BTreeMap<u64, (u32, i32)>,
    closures_made: u64,
    /// Requests whose handler ended without an answer.
    pub(super) forgotten: VecDeque<(u32, i32)>,
    /// Source → tag that its next request carries.
    pub(super) incoming_tags: HashMap<u32, Box<[u8]>, BuildHasherDefault<Mix>>,
    /// Texts of the errors of the current message.
    pub(super) errors: Vec<u8>,
    pub(super) has_errors: bool,
}

impl Book {
    /// The task of `id`, if that is its life still.
    #[inline]
    pub(super) fn task(&mut self, id: TaskId) -> Option<&mut Task> {
        self.tasks.get_mut(id.slot as usize).filter(|task| task.life == id.life)
    }

    /// An idle coroutine as a task.
    #[inline]
    pub(super) fn take_idle(&mut self) -> Option<TaskId> {
        let slot = self.idle.pop()?;
        self.least_idle = self.least_idle.min(self.idle.len());
        Some(TaskId { slot, life: self.tasks[slot as usize].life })
    }

    /// The slot that [`Book::enter`] will use.
    pub(super) fn next_slot(&self) -> u32 {
        self.free.last().copied().unwrap_or(self.tasks.len() as u32)
    }

    /// A new coroutine, which is anchored under its slot already.
    pub(super) fn enter(&mut self, co: *mut lua_State) -> TaskId {
        match self.free.pop() {
            Some(slot) => {
                let task = &mut self.tasks[slot as usize];
                task.co = co;
                TaskId { slot, life: task.life }
            }
            None => {
                let slot = self.tasks.len() as u32;
                let task = Task::new(co);
                let life = task.life;
                self.tasks.push(task);
                TaskId { slot, life }
            }
        }
    }

    /// The work of a task is done: what was its own is forgotten, and the slot begins another life.
    #[inline]
    fn end_life(&mut self, id: TaskId) -> Option<&mut Task> {
        let task = self.task(id)?;
        task.end_life();
        Some(task)
    }

    /// The coroutine of a task may be used again.
    #[inline]
    pub(super) fn release(&mut self, id: TaskId) {
        if self.end_life(id).is_some() {
            self.idle.push(id.slot);
        }
    }

    /// The coroutine of a task is given up. Its anchor may go.
    pub(super) fn discard(&mut self, id: TaskId) {
        if let Some(task) = self.end_life(id) {
            task.co = ptr::null_mut();
            self.free.push(id.slot);
        }
    }

    /// Slots whose coroutines were idle since the last trim. They are free afterwards; their anchors are to go.
    pub(super) fn trim(&mut self) -> Vec<u32> {
        let unused: Vec<u32> = self.idle.drain(..self.least_idle.min(self.idle.len())).collect();
        for &slot in &unused {
            let task = &mut self.tasks[slot as usize];
            task.life = task.life.wrapping_add(1);
            task.co = ptr::null_mut();
            self.free.push(slot);
        }
        self.least_idle = self.idle.len();
        unused
    }

    /// The response to `session` is here.
    #[inline]
    pub(super) fn arrive(&mut self, session: i32) -> Arrived {
        self.late.came(session);
        match self.waiting.remove(&session) {
            None => Arrived::Unknown,
            Some(Waiter::Gone) => Arrived::Dropped,
            Some(Waiter::Late) => {
                self.late.counted();
                Arrived::Dropped
            }
            Some(Waiter::Timer(place)) => Arrived::Timer(place),
            Some(Waiter::Task { task, .. }) => {
                if self.task(task).is_some() {
                    Arrived::Task(task)
                } else {
                    Arrived::Dropped
                }
            }
        }
    }

    /// A place for the function of a timer.
    #[inline]
    pub(super) fn take_timer(&mut self) -> i64 {
        self.free_timers.pop().unwrap_or_else(|| {
            self.timers += 1;
            self.timers
        })
    }

    /// Nothing is kept in the place of a timer any more.
    #[inline]
    pub(super) fn free_timer(&mut self, place: i64) {
        self.free_timers.push(place);
        if self.free_timers.len() as i64 == self.timers && self.timers > MANY_TIMERS {
            // A crowd has come and gone.
            self.free_timers = Vec::new();
            self.timers = 0;
        }
    }

    /// The call of `session` has no target any more: nothing fails it.
    pub(super) fn drop_target(&mut self, session: i32) {
        if let Some(Waiter::Task { target, .. }) = self.waiting.get_mut(&session) {
            *target = Target::None;
        }
    }

    /// Somebody sleeps on `token` from now on.
    #[inline]
    pub(super) fn sleep(&mut self, token: Token, session: i32) {
        self.sleeping.insert(token, Sleeper { session, woken: false });
    }

    /// The sleeper of `session` continues.
    #[inline]
    pub(super) fn awake(&mut self, token: Token, session: i32) {
        if self.sleeping.get(&token).is_some_and(|it| it.session == session) {
            self.sleeping.remove(&token);
        }
    }

    /// Queues a wake-up.
    #[inline]
    pub(super) fn wakeup(&mut self, token: Token) -> Wakeup {
        let Some(sleeper) = self.sleeping.get_mut(&token) else { return Wakeup::Nobody };
        let session = sleeper.session;
        if !sleeper.woken {
            sleeper.woken = true;
            self.woken.push_back(Woken { token, session, kept: None });
            return Wakeup::Queued;
        }
        self.kept += 1;
        self.woken.push_back(Woken { token, session, kept: Some(self.kept) });
        Wakeup::Again(self.kept)
    }

    /// The task that a queued wake-up resumes, if there is one.
    #[inline]
    pub(super) fn wake(&mut self, woken: Woken) -> Option<TaskId> {
        let session = self.sleeping.get(&woken.token)?.session;
        // Without the token itself, its address may be another's by now (K1).
        if woken.kept.is_none() && session != woken.session {
            return None;
        }
        let &Waiter::Task { task, ticks, .. } = self.waiting.get(&session)? else { return None };
        if ticks {
            // Its timer is still to come.
            self.waiting.insert(session, Waiter::Gone);
            self.given_up = true;
        } else {
            self.waiting.remove(&session);
        }
        self.task(task).is_some().then_some(task)
    }

    /// The task that fails with `session`, if there is one.
    pub(super) fn fail(&mut self, session: i32) -> Option<TaskId> {
        match self.waiting.remove(&session)? {
            Waiter::Task { task, .. } if self.task(task).is_some() => Some(task),
            _ => None,
        }
    }

    /// An error message for one session.
    pub(super) fn on_error(&mut self, session: i32) {
        match self.waiting.get(&session) {
            Some(Waiter::Task { target: Target::Handle(_) | Target::Name(_), .. }) => {
                self.failed.push_back(session);
            }
            // The answer that nobody wanted.
            Some(Waiter::Gone) => {
                self.waiting.remove(&session);
            }
            Some(Waiter::Late) => {
                self.late.counted();
                self.waiting.remove(&session);
            }
            _ => {}
        }
    }

    /// A peer is gone: calls to it fail, and it waits for no answer of ours.
    pub(super) fn on_death(&mut self, peer: &Target) {
        if let &Target::Handle(handle) = peer {
            self.closures.retain(|_, &mut (source, _)| i64::from(source) != handle);
            self.forgotten.retain(|&(source, _)| i64::from(source) != handle);
        }
        let mut dead: Vec<i32> = self
            .waiting
            .iter()
            .filter(|(_, waiter)| matches!(waiter, Waiter::Task { target, .. } if target == peer))
            .map(|(&session, _)| session)
            .collect();
        dead.sort_unstable();
        self.failed.extend(dead);
    }

    /// A new `response` closure, by number.
    pub(super) fn detach(&mut self, source: u32, session: i32) -> u64 {
        self.closures_made += 1;
        self.closures.insert(self.closures_made, (source, session));
        self.closures_made
    }

    /// The handler of a request ended without an answer.
    pub(super) fn forget(&mut self, source: u32, session: i32) {
        if self.forgotten.len() == FORGOTTEN {
            self.forgotten.pop_front();
        }
        self.forgotten.push_back((source, session));
    }

    /// Adds to what the current message will raise.
    pub(super) fn report(&mut self, text: &[u8]) {
        if self.has_errors {
            self.errors.push(b'\n');
        }
        self.has_errors = true;
        self.errors.extend_from_slice(text);
        // What was woken before the failure, or will be while its task is closed, still runs in this message.
        self.forks.push_back(Fork::Drain);
    }

    /// Every request that is still to be answered. Afterwards there is none.
    pub(super) fn take_requests(&mut self) -> Vec<(u32, i32)> {
        let mut open = Vec::new();
        for task in &mut self.tasks {
            if let (Some(session), Some(source)) = (task.session.take(), task.source)
                && session != 0
            {
                open.push((source, session));
            }
        }
        open.extend(self.forgotten.drain(..));
        open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(n: usize) -> Token {
        Token::of_thread(ptr::without_provenance_mut(n * 16))
    }

    fn task(book: &mut Book, n: usize) -> TaskId {
        book.enter(ptr::without_provenance_mut(n * 64))
    }

    fn sleep(book: &mut Book, task: TaskId, key: Token, session: i32, ticks: bool) {
        book.waiting.insert(session, Waiter::Task { task, target: Target::None, ticks });
        book.sleep(key, session);
    }

    fn wake_next(book: &mut Book) -> Option<TaskId> {
        let woken = book.woken.pop_front()?;
        book.wake(woken)
    }

    #[test]
    fn a_second_wakeup_breaks_the_next_sleep_on_the_token_and_nothing_else() {
        let mut book = Book::default();
        let (one, other) = (task(&mut book, 1), task(&mut book, 2));
        sleep(&mut book, one, token(1), 1, true);
        assert!(matches!(book.wakeup(token(1)), Wakeup::Queued));
        assert!(matches!(book.wakeup(token(1)), Wakeup::Again(1)));
        assert!(matches!(book.wakeup(token(2)), Wakeup::Nobody));
        assert_eq!(wake_next(&mut book), Some(one));
        book.awake(token(1), 1);
        sleep(&mut book, other, token(1), 2, true);
        assert_eq!(wake_next(&mut book), Some(other));
        // Their timers are still to come, and nobody wants them.
        assert!(matches!(book.arrive(1), Arrived::Dropped));
        assert!(matches!(book.arrive(2), Arrived::Dropped));
        assert!(matches!(book.arrive(2), Arrived::Unknown));
    }

    #[test]
    fn a_wakeup_does_not_outlive_its_sleeper() {
        let mut book = Book::default();
        let (one, other) = (task(&mut book, 1), task(&mut book, 2));
        sleep(&mut book, one, token(1), 1, false);
        assert!(matches!(book.wakeup(token(1)), Wakeup::Queued));
        // The sleeper is resumed by hand, and another object has its token's address.
        book.awake(token(1), 1);
        sleep(&mut book, other, token(1), 2, false);
        assert_eq!(wake_next(&mut book), None);
    }

    #[test]
    fn nobody_finds_a_task_of_a_past_life() {
        let mut book = Book::default();
        let one = task(&mut book, 1);
        sleep(&mut book, one, token(1), 1, true);
        book.release(one);
        assert!(book.task(one).is_none());
        assert!(matches!(book.arrive(1), Arrived::Dropped));
        let again = book.take_idle().unwrap();
        assert_eq!(again.slot, one.slot);
        assert_ne!(again.life, one.life);
    }

    #[test]
    fn the_death_of_a_peer_fails_the_calls_to_it_in_their_order() {
        let mut book = Book::default();
        let name = Target::Name(b"somebody".as_slice().into());
        for (session, target) in
            [(3, Target::Handle(9)), (1, Target::Handle(9)), (2, Target::Handle(8)), (4, name)]
        {
            let task = task(&mut book, session as usize);
            book.waiting.insert(session, Waiter::Task { task, target, ticks: true });
        }
        let closure = book.detach(9, 70);
        book.detach(8, 71);
        book.on_death(&Target::Handle(9));
        assert_eq!(book.failed, [1, 3]);
        assert!(!book.closures.contains_key(&closure));
        assert_eq!(book.closures.len(), 1);
        assert!(book.fail(1).is_some());
        assert!(book.fail(1).is_none(), "only once");
    }

    #[test]
    fn only_coroutines_that_were_never_needed_are_trimmed() {
        let mut book = Book::default();
        let tasks: Vec<_> = (1..=5).map(|n| task(&mut book, n)).collect();
        tasks.iter().for_each(|&it| book.release(it));
        assert!(book.trim().is_empty(), "they were busy since the last trim");
        let (a, b) = (book.take_idle().unwrap(), book.take_idle().unwrap());
        book.release(a);
        book.release(b);
        assert_eq!(book.trim().len(), 3);
        assert_eq!((book.idle.len(), book.free.len()), (2, 3));
        let next = book.next_slot();
        assert_eq!(book.enter(ptr::without_provenance_mut(64)).slot, next);
    }

    #[test]
    fn forgotten_requests_are_remembered_up_to_a_number() {
        let mut book = Book::default();
        for session in 0..FORGOTTEN as i32 + 10 {
            book.forget(7, session + 1);
        }
        let open = book.take_requests();
        assert_eq!(open.len(), FORGOTTEN);
        assert_eq!(open[0], (7, 11));
        assert!(book.take_requests().is_empty());
    }
}
