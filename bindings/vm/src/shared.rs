//! Objects of the arena that every state reads as its own: the C side of frozen tables and code.
//!
//! An object whose address lies in the range is shared. It is in no collector's list, is born old, and is never written:
//! states read it as an ordinary table, string, function or prototype, and every way to write it raises
//! `attempt to modify a shared (read-only) table`. Who builds segments, maps them and says when they end is
//! `skein-sharedata`'s business; this module is what the machine knows of them, [`crate::versions`] what a state does when there
//! is a new one.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use skein_arena::range;

use crate::ffi::lua_State;

// `csrc/shr.h` has these numbers again.
const _: () = assert!(
    range::BASE == 1 << (range::BITS + 1 - range::SMALL as u32)
        && range::BITS == if range::SMALL { 36 } else { 44 }
);

const TEXT: usize = 256;

/// Where a freezer puts its objects: `ShrArena` of `csrc/freeze.c`.
#[repr(C)]
pub(crate) struct Target {
    pub(crate) base: *mut u8,
    pub(crate) cur: *mut u8,
    pub(crate) end: *mut u8,
    pub(crate) flags: c_uint,
    pub(crate) root: *const c_void,
    pub(crate) tables: usize,
    pub(crate) strings: usize,
    grow: Option<unsafe extern "C" fn(*mut Target, usize) -> c_int>,
    owner: *mut c_void,
    name: *const c_char,
    message: [c_char; TEXT],
    work: *mut c_void,
}

impl Target {
    /// Room from `base` to `end`, and no more.
    pub(crate) fn new(base: *mut u8, end: *mut u8) -> Target {
        Target {
            base,
            cur: base,
            end,
            flags: 0,
            root: ptr::null(),
            tables: 0,
            strings: 0,
            grow: None,
            owner: ptr::null_mut(),
            name: ptr::null(),
            message: [0; TEXT],
            work: ptr::null_mut(),
        }
    }
}

unsafe extern "C-unwind" {
    fn skein_freeze(state: *mut lua_State, index: c_int, target: *mut Target) -> c_int;
    fn shr_push(state: *mut lua_State, root: *const c_void);
    fn shr_isshared(state: *mut lua_State, index: c_int) -> c_int;
    fn shr_abi() -> u64;
}

/// What may be frozen beside tables, strings, numbers and booleans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Light userdata, and C functions without upvalues: all readers are in this process.
    pub pointers: bool,
    /// Lua functions without upvalues.
    pub functions: bool,
    /// No metatables, and messages have skynet's texts in them.
    pub as_skynet: bool,
    /// Metatables are left out.
    pub plain: bool,
    /// The state is [settled](crate::state::State::settle), and is dropped next, unused: what is frozen says so itself, which is faster
    /// than a list of it.
    pub spent: bool,
}

/// What was frozen.
#[derive(Clone, Copy, Debug)]
pub struct Frozen {
    /// Address of the frozen table.
    pub root: usize,
    /// Bytes used, from the beginning.
    pub used: usize,
    /// Tables frozen.
    pub tables: usize,
    /// Strings frozen.
    pub strings: usize,
}

/// More room: how many bytes are needed, and where the room ends then; `None` if there is no more.
type Grow<'a> = dyn FnMut(usize) -> Option<*mut u8> + 'a;

/// Freezes the table at `index` and all it reaches, into the room from `base` to `end`, which `grow` makes longer.
///
/// # Errors
/// Why not, with the path of what cannot be shared, which begins with `name`.
///
/// # Safety
/// `state` is a live state that runs nothing but the caller, and `index` is a slot of it. The room is the caller's, writable,
/// and 16-aligned; what `grow` adds follows it.
pub unsafe fn freeze(
    state: *mut lua_State,
    index: c_int,
    name: &CStr,
    allowed: Allowed,
    (base, end): (*mut u8, *mut u8),
    mut grow: impl FnMut(usize) -> Option<*mut u8>,
) -> Result<Frozen, String> {
    let mut target = Target::new(base, end);
    target.flags = c_uint::from(allowed.pointers)
        | c_uint::from(allowed.functions) << 2
        | c_uint::from(allowed.as_skynet) << 3
        | c_uint::from(allowed.plain) << 4
        | c_uint::from(allowed.spent) << 5;
    let mut grow: &mut Grow<'_> = &mut grow;
    target.grow = Some(grow_target);
    target.owner = (&raw mut grow).cast();
    target.name = name.as_ptr();
    // SAFETY: promised by the caller; `target` and what it points to outlive the call, which does not raise.
    if unsafe { skein_freeze(state, index, &mut target) } == 0 {
        // SAFETY: the C side has written a text that ends, inside the array.
        let message = unsafe { CStr::from_ptr(target.message.as_ptr()) };
        return Err(message.to_string_lossy().into_owned());
    }
    Ok(Frozen {
        root: target.root.addr(),
        used: target.cur.addr() - base.addr(),
        tables: target.tables,
        strings: target.strings,
    })
}

/// [`Target::grow`].
///
/// # Safety
/// `target` is that of [`freeze`].
unsafe extern "C" fn grow_target(target: *mut Target, need: usize) -> c_int {
    // SAFETY: `freeze` has put it there, and waits for us.
    let (target, grow) = unsafe { (&mut *target, &mut *(*target).owner.cast::<&mut Grow<'_>>()) };
    match catch_unwind(AssertUnwindSafe(|| grow(need))) {
        Ok(Some(end)) => {
            target.end = end;
            1
        }
        _ => 0,
    }
}

/// Pushes a frozen table.
///
/// # Safety
/// `root` is one, and its segment stays mapped while `state` may refer to it. The stack has room.
pub unsafe fn push(state: *mut lua_State, root: *const c_void) {
    // SAFETY: promised by the caller.
    unsafe { shr_push(state, root) }
}

/// Whether the value at `index` is a shared object.
///
/// # Safety
/// `index` is a slot of `state`, or one above.
pub unsafe fn is_shared(state: *mut lua_State, index: c_int) -> bool {
    // SAFETY: promised by the caller.
    unsafe { shr_isshared(state, index) != 0 }
}

/// A number that differs between machines whose objects are laid out differently.
pub fn machine() -> u64 {
    // SAFETY: no preconditions.
    unsafe { shr_abi() }
}
