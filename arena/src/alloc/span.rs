//! The spans of one class: pages cut into equal blocks.
//!
//! A span that has room is in its class's list, oldest first, so that younger ones get a chance to become empty. One empty
//! span is kept, against taking and giving back the same pages all the time; any other goes back to the free pages.

use std::ptr::NonNull;

use super::{class, heap::Heap};
use crate::{
    Error,
    block::Header,
    layout::{PAGE, Span},
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
    spans: u32,
    /// Blocks that are out: in use or in a magazine.
    out: u64,
}

impl Class {
    pub(crate) fn new(number: usize) -> Class {
        Class { number, first: NONE, last: NONE, spare: NONE, spans: 0, out: 0 }
    }

    pub(crate) fn spans(&self) -> u32 {
        self.spans
    }

    pub(crate) fn out(&self) -> u64 {
        self.out
    }

    /// Fills `batch` from the front; how many blocks it got is at least one. Takes a new span only if it has to.
    pub(crate) fn take(
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
                    self.spans += 1;
                    self.append(heap, fresh);
                }
            }
            let number = self.first;
            let span = heap.tables().span(number);
            while got < batch.len() {
                let Some(block) = pop(span).or_else(|| carve(heap, span, self.number)) else { break };
                batch[got] = block;
                got += 1;
            }
            if is_full(span, self.number) {
                self.unlink(heap, number);
            }
        }
        self.out += got as u64;
        Ok(got)
    }

    /// Takes blocks back.
    ///
    /// # Safety
    /// They are blocks of this class and heap, without owners, and in no other place (A1).
    pub(crate) unsafe fn give(&mut self, heap: &Heap, batch: &[*mut Header]) {
        for &block in batch {
            let number = heap.span_of(block);
            let span = heap.tables().span(number);
            let carved = span.carved.load(Relaxed);
            let free = span.free_len.load(Relaxed);
            let all = class::blocks_per_span(self.number);
            debug_assert_eq!(
                span.class.load(Relaxed) as usize,
                self.number,
                "a block came back to another class"
            );
            if free == 0 && carved == all {
                self.append(heap, number);
            }

            // SAFETY: a block without owners is ours (A1).
            let header = unsafe { &*block };
            header.link().store(span.free.load(Relaxed), Relaxed);
            span.free.store(block, Relaxed);
            span.free_len.store(free + 1, Relaxed);
            let generation = header.generation();
            if newer(generation, span.newest.load(Relaxed)) {
                span.newest.store(generation, Relaxed);
            }

            if free + 1 == span.carved.load(Relaxed) {
                self.unlink(heap, number);
                if self.spare == NONE {
                    self.spare = number;
                } else {
                    self.release(heap, number);
                }
            }
        }
        self.out -= batch.len() as u64;
    }

    /// Gives the kept span back too.
    pub(crate) fn trim(&mut self, heap: &Heap) {
        let spare = std::mem::replace(&mut self.spare, NONE);
        if spare != NONE {
            self.release(heap, spare);
        }
    }

    fn release(&mut self, heap: &Heap, number: u32) {
        self.spans -= 1;
        heap.release_span(number, self.number);
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

/// Takes a block from the free list.
fn pop(span: &Span) -> Option<*mut Header> {
    let block = NonNull::new(span.free.load(Relaxed))?;
    // SAFETY: what is on the list has no owners and is ours under the lock (A1).
    let next = unsafe { block.as_ref() }.link().load(Relaxed);
    span.free.store(next, Relaxed);
    span.free_len.store(span.free_len.load(Relaxed) - 1, Relaxed);
    Some(block.as_ptr())
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
pub(crate) fn newer(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 > 0
}
