//! What a sleeper can be woken by: any Lua value but nil, as a key that native code can compare.
//!
//! # Invariants
//! * **K1** A key made of an address is good while the object lives. The sleeper keeps its token on its stack; a wake-up
//!   that outlives a sleep keeps the token itself (`book::Woken::kept`).
//! * **K2** Strings are compared by what is in them: by 64 bits of a keyed hash, and their length.

use std::ffi::c_int;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::ptr;
use std::sync::OnceLock;

use crate::raw::{bytes, ffi, lua_State};

/// A Lua value as a key. Values that are equal in Lua have equal keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token {
    kind: u64,
    bits: u64,
}

/// Kinds that are no object.
const BOOLEAN: u64 = 1;
const INTEGER: u64 = 2;
const REAL: u64 = 3;
const LIGHT: u64 = 4;
const OBJECT: u64 = 5;
/// Strings: from here on, by length.
const STRING: u64 = 16;

impl Token {
    /// The key of a coroutine.
    #[inline]
    pub(super) fn of_thread(co: *mut lua_State) -> Token {
        Token { kind: OBJECT, bits: co.addr() as u64 }
    }

    /// The key of the value at `index`; none for nil.
    ///
    /// # Safety
    /// `state` is valid. Nothing is converted, and nothing raises.
    pub(super) unsafe fn at(state: *mut lua_State, index: c_int) -> Option<Token> {
        // SAFETY: by the caller's promise.
        let (kind, bits) = unsafe {
            match ffi::lua_type(state, index) {
                ffi::LUA_TNIL | ffi::LUA_TNONE => return None,
                ffi::LUA_TBOOLEAN => (BOOLEAN, ffi::lua_toboolean(state, index) as u64),
                ffi::LUA_TNUMBER => {
                    let mut whole = 0;
                    // 1 and 1.0 are the same key in a table, and so here.
                    let integer = ffi::lua_tointegerx(state, index, &mut whole);
                    if whole != 0 {
                        (INTEGER, integer as u64)
                    } else {
                        (REAL, ffi::lua_tonumberx(state, index, ptr::null_mut()).to_bits())
                    }
                }
                ffi::LUA_TSTRING => {
                    let text = bytes(state, index).unwrap_or_default();
                    (STRING + text.len() as u64, hash(text))
                }
                ffi::LUA_TLIGHTUSERDATA => (LIGHT, ffi::lua_touserdata(state, index).addr() as u64),
                _ => (OBJECT, ffi::lua_topointer(state, index).addr() as u64),
            }
        };
        Some(Token { kind, bits })
    }
}

fn hash(text: &[u8]) -> u64 {
    static KEYS: OnceLock<RandomState> = OnceLock::new();
    KEYS.get_or_init(RandomState::new).hash_one(text)
}

impl Hash for Token {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.bits ^ (self.kind << 56));
    }
}
