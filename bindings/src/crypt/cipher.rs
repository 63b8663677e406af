//! DES (FIPS 46-3), several blocks at a time.
//!
//! A block goes through 16 rounds that wait for each other, so one block alone leaves a processor idle most of the time. Blocks
//! of a text do not depend on each other: [`LANES`] of them go through each round together. The permutation behind the S-boxes is part
//! of their tables; the expansion in front of them is two rotations of the half, whose bytes then hold the six bits of the odd
//! and of the even boxes. All tables are computed from those of the standard at compile time.

use std::cell::Cell;

use super::slices::{self, BLOCKS, Masks};

/// How many blocks go together: as many as the registers have room for.
const LANES: usize = 3;
pub(super) const ROUNDS: usize = 16;

/// From so many blocks on it is cheaper to treat a rest as if it were as many as [`slices`] takes.
const MANY: usize = BLOCKS / 2;

/// The S-boxes: 4 rows of 16.
#[rustfmt::skip]
pub(super) const BOXES: [[u8; 64]; 8] = [
    [
        14, 4, 13, 1, 2, 15, 11, 8, 3, 10, 6, 12, 5, 9, 0, 7, 0, 15, 7, 4, 14, 2, 13, 1, 10, 6, 12, 11, 9, 5, 3, 8,
        4, 1, 14, 8, 13, 6, 2, 11, 15, 12, 9, 7, 3, 10, 5, 0, 15, 12, 8, 2, 4, 9, 1, 7, 5, 11, 3, 14, 10, 0, 6, 13,
    ],
    [
        15, 1, 8, 14, 6, 11, 3, 4, 9, 7, 2, 13, 12, 0, 5, 10, 3, 13, 4, 7, 15, 2, 8, 14, 12, 0, 1, 10, 6, 9, 11, 5,
        0, 14, 7, 11, 10, 4, 13, 1, 5, 8, 12, 6, 9, 3, 2, 15, 13, 8, 10, 1, 3, 15, 4, 2, 11, 6, 7, 12, 0, 5, 14, 9,
    ],
    [
        10, 0, 9, 14, 6, 3, 15, 5, 1, 13, 12, 7, 11, 4, 2, 8, 13, 7, 0, 9, 3, 4, 6, 10, 2, 8, 5, 14, 12, 11, 15, 1,
        13, 6, 4, 9, 8, 15, 3, 0, 11, 1, 2, 12, 5, 10, 14, 7, 1, 10, 13, 0, 6, 9, 8, 7, 4, 15, 14, 3, 11, 5, 2, 12,
    ],
    [
        7, 13, 14, 3, 0, 6, 9, 10, 1, 2, 8, 5, 11, 12, 4, 15, 13, 8, 11, 5, 6, 15, 0, 3, 4, 7, 2, 12, 1, 10, 14, 9,
        10, 6, 9, 0, 12, 11, 7, 13, 15, 1, 3, 14, 5, 2, 8, 4, 3, 15, 0, 6, 10, 1, 13, 8, 9, 4, 5, 11, 12, 7, 2, 14,
    ],
    [
        2, 12, 4, 1, 7, 10, 11, 6, 8, 5, 3, 15, 13, 0, 14, 9, 14, 11, 2, 12, 4, 7, 13, 1, 5, 0, 15, 10, 3, 9, 8, 6,
        4, 2, 1, 11, 10, 13, 7, 8, 15, 9, 12, 5, 6, 3, 0, 14, 11, 8, 12, 7, 1, 14, 2, 13, 6, 15, 0, 9, 10, 4, 5, 3,
    ],
    [
        12, 1, 10, 15, 9, 2, 6, 8, 0, 13, 3, 4, 14, 7, 5, 11, 10, 15, 4, 2, 7, 12, 9, 5, 6, 1, 13, 14, 0, 11, 3, 8,
        9, 14, 15, 5, 2, 8, 12, 3, 7, 0, 4, 10, 1, 13, 11, 6, 4, 3, 2, 12, 9, 5, 15, 10, 11, 14, 1, 7, 6, 0, 8, 13,
    ],
    [
        4, 11, 2, 14, 15, 0, 8, 13, 3, 12, 9, 7, 5, 10, 6, 1, 13, 0, 11, 7, 4, 9, 1, 10, 14, 3, 5, 12, 2, 15, 8, 6,
        1, 4, 11, 13, 12, 3, 7, 14, 10, 15, 6, 8, 0, 5, 9, 2, 6, 11, 13, 8, 1, 4, 10, 7, 9, 5, 0, 15, 14, 2, 3, 12,
    ],
    [
        13, 2, 8, 4, 6, 15, 11, 1, 10, 9, 3, 14, 5, 0, 12, 7, 1, 15, 13, 8, 10, 3, 7, 4, 12, 5, 6, 11, 0, 14, 9, 2,
        7, 11, 4, 1, 9, 12, 14, 2, 0, 6, 10, 13, 15, 3, 5, 8, 2, 1, 14, 7, 4, 10, 8, 13, 15, 12, 9, 0, 3, 5, 6, 11,
    ],
];

