//! `pack`, `packstring`, `unpack`, `tostring`, `trash`: what a service does with the bytes of messages.

use std::ffi::c_int;
use std::slice;

use super::service;
use skein_vm::external;
use skein_vm::walk::{Slots, Value};

use crate::raw::{Raise, bytes, ffi, guard, lua_State, raise, raise_argument, type_name};
use crate::seri::pack::Refused;
use crate::seri::unpack;
use crate::state::ServiceState;

/// `core.pack(...): lightuserdata, integer`, a new block in this service's hand.
pub(super) unsafe extern "C-unwind" fn pack(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`, and packing reads the argument slots.
    unsafe {
        let service = service(state);
        let last = ffi::lua_gettop(state);
        let packed = guard(|| {
            Ok(match service.pack(state, 1, last) {
                Ok(block) => {
                    let len = block.len();
                    Packed::Block(service.hand.give(block), len)
                }
                Err(refused) => explain(state, refused),
            })
        });
        match packed {
            Ok(Packed::Block(at, len)) => {
                ffi::lua_pushlightuserdata(state, at.cast_mut().cast());
                ffi::lua_pushinteger(state, len as i64);
                2
            }
            Ok(Packed::Raised) => ffi::lua_error(state),
            Ok(Packed::Refused(error)) | Err(error) => raise(state, error),
        }
    }
}

/// `core.packstring(...): string`. Pointers in it are plain numbers: a string owns no block.
pub(super) unsafe extern "C-unwind" fn packstring(state: *mut lua_State) -> c_int {
    // SAFETY: as above. The block is kept by the service while Lua copies it, for that may raise.
    unsafe {
        let service = service(state);
        let last = ffi::lua_gettop(state);
        let packed = guard(|| {
            Ok(match service.pack_text(state, 1, last) {
                Ok(block) => {
                    let (at, len) = service.keep_block(block);
                    Packed::Block(at, len)
                }
                Err(refused) => explain(state, refused),
            })
        });
        match packed {
            Ok(Packed::Block(at, len)) => {
                ffi::lua_pushlstring(state, at.cast(), len);
                service.drop_kept_block();
                1
            }
            Ok(Packed::Raised) => ffi::lua_error(state),
            Ok(Packed::Refused(error)) | Err(error) => raise(state, error),
        }
    }
}

/// How packing went, as plain data.
#[derive(Clone, Copy)]
pub(crate) enum Packed {
    /// A block and its size.
    Block(*const u8, usize),
    /// The error is on top of the stack, to be passed through as it is.
    Raised,
    /// The error to raise.
    Refused(Raise),
}

/// A refusal as what a raw function answers.
///
/// # Safety
/// `state` is valid, and `refused` came from packing in it.
#[cold]
pub(crate) unsafe fn explain(state: *mut lua_State, refused: Refused) -> Packed {
    Packed::Refused(match refused {
        Refused::Raised => return Packed::Raised,
        Refused::TooDeep => Raise::new("serialize can't pack too depth table"),
        Refused::Type(ty) => {
            // SAFETY: `ty` came from `lua_type`; names of types are static and end in a NUL.
            let name = unsafe { std::ffi::CStr::from_ptr(ffi::lua_typename(state, ty)) };
            Raise::new(format_args!("Unsupport type {} to serialize", name.to_string_lossy()))
        }
        Refused::LongString => Raise::new("a string of 2 GiB or more can't be serialized"),
        Refused::Stack => Raise::new("out of memory"),
        Refused::Arena(error) => error.into(),
    })
}

/// `core.unpack(message: string | lightuserdata, size: integer?): ...`. Takes nothing; all values or none.
pub(crate) unsafe extern "C-unwind" fn unpack(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`. Nothing with a destructor is alive.
    unsafe { unpack_for(state, service(state)) }
}

/// `core.unpack` with what that service has in hand.
///
/// # Safety
/// As a raw function that Lua calls.
#[inline(always)]
pub(crate) unsafe fn unpack_for(state: *mut lua_State, service: &ServiceState) -> c_int {
    // Read. SAFETY: by the caller's promise. Nothing with a destructor is alive.
    unsafe {
        let kind = ffi::lua_type(state, 1);
        if kind == ffi::LUA_TNIL || kind == ffi::LUA_TNONE {
            return 0;
        }
        if kind == ffi::LUA_TSTRING {
            let text = bytes(state, 1).unwrap_or_default();
            return match unpack::unpack(state, text, |_, _| None) {
                Ok(values) => values,
                Err(failed) => raise(state, Raise::new(failed)),
            };
        }
        let size = ffi::luaL_checkinteger(state, 2);
        if size == 0 {
            return 0;
        }
        // What is neither string nor userdata counts as NULL, as in skynet.
        let address = ffi::lua_touserdata(state, 1).addr();
        if address == 0 {
            return ffi::luaL_error(state, c"deserialize null pointer".as_ptr());
        }
        unpack_held(state, service, address, size)
    }
}

