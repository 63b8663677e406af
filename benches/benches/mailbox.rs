//! What the mailbox of a service costs, beside a channel and a locked queue.
//!
//! Questions: what do a push and a pop take when the service is idle, in bursts, and when two threads push while one pops? The rivals
//! carry a pointer, and do not say whether the receiver has to be scheduled. Guards against regressions; claims are in `report/`.

use std::{
    collections::VecDeque,
    hint::black_box,
    ptr::NonNull,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use skein_arena::{
    Arena, Block, Header, Options,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use skein_runtime::mailbox::{LetGo, Mailbox, Pop, Pushed};

/// Messages of a burst, and those that one sender has under way.
const BURST: usize = 64;
const SENDERS: usize = 2;

/// A message, as a mailbox takes it.
struct Letter(NonNull<Header>);

// SAFETY: a block that nobody else has.
unsafe impl Send for Letter {}

fn letters(count: usize) -> Vec<Letter> {
    let arena = Arena::private(&Options::default()).expect("the range is free");
    (0..count).map(|_| Letter(arena.copy_from(b"12345678").expect("there is room").into_raw())).collect()
}

fn give_back(letters: Vec<Letter>) {
    for letter in letters {
        // SAFETY: it came from `into_raw`, and no mailbox has it.
        drop(unsafe { Block::from_raw(letter.0) });
    }
}

/// A mailbox that nobody holds.
fn idle() -> Mailbox {
    let mailbox = Mailbox::new();
    // SAFETY: who makes it holds it.
    assert!(matches!(unsafe { mailbox.hold() }.let_go(), LetGo::Idle));
    mailbox
}

/// A turn of the one who was told to schedule: takes all, and lets go.
fn turn(mailbox: &Mailbox, mut with: impl FnMut(Letter)) {
    // SAFETY: the caller's push said so.
    let mut held = unsafe { mailbox.hold() };
    loop {
        if let Pop::Message(message) = held.pop() {
            with(Letter(message));
            continue;
        }
        match held.let_go() {
            LetGo::Idle => return,
            LetGo::Message(again, message) => {
                held = again;
                with(Letter(message));
            }
            LetGo::Closing(_) => unreachable!("nobody closes it"),
        }
    }
}

/// `true`: the sender has to see to a turn.
fn push(mailbox: &Mailbox, letter: Letter) -> bool {
    // SAFETY: the letter is ours, and the mailbox outlives this.
    unsafe { mailbox.push(letter.0) == Pushed::Schedule }
}

fn one_thread(c: &mut Criterion) {
    for (name, count) in [("mailbox/one", 1), ("mailbox/burst", BURST)] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(count as u64));
        let (mailbox, mut at_hand) = (idle(), letters(count));
        group.bench_function("skein", |b| {
            b.iter(|| {
                let first = at_hand.drain(..).fold(false, |first, it| push(&mailbox, it) | first);
                assert!(black_box(first));
                turn(&mailbox, |it| at_hand.push(it));
            });
        });
        let (sender, receiver) = mpsc::channel();
        group.bench_function("std_mpsc", |b| {
            b.iter(|| {
                at_hand.drain(..).for_each(|it| sender.send(it).expect("we have the other end"));
                at_hand.extend(receiver.try_iter());
            });
        });
        let queue = Mutex::new(VecDeque::new());
        group.bench_function("locked_deque", |b| {
            b.iter(|| {
                at_hand.drain(..).for_each(|it| queue.lock().expect("no panic").push_back(it));
                while let Some(it) = queue.lock().expect("no panic").pop_front() {
                    at_hand.push(it);
                }
            });
        });
        give_back(at_hand);
        group.finish();
    }
}

/// Threads that send letters and get them back to send again, and one that receives; per message.
fn contended(
    messages: u64,
    send: impl Fn(Letter) + Clone + Send + 'static,
    mut receive: impl FnMut() -> Option<Letter>,
) -> Duration {
    let over = Arc::new(AtomicBool::new(false));
    let (mut ends, mut threads) = (Vec::new(), Vec::new());
    for _ in 0..SENDERS {
        let (back, at_hand) = mpsc::channel::<Letter>();
        letters(BURST).into_iter().for_each(|it| back.send(it).expect("we have the other end"));
        let (send, over) = (send.clone(), Arc::clone(&over));
        ends.push(back);
        threads.push(thread::spawn(move || {
            while !over.load(Relaxed) {
                at_hand.try_iter().for_each(&send);
                thread::yield_now();
            }
            give_back(at_hand.iter().collect());
        }));
    }
    let began = Instant::now();
    let mut got = 0;
    while got < messages {
        match receive() {
            Some(letter) => {
                ends[got as usize % SENDERS].send(letter).expect("it is not over");
                got += 1;
            }
            None => thread::yield_now(),
        }
    }
    let took = began.elapsed();
    over.store(true, Relaxed);
    drop(ends);
    for thread in threads {
        thread.join().expect("no panic");
    }
    while let Some(letter) = receive() {
        give_back(vec![letter]);
    }
    took
}

/// Two threads send, one receives. The way back is the same for all.
fn two_senders(c: &mut Criterion) {
    let mut group = c.benchmark_group("mailbox/two_senders");
    group.throughput(Throughput::Elements(1));
    group.sample_size(10);
    group.bench_function("skein", |b| {
        b.iter_custom(|messages| {
            // Held for ever by the receiver, as that of a busy service is.
            let mailbox = Arc::new(Mailbox::new());
            let to = Arc::clone(&mailbox);
            contended(
                messages,
                move |it| assert!(!push(&to, it), "it is held"),
                // SAFETY: we made it, and hold it.
                || match unsafe { mailbox.hold() }.pop() {
                    Pop::Message(message) => Some(Letter(message)),
                    Pop::Empty | Pop::Busy => None,
                },
            )
        });
    });
    group.bench_function("std_mpsc", |b| {
        b.iter_custom(|messages| {
            let (sender, receiver) = mpsc::channel();
            contended(messages, move |it| drop(sender.send(it)), || receiver.try_recv().ok())
        });
    });
    group.bench_function("locked_deque", |b| {
        b.iter_custom(|messages| {
            let queue = Arc::new(Mutex::new(VecDeque::new()));
            let to = Arc::clone(&queue);
            contended(
                messages,
                move |it| to.lock().expect("no panic").push_back(it),
                || queue.lock().expect("no panic").pop_front(),
            )
        });
    });
    group.finish();
}

criterion_group!(benches, one_thread, two_senders);
criterion_main!(benches);
