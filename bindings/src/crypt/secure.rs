//! `skein.crypt`: what new programs should use. All of it RustCrypto's; none of it is skynet's.
//!
//! Authenticated encryption is ChaCha20-Poly1305 (RFC 8439): a key of 32 bytes, a nonce of 12 that must never be used twice with
//! the same key, a tag of 16 behind the text.

use std::ffi::{CStr, c_int};

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Nonce, Tag};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use crate::raw::{
    Raise, check_bytes, ffi, guard, lua_State, push_bytes, push_filled, raise_argument, set_functions,
};

const KEY: usize = 32;
const NONCE: usize = 12;
const TAG: usize = 16;

const FUNCTIONS: [(&CStr, ffi::lua_CFunction); 8] = [
    (c"equal", equal),
    (c"hmac_sha256", hmac_sha256),
    (c"hmac_sha512", hmac_sha512),
    (c"open", open_sealed),
    (c"random", random),
    (c"seal", seal),
    (c"sha256", sha256),
    (c"sha512", sha512),
];

/// `luaopen_skein_crypt`: pushes the module's table.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` with 20 free slots; nothing with a destructor is alive.
    unsafe {
        ffi::lua_createtable(state, 0, FUNCTIONS.len() as c_int);
        set_functions(state, &FUNCTIONS);
    }
    1
}

/// `crypt.sha256(text: string): string`, 32 bytes.
unsafe extern "C-unwind" fn sha256(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; the argument stays in its slot; only plain data lives when something raises.
    unsafe {
        let text = check_bytes(state, 1);
        push_bytes(state, guard(|| Ok(<[u8; 32]>::from(Sha256::digest(text)))))
    }
}

/// `crypt.sha512(text: string): string`, 64 bytes.
unsafe extern "C-unwind" fn sha512(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sha256`.
    unsafe {
        let text = check_bytes(state, 1);
        push_bytes(state, guard(|| Ok(<[u8; 64]>::from(Sha512::digest(text)))))
    }
}

/// `crypt.hmac_sha256(key: string, text: string): string`, 32 bytes.
unsafe extern "C-unwind" fn hmac_sha256(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sha256`.
    unsafe {
        let (key, text) = (check_bytes(state, 1), check_bytes(state, 2));
        push_bytes(
            state,
            guard(|| {
                let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key)?.chain_update(text);
                Ok(<[u8; 32]>::from(mac.finalize().into_bytes()))
            }),
        )
    }
}

/// `crypt.hmac_sha512(key: string, text: string): string`, 64 bytes.
unsafe extern "C-unwind" fn hmac_sha512(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sha256`.
    unsafe {
        let (key, text) = (check_bytes(state, 1), check_bytes(state, 2));
        push_bytes(
            state,
            guard(|| {
                let mac = <Hmac<Sha512> as KeyInit>::new_from_slice(key)?.chain_update(text);
                Ok(<[u8; 64]>::from(mac.finalize().into_bytes()))
            }),
        )
    }
}

/// `crypt.random(count: integer): string`, bytes from the system's generator.
unsafe extern "C-unwind" fn random(state: *mut lua_State) -> c_int {
    const MOST: usize = 1 << 20;
    // SAFETY: as in `sha256`.
    unsafe {
        let count = ffi::luaL_checkinteger(state, 1);
        match usize::try_from(count) {
            Ok(count) if count <= MOST => push_filled(state, count, |bytes| {
                getrandom::fill(bytes)?;
                Ok(bytes.len())
            }),
            _ => raise_argument(state, 1, Raise::new(format_args!("{count} is not within 0 and {MOST}"))),
        }
    }
}

/// `crypt.equal(a: string, b: string): boolean`. The time tells whether the lengths differ, and nothing else.
unsafe extern "C-unwind" fn equal(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sha256`.
    unsafe {
        let (a, b) = (check_bytes(state, 1), check_bytes(state, 2));
        ffi::lua_pushboolean(state, c_int::from(bool::from(a.ct_eq(b))));
    }
    1
}

/// The arguments of [`seal`] and [`open_sealed`]: key, nonce, text, and what is authenticated beside it.
///
/// # Safety
/// As [`check_bytes`], of arguments 1 to 4.
unsafe fn arguments<'a>(state: *mut lua_State) -> ([u8; KEY], [u8; NONCE], &'a [u8], &'a [u8]) {
    // SAFETY: by the caller's promise.
    unsafe {
        let (key, nonce, text) = (check_bytes(state, 1), check_bytes(state, 2), check_bytes(state, 3));
        let beside = if ffi::lua_isnoneornil(state, 4) != 0 { &[] } else { check_bytes(state, 4) };
        let Ok(key) = key.try_into() else {
            raise_argument(state, 1, Raise::new(format_args!("a key has {KEY} bytes, not {}", key.len())))
        };
        let Ok(nonce) = nonce.try_into() else {
            raise_argument(
                state,
                2,
                Raise::new(format_args!("a nonce has {NONCE} bytes, not {}", nonce.len())),
            )
        };
        (key, nonce, text, beside)
    }
}

/// `crypt.seal(key: string, nonce: string, text: string, beside: string?): string`, 16 bytes longer than the text.
unsafe extern "C-unwind" fn seal(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sha256`.
    unsafe {
        let (key, nonce, text, beside) = arguments(state);
        push_filled(state, text.len() + TAG, |sealed| {
            let (body, tag) = sealed.split_at_mut(text.len());
            body.copy_from_slice(text);
            let made = ChaCha20Poly1305::new(&key.into())
                .encrypt_inout_detached(&Nonce::from(nonce), beside, body.into())
                .map_err(|_| Raise::new("the text is too long to be sealed"))?;
            tag.copy_from_slice(&made);
            Ok(sealed.len())
        })
    }
}

/// `crypt.open(key: string, nonce: string, sealed: string, beside: string?): string | nil, string`. Nil when somebody else
/// sealed it, or changed it.
unsafe extern "C-unwind" fn open_sealed(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sha256`.
    unsafe {
        let (key, nonce, sealed, beside) = arguments(state);
        let mut genuine = false;
        if let Some(len) = sealed.len().checked_sub(TAG) {
            let (body, tag) = sealed.split_at(len);
            push_filled(state, len, |text| {
                text.copy_from_slice(body);
                let Ok(tag) = Tag::try_from(tag) else { return Ok(0) };
                let opened = ChaCha20Poly1305::new(&key.into()).decrypt_inout_detached(
                    &Nonce::from(nonce),
                    beside,
                    (&mut *text).into(),
                    &tag,
                );
                genuine = opened.is_ok();
                Ok(if genuine { text.len() } else { 0 })
            });
        }
        if genuine {
            return 1;
        }
        ffi::lua_pushnil(state);
        ffi::lua_pushstring(state, c"not sealed with this key, nonce and company".as_ptr());
    }
    2
}
