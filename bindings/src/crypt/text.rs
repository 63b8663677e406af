//! Bytes as text: hexadecimal, base64, and the exclusive or of two strings.

use std::ffi::c_int;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::raw::{Raise, check_bytes, ffi, lua_State, push_filled, raise};

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Both digits of each byte.
static PAIRS: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

/// The value of each byte as a digit; 0xff if it is none.
static VALUES: [u8; 256] = {
    let mut values = [0xff; 256];
    let mut digit = 0;
    while digit < 16 {
        values[DIGITS[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

/// The standard alphabet; `=` may be left out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The value of each byte in the base64 alphabet; 0xff if it has none.
static SEXTETS: [u8; 256] = {
    let mut sextets = [0xff; 256];
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut at = 0;
    while at < 64 {
        sextets[letters[at] as usize] = at as u8;
        at += 1;
    }
    sextets
};

/// `crypt.hexencode(bytes: string): string`, in lower case.
pub(super) unsafe extern "C-unwind" fn hexencode(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; the argument stays in its slot; only plain data lives when something raises.
    unsafe {
        let bytes = check_bytes(state, 1);
        push_filled(state, bytes.len() * 2, |text| {
            write_hex(bytes, text);
            Ok(text.len())
        })
    }
}

/// Writes the two digits of each byte.
pub(crate) fn write_hex(bytes: &[u8], text: &mut [u8]) {
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&PAIRS[usize::from(*byte)]);
    }
}

/// `crypt.hexdecode(text: string): string`. Lower case only.
pub(super) unsafe extern "C-unwind" fn hexdecode(state: *mut lua_State) -> c_int {
    // SAFETY: as in `hexencode`.
    unsafe {
        let text = check_bytes(state, 1);
        if text.len() % 2 != 0 {
            raise(state, Raise::new(format_args!("Invalid hex text size {}", text.len())));
        }
        push_filled(state, text.len() / 2, |bytes| {
            let mut all = 0;
            for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
                let (high, low) = (VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]);
                all |= high | low;
                *byte = high << 4 | low;
            }
            if all > 15 { Err(Raise::new("Invalid hex text")) } else { Ok(bytes.len()) }
        })
    }
}

/// `crypt.base64encode(bytes: string): string`.
pub(super) unsafe extern "C-unwind" fn base64encode(state: *mut lua_State) -> c_int {
    // SAFETY: as in `hexencode`.
    unsafe {
        let bytes = check_bytes(state, 1);
        let Some(room) = base64::encoded_len(bytes.len(), true) else {
            return ffi::luaL_error(state, c"string too long".as_ptr());
        };
        push_filled(state, room, |text| Ok(BASE64.encode_slice(bytes, text)?))
    }
}

/// `crypt.base64decode(text: string): string`. What is no letter is skipped, and `=` may be missing.
pub(super) unsafe extern "C-unwind" fn base64decode(state: *mut lua_State) -> c_int {
    // SAFETY: as in `hexencode`.
    unsafe {
        let text = check_bytes(state, 1);
        push_filled(state, text.len().div_ceil(4) * 3, |bytes| {
            // The crate is fast and strict. What it refuses is read again by skynet's rules, which are not.
            match BASE64.decode_slice(text, bytes) {
                Ok(len) => Ok(len),
                Err(_) => decode(text, bytes).ok_or_else(|| Raise::new("Invalid base64 text")),
            }
        })
    }
}

/// Decodes as skynet does: the text is groups of four letters, other bytes are skipped, a group may end in `=`, and what is
/// missing at the end is `=`. So there may be `=` in the middle of a text, but nothing to skip behind a complete last group.
fn decode(text: &[u8], bytes: &mut [u8]) -> Option<usize> {
    let mut rest = text.iter();
    let mut len = 0;
    while !rest.as_slice().is_empty() {
        let (mut group, mut letters, mut places) = (0_u32, 0, 0);
        while places < 4
            && let Some(&byte) = rest.next()
        {
            let sextet = SEXTETS[usize::from(byte)];
            match sextet {
                0xff if byte == b'=' => places += 1,
                0xff => {}
                // A letter behind `=`.
                _ if letters < places => return None,
                _ => {
                    group |= u32::from(sextet) << (18 - 6 * letters);
                    letters += 1;
                    places += 1;
                }
            }
        }
        let whole = match letters {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        // Bits that do not make a byte are 0.
        if group << 8 << (8 * whole) != 0 {
            return None;
        }
        bytes.get_mut(len..len + whole)?.copy_from_slice(&group.to_be_bytes()[1..=whole]);
        len += whole;
    }
    Some(len)
}

/// `crypt.xor_str(text: string, key: string): string`, the key repeated.
pub(super) unsafe extern "C-unwind" fn xor_str(state: *mut lua_State) -> c_int {
    // SAFETY: as in `hexencode`.
    unsafe {
        let (text, key) = (check_bytes(state, 1), check_bytes(state, 2));
        if key.is_empty() {
            return ffi::luaL_error(state, c"Can't xor empty string".as_ptr());
        }
        push_filled(state, text.len(), |mixed| {
            for (mixed, text) in mixed.chunks_mut(key.len()).zip(text.chunks(key.len())) {
                for ((mixed, text), key) in mixed.iter_mut().zip(text).zip(key) {
                    *mixed = text ^ key;
                }
            }
            Ok(mixed.len())
        })
    }
}

/// Fuzzed beside [`base64decode`]: what the crate reads, skynet's rules read to the same bytes.
#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_the_crate_accepts_means_the_same_by_skynets_rules(text in "[A-Da-d+/=]{0,12}") {
            let (mut fast, mut slow) = ([0; 16], [0; 16]);
            if let Ok(len) = BASE64.decode_slice(&text, &mut fast) {
                prop_assert_eq!(decode(text.as_bytes(), &mut slow), Some(len));
                prop_assert_eq!(fast, slow);
            }
        }
    }
}
