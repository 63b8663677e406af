//! The ends: of a task that is killed, of a peer, of the service; and what consoles see of what is alive.

use std::collections::BTreeSet;
use std::ffi::c_int;

use skein_runtime::MessageType;
use skein_vm::owner;

use super::book::{Fork, Target, Waiter};
use super::task::TaskId;
use super::{Dispatcher, at, attempt};
use crate::core::send::{To, post};
use crate::raw::{Raise, bytes, ffi, guard, lua_State, raise};
use crate::state::ServiceState;

impl Dispatcher {
    /// An error message: the failure of one session, or, without a session, the death of its source.
    pub(super) fn on_error(&self, session: i32, source: u32) {
        let mut book = self.book.borrow_mut();
        if session == 0 {
            book.on_death(&Target::Handle(i64::from(source)));
        } else {
            book.on_error(session);
        }
    }

    /// The coroutine of the task that waits for `session`.
    fn waiter(&self, session: i32) -> Option<(TaskId, *mut lua_State, bool)> {
        let mut book = self.book.borrow_mut();
        let Some(&Waiter::Task { task, .. }) = book.waiting.get(&session) else { return None };
        let it = book.task(task)?;
        Some((task, it.co, it.active))
    }

    /// Everybody that we wait for.
    fn peers(&self) -> BTreeSet<Target> {
        let book = self.book.borrow();
        let targets = book.waiting.values().filter_map(|waiter| match waiter {
            Waiter::Task { target, .. } if *target != Target::None => Some(target.clone()),
            _ => None,
        });
        targets.collect()
    }

    /// Closes all tasks that wait, in the order of their sessions. Their to-be-closed variables run.
    ///
    /// # Safety
    /// `from` runs a function of ours.
    unsafe fn close_all(&self, from: *mut lua_State) {
        let mut sessions: Vec<i32> = self.book.borrow().waiting.keys().copied().collect();
        sessions.sort_unstable();
        for session in sessions {
            if let Some((task, co, false)) = self.waiter(session) {
                self.book.borrow_mut().waiting.remove(&session);
                // SAFETY: it waits, so nobody runs it (D4). Closing does not raise, so the list is safe.
                unsafe { self.close(from, task, co) };
            }
        }
    }

    /// Tells peers that we are gone.
    fn notify(&self, service: &ServiceState, peers: &BTreeSet<Target>) {
        for peer in peers {
            let to = match peer {
                Target::Handle(handle) => To::Handle(*handle as u32),
                Target::Name(name) => To::Name(name),
                Target::None => continue,
            };
            let _ = post(service, to, None, MessageType::ERROR, Some(0), None);
        }
    }
}

/// The integer at `index` as a session.
unsafe fn session_at(state: *mut lua_State, index: c_int) -> i32 {
    // SAFETY: called by functions of ours, where nothing with a destructor is alive.
    unsafe { ffi::luaL_checkinteger(state, index) as i32 }
}

/// Ends a function that answers nothing.
unsafe fn done(state: *mut lua_State, done: Result<(), Raise>) -> c_int {
    match done {
        Ok(()) => 0,
        // SAFETY: called by functions of ours, where nothing with a destructor is alive.
        Err(error) => unsafe { raise(state, error) },
    }
}

