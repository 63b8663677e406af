//! Strings without copies: Lua strings whose bytes lie in an arena block.
//!
//! To Lua they are long strings like others, for every function of the API and of the libraries. The bytes are those of the
//! block; the string owns a reference to it, which is dropped when the collector frees the string or the state is closed.
//! So the block lives as long as anybody shows it, and is never written meanwhile: it has two owners at least.
//!
//! # Invariants
//! * **E1** Behind the last byte lies a NUL, as C code expects of every string: the bytes end their block.
//! * **E2** The reference is taken after the last step that can raise, and dropped once, with the object.
//! * **E3** The bytes count as if the string had them itself: in [`Memory`] with its limit, and in the collector's pace. At the
//!   limit there is a full collection, then `not enough memory`.
//! * **E4** What several own together sets the pace of each by its share: the bytes, divided by the owners that there are when the string
//!   is made. To collect frees them only if the others let go as well; and a hundred receivers of one payload need not each
//!   collect for all of it.
//!
//! # From skynet
//! Nothing: there every payload that becomes a string is copied.

use std::ffi::{c_char, c_int, c_void};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::NonNull;
use std::slice;

use skein_arena::{Header, Payload, copy_raw};

use crate::ffi::{self, lua_State};
use crate::state::Memory;

/// Strings up to this length are interned; their bytes are always Lua's own.
pub const SHORT: usize = 40;

unsafe extern "C-unwind" {
    fn skein_pushblock(state: *mut lua_State, at: *const c_char, len: usize, owner: *mut c_void);
    fn skein_blockof(state: *mut lua_State, index: c_int) -> *mut c_void;
    fn skein_pushblank(state: *mut lua_State, len: usize) -> *mut c_char;
    fn skein_pay(state: *mut lua_State);
}

/// Pushes `len` bytes at `at` as a string that owns a reference to the block of `owner`.
///
/// # Safety
/// `state` is valid and has a free slot. `owner` is the header of a payload with an owner that stays until this returns, also
/// when it raises; `at` and `len` name its last bytes, more than [`SHORT`] (E1). May raise a memory error and may run
/// finalizers: nothing with a destructor may be alive.
#[inline]
pub unsafe fn push(state: *mut lua_State, owner: NonNull<Header>, at: *const u8, len: usize) {
    // SAFETY: by the caller's promise.
    unsafe { skein_pushblock(state, at.cast(), len, owner.as_ptr().cast()) }
}

/// Pushes a string of `len` bytes, more than [`SHORT`], and gives its bytes to be written.
///
/// # Safety
/// `state` is valid and has a free slot. Whoever calls writes all bytes before anything else is done with the state, or takes the string
/// off the stack unseen, and then calls [`pay`]. May raise a memory error: nothing with a destructor may be alive. No Lua code runs.
#[inline]
pub unsafe fn push_blank<'a>(state: *mut lua_State, len: usize) -> &'a mut [MaybeUninit<u8>] {
    debug_assert!(len > SHORT, "shorter strings are interned");
    // SAFETY: by the caller's promise: the string has just been made, with so many bytes that nobody else looks at.
    unsafe { slice::from_raw_parts_mut(skein_pushblank(state, len).cast(), len) }
}

/// Pushes a string of these bytes, as `lua_pushlstring`; in fewer steps if it is not interned.
///
/// # Safety
/// `state` is valid and has a free slot; `bytes` are not those of an object that only this may let go. May raise a memory error and
/// may run finalizers: nothing with a destructor may be alive.
#[inline]
pub unsafe fn push_copy(state: *mut lua_State, bytes: &[u8]) {
    // SAFETY: by the caller's promise.
    unsafe {
        if bytes.len() <= SHORT {
            ffi::lua_pushlstring(state, bytes.as_ptr().cast(), bytes.len());
            return;
        }
        let blank = push_blank(state, bytes.len());
        copy_raw(blank.as_mut_ptr().cast(), bytes.as_ptr(), bytes.len());
        pay(state);
    }
}

/// Lets the collector work for what was pushed.
///
/// # Safety
/// `state` is valid. May run finalizers, and raise: nothing with a destructor may be alive.
#[inline]
pub unsafe fn pay(state: *mut lua_State) {
    // SAFETY: by the caller's promise.
    unsafe { skein_pay(state) }
}

/// The header of the block whose bytes the string at `index` shows; `None` if it has bytes of its own, or is no string. Good
/// as long as the string is alive.
///
/// # Safety
/// `index` is acceptable to `state`.
#[inline]
pub unsafe fn owner(state: *mut lua_State, index: c_int) -> Option<NonNull<Header>> {
    // SAFETY: by the caller's promise.
    NonNull::new(unsafe { skein_blockof(state, index) }).map(NonNull::cast)
}

/// One more owner of a block.
///
/// # Safety
/// `owner` came from [`owner`], and its string is still alive.
#[inline]
pub unsafe fn payload(owner: NonNull<Header>) -> Payload {
    // SAFETY: the string owns a reference; the count is for what we answer.
    unsafe {
        owner.as_ref().acquire();
        Payload::from_raw(owner)
    }
}

/// Counts a reference, and says how many there were before, at least one (E4).
#[unsafe(no_mangle)]
unsafe extern "C" fn skein_vm_acquire(owner: *mut c_void) -> usize {
    // SAFETY: a header with an owner, as `push` was promised.
    let header = unsafe { &*owner.cast::<Header>() };
    let before = header.owners().max(1);
    header.acquire();
    before as usize
}

#[unsafe(no_mangle)]
unsafe extern "C" fn skein_vm_release(owner: *mut c_void) {
    // SAFETY: the reference that `skein_vm_acquire` counted for this string, which is gone (E2).
    drop(unsafe { Payload::from_raw(NonNull::new_unchecked(owner.cast())) });
}

/// Whether a string may show the last `size` bytes of a payload: at least half of the memory that it keeps.
#[inline]
pub fn is_worth(payload: &Payload, size: usize) -> bool {
    size >= payload.footprint() / 2
}

#[unsafe(no_mangle)]
unsafe extern "C" fn skein_vm_worth(owner: *const c_void, size: usize) -> c_int {
    let Some(owner) = NonNull::new(owner.cast_mut()) else { return 0 };
    // SAFETY: the header that a living string refers to; its reference stays its own.
    let payload = ManuallyDrop::new(unsafe { Payload::from_raw(owner.cast()) });
    c_int::from(is_worth(&payload, size))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn skein_vm_charge(memory: *mut c_void, bytes: usize) -> c_int {
    // SAFETY: the machine passes what a state with our allocator has as its `ud`.
    c_int::from(unsafe { &*memory.cast::<Memory>() }.charge(bytes))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn skein_vm_discharge(memory: *mut c_void, bytes: usize) {
    // SAFETY: as in `skein_vm_charge`.
    unsafe { &*memory.cast::<Memory>() }.discharge(bytes);
}
