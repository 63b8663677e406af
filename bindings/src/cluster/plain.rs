//! The other form of `packrequest` and `unpackresponse`: strings in one block, each behind its length as 4 bytes, little-endian.

use std::ffi::c_int;

use skein_arena::copy;

use super::bytes::Given;
use crate::raw::{Raise, bytes, ffi, guard, lua_State, raise};
use crate::state::ServiceState;

/// Bytes of a length.
const PREFIX: usize = 4;

/// Whether the arguments of `packrequest` are of this form: strings, also where skynet's has a session.
///
/// # Safety
/// `state` runs a C function.
pub(super) unsafe fn is_plain(state: *mut lua_State) -> bool {
    // SAFETY: by the caller's promise.
    unsafe {
        let is_string = |index| ffi::lua_type(state, index) == ffi::LUA_TSTRING;
        is_string(1) && (ffi::lua_gettop(state) == 1 || is_string(2))
    }
}

/// `packrequest(...: string): lightuserdata, integer`.
///
/// # Safety
/// As for [`raise`].
pub(super) unsafe fn pack(state: *mut lua_State, service: &ServiceState) -> c_int {
    // SAFETY: by the caller's promise; arguments keep their slots, and strings are not converted.
    unsafe {
        let count = ffi::lua_gettop(state);
        for index in 1..=count {
            ffi::luaL_checktype(state, index, ffi::LUA_TSTRING);
        }
        let made = guard(|| {
            let texts = || (1..=count).filter_map(|index| bytes(state, index));
            let mut sum = 0u64;
            for text in texts() {
                if u32::try_from(text.len()).is_err() {
                    return Err(Raise::new("a string of 4 GiB or more can't be packed"));
                }
                sum += (PREFIX + text.len()) as u64;
            }
            let mut block = service.arena.alloc(sum as usize)?;
            let mut rest = block.bytes_mut().expect("a new block has bytes");
            for text in texts() {
                let (here, behind) = std::mem::take(&mut rest).split_at_mut(PREFIX + text.len());
                here[..PREFIX].copy_from_slice(&(text.len() as u32).to_le_bytes());
                copy(&mut here[PREFIX..], text);
                rest = behind;
            }
            service.count_in(sum as usize);
            Ok((service.hand.give(block), sum))
        });
        match made {
            Ok((at, size)) => {
                ffi::lua_pushlightuserdata(state, at.cast_mut().cast());
                ffi::lua_pushinteger(state, size as i64);
                2
            }
            Err(error) => raise(state, error),
        }
    }
}

/// The strings in a stream, one after the other.
struct Strings<'a>(&'a [u8]);

impl<'a> Iterator for Strings<'a> {
    type Item = Result<&'a [u8], &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some((len, rest)) = self.0.split_first_chunk::<PREFIX>() else {
            return Some(Err("Invalid cluster response"));
        };
        let Some((text, rest)) = rest.split_at_checked(u32::from_le_bytes(*len) as usize) else {
            return Some(Err("Invalid cluster response size"));
        };
        self.0 = rest;
        Some(Ok(text))
    }
}

/// `unpackresponse(message: lightuserdata, size: integer): string...`: all of them or an error. Takes nothing.
///
/// # Safety
/// As for [`raise`].
pub(super) unsafe fn unpack(state: *mut lua_State, service: &ServiceState) -> c_int {
    // SAFETY: by the caller's promise; the block is held until `done`.
    unsafe {
        let given = Given::check(state, service, 1);
        let checked = Strings(given.bytes()).try_fold(0, |count: c_int, text| text.map(|_| count + 1));
        let count = match checked {
            // What does not fit on the stack is not pushed.
            Ok(count) if ffi::lua_checkstack(state, count.saturating_add(4)) != 0 => count,
            Ok(_) => {
                given.done(service);
                raise(state, Raise::new("too many strings in a cluster response"))
            }
            Err(text) => {
                given.done(service);
                raise(state, Raise::new(text))
            }
        };
        for text in Strings(given.bytes()).flatten() {
            ffi::lua_pushlstring(state, text.as_ptr().cast(), text.len());
        }
        service.count_out(given.len());
        given.done(service);
        count
    }
}
