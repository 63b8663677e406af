//! A ring between two processes: an entry that is seen is whole, and brings along what was written before it.
//!
//! Broken by hand and caught: the Release and the Acquire of the stamp, the Release and the Acquire of the head, made Relaxed.
#![cfg(loom)]

use loom::{
    cell::UnsafeCell,
    sync::{Arc, atomic::AtomicU64},
    thread,
};
use skein_arena::transfer::{Consumer, Entry, EntryKind, Producer, RING, Ring};

struct Shared {
    ring: Ring,
    head: AtomicU64,
    bytes: [UnsafeCell<u32>; RING],
}

// SAFETY: the bytes are used as the ring says, which is what the model checks.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

#[test]
fn entries_arrive_whole_in_order_and_cells_are_used_again() {
    const COUNT: u32 = RING as u32 + 1;
    loom::model(|| {
        let shared = Arc::new(Shared {
            ring: Ring::default(),
            head: AtomicU64::new(0),
            bytes: std::array::from_fn(|_| UnsafeCell::new(0)),
        });
        let sender = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let mut producer = Producer::at(0);
                for number in 0..COUNT {
                    while producer.room() == 0 && producer.refresh(&shared.head).unwrap() == 0 {
                        thread::yield_now();
                    }
                    // SAFETY: the cell of this position was given back, and with it the bytes beside it.
                    shared.bytes[number as usize % RING].with_mut(|it| unsafe { *it = number });
                    let entry =
                        Entry { len: number, to: number, source: number, ..Entry::of(EntryKind::Block, 0) };
                    producer.publish(&shared.ring, entry, || {});
                }
            }
        });
        let mut consumer = Consumer::at(0);
        for number in 0..COUNT {
            let entry = loop {
                match consumer.peek(&shared.ring).unwrap() {
                    Some(entry) => break entry,
                    None => thread::yield_now(),
                }
            };
            assert_eq!((entry.len, entry.to, entry.source), (number, number, number));
            // SAFETY: the entry is ours until the head moves, and with it the bytes beside it.
            assert_eq!(shared.bytes[number as usize % RING].with(|it| unsafe { *it }), number);
            consumer.advance(&shared.head);
        }
        sender.join().unwrap();
    });
}
