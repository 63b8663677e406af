//! The pages of a heap that no span and no large block has, and how the heap grows.
//!
//! Everything here is decided under one lock, and what takes long is done outside of it: the memory of pages that go back to
//! the system is given back while they are in no list at all. Whoever finds no room meanwhile waits for them.
//!
//! # What is kept
//! Pages keep their memory when they are freed, since most are used again soon: up to [`MOST_WHOLE`] in [`Recent`], whole, and up
//! to [`MOST_DIRTY`] in [`Runs`], joined; fewer if little is used. What is more goes back at once, by the thread that freed it. So nobody needs to come
//! round later: memory follows what is alive at a bounded distance, also when all threads have gone to sleep.

use super::{
    heap::{Heap, lock},
    large::Runs,
    map::Data,
    recent::Recent,
};
use crate::{Error, sync::atomic::Ordering::*};

/// The heap grows by an eighth, but at least and at most by this many pages.
const LEAST_STEP: usize = if cfg!(loom) { 4 } else { 256 };
const MOST_STEP: usize = 4096;
/// Joined free pages that the system does not get back at once, since they are likely to be used again: a thirty-second of what
/// is used, or as many as were used more a moment ago, but at least 4 MiB and at most 8 MiB.
const LEAST_DIRTY: u32 = if cfg!(loom) { 2 } else { 1024 };
const MOST_DIRTY: u32 = if cfg!(loom) { 2 } else { 2048 };
/// Pages that wait whole: a sixteenth of what is used, or as many as were used more a moment ago, but at least 4 MiB and at most 16 MiB.
const LEAST_WHOLE: u32 = 1024;
const MOST_WHOLE: u32 = 4096;
/// How long a moment is: so many times pages are given until it is forgotten that more were used.
const MOMENT: usize = 1024;
/// How many runs go back to the system at a time.
const AT_ONCE: usize = 32;

/// What the lock of the pages guards.
pub(super) struct Pages {
    data: Data,
    runs: Runs,
    recent: Recent,
    /// Pages that spans and large blocks have.
    used: usize,
    /// The most they had of late. Memory that is used in waves is kept from one to the next.
    peak: usize,
    /// Pages on their way to the system: in no list, and soon in `runs`.
    leaving: u32,
    /// Numbers of spans that were given back, and the first that was never used.
    free_spans: Vec<u32>,
    next_span: u32,
}

impl Pages {
    pub(super) fn new(data: Data) -> Pages {
        Pages {
            data,
            runs: Runs::default(),
            recent: Recent::new(),
            used: 0,
            peak: 0,
            leaving: 0,
            free_spans: Vec::new(),
            next_span: 0,
        }
    }

    /// The number of a span that nobody uses.
    pub(super) fn take_number(&mut self, heap: &Heap) -> u32 {
        self.free_spans.pop().unwrap_or_else(|| {
            let next = self.next_span;
            assert!(next < heap.tables().span_count(), "there are more spans than pages for them");
            self.next_span += 1;
            heap.tables().counters().span_entries.store(self.next_span.into(), Relaxed);
            next
        })
    }

    pub(super) fn give_number(&mut self, number: u32) {
        self.free_spans.push(number);
    }

    /// For [`Data::back_magazines`].
    pub(super) fn data(&mut self) -> &mut Data {
        &mut self.data
    }

    /// Adds pages that nobody has any more. Those that may be wanted again just so are kept apart.
    pub(super) fn give(&mut self, heap: &Heap, first: usize, count: usize, whole: bool) {
        self.peak = self.peak.max(self.used);
        self.used -= count;
        let more = self.peak - self.used;
        self.peak -= more / MOMENT;
        let most = (more.max(self.used / 16) as u32).clamp(LEAST_WHOLE, MOST_WHOLE);
        if whole {
            self.recent.give(first as u32, count as u32, &mut self.runs);
        } else {
            self.runs.give(first as u32, count as u32);
        }
        self.recent.shrink_to(most, &mut self.runs);
        self.publish(heap);
    }

    /// How many of the joined pages that have memory are worth keeping, if there are more.
    pub(super) fn too_much(&self) -> Option<u32> {
        let more = self.peak.saturating_sub(self.used);
        let most = (more.max(self.used / 32) as u32).clamp(LEAST_DIRTY, MOST_DIRTY);
        (self.runs.dirty() > most).then_some(most / 2)
    }

    /// Takes pages out of the lists: such as have their memory, if they are of the right length.
    fn find(&mut self, count: u32) -> Option<u32> {
        self.recent.take(count).or_else(|| self.runs.take(count))
    }

    /// Takes pages out of the lists that have more free ones behind them: such as have their memory, if there are enough.
    fn find_roomy(&mut self, count: u32) -> Option<u32> {
        let Pages { recent, runs, .. } = self;
        match recent.open(4 * count, runs) {
            Some(start) => runs.take_at(start, count).then_some(start),
            None => runs.take_roomy(count),
        }
    }

    /// Lets runs that wait whole join the others; whether there were any.
    fn join_recent(&mut self) -> bool {
        let Pages { recent, runs, .. } = self;
        recent.clear(runs)
    }

