//! 0-packing: zeros take one bit each.
//!
//! Input goes in words of 8 bytes, the last one filled up with zeros. A word becomes a byte with a bit for each byte that is not zero, and
//! those bytes. A word without zeros begins a run: `ff`, the number of words less one, and the words as they are; up to 256, as
//! long as each has six bytes at least that are not zero.
//!
//! A word goes through in one step whatever its zeros: where its bytes go is looked up by the mask, and 8 bytes are always written,
//! of which the next word writes over those that are too many.
//!
//! # From skynet
//! sproto.c: `sproto_pack` → [`pack`], `sproto_unpack` → [`unpack`].

use std::mem::MaybeUninit;

use super::desk::{Full, Place};

const WORD: usize = 8;
/// Words of one run.
const RUN: usize = 256;
/// Bytes that are not zero, for a word to go on a run.
const DENSE: u32 = 6;

/// For each mask, which bytes of a word are not zero, in order: what moves them to the front.
#[cfg(target_arch = "x86_64")]
static GATHER: [[u8; WORD]; 256] = {
    let mut all = [[0x80; WORD]; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut at, mut len) = (0, 0);
        while at < WORD {
            if mask >> at & 1 == 1 {
                all[mask][len] = at as u8;
                len += 1;
            }
            at += 1;
        }
        mask += 1;
    }
    all
};

/// For each mask, which of the bytes behind it stands where; 0x80 for a zero.
#[cfg(target_arch = "x86_64")]
static SPREAD: [[u8; WORD]; 256] = {
    let mut all = [[0x80; WORD]; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut at, mut len) = (0, 0);
        while at < WORD {
            if mask >> at & 1 == 1 {
                all[mask][at] = len;
                len += 1;
            }
            at += 1;
        }
        mask += 1;
    }
    all
};

/// The bits of the bytes that are not zero.
#[inline(always)]
fn mask(word: u64) -> u8 {
    // The top bit of each byte that is not zero, then gathered: each times a power that brings it to the top byte.
    let low = 0x7f7f_7f7f_7f7f_7f7f;
    let tops = (((word & low) + low) | word) & !low;
    ((tops >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
}

/// The mask of a word, and its bytes that are not zero, at the front.
#[inline(always)]
fn gather(word: u64) -> (u8, u64) {
    let (mut packed, mut len) = (0, 0);
    for byte in word.to_le_bytes() {
        packed |= u64::from(byte) << (len & 63);
        len += 8 * u32::from(byte != 0);
    }
    (mask(word), packed)
}

/// The word of a mask, and of bytes from the front on.
#[inline(always)]
fn spread(mask: u8, mut bytes: u64) -> u64 {
    let mut word = 0;
    for at in 0..WORD {
        if mask >> at & 1 == 1 {
            word |= (bytes & 0xff) << (8 * at);
            bytes >>= 8;
        }
    }
    word
}

/// [`gather`] and [`spread`] with one shuffle each.
#[cfg(target_arch = "x86_64")]
mod shuffle {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_movemask_epi8, _mm_setzero_si128,
        _mm_shuffle_epi8,
    };

    use super::{GATHER, SPREAD, Sink};

    #[inline]
    #[target_feature(enable = "ssse3,popcnt")]
    fn move_bytes(bytes: u64, places: [u8; 8]) -> u64 {
        let places = _mm_cvtsi64_si128(i64::from_le_bytes(places));
        _mm_cvtsi128_si64(_mm_shuffle_epi8(_mm_cvtsi64_si128(bytes as i64), places)) as u64
    }

    #[target_feature(enable = "ssse3,popcnt")]
    pub(super) unsafe fn pack(input: &[u8], out: *mut u8) -> usize {
        // SAFETY: by the caller's promise.
        unsafe {
            super::pack_with(input, out, |word| {
                let zeros = _mm_cmpeq_epi8(_mm_cvtsi64_si128(word as i64), _mm_setzero_si128());
                let mask = !_mm_movemask_epi8(zeros) as u8;
                (mask, move_bytes(word, GATHER[usize::from(mask)]))
            })
        }
    }

    #[target_feature(enable = "ssse3,popcnt")]
    pub(super) fn unpack(input: &[u8], out: &mut impl Sink) -> Result<(), super::Refused> {
        super::unpack_with(input, out, |mask, bytes| move_bytes(bytes, SPREAD[usize::from(mask)]))
    }
}

/// The word at the front of `input`, and the rest of it.
#[inline(always)]
fn next(input: &[u8]) -> (u64, &[u8]) {
    match input.split_first_chunk::<WORD>() {
        Some((word, rest)) => (u64::from_le_bytes(*word), rest),
        None => (padded(input), &[]),
    }
}

/// Less than a word, with zeros behind it.
fn padded(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// Most bytes that `len` become, and those that are written over.
const fn most_packed(len: usize) -> usize {
    let words = len.div_ceil(WORD);
    words * (WORD + 1) + 2 * words.div_ceil(RUN) + WORD
}

/// Writes `input` packed.
///
/// # Errors
/// It would be too large.
pub(super) fn pack(input: &[u8], out: Place) -> Result<(), Full> {
    out.reserve(most_packed(input.len()))?;
    let out = out.buffer();
    // SAFETY: so much is reserved, and set when the function says so.
    unsafe {
        let end = out.as_mut_ptr().add(out.len());
        out.set_len(out.len() + pack_to(input, end));
    }
    Ok(())
}

/// As many bytes are packed, and unpacked, without reserved memory.
pub(super) const SMALL: usize = 64;

/// Room for what that many bytes become, either way.
pub(super) type SmallRoom = [MaybeUninit<u8>; SMALL * WORD];

const _: () = assert!(most_packed(SMALL) <= SMALL * WORD);

/// [`pack`], of [`SMALL`] bytes at most: how many bytes of the room were written.
///
/// # Panics
/// If there are more.
#[inline]
pub(super) fn pack_small(input: &[u8], room: &mut SmallRoom) -> usize {
    assert!(input.len() <= SMALL, "{} bytes are not few", input.len());
    // SAFETY: there is so much room.
    unsafe { pack_to(input, room.as_mut_ptr().cast()) }
}

/// [`unpack`], likewise.
///
/// # Errors
/// The input ends too early.
#[inline]
pub(super) fn unpack_small(input: &[u8], room: &mut SmallRoom) -> Result<usize, Refused> {
    let mut out = Few { room, len: 0 };
    unpack_to(input, &mut out)?;
    Ok(out.len)
}

/// Writes `input` packed to `out`, and says how much that is.
///
/// # Safety
/// There is room for [`most_packed`].
#[inline(always)]
unsafe fn pack_to(input: &[u8], out: *mut u8) -> usize {
    // SAFETY: by the caller's promise; the processor has the features.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("ssse3") && std::is_x86_feature_detected!("popcnt") {
            return shuffle::pack(input, out);
        }
        pack_with(input, out, gather)
    }
}

