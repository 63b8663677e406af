//! Runs of pages that were freed a moment ago, whole.
//!
//! A program that passes messages of 64 KiB or 1 MiB frees runs of the same lengths that it takes. They wait here, newest last,
//! with their memory and in one piece: taking one of just the right length is a look along a short list, and touches no tree,
//! no page that is not there yet, and not the system. What waits is bounded in bytes ([`Recent::shrink_to`]) and in number;
//! the oldest leave for [`Runs`].

use super::large::Runs;

/// The most runs that wait.
const MOST: usize = if cfg!(loom) { 2 } else { 128 };
/// Longer runs do not wait: a payload of 4 MiB with its header.
const LONGEST: u32 = 1025;

/// A list of runs, the oldest first.
#[derive(Debug)]
pub(super) struct Recent {
    /// First page and number of pages.
    runs: [(u32, u32); MOST],
    len: usize,
    pages: u32,
}

impl Recent {
    pub(super) const fn new() -> Recent {
        Recent { runs: [(0, 0); MOST], len: 0, pages: 0 }
    }

    /// Pages that wait.
    pub(super) fn pages(&self) -> u32 {
        self.pages
    }

    /// Takes a run of exactly `len` pages: of several, the newest.
    pub(super) fn take(&mut self, len: u32) -> Option<u32> {
        let at = self.runs[..self.len].iter().rposition(|it| it.1 == len)?;
        Some(self.remove(at).0)
    }

    /// Lets the newest run of at least `len` pages go, and says where it begins.
    pub(super) fn open(&mut self, len: u32, runs: &mut Runs) -> Option<u32> {
        let at = self.runs[..self.len].iter().rposition(|it| it.1 >= len)?;
        let start = self.runs[at].0;
        self.let_go(at, runs);
        Some(start)
    }

    /// Adds pages that are used no more; those for which there is no room go to `runs`.
    pub(super) fn give(&mut self, start: u32, len: u32, runs: &mut Runs) {
        if len > LONGEST {
            return runs.give(start, len);
        }
        if self.len == MOST {
            self.let_go(0, runs);
        }
        self.runs[self.len] = (start, len);
        self.len += 1;
        self.pages += len;
    }

    /// Lets the oldest go until at most `pages` wait, or one run: who passes on one large block at a time finds it again.
    pub(super) fn shrink_to(&mut self, pages: u32, runs: &mut Runs) {
        while self.pages > pages && self.len > 1 {
            self.let_go(0, runs);
        }
    }

    /// Lets the run go that begins with page `start`, if it waits here.
    pub(super) fn give_up(&mut self, start: u32, runs: &mut Runs) {
        if let Some(at) = self.runs[..self.len].iter().position(|it| it.0 == start) {
            self.let_go(at, runs);
        }
    }

    /// Lets all go; whether there were any.
    pub(super) fn clear(&mut self, runs: &mut Runs) -> bool {
        let any = self.len > 0;
        while self.len > 0 {
            self.let_go(self.len - 1, runs);
        }
        any
    }

    fn let_go(&mut self, at: usize, runs: &mut Runs) {
        let (start, len) = self.remove(at);
        runs.give(start, len);
    }

    fn remove(&mut self, at: usize) -> (u32, u32) {
        let run = self.runs[at];
        self.runs.copy_within(at + 1..self.len, at);
        self.len -= 1;
        self.pages -= run.1;
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_run_of_that_length_is_taken_and_the_oldest_leaves() {
        let (mut recent, mut runs) = (Recent::new(), Runs::default());
        recent.give(0, 17, &mut runs);
        recent.give(100, 20, &mut runs);
        recent.give(200, 17, &mut runs);
        assert_eq!((recent.take(17), recent.take(16), recent.pages()), (Some(200), None, 37));
        for number in 0..MOST as u32 {
            recent.give(1000 + number * 10, 5, &mut runs);
        }
        // The two oldest made room.
        assert_eq!((recent.take(17), recent.take(20), runs.dirty()), (None, None, 37));
        assert_eq!(runs.take(17), Some(0));
        recent.give(5000, LONGEST + 1, &mut runs);
        assert_eq!(runs.take(LONGEST + 1), Some(5000));
    }

    #[test]
    fn what_waits_is_bounded_in_pages() {
        let (mut recent, mut runs) = (Recent::new(), Runs::default());
        for number in 0..9 {
            recent.give(number * 2000, LONGEST, &mut runs);
            recent.shrink_to(4 * LONGEST + 7, &mut runs);
        }
        assert_eq!((recent.pages(), runs.dirty()), (4 * LONGEST, 5 * LONGEST));
        recent.give_up(16_000, &mut runs);
        assert_eq!(recent.pages(), 3 * LONGEST);
        assert_eq!((recent.open(LONGEST + 1, &mut runs), recent.open(9, &mut runs)), (None, Some(14_000)));
        assert!(recent.clear(&mut runs) && !recent.clear(&mut runs));
        assert_eq!((recent.pages(), runs.dirty()), (0, 9 * LONGEST));
    }
}
