//! Blocks that change hands together, as bits of the span table.
//!
//! A magazine has addresses, a span has bits. Turning the one into the other takes a look at the page table and a multiplication for
//! each block; it is done before the lock of the class is taken, or after it was let go.

use std::mem::MaybeUninit;

use super::{class, heap::Heap, span::newer};
use crate::{
    block::Header,
    layout::{Entry, MOST_AT_HAND, PAGE},
    sync::atomic::{AtomicPtr, Ordering::*},
};

/// Some blocks of one class.
pub(super) struct Batch {
    pub(super) class: usize,
    groups: [MaybeUninit<Group>; MOST_IN_BATCH],
    used: usize,
    /// How many blocks.
    pub(super) len: usize,
}

/// The most blocks that change hands at once.
pub(super) const MOST_IN_BATCH: usize = MOST_AT_HAND / 2;

/// Blocks of one word of a span.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub(super) span: u32,
    pub(super) word: u32,
    pub(super) mask: u64,
    /// The highest of their generations.
    pub(super) newest: u32,
}

/// One block.
pub(super) struct Place {
    pub(super) span: u32,
    pub(super) index: u32,
}

impl Batch {
    /// None of this class.
    #[inline]
    pub(super) fn new(class: usize) -> Batch {
        Batch { class, groups: [const { MaybeUninit::uninit() }; MOST_IN_BATCH], used: 0, len: 0 }
    }

    /// Looks blocks up that go back, and adds them.
    ///
    /// # Safety
    /// They are at most [`MOST_IN_BATCH`] blocks of this class and heap, without owners, and the caller's alone (A1).
    pub(super) unsafe fn look_up(&mut self, heap: &Heap, blocks: &[AtomicPtr<Header>]) {
        let (mut first_page, mut number) = (0, u32::MAX);
        for block in blocks {
            let block = block.load(Relaxed);
            let offset = block.addr() - heap.base.addr();
            let Entry::Span(span) = heap.tables().entry(offset / PAGE) else {
                panic!("a block lies in pages that are no span (A2)")
            };
            if span != number {
                // It does not go away: a block of it is out.
                number = span;
                first_page = heap.tables().span(span).first.load(Relaxed) as usize;
            }
            let index = class::index_in_span(self.class, offset - first_page * PAGE);
            // SAFETY: a block without owners that is the caller's alone.
            let generation = unsafe { &*block }.generation();
            self.add(Place { span, index }, generation);
        }
    }

    pub(super) fn groups(&self) -> &[Group] {
        // SAFETY: so many have been written.
        unsafe { std::slice::from_raw_parts(self.groups.as_ptr().cast(), self.used) }
    }

    pub(super) fn has_room(&self) -> bool {
        self.used < MOST_IN_BATCH
    }

    #[inline]
    pub(super) fn push(&mut self, group: Group) {
        self.groups[self.used] = MaybeUninit::new(group);
        self.used += 1;
        self.len += group.mask.count_ones() as usize;
    }

    #[inline]
    pub(super) fn add(&mut self, Place { span, index }: Place, generation: u32) {
        let (word, bit) = (index / 64, 1 << (index % 64));
        if let Some(last) = self.used.checked_sub(1) {
            // SAFETY: so many have been written.
            let last = unsafe { self.groups[last].assume_init_mut() };
            if (last.span, last.word) == (span, word) {
                assert!(last.mask & bit == 0, "a block was freed twice (A1)");
                last.mask |= bit;
                if newer(generation, last.newest) {
                    last.newest = generation;
                }
                self.len += 1;
                return;
            }
        }
        self.push(Group { span, word, mask: bit, newest: generation });
    }

    /// The blocks into the front of `blocks`, those at lower addresses of a span behind those at higher ones; how many they are.
    pub(super) fn write_to(&self, heap: &Heap, blocks: &[AtomicPtr<Header>]) -> usize {
        let size = class::BLOCK[self.class] as usize;
        let mut at = self.len;
        for group in self.groups() {
            let first = heap.tables().span(group.span).first.load(Relaxed) as usize * PAGE;
            let mut mask = group.mask;
            while mask != 0 {
                let index = group.word as usize * 64 + mask.trailing_zeros() as usize;
                mask &= mask - 1;
                at -= 1;
                // SAFETY: a block of the span, which lies inside of the heap.
                blocks[at].store(unsafe { heap.at(first + index * size) }.cast(), Relaxed);
            }
        }
        self.len
    }
}
