//! Counters a dashboard wants.

use crate::sync::atomic::Ordering::Relaxed;
#[cfg(not(loom))]
use crate::{alloc::class::BLOCK, layout::PAGE, map::Tables};

/// What an arena holds, and what has been copied into and out of payloads by this process.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes of the blocks that have owners, headers and rounding included.
    pub live_bytes: u64,
    /// Blocks that have owners.
    pub live_blocks: u64,
    /// Bytes that count against the limit: the pages of spans and of large blocks.
    pub used_bytes: u64,
    /// Bytes of address space that have been made usable.
    pub committed_bytes: u64,
    /// Bytes in free pages that the system has not got back yet.
    pub retained_bytes: u64,
    /// What `used_bytes` cannot exceed.
    pub limit: u64,
    /// Payload bytes copied in.
    pub copied_in: u64,
    /// Payload bytes copied out.
    pub copied_out: u64,
    /// Payload bytes that moved because a writer had to grow.
    pub moved: u64,
    /// The size classes that have ever been used, smallest first.
    pub classes: Vec<ClassStats>,
    /// Blocks with pages of their own.
    pub large_blocks: u64,
    /// Bytes of these pages.
    pub large_bytes: u64,
}

#[cfg(not(loom))]
impl Stats {
    /// What a heap holds, by its tables alone: of this process, of another, or of one that has died. Each number is right at
    /// some moment of the reading; when nobody allocates, all of them are. Another's may be any numbers: nothing overflows.
    pub(crate) fn of(tables: &Tables) -> Stats {
        let counters = tables.counters();
        let pages =
            |counter: &crate::sync::atomic::AtomicU64| counter.load(Relaxed).saturating_mul(PAGE as u64);
        let mut stats = Stats {
            used_bytes: pages(&counters.used_pages),
            committed_bytes: (tables.committed() * PAGE) as u64,
            retained_bytes: pages(&counters.retained_pages),
            limit: pages(&counters.limit_pages),
            large_blocks: counters.large_blocks.load(Relaxed),
            large_bytes: pages(&counters.large_pages),
            ..Stats::default()
        };
        (stats.live_blocks, stats.live_bytes) = (stats.large_blocks, stats.large_bytes);
        for (class, (&block, of_class)) in BLOCK.iter().zip(&counters.classes).enumerate() {
            let block = block as usize;
            let (out, spans) = (of_class.out.load(Relaxed), of_class.spans.load(Relaxed));
            let at_hand = tables.magazines().iter().map(|it| u64::from(it.count(class))).sum::<u64>()
                + tables.shelves()[class].count();
            let live = out.saturating_sub(at_hand);
            if spans > 0 {
                stats.classes.push(ClassStats { block, live, at_hand, spans });
            }
            stats.live_blocks = stats.live_blocks.saturating_add(live);
            stats.live_bytes = stats.live_bytes.saturating_add(live.saturating_mul(block as u64));
        }
        stats
    }
}

/// One size class of an arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassStats {
    /// Bytes of a block of this class, with its header.
    pub block: usize,
    /// Blocks that have owners.
    pub live: u64,
    /// Free blocks that threads have at hand, or that wait for one to take them.
    pub at_hand: u64,
    /// Spans that the class holds.
    pub spans: u64,
}

/// Which counter of this process.
#[derive(Clone, Copy)]
enum Counter {
    In,
    Out,
    Moved,
}

/// Counts payload bytes that were copied from Lua values or Rust buffers into blocks.
#[inline]
pub fn count_copied_in(bytes: usize) {
    shards::add(Counter::In, bytes);
}

/// Counts payload bytes that were copied from blocks into Lua values or Rust buffers.
#[inline]
pub fn count_copied_out(bytes: usize) {
    shards::add(Counter::Out, bytes);
}

#[inline]
pub(crate) fn count_moved(bytes: usize) {
    shards::add(Counter::Moved, bytes);
}

/// Copied in, copied out, moved: totals of this process.
pub(crate) fn copied() -> [u64; 3] {
    [Counter::In, Counter::Out, Counter::Moved].map(shards::sum)
}

#[cfg(not(loom))]
mod shards {
    use std::cell::Cell;

    use super::{Counter, Relaxed};
    use crate::sync::atomic::{AtomicU64, AtomicUsize};

    /// More shards than threads that copy at the same time, so that an addition seldom waits for another core's line.
    const SHARDS: usize = 16;

    #[repr(align(128))]
    struct Shard([AtomicU64; 3]);

    static TOTALS: [Shard; SHARDS] = [const { Shard([const { AtomicU64::new(0) }; 3]) }; SHARDS];
    static NEXT: AtomicUsize = AtomicUsize::new(0);

    thread_local! {
        /// This thread's shard; `SHARDS` until it has one.
        static MINE: Cell<usize> = const { Cell::new(SHARDS) };
    }

    #[inline]
    pub(super) fn add(counter: Counter, bytes: usize) {
        let mut mine = MINE.get();
        if mine == SHARDS {
            mine = NEXT.fetch_add(1, Relaxed) % SHARDS;
            MINE.set(mine);
        }
        TOTALS[mine].0[counter as usize].fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn sum(counter: Counter) -> u64 {
        TOTALS.iter().map(|it| it.0[counter as usize].load(Relaxed)).sum()
    }
}

/// Models do not count.
#[cfg(loom)]
mod shards {
    use super::{Counter, Relaxed};

    pub(super) fn add(_: Counter, _: usize) {
        let _ = Relaxed;
    }

    pub(super) fn sum(_: Counter) -> u64 {
        0
    }
}
