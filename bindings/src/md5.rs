//! `md5.core`: MD5, and the stream cipher that Lua's md5 library makes of it.
//!
//! The cipher is MD5 in feedback mode: each step hashes a state of 16 bytes and the key, and the bytes it made replace the
//! state. The output says the seed in front: its length in one byte, its bytes, then the text.
//!
//! # From skynet
//! lmd5lib.c → the functions here; compat-5.2.c → nothing.

use std::ffi::{CStr, c_int};
use std::time::{SystemTime, UNIX_EPOCH};

use md5::{Digest, Md5};

use crate::raw::{
    Raise, check_bytes, ffi, guard, lua_State, push_bytes, push_filled, raise, raise_argument, set_functions,
};

/// Bytes of a hash, and of the state of the cipher.
const HASH: usize = 16;
const LONGEST_KEY: usize = 256;
const LONGEST_SEED: usize = HASH;

const FUNCTIONS: [(&CStr, ffi::lua_CFunction); 4] =
    [(c"sum", sum), (c"exor", exor), (c"crypt", crypt), (c"decrypt", decrypt)];

const TEXTS: [(&CStr, &CStr); 3] = [
    (c"_COPYRIGHT", c"Copyright (C) 2003-2013 PUC-Rio"),
    (c"_DESCRIPTION", c"Basic cryptographic facilities"),
    (c"_VERSION", c"MD5 1.2"),
];

/// `luaopen_md5_core`: pushes the module's table.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` with 20 free slots; nothing with a destructor is alive.
    unsafe {
        // Room for what the Lua module adds.
        ffi::lua_createtable(state, 0, (FUNCTIONS.len() + TEXTS.len() + 2) as c_int);
        set_functions(state, &FUNCTIONS);
        for (name, text) in TEXTS {
            ffi::lua_pushstring(state, text.as_ptr());
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
    }
    1
}

/// `md5.sum(text: string): string`, 16 bytes.
unsafe extern "C-unwind" fn sum(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; the argument stays in its slot; only plain data lives when something raises.
    unsafe {
        let text = check_bytes(state, 1);
        push_bytes(state, guard(|| Ok(<[u8; HASH]>::from(Md5::digest(text)))))
    }
}

/// `md5.exor(a: string, b: string): string`, of strings of one length.
unsafe extern "C-unwind" fn exor(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sum`.
    unsafe {
        let (a, b) = (check_bytes(state, 1), check_bytes(state, 2));
        if a.len() != b.len() {
            raise_argument(state, 2, Raise::new("lengths must be equal"));
        }
        push_filled(state, a.len(), |mixed| {
            for (mixed, (a, b)) in mixed.iter_mut().zip(a.iter().zip(b)) {
                *mixed = a ^ b;
            }
            Ok(mixed.len())
        })
    }
}

/// The state of the cipher and the key behind it.
struct Stream<'a> {
    state: [u8; HASH],
    key: &'a [u8],
}

impl Stream<'_> {
    fn new<'a>(seed: &[u8], key: &'a [u8]) -> Stream<'a> {
        let mut state = [0; HASH];
        state[..seed.len()].copy_from_slice(seed);
        Stream { state, key }
    }

    /// Encrypts or decrypts `text` into `out`, of the same length.
    fn run(&mut self, text: &[u8], out: &mut [u8], encrypting: bool) {
        for (text, out) in text.chunks(HASH).zip(out.chunks_mut(HASH)) {
            let code: [u8; HASH] =
                Md5::new().chain_update(self.state).chain_update(self.key).finalize().into();
            for ((out, text), code) in out.iter_mut().zip(text).zip(code) {
                *out = text ^ code;
            }
            self.state[..text.len()].copy_from_slice(if encrypting { out } else { text });
        }
    }
}

/// Argument 2, a key.
///
/// # Safety
/// As [`check_bytes`].
unsafe fn check_key<'a>(state: *mut lua_State) -> &'a [u8] {
    // SAFETY: by the caller's promise.
    unsafe {
        let key = check_bytes(state, 2);
        if key.len() > LONGEST_KEY {
            raise(state, Raise::new(format_args!("key too long (> {LONGEST_KEY})")));
        }
        key
    }
}

/// `md5.crypt(text: string, key: string, seed: string?): string`. The seed is the time by default.
unsafe extern "C-unwind" fn crypt(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sum`.
    unsafe {
        let text = check_bytes(state, 1);
        let key = check_key(state);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let now = now.to_le_bytes();
        let seed = if ffi::lua_isnoneornil(state, 3) != 0 { &now } else { check_bytes(state, 3) };
        if seed.len() > LONGEST_SEED {
            raise(state, Raise::new(format_args!("seed too long (> {LONGEST_SEED})")));
        }
        push_filled(state, 1 + seed.len() + text.len(), |out| {
            let (head, body) = out.split_at_mut(1 + seed.len());
            head[0] = seed.len() as u8;
            head[1..].copy_from_slice(seed);
            Stream::new(seed, key).run(text, body, true);
            Ok(out.len())
        })
    }
}

/// `md5.decrypt(cipher: string, key: string): string`. A wrong key gives other bytes, and no error.
unsafe extern "C-unwind" fn decrypt(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sum`.
    unsafe {
        let cipher = check_bytes(state, 1);
        let key = check_key(state);
        let parts = cipher
            .split_first()
            .filter(|(len, _)| usize::from(**len) <= LONGEST_SEED)
            .and_then(|(len, rest)| rest.split_at_checked(usize::from(*len)));
        let Some((seed, text)) = parts else {
            raise_argument(state, 1, Raise::new("invalid cyphered string"))
        };
        push_filled(state, text.len(), |out| {
            Stream::new(seed, key).run(text, out, false);
            Ok(out.len())
        })
    }
}
