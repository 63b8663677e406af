//! Tickets that go back from several threads through one ring: none is lost, and nobody waits.
#![cfg(loom)]

use std::collections::VecDeque;

use loom::{
    sync::{Arc, Mutex},
    thread,
};
use skein_arena::transfer::GiveBacks;

#[test]
fn every_ticket_goes_back_though_nobody_waits_for_the_ring() {
    loom::model(|| {
        let shared = Arc::new((GiveBacks::default(), Mutex::new(VecDeque::new())));
        let give = |shared: &(GiveBacks, Mutex<VecDeque<u16>>), ticket| {
            shared.0.push(ticket);
            shared.0.settle(&shared.1, |queue| shared.0.move_to(queue));
        };
        let other = thread::spawn({
            let shared = Arc::clone(&shared);
            move || give(&shared, 1)
        });
        give(&shared, 0);
        other.join().unwrap();
        let mut back: Vec<u16> = shared.1.lock().unwrap().iter().copied().collect();
        back.sort_unstable();
        assert_eq!((back, shared.0.is_empty()), (vec![0, 1], true));
    });
}
