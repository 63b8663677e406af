//! Messages that take no task: what is usual on a connection (`crate::socket::direct`).

use crate::raw::{ffi, lua_State};
use crate::socket::direct::{self, Handled};
use crate::state::ServiceState;

use super::cycle::{Body, Incoming};
use super::token::Token;
use super::{Dispatcher, desk};

impl Dispatcher {
    /// Does what a message of the class of sockets is about, if the class has the library's handler and that could do it without
    /// suspending; then whom it woke goes on, as after any task. `false`: nothing has happened.
    ///
    /// # Safety
    /// As for [`Dispatcher::resume`].
    pub(super) unsafe fn handle_directly(
        &self,
        service: &ServiceState,
        from: *mut lua_State,
        message: Incoming,
    ) -> bool {
        let Body::Block { address, size } = message.body else { return false };
        // Who asked is to be answered, and what is traced is logged: both by a task.
        if message.session != 0 || !self.book.borrow().incoming_tags.is_empty() {
            return false;
        }
        let desk = self.desk.get();
        // SAFETY: by the caller's promise; the desk has room, and what lies on it here is cut before Lua runs. Raw accesses raise and
        // allocate nothing.
        let handled = unsafe {
            let top = ffi::lua_gettop(desk);
            let handled = if self.find_direct(message.ty) {
                let asleep = |co| {
                    let book = self.book.borrow();
                    book.sleeping.get(&Token::of_thread(co)).is_some_and(|it| !it.woken)
                };
                direct::handle(service, desk, ffi::lua_gettop(desk), address.addr(), size, asleep)
            } else {
                Handled::Not
            };
            ffi::lua_settop(desk, top);
            handled
        };
        match handled {
            Handled::Not => return false,
            Handled::Done => {}
            Handled::Wakes(co) => {
                // It sleeps, so it is queued.
                let _ = self.book.borrow_mut().wakeup(Token::of_thread(co));
            }
        }
        // SAFETY: by the caller's promise.
        unsafe { self.drain(service, from) };
        true
    }

    /// Leaves the table of `driver.direct` on top of the desk if the class has one, and has the functions that it is about.
    unsafe fn find_direct(&self, ty: u8) -> bool {
        let desk = self.desk.get();
        // SAFETY: as in `handle_directly`.
        unsafe {
            if ffi::lua_rawgeti(desk, desk::PROTO, i64::from(ty)) != ffi::LUA_TTABLE {
                return false;
            }
            let class = ffi::lua_gettop(desk);
            let field = |name| {
                ffi::lua_pushvalue(desk, name);
                ffi::lua_rawget(desk, class)
            };
            if field(desk::DIRECT) != ffi::LUA_TTABLE {
                return false;
            }
            let table = class + 1;
            for (name, slot) in [(desk::DISPATCH, direct::DISPATCH), (desk::UNPACK, direct::UNPACK)] {
                field(name);
                let has = ffi::lua_topointer(desk, -1);
                ffi::lua_rawgeti(desk, table, slot);
                if ffi::lua_topointer(desk, -1) != has {
                    return false;
                }
            }
            let traced = field(desk::TRACE) != ffi::LUA_TNIL;
            ffi::lua_settop(desk, table);
            !traced
        }
    }
}
