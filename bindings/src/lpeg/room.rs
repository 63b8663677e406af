//! Buffers of a running match: at first on the machine's own stack, then in userdata of Lua's.
//!
//! So they count in the service's memory, and go away by themselves when Lua raises. Each has a slot of Lua's stack that keeps it.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

use crate::raw::{ffi, lua_State};

/// The first part of a buffer, in the frame of whoever uses it.
pub(super) struct Ground<T, const N: usize>([MaybeUninit<T>; N]);

impl<T, const N: usize> Ground<T, N> {
    #[inline(always)]
    pub(super) fn new() -> Ground<T, N> {
        Ground([const { MaybeUninit::uninit() }; N])
    }
}

/// A buffer. Its elements are plain data.
pub(super) struct Room<T> {
    pub(super) first: *mut T,
    pub(super) room: u32,
    slot: c_int,
    /// What is in the slot; null while it is the ground.
    owned: *const c_void,
}

impl<T: Copy> Room<T> {
    /// A buffer on `ground`, which stays where it is, to be kept in `slot` when it grows.
    #[inline(always)]
    pub(super) fn new<const N: usize>(ground: &mut Ground<T, N>, slot: c_int) -> Room<T> {
        Room { first: ground.0.as_mut_ptr().cast(), room: N as u32, slot, owned: std::ptr::null() }
    }

    /// Makes it larger, to `room` elements; `used` are kept.
    ///
    /// # Safety
    /// May raise a memory error, so nothing with a destructor is alive. `used <= self.room < room`, and these were written.
    #[cold]
    pub(super) unsafe fn grow(&mut self, state: *mut lua_State, used: u32, room: u32) {
        // SAFETY: by the caller's promise; the slot exists. The old memory is kept by the slot until the new one is there.
        unsafe {
            let made = ffi::lua_newuserdatauv(state, room as usize * size_of::<T>(), 0);
            made.cast::<T>().copy_from_nonoverlapping(self.first, used as usize);
            ffi::lua_replace(state, self.slot);
            (self.first, self.room, self.owned) = (made.cast(), room, made);
        }
    }

    /// Whether Lua code that ran in between left it in its slot, as the debug library may not have.
    ///
    /// # Safety
    /// The slot exists.
    #[inline]
    pub(super) unsafe fn is_there(&self, state: *mut lua_State) -> bool {
        // SAFETY: by the caller's promise.
        self.owned.is_null() || unsafe { ffi::lua_touserdata(state, self.slot) }.cast_const() == self.owned
    }
}
