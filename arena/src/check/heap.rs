//! A heap: its page table against its spans, large blocks and counters.

use std::{collections::BTreeMap, fs::File, path::PathBuf};

use super::{
    Problem,
    blocks::{FreeBlocks, count_blocks},
};
use crate::{
    alloc::class::{BLOCK, CLASSES, SPAN_PAGES, blocks_per_span},
    domain::Slot,
    layout::{Entry, MOST_AT_HAND, PAGE, Span},
    map::Tables,
    sync::atomic::Ordering::*,
};

/// At most so many problems of a heap are told: where there is one of a kind, there may be thousands.
const MOST_PROBLEMS: usize = 20;

/// The heap of a slot, to be looked at.
pub(super) struct Heap<'a> {
    pub(super) slot: Slot,
    pub(super) tables: &'a Tables,
    pub(super) tables_path: PathBuf,
    pub(super) data: &'a File,
    pub(super) data_path: PathBuf,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) problems: Vec<Problem>,
    pub(super) blocks: u64,
    pub(super) unfinished: u64,
}

/// A span, as its entry says.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanSeen {
    pub(super) first: usize,
    pub(super) class: usize,
    pub(super) carved: u32,
}

/// What is put together while a heap is looked at.
pub(super) struct Look<'a> {
    pub(super) heap: &'a Heap<'a>,
    committed: usize,
    pub(super) seen: Seen,
    /// Pages that each span has in the page table.
    named: BTreeMap<u32, usize>,
    pub(super) spans: BTreeMap<u32, SpanSeen>,
    /// First page and length of the large blocks.
    pub(super) large: Vec<(usize, usize)>,
}

impl Heap<'_> {
    /// Compares everything with everything else. Of a heap in use (`alive`) the counters are left out: they are never right.
    pub(super) fn check(&self, alive: bool) -> Seen {
        let mut look = Look {
            heap: self,
            committed: self.tables.committed(),
            seen: Seen::default(),
            named: BTreeMap::new(),
            spans: BTreeMap::new(),
            large: Vec::new(),
        };
        let length = self.data.metadata().map_or(0, |it| it.len());
        if length < (look.committed * PAGE) as u64 {
            look.data_problem(format!("{length} bytes, and the tables tell of {}", look.committed * PAGE));
            return look.seen;
        }
        look.pages();
        look.read_spans();
        look.seen.blocks = count_blocks(&mut look);
        FreeBlocks::check(&mut look);
        if !alive {
            look.counters();
        }
        look.seen
    }
}

