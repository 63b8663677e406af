//! Addresses in arguments, and `resolve`.

use std::ffi::c_int;

use skein_runtime::socket::address::{Malformed, split};

use super::network;
use crate::raw::{Raise, bytes, check_text, ffi, guard, lua_State, raise};

/// Arguments `index` and `index + 1` as host and port. Without a port the first one holds both.
///
/// # Safety
/// As [`raise`]; the host is good while its slot keeps its value.
pub(super) unsafe fn host_and_port<'a>(state: *mut lua_State, index: c_int) -> (&'a [u8], i64) {
    // SAFETY: by the caller's promise.
    unsafe {
        let text = check_text(state, index);
        if !matches!(ffi::lua_type(state, index + 1), ffi::LUA_TNIL | ffi::LUA_TNONE) {
            return (text, ffi::luaL_checkinteger(state, index + 1));
        }
        match split(text) {
            Ok((host, port)) => (host, i64::from(port)),
            Err(wrong) => {
                let shown = String::from_utf8_lossy(text);
                let error = match wrong {
                    Malformed::Address => Raise::new(format_args!("Invalid address {shown}.")),
                    Malformed::Port => Raise::new(format_args!("Invalid port in address {shown}.")),
                };
                drop(shown);
                raise(state, error)
            }
        }
    }
}

/// A port out of a number of Lua's.
pub(super) fn port(number: i64) -> Option<u16> {
    u16::try_from(number).ok()
}

/// `driver.resolve(host: string): string[]`. Blocks; raises what the resolver says.
pub(super) unsafe extern "C-unwind" fn resolve(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive when these raise. The texts
    // are one string of Lua's before any of them is pushed.
    unsafe {
        let host = check_text(state, 1);
        let (service, network) = network(state);
        let found = guard(|| {
            let mut text = Vec::new();
            for address in network.resolve(host)? {
                if let skein_runtime::socket::Address::Ip(ip) = address {
                    text.extend_from_slice(ip.ip().to_string().as_bytes());
                    text.push(b' ');
                }
            }
            Ok(service.keep_text(text))
        });
        match found {
            Ok((at, len)) => ffi::lua_pushlstring(state, at.cast(), len),
            Err(error) => raise(state, error),
        };
        let list = bytes(state, -1).unwrap_or_default();
        ffi::lua_createtable(state, 1, 0);
        for (at, ip) in (1..).zip(list.split(|byte| *byte == b' ').filter(|it| !it.is_empty())) {
            ffi::lua_pushlstring(state, ip.as_ptr().cast(), ip.len());
            ffi::lua_rawseti(state, -2, at);
        }
    }
    1
}
