//! Pages for the heaps of small states: taken in short runs from spans that many states share, given back when a state
//! ends.
//!
//! A part of the address space is reserved once. It consists of spans of 64 pages of the system. What is taken and given is a quarter of
//! one, here called a page: so a state wastes half a quarter, and not half of what the system gives. A map of each span says which of its
//! pages are free. Runs are taken from the lowest span that has one, so that the upper ones become empty. A page that was given
//! back keeps its memory for the next state; when there is too much of that, the pages of the span that is being given to
//! go back to the system, and those of the upper spans.
//!
//! # Invariants
//! * **P1** A page is free (its bit is set) or belongs to exactly one run.
//! * **P2** Pages of spans below `opened` may be read and written, others not. What a page contains is anybody's guess.
//! * **P3** `seen[n - 1]`: no span below it has a run of `n` free pages.

use std::ptr::{self, NonNull};

use skein_arena::sync::Mutex;
use skein_arena::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a page.
pub(crate) const PAGE: usize = 1024;
/// Pages of a span; no run is longer.
pub(crate) const SPAN: usize = 256;

/// Pages that the system gives and takes together.
const TOGETHER: usize = 4;
const SPAN_BYTES: usize = SPAN * PAGE;
/// Address space for heaps, unless the process has less to spare.
const MOST: usize = 32 << 30;
const LEAST: usize = 16 << 20;
/// Pages of the system that are free and keep their memory, beside one for each eight in use.
const KEPT: usize = 512;

/// Where the reserved part begins, and its size; 0 before there is one.
static BASE: AtomicUsize = AtomicUsize::new(0);
static SIZE: AtomicUsize = AtomicUsize::new(0);

static POOL: Mutex<Pool> = Mutex::new(Pool {
    base: 0,
    spans: 0,
    asked: false,
    free: Vec::new(),
    warm: Vec::new(),
    seen: [0; SPAN],
    used: 0,
    kept: 0,
});

struct Pool {
    base: usize,
    /// How many spans there is room for.
    spans: usize,
    asked: bool,
    /// By span, for each that was opened: the free pages.
    free: Vec<Map>,
    /// A bit for each page of the system that is free and has memory.
    warm: Vec<u64>,
    seen: [u32; SPAN],
    used: usize,
    /// Bits in `warm`.
    kept: usize,
}

fn pool() -> std::sync::MutexGuard<'static, Pool> {
    // Nothing between lock and unlock panics half way.
    POOL.lock().unwrap_or_else(|broken| broken.into_inner())
}

/// Takes a run of `count` pages, 1 to [`SPAN`]. `None`: there is no room, or no memory for more.
pub(crate) fn take(count: usize) -> Option<NonNull<u8>> {
    pool().take(count)
}

/// Gives a run back, or a part of it.
///
/// # Safety
///
/// The caller has it, and nobody uses it any more.
pub(crate) unsafe fn give(at: NonNull<u8>, count: usize) {
    pool().give(at.addr().get(), count);
}

/// Whether an address is in the reserved part: memory from elsewhere is not.
#[inline]
pub(crate) fn holds(address: usize) -> bool {
    // Who asks about a run got it from here, and so saw both numbers change.
    address.wrapping_sub(BASE.load(Ordering::Relaxed)) < SIZE.load(Ordering::Relaxed)
}

/// Where the reserved part begins.
#[inline]
pub(crate) fn base() -> usize {
    BASE.load(Ordering::Relaxed)
}

/// Pages that somebody has.
#[cfg(test)]
pub(crate) fn used() -> usize {
    pool().used
}

impl Pool {
    fn take(&mut self, count: usize) -> Option<NonNull<u8>> {
        debug_assert!((1..=SPAN).contains(&count));
        let from = self.seen[count - 1] as usize;
        let found = (from..self.free.len()).find_map(|span| Some((span, self.free[span].run(count)?)));
        let (span, first) = match found {
            Some(found) => found,
            None => (self.open()?, 0),
        };
        self.seen[count - 1] = span as u32;
        let run = Map::of(first, count);
        let touched = groups(touched(first, count));
        self.kept -= (self.warm[span] & touched).count_ones() as usize;
        self.free[span] = self.free[span].without(run);
        self.warm[span] &= !touched;
        self.used += count;
        NonNull::new(ptr::with_exposed_provenance_mut(self.base + (span * SPAN + first) * PAGE))
    }

