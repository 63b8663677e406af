//! `send` and `lsend`.

use std::ffi::c_int;

use super::{data, id, network};
use crate::raw::{ffi, guard, lua_State, raise};

/// `driver.send(id, data, size?): boolean`. Takes a block in any case; true does not mean that it arrived.
pub(super) unsafe extern "C-unwind" fn send(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe { send_as(state, false) }
}

/// `driver.lsend(id, data, size?): boolean`: behind everything that `send` has.
pub(super) unsafe extern "C-unwind" fn lsend(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { send_as(state, true) }
}

unsafe fn send_as(state: *mut lua_State, low: bool) -> c_int {
    // SAFETY: as above; nothing with a destructor is alive when these raise.
    unsafe {
        let id = id(state, 1);
        let given = data::given(state, 2);
        let (service, network) = network(state);
        match guard(|| Ok(network.send(id, given.take(service)?, low)?)) {
            Ok(sent) => ffi::lua_pushboolean(state, c_int::from(sent)),
            Err(error) => raise(state, error),
        }
    }
    1
}
