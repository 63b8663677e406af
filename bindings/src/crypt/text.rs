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
        push_filled(state, room, |text| Ok(write_base64(bytes, text)?))
    }
}

/// Writes `bytes` in base64, and says how long that is.
///
/// # Errors
/// There is no room for it.
fn write_base64(bytes: &[u8], text: &mut [u8]) -> Result<usize, base64::EncodeSliceError> {
    let mut done = (0, 0);
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("ssse3") {
        // SAFETY: the feature is there.
        done = unsafe { shuffle::write_base64(bytes, text) };
    }
    Ok(done.1 + BASE64.encode_slice(&bytes[done.0..], &mut text[done.1..])?)
}

/// Base64 in steps of 16 letters.
#[cfg(target_arch = "x86_64")]
mod shuffle {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi8, _mm_and_si128, _mm_cmpgt_epi8, _mm_loadu_si128, _mm_mulhi_epu16,
        _mm_mullo_epi16, _mm_or_si128, _mm_set1_epi8, _mm_set1_epi32, _mm_setr_epi8, _mm_shuffle_epi8,
        _mm_storeu_si128, _mm_subs_epu8,
    };

    /// Writes what whole steps make of `bytes` (12 of them each), and says how many bytes and letters that were. A step looks at 16 bytes,
    /// so a few are left.
    #[target_feature(enable = "ssse3")]
    pub(super) fn write_base64(bytes: &[u8], text: &mut [u8]) -> (usize, usize) {
        let (mut from, mut to) = (0, 0);
        while let (Some(bytes), Some(text)) = (bytes.get(from..from + 16), text.get_mut(to..to + 16)) {
            // SAFETY: there are 16 bytes in both.
            unsafe {
                _mm_storeu_si128(text.as_mut_ptr().cast(), letters(_mm_loadu_si128(bytes.as_ptr().cast())))
            };
            from += 12;
            to += 16;
        }
        (from, to)
    }

    /// The letters of the first 12 bytes.
    #[inline]
    #[target_feature(enable = "ssse3")]
    fn letters(bytes: __m128i) -> __m128i {
        // Three bytes `a b c` as two words `ab`, `bc`: each has two sextets whole, which a multiplication shifts to where they belong.
        let words = _mm_shuffle_epi8(bytes, _mm_setr_epi8(1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10));
        let outer =
            _mm_mulhi_epu16(_mm_and_si128(words, _mm_set1_epi32(0x0fc0_fc00)), _mm_set1_epi32(0x0400_0040));
        let inner =
            _mm_mullo_epi16(_mm_and_si128(words, _mm_set1_epi32(0x003f_03f0)), _mm_set1_epi32(0x0100_0010));
        let sextets = _mm_or_si128(outer, inner);
        // Which run of the alphabet: 0 for a-z, 1 to 10 for the digits, 11 and 12 for the last two, 13 for A-Z.
        let upper = _mm_and_si128(_mm_cmpgt_epi8(_mm_set1_epi8(26), sextets), _mm_set1_epi8(13));
        let run = _mm_or_si128(_mm_subs_epu8(sextets, _mm_set1_epi8(51)), upper);
        // What is added to a sextet of that run.
        let lower = (b'a' - 26) as i8;
        let digit = b'0' as i8 - 52;
        let add = _mm_setr_epi8(
            lower,
            digit,
            digit,
            digit,
            digit,
            digit,
            digit,
            digit,
            digit,
            digit,
            digit,
            b'+' as i8 - 62,
            b'/' as i8 - 63,
            b'A' as i8,
            0,
            0,
        );
        _mm_add_epi8(sextets, _mm_shuffle_epi8(add, run))
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
        fn base64_is_that_of_the_crate(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut text = vec![0; base64::encoded_len(bytes.len(), true).unwrap()];
            prop_assert_eq!(write_base64(&bytes, &mut text).unwrap(), text.len());
            prop_assert_eq!(text, BASE64.encode(&bytes).into_bytes());
        }

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
