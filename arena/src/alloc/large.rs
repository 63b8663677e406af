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
        self.cut(start, found, start, len);
        Some(start)
    }

    /// Takes `len` pages with as many free ones behind them as there are: from the longest run.
    pub(crate) fn take_roomy(&mut self, len: Page) -> Option<Page> {
        debug_assert!(len > 0);
        let &(found, start) = self.by_len.last().filter(|it| it.0 >= len)?;
        self.cut(start, found, start, len);
        Some(start)
    }

    /// Takes the `len` pages from `start` on, if all of them are free.
    pub(crate) fn take_at(&mut self, start: Page, len: Page) -> bool {
        match self.by_start.range(..=start).next_back() {
            Some((&run, &found)) if start + len <= run + found => {
                self.cut(run, found, start, len);
                true
            }
            _ => false,
        }
    }

    /// Takes the highest run of dirty pages that the system could have, if there is one. They come back
    /// [clean](Runs::give_clean).
    pub(crate) fn take_dirty(&mut self) -> Option<(Page, Page)> {
        let (&start, &len) = self.dirty.last_key_value()?;
        let (&run, &found) = self.by_start.range(..=start).next_back().expect("dirty pages are free (R3)");
        self.cut(run, found, start, len);
        Some((start, len))
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

    /// How many free pages begin at page `start`, which does not lie inside of a run.
    pub(crate) fn beginning_at(&self, start: Page) -> Page {
        self.by_start.get(&start).copied().unwrap_or(0)
    }

    /// Pages that could be given back to the system.
    pub(crate) fn dirty(&self) -> Page {
        self.dirty_len
    }

    /// Takes `len` pages from `start` on out of the run of `found` pages that begins at `run`.
    fn cut(&mut self, run: Page, found: Page, start: Page, len: Page) {
        debug_assert!(run <= start && start + len <= run + found);
        self.remove(run, found);
        if start > run {
            self.insert(run, start - run);
        }
        if run + found > start + len {
            self.insert(start + len, run + found - (start + len));
        }
        self.clean(start, len);
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
        TakeRoomy(u32),
        /// Takes this many pages right behind the n-th of the runs that are out.
        TakeBehind(usize, u32),
        Purge,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1..20_u32).prop_map(Step::Take),
            4 => (any::<usize>(), 0..4_u32).prop_map(|(which, from)| Step::Give(which, from)),
            1 => (1..20_u32).prop_map(Step::TakeRoomy),
            2 => (any::<usize>(), 1..9_u32).prop_map(|(which, len)| Step::TakeBehind(which, len)),
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
                    Step::Take(len) | Step::TakeRoomy(len) => {
                        let longest = model.split(|&it| it == Is::Used).map(<[_]>::len).max().unwrap_or(0);
                        let roomy = matches!(step, Step::TakeRoomy(_));
                        let got = if roomy { runs.take_roomy(len) } else { runs.take(len) };
                        if let Some(at) = got.filter(|_| roomy) {
                            let behind = model[at as usize..].iter().take_while(|&&it| it != Is::Used).count();
                            prop_assert_eq!(behind, longest);
                        }
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
                    Step::TakeBehind(which, len) if !out.is_empty() => {
                        let (at, before) = out[which % out.len()];
                        let start = (at + before) as usize;
                        let free = model[start..].iter().take_while(|&&it| it != Is::Used).count();
                        prop_assert_eq!(runs.take_at(start as u32, len), free >= len as usize);
                        if free >= len as usize {
                            model[start..][..len as usize].fill(Is::Used);
                            out.push((start as u32, len));
                        }
                    }
                    Step::TakeBehind(..) => {}
                    Step::Purge => if let Some((at, len)) = runs.take_dirty() {
                        let pages = &mut model[at as usize..][..len as usize];
                        prop_assert!(pages.iter().all(|&it| it == Is::Dirty));
                        pages.fill(Is::Clean);
                        runs.give_clean(at, len);
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
