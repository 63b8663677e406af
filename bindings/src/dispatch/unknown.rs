//! Messages that nobody here knows what to do with.

use std::ffi::c_int;
use std::slice;

use super::cycle::{Body, Incoming, TRACE, push_body};
use super::run::text_on_top;
use super::{Dispatcher, at, desk};
use crate::raw::{Raise, bytes, ffi, guard, lua_State, raise};
use crate::state::ServiceState;

impl Dispatcher {
    /// A message that no handler is there for. `known`: its class is on top of the desk.
    ///
    /// # Safety
    /// As [`Dispatcher::resume`].
    #[cold]
    pub(super) unsafe fn refuse(
        &self,
        service: &ServiceState,
        from: *mut lua_State,
        message: Incoming,
        known: bool,
    ) {
        let desk = self.desk.get();
        // SAFETY: by the caller's promise; the name stays in its class while the handler is called.
        unsafe {
            if message.session == 0 || (!known && message.ty == TRACE) {
                if known {
                    ffi::lua_pushvalue(desk, desk::NAME);
                    ffi::lua_rawget(desk, -2);
                    ffi::lua_rotate(desk, -2, 1);
                    ffi::lua_settop(desk, -2);
                    return self.unknown(from, desk::UNKNOWN_REQUEST, message, Some(true));
                }
                if message.ty != TRACE {
                    return self.unknown(from, desk::UNKNOWN_REQUEST, message, Some(false));
                }
                if let Body::Block { address, size } = message.body
                    && let Ok((at, size)) = service.hand.look(address.addr(), size)
                {
                    let tag = slice::from_raw_parts(at, size).into();
                    self.book.borrow_mut().incoming_tags.insert(message.source, tag);
                }
                return;
            }
            if known {
                ffi::lua_settop(desk, -2);
            }
        }
        self.send_error(message.source, message.session);
    }

    /// Calls a handler of unknown messages, which is no task. `class`: true, its name is on the desk; false, its number
    /// stands for it.
    ///
    /// # Safety
    /// As [`Dispatcher::resume`].
    #[cold]
    pub(super) unsafe fn unknown(
        &self,
        from: *mut lua_State,
        handler: c_int,
        message: Incoming,
        class: Option<bool>,
    ) {
        let desk = self.desk.get();
        // SAFETY: by the caller's promise; `from` has room for seven values.
        unsafe {
            let base = ffi::lua_gettop(from);
            ffi::lua_pushvalue(desk, desk::TRACEBACK);
            ffi::lua_pushvalue(desk, handler);
            ffi::lua_xmove(desk, from, 2);
            ffi::lua_pushinteger(from, i64::from(message.session));
            ffi::lua_pushinteger(from, i64::from(message.source));
            push_body(from, from, message.body);
            match class {
                Some(true) => ffi::lua_xmove(desk, from, 1),
                Some(false) => ffi::lua_pushinteger(from, i64::from(message.ty)),
                None => {}
            }
            let arguments = 4 + c_int::from(class.is_some());
            if ffi::lua_pcall(from, arguments, 0, base + 1) != ffi::LUA_OK {
                self.book.borrow_mut().report(text_on_top(from));
            }
            ffi::lua_settop(from, base);
        }
    }
}

/// `dispatch.unknown_request(handler: function): function`, the handler before. It is called with session, source, message,
/// size, and the class's name or number.
pub(super) unsafe extern "C-unwind" fn unknown_request(state: *mut lua_State) -> c_int {
    // SAFETY: as in `start`.
    unsafe { exchange(state, desk::UNKNOWN_REQUEST) }
}

/// `dispatch.unknown_response(handler: function): function`, the handler before. It is called with session, source, message
/// and size.
pub(super) unsafe extern "C-unwind" fn unknown_response(state: *mut lua_State) -> c_int {
    // SAFETY: as in `start`.
    unsafe { exchange(state, desk::UNKNOWN_RESPONSE) }
}

unsafe fn exchange(state: *mut lua_State, slot: c_int) -> c_int {
    // SAFETY: called by functions of ours; the desk has room.
    unsafe {
        let desk = at(state).1.desk.get();
        ffi::lua_settop(state, 1);
        ffi::lua_pushvalue(desk, slot);
        ffi::lua_xmove(state, desk, 1);
        ffi::lua_copy(desk, -1, slot);
        ffi::lua_settop(desk, -2);
        ffi::lua_xmove(desk, state, 1);
    }
    1
}
/// Message handler of what runs outside of tasks.
pub(super) unsafe extern "C-unwind" fn traceback(state: *mut lua_State) -> c_int {
    // SAFETY: called by Lua with the error in slot 1; nothing with a destructor is alive.
    unsafe {
        let text = ffi::luaL_tolstring(state, 1, std::ptr::null_mut());
        ffi::luaL_traceback(state, state, text, 1);
    }
    1
}

/// What happens to a response nobody waits for, unless somebody says otherwise: `(session, source, message, size)`.
pub(super) unsafe extern "C-unwind" fn log_response(state: *mut lua_State) -> c_int {
    // SAFETY: as in `unknown_request`.
    unsafe { log_and_raise(state, |_| b"Response message : ".to_vec()) }
}

/// What happens to a send that no class or handler takes: `(session, source, message, size, class)`.
pub(super) unsafe extern "C-unwind" fn log_request(state: *mut lua_State) -> c_int {
    // SAFETY: as in `unknown_request`; the class is made a string in its slot.
    unsafe {
        ffi::luaL_tolstring(state, 5, std::ptr::null_mut());
        log_and_raise(state, |class| [b"Unknown request (", class, b"): "].concat())
    }
}

/// Logs the message in slots 3 and 4 behind what `begin` makes of the string on top, and raises.
unsafe fn log_and_raise(state: *mut lua_State, begin: impl FnOnce(&[u8]) -> Vec<u8>) -> c_int {
    // SAFETY: as in `unknown_request`. The block stays in hand while it is read, and strings stay in their slots.
    unsafe {
        let (service, dispatcher) = at(state);
        let session = ffi::luaL_checkinteger(state, 1);
        let source = ffi::luaL_checkinteger(state, 2);
        let size = ffi::lua_tointegerx(state, 4, std::ptr::null_mut());
        let raised = guard(|| {
            let text = match ffi::lua_type(state, 3) {
                ffi::LUA_TSTRING => bytes(state, 3).unwrap_or_default(),
                _ if size == 0 => b"",
                _ => {
                    let (at, len) = service.hand.look(ffi::lua_touserdata(state, 3).addr(), size)?;
                    slice::from_raw_parts(at, len)
                }
            };
            let mut line = begin(text_on_top(state));
            line.extend_from_slice(text);
            dispatcher.ctx.log(&line);
            Ok(Raise::new(format_args!("Unknown session : {session} from {source:x}")))
        });
        match raised {
            Ok(error) | Err(error) => raise(state, error),
        }
    }
}
