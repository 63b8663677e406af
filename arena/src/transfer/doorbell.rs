//! How a process that sleeps learns that something has arrived.
//!
//! Doorbells are the only memory of a domain that every process writes, so nothing is believed of them: a word that lies makes its
//! owner look in vain, or sleep until the end of its timeout. Whoever sleeps therefore never sleeps for ever
//! ([`LONGEST_SLEEP`]).
//!
//! # Invariants
//! * **D1** A sleeper says so first and looks once more afterwards; a sender publishes first and looks for sleepers afterwards.
//!   Fences between the two make sure that one of them sees the other.
//! * **D2** Only the owner puts `ASLEEP` into its word, so a word without it has somebody who is about to look.
//! * **D3** A caller sets its bit before it rings: who is woken by a caller's ring sees the bit.
//!
//! # When a process dies
//! A sender killed between publishing and ringing leaves a sleeper that finds the entry when its timeout ends. A sleeper that is
//! killed leaves a word that says `ASLEEP`: ringing it is a system call that wakes nobody.

use std::time::Duration;

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::*, fence};

/// Nobody sleeps longer than this at a time, whatever timeout was asked for: a ring may have been lost with its sender.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(1);

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

/// What puts a thread to sleep on a word, and wakes it: the kernel, or a model of it.
pub trait Futex {
    /// Sleeps until somebody calls [`wake`](Futex::wake) for this word, if it has the value `expected` when looked at.
    /// It may also return for no reason.
    fn wait(&self, word: &AtomicU32, expected: u32, timeout: Duration);
    /// Wakes whoever sleeps on the word.
    fn wake(&self, word: &AtomicU32);
}

/// One process's bell. Zeros are a bell whose owner is awake.
#[repr(C, align(64))]
#[derive(Default)]
pub struct Doorbell {
    word: AtomicU32,
    callers: [AtomicU64; 4],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Doorbell>() == 64 && std::mem::offset_of!(Doorbell, callers) == 8);

impl Doorbell {
    /// Wakes the owner if it sleeps. What it shall find has been published before. Whether it slept.
    #[inline]
    pub fn ring(&self, futex: &impl Futex) -> bool {
        // Pairs with the fence in `sleep`: either we see that it sleeps, or it sees what we published (D1).
        fence(SeqCst);
        if self.word.load(Relaxed) != ASLEEP {
            return false;
        }
        self.wake(futex)
    }

    #[cold]
    fn wake(&self, futex: &impl Futex) -> bool {
        // Of several senders one makes the system call.
        let slept = self.word.swap(AWAKE, Relaxed) == ASLEEP;
        if slept {
            futex.wake(&self.word);
        }
        slept
    }

    /// Sleeps until somebody rings, for `timeout` or [`LONGEST_SLEEP`] at most; not at all if there is something already. It may
    /// return for no reason. Only the owner calls it, on one thread at a time.
    pub fn sleep(&self, futex: &impl Futex, timeout: Duration, anything: impl FnOnce() -> bool) {
        self.word.store(ASLEEP, Relaxed);
        // Pairs with the fence in `ring` (D1).
        fence(SeqCst);
        if !anything() && !self.has_callers() {
            futex.wait(&self.word, ASLEEP, timeout.min(LONGEST_SLEEP));
        }
        self.word.store(AWAKE, Relaxed);
    }

    /// Tells the owner that `slot` wants to be looked at, and wakes it.
    pub fn call(&self, futex: &impl Futex, slot: u8) {
        // Release pairs with the Acquire in `take_callers`: what the caller set up is there to be looked at (D3).
        self.callers[usize::from(slot / 64)].fetch_or(1 << (slot % 64), Release);
        self.ring(futex);
    }

    /// Whether somebody called.
    #[inline]
    pub fn has_callers(&self) -> bool {
        self.callers.iter().any(|it| it.load(Relaxed) != 0)
    }

    /// Who called since the last time. Anybody may have said so: a slot in here may be empty, or dead.
    pub fn take_callers(&self) -> impl Iterator<Item = u8> + use<> {
        // Acquire pairs with the Release in `call`.
        let bits = [0, 1, 2, 3].map(|at: usize| self.callers[at].swap(0, Acquire));
        (0..=u8::MAX).filter(move |slot| bits[usize::from(slot / 64)] >> (slot % 64) & 1 == 1)
    }

    /// Whether the owner says that it sleeps: for tools.
    pub fn is_asleep(&self) -> bool {
        self.word.load(Relaxed) == ASLEEP
    }
}

/// The futex of the system, for words that several processes map.
#[cfg(not(loom))]
#[derive(Clone, Copy, Debug)]
pub struct Kernel;

#[cfg(not(loom))]
impl Futex for Kernel {
    fn wait(&self, word: &AtomicU32, expected: u32, timeout: Duration) {
        use rustix::thread::futex;
        let timeout =
            futex::Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        // Not `PRIVATE`: the word has another address elsewhere. A ring that came first, a signal, the end of the timeout:
        // the caller looks again in every case.
        let _ = futex::wait(word, futex::Flags::empty(), expected, Some(&timeout));
    }

    fn wake(&self, word: &AtomicU32) {
        let _ = rustix::thread::futex::wake(word, rustix::thread::futex::Flags::empty(), u32::MAX >> 1);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::{Arc, atomic::AtomicBool, thread};

    #[test]
    fn who_rings_wakes_the_sleeper() {
        let bell = Arc::new((Doorbell::default(), AtomicBool::new(false)));
        let sleeper = thread::spawn({
            let bell = Arc::clone(&bell);
            move || {
                while !bell.1.load(Acquire) {
                    bell.0.sleep(&Kernel, Duration::MAX, || bell.1.load(Acquire));
                }
            }
        });
        bell.1.store(true, Release);
        bell.0.ring(&Kernel);
        sleeper.join().unwrap();
        assert!(!bell.0.is_asleep());
    }

    #[test]
    fn callers_are_told_once_each() {
        let bell = Doorbell::default();
        for slot in [1, 63, 64, 254, 64] {
            bell.call(&Kernel, slot);
        }
        assert!(bell.has_callers());
        assert_eq!(bell.take_callers().collect::<Vec<_>>(), [1, 63, 64, 254]);
        assert!(!bell.has_callers() && bell.take_callers().next().is_none());
    }

    #[test]
    fn nobody_sleeps_when_something_is_there_or_somebody_called() {
        let bell = Doorbell::default();
        bell.sleep(&Kernel, Duration::MAX, || true);
        bell.call(&Kernel, 3);
        bell.sleep(&Kernel, Duration::MAX, || false);
        assert!(!bell.is_asleep());
    }
}
