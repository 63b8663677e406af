//! `error` and `trace`: lines for the logger.

use std::ffi::{CStr, c_int};
use std::{mem, slice};

use super::service;
use crate::raw::{bytes, check_text, ffi, guard, lua_State, raise};
use crate::state::ServiceState;

/// `core.error(...)`: one line in the log, the arguments as `tostring` shows them, with blanks between.
pub(super) unsafe extern "C-unwind" fn error(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`. `__tostring` may raise: nothing with a destructor
    // is alive. The line stays on the stack while it is read.
    unsafe {
        let service = service(state);
        let count = ffi::lua_gettop(state);
        if count <= 1 {
            ffi::lua_settop(state, 1);
            ffi::luaL_tolstring(state, 1, std::ptr::null_mut());
        } else {
            ffi::luaL_checkstack(state, count.saturating_mul(2), std::ptr::null());
            for argument in 1..=count {
                if argument > 1 {
                    ffi::lua_pushstring(state, c" ".as_ptr());
                }
                ffi::luaL_tolstring(state, argument, std::ptr::null_mut());
            }
            ffi::lua_concat(state, count * 2 - 1);
        }
        let line = bytes(state, -1).unwrap_or_default();
        let logged = guard(|| {
            service.ctx.log(line);
            Ok(())
        });
        match logged {
            Ok(()) => 0,
            Err(error) => raise(state, error),
        }
    }
}

/// Source positions that a trace line shows at most.
const POSITIONS: usize = 3;

/// A place in a Lua source. The source text belongs to a function that is running, or is on the stack of a coroutine.
#[derive(Clone, Copy)]
struct Position {
    source: *const u8,
    len: usize,
    line: c_int,
}

/// `core.trace(tag: string, user: string, where: thread|integer?, level: integer?)`: a line with the time, and where we are.
pub(super) unsafe extern "C-unwind" fn trace(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`. Nothing with a destructor is alive while the
    // arguments and positions are read; the sources live as long as the functions that we found on the stack.
    unsafe {
        let service = service(state);
        let tag = check_text(state, 1);
        let user = check_text(state, 2);
        let (of, level) = match ffi::lua_type(state, 3) {
            ffi::LUA_TNIL | ffi::LUA_TNONE => (None, 0),
            ffi::LUA_TTHREAD => (Some(ffi::lua_tothread(state, 3)), ffi::luaL_optinteger(state, 4, 1)),
            _ => (Some(state), ffi::luaL_checkinteger(state, 3)),
        };
        let traced = guard(|| {
            write_trace(service, tag, user, of.map(|of| (of, level as c_int)), false);
            Ok(())
        });
        match traced {
            Ok(()) => 0,
            Err(error) => raise(state, error),
        }
    }
}

/// Writes a trace line, with up to three places of `of` from its level up. `library`: a place in the library stands before them.
///
/// # Safety
/// The state in `of` is valid.
pub(crate) unsafe fn write_trace(
    service: &ServiceState,
    tag: &[u8],
    user: &[u8],
    of: Option<(*mut lua_State, c_int)>,
    library: bool,
) {
    let mut found = [Position { source: std::ptr::null(), len: 0, line: 0 }; POSITIONS];
    let mut count = 0;
    if library {
        found[0] = Position { source: LIBRARY.as_ptr(), len: LIBRARY.len(), line: 1 };
        count = 1;
    }
    if let Some((of, level)) = of {
        // SAFETY: by the caller's promise; nothing raises.
        count += unsafe { positions(of, level, &mut found[count..]) };
    }
    let mut line = b"<TRACE ".to_vec();
    line.extend_from_slice(tag);
    line.extend_from_slice(format!("> {} ", service.ctx.node().hpc()).as_bytes());
    line.extend_from_slice(user);
    for (index, it) in found[..count].iter().enumerate() {
        line.extend_from_slice(if index == 0 { b" : " } else { b" " });
        // SAFETY: the sources live as long as the functions that were found on the stack.
        line.extend_from_slice(unsafe { slice::from_raw_parts(it.source, it.len) });
        line.extend_from_slice(format!(":{}", it.line).as_bytes());
    }
    service.ctx.log(&line);
}

/// The file that stands for native code of the library where a place in it is wanted.
pub(crate) const LIBRARY: &str = "@skein:/lualib/skynet.lua";

/// Fills `found` with the places that the running functions of `of` are at, from `level` up, and says how many.
///
/// # Safety
/// `of` is a valid state, and nothing with a destructor is alive.
unsafe fn positions(of: *mut lua_State, level: c_int, found: &mut [Position]) -> usize {
    let mut count = 0;
    // SAFETY: by the caller's promise; `lua_getinfo` fills the fields that "Sl" names, and `source` ends in a NUL.
    unsafe {
        let mut activation: ffi::lua_Debug = mem::zeroed();
        let mut level = level;
        while count < found.len() && level >= 0 && ffi::lua_getstack(of, level, &mut activation) != 0 {
            ffi::lua_getinfo(of, c"Sl".as_ptr(), &mut activation);
            if activation.currentline > 0 {
                let source = CStr::from_ptr(activation.source).to_bytes();
                found[count] =
                    Position { source: source.as_ptr(), len: source.len(), line: activation.currentline };
                count += 1;
            }
            let Some(next) = level.checked_add(1) else { break };
            level = next;
        }
    }
    count
}
