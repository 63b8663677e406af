//! How much memory a program holds for the bytes it has alive: blocks beside mimalloc and jemalloc, each in a process of its own.
//!
//! Live bytes are what was asked for; for blocks, with their headers. Rounding, NULs, tables and free pages are what is over.
//! `cargo run --release -p skein-benches --bin rss [blocks]`
//!
//! | column | when |
//! |---|---|
//! | filled | some hundred megabytes of mixed sizes were allocated |
//! | replaced | then each was replaced by one of another size, at random, five times on average |
//! | half | then half of them were freed, at random |
//! | freed | one second after the rest was freed: megabytes that stay |
//! | drained | a million messages of 100 bytes were queued, and taken out in order by another thread: megabytes that stay |

use std::{env, process::Command, ptr::NonNull, sync::mpsc, thread, time::Duration};

use skein_benches::{
    allocators::{Allocator, Jemalloc, Mimalloc, Skein},
    random::Random,
};

/// Blocks that are alive at a time, unless the command line says otherwise.
const BLOCKS: usize = 200_000;
/// Messages in the queue.
const MESSAGES: usize = 1_000_000;
const MIB: f64 = (1 << 20) as f64;

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let blocks = args.first().map_or(BLOCKS, |it| it.parse().expect("a number of blocks"));
    match args.get(1).map(String::as_str) {
        None => {
            println!(
                "{:<10}{:>10}{:>10}{:>10}{:>10}{:>12}{:>12}",
                "", "live", "filled", "replaced", "half", "freed", "drained"
            );
            for name in [Skein::NAME, Mimalloc::NAME, Jemalloc::NAME] {
                let this = env::current_exe().expect("a running program has a file");
                let status = Command::new(this).arg(blocks.to_string()).arg(name).status();
                let status = status.expect("it can be run again");
                assert!(status.success(), "{name}: {status}");
            }
        }
        Some(Skein::NAME) => {
            let skein = Skein::new();
            run(skein, blocks, skein_arena::Header::SIZE, || skein.0.flush());
        }
        Some(Mimalloc::NAME) => run(Mimalloc, blocks, 0, || {}),
        Some(Jemalloc::NAME) => run(Jemalloc, blocks, 0, || {}),
        Some(other) => panic!("no allocator is called {other}"),
    }
}

/// Sizes as messages have them: many small ones, and half of the bytes in few large ones.
fn size(random: &mut Random) -> usize {
    let (least, most) = match random.below(1000) {
        0..700 => (32, 512),
        700..950 => (512, 4096),
        950..998 => (4096, 32 << 10),
        _ => (32 << 10, 1 << 20),
    };
    (least + random.below(most - least)) as usize
}

/// Bytes of this process that are in memory.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("there is a /proc");
    statm.split(' ').nth(1).and_then(|it| it.parse::<f64>().ok()).expect("it says how many pages") * 4096.0
}

struct Live<A> {
    allocator: A,
    header: usize,
    blocks: Vec<(NonNull<u8>, usize)>,
    bytes: usize,
}

impl<A: Allocator> Live<A> {
    fn alloc(&mut self, size: usize) -> (NonNull<u8>, usize) {
        let at = self.allocator.alloc(size);
        // SAFETY: it has been allocated with so many bytes. All of it is written, as messages are.
        unsafe { at.write_bytes(1, size) };
        self.bytes += size + self.header;
        (at, size)
    }

    fn free(&mut self, (at, size): (NonNull<u8>, usize)) {
        self.bytes -= size + self.header;
        // SAFETY: it came from `alloc`, and leaves the list for good.
        unsafe { self.allocator.free(at) };
    }
}

fn run<A: Allocator>(allocator: A, count: usize, header: usize, sleep: impl Fn()) {
    let mut random = Random::new(1);
    // Memory of the bench itself is there before anything is measured.
    let mut live = Live { allocator, header, blocks: vec![(NonNull::dangling(), 1); count], bytes: 0 };
    let mut queue = vec![0_usize; MESSAGES];
    queue.fill(1);
    live.blocks.clear();
    let before = resident();
    let ratio = |live: &Live<A>| (resident() - before) / live.bytes as f64;

    for _ in 0..count {
        let block = {
            let size = size(&mut random);
            live.alloc(size)
        };
        live.blocks.push(block);
    }
    let (bytes, filled) = (live.bytes as f64 / MIB, ratio(&live));
    for _ in 0..5 * count {
        let at = random.below(count as u64) as usize;
        let old = live.blocks[at];
        live.free(old);
        let size = size(&mut random);
        live.blocks[at] = live.alloc(size);
    }
    let replaced = ratio(&live);
    for _ in 0..count / 2 {
        let at = random.below(live.blocks.len() as u64) as usize;
        let block = live.blocks.swap_remove(at);
        live.free(block);
    }
    let half = ratio(&live);
    while let Some(block) = live.blocks.pop() {
        live.free(block);
    }
    // What a worker does before it sleeps.
    sleep();
    thread::sleep(Duration::from_secs(1));
    let freed = (resident() - before) / MIB;

    let drained = drain(allocator, &mut queue, before);
    println!(
        "{:<10}{bytes:>6.0} MiB{filled:>9.2}×{replaced:>9.2}×{half:>9.2}×{freed:>8.1} MiB{drained:>8.1} MiB",
        A::NAME
    );
}

/// A queue that grows long and is taken out by another thread.
fn drain<A: Allocator>(allocator: A, queue: &mut [usize], before: f64) -> f64 {
    for slot in queue.iter_mut() {
        let at = allocator.alloc(100);
        // SAFETY: it was allocated a moment ago.
        unsafe { at.write_bytes(1, 100) };
        *slot = at.as_ptr().expose_provenance();
    }
    let (sender, done) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            for &mut at in queue {
                let at =
                    NonNull::new(std::ptr::with_exposed_provenance_mut(at)).expect("memory is not at zero");
                // SAFETY: it was put into the queue once.
                unsafe { allocator.free(at) };
            }
            let _ = sender.send((resident() - before) / MIB);
        });
    });
    done.recv().expect("the other thread says how much")
}