    /// Tells other processes.
    fn publish(&self, heap: &Heap) {
        let counters = heap.tables().counters();
        counters.used_pages.store(self.used as u64, Relaxed);
        counters.retained_pages.store(u64::from(self.runs.dirty() + self.recent.pages()), Relaxed);
    }

    /// Makes at least `count` more pages usable.
    fn grow(&mut self, heap: &Heap, count: usize, left: usize) -> Result<(), Error> {
        let committed = self.data.committed();
        let step = (committed / 8).clamp(LEAST_STEP, MOST_STEP).clamp(count, left);
        self.data.grow(step)?;
        crate::step::step("heap/grown");
        self.runs.give_clean(committed as u32, step as u32);
        // From here on `find` looks at them.
        heap.tables().set_committed(committed + step);
        Ok(())
    }

    /// Counts pages as used that have left the lists, and makes sure that they can be touched.
    fn taken(&mut self, heap: &Heap, first: usize, count: usize) -> Result<(), Error> {
        if let Err(refused) = self.data.back(first, count) {
            self.runs.give(first as u32, count as u32);
            return Err(refused);
        }
        crate::step::step("pages/backed");
        self.used += count;
        self.publish(heap);
        Ok(())
    }
}

impl Heap {
    /// Takes pages out of the free ones, or makes the heap larger. With `room`, there are more free pages behind them if
    /// anywhere.
    pub(super) fn take_pages(
        &self,
        count: usize,
        reserve: bool,
        room: bool,
        size: usize,
    ) -> Result<usize, Error> {
        let mut pages = lock(&self.pages);
        let first = loop {
            if count > self.most(reserve).saturating_sub(pages.used) {
                return Err(self.full(size));
            }
            let found = if room { pages.find_roomy(count as u32) } else { pages.find(count as u32) };
            if let Some(first) = found {
                break first as usize;
            }
            // What waits whole is free, but it is memory: with it and what is asked for, the limit holds as well.
            let waiting = pages.recent.pages() as usize;
            if waiting > 0 && pages.used + waiting + count > self.most(true) {
                pages.join_recent();
                continue;
            }
            let committed = pages.data.committed();
            let left = pages.data.capacity() - committed;
            let need = count - (pages.runs.ending_at(committed as u32) as usize).min(count - 1);
            if need <= left {
                pages.grow(self, need, left)?;
            } else if pages.leaving > 0 {
                drop(pages);
                // Held by whoever gives pages back to the system, until they are in the lists again.
                drop(lock(&self.purging));
                pages = lock(&self.pages);
            } else {
                if !pages.join_recent() {
                    return Err(self.full(size));
                }
            }
        };
        pages.taken(self, first, count)?;
        Ok(first)
    }

    /// Takes the `count` pages from `first` on, if they are free; for a block that ends there.
    pub(super) fn take_pages_at(&self, first: usize, count: usize) -> bool {
        let mut pages = lock(&self.pages);
        if count > self.most(false).saturating_sub(pages.used) {
            return false;
        }
        let Pages { recent, runs, data, .. } = &mut *pages;
        recent.give_up(first as u32, runs);
        let committed = data.committed();
        let free = runs.beginning_at(first as u32) as usize;
        if free < count && first + free == committed {
            let (need, left) = (count - free, data.capacity() - committed);
            if need > left || pages.grow(self, need, left).is_err() {
                return false;
            }
        }
        pages.runs.take_at(first as u32, count as u32) && pages.taken(self, first, count).is_ok()
    }

    /// Gives pages back that nobody has any more.
    ///
    /// # Safety
    /// No block has a byte in there.
    pub(super) unsafe fn give_pages(&self, first: usize, count: usize, whole: bool) {
        let mut pages = lock(&self.pages);
        pages.give(self, first, count, whole);
        let too_much = pages.too_much();
        drop(pages);
        if let Some(keep) = too_much {
            self.purge(keep);
        }
    }

    /// Gives free pages back to the system until at most `keep` of the joined ones are left that it could have. Nothing if
    /// another thread is at it.
    #[cold]
    pub(super) fn purge(&self, keep: u32) {
        let Ok(_purging) = self.purging.try_lock() else { return };
        self.purge_to(keep);
    }

    /// Gives all free pages back to the system.
    pub(super) fn purge_all(&self) {
        let _purging = lock(&self.purging);
        lock(&self.pages).join_recent();
        self.purge_to(0);
    }

    /// The caller holds `purging`.
    fn purge_to(&self, keep: u32) {
        let mut batch = [(0, 0); AT_ONCE];
        loop {
            let mut count = 0;
            {
                let mut pages = lock(&self.pages);
                while count < AT_ONCE && pages.runs.dirty() > keep {
                    let Some(run) = pages.runs.take_dirty() else { break };
                    batch[count] = run;
                    pages.leaving += run.1;
                    count += 1;
                }
                pages.publish(self);
            }
            if count == 0 {
                return;
            }
            for &(first, len) in &batch[..count] {
                let discard = lock(&self.pages).data.discard(first as usize, len as usize);
                // SAFETY: the pages were free, and are in no list: nobody but us knows of them.
                unsafe { discard.run() };
                crate::step::step("pages/removed");
            }
            let mut pages = lock(&self.pages);
            for &(first, len) in &batch[..count] {
                pages.runs.give_clean(first, len);
                pages.leaving -= len;
            }
        }
    }
}
