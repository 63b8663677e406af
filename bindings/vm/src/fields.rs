//! Filling tables that were just made: as the API does it, in fewer steps (`csrc/fields.c`).

use std::ffi::c_char;

use crate::ffi::lua_State;

unsafe extern "C-unwind" {
    fn skein_setpair(state: *mut lua_State);
    fn skein_setnamed(state: *mut lua_State, name: *const c_char, len: usize);
}

/// `lua_rawset(state, -3)`.
///
/// # Safety
/// Slot -3 has a table of the state's own, not a shared one; the key in slot -2 is neither nil nor NaN. May raise a memory error.
#[inline(always)]
pub unsafe fn set_pair(state: *mut lua_State) {
    // SAFETY: promised by the caller.
    unsafe { skein_setpair(state) }
}

/// Sets the field `name` of the table in slot -2 to the value on top, which is popped. Raw.
///
/// # Safety
/// As [`set_pair`]; there is a free slot. The collector does not work for what this makes: whoever sets fields makes other objects, too.
#[inline(always)]
pub unsafe fn set_named(state: *mut lua_State, name: &[u8]) {
    // SAFETY: promised by the caller.
    unsafe { skein_setnamed(state, name.as_ptr().cast(), name.len()) }
}
