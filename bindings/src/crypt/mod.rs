//! `skynet.crypt` and `client.crypt`: what login servers and their clients compute.
//!
//! Hashes and codings come from crates (RustCrypto, base64, x25519-dalek); what only skynet has is written here: the 64-bit key
//! exchange, the 64-bit authentication codes, and DES, because a whole text of it can be done several blocks at a time.
//! `dhexchange` and `dhsecret` have two sizes: keys of 8 bytes are skynet's (known to be weak, kept for clients that speak
//! them), keys of 32 bytes are X25519. Compat: none of this hides how long it takes, as skynet does not;
//! what should is in `skein.crypt` ([`secure`]).
//!
//! # From skynet
//! lua-crypt.c: `lrandomkey`, `lhashkey`, `lhmac*` → [`hash`]; `ldesencode`, `ldesdecode` → [`des`]; `ldhexchange`, `ldhsecret` → [`dh`];
//! `ltohex`, `lfromhex`, `lb64*`, `lxor_str` → [`text`]; lsha1.c → [`hash`].

use std::ffi::{CStr, c_int};

use crate::raw::{ffi, lua_State};

mod cipher;
mod des;
mod dh;
mod hash;
pub(crate) mod secure;
mod slices;
pub(crate) mod text;

const FUNCTIONS: [(&CStr, ffi::lua_CFunction); 16] = [
    (c"hashkey", hash::hashkey),
    (c"randomkey", hash::randomkey),
    (c"sha1", hash::sha1),
    (c"hmac_sha1", hash::hmac_sha1),
    (c"hmac64", hash::hmac64),
    (c"hmac64_md5", hash::hmac64_md5),
    (c"hmac_hash", hash::hmac_hash),
    (c"desencode", des::desencode),
    (c"desdecode", des::desdecode),
    (c"dhexchange", dh::dhexchange),
    (c"dhsecret", dh::dhsecret),
    (c"hexencode", text::hexencode),
    (c"hexdecode", text::hexdecode),
    (c"base64encode", text::base64encode),
    (c"base64decode", text::base64decode),
    (c"xor_str", text::xor_str),
];

/// `luaopen_skynet_crypt`: pushes the module's table.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: by the caller's promise.
    unsafe { table(state, 0) }
}

/// `luaopen_client_crypt`: the same functions, as values of their own: error texts call a function by the name under which Lua
/// finds it in a loaded module, and that is to be this one.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open_client(state: *mut lua_State) -> c_int {
    // SAFETY: by the caller's promise.
    unsafe { table(state, 1) }
}

/// Pushes the module's table; its functions have this many upvalues, which nobody reads.
///
/// # Safety
/// `state` is valid and has four free slots. May raise a memory error.
unsafe fn table(state: *mut lua_State, upvalues: c_int) -> c_int {
    // SAFETY: by the caller's promise; nothing with a destructor is alive.
    unsafe {
        ffi::lua_createtable(state, 0, FUNCTIONS.len() as c_int + 1);
        for (name, function) in FUNCTIONS {
            for _ in 0..upvalues {
                ffi::lua_pushnil(state);
            }
            ffi::lua_pushcclosure(state, function, upvalues);
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
        ffi::lua_createtable(state, 0, des::PADDINGS.len() as c_int);
        for (number, name) in des::PADDINGS.into_iter().enumerate() {
            ffi::lua_pushinteger(state, number as i64);
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
        ffi::lua_setfield(state, -2, c"padding".as_ptr());
    }
    1
}

/// Argument `index`, a string of 8 bytes that are one number; raises `otherwise`.
///
/// # Safety
/// As [`crate::raw::check_bytes`].
unsafe fn check_u64(state: *mut lua_State, index: c_int, otherwise: &str) -> u64 {
    // SAFETY: by the caller's promise.
    unsafe {
        match crate::raw::check_bytes(state, index).try_into() {
            Ok(bytes) => u64::from_le_bytes(bytes),
            Err(_) => crate::raw::raise(state, crate::raw::Raise::new(otherwise)),
        }
    }
}
