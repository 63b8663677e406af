//! `skynet.codecache`: chunks that are compiled once for the whole process.
//!
//! The cache itself is part of the virtual machine ([`skein_vm::cache`]); here are its Lua functions.
//!
//! # From skynet
//! service_snlua.c: `codecache` → [`open`], `cleardummy`/`cache_clear` → [`clear`], `cache_mode` → [`mode`].

use std::ffi::{CStr, c_char, c_int};
use std::panic::catch_unwind;

use skein_vm::cache::{self, Mode};
use skein_vm::ffi::{self, lua_State};

const NAMES: [(&CStr, Mode); 3] = [(c"OFF", Mode::Off), (c"EXIST", Mode::Exist), (c"ON", Mode::On)];

/// Opens `skynet.codecache`: `{ clear, mode, loadfile }`. Stack: 1 out.
///
/// # Safety
///
/// Called by Lua, with the standard library open.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` with 20 free slots; no destructor is pending when it raises.
    unsafe {
        ffi::lua_createtable(state, 0, 3);
        ffi::lua_pushcclosure(state, clear, 0);
        ffi::lua_setfield(state, -2, c"clear".as_ptr());
        ffi::lua_pushcclosure(state, mode, 0);
        ffi::lua_setfield(state, -2, c"mode".as_ptr());
        ffi::lua_getglobal(state, c"loadfile".as_ptr());
        ffi::lua_setfield(state, -2, c"loadfile".as_ptr());
    }
    1
}

/// `codecache.clear()`: the next load of a file reads it again. Functions loaded before stay what they are.
unsafe extern "C-unwind" fn clear(_state: *mut lua_State) -> c_int {
    // A panic here could only be a poisoned lock, which the cache overlooks.
    let _ = catch_unwind(cache::clear);
    0
}

/// `codecache.mode(): string`, or `codecache.mode(name: "ON"|"OFF"|"EXIST")`.
/// Raises on another name.
unsafe extern "C-unwind" fn mode(state: *mut lua_State) -> c_int {
    let mut names: [*const c_char; NAMES.len() + 1] = [std::ptr::null(); NAMES.len() + 1];
    for (at, (name, _)) in names.iter_mut().zip(NAMES) {
        *at = name.as_ptr();
    }
    // SAFETY: Lua gives us a valid `state`; `names` ends with a null; only `Copy` values live when one of them raises.
    unsafe {
        if ffi::lua_isnoneornil(state, 1) != 0 {
            let now = cache::mode(state);
            let name = NAMES.iter().find(|(_, mode)| *mode == now).map_or(c"ON", |(name, _)| name);
            ffi::lua_pushstring(state, name.as_ptr());
            return 1;
        }
        let which = ffi::luaL_checkoption(state, 1, std::ptr::null(), names.as_ptr());
        cache::set_mode(state, NAMES[which as usize].1);
    }
    0
}
