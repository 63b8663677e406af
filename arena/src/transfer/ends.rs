//! Where a ring begins and how far it is: what two processes tell each other before the first entry, and while they go on.
//!
//! # Invariants
//! * **N1** `start` is stored before the life that it is for, and `head` before the life whose entries it counts: who finds the own
//!   life, or the one that it sends to, finds the number that belongs to it.
//! * **N2** The positions of a ring go on from one receiver to the next: `start` is the former `tail`. So what was meant for the dead
//!   has stamps that the next receiver does not expect.
//!
//! # When a process dies
//! Before the life is stored, there is no ring; behind it there is one that nobody writes, or reads.

use crate::{
    step::step,
    sync::atomic::{AtomicU64, Ordering::*},
};

/// The sender's side of a ring.
#[repr(C)]
#[cfg_attr(not(loom), repr(align(64)))]
#[derive(Default)]
pub struct Sending {
    /// The life that the entries from `start` on are for. Stored last.
    pub to: AtomicU64,
    /// Position of the first entry for that life.
    pub start: AtomicU64,
    /// Position of the next entry: for tools, and for whoever sweeps. The receiver looks at the stamps.
    pub tail: AtomicU64,
}

/// The receiver's side of a ring.
#[repr(C)]
#[cfg_attr(not(loom), repr(align(64)))]
#[derive(Default)]
pub struct Receiving {
    /// The life whose entries are read. Stored last.
    pub from: AtomicU64,
    /// Position of the next entry that will be read.
    pub head: AtomicU64,
}

impl Sending {
    /// Begins to send to a life, where the last one's entries ended; the position.
    pub fn open(&self, life: u64) -> u64 {
        let start = self.tail.load(Relaxed);
        self.start.store(start, Relaxed);
        step("link/started");
        // Release pairs with the Acquire in `start_for` (N1).
        self.to.store(life, Release);
        step("link/open");
        start
    }

    /// Where the entries for a life begin, if it is sent to.
    pub fn start_for(&self, life: u64) -> Option<u64> {
        // Acquire pairs with the Release in `open`.
        (self.to.load(Acquire) == life).then(|| self.start.load(Relaxed))
    }

    /// Says that the entries before `tail` are there.
    #[inline]
    pub fn advance(&self, tail: u64) {
        // Release: who sees the tail finds the entries before it.
        self.tail.store(tail, Release);
    }
}

impl Receiving {
    /// Begins to read a life's entries at `start`.
    pub fn open(&self, life: u64, start: u64) {
        self.head.store(start, Relaxed);
        step("inbox/headed");
        // Release pairs with the Acquire in `head_for` (N1).
        self.from.store(life, Release);
        step("inbox/open");
    }

    /// How far a life's entries have been read, if they are.
    pub fn head_for(&self, life: u64) -> Option<&AtomicU64> {
        // Acquire pairs with the Release in `open`.
        (self.from.load(Acquire) == life).then_some(&self.head)
    }
}
