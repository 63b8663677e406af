//! The allocator: a block is in one place at a time, and who gets it has seen all that was done to it before.
//!
//! The code is the arena's, over sixteen made-up pages (`ModelHeap`): spans, magazines, shelves, page lists and their locks.
//! What protects a block on its way is mostly a lock or a thread's being alone, so much of what can be broken is where something
//! happens, and not an ordering.
//!
//! Broken by hand, one at a time, and caught:
//! * `Half::enter`: Acquire → Relaxed; a load and a store instead of the exchange;
//! * `Half::leave`: Release → Relaxed;
//! * `Heap::shelve`: the bit of the class set before the half is full, or with Relaxed; `Heap::clear_shelves`: the bits taken with
//!   Relaxed;
//! * `Magazines::spill`: blocks put on the shelf, and given to their span as well;
//! * `Heap::give_back_magazines`: the entry given back before it is flushed;
//! * `Heap::purge_to`: pages left in the lists while the system gets them;
//! * `Heap::take_pages`: an error instead of a wait while pages are on their way to the system;
//! * `carve`: the store of `carved` Release → Relaxed.
//!
//! Not caught: the Release in `Heap::claim_magazines`, which orders what the file system does, not memory.
#![cfg(loom)]

use std::ptr::NonNull;

use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicPtr, Ordering::*},
    },
    thread,
};
use skein_arena::{Hand, Header, Left, ModelHeap};

/// A block on its way to another thread.
struct Sent(NonNull<Header>);

// SAFETY: a block belongs to whoever has the only reference.
unsafe impl Send for Sent {}

/// A new block, written.
fn alloc(heap: &ModelHeap, hand: &Hand, value: u32) -> NonNull<Header> {
    let block = hand.alloc();
    // SAFETY: we are its only owner.
    unsafe { heap.write(block, 0, value) };
    block
}

/// Reads a block and frees it.
fn free(heap: &ModelHeap, hand: &Hand, block: NonNull<Header>, value: u32) {
    // SAFETY: the caller is its only owner, and leaves.
    unsafe {
        assert_eq!(heap.read(block, 0), value);
        assert_eq!(block.as_ref().release(), Left::Nobody);
        hand.free(block);
    }
}

/// Frees a large block.
fn free_large(heap: &ModelHeap, block: NonNull<Header>) {
    // SAFETY: the caller is its only owner, and leaves.
    unsafe {
        assert_eq!(block.as_ref().release(), Left::Nobody);
        heap.free_large(block);
    }
}

#[test]
fn what_one_thread_frees_another_gets() {
    loom::model(|| {
        let heap = Arc::new(ModelHeap::new());
        let hand = Hand::of(&heap);
        let sent = [1, 2].map(|value| Sent(alloc(&heap, &hand, value)));
        let other = thread::spawn({
            let heap = Arc::clone(&heap);
            move || {
                let hand = Hand::of(&heap);
                let mut value = 0;
                for Sent(block) in sent {
                    value += 1;
                    free(&heap, &hand, block, value);
                }
                // Its magazines go back here, and with them the blocks to their span.
            }
        });
        let mine = [3, 4].map(|value| alloc(&heap, &hand, value));
        assert_ne!(mine[0], mine[1]);
        for (block, value) in mine.into_iter().zip([3, 4]) {
            free(&heap, &hand, block, value);
        }
        other.join().unwrap();
        drop(hand);
        assert_eq!(heap.used().0, 0);
        heap.trim();
        assert_eq!(heap.used(), (0, 0));
    });
}

/// Waits until a flag is up. Relaxed: the order of things must come from the allocator.
fn wait(flag: &AtomicBool) {
    while !flag.load(Relaxed) {
        thread::yield_now();
    }
}

#[test]
fn half_a_magazine_changes_threads_over_the_shelf() {
    loom::model(|| {
        let heap = Arc::new(ModelHeap::new());
        let hand = Hand::of(&heap);
        let sent = [1, 2, 3, 4].map(|value| Sent(alloc(&heap, &hand, value)));
        let flag = Arc::new(AtomicBool::new(false));
        let other = thread::spawn({
            let (heap, flag) = (Arc::clone(&heap), Arc::clone(&flag));
            move || {
                let hand = Hand::of(&heap);
                let mut value = 0;
                // The fourth finds the magazine full, and the shelf empty.
                for Sent(block) in sent {
                    value += 1;
                    free(&heap, &hand, block, value);
                }
                flag.store(true, Relaxed);
            }
        });
        // loom would not by itself let the other come so far before we look at the shelf.
        wait(&flag);
        let block = alloc(&heap, &hand, 5);
        free(&heap, &hand, block, 5);
        other.join().unwrap();
        drop(hand);
        heap.trim();
        assert_eq!(heap.used(), (0, 0));
    });
}

