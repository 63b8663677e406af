//! What consoles want to know of every service of a node, without waking those that sleep.
//!
//! At the end of each message a dispatcher leaves word with its service's context how many tasks wait ([`Dispatcher::tell`]); the runtime
//! counts the rest. So a service that has nothing to do is looked at from outside ([`look`]), and the answer is what it would say itself.
//! One that is busy, or has an answer of its own, is asked by a message, as in skynet.

use std::ffi::c_int;

use skein_runtime::Handle;

use super::book::{Book, Waiter};
use super::{Dispatcher, at};
use crate::alloc;
use crate::raw::{ffi, guard, lua_State, raise};

/// So many who wait are counted one by one after each message.
const FEW: usize = 8;

impl Book {
    /// How many tasks wait; `None` when that takes too long to find out.
    #[inline]
    fn count_waiting(&mut self) -> Option<usize> {
        if !self.given_up {
            return Some(self.waiting.len());
        }
        if self.waiting.len() > FEW {
            return None;
        }
        let count = self.count_tasks();
        self.given_up = count < self.waiting.len();
        Some(count)
    }

    /// How many tasks wait.
    pub(super) fn count_tasks(&self) -> usize {
        self.waiting.values().filter(|it| !matches!(it, Waiter::Gone | Waiter::Late)).count()
    }
}

impl Dispatcher {
    /// A message was handled: leaves word for those who look.
    #[inline]
    pub(super) fn tell(&self) {
        let waiting = if self.own_answers.get() { None } else { self.book.borrow_mut().count_waiting() };
        self.ctx.tell_waiting(waiting.and_then(|it| u32::try_from(it).ok()));
    }
}

/// `dispatch.look(handle: integer): integer?, integer, number, integer, integer, number`: of a service that has nothing to do, how many
/// tasks wait, how many messages it handled, seconds of CPU, the bound of its mailbox, how many messages that refused, KiB of memory. Nil: it
/// is to be asked.
pub(super) unsafe extern "C-unwind" fn look(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` with free slots; numbers are pushed when nothing with a destructor is alive.
    unsafe {
        let (_, dispatcher) = at(state);
        let handle = ffi::luaL_checkinteger(state, 1);
        let seen = guard(|| {
            let Ok(handle) = u32::try_from(handle) else { return Ok(None) };
            let node = dispatcher.ctx.node();
            let seen = node.with_service(Handle(handle), |it| {
                let waiting = it.waiting().filter(|_| it.is_idle())?;
                Some((waiting, it.messages(), it.cpu_nanos(), it.bound()))
            });
            Ok(seen.flatten().zip(alloc::of_service(node, Handle(handle))))
        });
        match seen {
            Ok(Some(((waiting, messages, cpu_nanos, (bound, refused)), bytes))) => {
                ffi::lua_pushinteger(state, i64::from(waiting));
                ffi::lua_pushinteger(state, messages as i64);
                ffi::lua_pushnumber(state, (cpu_nanos / 1000) as f64 / 1e6);
                ffi::lua_pushinteger(state, i64::from(bound));
                ffi::lua_pushinteger(state, refused as i64);
                ffi::lua_pushnumber(state, bytes as f64 / 1024.0);
                6
            }
            Ok(None) => {
                ffi::lua_pushnil(state);
                1
            }
            Err(error) => raise(state, error),
        }
    }
}

/// `dispatch.own_answers()`: this service has its own way to answer consoles; it is never looked at from outside.
pub(super) unsafe extern "C-unwind" fn own_answers(state: *mut lua_State) -> c_int {
    // SAFETY: as in `look`.
    let (_, dispatcher) = unsafe { at(state) };
    dispatcher.own_answers.set(true);
    dispatcher.ctx.tell_waiting(None);
    0
}
