//! Free pages: best fit, with neighbours joined.
//!
//! Only numbers of pages live here, so that it can be tested without memory; the heap acts on them.
//!
//! # Invariants
//! * **R1** Free runs do not overlap or touch: neighbours are one run.
//! * **R2** `by_len` and `by_start` hold the same runs.
//! * **R3** `dirty` lies inside of the free runs: pages that were used, and that the system has not got back since.

use std::collections::{BTreeMap, BTreeSet};

/// A number of pages, or of the first of them.
type Page = u32;

/// The free pages of a heap.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    by_start: BTreeMap<Page, Page>,
    by_len: BTreeSet<(Page, Page)>,
    dirty: BTreeMap<Page, Page>,
    dirty_len: Page,
}

impl Runs {
    /// Takes `len` pages from the shortest run that has them; of several, from the one at the lowest address.
    pub(crate) fn take(&mut self, len: Page) -> Option<Page> {
        debug_assert!(len > 0);
        let &(found, start) = self.by_len.range((len, 0)..).next()?;
        self.remove(start, found);
        if found > len {
            self.insert(start + len, found - len);
        }
        self.clean(start, len);
        Some(start)
    }

    /// Adds pages that are used no more.
    pub(crate) fn give(&mut self, start: Page, len: Page) {
        self.give_clean(start, len);
        // The run of dirty pages before this one grows, so that the map stays small when blocks come back in order.
        match self.dirty.range_mut(..start).next_back() {
            Some((&before, length)) if before + *length == start => *length += len,
            _ => drop(self.dirty.insert(start, len)),
        }
        self.dirty_len += len;
    }

    /// Adds pages that have never been used.
    pub(crate) fn give_clean(&mut self, mut start: Page, mut len: Page) {
        debug_assert!(len > 0);
        if let Some((&before, &length)) = self.by_start.range(..start).next_back() {
            assert!(before + length <= start, "pages were freed twice");
            if before + length == start {
                self.remove(before, length);
                (start, len) = (before, length + len);
            }
        }
        if let Some((&after, &length)) = self.by_start.range(start..).next() {
            assert!(after >= start + len, "pages were freed twice");
            if after == start + len {
                self.remove(after, length);
                len += length;
            }
        }
        self.insert(start, len);
    }

    /// How many free pages end right before page `end`.
    pub(crate) fn ending_at(&self, end: Page) -> Page {
        match self.by_start.range(..end).next_back() {
            Some((&start, &len)) if start + len == end => len,
            _ => 0,
        }
    }

    /// Pages that could be given back to the system.
    pub(crate) fn dirty(&self) -> Page {
        self.dirty_len
    }

    /// Takes note that some dirty pages, the highest ones, will be given back, and says which; none if there are none.
    pub(crate) fn next_dirty(&mut self) -> Option<(Page, Page)> {
        let (start, len) = self.dirty.pop_last()?;
        self.dirty_len -= len;
        Some((start, len))
    }

    fn insert(&mut self, start: Page, len: Page) {
        self.by_start.insert(start, len);
        self.by_len.insert((len, start));
    }

    fn remove(&mut self, start: Page, len: Page) {
        let both = self.by_start.remove(&start) == Some(len) && self.by_len.remove(&(len, start));
        debug_assert!(both, "a free run is in one index only (R2)");
    }

    /// Forgets that pages are dirty, since they are used again.
    fn clean(&mut self, start: Page, len: Page) {
        let end = start + len;
        while let Some((&at, &length)) = self.dirty.range(..end).next_back() {
            let dirty_end = at + length;
            if dirty_end <= start {
                break;
            }
            self.dirty.remove(&at);
            self.dirty_len -= length;
            for (at, until) in [(at, start), (end, dirty_end)] {
                if at < until {
                    self.dirty.insert(at, until - at);
                    self.dirty_len += until - at;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGES: usize = 256;

    /// What each page is, one by one.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Is {
        Used,
        Dirty,
        Clean,
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take(u32),
        /// Gives the n-th of the runs that are out, whole or from this page of it on.
        Give(usize, u32),
        Purge,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1..20_u32).prop_map(Step::Take),
            4 => (any::<usize>(), 0..4_u32).prop_map(|(which, from)| Step::Give(which, from)),
            1 => Just(Step::Purge),
        ]
    }

    fn check(runs: &Runs, model: &[Is]) {
        let dirty = model.iter().filter(|&&it| it == Is::Dirty).count();
        assert_eq!(runs.dirty() as usize, dirty);
        let listed =
            |map: &BTreeMap<u32, u32>, page| map.iter().any(|(&at, &len)| (at..at + len).contains(&page));
        for (page, &is) in model.iter().enumerate() {
            assert_eq!(listed(&runs.by_start, page as u32), is != Is::Used, "page {page} is {is:?}");
            assert_eq!(listed(&runs.dirty, page as u32), is == Is::Dirty, "page {page} is {is:?}");
        }
        for (&at, &len) in &runs.by_start {
            assert!(!runs.by_start.contains_key(&(at + len)), "two runs touch (R1)");
            assert!(runs.by_len.contains(&(len, at)), "(R2)");
        }
        assert_eq!(runs.by_start.len(), runs.by_len.len());
    }

    proptest! {
        #[test]
        fn free_pages_are_those_that_nobody_has(steps in prop::collection::vec(step(), 1..80)) {
            let mut runs = Runs::default();
            let mut model = [Is::Clean; PAGES];
            let mut out: Vec<(u32, u32)> = Vec::new();
            runs.give_clean(0, 100);
            runs.give_clean(100, PAGES as u32 - 100);
            for step in steps {
                match step {
                    Step::Take(len) => {
                        let longest = model.split(|&it| it == Is::Used).map(<[_]>::len).max().unwrap_or(0);
                        let got = runs.take(len);
                        prop_assert_eq!(got.is_some(), longest >= len as usize);
                        if let Some(at) = got {
                            let pages = &mut model[at as usize..][..len as usize];
                            prop_assert!(!pages.contains(&Is::Used));
                            pages.fill(Is::Used);
                            out.push((at, len));
                        }
                    }
                    Step::Give(which, from) if !out.is_empty() => {
                        let which = which % out.len();
                        let (at, len) = out[which];
                        let keep = from.min(len - 1);
                        if keep == 0 { out.swap_remove(which); } else { out[which].1 = keep; }
                        runs.give(at + keep, len - keep);
                        model[(at + keep) as usize..(at + len) as usize].fill(Is::Dirty);
                    }
                    Step::Give(..) => {}
                    Step::Purge => if let Some((at, len)) = runs.next_dirty() {
                        let pages = &mut model[at as usize..][..len as usize];
                        prop_assert!(pages.iter().all(|&it| it == Is::Dirty));
                        pages.fill(Is::Clean);
                    },
                }
                check(&runs, &model);
            }
        }
    }

    #[test]
    #[should_panic(expected = "freed twice")]
    fn pages_come_back_once() {
        let mut runs = Runs::default();
        runs.give_clean(0, 8);
        let at = runs.take(8).unwrap();
        runs.give(at, 4);
        runs.give(at + 2, 2);
    }
}