/// Pushes the values of the block at `address` in hand, and says how many. Raises what `core.unpack` does.
///
/// # Safety
/// `state` is valid, and nothing with a destructor is alive.
#[inline]
pub(crate) unsafe fn unpack_held(
    state: *mut lua_State,
    service: &ServiceState,
    address: usize,
    size: i64,
) -> c_int {
    let (at, size) = match guard(|| Ok(service.hand.look(address, size)?)) {
        Ok(found) => found,
        // SAFETY: by the caller's promise.
        Err(error) => unsafe { raise(state, error) },
    };
    // SAFETY: the hand keeps the block until `end_reading`, whatever finalizers do.
    unsafe { unpack_block(state, service, address, slice::from_raw_parts(at, size)) }
}

/// Unpacks a block in hand, and claims the blocks that are in transit inside of it.
///
/// # Safety
/// `stream` is the block at `address`, and nothing with a destructor is alive.
#[inline]
unsafe fn unpack_block(
    state: *mut lua_State,
    service: &ServiceState,
    address: usize,
    stream: &[u8],
) -> c_int {
    let before = service.hand.begin_reading();
    let mut lent = 0;
    // SAFETY: the block stays while it is being read (N3), and what is lent of it as well. A memory error leaves the reading
    // open, which the end of the message closes.
    let values = unsafe {
        let lend = |at: *const u8, len| {
            let owner = guard(|| Ok(service.hand.lend(address, at, len))).ok().flatten()?;
            lent = len;
            Some(owner)
        };
        match unpack::unpack(state, stream, lend) {
            Ok(values) => values,
            Err(failed) => {
                service.hand.end_reading(before);
                raise(state, Raise::new(failed))
            }
        }
    };
    service.count_out(stream.len() - lent);
    if service.hand.is_carrier(address) {
        claim(service, address, stream);
    }
    service.hand.end_reading(before);
    values
}

/// Takes what the message at `address` carries into our hand, as far as `stream` names it.
#[cold]
fn claim(service: &ServiceState, address: usize, stream: &[u8]) {
    // The values are out: a panic here would be a bug of ours, and is not to cross Lua.
    let _ = guard(|| {
        for pointer in service.hand.carried(address) {
            if stream.windows(8).any(|bytes| bytes == pointer.to_le_bytes()) {
                service.hand.claim(address, pointer);
            }
        }
        Ok(())
    });
}

/// `core.tostring(message: lightuserdata?, size: integer): string | nothing`. Takes nothing; a large message is not copied.
pub(super) unsafe extern "C-unwind" fn tostring(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`. Nothing with a destructor is alive when these raise.
    unsafe {
        match ffi::lua_type(state, 1) {
            ffi::LUA_TNIL | ffi::LUA_TNONE => return 0,
            ffi::LUA_TLIGHTUSERDATA => {}
            _ => ffi::luaL_checktype(state, 1, ffi::LUA_TLIGHTUSERDATA),
        }
        let size = ffi::luaL_checkinteger(state, 2);
        let address = ffi::lua_touserdata(state, 1).addr();
        if address == 0 {
            if size != 0 {
                raise_argument(state, 2, Raise::new(format_args!("a null pointer has no {size} bytes")));
            }
            ffi::lua_pushstring(state, c"".as_ptr());
            return 1;
        }
        let service = service(state);
        let found = guard(|| {
            let (at, len) = service.hand.look(address, size)?;
            Ok((at, len, service.hand.lend(address, at, len)))
        });
        match found {
            // Until the string has its own reference no Lua code runs that could free the block.
            Ok((at, len, Some(owner))) => external::push(state, owner, at, len),
            Ok((at, len, None)) => {
                // Lua copies the bytes before it collects garbage, so the block need not be held.
                ffi::lua_pushlstring(state, at.cast(), len);
                service.count_out(len);
            }
            Err(error) => raise_argument(state, if size < 0 { 2 } else { 1 }, error),
        }
    }
    1
}

/// `core.trash(message: string | lightuserdata, size: integer?)`: frees the block. A string is left to the collector.
pub(super) unsafe extern "C-unwind" fn trash(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let slots = Slots::<2>::look(state, 1, 2);
        if let (Value::Pointer(address), Value::Integer(_)) = (slots.value(0), slots.value(1))
            && matches!(guard(|| Ok(service(state).hand.spend(address, 0, |_| ()))), Ok(Some(())))
        {
            return 0;
        }
        match ffi::lua_type(state, 1) {
            ffi::LUA_TSTRING => {}
            ffi::LUA_TLIGHTUSERDATA => {
                let address = ffi::lua_touserdata(state, 1).addr();
                ffi::luaL_checkinteger(state, 2);
                let service = service(state);
                if address != 0
                    && let Err(error) = guard(|| Ok(service.hand.discard(address)?))
                {
                    raise(state, error);
                }
            }
            _ => raise(state, Raise::new(format_args!("skynet.trash invalid param {}", type_name(state, 1)))),
        }
    }
    0
}
