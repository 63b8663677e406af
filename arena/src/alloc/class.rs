//! Size classes: which blocks there are, and how long a span of them is.
//!
//! A class is a size in bytes, header and NUL included. Up to 128 bytes they are 16 apart; from there on there are four per
//! doubling, 1.14 to 1.25 times the one before. A block wastes at most a fifth of itself. Models have one class, with two
//! blocks per span.

use crate::layout::{PAGE, SHORTEST_SPAN};

/// How many classes there are.
pub(crate) const CLASSES: usize = if cfg!(loom) { 1 } else { 7 + 8 * 4 };
/// The bytes of a block, by class.
pub(crate) const BLOCK: [u32; CLASSES] = sizes();
/// Bytes of the largest block that comes from a span.
pub(crate) const LARGEST: usize = BLOCK[CLASSES - 1] as usize;
/// The pages of a span, by class.
pub(crate) const SPAN_PAGES: [u8; CLASSES] = span_pages();
/// From this class on a block is at least a page, and may be given whole pages when no span can be had.
pub(crate) const FIRST_OF_PAGES: usize = of(PAGE);

/// The class of blocks of up to 16, 32, … bytes.
const BY_SIZE: [u8; LARGEST / 16 + 1] = by_size();
/// How many blocks a span has, by class.
const PER_SPAN: [u32; CLASSES] = per_span();
/// 2⁴⁰ divided by the bytes of a block, rounded up, by class. Exact for what `index_in_span` does with it.
const RECIPROCAL: [u64; CLASSES] = reciprocals();

const fn sizes() -> [u32; CLASSES] {
    let mut sizes = [2 * PAGE as u32; CLASSES];
    let mut class = 0;
    while class < CLASSES && !cfg!(loom) {
        sizes[class] = match class {
            0..7 => 32 + 16 * class as u32,
            // Steps of a quarter of the power of two below.
            _ => (5 + (class as u32 - 7) % 4) << ((class as u32 - 7) / 4 + 5),
        };
        class += 1;
    }
    sizes
}

/// 64 KiB, or 128, or 256: the first that holds eight blocks and wastes at most a sixteenth.
const fn span_pages() -> [u8; CLASSES] {
    let mut all = [SHORTEST_SPAN as u8 * 4; CLASSES];
    let mut class = 0;
    while class < CLASSES && !cfg!(loom) {
        let mut pages = SHORTEST_SPAN as u32;
        while pages < 4 * SHORTEST_SPAN as u32 {
            let bytes = pages * PAGE as u32;
            if bytes / BLOCK[class] >= 8 && bytes % BLOCK[class] <= bytes / 16 {
                break;
            }
            pages *= 2;
        }
        all[class] = pages as u8;
        class += 1;
    }
    all
}

const fn by_size() -> [u8; LARGEST / 16 + 1] {
    let mut classes = [0; LARGEST / 16 + 1];
    let mut class = 0;
    let mut units = 0;
    while units < classes.len() {
        if units * 16 > BLOCK[class] as usize {
            class += 1;
        }
        classes[units] = class as u8;
        units += 1;
    }
    classes
}

const fn per_span() -> [u32; CLASSES] {
    let mut all = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        all[class] = SPAN_PAGES[class] as u32 * PAGE as u32 / BLOCK[class];
        class += 1;
    }
    all
}

const fn reciprocals() -> [u64; CLASSES] {
    let mut all = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        all[class] = (1_u64 << 40).div_ceil(BLOCK[class] as u64);
        class += 1;
    }
    all
}

/// The class of blocks of at least `bytes`, which are at most [`LARGEST`].
#[inline]
pub(crate) const fn of(bytes: usize) -> usize {
    BY_SIZE[bytes.div_ceil(16)] as usize
}

/// How many blocks a span of this class has.
#[inline]
pub(crate) fn blocks_per_span(class: usize) -> u32 {
    PER_SPAN[class]
}

/// Which block of its span the byte at `offset` of a span lies in.
#[inline]
pub(crate) fn index_in_span(class: usize, offset: usize) -> u32 {
    ((offset as u64 * RECIPROCAL[class]) >> 40) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::SPAN_BLOCKS;

    #[test]
    fn every_size_gets_the_smallest_class_that_holds_it() {
        for bytes in 0..=LARGEST {
            let class = of(bytes);
            assert!(BLOCK[class] as usize >= bytes, "{bytes} bytes in class {class}");
            assert!(class == 0 || (BLOCK[class - 1] as usize) < bytes, "{bytes} bytes in class {class}");
        }
        assert_eq!(LARGEST, 32 << 10);
    }

    #[test]
    fn classes_are_close_and_keep_payloads_aligned() {
        for pair in BLOCK.windows(2) {
            assert!(pair[0] % 16 == 0 && pair[1] % 16 == 0);
            assert!(pair[1] - pair[0] == 16 || pair[1] * 4 <= pair[0] * 5, "{pair:?}");
        }
    }

    #[test]
    fn spans_waste_little() {
        for class in 0..CLASSES {
            let bytes = u32::from(SPAN_PAGES[class]) * 4096;
            let used = blocks_per_span(class) * BLOCK[class];
            assert!(
                blocks_per_span(class) >= 8 && bytes - used <= bytes / 10,
                "class {class}: {used} of {bytes}"
            );
            assert!(blocks_per_span(class) as usize <= SPAN_BLOCKS);
        }
    }

    #[test]
    fn multiplying_finds_the_block_that_dividing_does() {
        for class in 0..CLASSES {
            for offset in 0..usize::from(SPAN_PAGES[class]) * PAGE {
                assert_eq!(index_in_span(class, offset), offset as u32 / BLOCK[class]);
            }
        }
    }
}
