//! Whether who waits looks for a while before it sleeps.
//!
//! To wake a process that sleeps takes a system call of the sender and as long as the machine takes to wake a processor; a look takes
//! nanoseconds, but nothing else runs meanwhile. A waiter that first looks for about as long as a wake-up takes ([`SPIN`]), and
//! sleeps then, never loses more than twice what it would have lost with the better of the two, whatever comes. Twice is
//! still a lot for a process that waits in vain again and again, so what happened lately decides:
//!
//! | what happened | next |
//! |---|---|
//! | it came while we looked | we look again |
//! | it came long after we had gone to sleep | we sleep at once, until [`EVIDENCE`] waits in a row have been short |
//! | it came soon after we had looked in vain: it takes longer, or we were in its way, on the processor that it needed | we sleep through 1 short wait, then 3, 7 … [`MOST_SKIPPED`] before we look again |
//!
//! So a process that hears of nothing takes no processor time, and one that is answered at once makes no system call, nor does who
//! answers it.

use std::time::Duration;

/// How long a waiter looks at most. About what a wake-up takes: 2 µs where processors doze lightly, 13 µs on a virtual machine
/// that halts them, 50 µs and more out of deep sleep; and long enough for an answer of somebody who had to be woken himself.
pub const SPIN: Duration = Duration::from_micros(30);

/// How many short waits in a row are a conversation: one alone is chance, and waits that are short by chance now and then shall
/// cost a quiet process nothing.
const EVIDENCE: u32 = 2;

/// The most short waits that are slept through before the next trial. What a trial in vain costs is then less than a hundredth of
/// what the sleeps around it do.
const MOST_SKIPPED: u32 = 1023;

/// What the waits of one waiter have been like.
#[derive(Clone, Debug)]
pub struct Spin {
    most: Duration,
    /// How many short waits are to be slept through.
    skip: u32,
    /// How many were, after looking in vain though something came soon.
    skipped: u32,
}

impl Spin {
    /// Of somebody who looks for `most` at a time.
    pub fn up_to(most: Duration) -> Spin {
        Spin { most, skip: 0, skipped: 0 }
    }

    /// How long to look now; zero to sleep at once.
    #[inline]
    pub fn how_long(&self) -> Duration {
        if self.skip == 0 { self.most } else { Duration::ZERO }
    }

    /// It came while we looked.
    #[inline]
    pub fn came(&mut self) {
        self.skipped = 0;
    }

    /// It came after we had looked as [`how_long`](Spin::how_long) said, and then had slept for so long.
    pub fn slept(&mut self, slept: Duration) {
        // Looking would have saved it, or nearly: the second half is the time in which the sleeper itself was woken.
        let short = self.most.max(SPIN).saturating_mul(2);
        if slept >= short {
            self.gave_up();
        } else if self.skip == 0 {
            self.skipped = (2 * self.skipped + 1).min(MOST_SKIPPED);
            self.skip = self.skipped;
        } else {
            self.skip -= 1;
        }
    }

    /// It did not come.
    pub fn gave_up(&mut self) {
        (self.skip, self.skipped) = (EVIDENCE, 0);
    }
}

impl Default for Spin {
    fn default() -> Spin {
        Spin::up_to(SPIN)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_millis(1);
    const SOON: Duration = Duration::from_micros(20);

    fn looks(spin: &Spin) -> bool {
        !spin.how_long().is_zero()
    }

    #[test]
    fn who_is_answered_at_once_goes_on_looking() {
        let mut spin = Spin::default();
        for _ in 0..100 {
            assert_eq!(spin.how_long(), SPIN);
            spin.came();
        }
    }

    #[test]
    fn who_waits_long_looks_in_vain_once_and_never_again() {
        let mut spin = Spin::default();
        let mut in_vain = 0;
        for _ in 0..10_000 {
            in_vain += u32::from(looks(&spin));
            spin.slept(LONG);
        }
        assert_eq!(in_vain, 1);
    }

    #[test]
    fn a_short_wait_now_and_then_is_no_conversation_and_two_in_a_row_are_one() {
        let mut spin = Spin::default();
        spin.slept(LONG);
        for slept in [SOON, LONG, SOON, LONG, SOON] {
            assert!(!looks(&spin));
            spin.slept(slept);
        }
        assert!(!looks(&spin));
        spin.slept(SOON);
        assert!(looks(&spin));
    }

    #[test]
    fn who_looks_in_vain_though_something_comes_soon_tries_less_and_less_often() {
        let mut spin = Spin::default();
        let in_vain = (0..100_000).filter(|_| {
            let looked = looks(&spin);
            spin.slept(SOON);
            looked
        });
        // Ten until they are 1023 waits apart, and one for each 1024 of the rest.
        assert_eq!(in_vain.count(), 10 + (100_000 - 1024) / 1024);
        while !looks(&spin) {
            spin.slept(SOON);
        }
        spin.came();
        spin.slept(SOON);
        assert_eq!(spin.skip, 1, "what came while we looked makes all good again");
    }

    #[test]
    fn who_shall_not_look_does_not() {
        let mut spin = Spin::up_to(Duration::ZERO);
        for slept in [SOON, SOON, LONG, SOON, SOON, SOON] {
            assert!(!looks(&spin));
            spin.slept(slept);
        }
    }
}
