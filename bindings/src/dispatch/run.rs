//! A task from a resume to where it suspends, ends or fails.

use std::ffi::c_int;
use std::slice;

use skein_vm::owner;

use super::book::{Target, Waiter};
use super::cycle::{Incoming, push_body};
use super::task::{Tag, TaskId};
use super::trace::Event;
use super::{Dispatcher, desk};
use crate::raw::{bytes, ffi, lua_State};
use crate::state::ServiceState;

/// What a task is resumed with.
#[derive(Clone, Copy)]
pub(super) enum Wake {
    /// The message it waited for.
    Message(Incoming),
    /// The failure of what it waited for.
    Failed,
    /// A wake-up.
    Woken,
}

/// How `explain` begins its text.
const ERROR_VALUE: i64 = 0;
const UNKNOWN_COMMAND: i64 = 1;
const OUT_OF_PLACE: i64 = 2;

impl Dispatcher {
    /// Resumes a task that waits, or starts one that was set aside. True when the queues are to be drained now.
    ///
    /// # Safety
    /// `from` is a state of this service with room for a call, that runs nothing, or a function of ours. (So for all that
    /// follows.) Nothing raises (D1).
    pub(super) unsafe fn resume(
        &self,
        service: &ServiceState,
        from: *mut lua_State,
        task: TaskId,
        wake: Wake,
    ) -> bool {
        let (co, active, wants_message, traced) = {
            let mut book = self.book.borrow_mut();
            let Some(it) = book.task(task) else { return true };
            (it.co, it.active, it.wants_message, matches!(it.tag, Tag::On(_)))
        };
        if active {
            self.book.borrow_mut().report(b"cannot resume non-suspended coroutine");
            return false;
        }
        if traced && !matches!(wake, Wake::Failed) {
            self.trace(service, task, Event::Resume);
        }
        // SAFETY: the coroutine is anchored (D3) and runs nothing (D4). What is pushed here allocates nothing.
        unsafe {
            let waits = ffi::lua_status(co) == ffi::LUA_YIELD;
            let before = ffi::lua_gettop(co);
            // A task that has not begun lies above `serve`: its function, and its arguments.
            let begins = !waits && ffi::lua_status(co) == ffi::LUA_OK && before >= 2;
            if (!waits && !begins) || ffi::lua_checkstack(co, 4) == 0 {
                return self.fail_dead(task);
            }
            let mut arguments = if begins { before - 2 } else { 0 };
            if waits || wants_message {
                match wake {
                    Wake::Message(message) => {
                        ffi::lua_pushboolean(co, 1);
                        push_body(from, co, message.body);
                        arguments += 3;
                    }
                    Wake::Failed => {
                        ffi::lua_pushboolean(co, 0);
                        arguments += 1;
                    }
                    Wake::Woken => {
                        ffi::lua_pushboolean(co, 0);
                        ffi::lua_pushvalue(self.desk.get(), desk::BREAK);
                        ffi::lua_xmove(self.desk.get(), co, 1);
                        arguments += 2;
                    }
                }
            }
            self.run(service, from, task, co, arguments)
        }
    }

