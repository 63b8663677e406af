//! `desencode` and `desdecode`: DES in ECB mode, always padded. Weak, and here for clients that speak it.

use std::ffi::{CStr, c_int};

use skein_arena::copy;

use super::cipher::Schedule;
use crate::raw::{Raise, check_bytes, ffi, lua_State, push_filled, raise};

/// Bytes of a block.
const BLOCK: usize = 8;

/// The names of the paddings; a padding is its place here.
pub(super) const PADDINGS: [&CStr; 2] = [c"iso7816_4", c"pkcs7"];

/// How a text is brought to a multiple of 8 bytes. There is always at least one byte of it.
#[derive(Clone, Copy)]
enum Padding {
    /// 0x80, then zeros.
    Iso7816,
    /// Each byte is how many there are.
    Pkcs7,
}

impl Padding {
    fn add(self, tail: &mut [u8]) {
        match self {
            Padding::Iso7816 => {
                tail.fill(0);
                tail[0] = 0x80;
            }
            Padding::Pkcs7 => tail.fill(tail.len() as u8),
        }
    }

    /// How many bytes of the last block are padding; none if that is no padding.
    fn count(self, block: &[u8]) -> Option<usize> {
        match self {
            Padding::Iso7816 => {
                let zeros = block.iter().rev().take_while(|&&byte| byte == 0).count();
                let mark = block.len().checked_sub(zeros + 1)?;
                (block[mark] == 0x80).then_some(zeros + 1)
            }
            Padding::Pkcs7 => {
                let count = usize::from(*block.last()?);
                let tail = block.get(block.len().checked_sub(count)?..)?;
                (count > 0 && tail.iter().all(|&byte| usize::from(byte) == count)).then_some(count)
            }
        }
    }
}

/// The arguments of both functions: key, text, padding.
///
/// # Safety
/// As [`check_bytes`], of arguments 1 and 2.
unsafe fn arguments<'a>(state: *mut lua_State) -> (u64, &'a [u8], Padding) {
    // SAFETY: by the caller's promise.
    unsafe {
        let key = check_bytes(state, 1);
        let Ok(key) = key.try_into().map(u64::from_be_bytes) else {
            raise(state, Raise::new(format_args!("Invalid key size {}, need 8 bytes", key.len())))
        };
        let text = check_bytes(state, 2);
        let padding = match ffi::luaL_optinteger(state, 3, 0) {
            0 => Padding::Iso7816,
            1 => Padding::Pkcs7,
            other => raise(state, Raise::new(format_args!("Invalid padding mode {}", other as i32))),
        };
        (key, text, padding)
    }
}

/// `crypt.desencode(key: string, text: string, padding: integer?): string`.
pub(super) unsafe extern "C-unwind" fn desencode(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; the arguments stay in their slots; only plain data lives when something raises.
    unsafe {
        let (key, text, padding) = arguments(state);
        push_filled(state, text.len() / BLOCK * BLOCK + BLOCK, |bytes| {
            let (start, tail) = bytes.split_at_mut(text.len());
            copy(start, text);
            padding.add(tail);
            Schedule::encrypting(key).apply(bytes);
            Ok(bytes.len())
        })
    }
}

/// `crypt.desdecode(key: string, text: string, padding: integer?): string`.
pub(super) unsafe extern "C-unwind" fn desdecode(state: *mut lua_State) -> c_int {
    // SAFETY: as in `desencode`.
    unsafe {
        let (key, text, padding) = arguments(state);
        if text.is_empty() || text.len() % BLOCK != 0 {
            raise(state, Raise::new(format_args!("Invalid des crypt text length {}", text.len())));
        }
        push_filled(state, text.len(), |bytes| {
            copy(bytes, text);
            Schedule::decrypting(key).apply(bytes);
            let last = bytes.len() - BLOCK;
            match padding.count(&bytes[last..]) {
                Some(count) => Ok(bytes.len() - count),
                None => Err(Raise::new("Invalid des crypt text")),
            }
        })
    }
}
