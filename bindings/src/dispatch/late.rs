//! What was given up before it came: answers that may come late, and timers that need not come at all.
//!
//! A session that nobody waits for any more stays on record as [`Waiter::Late`], so that its answer is dropped and counted, and not
//! taken for a stray one. An answer may never come, so only the last [`KEPT`] such sessions are remembered.

use std::collections::{HashMap, VecDeque};
use std::ffi::c_int;

use skein_runtime::timer::TimeoutKey;

use super::book::{Book, Waiter};
use super::{Dispatcher, at};
use crate::raw::{ffi, lua_State};

/// How many answers that were given up are expected still.
const KEPT: usize = 1024;

/// The record.
#[derive(Debug, Default)]
pub(super) struct Late {
    /// Answers that came when nobody waited for them any more.
    count: u64,
    /// Sessions whose answer was given up, oldest first.
    sessions: VecDeque<i32>,
    /// Timers that may be taken back.
    timers: HashMap<i32, TimeoutKey>,
}

impl Late {
    /// The timer of `session` may be taken back.
    pub(super) fn keep(&mut self, session: i32, key: TimeoutKey) {
        self.timers.insert(session, key);
    }

    /// A message for `session` is here: if it is a timer's, it cannot be taken back any more.
    #[inline]
    pub(super) fn came(&mut self, session: i32) {
        if !self.timers.is_empty() {
            self.timers.remove(&session);
        }
    }

    /// A late answer is here.
    pub(super) fn counted(&mut self) {
        self.count += 1;
    }
}

impl Book {
    /// Nobody waits for `session` any more. Answers what takes its timer back.
    fn give_up(&mut self, session: i32) -> Option<TimeoutKey> {
        let timer = self.late.timers.remove(&session);
        let wants_answer = match self.waiting.get(&session) {
            None => return timer,
            Some(&Waiter::Task { ticks: false, .. }) => {
                self.waiting.remove(&session);
                return timer;
            }
            Some(&Waiter::Task { task, .. }) => self.task(task).is_some_and(|it| it.wants_message),
            Some(Waiter::Gone | Waiter::Late | Waiter::Timer(_)) => false,
        };
        if !wants_answer {
            self.waiting.insert(session, Waiter::Gone);
            self.given_up = true;
            return timer;
        }
        self.waiting.insert(session, Waiter::Late);
        self.given_up = true;
        self.late.sessions.push_back(session);
        if self.late.sessions.len() > KEPT
            && let Some(oldest) = self.late.sessions.pop_front()
            && matches!(self.waiting.get(&oldest), Some(Waiter::Late))
        {
            self.waiting.remove(&oldest);
        }
        timer
    }
}

impl Dispatcher {
    /// Nobody waits for `session` any more: its answer will be dropped, its timer is taken back.
    pub(super) fn give_up(&self, session: i32) {
        let timer = self.book.borrow_mut().give_up(session);
        if let Some(key) = timer
            && self.ctx.node().cancel_timeout(key)
        {
            self.book.borrow_mut().waiting.remove(&session);
        }
    }
}

/// `dispatch.late(): integer`: how many answers came when nobody waited for them any more.
pub(super) unsafe extern "C-unwind" fn late(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`, which a service owns.
    unsafe {
        let count = at(state).1.book.borrow().late.count;
        ffi::lua_pushinteger(state, count as i64);
    }
    1
}
