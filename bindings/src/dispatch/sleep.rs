//! Tasks and time: fork, timers, sleeping and waking.

use std::ffi::c_int;
use std::io::Write;
use std::ptr;

use skein_vm::owner;

use super::book::{Fork, Target, Waiter, Wakeup};
use super::call::check_yieldable;
use super::task::TaskId;
use super::token::Token;
use super::{Dispatcher, at, attempt, desk};
use crate::raw::{Raise, bytes, ffi, guard, lua_State, raise};
use crate::state::ServiceState;

/// The token of the slot `index`, by default the running coroutine, which is put there.
///
/// # Safety
/// `state` runs a function of ours that has the slot.
unsafe fn own_token(state: *mut lua_State, index: c_int) -> Token {
    // SAFETY: by the caller's promise; a C function has free slots.
    unsafe {
        match Token::at(state, index) {
            Some(token) => token,
            None => {
                ffi::lua_pushthread(state);
                ffi::lua_copy(state, -1, index);
                ffi::lua_settop(state, -2);
                Token::of_thread(state)
            }
        }
    }
}

/// Raises if somebody sleeps on `token`.
unsafe fn check_free(state: *mut lua_State, dispatcher: &Dispatcher, token: Token) {
    // SAFETY: called by functions of ours, where nothing with a destructor is alive.
    unsafe {
        match guard(|| Ok(dispatcher.book.borrow().sleeping.contains_key(&token))) {
            Ok(false) => {}
            Ok(true) => raise(state, Raise::new("token duplicative")),
            Err(error) => raise(state, error),
        }
    }
}

/// Suspends the running task under `session`, until that, or a wake-up by the token in slot 1.
unsafe fn suspend(
    state: *mut lua_State,
    service: &ServiceState,
    dispatcher: &Dispatcher,
    token: Token,
    session: i32,
    ticks: bool,
) -> c_int {
    // SAFETY: called by functions of ours. A yield jumps: only plain data is alive.
    unsafe {
        let kept = guard(|| {
            if dispatcher.is_traced() {
                dispatcher.trace_sleep(service, state);
            }
            dispatcher.wait_for(session, Target::None, ticks);
            dispatcher.book.borrow_mut().sleep(token, session);
            Ok(())
        });
        if let Err(error) = kept {
            raise(state, error);
        }
        ffi::lua_settop(state, 1);
        owner::push_from(state, dispatcher.desk.get(), desk::SUSPEND);
        ffi::lua_yieldk(state, 1, session as isize, Some(if ticks { slept } else { waited }))
    }
}

/// Behind the yield of a sleep: the token, and then `true, …` from the timer or `false, "BREAK"`.
unsafe extern "C-unwind" fn slept(state: *mut lua_State, _status: c_int, session: isize) -> c_int {
    // SAFETY: called by Lua, as `at` asks.
    unsafe {
        awake(state, session);
        if ffi::lua_toboolean(state, 2) != 0 {
            return 0;
        }
        ffi::lua_settop(state, 3);
    }
    1
}

/// As [`slept`], without an answer.
unsafe extern "C-unwind" fn waited(state: *mut lua_State, _status: c_int, session: isize) -> c_int {
    // SAFETY: as in `slept`.
    unsafe { awake(state, session) };
    0
}

unsafe fn awake(state: *mut lua_State, session: isize) {
    // SAFETY: as in `slept`; slot 1 has the token.
    unsafe {
        let (_, dispatcher) = at(state);
        if let Some(token) = Token::at(state, 1) {
            let _ = attempt(|| dispatcher.book.borrow_mut().awake(token, session as i32));
        }
    }
}

/// A timer of the runtime. Raises if the arena has no room for its message.
unsafe fn start_timer(state: *mut lua_State, dispatcher: &Dispatcher, ticks: i32) -> i32 {
    // SAFETY: called by functions of ours, where nothing with a destructor is alive.
    unsafe {
        let started = guard(|| {
            dispatcher.clear_way();
            let session = dispatcher.ctx.timeout(ticks)?;
            dispatcher.seen(session);
            Ok(session)
        });
        match started {
            Ok(session) => session,
            Err(error) => raise(state, error),
        }
    }
}

