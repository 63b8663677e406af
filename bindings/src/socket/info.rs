//! `info`: what an operator sees of sockets.

use std::ffi::{CStr, c_int};

use skein_runtime::socket::{SocketInfo, SocketType};

use super::network;
use crate::raw::{bytes, ffi, guard, lua_State, raise};

/// A [`SocketInfo`] as plain data, for a list that Lua owns.
#[derive(Clone, Copy)]
#[repr(C)]
struct Plain {
    numbers: [i64; 6],
    id: i32,
    owner: u32,
    ty: u8,
    reading: bool,
    writing: bool,
    local: (u8, [u8; 127]),
    peer: (u8, [u8; 127]),
}

fn short(text: Option<&str>) -> (u8, [u8; 127]) {
    let mut short = [0; 127];
    let text = text.unwrap_or_default().as_bytes();
    let len = text.len().min(short.len());
    short[..len].copy_from_slice(&text[..len]);
    (len as u8, short)
}

fn plain(info: &SocketInfo) -> Plain {
    let numbers = [info.accepted, info.read, info.written, info.queued as u64, info.read_at, info.written_at];
    Plain {
        numbers: numbers.map(|it| it as i64),
        id: info.id,
        owner: info.owner.0,
        ty: info.ty as u8,
        reading: info.reading,
        writing: info.writing,
        local: short(info.local.as_deref()),
        peer: short(info.peer.as_deref()),
    }
}

/// `driver.info(): table[]`.
pub(super) unsafe extern "C-unwind" fn info(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive when these raise. The list is
    // a string of Lua's while the table grows.
    unsafe {
        let (service, network) = network(state);
        let found = guard(|| {
            let list: Vec<Plain> = network.info().iter().map(plain).collect();
            let size = size_of_val(&list[..]);
            let mut text = Vec::with_capacity(size);
            // Padding may have no value, and is never looked at.
            std::ptr::copy_nonoverlapping(list.as_ptr().cast::<u8>(), text.as_mut_ptr(), size);
            text.set_len(size);
            Ok(service.keep_text(text))
        });
        match found {
            Ok((at, len)) => ffi::lua_pushlstring(state, at.cast(), len),
            Err(error) => raise(state, error),
        };
        let list = bytes(state, -1).unwrap_or_default();
        let count = list.len() / size_of::<Plain>();
        ffi::lua_createtable(state, count as c_int, 0);
        for at in 0..count {
            let plain = list.as_ptr().cast::<Plain>().add(at).read_unaligned();
            push(state, &plain);
            ffi::lua_rawseti(state, -2, at as i64 + 1);
        }
    }
    1
}

/// Pushes the table of one socket.
///
/// # Safety
/// `state` has free slots; may raise.
unsafe fn push(state: *mut lua_State, it: &Plain) {
    let number = |name: &CStr, value: i64| {
        // SAFETY: by the caller's promise.
        unsafe {
            ffi::lua_pushinteger(state, value);
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
    };
    let flag = |name: &CStr, value: bool| {
        // SAFETY: as above.
        unsafe {
            ffi::lua_pushboolean(state, c_int::from(value));
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
    };
    let text = |name: &CStr, (len, text): &(u8, [u8; 127])| {
        if *len > 0 {
            // SAFETY: as above.
            unsafe {
                ffi::lua_pushlstring(state, text.as_ptr().cast(), usize::from(*len));
                ffi::lua_setfield(state, -2, name.as_ptr());
            }
        }
    };
    let [accepted, read, written, queued, read_at, written_at] = it.numbers;
    let listens = it.ty == SocketType::Listen as u8;
    let names = [c"LISTEN", c"TCP", c"CLOSING", c"UDP", c"BIND"];
    // SAFETY: as above.
    unsafe {
        ffi::lua_createtable(state, 0, 11);
        ffi::lua_pushstring(
            state,
            names.get(usize::from(it.ty)).map_or(c"UNKNOWN".as_ptr(), |it| it.as_ptr()),
        );
        ffi::lua_setfield(state, -2, c"type".as_ptr());
    }
    number(c"id", i64::from(it.id));
    number(c"address", i64::from(it.owner));
    number(c"rtime", read_at);
    if listens {
        number(c"accept", accepted);
        text(c"sock", &it.local);
        return;
    }
    number(c"read", read);
    number(c"write", written);
    number(c"wbuffer", queued);
    number(c"wtime", written_at);
    flag(c"reading", it.reading);
    flag(c"writing", it.writing);
    text(c"peer", &it.peer);
}