/// The permutation behind the boxes: bit i of the result is this bit of theirs, counted from 1 and from the left.
pub(super) const PERMUTATION: [u8; 32] = [
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10, 2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6,
    22, 11, 4, 25,
];

/// Which bits of the key are used, first half and second half.
const CHOICE_1: [u8; 56] = [
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44,
    36, 63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20,
    12, 4,
];

/// Which of the 56 bits of a round make its key: six for each box.
const CHOICE_2: [u8; 48] = [
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2, 41, 52, 31, 37,
    47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
];

/// By how much both halves of the key have been rotated in each round.
const ROTATIONS: [u32; ROUNDS] = [1, 2, 4, 6, 8, 10, 12, 14, 15, 17, 19, 21, 23, 25, 27, 28];

/// What each box makes of the lower six bits of a byte, permuted. The upper two may be any, so that nobody need mask them.
static MIXED: [[u32; 256]; 8] = {
    let mut mixed = [[0; 256]; 8];
    let mut which = 0;
    while which < 8 {
        let mut six = 0;
        while six < 256 {
            let row = (six >> 4 & 2) | (six & 1);
            let four = BOXES[which][row * 16 + (six >> 1 & 15)] as u32;
            let all = four << (28 - 4 * which);
            let mut bit = 0;
            while bit < 32 {
                mixed[which][six] |= (all >> (32 - PERMUTATION[bit]) & 1) << (31 - bit);
                bit += 1;
            }
            six += 1;
        }
        which += 1;
    }
    mixed
};

/// For each byte of a key, the bits of [`CHOICE_1`] that come from its upper seven bits: the first half in bits 55..28.
static CHOSEN: [[u64; 128]; 8] = {
    let mut chosen = [[0; 128]; 8];
    let mut bit = 0;
    while bit < 56 {
        let from = CHOICE_1[bit] as usize - 1;
        let mut seven = 0;
        while seven < 128 {
            chosen[from / 8][seven] |= (seven as u64 >> (6 - from % 8) & 1) << (55 - bit);
            seven += 1;
        }
        bit += 1;
    }
    chosen
};

/// For each run of seven of the 56 bits, what they are in a round's key: the bytes of the odd boxes in the upper half, those of the even
/// ones in the lower half.
static ROUND_KEY: [[u64; 128]; 8] = {
    let mut key = [[0; 128]; 8];
    let mut bit = 0;
    while bit < 48 {
        let from = CHOICE_2[bit] as usize - 1;
        let which = bit / 6;
        let word = if which % 2 == 0 { 32 } else { 0 };
        let to = word + 24 - which / 2 * 8 + 5 - bit % 6;
        let mut seven = 0;
        while seven < 128 {
            key[from / 7][seven] |= (seven as u64 >> (6 - from % 7) & 1) << to;
            seven += 1;
        }
        bit += 1;
    }
    key
};

thread_local! {
    /// The last key of this thread, and what was made of it: a connection has one for all its messages.
    static LAST: Cell<Option<(u64, Schedule)>> = const { Cell::new(None) };
}

/// The keys of all rounds: for the odd boxes, for the even ones.
#[derive(Clone, Copy)]
pub(super) struct Schedule([(u32, u32); ROUNDS]);

