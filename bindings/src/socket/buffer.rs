//! `buffer`, `push`, `pop`, `readall`, `clear`, `readline`: the bytes of a stream until somebody takes them.
//!
//! A buffer is a userdata with a [`Stream`] in it, dropped when Lua collects it. A large piece that ends a block becomes a string
//! without a copy (`skein_vm::external`).
//!
//! # Invariants
//! * **B1** Pushing a string may run finalizers, which may use the same buffer: its stamp tells, and then what was pushed is not
//!   taken off. The bytes themselves are copied, or owned by the string, before any finalizer runs.

use std::ffi::c_int;

use skein_vm::external;

use super::line::Stream;
use super::{pool, service};
use crate::raw::{Raise, bytes, ffi, guard, lua_State, raise};
use crate::state::ServiceState;

/// Says that a userdata is ours, with its address.
const MAGIC: usize = usize::from_ne_bytes(*b"skbuffer");
/// A piece becomes a string without a copy from this size on.
const WORTHWHILE: usize = 1024;

#[repr(C)]
struct Buffer {
    tag: usize,
    stream: Stream,
}

/// What the tag of a buffer at `address` is: what nobody else can have written there.
fn tag(address: usize) -> usize {
    address.rotate_left(7) ^ (collect as *const () as usize) ^ MAGIC
}

/// Pushes the metatable of buffers.
///
/// # Safety
/// `state` has free slots; may raise.
pub(super) unsafe fn open(state: *mut lua_State) {
    // SAFETY: by the caller's promise.
    unsafe {
        ffi::lua_createtable(state, 0, 2);
        ffi::lua_pushboolean(state, 0);
        ffi::lua_setfield(state, -2, c"__metatable".as_ptr());
        ffi::lua_pushcfunction(state, collect);
        ffi::lua_setfield(state, -2, c"__gc".as_ptr());
    }
}

/// The buffer at `index`.
///
/// # Safety
/// `index` is acceptable. The answer is good while the value stays in its slot, and nobody else may look at the buffer meanwhile.
pub(super) unsafe fn find<'a>(state: *mut lua_State, index: c_int) -> Option<&'a mut Stream> {
    // SAFETY: by the caller's promise; words are read only of a full userdata that has them, and one with this tag was made by `new`. What
    // the collector has seen is empty, and as good as new.
    unsafe {
        if ffi::lua_type(state, index) != ffi::LUA_TUSERDATA
            || ffi::lua_rawlen(state, index) as usize != size_of::<Buffer>()
        {
            return None;
        }
        let at = ffi::lua_touserdata(state, index).cast::<Buffer>();
        ((&raw const (*at).tag).read() == tag(at.addr())).then(|| &mut (*at).stream)
    }
}

/// The buffer at `index`, or an error with skynet's text.
///
/// # Safety
/// As [`find`] and [`raise`].
pub(super) unsafe fn need<'a>(state: *mut lua_State, index: c_int, text: &str) -> &'a mut Stream {
    // SAFETY: by the caller's promise.
    unsafe { find(state, index).unwrap_or_else(|| raise(state, Raise::new(text))) }
}

pub(super) const NEED: &str = "Need buffer object at param 1";

/// `driver.buffer(): userdata`.
pub(super) unsafe extern "C-unwind" fn new(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; it aligns userdata for any type. An empty stream owns nothing, so that nothing leaks if
    // setting the metatable raised.
    unsafe {
        let at = ffi::lua_newuserdatauv(state, size_of::<Buffer>(), 0).cast::<Buffer>();
        at.write(Buffer { tag: tag(at.addr()), stream: Stream::default() });
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(1));
        ffi::lua_setmetatable(state, -2);
    }
    1
}

/// What the collector calls.
unsafe extern "C-unwind" fn collect(state: *mut lua_State) -> c_int {
    // SAFETY: as above. An empty stream takes the place of the old one, in case that somebody calls again.
    unsafe {
        if let Some(stream) = find(state, 1) {
            let _ = guard(|| {
                *stream = Stream::default();
                Ok(())
            });
        }
    }
    0
}

