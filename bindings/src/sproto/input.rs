//! Bytes that a function was given: a string, a block in the service's hand, or a userdata that has them.

use std::ffi::c_int;
use std::slice;

use crate::core::context;
use crate::raw::{Raise, bytes, ffi, guard, lua_State, raise_argument};
use crate::state::ServiceState;

/// The bytes; [`Input::done`] ends their use.
#[derive(Clone, Copy)]
pub(super) struct Input {
    first: *const u8,
    len: usize,
    /// The service whose block is being read, and what `begin_reading` said.
    reading: Option<(*const ServiceState, u32)>,
}

impl Input {
    /// Argument `index`, and for a pointer the size behind it.
    ///
    /// # Safety
    /// As for [`raise_argument`]. The argument keeps its slot until [`Input::done`].
    #[inline]
    pub(super) unsafe fn check(state: *mut lua_State, index: c_int) -> Input {
        // SAFETY: by the caller's promise; a string is not converted.
        unsafe {
            match ffi::lua_type(state, index) {
                ffi::LUA_TSTRING => {
                    let text = bytes(state, index).unwrap_or_default();
                    Input { first: text.as_ptr(), len: text.len(), reading: None }
                }
                ffi::LUA_TLIGHTUSERDATA => Input::hold(state, index),
                ffi::LUA_TUSERDATA => {
                    let size = ffi::luaL_checkinteger(state, index + 1);
                    let room = ffi::lua_rawlen(state, index);
                    match usize::try_from(size) {
                        Ok(len) if len <= room => {
                            let first = ffi::lua_touserdata(state, index).cast_const().cast();
                            Input { first, len, reading: None }
                        }
                        _ => raise_argument(
                            state,
                            index + 1,
                            Raise::new(format_args!(
                                "size {size} is out of range: the userdata has {room} bytes"
                            )),
                        ),
                    }
                }
                _ => raise_argument(state, index, Raise::new("Need a string or userdata")),
            }
        }
    }

    /// # Safety
    /// As [`Input::check`].
    unsafe fn hold(state: *mut lua_State, index: c_int) -> Input {
        // SAFETY: by the caller's promise; the service outlives the Lua state.
        unsafe {
            let address = ffi::lua_touserdata(state, index).addr();
            let size = ffi::luaL_checkinteger(state, index + 1);
            let service = context(state);
            if service.is_null() {
                raise_argument(state, index, Raise::new("only a service has blocks to point to"));
            }
            match guard(|| Ok((*service).hand.look(address, size)?)) {
                Ok((first, len)) => {
                    Input { first, len, reading: Some((service, (*service).hand.begin_reading())) }
                }
                Err(error) => raise_argument(state, index, error),
            }
        }
    }

    /// The bytes.
    ///
    /// # Safety
    /// They are still given.
    #[inline]
    pub(super) unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: a string and a userdata stay in their slot, the hand keeps its block while it is read.
        unsafe { slice::from_raw_parts(self.first, self.len) }
    }

    /// They are not looked at any more.
    #[inline]
    pub(super) fn done(self) {
        if let Some((service, before)) = self.reading {
            // SAFETY: the service outlives the Lua state, which is running.
            unsafe { (*service).hand.end_reading(before) };
        }
    }
}
