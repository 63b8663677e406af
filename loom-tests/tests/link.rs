//! A ring that had other lives at its ends is opened again: each side finds where the new one begins.
//!
//! Broken by hand and caught: each Release and each Acquire of the two lives, made Relaxed.
#![cfg(loom)]

use loom::{
    sync::{Arc, atomic::Ordering::*},
    thread,
};
use skein_arena::transfer::{Consumer, Entry, EntryKind, Producer, RING, Receiving, Ring, Sending};

const FORMER: u64 = 3;
const RECEIVER: u64 = 4;
const SENDER: u64 = 5;

#[derive(Default)]
struct Shared {
    ring: Ring,
    sending: Sending,
    receiving: Receiving,
}

fn entry(number: u32) -> Entry {
    Entry { len: number, ..Entry::of(EntryKind::Empty, 0) }
}

#[test]
fn both_sides_begin_at_the_same_place() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let shared = Arc::new(Shared::default());
        // What was sent to the former receiver, and how far we had read the former sender.
        let mut former = Producer::at(shared.sending.open(FORMER));
        former.publish(&shared.ring, entry(0), || {});
        shared.sending.advance(former.tail());
        shared.receiving.open(FORMER, 70);

        let sender = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let mut producer = Producer::at(shared.sending.open(RECEIVER));
                for number in 1..=RING as u32 + 1 {
                    while producer.room() == 0 {
                        if let Some(head) = shared.receiving.head_for(SENDER) {
                            producer.refresh(head).unwrap();
                        }
                        thread::yield_now();
                    }
                    producer.publish(&shared.ring, entry(number), || {});
                    shared.sending.advance(producer.tail());
                }
            }
        });
        let start = loop {
            match shared.sending.start_for(RECEIVER) {
                Some(start) => break start,
                None => thread::yield_now(),
            }
        };
        shared.receiving.open(SENDER, start);
        let mut consumer = Consumer::at(start);
        for number in 1..=RING as u32 + 1 {
            let found = loop {
                match consumer.peek(&shared.ring).unwrap() {
                    Some(entry) => break entry.len,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(found, number, "an entry for the former receiver was read");
            consumer.advance(&shared.receiving.head);
        }
        sender.join().unwrap();
        assert_eq!(shared.sending.tail.load(Relaxed), consumer.head());
    });
}
