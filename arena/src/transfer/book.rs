//! What a sender has lent to one receiver, by ticket: the sender's own account, in memory of its own.
//!
//! A receiver's word is never taken for what it holds: a give-back names a ticket, and the book says whether something is lent
//! under it. So a block is released at most once however often it is given back, and all of what a dead receiver had is
//! known without asking.
//!
//! # Invariants
//! * **B1** A ticket is free, on the list of those that came back, or has a block: one owner of it is the book.
//! * **B2** A book that is dropped keeps its blocks from being freed all the same: their receivers may live, and be reading.
//!   Only [`Book::take_all`] frees them, once the receiver is dead.
//! * **B3** Only the sending side takes tickets and lends; only the receiving side of the same process takes blocks out.

use std::ptr::NonNull;

use super::TICKETS;
use crate::{
    Header, Payload,
    sync::atomic::{AtomicPtr, AtomicU32, Ordering::*},
};

const END: u32 = u32::MAX;

/// The account. See the module.
pub struct Book {
    lent: Box<[AtomicPtr<Header>]>,
    /// List of the tickets that came back: the first of them, and what comes behind each.
    returned: AtomicU32,
    next: Box<[AtomicU32]>,
}

/// The tickets that the sending side has at hand.
#[derive(Debug)]
pub struct Tickets {
    first: u32,
    fresh: u32,
}

impl Default for Tickets {
    fn default() -> Tickets {
        Tickets { first: END, fresh: 0 }
    }
}

impl Default for Book {
    fn default() -> Book {
        Book {
            lent: (0..TICKETS).map(|_| AtomicPtr::new(std::ptr::null_mut())).collect(),
            returned: AtomicU32::new(END),
            next: (0..TICKETS).map(|_| AtomicU32::new(END)).collect(),
        }
    }
}

impl Book {
    /// A ticket that is free, if there is one. Used ones first, so that few pages of the ledger are touched.
    pub fn ticket(&self, tickets: &mut Tickets) -> Option<u16> {
        if tickets.first == END {
            // Acquire pairs with the Release in `put_back`: the list's links, and that the blocks are out.
            tickets.first = self.returned.swap(END, Acquire);
        }
        if tickets.first != END {
            let ticket = tickets.first;
            tickets.first = self.next[ticket as usize].load(Relaxed);
            return Some(ticket as u16);
        }
        ((tickets.fresh as usize) < TICKETS).then(|| {
            tickets.fresh += 1;
            (tickets.fresh - 1) as u16
        })
    }

    /// Lends a block under a ticket: the owner is the book's from now on.
    pub fn lend(&self, ticket: u16, payload: Payload) {
        // Release pairs with the Acquire in `take`.
        self.lent[usize::from(ticket)].store(payload.into_raw().as_ptr(), Release);
    }

    /// Another owner of what is lent under a ticket; none if nothing is. Only on the receiving side.
    pub fn look(&self, ticket: u16) -> Option<Payload> {
        let header = NonNull::new(self.lent.get(usize::from(ticket))?.load(Acquire))?;
        // SAFETY: the book is an owner (B1), and only we could end that (B3); the copy is forgotten by its clone.
        let payload = std::mem::ManuallyDrop::new(unsafe { Payload::from_raw(header) });
        Some(Payload::clone(&payload))
    }

    /// Takes out what is lent under a ticket, which is free again; none if nothing is. Only on the receiving side.
    pub fn take(&self, ticket: u16) -> Option<Payload> {
        let lent = self.lent.get(usize::from(ticket))?;
        // Acquire pairs with the Release in `lend`.
        let header = NonNull::new(lent.swap(std::ptr::null_mut(), AcqRel))?;
        self.put_back(ticket);
        // SAFETY: `lend` gave this owner to the book, and the swap took it out once.
        Some(unsafe { Payload::from_raw(header) })
    }

    fn put_back(&self, ticket: u16) {
        let mut first = self.returned.load(Relaxed);
        loop {
            self.next[usize::from(ticket)].store(first, Relaxed);
            // Release pairs with the Acquire in `ticket`.
            match self.returned.compare_exchange_weak(first, u32::from(ticket), Release, Relaxed) {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }

    /// Takes everything out: the receiver is dead. How many blocks that were.
    pub fn take_all(&self) -> usize {
        (0..TICKETS).filter(|&ticket| self.take(ticket as u16).is_some()).count()
    }

    /// How many blocks are lent: a snapshot.
    pub fn lent(&self) -> usize {
        self.lent.iter().filter(|it| !it.load(Relaxed).is_null()).count()
    }
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Book").field("lent", &self.lent()).finish()
    }
}