impl Schedule {
    pub(super) fn encrypting(key: u64) -> Schedule {
        match LAST.get() {
            Some((last, schedule)) if last == key => schedule,
            _ => {
                let schedule = Schedule::new(key);
                LAST.set(Some((key, schedule)));
                schedule
            }
        }
    }

    fn new(key: u64) -> Schedule {
        const HALF: u64 = (1 << 28) - 1;
        let mut all = 0;
        for (at, table) in CHOSEN.iter().enumerate() {
            all |= table[(key >> (57 - 8 * at) & 127) as usize];
        }
        let (first, second) = (all >> 28, all & HALF);
        Schedule(ROTATIONS.map(|by| {
            let rotated = |half: u64| (half << by | half >> (28 - by)) & HALF;
            let all = rotated(first) << 28 | rotated(second);
            let mut key = 0;
            for (at, table) in ROUND_KEY.iter().enumerate() {
                key |= table[(all >> (49 - 7 * at) & 127) as usize];
            }
            ((key >> 32) as u32, key as u32)
        }))
    }

    pub(super) fn decrypting(key: u64) -> Schedule {
        let mut schedule = Schedule::encrypting(key);
        schedule.0.reverse();
        schedule
    }

    /// Encrypts or decrypts whole blocks; a rest of less than a block stays as it is.
    pub(super) fn apply(&self, text: &mut [u8]) {
        let rest = if text.len() < 8 * MANY { text } else { self.apply_sliced(text) };
        let mut groups = rest.chunks_exact_mut(8 * LANES);
        for group in &mut groups {
            self.lanes::<LANES>(group);
        }
        let rest = groups.into_remainder();
        match rest.len() / 8 {
            0 => {}
            1 => self.lanes::<1>(rest),
            _ => self.lanes::<2>(rest),
        }
    }

    /// Does so with all of a long text but a rest of few blocks, which is answered.
    fn apply_sliced<'a>(&self, text: &'a mut [u8]) -> &'a mut [u8] {
        let masks = self.masks();
        let (groups, rest) = text.as_chunks_mut::<{ 8 * BLOCKS }>();
        for group in groups {
            slices::apply(&masks, group);
        }
        if rest.len() < 8 * MANY {
            return rest;
        }
        let (blocks, rest) = rest.split_at_mut(rest.len() / 8 * 8);
        let mut padded = [0; 8 * BLOCKS];
        padded[..blocks.len()].copy_from_slice(blocks);
        slices::apply(&masks, &mut padded);
        blocks.copy_from_slice(&padded[..blocks.len()]);
        rest
    }

    /// The keys, bit by bit.
    fn masks(&self) -> Masks {
        self.0.map(|(odd, even)| {
            std::array::from_fn(|at| {
                let (which, bit) = (at / 6, at % 6);
                let word = if which % 2 == 0 { odd } else { even };
                u64::from(word >> (24 - which / 2 * 8 + 5 - bit) & 1).wrapping_neg()
            })
        })
    }

    /// `N` blocks at once.
    fn lanes<const N: usize>(&self, blocks: &mut [u8]) {
        let (mut left, mut right) = ([0_u32; N], [0_u32; N]);
        for (lane, block) in blocks.chunks_exact(8).enumerate().take(N) {
            let (first, second) = block.split_at(4);
            let word = |bytes: &[u8]| bytes.iter().fold(0, |word, &byte| word << 8 | u32::from(byte));
            (left[lane], right[lane]) = first_permutation(word(first), word(second));
        }
        for pair in self.0.chunks_exact(2) {
            for lane in 0..N {
                left[lane] ^= mix(right[lane], pair[0]);
            }
            for lane in 0..N {
                right[lane] ^= mix(left[lane], pair[1]);
            }
        }
        for (lane, block) in blocks.chunks_exact_mut(8).enumerate().take(N) {
            let (first, second) = last_permutation(right[lane], left[lane]);
            block[..4].copy_from_slice(&first.to_be_bytes());
            block[4..].copy_from_slice(&second.to_be_bytes());
        }
    }
}

