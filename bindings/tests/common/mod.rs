//! A place to run the real binary in: an own directory, a config, Lua services, and what came out.
//!
//! Output goes to files of the directory, so that a test may look while the process runs. Every wait has an end: a node
//! that hangs is killed, and the test shows what it had printed.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a node may take for anything. Generous: the machine may be building something else. Tests at their full size
/// (`SKEIN_FULL`) take what they take.
fn patience() -> Duration {
    Duration::from_secs(if std::env::var_os("SKEIN_FULL").is_some() { 3600 } else { 60 })
}

/// A directory with the files of one node.
pub(crate) struct Site {
    dir: TempDir,
}

/// What a node that ended has left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Site {
    /// An empty directory, without a config.
    pub(crate) fn empty() -> Site {
        Site { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// A single node that starts the service `main` with this text, and finds other services beside it.
    pub(crate) fn with_main(main: &str) -> Site {
        let site = Site::empty();
        site.write("main.lua", main);
        site.config("");
        site
    }

    /// Writes the usual config of a single node, and behind it `more`, which may overrule it.
    pub(crate) fn config(&self, more: &str) {
        let text = format!("thread = 2\nharbor = 0\nluaservice = \"./?.lua\"\n{more}\n");
        self.write("config", &text);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file of the site");
    }

    /// The text of a file, empty as long as there is none.
    pub(crate) fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// Starts the binary with these arguments.
    pub(crate) fn start(&self, args: &[&str]) -> Running<'_> {
        self.start_by(Command::new(env!("CARGO_BIN_EXE_skein")).args(args))
    }

    /// Starts a command, which is the binary or leads to it.
    pub(crate) fn start_by(&self, command: &mut Command) -> Running<'_> {
        self.start_on(command, Stdio::null())
    }

    fn start_on(&self, command: &mut Command, input: Stdio) -> Running<'_> {
        let out = |name| fs::File::create(self.path(name)).expect("a file for the output");
        let child = command
            .current_dir(self.dir.path())
            .stdin(input)
            .stdout(out("stdout"))
            .stderr(out("stderr"))
            .spawn()
            .expect("the binary starts");
        Running { site: self, child }
    }

    /// Starts it with a pipe as its standard input.
    pub(crate) fn start_with_input(&self, args: &[&str]) -> (Running<'_>, ChildStdin) {
        let mut running = self.start_on(Command::new(env!("CARGO_BIN_EXE_skein")).args(args), Stdio::piped());
        let input = running.child.stdin.take().expect("it is piped");
        (running, input)
    }

    /// Runs `skein config` until it ends by itself.
    pub(crate) fn run(&self) -> Ended {
        self.start(&["config"]).wait()
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// A node at work. Dropping it kills it.
pub(crate) struct Running<'a> {
    site: &'a Site,
    child: Child,
}

impl Running<'_> {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(mut self) -> Ended {
        let site = self.site;
        let status = until(
            || self.child.try_wait().expect("the state of a child"),
            || format!("the node did not end\n{}", shown(site)),
        );
        Ended { status, stdout: site.read("stdout"), stderr: site.read("stderr") }
    }

    /// Waits until `file` of the site holds `text`, and returns all of it.
    pub(crate) fn wait_for(&mut self, file: &str, text: &str) -> String {
        let site = self.site;
        until(
            || Some(site.read(file)).filter(|it| it.contains(text)),
            || format!("`{text}` never came in {file}\n{}", shown(site)),
        )
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("a signal to a child");
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is the usual case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shown(site: &Site) -> String {
    format!("-- stdout:\n{}\n-- stderr:\n{}", site.read("stdout"), site.read("stderr"))
}

/// Asks again until there is an answer.
pub(crate) fn until<T>(mut ask: impl FnMut() -> Option<T>, complaint: impl Fn() -> String) -> T {
    let end = Instant::now() + patience();
    loop {
        if let Some(it) = ask() {
            return it;
        }
        assert!(Instant::now() < end, "{}", complaint());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a script over the library; it prints `fine` if nothing raised.
pub(crate) fn fine(body: &str) -> Ended {
    let site = Site::with_main(&format!(
        "local skynet = require 'skynet' require 'skynet.manager'
        skynet.start(function()
            local ok, why = xpcall(function() {body} end, debug.traceback)
            print(ok and 'fine' or why)
            skynet.abort()
        end)"
    ));
    let ended = site.run();
    assert!(ended.stdout.contains("\nfine\n"), "{}\n{}", ended.stdout, ended.stderr);
    ended
}
