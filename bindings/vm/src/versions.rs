//! What a state does about versions of frozen tables: goes over from old to new ones, and finds out which it still needs.
//!
//! [`forward`] says, for each table of an old version, which table of the new one has the same path. [`renew`] walks all objects of
//! a state once and replaces what refers to old versions, on stacks and in upvalues too; strings of old versions are replaced by
//! equal ones of the state's own. Usually nothing of the old version is referred to then, and no collection is needed to know
//! that. [`scan`] is for states that did not renew: a full collection which notes what it meets, in which weak references into the watched
//! segments hold nothing.

use std::ffi::{c_int, c_void};

use crate::ffi::lua_State;

/// An old version, and the way to the new one: `ShrOld` of `csrc/renew.c`.
#[repr(C)]
#[derive(Debug)]
pub struct Old {
    /// First address.
    pub base: usize,
    /// Behind the last.
    pub end: usize,
    /// First address of the new version.
    pub now: usize,
    /// What [`forward`] made of the two.
    pub map: *const u32,
    /// References that had to stay: functions, and strings that C code may look at.
    pub left: usize,
}

/// A segment that [`scan`] looks for: `ShrWatch` of `csrc/onevm.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// First address.
    pub base: usize,
    /// Behind the last.
    pub end: usize,
    /// Not 0: the state refers to it.
    pub seen: usize,
}

unsafe extern "C-unwind" {
    fn skein_forward(old: *const c_void, now: *const c_void, base: usize, map: *mut u32) -> c_int;
    fn skein_renew(state: *mut lua_State, olds: *mut Old, count: usize);
    fn skein_scan(state: *mut lua_State, watches: *mut Watch, count: usize) -> c_int;
    fn skein_frame(state: *mut lua_State, coroutine: *mut lua_State, most: c_int) -> c_int;
}

/// For each of the `tables` tables of the segment with the root `old`, by number: where the one of the same path lies, in 16ths
/// of the offset in the segment at `base` whose root is `now`; 0 if there is none. `None` if there is no memory.
///
/// # Safety
/// Both are roots of segments that stay mapped meanwhile; `tables` is the number of the first one's.
pub unsafe fn forward(
    old: *const c_void,
    tables: usize,
    now: *const c_void,
    base: usize,
) -> Option<Vec<u32>> {
    let mut map = vec![0_u32; tables];
    // SAFETY: promised by the caller; the numbers of the tables are below `tables`.
    (unsafe { skein_forward(old, now, base, map.as_mut_ptr()) } != 0).then_some(map)
}

/// Replaces all that `state` refers to in old versions, and counts what has to stay.
///
/// # Safety
/// The segments, old and new, stay mapped; the maps fit. A memory error may be raised, with some references replaced and
/// others not: no destructor may be pending.
pub unsafe fn renew(state: *mut lua_State, olds: *mut [Old]) {
    // SAFETY: promised by the caller.
    unsafe { skein_renew(state, olds.cast(), olds.len()) }
}

/// Collects all garbage of a state, and says which of the watched segments it refers to. False if a finalizer runs: nothing was done then.
///
/// # Safety
/// `state` may collect: it runs a C function or nothing. Finalizers may run, which are Lua code.
pub unsafe fn scan(state: *mut lua_State, watches: &mut [Watch]) -> bool {
    // SAFETY: promised by the caller.
    unsafe { skein_scan(state, watches.as_mut_ptr(), watches.len()) != 0 }
}

/// Pushes the values in the top frame of a suspended coroutine, at most `most`; how many. None for the one that runs.
///
/// # Safety
/// `coroutine` is a coroutine of `state`, and the stack has room for `most`.
pub unsafe fn frame(state: *mut lua_State, coroutine: *mut lua_State, most: c_int) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { skein_frame(state, coroutine, most) }
}
