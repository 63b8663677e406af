//! How long a block takes to another process and back, beside a pipe, a Unix socket, iceoryx2, and the wake-up alone.
//!
//! Questions: is it a microsecond or less while both sides look all the time, and the same from 64 bytes to 4 MiB? Is it ten
//! or less when both wait, which is to look for a while and then to sleep, and what is it if they sleep at once? Is it at most one and a half times what iceoryx2 takes? Rounds of all rivals are
//! interleaved; each round trip is timed by itself, so that one which the machine interrupted does not count for others. The payload's
//! first bytes are written before each journey and compared after it; a pipe and a socket copy the rest of it as well.
//!
//! `cargo bench -p skein-benches --bench transfer --features iceoryx2 -- [rounds] [bytes …]`; without the feature that rival is
//! left out.

mod futex;
#[cfg(feature = "iceoryx2")]
mod iceoryx;
mod skein;
mod streams;

use std::{
    env,
    io::{BufRead, BufReader, Write, stdin},
    process::{Child, ChildStdin, Command, Stdio},
    time::Instant,
};

use skein_benches::rounds::{go_anywhere, stay_on};
use streams::Ends;

const SIZES: [usize; 6] = [64, 1 << 10, 16 << 10, 64 << 10, 1 << 20, 4 << 20];
const WARM_UP: usize = 50;

/// Something that carries payloads to a second process and back.
trait Rival {
    /// One journey there and back: `number` is in the payload's first bytes, and is checked when it is back. `way` is which of its ways.
    fn ping(&mut self, way: usize, size: usize, number: u64);
    /// The other process: the answer to one ping.
    fn pong(&mut self, way: usize, size: usize);
}

/// Makes the near side, or the far one if it `answers`. `path` is a name that both know; `ends` are its ends
/// of pipes and a socket.
type Make = fn(path: &str, answers: bool, ends: Ends) -> Box<dyn Rival>;

/// What a way is called, and the far side's processor.
type Ways = &'static [(&'static str, usize)];

/// Both sides may run on any processor.
const ANYWHERE: usize = usize::MAX;

/// What each is called, how it is made, and which ways it has. The near side is on processor 0, if the far one is not anywhere.
/// Who sleeps is measured on one processor too: waking an idle one takes as long as the machine takes, whoever wakes it.
const RIVALS: &[(&str, Make, Ways)] = &[
    (
        "skein",
        skein::make,
        &[
            ("skein, looking", 1),
            ("skein, looking, new blocks", 1),
            ("skein, waiting", 1),
            ("skein, waiting, anywhere", ANYWHERE),
            ("skein, waiting, one processor", 0),
            ("skein, asleep", 1),
            ("skein, asleep, one processor", 0),
        ],
    ),
    #[cfg(feature = "iceoryx2")]
    ("iceoryx2", iceoryx::make, &[("iceoryx2, looking", 1)]),
    ("futex", futex::make, &[("bare futex, no payload", 1), ("… on one processor", 0)]),
    ("pipe", streams::pipes, &[("pipe", 1), ("pipe, one processor", 0)]),
    ("socket", streams::socket, &[("socket", 1), ("socket, one processor", 0)]),
];

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|it| it != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("answer") => answer(&arguments[1], &arguments[2]),
        // `cargo test --benches` asks so: one short round tells whether all of it works.
        Some("--test") => measure(1, 20, &[64]),
        _ => {
            let numbers: Vec<usize> = arguments.iter().filter_map(|it| it.parse().ok()).collect();
            let sizes = numbers.get(1..).filter(|it| !it.is_empty()).unwrap_or(&SIZES);
            measure(numbers.first().copied().unwrap_or(15), 2000, sizes);
        }
    }
}

/// Keeps this side on its processor, unless the far one's is any.
fn place(own: usize, far: usize) {
    if far == ANYWHERE { go_anywhere() } else { stay_on(own) }
}

/// The second process of a rival: says when it is ready, then answers as often as it is told.
fn answer(name: &str, path: &str) {
    let make = RIVALS.iter().find(|it| it.0 == name).expect("one of the rivals").1;
    let mut rival = make(path, true, Ends::inherited());
    println!("ready");
    for line in stdin().lines().map_while(Result::ok) {
        let numbers: Vec<usize> = line.split(' ').map(|it| it.parse().expect("a number")).collect();
        let [way, processor, count, size] = numbers[..] else { panic!("four numbers, not {line:?}") };
        place(processor, processor);
        (0..count).for_each(|_| rival.pong(way, size));
    }
}

/// A rival with its second process.
struct Pair {
    near: Box<dyn Rival>,
    ways: Ways,
    far: Child,
    orders: Option<ChildStdin>,
    number: u64,
}

impl Pair {
    fn start(name: &str, make: Make, ways: Ways) -> Pair {
        let path = format!("skein-bench-{}-{name}", std::process::id());
        let [ours, theirs] = Ends::make();
        // What one of them makes and the other finds, the near side makes.
        let near = make(&path, false, ours);
        let mut command = Command::new(env::current_exe().expect("a running program has a file"));
        command.args(["answer", name, &path]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut far = theirs.spawn(command);
        let orders = far.stdin.take();
        let mut line = String::new();
        BufReader::new(far.stdout.take().expect("piped")).read_line(&mut line).expect("it is ready");
        assert_eq!(line, "ready\n", "{name}");
        Pair { near, ways, far, orders, number: 0 }
    }

    /// The median of `count` round trips, in nanoseconds.
    fn round(&mut self, way: usize, count: usize, size: usize) -> f64 {
        let orders = self.orders.as_mut().expect("it is there");
        let processor = self.ways[way].1;
        writeln!(orders, "{way} {processor} {} {size}", count + WARM_UP).expect("it listens");
        place(0, processor);
        let mut times: Vec<u64> = Vec::with_capacity(count);
        for journey in 0..count + WARM_UP {
            self.number += 1;
            let began = Instant::now();
            self.near.ping(way, size, self.number);
            if journey >= WARM_UP {
                times.push(began.elapsed().as_nanos() as u64);
            }
        }
        times.sort_unstable();
        times[count / 2] as f64
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.orders = None;
        if std::thread::panicking() {
            // It may be waiting for what will not come.
            let _ = self.far.kill();
        }
        let _ = self.far.wait();
    }
}

/// For each size and each way of each rival: the median and the least of the rounds' medians.
fn measure(rounds: usize, count: usize, sizes: &[usize]) {
    stay_on(0);
    let mut pairs: Vec<Pair> =
        RIVALS.iter().map(|&(name, make, ways)| Pair::start(name, make, ways)).collect();
    let columns = || RIVALS.iter().enumerate().flat_map(|(at, it)| (0..it.2.len()).map(move |way| (at, way)));
    println!("a round trip in microseconds: median (least) of the medians of {rounds} interleaved rounds");
    for &size in sizes {
        // Copying megabytes takes its time.
        let count = if size >= 1 << 18 { count / 10 } else { count };
        let mut times = vec![Vec::new(); columns().count()];
        for _ in 0..rounds {
            for ((pair, way), times) in columns().zip(&mut times) {
                times.push(pairs[pair].round(way, count, size));
            }
        }
        println!("{size} bytes");
        for ((pair, way), times) in columns().zip(&mut times) {
            times.sort_by(f64::total_cmp);
            let (least, median) = (times[0] / 1000.0, times[rounds / 2] / 1000.0);
            println!("  {:<30} {median:9.2} ({least:.2})", RIVALS[pair].2[way].0);
        }
    }
}
