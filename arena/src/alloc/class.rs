//! Size classes: which blocks there are, and how long a span of them is.
//!
//! A class is a size in bytes, header and NUL included. Up to 128 bytes they are 16 apart; from there on there are four per
//! doubling, 1.14 to 1.25 times the one before. A block wastes at most a fifth of itself.

/// Bytes of the largest block that comes from a span.
pub(crate) const LARGEST: usize = 32 << 10;
/// How many classes there are.
pub(crate) const CLASSES: usize = 7 + 8 * 4;
/// The bytes of a block, by class.
pub(crate) const BLOCK: [u32; CLASSES] = sizes();
/// The pages of a span, by class.
pub(crate) const SPAN_PAGES: [u8; CLASSES] = span_pages();
/// From this class on a block is at least a page, and may be given whole pages when no span can be had.
pub(crate) const FIRST_OF_PAGES: usize = of(4096).unwrap();

const fn sizes() -> [u32; CLASSES] {
    let mut sizes = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
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
    let mut all = [64; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        let mut pages = crate::layout::SHORTEST_SPAN as u32;
        while pages < 64 {
            let bytes = pages * crate::layout::PAGE as u32;
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

/// The class of blocks of at least `bytes`; none if such a block has pages of its own.
#[inline]
pub(crate) const fn of(bytes: usize) -> Option<usize> {
    if bytes <= 128 {
        Some(if bytes <= 32 { 0 } else { (bytes - 17) / 16 })
    } else if bytes <= LARGEST {
        let last = bytes - 1;
        let power = last.ilog2() as usize;
        Some(7 + (power - 7) * 4 + (last >> (power - 2)) % 4)
    } else {
        None
    }
}

/// How many blocks a span of this class has.
#[inline]
pub(crate) fn blocks_per_span(class: usize) -> u32 {
    u32::from(SPAN_PAGES[class]) * crate::layout::PAGE as u32 / BLOCK[class]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_gets_the_smallest_class_that_holds_it() {
        for bytes in 0..=LARGEST {
            let class = of(bytes).unwrap();
            assert!(BLOCK[class] as usize >= bytes, "{bytes} bytes in class {class}");
            assert!(class == 0 || (BLOCK[class - 1] as usize) < bytes, "{bytes} bytes in class {class}");
        }
        assert_eq!(of(LARGEST + 1), None);
        assert_eq!(BLOCK[CLASSES - 1] as usize, LARGEST);
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
        }
    }
}
