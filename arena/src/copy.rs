//! Copying bytes, where the usual way is slow.
//!
//! From 2 KiB on the C library copies with one instruction, `rep movsb`. AMD's processors of these years (seen on Zen 4) need up to
//! twenty times as long for it when the destination lies 1 to 31 bytes further into its page than the source into its own: 8.7 µs for
//! 30,000 bytes instead of 0.5. Payloads meet that all the time: they begin at the same place of a page, behind a header, and what is
//! put in front of them is a head of a few bytes. Such copies are made in steps of 64 bytes here; all others are left to the library.

use std::ptr;

/// Copies up to this size are left alone: the library makes them with registers.
const SMALL: usize = 2048;

/// The two ends of a copy are in each other's way if their places in a page differ by less than this.
const NEAR: usize = 32;

/// Bytes of a page, as far as a processor compares addresses.
const PAGE: usize = 4096;

/// Whether a copy of `len` bytes from `from` to `to` is one that the library is slow at.
#[inline(always)]
fn is_slow(to: *const u8, from: *const u8, len: usize) -> bool {
    // One less, so that no distance at all is a large one.
    len > SMALL && (to.addr().wrapping_sub(from.addr()) % PAGE).wrapping_sub(1) < NEAR - 1
}

/// Copies `from` to `to`, as `copy_from_slice`.
///
/// # Panics
/// If they have different lengths.
///
/// ```
/// let mut to = [0; 3];
/// skein_arena::copy(&mut to, b"abc");
/// assert_eq!(&to, b"abc");
/// ```
#[inline]
pub fn copy(to: &mut [u8], from: &[u8]) {
    assert_eq!(to.len(), from.len(), "source and destination of a copy have the same length");
    // SAFETY: both are slices of that length, and one is not shared.
    unsafe { copy_raw(to.as_mut_ptr(), from.as_ptr(), from.len()) }
}

/// Copies `len` bytes, as [`ptr::copy_nonoverlapping`].
///
/// # Safety
/// As there.
#[inline]
pub unsafe fn copy_raw(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: by the caller's promise.
    unsafe {
        if is_slow(to, from, len) {
            in_steps(to, from, len);
        } else {
            ptr::copy_nonoverlapping(from, to, len);
        }
    }
}

/// Copies `len` bytes, at least 64 of them, through registers.
///
/// # Safety
/// As for [`copy_raw`].
#[cfg(target_arch = "x86_64")]
#[cold]
unsafe fn in_steps(to: *mut u8, from: *const u8, len: usize) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_storeu_si128};
    const STEP: usize = 64;

    // Written out, because a loop over smaller copies is compiled to a call of the library. Loads before stores, so that none waits.
    // SAFETY: `at + STEP <= len` for each; SSE2 is part of the architecture, and nothing is aligned.
    let step = |at: usize| unsafe {
        let (to, from) = (to.add(at).cast::<__m128i>(), from.add(at).cast::<__m128i>());
        let (a, b) = (_mm_loadu_si128(from), _mm_loadu_si128(from.add(1)));
        let (c, d) = (_mm_loadu_si128(from.add(2)), _mm_loadu_si128(from.add(3)));
        _mm_storeu_si128(to, a);
        _mm_storeu_si128(to.add(1), b);
        _mm_storeu_si128(to.add(2), c);
        _mm_storeu_si128(to.add(3), d);
    };
    let mut at = 0;
    while at + STEP <= len {
        step(at);
        at += STEP;
    }
    // The last bytes once more, with some of those before them.
    if at < len {
        step(len - STEP);
    }
}

/// As above: other processors are not known to need it.
///
/// # Safety
/// As for [`copy_raw`].
#[cfg(not(target_arch = "x86_64"))]
unsafe fn in_steps(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: by the caller's promise.
    unsafe { ptr::copy_nonoverlapping(from, to, len) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_whatever_the_distance_and_the_length() {
        let bytes: Vec<u8> = (0..3 * PAGE).map(|at| (at * 31 / 7) as u8).collect();
        for distance in (0..70).chain([PAGE - 1, PAGE - 31, PAGE - 64]) {
            for len in [0, 1, SMALL, SMALL + 1, SMALL + 63, SMALL + 64, 2 * PAGE + 5] {
                let mut room = vec![0xa5; 5 * PAGE];
                // Both ends at a known place of a page.
                let from = bytes.as_ptr().align_offset(64);
                let near =
                    (bytes[from..].as_ptr().addr() + distance).wrapping_sub(room.as_ptr().addr()) % PAGE;
                let text = &bytes[from..from + len];
                copy(&mut room[near..near + len], text);
                assert_eq!(&room[near..near + len], text, "{len} bytes, {distance} further");
                assert!(
                    room[..near].iter().chain(&room[near + len..]).all(|&it| it == 0xa5),
                    "{len} {distance}"
                );
            }
        }
    }

    #[test]
    fn only_what_is_near_and_large_goes_in_steps() {
        let at = |address: usize| ptr::without_provenance::<u8>(address);
        for (distance, slow) in [(0, false), (1, true), (31, true), (32, false), (4095, false), (4097, true)]
        {
            assert_eq!(is_slow(at(0x10000 + distance), at(0x2000), SMALL + 1), slow, "{distance}");
            assert!(!is_slow(at(0x10000 + distance), at(0x2000), SMALL));
        }
    }

    #[test]
    #[should_panic(expected = "same length")]
    fn lengths_that_differ_are_a_panic() {
        copy(&mut [0; 2], &[0; 3]);
    }
}
