//! DES of many blocks at once, bit by bit: [`BLOCKS`] blocks are turned on their side, so that a word holds one bit of 64 of them. Then
//! permutations are mere places, and the S-boxes are boolean functions, of words.
//!
//! The functions are not written down: they are made of the tables of the standard when this is compiled. Each output of a box is a
//! polynomial, modulo 2, in four of the six bits, whose sixteen coefficients are functions of the other two; there are only sixteen of
//! those, which all outputs share. What is left when this is compiled is some thirty operations for each output.

use super::cipher::{BOXES, PERMUTATION, ROUNDS};

/// Words beside each other: what the widest registers hold.
const WIDTH: usize = 4;

/// How many blocks go together.
pub(super) const BLOCKS: usize = 64 * WIDTH;

/// Of each bit of each round's key, in the order of the boxes: all ones, or zeros.
pub(super) type Masks = [[u64; 48]; ROUNDS];

/// Which function of the last two bits stands in front of the product of those of the other four that the place says: by box and output,
/// from the left.
static COEFFICIENTS: [[[u8; 16]; 4]; 8] = {
    let mut coefficients = [[[0; 16]; 4]; 8];
    let mut at = 0;
    while at < 8 * 4 * 64 {
        let (which, output, six) = (at / 256, at / 64 % 4, at % 64);
        let row = (six >> 4 & 2) | (six & 1);
        let bit = BOXES[which][row * 16 + (six >> 1 & 15)] >> (3 - output) & 1;
        coefficients[which][output][six / 4] |= bit << (six % 4);
        at += 1;
    }
    // From values to coefficients: what a bit changes is added to what is without it.
    let mut at = 0;
    while at < 8 * 4 {
        let of = &mut coefficients[at / 4][at % 4];
        let mut bit = 1;
        while bit < 16 {
            let mut place = 0;
            while place < 16 {
                if place & bit != 0 {
                    of[place] ^= of[place ^ bit];
                }
                place += 1;
            }
            bit *= 2;
        }
        at += 1;
    }
    coefficients
};

/// Where the permutation behind the boxes puts each of their outputs.
static PLACES: [usize; 32] = {
    let mut places = [0; 32];
    let mut to = 0;
    while to < 32 {
        places[PERMUTATION[to] as usize - 1] = to;
        to += 1;
    }
    places
};

/// One bit of each of the blocks.
#[derive(Clone, Copy)]
struct Bits([u64; WIDTH]);

impl Bits {
    const NONE: Bits = Bits([0; WIDTH]);

    #[inline(always)]
    fn xor(self, other: Bits) -> Bits {
        Bits(std::array::from_fn(|at| self.0[at] ^ other.0[at]))
    }

    #[inline(always)]
    fn and(self, other: Bits) -> Bits {
        Bits(std::array::from_fn(|at| self.0[at] & other.0[at]))
    }

    #[inline(always)]
    fn flipped(self, mask: u64) -> Bits {
        Bits(self.0.map(|word| word ^ mask))
    }
}

/// Encrypts or decrypts that many blocks, in place: the order of the keys says which.
pub(super) fn apply(keys: &Masks, blocks: &mut [u8; 8 * BLOCKS]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the feature.
        return unsafe { apply_wide(keys, blocks) };
    }
    run(keys, blocks);
}

/// [`run`], compiled for registers of [`WIDTH`] words.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn apply_wide(keys: &Masks, blocks: &mut [u8; 8 * BLOCKS]) {
    run(keys, blocks);
}

/// Which bit of a block the first permutation puts at `place`, both from the left.
const fn first_permutation(place: usize) -> usize {
    let (half, row, column) = (place / 32, place / 8 % 4, place % 8);
    57 - half + 2 * row - 8 * column
}

