//! The messages of one service: many senders, one receiver at a time, no allocation.
//!
//! A message is linked through the header of its own block. The queue is a list with a stub in it:
//!
//! ```text
//! head (holder's) ─► oldest ─► … ─► newest ◄─ tail (senders')
//! ```
//!
//! # Push, any thread
//! 1. Swap `tail` with the message.
//! 2. Store the link of the old tail.
//! 3. One read-modify-write on [`State`], whose outcome says what the sender does next.
//!
//! A sender may be stopped anywhere in between.
//!
//! # Pop, the holder only
//! Who was told [`Pushed::Schedule`] holds the mailbox, until [`Held::let_go`] gives it back; the hold travels through the
//! run queue from worker to worker. Pop finds a message, or nothing, or that a sender stands between steps 1 and 2. The
//! last two are the same to the holder, which never waits for a sender: it lets go, and that sender's step 3 comes after,
//! and schedules the mailbox again.
//!
//! # Invariants
//! * **M1** `head`, `carry` and `limit` are touched by the holder only (`carry` is read by anybody).
//! * **M2** Exactly one holder: the one whose push found the count at 0 ([`State`]), or whom a holder passed it on to.
//! * **M3** Let go only when the count is unchanged since before a pop that found nothing. So all counted messages are
//!   taken, and one that is not counted yet will find the count at 0.
//! * **M4** A header belongs to the mailbox from step 1 until pop returns it; pop returns none whose link is not stored.
//!
//! # From skynet
//! skynet_mq.c: struct message_queue → [`Mailbox`]; `in_global` → the count of [`State`]; `release` → `CLOSING`, `DEAD`;
//! the spin lock → nothing; the ring that grows → the links.

use core::ptr::{self, NonNull};

use skein_arena::{
    Header,
    sync::{
        atomic::{AtomicI64, AtomicPtr, Ordering},
        cell::UnsafeCell,
    },
};

mod overload;
mod state;

use overload::Overload;
pub use state::Pushed;
use state::State;

/// A queue of blocks with many senders and one holder.
pub struct Mailbox {
    tail: AtomicPtr<Header>,
    state: State,
    /// Where the holder takes the next message.
    head: UnsafeCell<*mut Header>,
    /// Added to the count of `state` it is the length: minus the messages taken, plus those counted before the last
    /// let-go.
    carry: AtomicI64,
    limit: UnsafeCell<Overload>,
    /// Always somewhere in the list or in nobody's hands; a box, so that the mailbox itself may move.
    stub: NonNull<Header>,
}

// SAFETY: `head` and `limit` follow M1; headers are shared by the protocol above, and are plain atomics and numbers.
unsafe impl Send for Mailbox {}
// SAFETY: as above.
unsafe impl Sync for Mailbox {}

/// What [`Held::pop`] found.
pub enum Pop {
    /// The oldest message, which is the caller's now.
    Message(NonNull<Header>),
    /// No message is linked.
    Empty,
    /// A sender stands between its swap and its link.
    Busy,
}