/// Writes `input` packed to `out`, and says how much that is.
///
/// # Safety
/// There is room for [`most_packed`].
#[inline(always)]
unsafe fn pack_with(mut input: &[u8], out: *mut u8, gather: impl Fn(u64) -> (u8, u64)) -> usize {
    let mut at = out;
    // SAFETY: each word moves `at` by 9 bytes at most, and a run by two more; what is written behind `at` is less than a word.
    unsafe {
        while !input.is_empty() {
            let (word, rest) = next(input);
            input = rest;
            let (mask, packed) = gather(word);
            if mask != 0xff {
                at.write(mask);
                at.add(1).cast::<u64>().write_unaligned(packed.to_le());
                at = at.add(1 + mask.count_ones() as usize);
                continue;
            }
            let count = at.add(1);
            at.write(0xff);
            at = at.add(2);
            at.cast::<u64>().write_unaligned(word.to_le());
            at = at.add(WORD);
            let mut words = 1;
            while words < RUN && !input.is_empty() {
                let (word, rest) = next(input);
                if gather(word).0.count_ones() < DENSE {
                    break;
                }
                input = rest;
                at.cast::<u64>().write_unaligned(word.to_le());
                at = at.add(WORD);
                words += 1;
            }
            count.write((words - 1) as u8);
        }
        at.offset_from_unsigned(out)
    }
}

/// Why a stream is not unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Truncated,
    TooLarge,
}

/// Where words are unpacked to.
trait Sink {
    fn word(&mut self, word: u64) -> Result<(), Refused>;
    fn words(&mut self, words: &[u8]) -> Result<(), Refused>;
}

/// Room that is there from the beginning.
struct Few<'a> {
    room: &'a mut SmallRoom,
    len: usize,
}

impl Sink for Few<'_> {
    #[inline(always)]
    fn word(&mut self, word: u64) -> Result<(), Refused> {
        self.words(&word.to_le_bytes())
    }

    #[inline(always)]
    fn words(&mut self, words: &[u8]) -> Result<(), Refused> {
        let room = self.room.get_mut(self.len..self.len + words.len()).ok_or(Refused::TooLarge)?;
        room.write_copy_of_slice(words);
        self.len += words.len();
        Ok(())
    }
}

/// Reserved memory of a place.
struct Writer<'a> {
    place: Place,
    out: &'a mut Vec<u8>,
}

impl Sink for Writer<'_> {
    #[inline(always)]
    fn word(&mut self, word: u64) -> Result<(), Refused> {
        if self.out.capacity() - self.out.len() < WORD {
            self.grow(WORD)?;
        }
        // SAFETY: there is room for a word.
        unsafe {
            let end = self.out.as_mut_ptr().add(self.out.len());
            end.cast::<u64>().write_unaligned(word.to_le());
            self.out.set_len(self.out.len() + WORD);
        }
        Ok(())
    }

    fn words(&mut self, words: &[u8]) -> Result<(), Refused> {
        if self.out.capacity() - self.out.len() < words.len() {
            self.grow(words.len())?;
        }
        self.out.extend_from_slice(words);
        Ok(())
    }
}

