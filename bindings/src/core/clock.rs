//! `now` and `hpc`.

use std::ffi::c_int;

use super::service;
use crate::raw::{ffi, lua_State};

/// `core.now(): integer`, hundredths of a second since the process started.
pub(super) unsafe extern "C-unwind" fn now(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`, and a C function has free slots.
    unsafe { ffi::lua_pushinteger(state, service(state).ctx.node().now() as i64) };
    1
}

/// `core.hpc(): integer`, nanoseconds of a clock that never goes back.
pub(super) unsafe extern "C-unwind" fn hpc(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { ffi::lua_pushinteger(state, service(state).ctx.node().hpc() as i64) };
    1
}
