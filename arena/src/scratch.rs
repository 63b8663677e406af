//! Memory for one dispatch: a worker's scratch arena.
//!
//! Short lists that live as long as the handling of one message (iovecs, key orders, decode work lists) come from a bump
//! allocator and are forgotten all at once. The runtime makes one [`Scratch`] per worker and resets it after each dispatch.
//!
//! Nothing in it is dropped: it is for plain data, or for `bumpalo`'s own collections.

use std::ops::Deref;

use bumpalo::Bump;

/// A worker keeps at most this much between dispatches; one huge message must not make it larger for ever.
const KEPT: usize = 1 << 20;

/// A bump allocator that is reset after each dispatch. Dereferences to [`Bump`].
#[derive(Debug, Default)]
pub struct Scratch(Bump);

impl Scratch {
    /// An empty scratch arena. It takes memory with the first allocation.
    pub fn new() -> Scratch {
        Scratch(Bump::new())
    }

    /// Forgets everything. The memory stays for the next dispatch, unless this one took unusually much.
    pub fn reset(&mut self) {
        if self.0.allocated_bytes() > KEPT {
            self.0 = Bump::new();
        } else {
            self.0.reset();
        }
    }
}

impl Deref for Scratch {
    type Target = Bump;

    fn deref(&self) -> &Bump {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_keeps_memory_for_the_next_dispatch() {
        let mut scratch = Scratch::new();
        for round in 0..100_u64 {
            let numbers = scratch.alloc_slice_fill_with(1000, |i| i as u64 + round);
            assert_eq!(numbers[999], 999 + round);
            scratch.reset();
        }
        assert!(scratch.allocated_bytes() > 0);
        assert!(scratch.allocated_bytes() <= KEPT);
    }

    #[test]
    fn one_huge_dispatch_is_not_kept() {
        let mut scratch = Scratch::new();
        scratch.alloc_slice_fill_copy(4 * KEPT, 1_u8);
        scratch.reset();
        assert_eq!(scratch.allocated_bytes(), 0);
    }
}
