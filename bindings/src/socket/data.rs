//! What a program may give to be sent: a string or a number, a table of such, a block and its size, or a userdata.

use std::ffi::c_int;
use std::ptr::NonNull;
use std::slice;

use skein_arena::Header;
use skein_runtime::socket::Data;
use skein_vm::external;

use crate::raw::{Raise, bytes, ffi, lua_State, raise, raise_argument, type_name};
use crate::state::ServiceState;

/// Bytes to be sent, as plain data.
#[derive(Clone, Copy)]
pub(super) enum Given<'a> {
    /// Bytes that a value on the stack keeps.
    Bytes(&'a [u8]),
    /// The bytes of a string that shows a block.
    Shown(&'a [u8], NonNull<Header>),
    /// A block in hand, to be taken in any case.
    Block(usize, i64),
}

/// Reads arguments `index` and after it.
///
/// # Safety
/// As [`raise`]; the bytes are good while the stack below the top is left alone.
pub(super) unsafe fn given<'a>(state: *mut lua_State, index: c_int) -> Given<'a> {
    // SAFETY: by the caller's promise.
    unsafe {
        match ffi::lua_type(state, index) {
            ffi::LUA_TTABLE => Given::Bytes(joined(state, index)),
            ffi::LUA_TLIGHTUSERDATA => {
                let address = ffi::lua_touserdata(state, index).addr();
                let size = ffi::luaL_checkinteger(state, index + 1);
                if size < 0 {
                    raise_argument(state, index + 1, Raise::new(format_args!("{size} is no size")));
                }
                Given::Block(address, size)
            }
            ffi::LUA_TUSERDATA => {
                let all = ffi::lua_rawlen(state, index) as usize;
                let size = match ffi::lua_type(state, index + 1) {
                    ffi::LUA_TNIL | ffi::LUA_TNONE => all as i64,
                    _ => ffi::luaL_checkinteger(state, index + 1),
                };
                let Some(size) = usize::try_from(size).ok().filter(|it| *it <= all) else {
                    raise_argument(
                        state,
                        index + 1,
                        Raise::new(format_args!("size {size} is out of range: the userdata has {all} bytes")),
                    );
                };
                let at = ffi::lua_touserdata(state, index).cast::<u8>();
                Given::Bytes(if size == 0 { &[] } else { slice::from_raw_parts(at, size) })
            }
            _ => {
                ffi::luaL_checklstring(state, index, std::ptr::null_mut());
                let text = bytes(state, index).unwrap_or_default();
                match external::owner(state, index) {
                    Some(owner) => Given::Shown(text, owner),
                    None => Given::Bytes(text),
                }
            }
        }
    }
}

/// The strings of the table at `index`, one after the other, in a userdata that stays on the stack.
unsafe fn joined<'a>(state: *mut lua_State, index: c_int) -> &'a [u8] {
    // SAFETY: by the caller's promise; metamethods may run, and nothing with a destructor is alive. The userdata is pushed before the
    // second walk and stays where it is.
    unsafe {
        let mut size = 0_usize;
        let mut count = 0;
        while let Some(text) = element(state, index, count + 1) {
            size = size.saturating_add(text.len());
            count += 1;
            ffi::lua_settop(state, -2);
        }
        if size > skein_arena::MAX_PAYLOAD {
            raise_argument(
                state,
                index,
                Raise::new(format_args!("{size} bytes are too much to be sent at once")),
            );
        }
        let all = ffi::lua_newuserdatauv(state, size, 0).cast::<u8>();
        let mut filled = 0;
        for at in 1..=count {
            match element(state, index, at) {
                Some(text) if text.len() <= size - filled => {
                    all.add(filled).copy_from_nonoverlapping(text.as_ptr(), text.len());
                    filled += text.len();
                    ffi::lua_settop(state, -2);
                }
                _ => raise(state, Raise::new("Invalid strings table")),
            }
        }
        if filled != size {
            raise(state, Raise::new("Invalid strings table"));
        }
        if size == 0 { &[] } else { slice::from_raw_parts(all, size) }
    }
}

/// Pushes element `at` of the table at `index`, and shows it; pushes nothing at the end of the table.
unsafe fn element<'a>(state: *mut lua_State, index: c_int, at: i64) -> Option<&'a [u8]> {
    // SAFETY: as in `joined`.
    unsafe {
        match ffi::lua_geti(state, index, at) {
            ffi::LUA_TNIL => {
                ffi::lua_settop(state, -2);
                None
            }
            ffi::LUA_TSTRING | ffi::LUA_TNUMBER => bytes(state, -1),
            _ => {
                let what = type_name(state, -1);
                raise_argument(state, index, Raise::new(format_args!("string expected, got {what}")))
            }
        }
    }
}

impl<'a> Given<'a> {
    /// What the runtime sends. A block leaves the hand.
    ///
    /// # Errors
    /// The pointer is no good.
    pub(super) fn take(self, service: &ServiceState) -> Result<Data<'a>, Raise> {
        Ok(match self {
            Given::Bytes(bytes) => Data::Bytes(bytes),
            Given::Shown(bytes, owner) => {
                // SAFETY: the string keeps its reference while it is on the stack.
                let payload = unsafe { external::payload(owner) };
                let start = bytes.as_ptr().addr() - payload.as_ptr().addr();
                Data::Shared { payload, start, len: bytes.len() }
            }
            Given::Block(address, size) => Data::Block(service.hand.take(service.arena, address, size)?),
        })
    }
}
