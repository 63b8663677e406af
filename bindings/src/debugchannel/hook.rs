//! Hooks that may suspend what they watch.
//!
//! The functions are kept in a table of the registry, by coroutine; it holds no coroutine alive.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use crate::raw::{check_text, ffi, lua_State};

/// Registry key of the table, by address.
static HOOKS: u8 = 0;

const EVENTS: [&CStr; 5] = [c"call", c"return", c"line", c"count", c"tail call"];

/// `debugchannel.sethook([co: thread,] f: function|nil, mask: string, count: integer?)`: as `debug.sethook`, and when `f(event,
/// line)` returns true the coroutine yields there (Lua can do that in `line` and `count` events only).
pub(super) unsafe extern "C-unwind" fn sethook(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive.
    unsafe {
        let (co, first) = match ffi::lua_tothread(state, 1) {
            co if co.is_null() => (state, 0),
            co => (co, 1),
        };
        if ffi::lua_type(state, first + 1) <= ffi::LUA_TNIL {
            ffi::lua_settop(state, first + 1);
            ffi::lua_sethook(co, None, 0, 0);
        } else {
            let mask = check_text(state, first + 2);
            ffi::luaL_checktype(state, first + 1, ffi::LUA_TFUNCTION);
            let count = ffi::luaL_optinteger(state, first + 3, 0).clamp(0, i64::from(c_int::MAX)) as c_int;
            let bit = |letter, bit| if mask.contains(&letter) { bit } else { 0 };
            let mask =
                bit(b'c', ffi::LUA_MASKCALL) | bit(b'r', ffi::LUA_MASKRET) | bit(b'l', ffi::LUA_MASKLINE);
            let mask = mask | if count > 0 { ffi::LUA_MASKCOUNT } else { 0 };
            ffi::lua_sethook(co, Some(called), mask, count);
        }
        // hooks[co] = f
        push_hooks(state);
        if co == state {
            ffi::lua_pushthread(state);
        } else {
            ffi::lua_pushvalue(state, 1);
        }
        ffi::lua_pushvalue(state, first + 1);
        ffi::lua_rawset(state, -3);
    }
    0
}

/// Pushes the table of hooks.
///
/// # Safety
/// `state` runs a C function, and has three free slots.
unsafe fn push_hooks(state: *mut lua_State) {
    // SAFETY: by the caller's promise.
    unsafe {
        let key = (&raw const HOOKS).cast::<c_void>();
        if ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key) != ffi::LUA_TTABLE {
            ffi::lua_settop(state, -2);
            ffi::lua_createtable(state, 0, 2);
            ffi::lua_createtable(state, 0, 1);
            ffi::lua_pushstring(state, c"k".as_ptr());
            ffi::lua_setfield(state, -2, c"__mode".as_ptr());
            ffi::lua_setmetatable(state, -2);
            ffi::lua_pushvalue(state, -1);
            ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, key);
        }
    }
}

/// What Lua calls.
unsafe extern "C-unwind" fn called(state: *mut lua_State, event: *mut ffi::lua_Debug) {
    // SAFETY: Lua gives a hook 20 free slots and its record; nothing with a destructor is alive.
    unsafe {
        let key = (&raw const HOOKS).cast::<c_void>();
        if ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key) != ffi::LUA_TTABLE {
            ffi::lua_settop(state, -2);
            return;
        }
        ffi::lua_pushthread(state);
        if ffi::lua_rawget(state, -2) != ffi::LUA_TFUNCTION {
            ffi::lua_settop(state, -3);
            return;
        }
        let name = EVENTS.get((*event).event as usize).map_or(ptr::null::<c_char>(), |it| it.as_ptr());
        ffi::lua_pushstring(state, name);
        match (*event).currentline {
            line if line >= 0 => ffi::lua_pushinteger(state, i64::from(line)),
            _ => ffi::lua_pushnil(state),
        }
        ffi::lua_call(state, 2, 1);
        let stop = ffi::lua_toboolean(state, -1) != 0;
        ffi::lua_settop(state, -3);
        let may = matches!((*event).event, ffi::LUA_HOOKLINE | ffi::LUA_HOOKCOUNT);
        if stop && may && ffi::lua_isyieldable(state) != 0 {
            ffi::lua_yield(state, 0);
        }
    }
}
