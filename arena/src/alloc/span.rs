//! The spans of one class: pages cut into equal blocks.
//!
//! Which blocks of a span are free is a bit each in the span table, so that taking them back touches the table and not the
//! blocks: a batch that another thread freed lies in that thread's cache, and costs a few words here. A span that has room is
//! in its class's list, oldest first, so that younger ones get a chance to become empty. One empty span is kept, against taking
//! and giving back the same pages all the time; any other leaves the class, and its pages are freed once the lock is.

use super::{class, heap::Heap};
use crate::{
    Error,
    block::Header,
    layout::{Entry, PAGE, Span},
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

    /// Fills `batch` from the front; how many blocks it got is at least one. Takes a new span only if it has to.
    pub(super) fn take(
        &mut self,
        heap: &Heap,
        batch: &mut [*mut Header],
        reserve: bool,
        size: usize,
    ) -> Result<usize, Error> {
        let mut got = 0;
        while got < batch.len() {
            if self.first == NONE {
                if self.spare != NONE {
                    let spare = std::mem::replace(&mut self.spare, NONE);
                    self.append(heap, spare);
                } else if got > 0 {
                    break;
                } else {
                    let fresh = heap.new_span(self.number, reserve, size)?;
                    self.count_spans(heap, 1);
                    self.append(heap, fresh);
                }
            }
            let number = self.first;
            let span = heap.tables().span(number);
            got += take_free(heap, span, self.number, &mut batch[got..]);
            while got < batch.len() {
                let Some(block) = carve(heap, span, self.number) else { break };
                batch[got] = block;
                got += 1;
            }
            if is_full(span, self.number) {
                self.unlink(heap, number);
            }
        }
        let out = &heap.tables().counters().classes[self.number].out;
        // A load and a store: only this class's lock writes it.
        out.store(out.load(Relaxed) + got as u64, Relaxed);
        Ok(got)
    }

    /// Takes blocks back.
    ///
    /// # Safety
    /// They are blocks of this class and heap, without owners, and in no other place (A1).
    pub(super) unsafe fn give(&mut self, heap: &Heap, batch: &[*mut Header]) -> Released {
        let mut released = Released::NOTHING;
        let all = class::blocks_per_span(self.number);
        for &block in batch {
            let offset = block.addr() - heap.base.addr();
            let Entry::Span(number) = heap.tables().entry(offset / PAGE) else {
                panic!("a block lies in pages that are no span (A2)")
            };
            let span = heap.tables().span(number);
            debug_assert_eq!(
                span.class.load(Relaxed) as usize,
                self.number,
                "a block came back to another class"
            );
            let index = class::index_in_span(self.number, offset - span.first.load(Relaxed) as usize * PAGE);
            let (at, bit) = (index / 64, 1 << (index % 64));
            let word = &span.free[at as usize];
            let bits = word.load(Relaxed);
            assert!(bits & bit == 0, "a block was freed twice (A1)");
            let free = span.free_len.load(Relaxed);
            let carved = span.carved.load(Relaxed);
            if free == 0 && carved == all {
                self.append(heap, number);
            }

            word.store(bits | bit, Relaxed);
            span.free_len.store(free + 1, Relaxed);
            if at < span.hint.load(Relaxed) {
                span.hint.store(at, Relaxed);
            }
            // SAFETY: a block without owners is ours (A1).
            let generation = unsafe { &*block }.generation();
            if newer(generation, span.newest.load(Relaxed)) {
                span.newest.store(generation, Relaxed);
            }

            if free + 1 == carved {
                self.unlink(heap, number);
                if self.spare == NONE {
                    self.spare = number;
                } else {
                    self.release(heap, number, &mut released);
                }
            }
        }
        let out = &heap.tables().counters().classes[self.number].out;
        out.store(out.load(Relaxed) - batch.len() as u64, Relaxed);
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

/// Takes free blocks, those at the lowest addresses first; how many.
fn take_free(heap: &Heap, span: &Span, class: usize, batch: &mut [*mut Header]) -> usize {
    let wanted = batch.len().min(span.free_len.load(Relaxed) as usize);
    let base = span.first.load(Relaxed) as usize * PAGE;
    let block = class::BLOCK[class] as usize;
    let mut at = span.hint.load(Relaxed) as usize;
    let mut got = 0;
    while got < wanted {
        let word = &span.free[at];
        let mut bits = word.load(Relaxed);
        while bits != 0 && got < wanted {
            let index = at * 64 + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            // SAFETY: a block of the span, which lies inside of the heap.
            batch[got] = unsafe { heap.at(base + index * block) }.cast();
            got += 1;
        }
        word.store(bits, Relaxed);
        at += usize::from(bits == 0);
    }
    span.hint.store(at as u32, Relaxed);
    span.free_len.store(span.free_len.load(Relaxed) - got as u32, Relaxed);
    got
}

/// Cuts the next block off the part of the span that has not been handed out yet.
fn carve(heap: &Heap, span: &Span, class: usize) -> Option<*mut Header> {
    let carved = span.carved.load(Relaxed);
    if carved == class::blocks_per_span(class) {
        return None;
    }
    let at = span.first.load(Relaxed) as usize * PAGE + (carved * class::BLOCK[class]) as usize;
    // SAFETY: `at` lies inside of the span, whose pages are committed; nobody has seen this block yet (A1).
    unsafe {
        let block = heap.at(at).cast::<Header>();
        block.write(Header::free(class as u16, span.birth.load(Relaxed)));
        // Release pairs with the Acquire in `find`: whoever counts this block in sees a header, not what was there before.
        span.carved.store(carved + 1, Release);
        Some(block)
    }
}

/// Whether generation `a` is later than `b`. They wrap round.
pub(super) fn newer(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 > 0
}