/// `skynet.sleep(ticks: integer, token): "BREAK"?`.
pub(super) unsafe extern "C-unwind" fn sleep(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`. Nothing with a destructor is alive.
    unsafe {
        let (service, dispatcher) = at(state);
        let ticks = ffi::luaL_checkinteger(state, 1) as i32;
        ffi::lua_settop(state, 2);
        check_yieldable(state);
        let token = own_token(state, 2);
        check_free(state, dispatcher, token);
        let session = start_timer(state, dispatcher, ticks);
        ffi::lua_copy(state, 2, 1);
        suspend(state, service, dispatcher, token, session, true)
    }
}

/// `skynet.yield()`: as `sleep(0)`.
pub(super) unsafe extern "C-unwind" fn yield_now(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sleep`.
    unsafe {
        let (service, dispatcher) = at(state);
        ffi::lua_settop(state, 0);
        check_yieldable(state);
        ffi::lua_pushnil(state);
        let token = own_token(state, 1);
        check_free(state, dispatcher, token);
        let session = start_timer(state, dispatcher, 0);
        suspend(state, service, dispatcher, token, session, true)
    }
}

/// `skynet.wait(token)`.
pub(super) unsafe extern "C-unwind" fn wait(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sleep`.
    unsafe {
        let (service, dispatcher) = at(state);
        ffi::lua_settop(state, 1);
        check_yieldable(state);
        let token = own_token(state, 1);
        check_free(state, dispatcher, token);
        let session = match guard(|| Ok(dispatcher.new_session())) {
            Ok(session) => session,
            Err(error) => raise(state, error),
        };
        suspend(state, service, dispatcher, token, session, false)
    }
}

/// `skynet.wakeup(token): true?`: whoever sleeps on it continues when the running task suspends.
pub(super) unsafe extern "C-unwind" fn wakeup(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sleep`.
    unsafe {
        let (_, dispatcher) = at(state);
        let Some(token) = Token::at(state, 1) else { return 0 };
        let queued = match guard(|| Ok(Queued::of(dispatcher.book.borrow_mut().wakeup(token)))) {
            Ok(queued) => queued,
            Err(error) => raise(state, error),
        };
        match queued {
            Queued::No => return 0,
            Queued::Yes => {}
            Queued::Again(place) => {
                let desk = dispatcher.desk.get();
                ffi::lua_pushvalue(desk, desk::TOKENS);
                ffi::lua_xmove(desk, state, 1);
                ffi::lua_pushvalue(state, 1);
                ffi::lua_rawseti(state, -2, place);
            }
        }
        ffi::lua_pushboolean(state, 1);
    }
    1
}

/// A [`Wakeup`] as plain data.
#[derive(Clone, Copy)]
enum Queued {
    No,
    Yes,
    Again(i64),
}

impl Queued {
    fn of(wakeup: Wakeup) -> Queued {
        match wakeup {
            Wakeup::Nobody => Queued::No,
            Wakeup::Queued => Queued::Yes,
            Wakeup::Again(place) => Queued::Again(place),
        }
    }
}

