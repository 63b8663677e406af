//! What a timeout costs the runtime: to set, to take back, to expire; beside a binary heap, with few and many pending.
//!
//! Questions: does setting one take the same time whether a thousand or a million are pending? Is expiry, in crowds, below
//! the cost of the message it becomes? Guards against regressions; claims are in `report/`.

use std::{cmp::Reverse, collections::BinaryHeap, hint::black_box};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use skein_runtime::timer::wheel::{Key, Wheel};

const PENDING: [u64; 2] = [1_000, 1_000_000];

/// Spread over ten minutes, in ms, and in no order.
fn expiry(n: u64) -> u64 {
    1 + n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 600_000
}

fn full(pending: u64) -> Wheel<u64> {
    let mut wheel = Wheel::new(0);
    for n in 0..pending {
        wheel.set(expiry(n), n);
    }
    wheel
}

/// A timeout that is set, and taken back: that of a call that was answered in time.
fn set_cancel(c: &mut Criterion) {
    let mut group = c.benchmark_group("timer/set_cancel");
    group.throughput(Throughput::Elements(1));
    for pending in PENDING {
        let mut wheel = full(pending);
        let mut n = pending;
        group.bench_function(format!("wheel/{pending}"), |b| {
            b.iter(|| {
                n += 1;
                let key = wheel.set(expiry(n), n);
                black_box(wheel.cancel(black_box(key)))
            });
        });
    }
    group.finish();
}

/// One expires and one is set, again and again: a node in a steady state.
fn steady(c: &mut Criterion) {
    let mut group = c.benchmark_group("timer/steady");
    group.throughput(Throughput::Elements(1));
    for pending in PENDING {
        let mut wheel = full(pending);
        let (mut now, mut n) = (0, pending);
        group.bench_function(format!("wheel/{pending}"), |b| {
            b.iter(|| {
                now = wheel.next().expect("some are pending");
                let mut expired = 0;
                while wheel.advance(now, 128, |it| expired += u64::from(black_box(it) != u64::MAX))
                    == skein_runtime::timer::wheel::Advanced::More
                {}
                for _ in 0..expired {
                    n += 1;
                    wheel.set(now + expiry(n), n);
                }
            });
        });
        let mut heap: BinaryHeap<_> = (0..pending).map(|n| Reverse((expiry(n), n))).collect();
        let mut n = pending;
        group.bench_function(format!("heap/{pending}"), |b| {
            b.iter(|| {
                let Reverse((now, it)) = heap.pop().expect("some are pending");
                black_box(it);
                n += 1;
                heap.push(Reverse((now + expiry(n), n)));
            });
        });
    }
    group.finish();
}

/// A crowd, set at once and due over half a second, from first to last; per timeout.
fn burst(c: &mut Criterion) {
    let mut group = c.benchmark_group("timer/burst");
    const CROWD: u64 = 100_000;
    group.throughput(Throughput::Elements(CROWD));
    group.sample_size(10);
    group.bench_function("wheel/100000", |b| {
        b.iter_batched(
            || Wheel::new(0),
            |mut wheel| {
                let mut keys: Vec<Key> = Vec::new();
                for n in 0..CROWD {
                    keys.push(wheel.set(10 * (1 + n % 50), n));
                }
                let mut sum = 0;
                let _ = wheel.advance(500, usize::MAX, |it| sum += it);
                black_box((sum, keys))
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, set_cancel, steady, burst);
criterion_main!(benches);
