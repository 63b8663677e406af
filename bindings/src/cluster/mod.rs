//! `skynet.cluster.core`: requests and responses between nodes, as strings for a socket and back.
//!
//! [`wire`] has the bytes, [`bytes`](mod@bytes) where they come from and go to. Beside skynet's form, `packrequest` takes strings alone, and
//! `unpackresponse` a pointer and a size: strings with their lengths in front, for programs that bring their own protocol ([`plain`]).
//!
//! # From skynet
//! lua-cluster.c: `lpackrequest`, `lpackpush` → [`packrequest`], [`packpush`]; `lpacktrace`, `lunpackrequest`, `lpackresponse`,
//! `lunpackresponse`, `lappend`, `lconcat`, `lisname`, `lnodename` → the functions of those names.

mod assembly;
mod bytes;
pub(crate) mod link;
mod names;
mod plain;
mod small;
mod wire;

use std::ffi::{CStr, c_int};
use std::slice;

use skein_arena::copy;
use skein_vm::walk::{self, Value};

use self::bytes::{Given, push_frame, push_part, push_taken};
use self::wire::{Answer, MULTI, Request, Response, To, Want};
use crate::core::{Entry, make, service};
use crate::raw::{Raise, bytes, check_bytes, ffi, guard, lua_State, raise, type_name};
use crate::state::ServiceState;

const FUNCTIONS: [Entry; 10] = [
    (c"packrequest", packrequest),
    (c"packpush", packpush),
    (c"packtrace", packtrace),
    (c"unpackrequest", unpackrequest),
    (c"packresponse", packresponse),
    (c"unpackresponse", unpackresponse),
    (c"append", append),
    (c"concat", concat),
    (c"isname", names::isname),
    (c"nodename", names::nodename),
];

/// Opens `skynet.cluster.core`. Stack: 1 out. Raises in a state without a service.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive.
    unsafe { make(state, &FUNCTIONS) }
}