impl Look<'_> {
    /// Notes something that must not be in the tables.
    pub(super) fn problem(&mut self, what: String) {
        let file = self.heap.tables_path.clone();
        if self.seen.problems.len() < MOST_PROBLEMS {
            self.seen.problems.push(Problem { file, what });
        }
    }

    /// Notes something that must not be in the data.
    pub(super) fn data_problem(&mut self, what: String) {
        let file = self.heap.data_path.clone();
        if self.seen.problems.len() < MOST_PROBLEMS {
            self.seen.problems.push(Problem { file, what });
        }
    }

    /// What the page table says: which spans there are, and which large blocks.
    fn pages(&mut self) {
        let entries = self.heap.tables.counters().span_entries.load(Acquire);
        let committed = self.committed;
        let mut large: Option<(usize, usize)> = None;
        for page in 0..committed {
            let entry = self.heap.tables.entry(page);
            if let Some((first, end)) = large
                && page < end
                && entry != Entry::Nothing
            {
                self.problem(format!(
                    "page {page} is {entry:?}, and inside of the large block at page {first}"
                ));
            }
            match entry {
                Entry::Nothing => {}
                Entry::Span(number) if u64::from(number) >= entries => {
                    self.problem(format!("page {page} is of span {number}, and there are {entries}"));
                }
                Entry::Span(number) => *self.named.entry(number).or_default() += 1,
                Entry::Large(pages) => {
                    let end = page + pages as usize;
                    if pages == 0 || end > committed {
                        self.problem(format!(
                            "the large block at page {page} has {pages} pages, and {committed} are usable"
                        ));
                    } else {
                        large = Some((page, end));
                        self.large.push((page, pages as usize));
                    }
                }
            }
        }
    }

    /// What the span table says of these spans.
    fn read_spans(&mut self) {
        let tables = self.heap.tables;
        for (number, named) in self.named.clone() {
            // Below `span_entries`, but that may be anything.
            let Some(span) = tables.try_span(number) else {
                self.problem(format!("pages are of span {number}, which cannot be"));
                continue;
            };
            let class = span.class.load(Relaxed) as usize;
            let first = span.first.load(Relaxed) as usize;
            let carved = span.carved.load(Acquire);
            if class >= CLASSES {
                self.problem(format!("span {number} is of class {class}, and there are {CLASSES}"));
                continue;
            }
            let pages = usize::from(SPAN_PAGES[class]);
            let own = first..first.saturating_add(pages).min(self.committed);
            let inside = own.filter(|&page| tables.entry(page) == Entry::Span(number)).count();
            if inside != named {
                self.problem(format!("{named} pages are of span {number}, {inside} of them among its own"));
                continue;
            }
            // Its process died while it made or freed the span.
            self.seen.unfinished += u64::from(named < pages);
            let fit = blocks_per_span(class);
            if carved > fit {
                self.problem(format!("span {number} has {carved} blocks, and {fit} fit"));
                continue;
            }
            self.free_bits(number, span, carved);
            self.spans.insert(number, SpanSeen { first, class, carved });
        }
    }

    /// The free blocks of a span: how many, and that there are such blocks.
    fn free_bits(&mut self, number: u32, span: &Span, carved: u32) {
        let bits = || span.free.iter().map(|it| it.load(Relaxed)).enumerate();
        let count: u32 = bits().map(|(_, it)| it.count_ones()).sum();
        let last = bits().filter(|it| it.1 != 0).last();
        let end = last.map_or(0, |(word, bits)| word as u32 * 64 + 64 - bits.leading_zeros());
        // With none carved, the span is on its way out.
        if end > carved && carved != 0 {
            self.problem(format!("block {} of span {number} is free, and there are {carved}", end - 1));
        }
        let said = span.free_len.load(Relaxed);
        if said != count {
            // The two are written one after the other, under one lock: at most a batch apart.
            self.seen.unfinished += 1;
            if said.abs_diff(count) as usize > MOST_AT_HAND && carved != 0 {
                self.problem(format!("span {number} has {count} free blocks, and says {said}"));
            }
        }
    }

    /// The counters of a heap that nobody changes. Those of pages are raised before and lowered after what they count.
    fn counters(&mut self) {
        let tables = self.heap.tables;
        let counters = tables.counters();
        let large_pages: usize = self.large.iter().map(|it| it.1).sum();
        let span_pages: usize = self.named.values().sum();
        let used = counters.used_pages.load(Relaxed);
        for (what, said, found) in [
            ("pages in use", used, (large_pages + span_pages) as u64),
            ("large blocks", counters.large_blocks.load(Relaxed), self.large.len() as u64),
            ("pages of large blocks", counters.large_pages.load(Relaxed), large_pages as u64),
        ] {
            if said < found {
                self.problem(format!("there are {found} {what}, and the counter says {said}"));
            }
            self.seen.unfinished += u64::from(said > found);
        }
        let limit = counters.limit_pages.load(Relaxed);
        if used > limit {
            self.problem(format!("there are {used} pages in use, and the limit is {limit}"));
        }
        for (class, block) in BLOCK.iter().enumerate() {
            let of_class = &counters.classes[class];
            let (mut spans, mut out) = (0, 0);
            for (&number, span) in self.spans.iter().filter(|it| it.1.class == class) {
                let free = |it: &crate::sync::atomic::AtomicU64| it.load(Relaxed).count_ones();
                let free: u32 = tables.span(number).free.iter().map(free).sum();
                spans += 1;
                out += u64::from(span.carved.saturating_sub(free));
            }
            let said = of_class.spans.load(Relaxed);
            if said > spans {
                self.problem(format!(
                    "there are {spans} spans of {block} bytes, and the counter says {said}"
                ));
            }
            let said = of_class.out.load(Relaxed);
            if said.abs_diff(out) > MOST_AT_HAND as u64 {
                self.problem(format!("{out} blocks of {block} bytes are out, and the counter says {said}"));
            }
            self.seen.unfinished += u64::from(said != out);
        }
    }
}
