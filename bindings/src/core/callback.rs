//! `callback`.

use std::ffi::c_int;

use super::service;
use crate::raw::{ffi, lua_State};

/// `core.callback(handler: function, forward: boolean?)`: every message from the next on goes to
/// `handler(type, msg, size, session, source)`. With `forward` the handler disposes of each block itself.
pub(super) unsafe extern "C-unwind" fn callback(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`. Nothing with a destructor is alive.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TFUNCTION);
        let forward = ffi::lua_toboolean(state, 2) != 0;
        ffi::lua_settop(state, 1);
        service(state).install_callback(state, forward);
    }
    0
}
