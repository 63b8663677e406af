//! Random programs over several threads: blocks are allocated on one, grown on another, freed on a third, while threads sleep,
//! end and begin again. What is alive is what was written, nothing overlaps, and the counters are exact.

use std::{
    collections::BTreeMap,
    sync::{
        Barrier,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
};

use proptest::prelude::*;
use skein_arena::{Arena, Block, Options};

const THREADS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// Many blocks of one size, so that magazines and shelves run over.
    Alloc(usize, usize),
    /// Frees so many, beginning with the n-th.
    Free(usize, usize),
    Append(usize, usize),
    GrowInPlace(usize, usize),
    Truncate(usize, usize),
    /// The thread goes to sleep.
    Flush,
    Trim,
    /// The thread ends, and another takes its place.
    End,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..300_usize,
        2 => 0..5000_usize,
        2 => prop::sample::select(vec![4063, 32_735, 32_736, 65_536, 1 << 20]),
        1 => 30_000..300_000_usize,
    ]
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let which = any::<usize>;
    let step = prop_oneof![
        6 => (size(), 1..4_usize).prop_map(|(size, count)| Step::Alloc(size, count)),
        2 => (0..200_usize, 100..400_usize).prop_map(|(size, count)| Step::Alloc(size, count)),
        6 => (which(), 1..4_usize).prop_map(|(at, count)| Step::Free(at, count)),
        2 => (which(), 100..400_usize).prop_map(|(at, count)| Step::Free(at, count)),
        3 => (which(), size()).prop_map(|(at, len)| Step::Append(at, len)),
        3 => (which(), size()).prop_map(|(at, len)| Step::GrowInPlace(at, len)),
        2 => (which(), size()).prop_map(|(at, len)| Step::Truncate(at, len)),
        1 => Just(Step::Flush),
        1 => Just(Step::Trim),
        1 => Just(Step::End),
    ];
    (0..THREADS, step)
}

type Task = Box<dyn FnOnce() -> Vec<Block> + Send>;

/// A thread that does what it is told, one thing at a time.
struct Worker {
    tasks: Sender<Task>,
    done: Receiver<Vec<Block>>,
    thread: JoinHandle<()>,
}

impl Worker {
    fn new() -> Worker {
        let ((tasks, todo), (sender, done)) = (mpsc::channel::<Task>(), mpsc::channel());
        let thread = thread::spawn(move || todo.into_iter().for_each(|task| sender.send(task()).unwrap()));
        Worker { tasks, done, thread }
    }

    fn run(&self, task: impl FnOnce() -> Vec<Block> + Send + 'static) -> Vec<Block> {
        self.tasks.send(Box::new(task)).unwrap();
        self.done.recv().unwrap()
    }

    fn end(self) {
        drop(self.tasks);
        self.thread.join().unwrap();
    }
}

/// A block, and the byte that all of it is.
struct Held {
    block: Block,
    byte: u8,
    len: usize,
}

impl Held {
    fn check(&self) {
        assert_eq!(self.block.len(), self.len);
        assert!(self.block.iter().all(|&it| it == self.byte), "bytes of a block were written over");
        // SAFETY: a NUL is always there.
        assert_eq!(unsafe { self.block.as_ptr().add(self.len).read() }, 0);
    }
}

fn check(arena: Arena, held: &[Held]) {
    let mut places = BTreeMap::new();
    for it in held {
        let start = it.block.as_ptr().addr() - 32;
        places.insert(start, start + it.block.footprint());
    }
    assert_eq!(places.len(), held.len());
    let ends = places.values();
    assert!(places.keys().skip(1).zip(ends).all(|(start, end)| start >= end), "two blocks overlap");

    let stats = arena.stats();
    let bytes: usize = held.iter().map(|it| it.block.footprint()).sum();
    assert_eq!((stats.live_blocks, stats.live_bytes), (held.len() as u64, bytes as u64));
    assert!(
        stats.used_bytes >= stats.live_bytes
            && stats.used_bytes + stats.retained_bytes <= stats.committed_bytes
    );
}