/// A round's function of half a block.
#[inline(always)]
fn mix(half: u32, key: (u32, u32)) -> u32 {
    let odd = half.rotate_right(3) ^ key.0;
    let even = half.rotate_left(1) ^ key.1;
    let of = |which: usize, byte: u32| MIXED[which][usize::from(byte as u8)];
    of(0, odd >> 24)
        ^ of(2, odd >> 16)
        ^ of(4, odd >> 8)
        ^ of(6, odd)
        ^ of(1, even >> 24)
        ^ of(3, even >> 16)
        ^ of(5, even >> 8)
        ^ of(7, even)
}

/// Exchanges the bits of `mask` in `b` with those `shift` above them in `a`.
#[inline(always)]
fn exchange(a: &mut u32, b: &mut u32, shift: u32, mask: u32) {
    let differ = (*a >> shift ^ *b) & mask;
    *b ^= differ;
    *a ^= differ << shift;
}

/// The permutation in front of the rounds: a transposition of the 8 × 8 bits, done in halves of halves.
#[inline(always)]
fn first_permutation(mut left: u32, mut right: u32) -> (u32, u32) {
    exchange(&mut left, &mut right, 4, 0x0f0f_0f0f);
    exchange(&mut left, &mut right, 16, 0x0000_ffff);
    exchange(&mut right, &mut left, 2, 0x3333_3333);
    exchange(&mut right, &mut left, 8, 0x00ff_00ff);
    exchange(&mut left, &mut right, 1, 0x5555_5555);
    (left, right)
}

/// The inverse of [`first_permutation`].
#[inline(always)]
fn last_permutation(mut left: u32, mut right: u32) -> (u32, u32) {
    exchange(&mut left, &mut right, 1, 0x5555_5555);
    exchange(&mut right, &mut left, 8, 0x00ff_00ff);
    exchange(&mut right, &mut left, 2, 0x3333_3333);
    exchange(&mut left, &mut right, 16, 0x0000_ffff);
    exchange(&mut left, &mut right, 4, 0x0f0f_0f0f);
    (left, right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use des::cipher::{BlockCipherEncrypt, KeyInit};
    use proptest::prelude::*;

    #[test]
    fn long_texts_are_those_of_the_des_crate() {
        let key = *b"\x13\x34\x57\x79\x9b\xbc\xdf\xf1";
        let oracle = des::Des::new(&key.into());
        let schedule = Schedule::encrypting(u64::from_be_bytes(key));
        for blocks in [MANY - 1, MANY, MANY + 1, BLOCKS, BLOCKS + 1, BLOCKS + MANY, 3 * BLOCKS + 5] {
            // Bytes that do not repeat, and a rest that is no block.
            let mut state = 88_172_645_463_325_252_u64;
            let plain: Vec<u8> = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .take(8 * blocks + 3)
            .collect();
            let mut text = plain.clone();
            schedule.apply(&mut text);
            let (encrypted, rest) = text.as_chunks::<8>();
            for (at, (block, encrypted)) in plain.as_chunks::<8>().0.iter().zip(encrypted).enumerate() {
                let mut block = (*block).into();
                oracle.encrypt_block(&mut block);
                assert_eq!(&block[..], encrypted, "block {at} of {blocks}");
            }
            assert_eq!(rest, &plain[8 * blocks..], "the rest of {blocks}");
            Schedule::decrypting(u64::from_be_bytes(key)).apply(&mut text);
            assert_eq!(text, plain, "{blocks} blocks");
        }
    }

    proptest! {
        #[test]
        fn blocks_are_those_of_the_des_crate(key: [u8; 8], blocks in proptest::collection::vec(any::<[u8; 8]>(), 0..11)) {
            let oracle = des::Des::new(&key.into());
            let key = u64::from_be_bytes(key);
            let plain = blocks.concat();
            let mut text = plain.clone();
            Schedule::encrypting(key).apply(&mut text);
            for (block, encrypted) in blocks.iter().zip(text.chunks(8)) {
                let mut block = (*block).into();
                oracle.encrypt_block(&mut block);
                prop_assert_eq!(&block[..], encrypted);
            }
            Schedule::decrypting(key).apply(&mut text);
            prop_assert_eq!(text, plain);
        }
    }
}
