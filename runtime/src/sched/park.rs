//! Where workers sleep, and how little it takes to wake one.
//!
//! One word counts the sleepers, and the searchers: workers that were woken and have not found work yet. A waker that sees a
//! searcher need not wake another: the searcher will look after that push, because it looks again after it has left the
//! count. When it finds work it leaves too, and wakes the next if there is more (so n pushes wake one after the other, not n
//! threads for one message).
//!
//! # Protocol
//! * Push, then [`Park::wake_one`]. Its fence puts the push before the look at the word.
//! * A worker that found nothing: [`Park::prepare`] counts it as a sleeper, no longer a searcher. Then it looks at the queue
//!   again, and either [`Park::cancel`]s or [`Park::sleep`]s. The count is before the look, the push before the waker's look:
//!   one of the two sees the other.
//! * A waker takes one off the sleepers and owes a token to whoever comes for it. So a sleeper that cancels may find that it
//!   was paid already, and takes the token.
//!
//! # Invariants
//! * **P1** sleepers + tokens = threads between `prepare` and the return of `cancel` or `sleep`.

use skein_arena::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{
        AtomicU32,
        Ordering::{Relaxed, SeqCst},
        fence,
    },
};

const SLEEPER: u32 = 1;
const SLEEPERS: u32 = 0xffff;
const SEARCHER: u32 = 1 << 16;

/// The bed of the workers of a node.
#[derive(Default)]
pub struct Park {
    word: AtomicU32,
    tokens: Mutex<Tokens>,
    paid: Condvar,
}

#[derive(Default)]
struct Tokens {
    count: u32,
    /// No more sleep.
    closed: bool,
}

/// How a sleep ended.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Woken {
    /// By a push: the worker is a searcher now, until it finds work or prepares to sleep again.
    Searching,
    /// The node ends.
    Closed,
}

impl Park {
    /// Nobody sleeps.
    pub fn new() -> Self {
        Self::default()
    }

    /// The loop of a worker: an item, or sleep while there is none. `idle` is called before a sleep. `None`: closed.
    ///
    /// `take` takes an item without waiting; `waiting` says whether there is one.
    pub fn next<T>(
        &self,
        mut take: impl FnMut() -> Option<T>,
        waiting: impl Fn() -> bool,
        mut idle: impl FnMut(),
    ) -> Option<T> {
        let mut searching = false;
        loop {
            if let Some(item) = take() {
                if searching && self.found() && waiting() {
                    self.wake_one();
                }
                return Some(item);
            }
            self.prepare(searching);
            if waiting() {
                searching = self.cancel();
                continue;
            }
            idle();
            match self.sleep() {
                Woken::Searching => searching = true,
                Woken::Closed => return None,
            }
        }
    }

    /// After a push: wakes a sleeper, unless somebody is on the way already.
    #[inline]
    pub fn wake_one(&self) {
        // Pairs with the fence in `prepare`: our push, or their count, is seen by the other.
        fence(SeqCst);
        let word = self.word.load(Relaxed);
        if word & SLEEPERS != 0 && word < SEARCHER {
            self.pay(word);
        }
    }

    #[cold]
    fn pay(&self, mut word: u32) {
        loop {
            if word & SLEEPERS == 0 || word >= SEARCHER {
                return;
            }
            match self.word.compare_exchange(word, word - SLEEPER + SEARCHER, SeqCst, Relaxed) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        self.lock().count += 1;
        self.paid.notify_one();
    }

    /// A searcher found work. Answers whether it was the last, who has to see to the rest of the queue (and wake another if
    /// there is any).
    #[must_use]
    fn found(&self) -> bool {
        // SeqCst: the look at the queue comes after, for pushes whose waker still saw us.
        let last = self.word.fetch_sub(SEARCHER, SeqCst) / SEARCHER == 1;
        fence(SeqCst);
        last
    }

    /// A worker that found nothing is about to sleep, and will look once more.
    fn prepare(&self, searching: bool) {
        let leaves = if searching { SEARCHER } else { 0 };
        self.word.fetch_add(SLEEPER.wrapping_sub(leaves), SeqCst);
        // Pairs with the fence in `wake_one`.
        fence(SeqCst);
    }

    /// The look found work. Answers whether the worker is a searcher now: somebody had woken it meanwhile.
    #[must_use]
    fn cancel(&self) -> bool {
        let mut word = self.word.load(Relaxed);
        while word & SLEEPERS != 0 {
            match self.word.compare_exchange(word, word - SLEEPER, SeqCst, Relaxed) {
                Ok(_) => return false,
                Err(now) => word = now,
            }
        }
        // All sleepers were taken by wakers, us among them (P1).
        let _ = self.sleep();
        true
    }

    /// Sleeps until a waker comes.
    fn sleep(&self) -> Woken {
        let mut tokens = self.lock();
        while tokens.count == 0 {
            if tokens.closed {
                return Woken::Closed;
            }
            tokens = self.paid.wait(tokens).unwrap_or_else(|it| it.into_inner());
        }
        tokens.count -= 1;
        Woken::Searching
    }

    /// Wakes everybody, for good.
    pub fn close(&self) {
        self.lock().closed = true;
        self.paid.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(|it| it.into_inner())
    }
}
