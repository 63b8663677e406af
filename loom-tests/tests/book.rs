//! What is lent under a ticket: given back once, by whoever of the two sides takes it out, and the ticket is used again.
//!
//! Broken by hand and caught, made Relaxed: the Release that lends and the Acquire that looks; the Release that puts a ticket back and
//! the Acquire that takes it again. Not caught: the Acquire of `take`, which comes behind a look here.
#![cfg(loom)]

use std::ptr::NonNull;

use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering::*},
    },
    thread,
};
use skein_arena::{
    Arena, Options, Payload,
    transfer::{Book, TICKETS, Tickets},
};

/// Memory that a model can watch: written by the sender before it is lent, and when it is freed.
struct Watched {
    bytes: UnsafeCell<u32>,
    freed: AtomicUsize,
}

unsafe fn free(at: NonNull<u8>, _: usize) {
    // SAFETY: the model keeps what it gave away alive until its end.
    let watched = unsafe { at.cast::<Watched>().as_ref() };
    // SAFETY: nobody reads any more, or the model fails here.
    watched.bytes.with_mut(|it| unsafe { *it = 0xdead });
    watched.freed.fetch_add(1, Relaxed);
}

fn read(payload: &Payload) {
    // SAFETY: a payload's owner may read until it drops it.
    let watched = unsafe { &*payload.as_ptr().cast::<Watched>() };
    // SAFETY: as above.
    assert_eq!(watched.bytes.with(|it| unsafe { *it }), 7);
}

#[test]
fn tickets_come_back_with_all_that_was_done_under_them() {
    const COUNT: usize = TICKETS + 1;
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let book = Arc::new((Book::default(), AtomicU32::new(0)));
        let watched: Vec<Watched> =
            (0..COUNT).map(|_| Watched { bytes: UnsafeCell::new(0), freed: AtomicUsize::new(0) }).collect();
        let watched: &'static [Watched] = Box::leak(watched.into_boxed_slice());
        let arena = Arena::private(&Options::default()).unwrap();
        // The ring is this word: how many have been lent, in the order of their tickets' numbers.
        let sender = thread::spawn({
            let book = Arc::clone(&book);
            move || {
                let (mut tickets, mut order) = (Tickets::default(), Vec::new());
                for one in watched {
                    // SAFETY: nobody else knows it yet.
                    one.bytes.with_mut(|it| unsafe { *it = 7 });
                    // SAFETY: it is never freed, and `free` only looks at it.
                    let block = unsafe { arena.foreign(NonNull::from(one).cast(), 4, free) }.unwrap();
                    let ticket = loop {
                        match book.0.ticket(&mut tickets) {
                            Some(ticket) => break ticket,
                            None => thread::yield_now(),
                        }
                    };
                    book.0.lend(ticket, block.share());
                    order.push(ticket);
                    // Relaxed: the ring would bring the block along; the book has to do it alone.
                    book.1.fetch_add(1, Relaxed);
                }
                order
            }
        });
        // The receiving side: gives back whatever is lent.
        let mut back = 0;
        while back < COUNT {
            for ticket in 0..TICKETS as u16 {
                if let Some(payload) = book.0.look(ticket) {
                    read(&payload);
                    drop(payload);
                    let taken = book.0.take(ticket).expect("it has just been there");
                    read(&taken);
                    drop(taken);
                    back += 1;
                }
            }
            thread::yield_now();
        }
        let order = sender.join().unwrap();
        assert_eq!((order.len(), book.0.lent(), book.0.take_all()), (COUNT, 0, 0));
        assert!(watched.iter().all(|it| it.freed.load(Relaxed) == 1));
    });
}
