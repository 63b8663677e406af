//! The mailbox: every message is received once, by one holder at a time, in its sender's order; none is left behind, wherever
//! a sender stops; a retired mailbox gives each one back.
//!
//! Broken by hand, one at a time, and caught:
//! * the `fetch_add` of `push`: without Release; without Acquire; that of `close`: Relaxed;
//! * `seen`: Acquire → Relaxed;
//! * `let_go` and `die`: Release → Relaxed; a plain store instead of the comparison;
//! * `let_go` without the second pop; `die` with its look at the state after the drain;
//! * the swap of the tail, the store of the link: Relaxed.
#![cfg(loom)]

use std::ptr::NonNull;

use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::*},
    },
    thread,
};
use skein_arena::Header;
use skein_runtime::mailbox::{Held, LetGo, Mailbox, Pop, Pushed};

/// A message with a name; its header comes first, as a block's does.
#[repr(C)]
struct Note {
    header: Header,
    name: u32,
}

/// A mailbox with the data it protects: what its service has seen.
struct Service {
    mailbox: Mailbox,
    /// Touched by the holder only: loom says if two are at it, or one does not see what the last one wrote.
    served: UnsafeCell<Vec<u32>>,
    /// Given back by the end of the mailbox.
    returned: AtomicUsize,
}

// SAFETY: `served` is the holder's, which is what the models check.
unsafe impl Sync for Service {}
// SAFETY: as above.
unsafe impl Send for Service {}

impl Service {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            mailbox: Mailbox::new(),
            served: UnsafeCell::new(Vec::new()),
            returned: AtomicUsize::new(0),
        })
    }

    /// Sends one message, and does what the outcome asks for, as a worker or as whoever has to drain.
    fn send(&self, name: u32) {
        let note = Box::new(Note { header: Header::stub(), name });
        // SAFETY: the header is ours, and the `Arc` keeps the mailbox.
        match unsafe { self.mailbox.push(NonNull::from(Box::leak(note)).cast()) } {
            Pushed::Schedule => self.serve(),
            Pushed::Queued => {}
            // SAFETY: the outcome says that the hold is ours.
            Pushed::Retired => self.end(unsafe { self.mailbox.hold() }),
        }
    }

    fn close(&self) {
        match self.mailbox.close() {
            Pushed::Schedule => self.serve(),
            Pushed::Queued => {}
            Pushed::Retired => unreachable!("closed once"),
        }
    }

    /// A worker's turn.
    fn serve(&self) {
        // SAFETY: the caller was given the hold.
        let mut held = unsafe { self.mailbox.hold() };
        loop {
            let message = match held.pop() {
                Pop::Message(message) => message,
                Pop::Empty | Pop::Busy => match held.let_go() {
                    LetGo::Idle => return,
                    LetGo::Message(again, message) => {
                        held = again;
                        message
                    }
                    LetGo::Closing(held) => return self.end(held),
                },
            };
            let name = free(message);
            // SAFETY: the holder's.
            self.served.with_mut(|it| unsafe { &mut *it }.push(name));
        }
    }

    fn end(&self, held: Held<'_>) {
        held.die(|message| {
            self.returned.fetch_add(1, Relaxed);
            free(message);
        });
    }

    fn served(&self) -> Vec<u32> {
        // SAFETY: the threads of the model were joined.
        self.served.with(|it| unsafe { &*it }.clone())
    }
}

fn free(message: NonNull<Header>) -> u32 {
    // SAFETY: leaked as a `Note` in `send`, and popped once.
    unsafe { Box::from_raw(message.cast::<Note>().as_ptr()) }.name
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn two_senders_and_the_first_holder_lose_nothing() {
    check(|| {
        let service = Service::new();
        let senders = [1, 2].map(|name| {
            let service = Arc::clone(&service);
            thread::spawn(move || service.send(name))
        });
        // The hold of the beginning, let go while they send.
        service.serve();
        for sender in senders {
            sender.join().unwrap();
        }
        let mut served = service.served();
        served.sort_unstable();
        assert_eq!(served, [1, 2]);
        assert_eq!(service.mailbox.len(), 0);
    });
}

#[test]
fn a_sender_keeps_its_order_while_another_stands_in_the_way() {
    check(|| {
        let service = Service::new();
        service.serve();
        let other = thread::spawn({
            let service = Arc::clone(&service);
            move || service.send(9)
        });
        service.send(1);
        service.send(2);
        other.join().unwrap();
        let mut served = service.served();
        assert_eq!(served.len(), 3);
        served.retain(|name| *name != 9);
        assert_eq!(served, [1, 2]);
        assert_eq!(service.mailbox.len(), 0);
    });
}

#[test]
fn a_mailbox_that_is_closed_gives_every_message_an_end() {
    loom::model(|| {
        let service = Service::new();
        service.serve();
        let sender = thread::spawn({
            let service = Arc::clone(&service);
            move || service.send(1)
        });
        service.close();
        sender.join().unwrap();
        // One that came after the end, too.
        service.send(2);
        assert_eq!(service.served().len() + service.returned.load(Relaxed), 2);
    });
}

#[test]
fn two_late_senders_at_a_dead_mailbox_do_not_meet() {
    loom::model(|| {
        let service = Service::new();
        service.serve();
        service.close();
        let other = thread::spawn({
            let service = Arc::clone(&service);
            move || service.send(1)
        });
        service.send(2);
        other.join().unwrap();
        assert_eq!(service.returned.load(Relaxed), 2);
        assert_eq!(service.served().len(), 0);
    });
}