impl Writer<'_> {
    #[cold]
    fn grow(&mut self, more: usize) -> Result<(), Refused> {
        self.place.reserve(more).map_err(|Full| Refused::TooLarge)?;
        self.out = self.place.buffer();
        Ok(())
    }
}

/// Writes `input` unpacked.
///
/// # Errors
/// It ends too early, or would be too large.
pub(super) fn unpack(input: &[u8], place: Place) -> Result<(), Refused> {
    // What most messages become; others grow.
    place.reserve(input.len().saturating_mul(2)).map_err(|Full| Refused::TooLarge)?;
    unpack_to(input, &mut Writer { place, out: place.buffer() })
}

#[inline(always)]
fn unpack_to(input: &[u8], out: &mut impl Sink) -> Result<(), Refused> {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("ssse3") && std::is_x86_feature_detected!("popcnt") {
        // SAFETY: the features are there.
        return unsafe { shuffle::unpack(input, out) };
    }
    unpack_with(input, out, spread)
}

/// Writes `input` unpacked; `spread` makes a word of a mask and bytes, of which there may be too many.
#[inline(always)]
fn unpack_with(
    mut input: &[u8],
    out: &mut impl Sink,
    spread: impl Fn(u8, u64) -> u64,
) -> Result<(), Refused> {
    while let Some((&mask, rest)) = input.split_first() {
        if mask == 0xff {
            let (&count, rest) = rest.split_first().ok_or(Refused::Truncated)?;
            let words = (usize::from(count) + 1) * WORD;
            let (words, rest) = rest.split_at_checked(words).ok_or(Refused::Truncated)?;
            out.words(words)?;
            input = rest;
            continue;
        }
        let bytes = match rest.first_chunk::<WORD>() {
            Some(bytes) => u64::from_le_bytes(*bytes),
            None => padded(rest),
        };
        input = rest.get(mask.count_ones() as usize..).ok_or(Refused::Truncated)?;
        out.word(spread(mask, bytes))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use super::{
        SMALL, WORD, Writer, gather, mask, most_packed, pack, pack_small, pack_with, spread, unpack,
        unpack_small, unpack_with,
    };
    use crate::sproto::desk::Place;

    /// As many bytes, of which up to seven in eight are zero.
    fn noise(seed: &mut u64, len: u64) -> Vec<u8> {
        let mut byte = || {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if *seed >> 61 < len % 8 { 0 } else { (*seed >> 40) as u8 }
        };
        (0..len).map(|_| byte()).collect()
    }

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
    fn without_shuffles_the_bytes_are_the_same() {
        let frame = 0;
        let place = Place::take(&frame, usize::MAX);
        let mut seed = 7u64;
        for len in 0..600 {
            let input = noise(&mut seed, len);
            pack(&input, place).unwrap();
            let packed = place.message().to_vec();
            let mut slow = Vec::with_capacity(most_packed(input.len()));
            // SAFETY: there is room; as much is set as the function says.
            unsafe {
                let len = pack_with(&input, slow.as_mut_ptr(), gather);
                slow.set_len(len);
            }
            assert_eq!(packed, slow);
            place.clear();
            unpack_with(&packed, &mut Writer { place, out: place.buffer() }, spread).unwrap();
            assert_eq!(place.message()[..input.len()], input);
            place.clear();
        }
        place.leave();
    }

    #[test]
    fn few_bytes_are_packed_and_unpacked_as_many_are() {
        let frame = 0;
        let place = Place::take(&frame, usize::MAX);
        let mut seed = 3u64;
        let mut room = [const { MaybeUninit::uninit() }; SMALL * WORD];
        for len in (0..=SMALL as u64).cycle().take(2000) {
            let input = noise(&mut seed, len);
            pack(&input, place).unwrap();
            let len = pack_small(&input, &mut room);
            // SAFETY: so much was written.
            let packed = unsafe { room[..len].assume_init_ref() }.to_vec();
            assert_eq!(place.message(), packed);
            place.clear();
            // Any bytes at all, too.
            for packed in [&packed[..packed.len().min(SMALL)], &input] {
                let done = unpack(packed, place);
                let few = unpack_small(packed, &mut room);
                assert_eq!(few.is_ok(), done.is_ok(), "{packed:x?}");
                if let Ok(len) = few {
                    // SAFETY: as above.
                    assert_eq!(unsafe { room[..len].assume_init_ref() }, place.message());
                }
                place.clear();
            }
        }
        place.leave();
    }

    #[test]
    fn what_is_packed_comes_back_with_zeros_to_a_whole_word() {
        let frame = 0;
        let place = Place::take(&frame, usize::MAX);
        let mut seed = 1u64;
        for len in 0..3000 {
            let input = noise(&mut seed, len);
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
