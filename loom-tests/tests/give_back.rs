//! Tickets that go back from several threads through one ring: none is lost, and nobody waits.
//!
//! Broken by hand and caught: the Release of a push, or the Acquire of who takes the list, made Relaxed; no fence before the look at
//! the list; no second look.
#![cfg(loom)]

use std::collections::VecDeque;

use loom::{
    cell::UnsafeCell,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::*},
    },
    thread,
};
use skein_arena::transfer::GiveBacks;

#[derive(Default)]
struct Shared {
    list: GiveBacks,
    ring: Mutex<VecDeque<u16>>,
    /// The blocks that the tickets stand for: read by who holds them, written by their owner when the tickets are back.
    blocks: [UnsafeCell<u32>; 2],
    /// loom does not look for a `try_lock` between another thread's last step inside of the lock and its end. With a step of both
    /// threads here it does.
    between: AtomicU32,
}

// SAFETY: blocks are used as the protocol says, which is what the model checks.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

#[test]
fn every_ticket_goes_back_though_nobody_waits_for_the_ring() {
    loom::model(|| {
        let shared = Arc::new(Shared::default());
        let give = |shared: &Shared, ticket: u16| {
            // SAFETY: the ticket has not been given back.
            assert_eq!(shared.blocks[usize::from(ticket)].with(|it| unsafe { *it }), 0);
            shared.list.push(ticket);
            shared.between.fetch_add(1, Relaxed);
            shared.list.settle(&shared.ring, |queue| {
                let before = queue.len();
                shared.list.move_to(queue);
                for &ticket in queue.iter().skip(before) {
                    // SAFETY: what goes through the ring now is read by nobody, or the model fails here.
                    shared.blocks[usize::from(ticket)].with_mut(|it| unsafe { *it = 1 });
                }
                shared.between.fetch_add(1, Relaxed);
            });
        };
        let other = thread::spawn({
            let shared = Arc::clone(&shared);
            move || give(&shared, 1)
        });
        give(&shared, 0);
        other.join().unwrap();
        let mut back: Vec<u16> = shared.ring.lock().unwrap().iter().copied().collect();
        back.sort_unstable();
        assert_eq!((back, shared.list.is_empty()), (vec![0, 1], true));
    });
}
