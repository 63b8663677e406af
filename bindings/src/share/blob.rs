//! Immutable bytes with a count: `sharedata.core.new(string)`, `addref`, `release`, `ptr`.

use std::ffi::{CStr, c_int};
use std::ptr;

use skein_arena::Block;
use skein_arena::sync::atomic::{AtomicUsize, Ordering};

use super::{address, service};
use crate::raw::{bytes, ffi, guard, lua_State, raise};

const TYPE: &CStr = c"skein.blob";

/// What the userdata holds.
#[repr(C)]
struct Blob {
    /// Null when the count has come to zero.
    data: *mut Data,
}

struct Data {
    count: AtomicUsize,
    block: Block,
}

/// `core.new(string): blob`, `core.new(lightuserdata, size): blob`: the bytes are copied. The count is 1.
///
/// # Safety
/// Called as a raw function of ours, with a string or a light userdata as argument 1.
pub(super) unsafe fn new(state: *mut lua_State) -> c_int {
    // SAFETY: by the caller's promise; nothing with a destructor is alive when something raises.
    unsafe {
        let pointer = ffi::lua_type(state, 1) == ffi::LUA_TLIGHTUSERDATA;
        let size = if pointer { ffi::luaL_checkinteger(state, 2) } else { 0 };
        let service = service(state);
        let made = ffi::lua_newuserdatauv(state, size_of::<Blob>(), 0).cast::<Blob>();
        made.write(Blob { data: ptr::null_mut() });
        if ffi::luaL_newmetatable(state, TYPE.as_ptr()) != 0 {
            ffi::lua_pushcclosure(state, collect, 0);
            ffi::lua_setfield(state, -2, c"__gc".as_ptr());
        }
        ffi::lua_setmetatable(state, -2);
        let data = guard(|| {
            let bytes = if pointer {
                let (at, len) = service.hand.look(address(state, 1), size)?;
                std::slice::from_raw_parts(at, len)
            } else {
                bytes(state, 1).unwrap_or_default()
            };
            let block = service.arena.copy_from(bytes)?;
            Ok(Box::into_raw(Box::new(Data { count: AtomicUsize::new(1), block })))
        });
        match data {
            Ok(data) => (*made).data = data,
            Err(error) => raise(state, error),
        }
    }
    1
}

/// The blob that is argument 1; raises if that is none, or released.
///
/// # Safety
/// Called by a raw function in which nothing with a destructor is alive.
unsafe fn checked<'a>(state: *mut lua_State) -> &'a mut Blob {
    // SAFETY: by the caller's promise. `__metatable` cannot be relied on, but nobody else has userdata of this type: its
    // metatable is in the registry, which programs reach with `debug` only.
    unsafe {
        let found = ffi::luaL_checkudata(state, 1, TYPE.as_ptr()).cast::<Blob>();
        if (*found).data.is_null() {
            ffi::luaL_argerror(state, 1, c"the data was released".as_ptr());
        }
        &mut *found
    }
}

/// `core.addref(blob): integer`. One more reference.
pub(super) unsafe extern "C-unwind" fn addref(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; the data lives while the count is above zero.
    unsafe {
        let count = (*checked(state).data).count.fetch_add(1, Ordering::Relaxed) + 1;
        ffi::lua_pushinteger(state, count as i64);
    }
    1
}

/// `core.release(blob): integer`. One less; at zero the data is gone.
pub(super) unsafe extern "C-unwind" fn release(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; at zero nobody else has the data.
    unsafe {
        let blob = checked(state);
        let count = (*blob.data).count.fetch_sub(1, Ordering::AcqRel) - 1;
        if count == 0 {
            free(blob);
        }
        ffi::lua_pushinteger(state, count as i64);
    }
    1
}

/// `core.ptr(blob): lightuserdata, integer`. Where the bytes are, and how many, as long as it is not released.
pub(super) unsafe extern "C-unwind" fn pointer(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe {
        let block = &(*checked(state).data).block;
        ffi::lua_pushlightuserdata(state, block.as_ptr().cast_mut().cast());
        ffi::lua_pushinteger(state, block.len() as i64);
    }
    2
}

/// The finalizer: whatever the count is.
unsafe extern "C-unwind" fn collect(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` and a blob.
    unsafe { free(&mut *ffi::luaL_checkudata(state, 1, TYPE.as_ptr()).cast::<Blob>()) };
    0
}

/// Frees the data.
///
/// # Safety
/// Nobody uses it any more.
unsafe fn free(blob: &mut Blob) {
    let data = std::mem::replace(&mut blob.data, ptr::null_mut());
    if !data.is_null() {
        let _ = guard(|| {
            // SAFETY: it came from a box, and is nulled where it was.
            drop(unsafe { Box::from_raw(data) });
            Ok(())
        });
    }
}
