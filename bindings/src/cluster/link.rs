//! `skein.cluster`: what our own services of the cluster ask of a connection, beside skynet's functions.

use std::ffi::c_int;

use crate::core::{make, service};
use crate::raw::{ffi, guard, lua_State, raise};

/// Opens `skein.cluster`. Stack: 1 out. Raises in a state without a service.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive.
    unsafe { make(state, &[(c"queued", queued)]) }
}

/// `cluster.queued(id: integer): integer?`, bytes of a socket that wait to be written; nothing for one that is not there.
unsafe extern "C-unwind" fn queued(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`, and upvalue 1 is our service. Nothing with a destructor is alive when these raise.
    unsafe {
        let id = ffi::luaL_checkinteger(state, 1) as i32;
        let network = service(state).ctx.node().network();
        match guard(|| Ok(network.queued(id))) {
            Ok(Some(size)) => ffi::lua_pushinteger(state, size as i64),
            Ok(None) => return 0,
            Err(error) => raise(state, error),
        }
    }
    1
}
