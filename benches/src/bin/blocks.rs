//! What a block costs beside mimalloc, jemalloc and `Arc`, in interleaved rounds of CPU time.
//!
//! Each row: the least and the median nanoseconds of each, and in parentheses how many times the rival's ours are.
//! `cargo run --release -p skein-benches --bin blocks [rounds] [part of a row's name]`

use std::{
    hint::black_box,
    ptr::NonNull,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use skein_arena::{Arena, epoch};
use skein_benches::{
    allocators::{Allocator, Jemalloc, Mimalloc, Skein},
    random::Random,
    rounds::{Round, compare, stay_on, thread_time},
};

fn main() {
    let mut args = std::env::args().skip(1);
    let rounds = args.next().map_or(100, |it| it.parse().expect("a number of rounds"));
    let wanted = args.next().unwrap_or_default();
    let bench = Bench { skein: Skein::new(), rounds, wanted };
    for size in [64, 100, 256, 1024, 4096] {
        bench.allocators(&format!("alloc and free, {size} B"), OneAtATime(size));
    }
    bench.allocators("1000 alive, 64 B to 4 KiB", Replace { alive: 1000, most: 4096 });
    for size in [64, 1024, 4096] {
        bench.allocators(&format!("freed elsewhere, {size} B"), Elsewhere { size, messages: false });
        bench.allocators(&format!("… with room for a header, {size} B"), Elsewhere { size, messages: true });
    }
    for size in [64 << 10, 1 << 20] {
        bench.allocators(&format!("alloc, fill and free, {} KiB", size >> 10), Filled(size));
    }
    bench.owners();
    bench.find();
    bench.pin();
}

struct Bench {
    skein: Skein,
    rounds: usize,
    wanted: String,
}

/// What an allocator has to do.
trait Workload: Copy {
    fn with<A: Allocator>(self, allocator: A) -> Round<'static>;
}

impl Bench {
    fn row(&self, what: &str, rivals: impl FnOnce() -> Vec<(&'static str, Round<'static>)>) {
        if what.contains(&self.wanted) {
            compare(what, self.rounds, rivals());
        }
    }

    fn allocators(&self, what: &str, workload: impl Workload) {
        self.row(what, || {
            vec![
                (Skein::NAME, workload.with(self.skein)),
                (Mimalloc::NAME, workload.with(Mimalloc)),
                (Jemalloc::NAME, workload.with(Jemalloc)),
            ]
        });
    }

    fn owners(&self) {
        let payload = self.skein.0.copy_from(&[1; 100]).expect("there is no limit").share();
        let arc: Arc<[u8]> = Arc::from(&[1; 100][..]);
        self.row("one more owner and one less", || {
            vec![
                (Skein::NAME, timed(move || drop(black_box(&payload).clone()))),
                ("Arc", timed(move || drop(Arc::clone(black_box(&arc))))),
            ]
        });
    }

    fn find(&self) {
        let block = self.skein.0.alloc(100).expect("there is no limit");
        let large = self.skein.0.alloc(100_000).expect("there is no limit");
        let foreign = Box::new(0_u8);
        let find = |at: *const u8| timed(move || _ = black_box(Arena::find(black_box(at))));
        self.row("find", || {
            vec![
                ("a block", find(block.as_ptr())),
                ("a large one", find(large.as_ptr())),
                ("not ours", find(&raw const *foreign)),
            ]
        });
    }

    fn pin(&self) {
        self.row("pin and unpin", || {
            vec![
                (Skein::NAME, timed(|| drop(black_box(epoch::pin())))),
                ("crossbeam-epoch", timed(|| drop(black_box(crossbeam_epoch::pin())))),
            ]
        });
    }
}

/// Rounds of many times the same.
fn timed(mut what: impl FnMut() + 'static) -> Round<'static> {
    const TIMES: u32 = 50_000;
    Box::new(move || {
        let start = thread_time();
        for _ in 0..TIMES {
            what();
        }
        per_operation(thread_time() - start, TIMES as usize)
    })
}

fn per_operation(time: Duration, operations: usize) -> f64 {
    time.as_nanos() as f64 / operations as f64
}

/// As in ping-pong: allocated, written to, freed.
#[derive(Clone, Copy)]
struct OneAtATime(usize);

impl Workload for OneAtATime {
    fn with<A: Allocator>(self, allocator: A) -> Round<'static> {
        timed(move || {
            let at = allocator.alloc(black_box(self.0));
            // SAFETY: it was allocated a moment ago, with at least so many bytes.
            unsafe {
                at.cast::<u64>().write_volatile(7);
                allocator.free(at);
            }
        })
    }
}

/// As many blocks as there are messages under way; each step replaces one of them at random by one of another size.
#[derive(Clone, Copy)]
struct Replace {
    alive: usize,
    most: u64,
}

impl Workload for Replace {
    fn with<A: Allocator>(self, allocator: A) -> Round<'static> {
        let mut random = Random::new(1);
        let mut blocks: Vec<_> = (0..self.alive).map(|_| Sendable(allocator.alloc(64))).collect();
        timed(move || {
            let at = random.below(self.alive as u64) as usize;
            let size = 64 + random.below(self.most - 63) as usize;
            let old = std::mem::replace(&mut blocks[at], Sendable(allocator.alloc(size)));
            // SAFETY: a block in the list is allocated.
            unsafe { allocator.free(old.0) };
        })
    }
}