    fn give(&mut self, at: usize, count: usize) {
        let page = (at - self.base) / PAGE;
        let (span, first) = (page / SPAN, page % SPAN);
        let run = Map::of(first, count);
        debug_assert!(self.free[span].and(run).count() == 0, "pages given twice");
        self.free[span] = self.free[span].or(run);
        self.used -= count;
        for group in touched(first, count) {
            if self.free[span].has_all(group * TOGETHER, TOGETHER) {
                self.warm[span] |= 1 << group;
                self.kept += 1;
            }
        }
        for seen in &mut self.seen {
            *seen = (*seen).min(span as u32);
        }
        let limit = KEPT + self.used / TOGETHER / 8;
        if self.kept > limit {
            self.cool(span);
        }
        // The limit falls with what is in use: what was kept under a higher one goes, too, from the top.
        for span in (0..self.warm.len()).rev() {
            if self.kept <= limit {
                return;
            }
            self.cool(span);
        }
    }

    /// Gives the memory of a span's free pages to the system.
    fn cool(&mut self, span: usize) {
        let mut warm = std::mem::take(&mut self.warm[span]);
        self.kept -= warm.count_ones() as usize;
        while warm != 0 {
            let first = warm.trailing_zeros() as usize;
            let count = (warm >> first).trailing_ones() as usize;
            warm &= !groups(first..=first + count - 1);
            let at: *mut u8 =
                ptr::with_exposed_provenance_mut(self.base + (span * SPAN + first * TOGETHER) * PAGE);
            // SAFETY: free pages of ours (P1), whole ones of the system's. What fails is memory that stays.
            unsafe { libc::madvise(at.cast(), count * TOGETHER * PAGE, libc::MADV_DONTNEED) };
        }
    }

    /// One more span, free as a whole.
    fn open(&mut self) -> Option<usize> {
        if !self.asked {
            self.asked = true;
            self.reserve();
        }
        let span = self.free.len();
        if span == self.spans {
            return None;
        }
        let at: *mut u8 = ptr::with_exposed_provenance_mut(self.base + span * SPAN_BYTES);
        // SAFETY: reserved for us, and not in use (P2).
        if unsafe { libc::mprotect(at.cast(), SPAN_BYTES, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
            return None;
        }
        // One call for what would be a fault for each page, soon. Who cannot do that gives them one by one.
        // SAFETY: as above.
        unsafe { libc::madvise(at.cast(), SPAN_BYTES, libc::MADV_POPULATE_WRITE) };
        self.free.push(Map::ALL);
        self.warm.push(u64::MAX);
        self.kept += u64::BITS as usize;
        Some(span)
    }

    fn reserve(&mut self) {
        let mut size = MOST.min(address_space() / 8);
        while size >= LEAST {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            // SAFETY: a new mapping, nowhere in particular.
            let at = unsafe { libc::mmap(ptr::null_mut(), size, libc::PROT_NONE, flags, -1, 0) };
            if at != libc::MAP_FAILED {
                // Pages come and go one by one; huge ones would give each of them memory. Who has none refuses.
                // SAFETY: our mapping.
                unsafe { libc::madvise(at, size, libc::MADV_NOHUGEPAGE) };
                self.base = at.expose_provenance();
                self.spans = size / SPAN_BYTES;
                // In this order: an address is compared with a size of 0, or with both.
                BASE.store(self.base, Ordering::Relaxed);
                SIZE.store(size, Ordering::Release);
                return;
            }
            size /= 2;
        }
    }
}

const _: () = assert!(SPAN == u64::BITS as usize * TOGETHER);

/// Which pages of the system a run lies in, in its span.
fn touched(first: usize, count: usize) -> std::ops::RangeInclusive<usize> {
    first / TOGETHER..=(first + count - 1) / TOGETHER
}

/// The bits of some pages of the system.
fn groups(pages: std::ops::RangeInclusive<usize>) -> u64 {
    (u64::MAX >> (u64::BITS as usize - (pages.end() - pages.start() + 1))) << pages.start()
}

/// Pages of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Map([u64; SPAN / WORD]);

/// Pages that one word tells of.
const WORD: usize = 64;

impl Map {
    const ALL: Map = Map([u64::MAX; SPAN / WORD]);

    /// The pages of a run.
    fn of(first: usize, count: usize) -> Map {
        Map(std::array::from_fn(|word| {
            let begin = first.clamp(word * WORD, (word + 1) * WORD) - word * WORD;
            let end = (first + count).clamp(word * WORD, (word + 1) * WORD) - word * WORD;
            if begin == end { 0 } else { (u64::MAX >> (WORD - (end - begin))) << begin }
        }))
    }

