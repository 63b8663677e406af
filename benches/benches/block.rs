//! What a block costs, beside what mimalloc, jemalloc, the system allocator and `Arc` take for the same.
//!
//! Questions: is alloc and free of a message well below the cost of sending it (aim: 60 ns together, uncontended)? Does an
//! owner cost no more than `Arc`'s? Does a block that one thread makes and another drops stay as cheap? Guards against
//! regressions; the program `blocks` compares, in interleaved rounds.

use std::{
    collections::VecDeque,
    hint::black_box,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use skein_arena::{Arena, Block, Options};
use skein_benches::allocators::{Allocator, Jemalloc, Mimalloc};

fn arena() -> Arena {
    Arena::private(&Options::default()).expect("benches have the range to themselves")
}

/// As much memory as a block of that size, from the system.
fn malloc(size: usize) -> Box<[u8]> {
    let mut memory = Vec::<u8>::with_capacity(size);
    // SAFETY: the capacity is `size`, and bytes may have any value for what is done here: nobody reads them.
    #[allow(clippy::uninit_vec)]
    unsafe {
        memory.set_len(size)
    };
    memory.into_boxed_slice()
}

/// One block at a time, as in ping-pong.
fn alloc_free(c: &mut Criterion) {
    let arena = arena();
    fn once(allocator: impl Allocator, size: usize) {
        let at = black_box(allocator.alloc(size));
        // SAFETY: it was allocated a moment ago.
        unsafe { allocator.free(at) };
    }

    for size in [64, 256, 1024, 4096, 16_000, 64 << 10, 1 << 20] {
        let mut group = c.benchmark_group(format!("block/alloc_free/{size}"));
        group.throughput(Throughput::Elements(1));
        group.bench_function("skein", |b| b.iter(|| drop(black_box(arena.alloc(black_box(size)).unwrap()))));
        group.bench_function("malloc", |b| b.iter(|| drop(black_box(malloc(black_box(size))))));
        group.bench_function("mimalloc", |b| b.iter(|| once(Mimalloc, black_box(size))));
        group.bench_function("jemalloc", |b| b.iter(|| once(Jemalloc, black_box(size))));
    }
}

/// A queue that is always a thousand messages long: magazines run empty and full.
fn queue_of_1000(c: &mut Criterion) {
    let arena = arena();
    let mut group = c.benchmark_group("block/queue_of_1000");
    group.throughput(Throughput::Elements(1));
    let mut blocks: VecDeque<Block> = (0..1000).map(|_| arena.alloc(100).unwrap()).collect();
    group.bench_function("skein", |b| {
        b.iter(|| {
            blocks.push_back(arena.alloc(100).unwrap());
            drop(blocks.pop_front());
        })
    });
    let mut boxes: VecDeque<Box<[u8]>> = (0..1000).map(|_| malloc(100)).collect();
    group.bench_function("malloc", |b| {
        b.iter(|| {
            boxes.push_back(malloc(100));
            drop(boxes.pop_front());
        })
    });
}

/// One more owner, and one less.
fn acquire_release(c: &mut Criterion) {
    let mut group = c.benchmark_group("block/acquire_release");
    group.throughput(Throughput::Elements(1));
    let payload = arena().copy_from(&[1; 100]).unwrap().share();
    group.bench_function("skein", |b| b.iter(|| drop(black_box(&payload).clone())));
    let arc: Arc<[u8]> = Arc::from(&[1; 100][..]);
    group.bench_function("std_arc", |b| b.iter(|| drop(Arc::clone(black_box(&arc)))));
}

/// A copy of 100 bytes that is shared once and dropped twice.
fn copy_share_drop(c: &mut Criterion) {
    let arena = arena();
    let mut group = c.benchmark_group("block/copy_share_drop");
    group.throughput(Throughput::Elements(1));
    let bytes = [1; 100];
    group.bench_function("skein", |b| {
        b.iter(|| {
            let payload = arena.copy_from(black_box(&bytes)).unwrap().share();
            black_box(payload.clone())
        })
    });
    group.bench_function("std_arc", |b| {
        b.iter(|| {
            let arc: Arc<[u8]> = Arc::from(black_box(&bytes[..]));
            black_box(Arc::clone(&arc))
        })
    });
}

/// Whether a pointer that Lua gave back is a block of ours.
fn find(c: &mut Criterion) {
    let block = arena().alloc(100).unwrap();
    let mut group = c.benchmark_group("block/find");
    group.bench_function("ours", |b| b.iter(|| Arena::find(black_box(block.as_ptr())).is_some()));
    let foreign = Box::new(0_u8);
    group.bench_function("not_ours", |b| b.iter(|| Arena::find(black_box(&raw const *foreign)).is_some()));
}

/// One thread makes, another drops, 256 at a time over a channel; time per block.
fn made_here_dropped_there(c: &mut Criterion) {
    const BATCH: u64 = 256;

    fn run<T: Send + 'static>(count: u64, make: impl Fn() -> T) -> Duration {
        let (sender, receiver) = mpsc::sync_channel::<Vec<T>>(16);
        let dropper = thread::spawn(move || receiver.into_iter().for_each(drop));
        let start = Instant::now();
        for _ in 0..count.div_ceil(BATCH) {
            sender.send((0..BATCH).map(|_| make()).collect()).unwrap();
        }
        drop(sender);
        dropper.join().unwrap();
        start.elapsed()
    }

    let arena = arena();
    let mut group = c.benchmark_group("block/made_here_dropped_there");
    group.throughput(Throughput::Elements(1));
    group.bench_function("skein", |b| b.iter_custom(|count| run(count, || arena.alloc(100).unwrap())));
    group.bench_function("malloc", |b| b.iter_custom(|count| run(count, || malloc(100))));
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = alloc_free, queue_of_1000, acquire_release, copy_share_drop, find, made_here_dropped_there
}
criterion_main!(benches);
