//! Addresses of segments: who takes which, and when they may be taken again.
//!
//! The part of the range behind the heaps is cut in two: one half for segments of this process, the other kept for those of a
//! domain, whose addresses must be free in every process of it. Addresses are handed out in a circle. So what was given
//! back is not used again before everything else was: a stale pointer hits nothing for as long as possible.
//!
//! # Invariants
//! * **A1** Windows that are taken do not overlap.
//! * **A2** A window becomes smaller ([`Space::trim`]) or ends ([`Space::give`]); its first address stays.

use std::collections::BTreeMap;

use skein_arena::range;
use skein_arena::sync::{Mutex, MutexGuard};

/// Windows begin at multiples of this.
pub(crate) const GRAIN: usize = 1 << 16;

const MIDDLE: usize = range::SEGMENTS + (range::CODE - range::SEGMENTS) / 2;

/// Where segments of a domain lie: first address, and the one behind the last.
pub(crate) const SHARED: (usize, usize) = (MIDDLE, range::CODE);

/// What this process has mapped of those.
pub(crate) static DOMAIN: Space = Space::new(SHARED.0, SHARED.1);

/// Segments of this process.
pub(crate) static OWN: Space = Space::new(range::SEGMENTS, MIDDLE);

/// A run of addresses that is handed out in pieces.
#[derive(Debug)]
pub(crate) struct Space {
    first: usize,
    end: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Where the next search begins, from `first`.
    next: usize,
    /// First address and size of each window.
    taken: BTreeMap<usize, usize>,
}

impl Space {
    const fn new(first: usize, end: usize) -> Space {
        Space { first, end, inner: Mutex::new(Inner { next: 0, taken: BTreeMap::new() }) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing between lock and unlock panics half way.
        self.inner.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// Sizes to try for a draft.
    pub(crate) fn windows(&self) -> impl Iterator<Item = usize> {
        windows(self.first, self.end)
    }

    /// Takes a window of `size` bytes, a multiple of [`GRAIN`].
    pub(crate) fn take(&self, size: usize) -> Option<usize> {
        let mut inner = self.inner();
        let from = self.first + inner.next;
        let at = gap(&inner.taken, from, self.end, size)
            .or_else(|| gap(&inner.taken, self.first, self.end, size))?;
        inner.taken.insert(at, size);
        inner.next = at + size - self.first;
        Some(at)
    }

    /// Takes a window of `size` bytes at or behind `from`, or before it, that is free here and in none of `others`, which are sizes by
    /// first address.
    pub(crate) fn take_beside(
        &self,
        others: &BTreeMap<usize, usize>,
        from: usize,
        size: usize,
    ) -> Option<usize> {
        let mut inner = self.inner();
        let mut taken = others.clone();
        // What is in both is the same window, here perhaps longer by what is not trimmed yet.
        taken.extend(
            inner.taken.iter().map(|(&at, &size)| (at, size.max(others.get(&at).copied().unwrap_or(0)))),
        );
        let at = gap(&taken, from, self.end, size).or_else(|| gap(&taken, self.first, self.end, size))?;
        inner.taken.insert(at, size);
        Some(at)
    }

    /// Takes a certain window, unless some of it is taken.
    pub(crate) fn claim(&self, at: usize, size: usize) -> bool {
        let mut inner = self.inner();
        let free = at >= self.first && gap(&inner.taken, at, self.end, size) == Some(at);
        if free {
            inner.taken.insert(at, size);
        }
        free
    }

    /// Gives back all but the first `size` bytes of a window.
    pub(crate) fn trim(&self, at: usize, size: usize) {
        let mut inner = self.inner();
        let before = inner.taken.insert(at, size).unwrap_or(size);
        // Nobody came behind it: the circle goes on where this window ends now.
        if self.first + inner.next == at + before {
            inner.next = at + size - self.first;
        }
    }

    /// Gives a window back.
    pub(crate) fn give(&self, at: usize) {
        self.inner().taken.remove(&at);
    }
}

/// Sizes of windows to try for a draft of part `first..end`: a 128th of it, or less if there is no such gap.
pub(crate) fn windows(first: usize, end: usize) -> impl Iterator<Item = usize> {
    let largest = (end - first) / 128;
    [largest, largest / 16, largest / 256].into_iter().map(|size| size.next_multiple_of(GRAIN))
}

/// The first run of `size` bytes in `from..end` that is in none of the windows, which are sizes by first address.
fn gap(taken: &BTreeMap<usize, usize>, from: usize, end: usize, size: usize) -> Option<usize> {
    let before = taken.range(..from).next_back().map_or(from, |(at, size)| at + size);
    let mut at = from.max(before);
    for (&taken, &its) in taken.range(at..) {
        if taken.checked_sub(at)? >= size {
            break;
        }
        at = taken + its;
    }
    (at.checked_add(size)? <= end).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_round_before_they_come_again() {
        let space = Space::new(1000, 1100);
        let first = space.take(40).unwrap();
        space.trim(first, 10);
        let second = space.take(40).unwrap();
        assert_eq!((first, second), (1000, 1010));
        space.give(first);
        assert_eq!(space.take(40), Some(1050), "not the one given back last");
        assert_eq!(space.take(10), Some(1090));
        assert_eq!(space.take(20), None);
        assert_eq!(space.take(10), Some(1000));
        space.give(second);
        assert_eq!(space.take(20), Some(1010));
    }
}
