//! The spans of one class: pages cut into equal blocks.
//!
//! Which blocks of a span are free is a bit each in the span table, so that taking them back touches the table and not the
//! blocks: a batch that another thread freed lies in that thread's cache, and costs a few words here. A span that has room is
//! in its class's list, oldest first, so that younger ones get a chance to become empty. One empty span is kept, against taking
//! and giving back the same pages all the time; any other leaves the class, and its pages are freed once the lock is.

use super::{
    batch::{Batch, Group, Place},
    class,
    heap::Heap,
};
use crate::{
    Error,
    block::Header,
    layout::{PAGE, Span},
    step::step,
    sync::atomic::Ordering::*,
};

/// No span.
const NONE: u32 = u32::MAX;

/// What the lock of a class guards: the list of its spans, and everything in them.
pub(crate) struct Class {
    number: usize,
    first: u32,
    last: u32,
    /// An empty span that is kept, not in the list.
    spare: u32,
}

/// Spans that have left their class, linked by `after`: [`Heap::release`] frees their pages.
#[must_use]
pub(super) struct Released(u32);

impl Released {
    const NOTHING: Released = Released(NONE);

    /// The next of them.
    pub(super) fn pop(&mut self, heap: &Heap) -> Option<u32> {
        let number = self.0;
        if number == NONE {
            return None;
        }
        self.0 = heap.tables().span(number).after.load(Relaxed);
        Some(number)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0 == NONE
    }
}

impl Class {
    pub(super) fn new(number: usize) -> Class {
        Class { number, first: NONE, last: NONE, spare: NONE }
    }

    /// Fills an empty batch with up to `wanted` blocks, at least one. Takes a new span only if it has to.
    pub(super) fn take(
        &mut self,
        heap: &Heap,
        wanted: usize,
        batch: &mut Batch,
        reserve: bool,
        size: usize,
    ) -> Result<(), Error> {
        while batch.len < wanted && batch.has_room() {
            if self.first == NONE {
                if self.spare != NONE {
                    let spare = std::mem::replace(&mut self.spare, NONE);
                    self.append(heap, spare);
                } else if batch.len > 0 {
                    break;
                } else {
                    let fresh = heap.new_span(self.number, reserve, size)?;
                    self.count_spans(heap, 1);
                    self.append(heap, fresh);
                }
            }
            let number = self.first;
            let span = heap.tables().span(number);
            take_free(span, number, wanted, batch);
            if span.free_len.load(Relaxed) == 0 {
                carve(heap, span, number, wanted, batch);
            }
            if is_full(span, self.number) {
                self.unlink(heap, number);
            }
        }
        let out = &heap.tables().counters().classes[self.number].out;
        // A load and a store: only this class's lock writes it.
        out.store(out.load(Relaxed) + batch.len as u64, Relaxed);
        Ok(())
    }

    /// Takes blocks back.
    ///
    /// # Safety
    /// They are blocks of this class and heap, without owners, and in no other place (A1).
    pub(super) unsafe fn give(&mut self, heap: &Heap, batch: &Batch) -> Released {
        let mut released = Released::NOTHING;
        let all = class::blocks_per_span(self.number);
        for group in batch.groups() {
            let span = heap.tables().span(group.span);
            let word = &span.free[group.word as usize];
            let bits = word.load(Relaxed);
            assert!(bits & group.mask == 0, "a block was freed twice (A1)");
            let free = span.free_len.load(Relaxed);
            let carved = span.carved.load(Relaxed);
            if free == 0 && carved == all {
                self.append(heap, group.span);
            }

            let free = free + group.mask.count_ones();
            word.store(bits | group.mask, Relaxed);
            step("span/given");
            span.free_len.store(free, Relaxed);
            if group.word < span.hint.load(Relaxed) {
                span.hint.store(group.word, Relaxed);
            }
            if newer(group.newest, span.newest.load(Relaxed)) {
                span.newest.store(group.newest, Relaxed);
            }

            if free == carved {
                self.unlink(heap, group.span);
                if self.spare == NONE {
                    self.spare = group.span;
                } else {
                    self.release(heap, group.span, &mut released);
                }
            }
        }
        let out = &heap.tables().counters().classes[self.number].out;
        out.store(out.load(Relaxed) - batch.len as u64, Relaxed);
        released
    }

