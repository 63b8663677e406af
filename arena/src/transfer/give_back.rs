//! Tickets on their way back to the owner of their blocks.
//!
//! The last owner of a remote block may go on any thread, and the ring to the block's process may be full, or in use by another
//! thread. So its ticket is first put on a list, which takes neither lock nor memory; then whoever gets hold of the ring
//! writes down what is on the list.
//!
//! # Invariants
//! * **V1** A ticket is on the list, in the holder's queue, or in the ring: it is never lost. The list is linked through an
//!   array by ticket, and a ticket is on it at most once.
//! * **V2** Who does not get the ring leaves its ticket to the holder, which looks at the list once more after it has let go.
//! * **V3** Nobody waits.

use std::collections::VecDeque;

use super::TICKETS;
use crate::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU32, Ordering::*, fence},
};

const END: u32 = u32::MAX;

/// The list. See the module.
#[derive(Debug)]
pub struct GiveBacks {
    first: AtomicU32,
    next: Box<[AtomicU32]>,
}

impl Default for GiveBacks {
    fn default() -> GiveBacks {
        GiveBacks { first: AtomicU32::new(END), next: (0..TICKETS).map(|_| AtomicU32::new(END)).collect() }
    }
}

impl GiveBacks {
    /// Puts a ticket on the list.
    pub fn push(&self, ticket: u16) {
        let mut first = self.first.load(Relaxed);
        loop {
            self.next[usize::from(ticket)].store(first, Relaxed);
            // Release pairs with the Acquire in `move_to`: the link, and that we have read the block.
            match self.first.compare_exchange_weak(first, u32::from(ticket), Release, Relaxed) {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }

    /// Whether something is on the list.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first.load(Relaxed) == END
    }

    /// Moves the list to a queue. Only by who holds the ring.
    pub fn move_to(&self, queue: &mut VecDeque<u16>) {
        if self.is_empty() {
            return;
        }
        // Acquire pairs with the Release in `push`.
        let mut ticket = self.first.swap(END, Acquire);
        while ticket != END {
            queue.push_back(ticket as u16);
            ticket = self.next[ticket as usize].load(Relaxed);
        }
    }

    /// Lets somebody who holds the ring, us if it is free, do `work`, and again as long as something is on the list (V2).
    pub fn settle<T>(&self, ring: &Mutex<T>, mut work: impl FnMut(&mut MutexGuard<'_, T>)) {
        loop {
            // Pairs with the same fence of another thread: either it finds our ticket, or we find the ring free (V2).
            fence(SeqCst);
            if self.is_empty() {
                return;
            }
            let Ok(mut held) = ring.try_lock() else { return };
            work(&mut held);
            drop(held);
        }
    }
}
