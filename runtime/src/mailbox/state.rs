//! Whose turn it is: one word, and the transitions that change it.
//!
//! `COUNT` (low 62 bits): pushes since the holder last let go. 0 means idle: nobody holds the mailbox. So the push that
//! makes it 1 is the one that schedules, and it needs one `fetch_add` to know. `CLOSING`: the service is out of reach, the
//! holder drains and ends. `DEAD`: ended; who pushes now drains what it pushed, one at a time by the same count.
//!
//! | from | push | close | let go | die |
//! |---|---|---|---|---|
//! | idle (0) | held, *schedule* | closing, *schedule* | | |
//! | held (n) | held (n+1), *queued* | closing, *queued* | idle, if n is still as seen | |
//! | closing (n) | closing (n+1), *queued* | | | dead (0), if n is still as seen |
//! | dead (0) | dead (1), *retired* | | | |
//! | dead (n) | dead (n+1), *queued* | | | dead (0), if n is still as seen |

use skein_arena::sync::atomic::{AtomicU64, Ordering};

const CLOSING: u64 = 1 << 63;
const DEAD: u64 = 1 << 62;
const COUNT: u64 = DEAD - 1;

/// What the sender does after its push.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// The mailbox was idle, and is now ours to put in a run queue.
    Schedule,
    /// Some worker holds it or will: it sees the message without our help.
    Queued,
    /// The service is gone: the mailbox is ours to drain ([`super::Held::die`]), each request back as an error to whoever
    /// waits for the answer.
    Retired,
}

/// The word.
pub(super) struct State(AtomicU64);

/// A value of the word, for a transition that holds only while nothing changed.
#[derive(Clone, Copy)]
pub(super) struct Seen(u64);

impl Seen {
    pub(super) fn is_closing(self) -> bool {
        self.0 & (CLOSING | DEAD) != 0
    }

    pub(super) fn count(self) -> i64 {
        (self.0 & COUNT) as i64
    }
}

impl State {
    /// Held by its maker.
    pub(super) fn held() -> Self {
        Self(AtomicU64::new(1))
    }

    pub(super) fn push(&self) -> Pushed {
        // Release: the holder that sees this count sees the link. Acquire: a new holder sees what the last one left.
        Self::outcome(self.0.fetch_add(1, Ordering::AcqRel))
    }

    pub(super) fn close(&self) -> Pushed {
        // Added, not set: one operation marks it and counts it.
        let before = self.0.fetch_add(CLOSING + 1, Ordering::AcqRel);
        assert!(before & CLOSING == 0, "a mailbox is closed once");
        Self::outcome(before)
    }

    fn outcome(before: u64) -> Pushed {
        match (before & COUNT == 0, before & DEAD != 0) {
            (true, false) => Pushed::Schedule,
            (true, true) => Pushed::Retired,
            (false, _) => Pushed::Queued,
        }
    }

    pub(super) fn seen(&self) -> Seen {
        // Acquire pairs with the Release of `push`: what is counted here is linked, for us.
        Seen(self.0.load(Ordering::Acquire))
    }

    /// Back to idle, unless something changed since `seen`. Nobody but the holder lowers the count, so an equal value means
    /// an unchanged one.
    pub(super) fn let_go(&self, seen: Seen) -> bool {
        // Release pairs with the Acquire of `push`: the next holder sees our `head` and `carry`.
        self.0.compare_exchange(seen.0, 0, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// To the end, unless something changed since `seen`.
    pub(super) fn die(&self, seen: Seen) -> bool {
        self.0.compare_exchange(seen.0, CLOSING | DEAD, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    pub(super) fn count(&self) -> i64 {
        (self.0.load(Ordering::Relaxed) & COUNT) as i64
    }
}