    /// Lets the kept span go too.
    pub(super) fn trim(&mut self, heap: &Heap) -> Released {
        let mut released = Released::NOTHING;
        let spare = std::mem::replace(&mut self.spare, NONE);
        if spare != NONE {
            self.release(heap, spare, &mut released);
        }
        released
    }

    fn release(&mut self, heap: &Heap, number: u32, released: &mut Released) {
        self.count_spans(heap, -1);
        heap.tables().span(number).after.store(released.0, Relaxed);
        released.0 = number;
    }

    fn count_spans(&self, heap: &Heap, more: i64) {
        let spans = &heap.tables().counters().classes[self.number].spans;
        spans.store(spans.load(Relaxed).wrapping_add_signed(more), Relaxed);
    }

    fn append(&mut self, heap: &Heap, number: u32) {
        let span = heap.tables().span(number);
        span.before.store(self.last, Relaxed);
        span.after.store(NONE, Relaxed);
        match self.last {
            NONE => self.first = number,
            last => heap.tables().span(last).after.store(number, Relaxed),
        }
        self.last = number;
    }

    fn unlink(&mut self, heap: &Heap, number: u32) {
        let span = heap.tables().span(number);
        let (before, after) = (span.before.load(Relaxed), span.after.load(Relaxed));
        match before {
            NONE => self.first = after,
            before => heap.tables().span(before).after.store(after, Relaxed),
        }
        match after {
            NONE => self.last = before,
            after => heap.tables().span(after).before.store(before, Relaxed),
        }
    }
}

/// Whether all blocks of a span are out. It is in the list exactly if not (and not the spare one).
fn is_full(span: &Span, class: usize) -> bool {
    span.free_len.load(Relaxed) == 0 && span.carved.load(Relaxed) == class::blocks_per_span(class)
}

/// Takes free blocks, those at the lowest addresses first.
fn take_free(span: &Span, number: u32, wanted: usize, batch: &mut Batch) {
    let free = span.free_len.load(Relaxed);
    let mut left = free;
    let mut at = span.hint.load(Relaxed);
    while left > 0 && batch.len < wanted && batch.has_room() {
        let word = &span.free[at as usize];
        let bits = word.load(Relaxed);
        let mask = lowest(bits, wanted - batch.len);
        if mask != 0 {
            word.store(bits & !mask, Relaxed);
            step("span/taken");
            left -= mask.count_ones();
            batch.push(Group { span: number, word: at, mask, newest: 0 });
        }
        at += u32::from(mask == bits);
    }
    span.hint.store(at, Relaxed);
    span.free_len.store(left, Relaxed);
}

/// The lowest `count` of these bits, or all.
fn lowest(bits: u64, count: usize) -> u64 {
    let mut rest = bits;
    if bits.count_ones() as usize > count {
        for _ in 0..count {
            rest &= rest - 1;
        }
        return bits & !rest;
    }
    bits
}

/// Cuts blocks off the part of the span that has not been handed out yet.
fn carve(heap: &Heap, span: &Span, number: u32, wanted: usize, batch: &mut Batch) {
    let first = span.carved.load(Relaxed);
    let end = class::blocks_per_span(batch.class).min(first + (wanted - batch.len) as u32);
    let birth = span.birth.load(Relaxed);
    let mut index = first;
    while index < end && batch.has_room() {
        let at = span.first.load(Relaxed) as usize * PAGE + (index * class::BLOCK[batch.class]) as usize;
        // SAFETY: `at` lies inside of the span, whose pages are committed; nobody has seen this block yet (A1).
        unsafe { Header::place(heap.at(at).cast(), batch.class as u16, birth) };
        batch.add(Place { span: number, index }, 0);
        index += 1;
    }
    step("span/carved");
    // Release pairs with the Acquire in `block_at`: whoever counts these blocks in sees headers, not what was there before.
    span.carved.store(index, Release);
}

/// Whether generation `a` is later than `b`. They wrap round.
pub(super) fn newer(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 > 0
}
