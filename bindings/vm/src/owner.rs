//! Whom a state belongs to, and other short ways for native functions (`csrc/owner.c`).
//!
//! A function that finds its owner here needs no upvalue, so it is a light C function: its place in a table is all it costs a state, and
//! the table's places can be common to all states (`csrc/nodes.c`). The price is that Lua code may take it to another state of the
//! process, inside of a shared table: it must ask whether that one has an owner.

use std::ffi::{c_int, c_void};

use crate::ffi::lua_State;

unsafe extern "C-unwind" {
    fn skein_owner(state: *mut lua_State) -> *mut c_void;
    fn skein_setowner(state: *mut lua_State, owner: *mut c_void);
    fn skein_measured(state: *mut lua_State) -> *mut usize;
    fn skein_pushfrom(state: *mut lua_State, from: *mut lua_State, index: c_int);
    fn skein_pushthread(state: *mut lua_State, other: *mut lua_State);
    fn skein_rawgetfrom(state: *mut lua_State, from: *mut lua_State, index: c_int) -> c_int;
}

/// What [`set`] said, to whichever thread of the state; null if nobody did.
///
/// # Safety
///
/// `state` is a live state.
#[inline(always)]
pub unsafe fn of(state: *mut lua_State) -> *mut c_void {
    // SAFETY: promised by the caller.
    unsafe { skein_owner(state) }
}

/// Says whom the state belongs to. What the pointer means is between the caller and those who ask.
///
/// # Safety
///
/// `state` is a live state, and whoever asks by [`of`] finds what it expects.
pub unsafe fn set(state: *mut lua_State, owner: *mut c_void) {
    // SAFETY: promised by the caller.
    unsafe { skein_setowner(state, owner) }
}

/// A number of the state's, 0 in the beginning: how many of its coroutines somebody measures.
///
/// # Safety
///
/// `state` is a live state. The place is good while it lives, for the thread that runs it.
#[inline(always)]
pub unsafe fn measured(state: *mut lua_State) -> *mut usize {
    // SAFETY: promised by the caller.
    unsafe { skein_measured(state) }
}

/// Pushes another thread of the same state. What that one has on its stack stays as it is: one that has just yielded may have no slot
/// free.
///
/// # Safety
///
/// Both are threads of one live state; `state` has a free slot.
#[inline(always)]
pub unsafe fn push_thread(state: *mut lua_State, other: *mut lua_State) {
    // SAFETY: promised by the caller.
    unsafe { skein_pushthread(state, other) }
}

/// Pushes what another thread of the same state has at `index`.
///
/// # Safety
///
/// Both are threads of one live state; `state` has a free slot, and `from` that one, which is no pseudo-index.
#[inline(always)]
pub unsafe fn push_from(state: *mut lua_State, from: *mut lua_State, index: c_int) {
    // SAFETY: promised by the caller.
    unsafe { skein_pushfrom(state, from, index) }
}

/// `lua_rawget` from a table that another thread of the same state has at `index`.
///
/// # Safety
///
/// As [`push_from`]; there is a table, and the key is on top of `state`.
#[inline(always)]
pub unsafe fn raw_get_from(state: *mut lua_State, from: *mut lua_State, index: c_int) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { skein_rawgetfrom(state, from, index) }
}
