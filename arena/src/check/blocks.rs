//! The blocks of a heap: their headers, and the places where free ones wait.

use std::{collections::HashMap, os::unix::fs::FileExt};

use super::heap::{Look, SpanSeen};
use crate::{
    Header,
    alloc::class::{BLOCK, CLASSES},
    block::{KINDS, Kind},
    domain::{u32_at, u64_at},
    layout::{Entry, Half, MAGAZINE_SLOTS, PAGE},
    range,
    sync::atomic::Ordering::*,
};

/// What the header of a block says.
#[derive(Clone, Copy)]
struct Seen {
    owners: u32,
    size: u32,
    class: u16,
    kind: u8,
}

impl Seen {
    /// From the header's bytes, as docs/arena-layout.md has them.
    fn of(bytes: &[u8]) -> Seen {
        let shape = u64_at(bytes, 8);
        let (class, kind) = ((shape >> 32) as u16, (shape >> 48) as u8);
        Seen { owners: u32_at(bytes, 0), size: shape as u32, class, kind }
    }

    /// What is wrong with it, as the header of a block of that class and `room` bytes.
    fn wrong(&self, class: u16, room: usize) -> Option<String> {
        if self.class != class {
            return Some(format!("has class {}, and lies among those of {class}", self.class));
        }
        if self.kind >= KINDS {
            return Some(format!("has a body of kind {}", self.kind));
        }
        let bytes = self.kind == Kind::Bytes as u8 && self.owners > 0;
        (bytes && Header::SIZE + self.size as usize + 1 > room)
            .then(|| format!("has a payload of {} bytes, and {room} in all", self.size))
    }
}

/// Looks at each header; how many blocks have owners.
pub(super) fn count_blocks(look: &mut Look<'_>) -> u64 {
    let mut live = 0;
    for (number, span) in look.spans.clone() {
        live += count_in_span(look, number, span);
    }
    for (page, pages) in look.large.clone() {
        let mut bytes = [0; Header::SIZE];
        if look.heap.data.read_exact_at(&mut bytes, (page * PAGE) as u64).is_err() {
            look.data_problem(format!("the large block at page {page} cannot be read"));
            continue;
        }
        let seen = Seen::of(&bytes);
        if let Some(what) = seen.wrong(Header::LARGE, pages * PAGE) {
            look.data_problem(format!("the large block at page {page} {what}"));
        }
        live += u64::from(seen.owners > 0);
    }
    live
}

fn count_in_span(look: &mut Look<'_>, number: u32, span: SpanSeen) -> u64 {
    let block = BLOCK[span.class] as usize;
    let mut bytes = vec![0; block * span.carved as usize];
    if look.heap.data.read_exact_at(&mut bytes, (span.first * PAGE) as u64).is_err() {
        look.data_problem(format!("span {number} cannot be read"));
        return 0;
    }
    let mut live = 0;
    for (index, bytes) in bytes.chunks_exact(block).enumerate() {
        let seen = Seen::of(bytes);
        live += u64::from(seen.owners > 0);
        if let Some(what) = seen.wrong(span.class as u16, block) {
            look.data_problem(format!("block {index} of span {number} {what}"));
        }
        if seen.owners > 0 && is_free(look, number, index) {
            look.problem(format!("block {index} of span {number} is free, and has {} owners", seen.owners));
        }
    }
    live
}

/// Whether a block of a span that exists is free there.
fn is_free(look: &Look<'_>, span: u32, index: usize) -> bool {
    (look.heap.tables.span(span).free[index / 64].load(Relaxed) >> (index % 64)) & 1 != 0
}

/// The free blocks that threads have at hand, and those between threads.
pub(super) struct FreeBlocks {
    /// Where each was seen first, by address.
    places: HashMap<usize, String>,
    /// How many may be in two places: each thread may have died while it moved one.
    moving: usize,
}

impl FreeBlocks {
    pub(super) fn check(look: &mut Look<'_>) {
        let tables = look.heap.tables;
        let claimed = tables.counters().magazine_entries.load(Acquire) as usize;
        if claimed > MAGAZINE_SLOTS {
            look.problem(format!("{claimed} threads have magazines, and {MAGAZINE_SLOTS} can"));
        }
        let mut free = FreeBlocks { places: HashMap::new(), moving: claimed };
        for (thread, magazines) in tables.magazines().iter().enumerate() {
            let last = magazines.last_class.load(Relaxed) as usize;
            if last > CLASSES {
                look.problem(format!("thread {thread} freed a block of class {last} last"));
            }
            for (class, magazine) in magazines.by_class.iter().enumerate() {
                let place = || format!("the magazine of thread {thread} for {} bytes", BLOCK[class]);
                let len = magazine.len.load(Relaxed) as usize;
                if len > magazine.blocks.len() {
                    look.problem(format!("{} has {len} blocks", place()));
                    continue;
                }
                for block in &magazine.blocks[..len] {
                    free.add(look, class, block.load(Relaxed).addr(), &place);
                }
                if last == class + 1 {
                    let place = || format!("the block that thread {thread} freed last");
                    free.add(look, class, magazines.last.load(Relaxed).addr(), &place);
                }
            }
        }
        for (class, shelf) in tables.shelves().iter().enumerate() {
            let place = || format!("the shelf for {} bytes", BLOCK[class]);
            for half in &shelf.halves {
                let (state, len) = (half.state.load(Acquire), half.len.load(Relaxed) as usize);
                if state > Half::READING || state == Half::FULL && len > half.blocks.len() {
                    look.problem(format!("{} has a half of {len} blocks in state {state}", place()));
                }
                look.seen.unfinished += u64::from(state == Half::WRITING || state == Half::READING);
            }
            for block in shelf.waiting().flatten() {
                free.add(look, class, block.load(Relaxed).addr(), &place);
            }
        }
    }

    /// A free block has to be a block, of that class, without owners, and in no other place.
    fn add(&mut self, look: &mut Look<'_>, class: usize, address: usize, place: &dyn Fn() -> String) {
        let offset = address.wrapping_sub(range::heap_base(look.heap.slot.heap()));
        let Some((number, index)) = block_at(look, class, offset) else {
            look.problem(format!("{address:#x} in {} is no block of this size", place()));
            return;
        };
        if is_free(look, number, index) {
            look.problem(format!("block {index} of span {number} is free in its span, and in {}", place()));
        }
        if let Some(other) = self.places.insert(address, place()) {
            if self.moving == 0 {
                look.problem(format!("block {index} of span {number} is in {other}, and in {}", place()));
            }
            self.moving = self.moving.saturating_sub(1);
            look.seen.unfinished += 1;
        }
        let mut bytes = [0; Header::SIZE];
        let read = look.heap.data.read_exact_at(&mut bytes, offset as u64);
        let owners = u32_at(&bytes, 0);
        if read.is_err() || owners > 0 {
            look.problem(format!(
                "block {index} of span {number} has {owners} owners, and is in {}",
                place()
            ));
        }
    }
}

/// Which block of this class is at an offset.
fn block_at(look: &Look<'_>, class: usize, offset: usize) -> Option<(u32, usize)> {
    let Entry::Span(number) = look.heap.tables.entry(offset / PAGE) else { return None };
    let span = look.spans.get(&number).filter(|it| it.class == class)?;
    let inside = offset.checked_sub(span.first * PAGE)?;
    let (index, rest) = (inside / BLOCK[class] as usize, inside % BLOCK[class] as usize);
    (rest == 0 && index < span.carved as usize).then_some((number, index))
}
