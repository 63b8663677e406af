//! Objects of the arena that every state reads as its own: the C side of frozen tables and code.
//!
//! An object whose address lies in the range is shared. It is in no collector's list, is born old, and is never written:
//! states read it as an ordinary table, string or prototype, and every way to write it raises
//! `attempt to modify a shared (read-only) table`. Who builds segments, maps them and says when they end is
//! `skein-sharedata`'s business; this module is what the machine knows of them.

use std::ffi::{c_int, c_uint, c_void};

use skein_arena::range;

use crate::ffi::lua_State;

// `csrc/shr.h` has these numbers again.
const _: () = assert!(
    range::BASE == 1 << (range::BITS + 1 - range::SMALL as u32)
        && range::BITS == if range::SMALL { 36 } else { 44 }
);

/// [`shr_scan`] tells apart pieces of `1 << SLOT_BITS` bytes.
pub const SLOT_BITS: u32 = 21;

/// Where a freezer puts its objects: `ShrArena` of `csrc/freeze.c`.
#[repr(C)]
#[derive(Debug)]
pub struct Target {
    /// First byte of the segment.
    pub base: *mut u8,
    /// Next free byte.
    pub cur: *mut u8,
    /// End of the segment.
    pub end: *mut u8,
    /// Bit 0: light userdata and light C functions are allowed (readers are in this process). Bit 1 is `code.rs`'s.
    pub flags: c_uint,
    /// The frozen table or prototype, once it is done.
    pub root: *const c_void,
    /// Tables frozen.
    pub tables: usize,
    /// Strings frozen.
    pub strings: usize,
}

unsafe extern "C-unwind" {
    /// Lua function `(table, light userdata to a Target)`: freezes the table and all it reaches.
    pub fn shr_freeze(state: *mut lua_State) -> c_int;
    /// Lua function `(function, light userdata to a Target)`: freezes the prototype of a Lua function.
    pub fn shr_freezecode(state: *mut lua_State) -> c_int;
    /// Lua function `(light userdata to a frozen prototype)`: a new closure over globals.
    pub fn shr_closure(state: *mut lua_State) -> c_int;
    /// Pushes a frozen table.
    pub fn shr_push(state: *mut lua_State, root: *const c_void);
    /// Whether the value at an index is shared.
    pub fn shr_isshared(state: *mut lua_State, index: c_int) -> c_int;
    /// A full collection that writes 1 at `notes[slot]` for every slot with an object the state refers to. Zero if the
    /// state is inside a finalizer, and nothing was done.
    pub fn shr_scan(state: *mut lua_State, notes: *mut u8) -> c_int;
    /// A number that differs between machines whose objects are laid out differently.
    pub fn shr_abi() -> u64;
}
