//! What it costs to read something without owning it: a pin, a look-up under it, the current version of a root.
//!
//! Questions: does our guard cost more than the one of crossbeam-epoch that it wraps (aim: 1.1 times at most)? Is finding a
//! service by its handle cheaper than with a lock? Is reading a root cheaper than cloning an `Arc` out of a lock? All of
//! it with a second thread that does the same, too. Guards against regressions; claims are in `report/`.

use std::{
    collections::HashMap,
    hint::black_box,
    sync::{Arc, RwLock},
    thread,
};

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use skein_arena::{
    epoch,
    sync::atomic::{AtomicBool, Ordering},
};
use skein_runtime::Handle;
use skein_runtime::handle::table::{Entry, HandleTable};
use skein_sharedata::Root;

/// Measures `work` alone, and with a second thread that does it all the time.
fn both(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, work: impl Fn() + Sync) {
    group.bench_function(name, |b| b.iter(&work));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                work();
            }
        });
        group.bench_function(format!("{name}_beside_another"), |b| b.iter(&work));
        stop.store(true, Ordering::Relaxed);
    });
}

fn pin(c: &mut Criterion) {
    let mut group = c.benchmark_group("epoch/pin");
    group.throughput(Throughput::Elements(1));
    both(&mut group, "skein", || drop(black_box(epoch::pin())));
    both(&mut group, "crossbeam", || drop(black_box(crossbeam_epoch::pin())));
}

/// A second pin in a thread that has one: what a native call pays that was reached from another.
fn pin_again(c: &mut Criterion) {
    let mut group = c.benchmark_group("epoch/pin_again");
    group.throughput(Throughput::Elements(1));
    let _outer = epoch::pin();
    group.bench_function("skein", |b| b.iter(|| drop(black_box(epoch::pin()))));
    let _theirs = crossbeam_epoch::pin();
    group.bench_function("crossbeam", |b| b.iter(|| drop(black_box(crossbeam_epoch::pin()))));
}

struct Seat(Handle);

impl Entry for Seat {
    fn handle(&self) -> Handle {
        self.0
    }
}

/// One of 10,000 services, found by its handle.
fn find_service(c: &mut Criterion) {
    let table = HandleTable::new(0);
    let locked = RwLock::new(HashMap::new());
    for _ in 0..10_000 {
        let entry = table.register(|handle| Arc::new(Seat(handle))).unwrap();
        locked.write().unwrap().insert(entry.handle().0, entry);
    }
    let handle = Handle(4711);
    let mut group = c.benchmark_group("epoch/find_service");
    group.throughput(Throughput::Elements(1));
    both(&mut group, "skein", || {
        let guard = epoch::pin();
        assert!(table.find(black_box(handle), &guard).is_some());
    });
    both(&mut group, "locked_map", || {
        let found = locked.read().unwrap().get(&black_box(handle).0).map(Arc::clone);
        assert!(found.is_some());
    });
}

/// The current version of a table, read at once and kept for longer.
fn root(c: &mut Criterion) {
    let root = Root::new([7u64; 16]);
    let locked = RwLock::new(Arc::new([7u64; 16]));
    let mut group = c.benchmark_group("epoch/root_read");
    group.throughput(Throughput::Elements(1));
    both(&mut group, "skein", || assert_eq!(root.read(|now| black_box(now)[3]), 7));
    both(&mut group, "locked", || assert_eq!(black_box(locked.read().unwrap())[3], 7));
    group.finish();
    let mut group = c.benchmark_group("epoch/root_lease");
    group.throughput(Throughput::Elements(1));
    both(&mut group, "skein", || assert_eq!(black_box(root.lease())[3], 7));
    both(&mut group, "locked_arc", || {
        let kept = Arc::clone(&locked.read().unwrap());
        assert_eq!(black_box(kept)[3], 7);
    });
    group.finish();
    let mut group = c.benchmark_group("epoch/root_publish");
    group.throughput(Throughput::Elements(1));
    group.bench_function("skein", |b| b.iter(|| root.publish(black_box([7; 16]))));
    group
        .bench_function("locked_arc", |b| b.iter(|| *locked.write().unwrap() = Arc::new(black_box([7; 16]))));
}

criterion_group!(benches, pin, pin_again, find_service, root);
criterion_main!(benches);