/// A large message: allocated, written from end to end, freed.
#[derive(Clone, Copy)]
struct Filled(usize);

impl Workload for Filled {
    fn with<A: Allocator>(self, allocator: A) -> Round<'static> {
        const TIMES: usize = 100;
        Box::new(move || {
            let start = thread_time();
            for _ in 0..TIMES {
                let at = allocator.alloc(self.0);
                // SAFETY: it was allocated a moment ago, with so many bytes.
                unsafe {
                    at.write_bytes(7, self.0);
                    allocator.free(black_box(at));
                }
            }
            per_operation(thread_time() - start, TIMES)
        })
    }
}

/// Allocated here, read and freed on another thread, with some batches under way: CPU time of both.
#[derive(Clone, Copy)]
struct Elsewhere {
    size: usize,
    /// Whether rivals have to allocate what a message takes beside its payload.
    messages: bool,
}

/// A pointer on its way to another thread.
struct Sendable(NonNull<u8>);

// SAFETY: memory of these allocators belongs to no thread.
unsafe impl Send for Sendable {}

impl Workload for Elsewhere {
    fn with<A: Allocator>(self, allocator: A) -> Round<'static> {
        const BATCH: usize = 250;
        const BATCHES: usize = 400;
        let size = self.size + if self.messages { A::BESIDE } else { 0 };
        const UNDER_WAY: usize = 3;
        let (sender, batches) = mpsc::sync_channel::<Vec<Sendable>>(UNDER_WAY);
        let (back, empty) = mpsc::channel();
        thread::spawn(move || {
            stay_on(1);
            for mut batch in batches {
                let start = thread_time();
                let mut sum = 0_u64;
                for it in batch.drain(..) {
                    // SAFETY: the sender allocated it, wrote this number and gave it away.
                    unsafe {
                        sum += it.0.cast::<u64>().read();
                        allocator.free(it.0);
                    }
                }
                assert_eq!(sum, (BATCH * (BATCH - 1) / 2) as u64);
                back.send((batch, thread_time() - start)).expect("the bench waits for it");
            }
        });
        let mut spare: Vec<Vec<Sendable>> = (0..UNDER_WAY).map(|_| Vec::with_capacity(BATCH)).collect();
        Box::new(move || {
            stay_on(0);
            let mut time = Duration::ZERO;
            for _ in 0..BATCHES {
                let mut batch = spare.pop().unwrap_or_else(|| {
                    let (batch, elsewhere) = empty.recv().expect("the other thread goes on");
                    time += elsewhere;
                    batch
                });
                let start = thread_time();
                for number in 0..BATCH as u64 {
                    let at = allocator.alloc(size);
                    // SAFETY: it was allocated a moment ago.
                    unsafe { at.cast::<u64>().write(number) };
                    batch.push(Sendable(at));
                }
                time += thread_time() - start;
                sender.send(batch).expect("the other thread goes on");
            }
            while spare.len() < UNDER_WAY {
                let (batch, elsewhere) = empty.recv().expect("the other thread goes on");
                time += elsewhere;
                spare.push(batch);
            }
            per_operation(time, BATCH * BATCHES)
        })
    }
}