/// `skynet.fork(f: function, ...): thread`: `f(...)` in a task of its own, after the current message.
pub(super) unsafe extern "C-unwind" fn fork(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sleep`.
    unsafe {
        let (_, dispatcher) = at(state);
        if ffi::lua_gettop(state) == 0 {
            ffi::lua_pushnil(state);
        }
        let (task, co) = prepare(state, dispatcher);
        let queued = guard(|| {
            let leaving = dispatcher.leaving.get();
            if !leaving {
                dispatcher.book.borrow_mut().forks.push_back(Fork::Task(task));
            }
            Ok(leaving)
        });
        owner::push_thread(state, co);
        match queued {
            // It never runs; the coroutine is whoever holds it's.
            Ok(true) => {
                let _ = attempt(|| dispatcher.drop_task(task));
            }
            Ok(false) => {}
            Err(error) => raise(state, error),
        }
    }
    1
}

/// A task for the function and its arguments that are the whole stack; they move to its coroutine.
///
/// # Safety
/// `state` runs a function of ours, with something on its stack.
unsafe fn prepare(state: *mut lua_State, dispatcher: &Dispatcher) -> (TaskId, *mut lua_State) {
    // SAFETY: by the caller's promise.
    unsafe {
        let count = ffi::lua_gettop(state);
        ffi::luaL_checkstack(state, 4, ptr::null());
        let (task, co) = dispatcher.take(state);
        if ffi::lua_checkstack(co, count + 1) == 0 {
            let _ = attempt(|| dispatcher.book.borrow_mut().release(task));
            ffi::luaL_error(state, c"too many arguments".as_ptr());
        }
        ffi::lua_xmove(state, co, count);
        (task, co)
    }
}

/// `skynet.timeout(ticks: integer, f: function): thread`: runs `f()` in a task of its own after a while.
pub(super) unsafe extern "C-unwind" fn timeout(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sleep`.
    unsafe {
        let (_, dispatcher) = at(state);
        if skein_vm::walk::is_for_nothing(state) && !dispatcher.trace_timers.get() {
            start_plain(state, dispatcher);
            return 0;
        }
        start_timeout(state, false);
    }
    1
}

/// A timer whose coroutine its maker does not want to see.
unsafe fn start_plain(state: *mut lua_State, dispatcher: &Dispatcher) {
    let desk = dispatcher.desk.get();
    // SAFETY: as in `sleep`. To put the function in its place may raise for want of memory; then the place stays unused.
    unsafe {
        let ticks = ffi::luaL_checkinteger(state, 1) as i32;
        ffi::lua_settop(state, 2);
        let place = match guard(|| Ok(dispatcher.book.borrow_mut().take_timer())) {
            Ok(place) => place,
            Err(error) => raise(state, error),
        };
        ffi::lua_pushvalue(desk, desk::TIMERS);
        ffi::lua_xmove(desk, state, 1);
        ffi::lua_rotate(state, 2, 1);
        ffi::lua_rawseti(state, 2, place);
        let started = guard(|| {
            dispatcher.clear_way();
            let session = dispatcher.ctx.timeout(ticks);
            if session.is_err() {
                dispatcher.drop_timer(place);
            }
            let session = session?;
            dispatcher.seen(session);
            dispatcher.book.borrow_mut().waiting.insert(session, Waiter::Timer(place));
            Ok(())
        });
        if let Err(error) = started {
            raise(state, error);
        }
    }
}

impl Dispatcher {
    /// Takes the function of a timer out of its place, onto a coroutine of ours that has no work.
    ///
    /// # Safety
    /// `co` is a state of this service with a free slot. Nothing raises.
    pub(super) unsafe fn move_timer(&self, place: i64, co: *mut lua_State) {
        let desk = self.desk.get();
        // SAFETY: the desk has room; a field is read, and set to nil.
        unsafe {
            ffi::lua_rawgeti(desk, desk::TIMERS, place);
            ffi::lua_xmove(desk, co, 1);
        }
        self.drop_timer(place);
    }

    /// Forgets the function of a timer.
    pub(super) fn drop_timer(&self, place: i64) {
        let desk = self.desk.get();
        // SAFETY: the desk has room; to set a field that exists to nil allocates nothing.
        unsafe {
            ffi::lua_pushnil(desk);
            ffi::lua_rawseti(desk, desk::TIMERS, place);
        }
        self.book.borrow_mut().free_timer(place);
    }