    /// Runs a task until it suspends or ends. True when the queues are to be drained now.
    pub(super) unsafe fn run(
        &self,
        service: &ServiceState,
        from: *mut lua_State,
        task: TaskId,
        co: *mut lua_State,
        arguments: c_int,
    ) -> bool {
        self.set_active(task, true);
        let was = self.running.replace(task);
        let meter = self.meter.get();
        let mut results = 0;
        // SAFETY: by the caller's promise, the coroutine is anchored (D3) and has a function, or a yield, under the
        // arguments. No Rust frame in between owns anything.
        let status = unsafe {
            if meter.is_on() {
                meter.mark(self.desk.get(), desk::RECORDS, co, true);
            }
            let status = ffi::lua_resume(co, from, arguments, &mut results);
            if meter.is_on() {
                meter.mark(self.desk.get(), desk::RECORDS, co, false);
            }
            status
        };
        self.running.set(was);
        // SAFETY: as above; the results, or the error, are on top of the coroutine's stack.
        unsafe {
            match status {
                ffi::LUA_YIELD => {
                    self.set_active(task, false);
                    self.suspended(from, task, co, results)
                }
                ffi::LUA_OK => {
                    ffi::lua_settop(co, 1);
                    let traced = {
                        let mut book = self.book.borrow_mut();
                        let traced = book.task(task).is_some_and(|it| matches!(it.tag, Tag::On(_)));
                        if !traced {
                            book.release(task);
                        }
                        traced
                    };
                    if traced {
                        self.trace(service, task, Event::End);
                        self.book.borrow_mut().release(task);
                    }
                    true
                }
                _ => {
                    self.fail(service, from, task, co);
                    false
                }
            }
        }
    }

    #[inline]
    fn set_active(&self, task: TaskId, active: bool) {
        if let Some(it) = self.book.borrow_mut().task(task) {
            it.active = active;
        }
    }

    /// What a yielded word means.
    #[inline]
    unsafe fn suspended(
        &self,
        from: *mut lua_State,
        task: TaskId,
        co: *mut lua_State,
        results: c_int,
    ) -> bool {
        // SAFETY: the results are on top of the coroutine's stack. A string in its slot is not converted.
        unsafe {
            if results == 0 {
                return true;
            }
            let mut len = 0;
            let first = -results;
            let word = if ffi::lua_type(co, first) == ffi::LUA_TSTRING {
                ffi::lua_tolstring(co, first, &mut len).cast::<u8>()
            } else {
                std::ptr::null()
            };
            if word == self.known.get().suspend {
                ffi::lua_settop(co, -results - 1);
                return true;
            }
            self.other_word(from, task, co, results, word, len)
        }
    }

    #[cold]
    unsafe fn other_word(
        &self,
        from: *mut lua_State,
        task: TaskId,
        co: *mut lua_State,
        results: c_int,
        word: *const u8,
        len: usize,
    ) -> bool {
        // SAFETY: as in `suspended`.
        unsafe {
            let text: &[u8] = if word.is_null() { b"" } else { slice::from_raw_parts(word, len) };
            let begin = match text {
                b"SUSPEND" => {
                    ffi::lua_settop(co, -results - 1);
                    return true;
                }
                b"QUIT" => {
                    self.close(from, task, co);
                    return false;
                }
                b"USER" => OUT_OF_PLACE,
                _ if word.is_null() && ffi::lua_type(co, -results) == ffi::LUA_TNIL => {
                    ffi::lua_settop(co, -results - 1);
                    return true;
                }
                _ => UNKNOWN_COMMAND,
            };
            ffi::lua_settop(co, -results);
            self.explain(from, co, begin);
            ffi::lua_settop(co, -2);
            false
        }
    }

    /// The task ended with the error on top of its stack: its requester is told, it is reported and closed.
    #[cold]
    unsafe fn fail(&self, service: &ServiceState, from: *mut lua_State, task: TaskId, co: *mut lua_State) {
        let (request, traced) = {
            let mut book = self.book.borrow_mut();
            match book.task(task) {
                Some(it) => (it.session.take().zip(it.source), matches!(it.tag, Tag::On(_))),
                None => (None, false),
            }
        };
        // SAFETY: by the caller's promise.
        unsafe {
            if let Some((session, source)) = request
                && session != 0
            {
                if traced {
                    self.trace(service, task, Event::Error);
                }
                self.send_error(source, session);
            }
            self.explain(from, co, ERROR_VALUE);
            // Its pending variables are closed; what they raise was never heard of in skynet either. The coroutine is dead to
            // whoever holds it, so it is not used again.
            let out_of_memory = ffi::lua_status(co) == ffi::LUA_ERRMEM;
            self.close(from, task, co);
            if out_of_memory {
                // Lua grows a stack without collecting first: what the task left would fail the next one.
                ffi::lua_gc(from, ffi::LUA_GCCOLLECT);
            }
        }
    }