/// `driver.push(buffer, pool, ptr, size): integer`, the bytes there are then. Takes the block.
pub(super) unsafe extern "C-unwind" fn push(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`, and the upvalues are ours. Nothing with a destructor is alive when these raise.
    unsafe {
        const NEED: &str = "need buffer object at param 1";
        need(state, 1, NEED);
        let address = match ffi::lua_type(state, 3) {
            ffi::LUA_TLIGHTUSERDATA => ffi::lua_touserdata(state, 3).addr(),
            _ => 0,
        };
        if address == 0 {
            return ffi::luaL_error(state, c"need message block at param 3".as_ptr());
        }
        ffi::luaL_checktype(state, 2, ffi::LUA_TTABLE);
        let size = ffi::luaL_checkinteger(state, 4);
        let service = service(state);
        pool::take(state, service, 2);
        // Only now: counting may have run finalizers.
        let stream = need(state, 1, NEED);
        let pushed = guard(|| {
            let block = service.hand.take(service.arena, address, size)?;
            stream.push(block.share());
            Ok(stream.len())
        });
        match pushed {
            Ok(total) => ffi::lua_pushinteger(state, total as i64),
            Err(error) => {
                pool::give(state, 2, 1);
                raise(state, error)
            }
        }
    }
    1
}

/// Takes `len` bytes, and `skip` behind them, off a buffer, and pushes the `len` as a string.
///
/// # Safety
/// The buffer is argument 1 and has so many bytes, the pool is argument 2; as [`raise`].
unsafe fn take(state: *mut lua_State, service: &ServiceState, stream: &mut Stream, len: usize, skip: usize) {
    // SAFETY: by the caller's promise, and B1: nobody but us holds a reference into the stream while Lua runs, since `front` is read
    // through a pointer, and the stream is looked up again afterwards.
    unsafe {
        let chunks = stream.chunks();
        let found = guard(|| {
            let at = stream.front(service.arena, len)?.as_ptr();
            let owner = stream.owner(len).filter(|_| len >= WORTHWHILE).map(|it| it.as_raw());
            Ok((at, owner))
        });
        let (at, owner) = match found {
            Ok(found) => found,
            Err(error) => raise(state, error),
        };
        let joined = chunks - stream.chunks();
        let stamp = stream.stamp();
        match owner {
            Some(owner) => external::push(state, owner, at, len),
            None => {
                ffi::lua_pushlstring(state, at.cast(), len);
                service.count_out(len);
            }
        }
        let stream = need(state, 1, NEED);
        if stream.stamp() != stamp {
            raise(state, Raise::new("the buffer was used by a finalizer while it was being read"));
        }
        let gone = guard(|| Ok(stream.skip(len + skip))).unwrap_or(0);
        pool::give(state, 2, joined + gone);
    }
}

/// `driver.pop(buffer, pool, size): string | nil, integer`, exactly so many bytes, and how many are left.
pub(super) unsafe extern "C-unwind" fn pop(state: *mut lua_State) -> c_int {
    // SAFETY: as in `push`.
    unsafe {
        let stream = need(state, 1, NEED);
        ffi::luaL_checktype(state, 2, ffi::LUA_TTABLE);
        let size = ffi::luaL_checkinteger(state, 3);
        let Ok(size) = usize::try_from(size) else {
            raise(state, Raise::new(format_args!("invalid size {size} to pop")));
        };
        if size == 0 || stream.len() < size {
            ffi::lua_pushnil(state);
        } else {
            take(state, service(state), stream, size, 0);
        }
        let left = need(state, 1, NEED).len();
        ffi::lua_pushinteger(state, left as i64);
    }
    2
}

/// `driver.readall(buffer, pool): string`.
pub(super) unsafe extern "C-unwind" fn readall(state: *mut lua_State) -> c_int {
    // SAFETY: as in `push`.
    unsafe {
        let stream = need(state, 1, NEED);
        ffi::luaL_checktype(state, 2, ffi::LUA_TTABLE);
        let size = stream.len();
        take(state, service(state), stream, size, 0);
    }
    1
}

/// `driver.clear(buffer?, pool)`.
pub(super) unsafe extern "C-unwind" fn clear(state: *mut lua_State) -> c_int {
    // SAFETY: as in `push`.
    unsafe {
        if ffi::lua_type(state, 1) <= ffi::LUA_TNIL {
            if ffi::lua_type(state, 1) == ffi::LUA_TNIL {
                return 0;
            }
            raise(state, Raise::new(NEED));
        }
        let stream = need(state, 1, NEED);
        ffi::luaL_checktype(state, 2, ffi::LUA_TTABLE);
        let gone = guard(|| Ok(stream.skip(stream.len()))).unwrap_or(0);
        pool::give(state, 2, gone);
    }
    0
}

/// `driver.readline(buffer, pool | nil, separator): string | true | nothing`, what is before it; without a pool: whether it is there.
pub(super) unsafe extern "C-unwind" fn readline(state: *mut lua_State) -> c_int {
    // SAFETY: as in `push`.
    unsafe {
        let stream = need(state, 1, NEED);
        let checks = ffi::lua_type(state, 2) != ffi::LUA_TTABLE;
        ffi::luaL_checklstring(state, 3, std::ptr::null_mut());
        let separator = bytes(state, 3).unwrap_or_default();
        match guard(|| Ok(stream.find(separator))) {
            Ok(None) => return 0,
            Ok(Some(_)) if checks => ffi::lua_pushboolean(state, 1),
            Ok(Some(at)) => take(state, service(state), stream, at, separator.len()),
            Err(error) => raise(state, error),
        }
    }
    1
}
