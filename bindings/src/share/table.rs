//! Opening shared tables: `core.clone`, `core.is_sharedtable`, `core.stackvalues`, and `share.open`.

use std::ffi::c_int;

use skein_sharedata::Segment;
use skein_vm::{shared, versions};

use super::{address, root_at, service};
use crate::raw::{ffi, guard, lua_State};

/// `core.clone(pointer): table`. Raises `Not a shared table` unless it is the root of a version that somebody still has.
pub(super) unsafe extern "C-unwind" fn clone(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive.
    unsafe {
        if !push_root(state, address(state, 1)) {
            return ffi::luaL_error(state, c"Not a shared table".as_ptr());
        }
    }
    1
}

/// `share.open(pointer): table?, integer?`. Nothing if there is no such version any more. With the table comes how many versions
/// this state has leases on that are no longer current.
pub(super) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: as in `clone`.
    unsafe {
        if !push_root(state, address(state, 1)) {
            return 0;
        }
        let service = service(state);
        let old = guard(|| Ok(service.leases.borrow().iter().filter(|it| it.is_retired()).count()));
        ffi::lua_pushinteger(state, old.unwrap_or(0) as i64);
    }
    2
}

/// Takes a lease on the version whose root is at an address, and pushes its table.
///
/// # Safety
/// `state` runs a function of ours and has a free slot.
pub(super) unsafe fn push_root(state: *mut lua_State, root: usize) -> bool {
    // SAFETY: by the caller's promise.
    let service = unsafe { service(state) };
    let found = guard(|| {
        let segment = Segment::of_root(root);
        Ok(segment.map(|it| service.leases.borrow_mut().take(&it)).is_some())
    });
    let found = found.unwrap_or(false);
    if found {
        // SAFETY: the lease keeps it mapped until the state is closed (F1).
        unsafe { shared::push(state, root_at(root)) };
    }
    found
}

/// `core.is_sharedtable(value): boolean`.
pub(super) unsafe extern "C-unwind" fn is_sharedtable(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe {
        ffi::luaL_checkany(state, 1);
        let shared = ffi::lua_type(state, 1) == ffi::LUA_TTABLE && shared::is_shared(state, 1);
        ffi::lua_pushboolean(state, c_int::from(shared));
    }
    1
}

/// `core.stackvalues(coroutine, t): integer`. The values in the top frame of a suspended coroutine, into `t[1..n]`.
pub(super) unsafe extern "C-unwind" fn stackvalues(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive.
    unsafe {
        let coroutine = ffi::lua_tothread(state, 1);
        if coroutine.is_null() {
            return ffi::luaL_argerror(state, 1, c"thread expected".as_ptr());
        }
        let mut count = 0;
        if coroutine != state {
            ffi::luaL_checktype(state, 2, ffi::LUA_TTABLE);
            let most = ffi::lua_gettop(coroutine);
            ffi::luaL_checkstack(state, most, c"too many values".as_ptr());
            count = versions::frame(state, coroutine, most);
            for place in (1..=count).rev() {
                ffi::lua_rawseti(state, 2, i64::from(place));
            }
        }
        ffi::lua_pushinteger(state, i64::from(count));
    }
    1
}