/// `cluster.packrequest(address: integer | string, session: integer, message: lightuserdata, size: integer): string, integer, string[]?`,
/// a frame, the next session, and the parts of a large message. Takes the message.
unsafe extern "C-unwind" fn packrequest(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`. Nothing with a destructor is alive when these raise.
    unsafe {
        if small::push_request(state, service(state), Want::Answer) {
            return 2;
        }
        // No message: the other form, or an error.
        if ffi::lua_touserdata(state, 3).is_null() && plain::is_plain(state) {
            return plain::pack(state, service(state));
        }
        request(state, Want::Answer)
    }
}

/// `cluster.packpush(…)`: as `packrequest`, for a request that nobody waits for.
unsafe extern "C-unwind" fn packpush(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        if small::push_request(state, service(state), Want::Nothing) {
            return 2;
        }
        request(state, Want::Nothing)
    }
}

/// # Safety
/// As for the functions here.
unsafe fn request(state: *mut lua_State, want: Want) -> c_int {
    // SAFETY: as above; the name stays in its slot.
    unsafe {
        let service = service(state);
        let address = ffi::lua_touserdata(state, 3).addr();
        if address == 0 {
            return ffi::luaL_error(state, c"Invalid request message".as_ptr());
        }
        let size = ffi::luaL_checkinteger(state, 4);
        let session = ffi::luaL_checkinteger(state, 2) as i32;
        let kind = ffi::lua_type(state, 1);
        let number = if kind == ffi::LUA_TNUMBER { ffi::luaL_checkinteger(state, 1) as u32 } else { 0 };
        let given = Given::hold(state, service, address, size);
        let to = match whom(state, kind, number, session) {
            Ok(to) => to,
            Err(error) => {
                given.done(service);
                let _ = guard(|| Ok(service.hand.discard(address)?));
                match error {
                    Some(error) => raise(state, error),
                    None => {
                        let name = ffi::lua_tostring(state, 1);
                        return ffi::luaL_error(state, NAME_LENGTH.as_ptr(), name);
                    }
                }
            }
        };
        let parts = frames(state, service, to, session as u32, want, given);
        given.done(service);
        // A finalizer may have been faster.
        let _ = guard(|| Ok(service.hand.discard(address)?));
        2 + parts
    }
}

/// Said with the name, however long that is.
const NAME_LENGTH: &CStr = c"name length is invalid, must be between 1 and 255 characters: %s";

/// Argument 1, of type `kind`, as whom a request is for, and the session looked at.
///
/// # Errors
/// What to raise; nothing for a name of another length.
///
/// # Safety
/// Slot 1 is valid and keeps its value while the answer is used.
#[inline]
unsafe fn whom<'a>(
    state: *mut lua_State,
    kind: c_int,
    number: u32,
    session: i32,
) -> Result<To<'a>, Option<Raise>> {
    if session <= 0 {
        return Err(Some(Raise::new(format_args!("Invalid request session {session}"))));
    }
    // SAFETY: by the caller's promise; a string is not converted.
    unsafe {
        match kind {
            ffi::LUA_TNUMBER => Ok(To::Number(number)),
            ffi::LUA_TSTRING => {
                let name = bytes(state, 1).unwrap_or_default();
                if (1..=255).contains(&name.len()) { Ok(To::Name(name)) } else { Err(None) }
            }
            _ => {
                let what = type_name(state, 1);
                Err(Some(Raise::new(format_args!("name is not a string, it's a {what}"))))
            }
        }
    }
}

/// The session behind this one.
fn next_session(session: u32) -> u32 {
    if session == 0x7fff_ffff { 1 } else { session + 1 }
}

/// Pushes the frame of a request, the next session, and its parts if it is large: says whether it is.
///
/// # Safety
/// As for [`raise`]; `given` is held.
unsafe fn frames(
    state: *mut lua_State,
    service: &ServiceState,
    to: To<'_>,
    session: u32,
    want: Want,
    given: Given,
) -> c_int {
    // SAFETY: by the caller's promise.
    unsafe {
        let payload = given.bytes();
        let next = next_session(session);
        let head = wire::request(to, session, want, payload.len() as u32);
        let whole = payload.len() < MULTI;
        push_frame(state, service, &head, if whole { payload } else { &[] });
        ffi::lua_pushinteger(state, i64::from(next));
        if whole {
            return 0;
        }
        let count = wire::parts(payload.len());
        ffi::lua_createtable(state, count as c_int, 0);
        for (at, part) in payload.chunks(MULTI).enumerate() {
            let head = wire::part(session, at + 1 == count, part.len());
            push_frame(state, service, &head, part);
            ffi::lua_rawseti(state, -2, at as i64 + 1);
        }
    }
    1
}

/// `cluster.packtrace(tag: string): string`, the frame in front of a traced request.
unsafe extern "C-unwind" fn packtrace(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let tag = check_bytes(state, 1);
        if tag.len() > MULTI {
            raise(state, Raise::new(format_args!("trace tag is too long : {}", tag.len())));
        }
        push_frame(state, service(state), &wire::trace(tag.len()), tag);
    }
    1
}

/// `cluster.unpackrequest(message: string | lightuserdata, size: integer?): …`: what a frame's body holds; a payload as a block and its size.
/// Takes nothing.
unsafe extern "C-unwind" fn unpackrequest(state: *mut lua_State) -> c_int {
    // SAFETY: as above; the bytes are held until `done`.
    unsafe {
        let service = service(state);
        let given = Given::check(state, service, 1);
        let request = match wire::read_request(given.bytes()) {
            Ok(request) => request,
            Err(error) => {
                given.done(service);
                raise(state, Raise::new(error))
            }
        };
        let values = push_request(state, service, given, request);
        given.done(service);
        values
    }
}

/// # Safety
/// As for [`raise`]; `request` lies in `given`, which is held.
unsafe fn push_request(
    state: *mut lua_State,
    service: &ServiceState,
    given: Given,
    request: Request<'_>,
) -> c_int {
    // SAFETY: by the caller's promise; at most seven values are pushed.
    unsafe {
        match request {
            Request::Whole { to, session, payload } => {
                push_to(state, to);
                ffi::lua_pushinteger(state, i64::from(session));
                push_block(state, service, given, payload);
                if session != 0 {
                    return 4;
                }
                ffi::lua_pushnil(state);
                ffi::lua_pushboolean(state, 1);
                6
            }
            Request::Large { to, session, total, want } => {
                push_to(state, to);
                ffi::lua_pushinteger(state, i64::from(session));
                ffi::lua_pushnil(state);
                ffi::lua_pushinteger(state, i64::from(total));
                ffi::lua_pushboolean(state, 1);
                ffi::lua_pushboolean(state, c_int::from(want == Want::Nothing));
                6
            }
            Request::Part { session, payload, last } => {
                ffi::lua_pushboolean(state, 0);
                ffi::lua_pushinteger(state, i64::from(session));
                push_block(state, service, given, payload);
                ffi::lua_pushboolean(state, c_int::from(!last));
                5
            }
            Request::Trace(tag) => {
                ffi::lua_pushlstring(state, tag.as_ptr().cast(), tag.len());
                1
            }
        }
    }
}

/// # Safety
/// As for [`raise`].
unsafe fn push_to(state: *mut lua_State, to: To<'_>) {
    // SAFETY: by the caller's promise.
    unsafe {
        match to {
            To::Number(number) => ffi::lua_pushinteger(state, i64::from(number)),
            To::Name(name) => _ = ffi::lua_pushlstring(state, name.as_ptr().cast(), name.len()),
        }
    }
}

/// Pushes a block of `part`, now in hand, and its size.
///
/// # Safety
/// As for [`raise`]; `part` lies in `given`, which is held.
unsafe fn push_block(state: *mut lua_State, service: &ServiceState, given: Given, part: &[u8]) {
    // SAFETY: by the caller's promise.
    let made = guard(|| Ok(service.hand.give(unsafe { given.block(service, part) }?)));
    // SAFETY: only plain data is left.
    unsafe {
        match made {
            Ok(at) => {
                ffi::lua_pushlightuserdata(state, at.cast_mut().cast());
                ffi::lua_pushinteger(state, part.len() as i64);
            }
            Err(error) => {
                given.done(service);
                raise(state, error)
            }
        }
    }
}

/// `cluster.packresponse(session: integer, ok: boolean, message: string | lightuserdata, size: integer?): string | string[]`. Takes nothing.
unsafe extern "C-unwind" fn packresponse(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let service = service(state);
        if small::push_response(state, service) {
            return 1;
        }
        let session = ffi::luaL_checkinteger(state, 1) as u32;
        let ok = ffi::lua_toboolean(state, 2) != 0;
        if ffi::lua_type(state, 3) != ffi::LUA_TSTRING {
            // A number is no text here.
            ffi::luaL_checkinteger(state, 4);
            ffi::luaL_checktype(state, 3, ffi::LUA_TLIGHTUSERDATA);
        }
        let given = Given::check(state, service, 3);
        let data = given.bytes();
        if !ok {
            let text = &data[..data.len().min(MULTI)];
            push_frame(state, service, &wire::response(session, Answer::Failed, text.len()), text);
        } else if data.len() <= MULTI {
            push_frame(state, service, &wire::response(session, Answer::Whole, data.len()), data);
        } else {
            push_large_response(state, service, session, data);
        }
        given.done(service);
    }
    1
}

/// # Safety
/// As for [`raise`]; `data` is held.
unsafe fn push_large_response(state: *mut lua_State, service: &ServiceState, session: u32, data: &[u8]) {
    let count = wire::parts(data.len());
    // SAFETY: by the caller's promise.
    unsafe {
        ffi::lua_createtable(state, count as c_int + 1, 0);
        let total = (data.len() as u32).to_le_bytes();
        push_frame(state, service, &wire::response(session, Answer::Begin, total.len()), &total);
        ffi::lua_rawseti(state, -2, 1);
        for (at, part) in data.chunks(MULTI).enumerate() {
            let kind = if at + 1 == count { Answer::End } else { Answer::Part };
            push_frame(state, service, &wire::response(session, kind, part.len()), part);
            ffi::lua_rawseti(state, -2, at as i64 + 2);
        }
    }
}

/// `cluster.unpackresponse(message: string): …`: session, whether it went well, data, and whether more follows. Nothing for bytes that are
/// no response. With a pointer and a size: see [`plain`].
unsafe extern "C-unwind" fn unpackresponse(state: *mut lua_State) -> c_int {
    // SAFETY: as above; the string stays in slot 1.
    unsafe {
        let service = service(state);
        let body = match walk::slot(state, 1) {
            Value::String(body) => body,
            Value::Pointer(_) => return plain::unpack(state, service),
            _ => check_bytes(state, 1),
        };
        let Some(response) = wire::read_response(body) else { return 0 };
        let (session, ok, more) = match response {
            Response::Failed { session, .. } => (session, 0, false),
            Response::Done { session, .. } => (session, 1, false),
            Response::Begin { session, .. } | Response::Part { session, .. } => (session, 1, true),
        };
        ffi::lua_pushinteger(state, i64::from(session));
        ffi::lua_pushboolean(state, ok);
        match response {
            Response::Begin { total, .. } => ffi::lua_pushinteger(state, i64::from(total)),
            Response::Failed { text: data, .. }
            | Response::Done { data, .. }
            | Response::Part { data, .. } => push_part(state, service, 1, data),
        }
        if !more {
            return 3;
        }
        ffi::lua_pushboolean(state, 1);
        4
    }
}

/// `cluster.append(parts: table, message: lightuserdata?, size: any)`: puts the message at the end as a string, and takes it; without a
/// message, `size` as it is.
unsafe extern "C-unwind" fn append(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        let next = ffi::lua_rawlen(state, 1) as i64 + 1;
        match ffi::lua_type(state, 2) {
            ffi::LUA_TNIL => {
                ffi::lua_settop(state, 3);
                ffi::lua_pushvalue(state, 3);
            }
            ffi::LUA_TLIGHTUSERDATA => {
                let size = ffi::luaL_checkinteger(state, 3);
                push_taken(state, service(state), ffi::lua_touserdata(state, 2).addr(), size);
            }
            _ => return ffi::luaL_error(state, c"Need lightuserdata".as_ptr()),
        }
        ffi::lua_rawseti(state, 1, next);
    }
    0
}

/// `cluster.concat(parts: table): lightuserdata, integer`: one block of the strings behind the first element, which says how many bytes they
/// have. Nothing if that is not true.
unsafe extern "C-unwind" fn concat(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        if ffi::lua_type(state, 1) != ffi::LUA_TTABLE {
            return 0;
        }
        ffi::lua_settop(state, 1);
        let mut is_number = 0;
        // A text that reads like a number is none.
        let kind = ffi::lua_rawgeti(state, 1, 1);
        let total = ffi::lua_tointegerx(state, 2, &mut is_number);
        is_number &= c_int::from(kind == ffi::LUA_TNUMBER);
        ffi::lua_settop(state, 1);
        // The real sum first: the number came from another node.
        if is_number == 0 || each_string(state, |_| ()) != u64::try_from(total).ok() {
            return 0;
        }
        let service = service(state);
        let made = guard(|| {
            let mut block = service.arena.alloc(total as usize)?;
            let mut rest = block.bytes_mut().expect("a new block has bytes");
            each_string(state, |text| {
                let (here, behind) = std::mem::take(&mut rest).split_at_mut(text.len());
                copy(here, text);
                rest = behind;
            });
            service.count_in(total as usize);
            Ok(service.hand.give(block))
        });
        match made {
            Ok(at) => {
                ffi::lua_pushlightuserdata(state, at.cast_mut().cast());
                ffi::lua_pushinteger(state, total);
                2
            }
            Err(error) => raise(state, error),
        }
    }
}

/// Shows each string from index 2 of the table in slot 1 on, and says how many bytes they have; none if something else is among them.
/// Raises nothing.
///
/// # Safety
/// Slot 1 is a table, the only value on the stack, and two slots are free.
unsafe fn each_string(state: *mut lua_State, mut show: impl FnMut(&[u8])) -> Option<u64> {
    let mut sum = 0u64;
    for index in 2.. {
        // SAFETY: by the caller's promise; the table keeps the string when it is off the stack.
        let text = unsafe {
            let kind = ffi::lua_rawgeti(state, 1, index);
            let mut len = 0;
            let first = match kind {
                ffi::LUA_TSTRING => ffi::lua_tolstring(state, 2, &mut len),
                _ => std::ptr::null(),
            };
            ffi::lua_settop(state, 1);
            match kind {
                ffi::LUA_TSTRING => slice::from_raw_parts(first.cast::<u8>(), len),
                ffi::LUA_TNIL => return Some(sum),
                _ => return None,
            }
        };
        sum = sum.checked_add(text.len() as u64)?;
        show(text);
    }
    None
}
