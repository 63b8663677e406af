//! What a task that serves a request is made of: `unpack`, the handler, and whether the request was answered.

use std::ffi::c_int;

use super::{Dispatcher, at};
use crate::core::message;
use crate::raw::{ffi, guard, lua_State, raise};
use crate::state::ServiceState;

/// What a task that serves a request begins with: `serve(handler, handler, session, source, msg, size [, unpack])`.
pub(super) unsafe extern "C-unwind" fn serve(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`. Nothing with a destructor is alive. Whoever calls
    // this by hand gets an error of Lua's: nothing is believed of the arguments but what the hand confirms.
    unsafe {
        let (service, _) = at(state);
        let size = ffi::lua_tointegerx(state, 6, std::ptr::null_mut());
        match ffi::lua_gettop(state) {
            6 => {
                let address = ffi::lua_touserdata(state, 5).addr();
                ffi::lua_settop(state, 4);
                let values = if size == 0 { 0 } else { unpack(state, service, address, size) };
                ffi::lua_callk(state, 2 + values, 0, 0, Some(served));
                served(state, ffi::LUA_OK, 0)
            }
            7 => {
                ffi::lua_rotate(state, 5, 1);
                ffi::lua_callk(state, 2, ffi::LUA_MULTRET, 0, Some(unpacked));
                unpacked(state, ffi::LUA_OK, 0)
            }
            _ => ffi::luaL_error(state, c"cannot resume dead coroutine".as_ptr()),
        }
    }
}

/// The values of a message in hand, as `core.unpack` gives them.
///
/// # Safety
/// `state` is valid, and nothing with a destructor is alive.
#[inline]
pub(super) unsafe fn unpack(
    state: *mut lua_State,
    service: &ServiceState,
    address: usize,
    size: i64,
) -> c_int {
    // SAFETY: by the caller's promise.
    unsafe {
        if address == 0 {
            return ffi::luaL_error(state, c"deserialize null pointer".as_ptr());
        }
        message::unpack_held(state, service, address, size)
    }
}

/// `unpack` of another class is through: its values lie over handler, handler, session, source.
unsafe extern "C-unwind" fn unpacked(state: *mut lua_State, _status: c_int, _context: isize) -> c_int {
    // SAFETY: as in `serve`.
    unsafe {
        ffi::lua_callk(state, ffi::lua_gettop(state) - 2, 0, 0, Some(served));
        served(state, ffi::LUA_OK, 0)
    }
}

/// The handler returned: was the request answered?
unsafe extern "C-unwind" fn served(state: *mut lua_State, _status: c_int, _context: isize) -> c_int {
    // SAFETY: as in `serve`; slot 1 is the handler.
    unsafe {
        let (service, dispatcher) = at(state);
        let left = guard(|| {
            let mut book = dispatcher.book.borrow_mut();
            let it = book.task(dispatcher.running.get());
            Ok(it.and_then(|it| it.session.take().zip(it.source)))
        });
        match left {
            Ok(Some((session, source))) if session != 0 => {
                forgotten(state, service, dispatcher, session, source)
            }
            Ok(_) => 0,
            Err(error) => raise(state, error),
        }
    }
}

/// # Safety
/// As for [`served`].
#[cold]
unsafe fn forgotten(
    state: *mut lua_State,
    service: &ServiceState,
    dispatcher: &Dispatcher,
    session: i32,
    source: u32,
) -> c_int {
    // SAFETY: by the caller's promise. `lua_getinfo` takes the function off the stack; its source lives as long as it.
    unsafe {
        let mut info: ffi::lua_Debug = std::mem::zeroed();
        ffi::lua_pushvalue(state, 1);
        ffi::lua_getinfo(state, c">S".as_ptr(), &mut info);
        let name = std::ffi::CStr::from_ptr(info.source).to_bytes();
        let logged = guard(|| {
            dispatcher.book.borrow_mut().forget(source, session);
            let mut line =
                format!("Maybe forgot response session {session} from :{source:08x} : ").into_bytes();
            line.extend_from_slice(name);
            line.extend_from_slice(format!(":{}", info.linedefined).as_bytes());
            service.ctx.log(&line);
            Ok(())
        });
        match logged {
            Ok(()) => 0,
            Err(error) => raise(state, error),
        }
    }
}