fn run(arena: Arena, steps: Vec<(usize, Step)>) {
    let mut workers: Vec<Worker> = (0..THREADS).map(|_| Worker::new()).collect();
    let mut held: Vec<Held> = Vec::new();
    let mut byte = 0_u8;
    for (on, step) in steps {
        let worker = &workers[on];
        match step {
            Step::Alloc(len, count) => {
                let first = byte.wrapping_add(1);
                byte = byte.wrapping_add(count as u8);
                let blocks = worker.run(move || {
                    let make = |at: usize| {
                        let mut block = arena.alloc(len).unwrap();
                        block.bytes_mut().unwrap().fill(first.wrapping_add(at as u8));
                        block
                    };
                    (0..count).map(make).collect()
                });
                let bytes = (0..count).map(|at| first.wrapping_add(at as u8));
                held.extend(blocks.into_iter().zip(bytes).map(|(block, byte)| Held { block, byte, len }));
            }
            Step::Free(at, count) if !held.is_empty() => {
                let at = at % held.len();
                let end = held.len().min(at + count);
                let gone: Vec<Held> = held.drain(at..end).collect();
                gone.iter().for_each(Held::check);
                worker.run(move || {
                    drop(gone);
                    Vec::new()
                });
            }
            Step::Append(at, more) if !held.is_empty() => {
                let at = at % held.len();
                let Held { mut block, byte, len } = held.swap_remove(at);
                let block = worker.run(move || {
                    block.try_append(&vec![byte; more]).unwrap();
                    vec![block]
                });
                let block = block.into_iter().next().unwrap();
                held.push(Held { block, byte, len: len + more });
            }
            Step::GrowInPlace(at, len) if !held.is_empty() => {
                let at = at % held.len();
                let it = &mut held[at];
                let place = it.block.as_ptr();
                if it.block.grow_in_place(len) && len > it.len {
                    it.block.bytes_mut().unwrap()[it.len..].fill(it.byte);
                    it.len = len;
                }
                assert_eq!(it.block.as_ptr(), place);
                it.check();
            }
            Step::Truncate(at, len) if !held.is_empty() => {
                let at = at % held.len();
                let it = &mut held[at];
                it.block.truncate(len);
                it.len = it.len.min(len);
                it.check();
            }
            Step::Free(..) | Step::Append(..) | Step::GrowInPlace(..) | Step::Truncate(..) => {}
            Step::Flush => drop(worker.run(move || {
                arena.flush();
                Vec::new()
            })),
            Step::Trim => drop(worker.run(move || {
                arena.trim();
                Vec::new()
            })),
            Step::End => std::mem::replace(&mut workers[on], Worker::new()).end(),
        }
        check(arena, &held);
    }
    held.iter().for_each(Held::check);
    workers.into_iter().for_each(Worker::end);
    check(arena, &held);
}

#[test]
fn blocks_go_between_threads_and_none_is_lost() {
    let arena = Arena::private(&Options::default()).unwrap();
    let config = ProptestConfig::with_cases(if cfg!(debug_assertions) { 60 } else { 300 });
    proptest!(config, |(steps in prop::collection::vec(step(), 1..80))| {
        run(arena, steps);
        prop_assert_eq!((arena.stats().live_blocks, arena.stats().live_bytes), (0, 0));
        arena.trim();
        prop_assert_eq!((arena.stats().used_bytes, arena.stats().retained_bytes), (0, 0));
    });
}

/// All at once: one thread allocates and grows, one frees, one gives everything back to the system again and again.
#[test]
fn growing_freeing_and_giving_back_at_the_same_time_do_no_harm() {
    let rounds = if cfg!(debug_assertions) { 3000 } else { 30_000 };
    let arena = Arena::private(&Options { limit: Some(64 << 20) }).unwrap();
    let (sender, blocks) = mpsc::sync_channel::<(Block, u8)>(64);
    let together = Barrier::new(3);
    thread::scope(|scope| {
        scope.spawn(|| {
            let sender = sender;
            together.wait();
            for round in 0..rounds {
                let byte = round as u8;
                let mut block = arena.alloc([40, 3000, 40_000, 70_000][round % 4]).unwrap();
                block.bytes_mut().unwrap().fill(byte);
                if round % 3 == 0 {
                    block.try_append(&vec![byte; [10, 5000, 100_000][round / 3 % 3]]).unwrap();
                }
                sender.send((block, byte)).unwrap();
            }
            // A scope does not wait for what a thread does at its very end.
            arena.flush();
        });
        let freeing = scope.spawn(|| {
            together.wait();
            for (block, byte) in blocks {
                assert!(block.iter().all(|&it| it == byte), "bytes of a block were written over");
            }
            arena.flush();
        });
        let together = &together;
        scope.spawn(move || {
            together.wait();
            while !freeing.is_finished() {
                arena.trim();
                thread::yield_now();
            }
        });
    });
    assert_eq!(arena.stats().live_blocks, 0);
    arena.trim();
    assert_eq!(arena.stats().used_bytes, 0);
}
