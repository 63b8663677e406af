//! `unpack`, `drop`, `header`, `str2p`: what came, and what is done with its bytes.

use std::ffi::c_int;

use skein_arena::Block;
use skein_runtime::socket::event::{self, EventKind, Head};

use super::service;
use crate::raw::{Raise, bytes, ffi, guard, lua_State, raise};
use crate::state::ServiceState;

/// What a socket message says, as plain data.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    /// The fixed part.
    pub(crate) head: Head,
    /// Where the text is, and its size; good while the message is held.
    pub(crate) text: (*const u8, usize),
    /// Bytes of the block at `head.buffer` that has just come into the hand.
    pub(crate) given: Option<usize>,
}

/// Reads the socket message at `address`, which is held. The block that it brought comes into the hand, once.
///
/// # Errors
/// The message is not held, or is too short.
pub(crate) fn open(service: &ServiceState, address: usize, size: i64) -> Result<Event, Raise> {
    let (at, size) = service.hand.look(address, size)?;
    // SAFETY: the hand keeps the message, and nobody writes it while we read.
    let body = unsafe { std::slice::from_raw_parts(at, size) };
    let Some((head, text)) = Head::read(body) else {
        return Err(Raise::new(format_args!(
            "a socket message has {} bytes or more, not {size}",
            event::HEAD
        )));
    };
    let text = (text.as_ptr(), text.len());
    Ok(Event { head, text, given: claim(service, address) })
}

/// Takes the block that the message at `address` brought into the hand, once, and says how long it is.
pub(crate) fn claim(service: &ServiceState, address: usize) -> Option<usize> {
    let data: Block = service.hand.with_block(address, event::claim).flatten()?;
    let len = data.len();
    service.hand.give(data);
    Some(len)
}

/// Takes the block of `size` bytes that the message at `address` brought, once, past the hand. One of another size stays.
pub(super) fn take(service: &ServiceState, address: usize, size: usize) -> Option<Block> {
    service.hand.with_block(address, |message| {
        let fits =
            event::is_event(message) && Head::read(message).is_some_and(|(head, _)| head.ud as usize == size);
        if fits { event::claim(message) } else { None }
    })?
}

/// `driver.unpack(ptr, size): integer, integer, integer, string | lightuserdata, string?`: type, id, number, text or block, sender.
pub(super) unsafe extern "C-unwind" fn unpack(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`. Nothing with a destructor is alive when these raise; Lua copies
    // texts before it runs anything that could free them.
    unsafe {
        let address = match ffi::lua_type(state, 1) {
            ffi::LUA_TLIGHTUSERDATA | ffi::LUA_TUSERDATA => ffi::lua_touserdata(state, 1).addr(),
            _ => 0,
        };
        let size = ffi::luaL_checkinteger(state, 2);
        let service = service(state);
        let opened = guard(|| open(service, address, size));
        let Event { head, text: (text, len), given } = match opened {
            Ok(event) => event,
            Err(error) => raise(state, error),
        };
        ffi::lua_pushinteger(state, i64::from(head.kind));
        ffi::lua_pushinteger(state, i64::from(head.id));
        ffi::lua_pushinteger(state, i64::from(head.ud));
        if head.buffer == 0 {
            ffi::lua_pushlstring(state, text.cast(), len);
            return 4;
        }
        ffi::lua_pushlightuserdata(state, std::ptr::without_provenance_mut(head.buffer));
        if head.kind != EventKind::Udp as i32 {
            return 4;
        }
        // The sender is behind the datagram, in the block that the hand has by now.
        let behind = guard(|| {
            let all = given.unwrap_or(0);
            let payload = usize::try_from(head.ud).unwrap_or(usize::MAX);
            let sender = all.checked_sub(payload).filter(|it| matches!(it, 7 | 19));
            match sender {
                Some(sender) => {
                    let (at, _) = service.hand.look(head.buffer, all as i64)?;
                    Ok((at.byte_add(payload), sender))
                }
                None => Err(Raise::new("a datagram without a sender, or unpacked before")),
            }
        });
        match behind {
            Ok((at, len)) => ffi::lua_pushlstring(state, at.cast(), len),
            Err(error) => raise(state, error),
        };
    }
    5
}

/// `driver.drop(ptr, size)`: frees a block.
pub(super) unsafe extern "C-unwind" fn discard(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let address = ffi::lua_touserdata(state, 1).addr();
        ffi::luaL_checkinteger(state, 2);
        if address != 0 {
            let service = service(state);
            if let Err(error) = guard(|| Ok(service.hand.discard(address)?)) {
                raise(state, error);
            }
        }
    }
    0
}

/// `driver.header(bytes: string): integer`, big-endian, of 1 to 4 bytes.
pub(super) unsafe extern "C-unwind" fn header(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        ffi::luaL_checklstring(state, 1, std::ptr::null_mut());
        let text = bytes(state, 1).unwrap_or_default();
        if !(1..=4).contains(&text.len()) {
            // Lua's own, since the bytes may be no text at all.
            ffi::luaL_where(state, 1);
            ffi::lua_pushstring(state, c"Invalid read ".as_ptr());
            ffi::lua_pushvalue(state, 1);
            ffi::lua_concat(state, 3);
            ffi::lua_error(state);
        }
        let number = text.iter().fold(0, |sum, byte| sum << 8 | i64::from(*byte));
        ffi::lua_pushinteger(state, number);
    }
    1
}

/// `driver.str2p(text: string): lightuserdata, integer`, a copy in a block of its own.
pub(super) unsafe extern "C-unwind" fn str2p(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        ffi::luaL_checklstring(state, 1, std::ptr::null_mut());
        let text = bytes(state, 1).unwrap_or_default();
        let service = service(state);
        let given = guard(|| {
            let block = service.arena.copy_from(text)?;
            service.ctx.add_copied_in(text.len());
            Ok(service.hand.give(block))
        });
        match given {
            Ok(at) => ffi::lua_pushlightuserdata(state, at.cast_mut().cast()),
            Err(error) => raise(state, error),
        }
        ffi::lua_pushinteger(state, text.len() as i64);
    }
    2
}
