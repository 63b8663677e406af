//! Tests of processes: each plays a role in the ignored test `child` of the same file, run in a process of its own.
#![allow(dead_code)] // Each test file uses some of it.

pub(crate) mod exchange;

use std::{
    env,
    io::{BufRead, BufReader, Lines, Write, stdin},
    path::{Path, PathBuf},
    process::{self, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    time::Duration,
};

/// Only what hangs takes so long, also on a machine that has a hundred other things to do.
pub(crate) const LONG: Duration = Duration::from_secs(120);

const ROLE: &str = "SKEIN_TEST_ROLE";
const PATH: &str = "SKEIN_TEST_PATH";
/// Begins the lines that a child says to its test, among those of the test runner.
const MARK: &str = "\u{1}say ";

/// A new directory on the file system in memory, removed at the end of the test run.
pub(crate) fn directory() -> PathBuf {
    let base = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { env::temp_dir() };
    let made = tempfile::Builder::new().prefix("skein-test-").tempdir_in(base).unwrap();
    thread_local! {
        static KEPT: std::cell::RefCell<Vec<tempfile::TempDir>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    let path = made.path().to_owned();
    // Each test has a thread of its own, and its directories go with it.
    KEPT.with(|it| it.borrow_mut().push(made));
    path
}

/// The test `child`: plays the role that its process was started for.
#[allow(unused_macros)] // As above.
macro_rules! roles {
    ($($name:literal => $play:expr),+ $(,)?) => {
        #[test]
        #[ignore = "run by the others, in a process of its own"]
        fn child() {
            let Some((role, path)) = common::role() else { return };
            let path: &std::path::Path = &path;
            match role.as_str() {
                $($name => $play(path),)+
                other => panic!("no such role: {other}"),
            }
        }
    };
}

/// In a child: what it is for, and where.
pub(crate) fn role() -> Option<(String, PathBuf)> {
    Some((env::var(ROLE).ok()?, PathBuf::from(env::var_os(PATH)?)))
}

/// In a child: a line for the test.
pub(crate) fn say(line: &str) {
    println!("\n{MARK}{line}");
    std::io::stdout().flush().unwrap();
}

/// In a child: until the test says go on. When the test is gone, so is the child.
pub(crate) fn wait() {
    let mut line = String::new();
    if stdin().read_line(&mut line).unwrap_or(0) == 0 {
        process::exit(99);
    }
}

/// The names of all steps that are in these folders of the sources, in order.
pub(crate) fn labels(folders: &[&str]) -> Vec<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut labels = std::collections::BTreeSet::new();
    for folder in folders {
        for entry in std::fs::read_dir(sources.join(folder)).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let named = text.split("step(\"").skip(1).filter_map(|it| it.split_once('"'));
            labels.extend(named.map(|it| it.0.to_owned()));
        }
    }
    labels.into_iter().collect()
}

/// The numbers of a line.
pub(crate) fn numbers(line: &str) -> Vec<u64> {
    line.split(' ').map(|it| it.parse().unwrap()).collect()
}

/// A process that plays a role; killed if it is still there at the end.
pub(crate) struct Child {
    role: String,
    process: process::Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Child {
    pub(crate) fn start(role: &str, path: &Path) -> Child {
        Child::start_with(role, path, &[])
    }

    pub(crate) fn start_with(role: &str, path: &Path, variables: &[(&str, &str)]) -> Child {
        Child::start_by(Command::new(env::current_exe().unwrap()), role, path, variables)
    }

    /// Starts by a command that ends in that of the test binary.
    pub(crate) fn start_by(
        mut command: Command,
        role: &str,
        path: &Path,
        variables: &[(&str, &str)],
    ) -> Child {
        let mut process = command
            .args(["--exact", "--ignored", "--nocapture", "child"])
            .env(ROLE, role)
            .env(PATH, path)
            .env("RUST_TEST_THREADS", "1")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Child { role: role.to_owned(), process, input, lines }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// What the child says next; the test fails if it ends before.
    pub(crate) fn line(&mut self) -> String {
        self.try_line().unwrap_or_else(|| panic!("the child {} ended", self.role))
    }

    /// What the child says next; none if it ends before.
    pub(crate) fn try_line(&mut self) -> Option<String> {
        self.lines.by_ref().map_while(Result::ok).find_map(|it| it.strip_prefix(MARK).map(str::to_owned))
    }

    /// Lets it go on.
    pub(crate) fn go(&mut self) {
        // It may have been killed meanwhile.
        let _ = self.input.as_mut().unwrap().write_all(b"go\n");
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Waits for its end, whatever that is.
    pub(crate) fn ended(mut self) -> ExitStatus {
        self.input = None;
        self.process.wait().unwrap()
    }

    /// Waits for its end, which has to be a good one.
    pub(crate) fn end(mut self) {
        let mut passed = false;
        for line in self.lines.by_ref().map_while(Result::ok) {
            passed |= line.contains("1 passed");
        }
        let status = self.process.wait().unwrap();
        assert!(status.success() && passed, "the child {}: {status}", self.role);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Numbers that look random, and are the same for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// In a child: whether the test has said go on, without waiting for it.
pub(crate) fn told() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let input = stdin();
    let mut polled = [PollFd::new(&input, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|it| it > 0)
}