    fn and(self, other: Map) -> Map {
        Map(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    fn or(self, other: Map) -> Map {
        Map(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    fn without(self, other: Map) -> Map {
        Map(std::array::from_fn(|word| self.0[word] & !other.0[word]))
    }

    fn count(self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether all of a few pages that share a word are there.
    fn has_all(self, first: usize, count: usize) -> bool {
        let bits = (u64::MAX >> (WORD - count)) << (first % WORD);
        self.0[first / WORD] & bits == bits
    }

    /// Each page as the one that is so many above it.
    fn down(self, by: usize) -> Map {
        let (words, bits) = (by / WORD, by % WORD);
        let word = |at: usize| self.0.get(at).copied().unwrap_or(0);
        Map(std::array::from_fn(|at| {
            let above = if bits == 0 { 0 } else { word(at + words + 1) << (WORD - bits) };
            word(at + words) >> bits | above
        }))
    }

    /// The first of `count` pages in a row that are there.
    fn run(mut self, count: usize) -> Option<usize> {
        // After each step a page says that so many in a row begin there.
        let mut have = 1;
        while have < count {
            let step = have.min(count - have);
            self = self.and(self.down(step));
            have += step;
        }
        let word = self.0.iter().position(|&word| word != 0)?;
        Some(word * WORD + self.0[word].trailing_zeros() as usize)
    }
}

/// The limit on the address space of the process.
fn address_space() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills the record.
    match unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) } {
        0 => usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX),
        _ => usize::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(spans: usize) -> Pool {
        let size = spans * SPAN_BYTES;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping, nowhere in particular; the test leaves it behind.
        let at = unsafe { libc::mmap(ptr::null_mut(), size, libc::PROT_NONE, flags, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED);
        Pool {
            base: at.expose_provenance(),
            spans,
            asked: true,
            free: Vec::new(),
            warm: Vec::new(),
            seen: [0; SPAN],
            used: 0,
            kept: 0,
        }
    }

    #[test]
    fn runs_are_found_where_the_bits_are() {
        assert_eq!(Map::ALL.run(SPAN), Some(0));
        assert_eq!(Map::ALL.without(Map::of(0, 1)).run(SPAN), None);
        let map = Map::of(1, 2).or(Map::of(4, 3));
        assert_eq!((map.run(3), map.run(2), map.run(4)), (Some(4), Some(1), None));
        assert_eq!(Map::of(0, 1).or(Map::of(2, 1)).run(2), None);
        for count in 1..=SPAN {
            for first in [0, 1, 62, 63, 64, 65, 127, 128, SPAN - count] {
                let first = first.min(SPAN - count);
                let run = Map::of(first, count);
                assert_eq!((run.count(), run.run(count)), (count, Some(first)));
                assert_eq!(run.run(count + 1), None, "{first} {count}");
            }
        }
        assert!(Map::of(60, 8).has_all(60, 4) && !Map::of(61, 8).has_all(60, 4));
    }

    #[test]
    fn random_runs_never_overlap_and_all_come_back() {
        let mut pool = pool(8);
        let mut seed = 0x1234_5678_9abc_def1_u64;
        let mut held: Vec<(usize, usize, u8)> = Vec::new();
        for step in 0..20_000_u32 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            if held.len() < 60 && seed & 1 == 0 {
                let count = 1 + (seed >> 8) as usize % 20;
                if let Some(at) = pool.take(count) {
                    let mark = step as u8;
                    // SAFETY: ours until it is given back.
                    unsafe { at.write_bytes(mark, count * PAGE) };
                    held.push((at.addr().get(), count, mark));
                }
            } else if !held.is_empty() {
                let (at, count, mark) = held.swap_remove((seed >> 8) as usize % held.len());
                let first: *const u8 = ptr::with_exposed_provenance(at);
                // SAFETY: as above.
                let bytes = unsafe { std::slice::from_raw_parts(first, count * PAGE) };
                assert!(bytes.iter().all(|&it| it == mark), "another run wrote here");
                pool.give(at, count);
            }
        }
        for (at, count, _) in held {
            pool.give(at, count);
        }
        assert_eq!(pool.used, 0);
        assert!(pool.free.iter().all(|&it| it == Map::ALL));
        assert!(pool.kept <= KEPT, "{}", pool.kept);
    }

    #[test]
    fn what_is_given_back_is_taken_first_and_too_much_of_it_goes_to_the_system() {
        let mut pool = pool(64);
        let runs: Vec<usize> = (0..400).map(|_| pool.take(7).unwrap().addr().get()).collect();
        pool.give(runs[3], 7);
        assert_eq!(pool.take(7).unwrap().addr().get(), runs[3]);
        for &at in &runs {
            pool.give(at, 7);
        }
        assert!(pool.kept <= KEPT, "{}", pool.kept);
        assert_eq!(pool.take(7).unwrap().addr().get(), runs[0]);
    }

    #[test]
    fn a_pool_that_is_full_says_so() {
        let mut pool = pool(2);
        assert!(pool.take(SPAN).is_some());
        assert!(pool.take(SPAN - 1).is_some());
        assert!(pool.take(2).is_none());
        assert!(pool.take(1).is_some());
        assert!(pool.take(1).is_none());
    }
}
