//! 0-packing: zeros take one bit each.
//!
//! Input goes in words of 8 bytes, the last one filled up with zeros. A word becomes a byte with a bit for each byte that is not zero, and
//! those bytes. A word without zeros begins a run: `ff`, the number of words less one, and the words as they are; up to 256, as
//! long as each has six bytes at least that are not zero.
//!
//! # From skynet
//! sproto.c: `sproto_pack` → [`pack`], `sproto_unpack` → [`unpack`].

use super::desk::{Full, Place};

const WORD: usize = 8;
/// Words of one run.
const RUN: usize = 256;
/// Bytes that are not zero, for a word to go on a run.
const DENSE: u32 = 6;

/// The bits of the bytes that are not zero.
#[inline]
fn mask(word: u64) -> u8 {
    // The top bit of each byte that is not zero, then gathered: each times a power that brings it to the top byte.
    let low = 0x7f7f_7f7f_7f7f_7f7f;
    let tops = (((word & low) + low) | word) & !low;
    ((tops >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
}

/// The word at the front of `input`, and the rest of it.
#[inline]
fn next(input: &[u8]) -> (u64, &[u8]) {
    match input.split_first_chunk::<WORD>() {
        Some((word, rest)) => (u64::from_le_bytes(*word), rest),
        None => {
            let mut word = [0; WORD];
            word[..input.len()].copy_from_slice(input);
            (u64::from_le_bytes(word), &[])
        }
    }
}

/// Most bytes that `len` become.
fn most_packed(len: usize) -> usize {
    let words = len.div_ceil(WORD);
    words * (WORD + 1) + 2 * words.div_ceil(RUN)
}

/// Writes `input` packed.
///
/// # Errors
/// It would be too large.
pub(super) fn pack(mut input: &[u8], out: Place) -> Result<(), Full> {
    out.reserve(most_packed(input.len()))?;
    // Where the count of the run stands that is open, and how many words it has.
    let mut run: Option<(usize, usize)> = None;
    while !input.is_empty() {
        let (word, rest) = next(input);
        input = rest;
        let mask = mask(word);
        let joins = match run {
            Some(_) => mask.count_ones() >= DENSE,
            None => mask == 0xff,
        };
        if joins {
            let (at, words) = match run {
                Some((at, words)) => (at, words + 1),
                None => {
                    out.put(&[0xff, 0])?;
                    (out.len() - 1, 1)
                }
            };
            out.put(&word.to_le_bytes())?;
            out.written(at)[0] = (words - 1) as u8;
            run = (words < RUN).then_some((at, words));
            continue;
        }
        run = None;
        let mut packed = [0; WORD + 1];
        packed[0] = mask;
        let mut len = 1;
        for byte in word.to_le_bytes() {
            // A zero is written over by the next one. Eight that are not zero begin a run, so there is room.
            packed[len] = byte;
            len += usize::from(byte != 0);
        }
        out.put(&packed[..1 + mask.count_ones() as usize])?;
    }
    Ok(())
}

/// Why a stream is not unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Truncated,
    TooLarge,
}

/// Writes `input` unpacked.
///
/// # Errors
/// It ends too early, or would be too large.
pub(super) fn unpack(mut input: &[u8], out: Place) -> Result<(), Refused> {
    while let Some((&mask, rest)) = input.split_first() {
        if mask == 0xff {
            let (&count, rest) = rest.split_first().ok_or(Refused::Truncated)?;
            let words = (usize::from(count) + 1) * WORD;
            let (words, rest) = rest.split_at_checked(words).ok_or(Refused::Truncated)?;
            out.put(words).map_err(|Full| Refused::TooLarge)?;
            input = rest;
            continue;
        }
        let (bytes, rest) = rest.split_at_checked(mask.count_ones() as usize).ok_or(Refused::Truncated)?;
        let mut word = [0; WORD];
        let mut left = mask;
        for byte in bytes {
            word[left.trailing_zeros() as usize] = *byte;
            left &= left - 1;
        }
        out.put(&word).map_err(|Full| Refused::TooLarge)?;
        input = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{mask, pack, unpack};
    use crate::sproto::desk::Place;

    #[test]
    fn a_mask_has_a_bit_for_each_byte_that_is_not_zero() {
        for bits in 0..=255u8 {
            for filler in [1u8, 0x7f, 0x80, 0xff] {
                let bytes = std::array::from_fn(|at| if bits >> at & 1 == 1 { filler } else { 0 });
                assert_eq!(mask(u64::from_le_bytes(bytes)), bits);
            }
        }
    }

    #[test]
    fn what_is_packed_comes_back_with_zeros_to_a_whole_word() {
        let frame = 0;
        let place = Place::take(&frame, usize::MAX);
        let mut seed = 1u64;
        for len in 0..3000 {
            let input: Vec<u8> = (0..len)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    if seed >> 61 < len % 8 { 0 } else { (seed >> 40) as u8 }
                })
                .collect();
            let start = place.len();
            pack(&input, place).unwrap();
            let packed = place.message().to_vec();
            place.truncate(start);
            unpack(&packed, place).unwrap();
            assert_eq!(place.message()[..input.len()], input);
            assert_eq!(place.message().len(), input.len().div_ceil(8) * 8);
            assert!(place.message()[input.len()..].iter().all(|&it| it == 0));
            place.truncate(start);
        }
        place.leave();
    }
}
