//! How long it takes until the slot of a dead process with a million live blocks is free again.
//!
//! A child fills its heap and is killed; then this process opens the domain, which sweeps, and takes that slot. Printed is the least
//! and the median of some rounds, in milliseconds, beside the memory that was given back.

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use skein_arena::{Domain, DomainOptions, domain};

const BLOCKS: usize = 1_000_000;
const ROUNDS: usize = 5;

fn main() {
    let mut arguments = env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("fill"), Some(path)) => fill(Path::new(&path)),
        _ => measure(),
    }
}

/// Allocates, says so, and waits for its death.
fn fill(path: &Path) {
    let domain = Domain::open(&DomainOptions::in_directory(path)).expect("a domain");
    let blocks: Vec<_> =
        (0..BLOCKS).map(|at| domain.arena().alloc(40 + at % 400).expect("a block")).collect();
    println!("{}", blocks.len());
    loop {
        std::thread::park();
    }
}

fn measure() {
    let path = PathBuf::from(format!("/dev/shm/skein-recovery-{}", std::process::id()));
    let (mut sweeps, mut memory) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        let mut child = Command::new(env::current_exe().expect("a path"))
            .arg("fill")
            .arg(&path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        let began = Instant::now();
        let swept = domain::sweep(&path, Duration::from_secs(10)).expect("a sweep");
        sweeps.push(began.elapsed());
        assert_eq!(swept.removed[0].blocks, BLOCKS as u64);
        memory = swept.removed[0].bytes;
    }
    let began = Instant::now();
    let domain = Domain::open(&DomainOptions::in_directory(&path)).expect("a domain");
    assert_eq!(domain.slot().number(), 1);
    let opened = began.elapsed();
    domain.leave().expect("leaving");
    sweeps.sort();
    let ms = |it: Duration| it.as_secs_f64() * 1e3;
    println!(
        "recovery of {BLOCKS} live blocks, {} MiB: least {:.1} ms, median {:.1} ms",
        memory >> 20,
        ms(sweeps[0]),
        ms(sweeps[ROUNDS / 2])
    );
    println!("opening afterwards: {:.1} ms", ms(opened));
}
