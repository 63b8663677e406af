//! `skein.cluster`: what our own services of the cluster need beside skynet's functions, so that payloads stay blocks.
//!
//! A large message is announced by a frame and goes in parts; each is made when it is to be sent ([`part`]) and freed when it was, so it
//! is still in the cache then. What comes is put together in one block ([`super::assembly`]).

use std::ffi::c_int;

use skein_arena::copy;

use super::assembly;
use super::bytes::{Given, push_frame};
use super::wire::{self, Answer, MULTI, Response, To, Want};
use super::{NAME_LENGTH, whom};
use crate::core::{Entry, make, service};
use crate::raw::{Raise, ffi, guard, lua_State, raise};
use crate::state::ServiceState;

const FUNCTIONS: [Entry; 8] = [
    (c"queued", queued),
    (c"announce", announce),
    (c"part", part),
    (c"response", response),
    (c"keep", keep),
    (c"assembly", assembly::new),
    (c"add", assembly::add),
    (c"finish", assembly::finish),
];

/// Opens `skein.cluster`. Stack: 1 out. Raises in a state without a service.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive.
    unsafe { make(state, &FUNCTIONS) }
}

/// `cluster.queued(id: integer): integer?`, bytes of a socket that wait to be written; nothing for one that is not there.
unsafe extern "C-unwind" fn queued(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`, and upvalue 1 is our service. Nothing with a destructor is alive when these raise.
    unsafe {
        let id = ffi::luaL_checkinteger(state, 1) as i32;
        let network = service(state).ctx.node().network();
        match guard(|| Ok(network.queued(id))) {
            Ok(Some(size)) => ffi::lua_pushinteger(state, size as i64),
            Ok(None) => return 0,
            Err(error) => raise(state, error),
        }
    }
    1
}

/// `cluster.announce(address: integer | string | nil, session: integer, size: integer, push: boolean?): string`, the frame in front of a
/// large request, or, without an address, of a large response.
unsafe extern "C-unwind" fn announce(state: *mut lua_State) -> c_int {
    // SAFETY: as above; the name stays in its slot.
    unsafe {
        let session = ffi::luaL_checkinteger(state, 2) as i32;
        let size = ffi::luaL_checkinteger(state, 3);
        let Some(size) = u32::try_from(size).ok().filter(|&it| it as usize >= MULTI) else {
            raise(state, Raise::new(format_args!("{size} is no size of a large message")));
        };
        if ffi::lua_type(state, 1) == ffi::LUA_TNIL {
            let head = wire::response(session as u32, Answer::Begin, 4);
            push_frame(state, service(state), &head, &size.to_le_bytes());
            return 1;
        }
        let kind = ffi::lua_type(state, 1);
        let number = if kind == ffi::LUA_TNUMBER { ffi::luaL_checkinteger(state, 1) as u32 } else { 0 };
        let want = if ffi::lua_toboolean(state, 4) != 0 { Want::Nothing } else { Want::Answer };
        match whom(state, kind, number, session) {
            Ok(to) => push_head(state, to, session as u32, want, size),
            Err(Some(error)) => raise(state, error),
            Err(None) => {
                let name = ffi::lua_tostring(state, 1);
                return ffi::luaL_error(state, NAME_LENGTH.as_ptr(), name);
            }
        }
    }
    1
}

/// # Safety
/// As for [`raise`].
unsafe fn push_head(state: *mut lua_State, to: To<'_>, session: u32, want: Want, size: u32) {
    let head = wire::request(to, session, want, size);
    // SAFETY: by the caller's promise.
    unsafe { push_frame(state, service(state), &head, &[]) };
}

/// `cluster.part(message: lightuserdata, size: integer, from: integer, session: integer, response: boolean): lightuserdata, integer`, the
/// frame of the part of a message that begins at `from`. Takes nothing.
unsafe extern "C-unwind" fn part(state: *mut lua_State) -> c_int {
    // SAFETY: as above; the block is held until `done`.
    unsafe {
        let service = service(state);
        let (address, size) = block_argument(state);
        let from = ffi::luaL_checkinteger(state, 3);
        let session = ffi::luaL_checkinteger(state, 4) as u32;
        let is_response = ffi::lua_toboolean(state, 5) != 0;
        let given = Given::hold(state, service, address, size);
        let made = guard(|| {
            let Some(rest) = usize::try_from(from).ok().and_then(|from| given.bytes().get(from..)) else {
                return Err(Raise::new(format_args!(
                    "no part of a message of {size} bytes begins at {from}"
                )));
            };
            let body = &rest[..rest.len().min(MULTI)];
            let last = body.len() == rest.len();
            let head = match (is_response, last) {
                (false, _) => wire::part(session, last, body.len()),
                (true, false) => wire::response(session, Answer::Part, body.len()),
                (true, true) => wire::response(session, Answer::End, body.len()),
            };
            let head = head.as_slice();
            let mut block = service.arena.alloc(head.len() + body.len())?;
            let room = block.bytes_mut().expect("a new block has bytes");
            room[..head.len()].copy_from_slice(head);
            copy(&mut room[head.len()..], body);
            Ok((service.hand.give(block), head.len() + body.len()))
        });
        given.done(service);
        push_made(state, made)
    }
}

/// `cluster.response(packet: lightuserdata, size: integer): integer?, integer?, …`: what the body of a frame holds. Takes the packet.
///
/// Session, and 0 with a text; 1 with a block and its size, for a whole response; 2 with the size of a large one; 3 and 4 with a block and
/// its size, for a part and the last one; no bytes are an empty text. Nothing for bytes that are no response.
unsafe extern "C-unwind" fn response(state: *mut lua_State) -> c_int {
    // SAFETY: as above; the block is held until `done`.
    unsafe {
        let service = service(state);
        let (address, size) = block_argument(state);
        let given = Given::hold(state, service, address, size);
        let body = given.bytes();
        let values = match wire::read_response(body) {
            None => 0,
            Some(found) => push_response(state, service, given, &found, body[4]),
        };
        given.done(service);
        // A finalizer may have been faster.
        let _ = guard(|| Ok(service.hand.discard(address)?));
        values
    }
}

/// # Safety
/// As for [`raise`]; `response` lies in `given`, which is held.
unsafe fn push_response(
    state: *mut lua_State,
    service: &ServiceState,
    given: Given,
    response: &Response<'_>,
    kind: u8,
) -> c_int {
    // SAFETY: by the caller's promise; at most four values are pushed.
    unsafe {
        let (Response::Failed { session, .. }
        | Response::Done { session, .. }
        | Response::Begin { session, .. }
        | Response::Part { session, .. }) = *response;
        ffi::lua_pushinteger(state, i64::from(session));
        ffi::lua_pushinteger(state, i64::from(kind));
        match *response {
            Response::Failed { text, .. } => {
                ffi::lua_pushlstring(state, text.as_ptr().cast(), text.len());
                3
            }
            Response::Begin { total, .. } => {
                ffi::lua_pushinteger(state, i64::from(total));
                3
            }
            // No block has no bytes.
            Response::Done { data: [], .. } | Response::Part { data: [], .. } => {
                ffi::lua_pushlstring(state, c"".as_ptr(), 0);
                3
            }
            Response::Done { data, .. } | Response::Part { data, .. } => {
                let made = guard(|| Ok((service.hand.give(given.block(service, data)?), data.len())));
                if made.is_err() {
                    given.done(service);
                }
                2 + push_made(state, made)
            }
        }
    }
}

/// `cluster.keep(message: lightuserdata, size: integer): lightuserdata, integer`: the message, in hand also when its handling is over.
unsafe extern "C-unwind" fn keep(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let service = service(state);
        let (address, size) = block_argument(state);
        let made = guard(|| {
            let block = service.hand.take(service.arena, address, size)?;
            let len = block.len();
            Ok((service.hand.give(block), len))
        });
        push_made(state, made)
    }
}

/// Arguments 1 and 2: the address of a block, and a size.
///
/// # Safety
/// As for [`raise`].
pub(super) unsafe fn block_argument(state: *mut lua_State) -> (usize, i64) {
    // SAFETY: by the caller's promise.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TLIGHTUSERDATA);
        (ffi::lua_touserdata(state, 1).addr(), ffi::luaL_checkinteger(state, 2))
    }
}

/// Pushes a block in hand and its size.
///
/// # Safety
/// As for [`raise`], with two free slots.
pub(super) unsafe fn push_made(state: *mut lua_State, made: Result<(*const u8, usize), Raise>) -> c_int {
    // SAFETY: by the caller's promise; only plain data is alive.
    unsafe {
        match made {
            Ok((at, len)) => {
                ffi::lua_pushlightuserdata(state, at.cast_mut().cast());
                ffi::lua_pushinteger(state, len as i64);
                2
            }
            Err(error) => raise(state, error),
        }
    }
}