#[inline(always)]
fn run(keys: &Masks, blocks: &mut [u8; 8 * BLOCKS]) {
    let mut bits = [Bits::NONE; 64];
    for (at, block) in blocks.as_chunks::<8>().0.iter().enumerate() {
        bits[at % 64].0[at / 64] = u64::from_be_bytes(*block);
    }
    turn(&mut bits);
    let mut halves = [[Bits::NONE; 32]; 2];
    for place in 0..64 {
        halves[place / 32][place % 32] = bits[first_permutation(place)];
    }
    let [left, right] = &mut halves;
    let (mut to, mut from) = (left, right);
    for keys in keys {
        mix::<0>(to, from, keys);
        mix::<1>(to, from, keys);
        mix::<2>(to, from, keys);
        mix::<3>(to, from, keys);
        mix::<4>(to, from, keys);
        mix::<5>(to, from, keys);
        mix::<6>(to, from, keys);
        mix::<7>(to, from, keys);
        (to, from) = (from, to);
    }
    // After the last round the halves are not exchanged: `from` comes first.
    for place in 0..64 {
        let half: &[Bits; 32] = if place < 32 { from } else { to };
        bits[first_permutation(place)] = half[place % 32];
    }
    turn(&mut bits);
    for (at, block) in blocks.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *block = bits[at % 64].0[at / 64].to_be_bytes();
    }
}

/// Exchanges rows and columns, in each of the words beside each other: halves first, then halves of those.
#[inline(always)]
fn turn(bits: &mut [Bits; 64]) {
    let (mut step, mut mask) = (32, 0xffff_ffff_u64);
    while step > 0 {
        for row in (0..64).filter(|row| row & step == 0) {
            let (upper, lower) = (bits[row], bits[row | step]);
            for at in 0..WIDTH {
                let differ = (upper.0[at] ^ (lower.0[at] >> step)) & mask;
                bits[row].0[at] = upper.0[at] ^ differ;
                bits[row | step].0[at] = lower.0[at] ^ (differ << step);
            }
        }
        step /= 2;
        mask ^= mask << step;
    }
}

/// What box number `BOX` adds to half a block in a round.
#[inline(always)]
fn mix<const BOX: usize>(to: &mut [Bits; 32], from: &[Bits; 32], keys: &[u64; 48]) {
    let six: [Bits; 6] = std::array::from_fn(|at| from[(4 * BOX + 31 + at) % 32].flipped(keys[6 * BOX + at]));
    let two = of_two(six[5], six[4]);
    let four = [six[3], six[2], six[1], six[0]];
    let [a, b, c, d] = [
        polynomial::<BOX, 0>(&two, four),
        polynomial::<BOX, 1>(&two, four),
        polynomial::<BOX, 2>(&two, four),
        polynomial::<BOX, 3>(&two, four),
    ];
    for (at, output) in [a, b, c, d].into_iter().enumerate() {
        let place = PLACES[4 * BOX + at];
        to[place] = to[place].xor(output);
    }
}

/// All functions of two bits, by their values: that for `a` and `b` is bit `a + 2 b` of the place.
#[inline(always)]
fn of_two(a: Bits, b: Bits) -> [Bits; 16] {
    let both = a.and(b);
    let (one, either) = (a.xor(b), a.xor(b).xor(both));
    let even = [Bits::NONE, both.xor(a), both.xor(b), one, both, a, b, either];
    std::array::from_fn(|place| match place % 2 {
        0 => even[place / 2],
        // What is 1 for two zeros is the complement of what is 0 there.
        _ => even[(15 - place) / 2].flipped(u64::MAX),
    })
}

/// An output of a box.
#[inline(always)]
fn polynomial<const BOX: usize, const OUTPUT: usize>(two: &[Bits; 16], [e, f, g, h]: [Bits; 4]) -> Bits {
    macro_rules! coefficient {
        ($place:literal) => {
            two[const { COEFFICIENTS[BOX][OUTPUT][$place] } as usize]
        };
    }
    macro_rules! eight {
        ($($low:literal $high:literal)*) => { [$(coefficient!($low).xor(e.and(coefficient!($high)))),*] };
    }
    let eight = eight!(0 1  2 3  4 5  6 7  8 9  10 11  12 13  14 15);
    let four: [Bits; 4] = std::array::from_fn(|at| eight[2 * at].xor(f.and(eight[2 * at + 1])));
    let two: [Bits; 2] = std::array::from_fn(|at| four[2 * at].xor(g.and(four[2 * at + 1])));
    two[0].xor(h.and(two[1]))
}
