//! The count of a block's owners: exactly one leaves last, and it sees all that the others did.
//!
//! Broken by hand, one at a time, and caught:
//! * `fetch_sub` in `release`: Release → Relaxed;
//! * the load behind the last `fetch_sub`: removed, or Acquire → Relaxed;
//! * the load in `is_sole`: Acquire → Relaxed;
//! * `fetch_sub` in `release`: replaced by a load and a store;
//! * `fetch_add` in `acquire`: replaced by a load and a store;
//! * the sole owner's generation not bumped.
#![cfg(loom)]

use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::*},
    },
    thread,
};
use skein_arena::{Arena, Block, Envelope, Header, Left, Options, Payload};
use std::ptr::NonNull;

/// A block as its owners see it.
struct Shared {
    header: Header,
    bytes: UnsafeCell<u32>,
}

// SAFETY: the bytes are used as the header's protocol allows, which is what the models check.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Shared {
    /// With `owners` owners, all of them the caller's.
    fn new(owners: u32) -> Arc<Shared> {
        let header = Header::stub();
        for _ in 1..owners {
            header.acquire();
        }
        Arc::new(Shared { header, bytes: UnsafeCell::new(1) })
    }
}

/// Reads the bytes, leaves, and rewrites them if it was the last to leave.
fn read_and_leave(shared: &Shared) -> bool {
    // SAFETY: the caller owns a reference, so nobody writes.
    assert_eq!(shared.bytes.with(|it| unsafe { *it }), 1);
    // SAFETY: the caller gives its reference to us, and we do not read again.
    match unsafe { shared.header.release() } {
        Left::Others => false,
        Left::Nobody => {
            // SAFETY: no owner is left: the bytes are ours to hand out again.
            shared.bytes.with_mut(|it| unsafe { *it = 2 });
            true
        }
    }
}

#[test]
fn exactly_one_owner_leaves_last() {
    loom::model(|| {
        let shared = Shared::new(2);
        let before = shared.header.generation();
        let other = thread::spawn({
            let shared = Arc::clone(&shared);
            move || read_and_leave(&shared)
        });
        assert!(read_and_leave(&shared) ^ other.join().unwrap());
        assert_eq!((shared.header.owners(), shared.header.generation()), (0, before + 1));
    });
}

#[test]
fn three_owners_leave_in_any_order() {
    loom::model(|| {
        let shared = Shared::new(3);
        let others = [(); 2].map(|()| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || read_and_leave(&shared))
        });
        let mut last = usize::from(read_and_leave(&shared));
        last += others.into_iter().map(|it| usize::from(it.join().unwrap())).sum::<usize>();
        assert_eq!((last, shared.header.owners()), (1, 0));
    });
}

#[test]
fn an_owner_makes_another_while_a_third_leaves() {
    loom::model(|| {
        let shared = Shared::new(2);
        let leaver = thread::spawn({
            let shared = Arc::clone(&shared);
            move || read_and_leave(&shared)
        });
        shared.header.acquire();
        let heir = thread::spawn({
            let shared = Arc::clone(&shared);
            move || read_and_leave(&shared)
        });
        let last = [read_and_leave(&shared), leaver.join().unwrap(), heir.join().unwrap()];
        assert_eq!(last.iter().filter(|&&it| it).count(), 1);
        assert_eq!(shared.header.generation(), 1);
    });
}

#[test]
fn who_is_left_alone_may_write() {
    loom::model(|| {
        let shared = Shared::new(2);
        let other = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                // SAFETY: this thread owns a reference, so nobody writes.
                assert_eq!(shared.bytes.with(|it| unsafe { *it }), 1);
                // SAFETY: the reference is this thread's, and not used again.
                unsafe { shared.header.release() }
            }
        });
        // loom remembers the last access only, and would not try the load after the other thread's subtraction by itself.
        for _ in 0..2 {
            if shared.header.is_sole() {
                // SAFETY: the only owner writes (H3).
                shared.bytes.with_mut(|it| unsafe { *it = 2 });
            }
            thread::yield_now();
        }
        let _ = other.join().unwrap();
        assert!(shared.header.is_sole());
    });
}

/// Memory of another allocator, as a model can watch it: freed exactly once, when nobody reads.
struct Watched {
    bytes: UnsafeCell<u32>,
    freed: AtomicUsize,
}

unsafe fn free(at: NonNull<u8>, len: usize) {
    assert_eq!(len, 4);
    // SAFETY: the model keeps what it gave away alive until its end.
    let watched = unsafe { at.cast::<Watched>().as_ref() };
    // SAFETY: nobody reads any more, or the model fails here.
    watched.bytes.with_mut(|it| unsafe { *it = 0xdead });
    watched.freed.fetch_add(1, Relaxed);
}

#[test]
fn foreign_memory_is_freed_once_when_the_last_payload_goes() {
    loom::model(|| {
        let watched = Box::new(Watched { bytes: UnsafeCell::new(7), freed: AtomicUsize::new(0) });
        let arena = Arena::private(&Options::default()).unwrap();
        // SAFETY: the box outlives the payloads, which the joins below see to; `free` only looks at it.
        let block = unsafe { arena.foreign(NonNull::from(&*watched).cast(), 4, free) }.unwrap();
        let payload = block.share();

        let read = |payload: &Payload| {
            // SAFETY: a payload's owner may read until it drops it.
            let watched = unsafe { &*payload.as_ptr().cast::<Watched>() };
            // SAFETY: as above.
            assert_eq!(watched.bytes.with(|it| unsafe { *it }), 7);
        };
        let other = thread::spawn({
            let payload = payload.clone();
            move || read(&payload)
        });
        let forward = arena.forward(payload).unwrap();
        let third = thread::spawn(move || read(&forward.share()));
        other.join().unwrap();
        third.join().unwrap();
        assert_eq!(watched.freed.load(Relaxed), 1);
    });
}

#[test]
fn an_envelope_arrives_with_its_block() {
    loom::model(|| {
        let arena = Arena::private(&Options::default()).unwrap();
        let slot = Arc::new(loom::sync::atomic::AtomicPtr::<Header>::new(std::ptr::null_mut()));
        let sender = thread::spawn({
            let slot = Arc::clone(&slot);
            move || {
                let mut block = arena.envelope().unwrap();
                block.set_envelope(Envelope { source: 10, session: -1, ty: 7 });
                // Release: publishes the envelope, as a mailbox's push does.
                slot.store(block.into_raw().as_ptr(), Release);
            }
        });
        let header = loop {
            match NonNull::new(slot.load(Acquire)) {
                Some(header) => break header,
                None => thread::yield_now(),
            }
        };
        // SAFETY: the sender gave it away with `into_raw`, and we are the only ones who take.
        let block = unsafe { Block::from_raw(header) };
        assert_eq!(block.envelope(), Envelope { source: 10, session: -1, ty: 7 });
        drop(block);
        sender.join().unwrap();
    });
}