/// `dispatch.on_error(session: integer, source: integer)`: handler of the class `error`.
pub(super) unsafe extern "C-unwind" fn on_error(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`. Nothing with a destructor is alive when a call
    // raises.
    unsafe {
        let (_, dispatcher) = at(state);
        let session = session_at(state, 1);
        let source = ffi::luaL_checkinteger(state, 2) as u32;
        done(
            state,
            guard(|| {
                if let Some(it) = dispatcher.book.borrow_mut().task(dispatcher.running.get()) {
                    it.session = None;
                }
                dispatcher.on_error(session, source);
                Ok(())
            }),
        )
    }
}

/// `skynet.term(address: integer | string)`: behaves as if that peer had died.
pub(super) unsafe extern "C-unwind" fn term(state: *mut lua_State) -> c_int {
    // SAFETY: as in `on_error`; a string stays in its slot.
    unsafe {
        let (_, dispatcher) = at(state);
        let mut whole = 0;
        let handle = ffi::lua_tointegerx(state, 1, &mut whole);
        let name = match ffi::lua_type(state, 1) {
            ffi::LUA_TSTRING => bytes(state, 1),
            ffi::LUA_TNUMBER if whole != 0 => None,
            _ => return 0,
        };
        done(
            state,
            guard(|| {
                let peer = name.map_or(Target::Handle(handle), |name| Target::Name(name.into()));
                dispatcher.book.borrow_mut().on_death(&peer);
                Ok(())
            }),
        )
    }
}

/// `dispatch.give_up(session: integer)`: nobody waits for it any more. A task that was set aside for it is given back.
pub(super) unsafe extern "C-unwind" fn give_up(state: *mut lua_State) -> c_int {
    // SAFETY: as in `on_error`. A task that has not begun has nothing to close.
    unsafe {
        let (_, dispatcher) = at(state);
        let session = session_at(state, 1);
        dispatcher.show_timer(state, session);
        let found = match guard(|| {
            let found = dispatcher.waiter(session);
            dispatcher.give_up(session);
            Ok(found)
        }) {
            Ok(found) => found,
            Err(error) => raise(state, error),
        };
        if let Some((task, co, false)) = found
            && ffi::lua_status(co) == ffi::LUA_OK
        {
            ffi::lua_settop(co, 1);
            return done(state, attempt(|| dispatcher.book.borrow_mut().release(task)));
        }
    }
    0
}

/// `dispatch.leave()`: nothing new starts from now on, and forks that have not begun never do.
pub(super) unsafe extern "C-unwind" fn leave(state: *mut lua_State) -> c_int {
    // SAFETY: as in `on_error`.
    unsafe {
        let (_, dispatcher) = at(state);
        done(
            state,
            guard(|| {
                dispatcher.leaving.set(true);
                dispatcher.book.borrow_mut().forks.clear();
                Ok(())
            }),
        )
    }
}

/// `dispatch.finish()`: the service is about to end. Requests are answered with errors, other tasks are closed, closures
/// answer false, peers are told, and what still comes is refused.
pub(super) unsafe extern "C-unwind" fn finish(state: *mut lua_State) -> c_int {
    // SAFETY: as in `on_error`. Closing runs Lua code, protected.
    unsafe {
        let (service, dispatcher) = at(state);
        done(
            state,
            guard(|| {
                let open = dispatcher.book.borrow_mut().take_requests();
                for (source, session) in open {
                    dispatcher.send_error(source, session);
                }
                let peers = dispatcher.peers();
                dispatcher.close_all(state);
                dispatcher.fail_all();
                dispatcher.notify(service, &peers);
                service.dispatch_natively();
                Ok(())
            }),
        )
    }
}

/// `dispatch.forks(): thread[]`: tasks that have not begun, in their order.
pub(super) unsafe extern "C-unwind" fn forks(state: *mut lua_State) -> c_int {
    // SAFETY: as in `on_error`. Making the table may run finalizers, and they may fork: each place is looked up anew.
    unsafe {
        let (_, dispatcher) = at(state);
        ffi::lua_createtable(state, 0, 0);
        let (mut place, mut count) = (0, 0);
        loop {
            let next = guard(|| {
                let mut book = dispatcher.book.borrow_mut();
                while let Some(&fork) = book.forks.get(place) {
                    place += 1;
                    if let Fork::Task(task) = fork
                        && let Some(it) = book.task(task)
                    {
                        return Ok(Some(it.co));
                    }
                }
                Ok(None)
            });
            let Ok(Some(co)) = next else { return 1 };
            owner::push_thread(state, co);
            count += 1;
            ffi::lua_rawseti(state, -2, count);
        }
    }
}

/// `dispatch.unfork(co: thread): boolean`: a fork that has not begun never will. Its coroutine is closed.
pub(super) unsafe extern "C-unwind" fn unfork(state: *mut lua_State) -> c_int {
    // SAFETY: as in `on_error`; the coroutine is on the stack while it is closed.
    unsafe {
        let (_, dispatcher) = at(state);
        let co = ffi::lua_tothread(state, 1);
        let found = guard(|| {
            let mut book = dispatcher.book.borrow_mut();
            let slot = book.tasks.iter().position(|it| it.co == co && !co.is_null());
            let Some(slot) = slot else { return Ok(None) };
            let task = TaskId { slot: slot as u32, life: book.tasks[slot].life };
            let Some(place) = book.forks.iter().position(|&it| it == Fork::Task(task)) else {
                return Ok(None);
            };
            book.forks.remove(place);
            Ok(Some(task))
        });
        match found {
            Ok(Some(task)) => dispatcher.close(state, task, co),
            Ok(None) => {}
            Err(error) => raise(state, error),
        }
        ffi::lua_pushboolean(state, c_int::from(matches!(found, Ok(Some(_)))));
    }
    1
}

/// `dispatch.kill(session: integer): thread?`: ends the task that waits for it. Its requester gets an error.
pub(super) unsafe extern "C-unwind" fn kill(state: *mut lua_State) -> c_int {
    // SAFETY: as in `on_error`; the coroutine is on the stack while it is closed.
    unsafe {
        let (_, dispatcher) = at(state);
        let session = session_at(state, 1);
        dispatcher.show_timer(state, session);
        let (task, co) = match guard(|| Ok(dispatcher.waiter(session))) {
            Ok(Some((_, _, true))) => {
                return ffi::luaL_error(state, c"cannot close a running coroutine".as_ptr());
            }
            Ok(Some((task, co, false))) => (task, co),
            Ok(None) => return 0,
            Err(error) => raise(state, error),
        };
        let killed = guard(|| {
            let request = {
                dispatcher.give_up(session);
                let mut book = dispatcher.book.borrow_mut();
                book.sleeping.retain(|_, it| it.session != session);
                book.task(task).and_then(|it| it.session.take().zip(it.source))
            };
            if let Some((request, source)) = request
                && request != 0
            {
                dispatcher.send_error(source, request);
            }
            Ok(())
        });
        if let Err(error) = killed {
            raise(state, error);
        }
        owner::push_thread(state, co);
        dispatcher.close(state, task, co);
    }
    1
}

/// `dispatch.waiting(): table<integer, thread | "BREAK">, table<integer, string>`: who waits, by session; and where their
/// timers were made, as far as that is known.
pub(super) unsafe extern "C-unwind" fn waiting(state: *mut lua_State) -> c_int {
    // SAFETY: as in `on_error`. Making the tables may run finalizers: the sessions are listed first, in a buffer that Lua
    // owns, and each is looked up anew.
    unsafe {
        let (service, dispatcher) = at(state);
        ffi::lua_settop(state, 0);
        ffi::lua_createtable(state, 0, 0);
        ffi::lua_createtable(state, 0, 0);
        let room = dispatcher.book.borrow().waiting.len();
        let list = ffi::lua_newuserdatauv(state, (room * size_of::<i32>()).max(1), 0).cast::<i32>();
        let listed = guard(|| {
            let book = dispatcher.book.borrow();
            let mut count = 0;
            for &session in book.waiting.keys().take(room) {
                list.add(count).write(session);
                count += 1;
            }
            Ok(count)
        });
        for at in 0..listed.unwrap_or(0) {
            let session = *list.add(at);
            dispatcher.show_timer(state, session);
            let found = guard(|| {
                let mut book = dispatcher.book.borrow_mut();
                let co = match book.waiting.get(&session) {
                    None => return Ok(None),
                    Some(Waiter::Gone | Waiter::Late | Waiter::Timer(_)) => None,
                    Some(&Waiter::Task { task, .. }) => Some(task),
                };
                let Some(task) = co else { return Ok(Some((std::ptr::null_mut(), None))) };
                let Some(it) = book.task(task) else { return Ok(None) };
                let origin = it.origin.as_deref().map(<[u8]>::to_vec);
                Ok(Some((it.co, origin.map(|text| service.keep_text(text)))))
            });
            let Ok(Some((co, origin))) = found else { continue };
            if co.is_null() {
                ffi::lua_pushstring(state, c"BREAK".as_ptr());
            } else {
                owner::push_thread(state, co);
            }
            ffi::lua_rawseti(state, 1, i64::from(session));
            if let Some((text, len)) = origin {
                ffi::lua_pushlstring(state, text.cast(), len);
                ffi::lua_rawseti(state, 2, i64::from(session));
            }
        }
        ffi::lua_settop(state, 2);
    }
    2
}

/// `dispatch.count(): integer`: how many tasks wait.
pub(super) unsafe extern "C-unwind" fn count(state: *mut lua_State) -> c_int {
    // SAFETY: as in `on_error`.
    unsafe {
        let (_, dispatcher) = at(state);
        let count = guard(|| Ok(dispatcher.book.borrow().count_tasks()));
        match count {
            Ok(count) => ffi::lua_pushinteger(state, count as i64),
            Err(error) => raise(state, error),
        }
    }
    1
}

/// `dispatch.open_requests(): integer`: how many requests are not answered yet, those of closures too.
pub(super) unsafe extern "C-unwind" fn open_requests(state: *mut lua_State) -> c_int {
    // SAFETY: as in `on_error`.
    unsafe {
        let (_, dispatcher) = at(state);
        let count = guard(|| {
            let book = dispatcher.book.borrow();
            let tasks = book.tasks.iter().filter(|it| it.session.is_some_and(|session| session != 0));
            Ok(tasks.count() + book.closures.len())
        });
        match count {
            Ok(count) => ffi::lua_pushinteger(state, count as i64),
            Err(error) => raise(state, error),
        }
    }
    1
}