    /// The coroutine of a task was closed, or run to its end, by somebody else.
    #[cold]
    fn fail_dead(&self, task: TaskId) -> bool {
        let request = self.book.borrow_mut().task(task).and_then(|it| it.session.take().zip(it.source));
        if let Some((session, source)) = request
            && session != 0
        {
            self.send_error(source, session);
        }
        self.book.borrow_mut().report(b"cannot resume dead coroutine");
        self.drop_task(task);
        false
    }

    /// Closes a task: its to-be-closed variables run, and nothing is left of it.
    ///
    /// # Safety
    /// `co` is its coroutine, and does not run (D4).
    pub(super) unsafe fn close(&self, from: *mut lua_State, task: TaskId, co: *mut lua_State) {
        // SAFETY: by the caller's promise.
        unsafe { ffi::lua_closethread(co, from) };
        self.drop_task(task);
    }

    /// Reports what is on top of a coroutine, with its traceback.
    #[cold]
    unsafe fn explain(&self, from: *mut lua_State, co: *mut lua_State, begin: i64) {
        let desk = self.desk.get();
        // SAFETY: by the caller's promise; `from` has room for four values.
        unsafe {
            owner::push_from(from, desk, desk::EXPLAIN);
            ffi::lua_pushinteger(from, begin);
            owner::push_from(from, co, -1);
            owner::push_thread(from, co);
            if ffi::lua_pcall(from, 3, 1, 0) == ffi::LUA_OK {
                self.book.borrow_mut().report(text_on_top(from));
            } else {
                self.book.borrow_mut().report(b"error in error handling");
            }
            ffi::lua_settop(from, -2);
        }
    }

    /// Waits for `session` as the running task; or nobody does, outside of a task.
    pub(super) fn wait_for(&self, session: i32, target: Target, ticks: bool) {
        let task = self.running.get();
        if task != TaskId::NONE {
            self.book.borrow_mut().waiting.insert(session, Waiter::Task { task, target, ticks });
        }
    }
}

/// The string on top of the stack.
pub(super) unsafe fn text_on_top<'a>(state: *mut lua_State) -> &'a [u8] {
    // SAFETY: it is used before the stack is cut. Only a string is read, so nothing is converted.
    unsafe {
        match ffi::lua_type(state, -1) {
            ffi::LUA_TSTRING => bytes(state, -1).unwrap_or_default(),
            _ => b"(error object is not a string)",
        }
    }
}

/// `explain(begin: integer, value, co: thread): string`.
pub(super) unsafe extern "C-unwind" fn explain(state: *mut lua_State) -> c_int {
    // SAFETY: called by `Dispatcher::explain`, or by hand: then Lua checks. Nothing with a destructor is alive.
    unsafe {
        let co = ffi::lua_tothread(state, 3);
        if co.is_null() {
            return ffi::luaL_argerror(state, 3, c"thread expected".as_ptr());
        }
        match ffi::lua_tointegerx(state, 1, std::ptr::null_mut()) {
            OUT_OF_PLACE => {
                ffi::lua_pushstring(
                    state,
                    c"Call skynet.coroutine.yield out of skynet.coroutine.resume".as_ptr(),
                );
            }
            UNKNOWN_COMMAND => {
                ffi::lua_pushstring(state, c"Unknown command : ".as_ptr());
                ffi::luaL_tolstring(state, 2, std::ptr::null_mut());
                ffi::lua_concat(state, 2);
            }
            _ => {
                ffi::luaL_tolstring(state, 2, std::ptr::null_mut());
            }
        }
        let text = ffi::lua_tolstring(state, -1, std::ptr::null_mut());
        ffi::luaL_traceback(state, co, text, 0);
    }
    1
}