#[test]
fn what_waits_on_a_shelf_is_not_forgotten() {
    let mut model = loom::model::Builder::new();
    // Two switches are enough to catch what is listed above, and take a second.
    model.preemption_bound = Some(2);
    model.check(|| {
        let heap = Arc::new(ModelHeap::new());
        let hand = Hand::of(&heap);
        let sent = [1, 2, 3, 4].map(|value| Sent(alloc(&heap, &hand, value)));
        let flag = Arc::new(AtomicBool::new(false));
        let other = thread::spawn({
            let (heap, flag) = (Arc::clone(&heap), Arc::clone(&flag));
            move || {
                let hand = Hand::of(&heap);
                for (Sent(block), value) in sent.into_iter().zip(1..) {
                    if value == 4 {
                        flag.store(true, Relaxed);
                    }
                    free(&heap, &hand, block, value);
                }
            }
        });
        wait(&flag);
        // While the other puts a half there.
        heap.trim();
        other.join().unwrap();
        drop(hand);
        heap.trim();
        assert_eq!(heap.used(), (0, 0));
    });
}

#[test]
fn two_threads_fill_one_shelf() {
    let mut model = loom::model::Builder::new();
    // More steps than loom expects of a model, and so fewer switches.
    (model.max_branches, model.preemption_bound) = (10_000, Some(2));
    model.check(|| {
        let heap = Arc::new(ModelHeap::new());
        let hand = Hand::of(&heap);
        let [mine, theirs] = [1, 5].map(|from| [0, 1, 2, 3].map(|it| Sent(alloc(&heap, &hand, from + it))));
        drop(hand);
        let free_all = |heap: &Arc<ModelHeap>, blocks: [Sent; 4], from| {
            let hand = Hand::of(heap);
            for (Sent(block), value) in blocks.into_iter().zip(from..) {
                free(heap, &hand, block, value);
            }
        };
        let other = thread::spawn({
            let heap = Arc::clone(&heap);
            move || free_all(&heap, theirs, 5)
        });
        free_all(&heap, mine, 1);
        other.join().unwrap();
        heap.trim();
        assert_eq!(heap.used(), (0, 0));
    });
}

#[test]
fn magazines_are_one_thread_s_until_they_are_empty() {
    loom::model(|| {
        let heap = Arc::new(ModelHeap::new());
        let flag = Arc::new(AtomicBool::new(false));
        let other = thread::spawn({
            let (heap, flag) = (Arc::clone(&heap), Arc::clone(&flag));
            move || {
                let hand = Hand::of(&heap);
                let block = alloc(&heap, &hand, 1);
                free(&heap, &hand, block, 1);
                flag.store(true, Relaxed);
            }
        });
        wait(&flag);
        let hand = Hand::of(&heap);
        let block = alloc(&heap, &hand, 2);
        free(&heap, &hand, block, 2);
        other.join().unwrap();
        drop(hand);
        heap.trim();
        assert_eq!(heap.used(), (0, 0));
    });
}

#[test]
fn pages_that_the_system_gets_back_are_nobody_s() {
    loom::model(|| {
        let heap = Arc::new(ModelHeap::new());
        // So much is free and has been used that freeing a little more gives some back.
        let blocks = [(); 4].map(|()| heap.alloc_large());
        for block in blocks {
            // SAFETY: we are its only owner.
            unsafe { heap.write(block, 0, 1) };
            free_large(&heap, block);
        }
        let other = thread::spawn({
            let heap = Arc::clone(&heap);
            move || heap.trim()
        });
        let block = heap.alloc_large();
        // SAFETY: we are its only owner; a block longer than two pages has three.
        unsafe {
            for page in 0..3 {
                heap.write(block, page, 7);
            }
            if heap.extend_large(block) {
                heap.write(block, 3, 7);
            }
            assert_eq!([heap.read(block, 0), heap.read(block, 1), heap.read(block, 2)], [7; 3]);
        }
        free_large(&heap, block);
        other.join().unwrap();
        assert_eq!(heap.used(), (0, 0));
    });
}

#[test]
fn a_heap_whose_free_pages_are_leaving_is_not_full() {
    loom::model(|| {
        let heap = Arc::new(ModelHeap::new());
        let blocks = [(); 5].map(|()| heap.alloc_large());
        for block in blocks {
            free_large(&heap, block);
        }
        let other = thread::spawn({
            let heap = Arc::clone(&heap);
            move || heap.trim()
        });
        // They need fifteen of sixteen pages; the other thread has some of them under way.
        let blocks = [(); 5].map(|()| heap.alloc_large());
        other.join().unwrap();
        for block in blocks {
            free_large(&heap, block);
        }
        assert_eq!(heap.used(), (0, 0));
    });
}

#[test]
fn an_address_names_a_block_once_its_header_is_there() {
    loom::model(|| {
        let heap = Arc::new(ModelHeap::new());
        let first = heap.alloc_large();
        let hand = Hand::of(&heap);
        let address = Arc::new(AtomicPtr::new(first.as_ptr()));
        let other = thread::spawn({
            let (heap, address) = (Arc::clone(&heap), Arc::clone(&address));
            move || {
                // Relaxed: an address that came from anywhere.
                let address = NonNull::new(address.load(Relaxed)).unwrap();
                if let Some(found) = heap.find(address) {
                    assert_eq!(found, address);
                    // SAFETY: headers stay readable.
                    assert!(unsafe { found.as_ref() }.owners() <= 1);
                }
            }
        });
        let block = alloc(&heap, &hand, 1);
        address.store(block.as_ptr(), Relaxed);
        other.join().unwrap();
        assert_eq!(heap.find(block), Some(block));
        free(&heap, &hand, block, 1);
        free_large(&heap, first);
        assert_eq!(heap.find(first), None);
        drop(hand);
    });
}
