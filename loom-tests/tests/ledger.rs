//! Who reads a receiver's head, then its ledger, knows all that it may still be reading of a dead sender's memory.
//!
//! Broken by hand and caught: the Release that clears and the Acquire that looks, made Relaxed; the Release of the head likewise.
#![cfg(loom)]

use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::*},
    },
    thread,
};
use skein_arena::transfer::{Consumer, Entry, EntryKind, Hold, Ledger, Producer, Ring};

struct Shared {
    ring: Ring,
    head: AtomicU64,
    ledger: Ledger,
    bytes: UnsafeCell<u32>,
}

// SAFETY: the bytes are used as the ledger says, which is what the model checks.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

#[test]
fn memory_that_is_in_neither_ring_nor_ledger_is_read_by_nobody() {
    loom::model(|| {
        let shared = Arc::new(Shared {
            ring: Ring::default(),
            head: AtomicU64::new(0),
            ledger: Ledger::default(),
            bytes: UnsafeCell::new(7),
        });
        // Sent, and then the sender died.
        Producer::at(0).publish(&shared.ring, Entry::of(EntryKind::Block, 1), || {});
        let receiver = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let mut consumer = Consumer::at(0);
                let entry = consumer.peek(&shared.ring).unwrap().unwrap();
                shared.ledger.enter(entry.ticket, Hold { unit: 0, generation: 0 });
                consumer.advance(&shared.head);
                // SAFETY: the ledger says that we hold it.
                assert_eq!(shared.bytes.with(|it| unsafe { *it }), 7);
                shared.ledger.clear(entry.ticket);
            }
        });
        for _ in 0..2 {
            let unread = shared.head.load(Acquire) == 0;
            if !unread && shared.ledger.holds().next().is_none() {
                // SAFETY: nobody holds it, or the model fails here.
                shared.bytes.with_mut(|it| unsafe { *it = 0 });
                break;
            }
            thread::yield_now();
        }
        receiver.join().unwrap();
    });
}
