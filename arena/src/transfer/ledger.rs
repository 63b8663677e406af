//! What a process holds of another's heap, written down where all others can read it.
//!
//! The ledger lies in the receiver's control memory, one word for each ticket that the sender may give out. While the sender
//! lives nobody needs it, since the sender has a [`Book`](super::Book) of its own and believes that. It answers the question that the
//! sender's *death* raises: is its heap still being read? And it tells a tool who keeps what.
//!
//! # Invariants
//! * **L1** A block is entered before the head moves past the ring entry that named it. Whoever reads the head first and the
//!   ledger behind it finds each hold at least once: in the ring, in the ledger, or for a moment in both.
//! * **L2** An entry is cleared after the last read of the block, and before the ticket is given back: the next block under
//!   this ticket is entered later.
//! * **L3** Only the receiver writes. Different tickets may be cleared on different threads.
//!
//! # When a process dies
//! The receiver's ledger goes with it: a dead process reads nothing. The sender's death leaves it as it is.

use crate::sync::atomic::{AtomicU64, Ordering::*};

/// Tickets of a sender towards one receiver: how many of its blocks that one may hold at the same time.
pub const TICKETS: usize = if cfg!(loom) { 2 } else { 8192 };

/// A block as the ledger names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Where the payload begins: units of 16 bytes from the beginning of the heap. 31 bits.
    pub unit: u32,
    /// Which life of its memory the block is.
    pub generation: u32,
}

impl Hold {
    const PRESENT: u64 = 1 << 63;

    fn to_bits(self) -> u64 {
        debug_assert!(self.unit >> 31 == 0, "a heap has 31 bits of units");
        Self::PRESENT | u64::from(self.unit) << 32 | u64::from(self.generation)
    }

    fn from_bits(bits: u64) -> Option<Hold> {
        (bits & Self::PRESENT != 0)
            .then_some(Hold { unit: (bits >> 32) as u32 & (u32::MAX >> 1), generation: bits as u32 })
    }
}

/// What is held, by ticket. Zeros are a ledger of nothing.
#[repr(C)]
#[cfg_attr(not(loom), repr(align(4096)))] // Models have small stacks.
pub struct Ledger {
    holds: [AtomicU64; TICKETS],
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger { holds: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Ledger {
    /// Writes down that the block is held under `ticket`, which is less than [`TICKETS`].
    #[inline]
    pub fn enter(&self, ticket: u16, hold: Hold) {
        // Relaxed: the head, stored behind it, publishes it (L1).
        self.holds[usize::from(ticket)].store(hold.to_bits(), Relaxed);
    }

    /// Whether something is held under `ticket`. For the receiver itself.
    #[inline]
    pub fn has(&self, ticket: u16) -> bool {
        self.holds[usize::from(ticket)].load(Relaxed) != 0
    }

    /// Writes down that nothing is held under `ticket`.
    #[inline]
    pub fn clear(&self, ticket: u16) {
        // Release pairs with the Acquire in `holds`: we have read the block for the last time (L2).
        self.holds[usize::from(ticket)].store(0, Release);
    }

    /// What is held, with its tickets. To miss nothing, read the receiver's head (Acquire) before, and count what the ring
    /// has behind it as held (L1).
    pub fn holds(&self) -> impl Iterator<Item = (u16, Hold)> {
        self.holds.iter().enumerate().filter_map(|(ticket, word)| {
            // Acquire pairs with the Release in `clear`: of what is not there, all reads are over.
            Some((ticket as u16, Hold::from_bits(word.load(Acquire))?))
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_was_entered_and_not_cleared_is_held() {
        let ledger = Ledger::default();
        let holds =
            [(0, Hold { unit: 0, generation: 0 }), (8191, Hold { unit: u32::MAX >> 1, generation: 7 })];
        for (ticket, hold) in holds {
            assert!(!ledger.has(ticket));
            ledger.enter(ticket, hold);
        }
        assert_eq!(ledger.holds().collect::<Vec<_>>(), holds);
        // As docs/arena-layout.md has it.
        assert_eq!(ledger.holds[8191].load(Relaxed), 0xffff_ffff_0000_0007);
        ledger.clear(0);
        assert_eq!(ledger.holds().collect::<Vec<_>>(), holds[1..]);
    }
}