/// What became of a hold that was to be let go.
#[must_use]
pub enum LetGo<'a> {
    /// It is gone: the next push schedules.
    Idle,
    /// A message came after all.
    Message(Held<'a>, NonNull<Header>),
    /// The service was retired: drain the mailbox, then [`Held::die`].
    Closing(Held<'a>),
}

impl Default for Mailbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Mailbox {
    /// An empty mailbox, held by the caller: messages wait until it passes the hold on or lets go.
    pub fn new() -> Self {
        // SAFETY: a box is never null.
        let stub = unsafe { NonNull::new_unchecked(Box::into_raw(Box::new(Header::stub()))) };
        Self {
            tail: AtomicPtr::new(stub.as_ptr()),
            state: State::held(),
            head: UnsafeCell::new(stub.as_ptr()),
            // The hold of the beginning counts as a push.
            carry: AtomicI64::new(-1),
            limit: UnsafeCell::new(Overload::new()),
            stub,
        }
    }

    /// Appends a message.
    ///
    /// # Safety
    /// `message` is owned by the caller, who gives it up; the mailbox lives until this returns.
    pub unsafe fn push(&self, message: NonNull<Header>) -> Pushed {
        // SAFETY: as promised by the caller.
        unsafe { self.link(message) };
        self.state.push()
    }

    /// Steps 1 and 2 of a push.
    ///
    /// # Safety
    /// `message` is the caller's, or the stub while it is out of the list.
    unsafe fn link(&self, message: NonNull<Header>) {
        // SAFETY: the caller's header, reachable by nobody else yet.
        unsafe { message.as_ref() }.link().store(ptr::null_mut(), Ordering::Relaxed);
        // Release: whoever swaps this header out next stores into its link, after our null. Acquire: the other side.
        let before = self.tail.swap(message.as_ptr(), Ordering::AcqRel);
        // SAFETY: `before` has no link yet, and pop returns no such header (M4), so it is still in the list.
        // Release pairs with the Acquire in `pop`: who follows the link sees the message.
        unsafe { &*before }.link().store(message.as_ptr(), Ordering::Release);
    }

    /// Says that the service is out of reach. Once per mailbox; same outcomes as a push.
    pub fn close(&self) -> Pushed {
        self.state.close()
    }

    /// How many messages wait. Exact for the holder, a snapshot for others.
    pub fn len(&self) -> usize {
        usize::try_from(self.state.count() + self.carry.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nobody held it, and no message had been counted; a snapshot.
    pub fn is_idle(&self) -> bool {
        self.state.count() == 0
    }

    /// The receiving side.
    ///
    /// # Safety
    /// The caller has the hold (M2): from [`Self::new`], from [`Pushed::Schedule`] or [`Pushed::Retired`], or from another
    /// holder that passed it on.
    pub unsafe fn hold(&self) -> Held<'_> {
        Held { mailbox: self }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        // SAFETY: nobody else is here, so the hold is ours whoever had it.
        let mut held = unsafe { self.hold() };
        #[cfg(not(loom))]
        while let Pop::Message(message) = held.pop() {
            // SAFETY: pop made us the owner, and what is pushed is a block.
            drop(unsafe { skein_arena::Block::from_raw(message) });
        }
        #[cfg(loom)]
        assert!(matches!(held.pop(), Pop::Empty), "a model left a message behind");
        // SAFETY: made by `Box::into_raw` in `new`, and out of use with the mailbox.
        drop(unsafe { Box::from_raw(self.stub.as_ptr()) });
    }
}

/// The receiving side of a mailbox, in the hands of its one holder. Dropping it passes the hold on or loses it: it is a
/// view, the hold itself is an obligation.
pub struct Held<'a> {
    mailbox: &'a Mailbox,
}

impl<'a> Held<'a> {
    /// Takes the oldest message.
    pub fn pop(&mut self) -> Pop {
        let mailbox = self.mailbox;
        // SAFETY: M1, we are the holder.
        let mut head = mailbox.head.with(|it| unsafe { *it });
        // SAFETY: `head` is in the list (M4). Acquire pairs with the Release in `link`.
        let mut next = unsafe { &*head }.link().load(Ordering::Acquire);
        if head == mailbox.stub.as_ptr() {
            if next.is_null() {
                let alone = mailbox.tail.load(Ordering::Acquire) == head;
                return if alone { Pop::Empty } else { Pop::Busy };
            }
            // The stub leaves the list.
            head = next;
            self.set_head(head);
            // SAFETY: as above.
            next = unsafe { &*head }.link().load(Ordering::Acquire);
        }
        if next.is_null() {
            if mailbox.tail.load(Ordering::Acquire) != head {
                return Pop::Busy;
            }
            // The last one: the stub goes behind it, so that it can leave.
            // SAFETY: the stub left the list before `head` came to its front, and only the holder puts it back.
            unsafe { mailbox.link(mailbox.stub) };
            // SAFETY: as above.
            next = unsafe { &*head }.link().load(Ordering::Acquire);
            if next.is_null() {
                return Pop::Busy;
            }
        }
        self.set_head(next);
        // Only the holder writes it (M1), so a load and a store will do.
        mailbox.carry.store(mailbox.carry.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        // SAFETY: headers are never null.
        Pop::Message(unsafe { NonNull::new_unchecked(head) })
    }

    /// Gives the mailbox back after a pop that found nothing.
    pub fn let_go(mut self) -> LetGo<'a> {
        loop {
            let seen = self.mailbox.state.seen();
            // Again: what was counted by then is linked, and must not be left behind (M3).
            if let Pop::Message(message) = self.pop() {
                return LetGo::Message(self, message);
            }
            if seen.is_closing() {
                return LetGo::Closing(self);
            }
            if self.settle(seen, |state| state.let_go(seen)) {
                return LetGo::Idle;
            }
        }
    }

    /// Ends a mailbox that is closing: gives every message to `undelivered`, also those that come meanwhile. From then on a
    /// push answers [`Pushed::Retired`], and that sender calls this again.
    pub fn die(mut self, mut undelivered: impl FnMut(NonNull<Header>)) {
        loop {
            let seen = self.mailbox.state.seen();
            while let Pop::Message(message) = self.pop() {
                undelivered(message);
            }
            if self.settle(seen, |state| state.die(seen)) {
                return;
            }
        }
    }

    /// Whether the length passed the limit since the last look; then what to say. The limit doubles.
    pub fn overload(&mut self) -> Option<usize> {
        let len = self.mailbox.len().saturating_sub(1);
        // SAFETY: M1.
        self.mailbox.limit.with_mut(|it| unsafe { &mut *it }.check(len))
    }

    /// Sets the limit of [`Self::overload`] back: the mailbox was found empty.
    pub fn calm(&mut self) {
        // SAFETY: M1.
        self.mailbox.limit.with_mut(|it| unsafe { &mut *it }.reset());
    }

    /// Runs a transition that takes the count to 0, and keeps the length right.
    fn settle(&mut self, seen: state::Seen, transition: impl FnOnce(&State) -> bool) -> bool {
        let carry = self.mailbox.carry.load(Ordering::Relaxed);
        // Before the transition: after it another holder may be at work.
        self.mailbox.carry.store(carry + seen.count(), Ordering::Relaxed);
        let done = transition(&self.mailbox.state);
        if !done {
            self.mailbox.carry.store(carry, Ordering::Relaxed);
        }
        done
    }

    fn set_head(&mut self, head: *mut Header) {
        // SAFETY: M1.
        self.mailbox.head.with_mut(|it| unsafe { *it = head });
    }
}