    /// Sees to it that the timer of `session`, if it is one without a coroutine, has one.
    ///
    /// # Safety
    /// As [`Dispatcher::take`].
    pub(super) unsafe fn show_timer(&self, state: *mut lua_State, session: i32) {
        // SAFETY: by the caller's promise. Making a coroutine may run finalizers, which are Lua code: the place is looked up
        // after that.
        unsafe {
            if !matches!(self.book.borrow().waiting.get(&session), Some(Waiter::Timer(_))) {
                return;
            }
            let (task, co) = self.take(state);
            let place = match self.book.borrow().waiting.get(&session) {
                Some(&Waiter::Timer(place)) => Some(place),
                _ => None,
            };
            let shown = attempt(|| match place {
                Some(place) => {
                    self.move_timer(place, co);
                    let waiter = Waiter::Task { task, target: Target::None, ticks: true };
                    self.book.borrow_mut().waiting.insert(session, waiter);
                }
                None => self.book.borrow_mut().release(task),
            });
            if let Err(error) = shown {
                raise(state, error);
            }
        }
    }
}

/// `dispatch.arm(ticks, f): thread, integer`: as `timeout`, with the session of the timer.
pub(super) unsafe extern "C-unwind" fn arm(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sleep`.
    unsafe {
        let session = start_timeout(state, true);
        ffi::lua_pushinteger(state, i64::from(session));
    }
    2
}

/// A timer for the function in slot 2; one that may be taken back if `keep` says so.
unsafe fn start_timeout(state: *mut lua_State, keep: bool) -> i32 {
    // SAFETY: as in `sleep`. The origin stays on the stack while it is copied.
    unsafe {
        let (_, dispatcher) = at(state);
        let ticks = ffi::luaL_checkinteger(state, 1) as i32;
        ffi::lua_settop(state, 2);
        let traced = dispatcher.trace_timers.get();
        if traced {
            push_origin(state, dispatcher, ticks);
        } else {
            ffi::lua_pushnil(state);
        }
        // The origin, and the function on top of it.
        ffi::lua_rotate(state, 2, 1);
        let (task, co) = dispatcher.take(state);
        ffi::lua_xmove(state, co, 1);
        owner::push_thread(state, co);
        let session = match guard(|| {
            dispatcher.clear_way();
            let armed = dispatcher.ctx.arm(ticks);
            if armed.is_err() {
                dispatcher.drop_task(task);
            }
            let (session, key) = armed?;
            dispatcher.seen(session);
            if keep && let Some(key) = key {
                dispatcher.book.borrow_mut().late.keep(session, key);
            }
            Ok(session)
        }) {
            Ok(session) => session,
            Err(error) => raise(state, error),
        };
        let origin = if traced { bytes(state, 2) } else { None };
        let kept = guard(|| {
            let mut book = dispatcher.book.borrow_mut();
            if let Some(it) = book.task(task) {
                it.origin = origin.map(Into::into);
            }
            book.waiting.insert(session, Waiter::Task { task, target: Target::None, ticks: true });
            Ok(())
        });
        match kept {
            Ok(()) => session,
            Err(error) => raise(state, error),
        }
    }
}

#[cold]
unsafe fn push_origin(state: *mut lua_State, dispatcher: &Dispatcher, ticks: i32) {
    let mut text = [0u8; 64];
    // Two numbers fit, and the last byte stays a NUL.
    let _ = write!(&mut text[..63], "TIMER {}+{ticks} : ", dispatcher.ctx.node().now());
    // SAFETY: as in `sleep`; the text ends in a NUL, and Lua copies it.
    unsafe { ffi::luaL_traceback(state, state, text.as_ptr().cast(), 1) };
}

/// `skynet.trace_timeout(on: boolean?)`: while on, timers remember where they were made.
pub(super) unsafe extern "C-unwind" fn trace_timeout(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sleep`.
    unsafe {
        let on = ffi::lua_toboolean(state, 1) != 0;
        at(state).1.trace_timers.set(on);
    }
    0
}
