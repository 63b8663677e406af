//! What only a whole process shows: exit status, standard error, signals, daemon mode.
//!
//! The process is this test binary, told by its environment to be a node.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio, exit},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use skein_runtime::{InitError, Message, Node, Service, ServiceContext, Settings};
use tempfile::TempDir;

const VARIABLE: &str = "SKEIN_TEST_NODE";

/// Looks for its file now and then, and ends the node when that is there.
struct Until(String);

impl Service for Until {
    fn init(&mut self, ctx: &Arc<ServiceContext>, args: Option<&[u8]>) -> Result<(), InitError> {
        self.0 = String::from_utf8_lossy(args.unwrap_or_default()).into_owned();
        ctx.timeout(1)?;
        Ok(())
    }

    fn dispatch(&mut self, ctx: &Arc<ServiceContext>, _: Message) {
        if Path::new(&self.0).exists() {
            ctx.log("bye");
            ctx.command("ABORT", b"");
        } else {
            ctx.timeout(1).unwrap();
        }
    }
}

/// Not a test: the node, when the environment asks for one. `main` of a program does the same.
#[test]
fn the_node_of_the_other_tests() {
    let Ok(text) = std::env::var(VARIABLE) else { return };
    let mut settings = Settings::new();
    for line in text.lines() {
        let (key, value) = line.split_once('=').unwrap();
        settings.set(key, value);
    }
    let run = Node::new(settings).and_then(|node| {
        node.register("until", Arc::new(|_| Box::new(Until(String::new()))));
        node.run()
    });
    exit(match run {
        Ok(()) => 0,
        Err(error) => {
            if !error.is_logged() {
                eprintln!("{error}");
            }
            1
        }
    })
}

fn node(settings: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_node_of_the_other_tests", "--nocapture", "--test-threads=1"]);
    command.env(VARIABLE, format!("harbor=0\nthread=2\n{settings}"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Standard error, the log on standard output, and the status.
fn seen(output: &Output) -> (String, String, Option<i32>) {
    let log = String::from_utf8_lossy(&output.stdout);
    // The test harness has its say on standard output, too.
    let log = log.find("[:").map_or(String::new(), |at| log[at..].to_owned());
    (String::from_utf8_lossy(&output.stderr).into_owned(), log, output.status.code())
}

fn wait_for(path: &Path) -> String {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => assert!(Instant::now() < until, "no {}", path.display()),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_start_that_fails_says_what_skynet_says() {
    let missing = "this program loads no shared objects";
    for (settings, stderr, log) in [
        ("thread=0", "Invalid thread 0 , should be in [1,1024]\n".to_owned(), ""),
        ("thread=many", "Invalid thread 0 , should be in [1,1024]\n".to_owned(), ""),
        ("cpath=./x/y.so", "Invalid C service path\n".to_owned(), ""),
        (
            "logservice=nomod",
            format!("try open nomod failed : ./cservice/nomod.so: {missing}\nCan't launch nomod service\n"),
            "",
        ),
        (
            "logger=/nonexistent/log",
            "logger: /nonexistent/log: No such file or directory (os error 2)\nCan't launch logger service\n"
                .to_owned(),
            "",
        ),
        (
            "bootstrap=nomod x\ncpath=./nothere/?.so;./there/?.so",
            format!("try open nomod failed : ./there/nomod.so: {missing}\n"),
            "[:00000000] Bootstrap error : nomod x\n\n",
        ),
        (
            "daemon=/nonexistent/dir/pid\nbootstrap=until /",
            // The caller's process has ended well by then.
            "Can't create pidfile [/nonexistent/dir/pid].\n".to_owned(),
            "",
        ),
    ] {
        let status = if settings.starts_with("daemon") { 0 } else { 1 };
        let output = node(settings).output().unwrap();
        assert_eq!(seen(&output), (stderr, log.to_owned(), Some(status)), "{settings}");
    }
}

#[test]
fn an_abort_is_a_good_end_and_its_last_lines_are_written() {
    let begun = Instant::now();
    let output = node("bootstrap=  until\t/").output().unwrap();
    let log = "[:00000002] LAUNCH until /\n[:00000002] bye\n".to_owned();
    assert_eq!(seen(&output), (String::new(), log, Some(0)));
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn hangup_reopens_the_log_and_termination_ends_the_process() {
    let dir = TempDir::new().unwrap();
    let (log, rotated) = (dir.path().join("log"), dir.path().join("log.1"));
    let settings = format!("logger={}\nbootstrap=until /nonexistent", log.display());
    let mut child = node(&settings).spawn().unwrap();
    let pid = Pid::from_child(&child);
    assert!(wait_for(&log).ends_with("[:00000002] LAUNCH until /nonexistent\n"));
    // The handlers are installed after the bootstrap service was launched.
    thread::sleep(Duration::from_millis(200));
    fs::rename(&log, &rotated).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while !log.exists() {
        assert!(Instant::now() < until, "not reopened");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(child.try_wait().unwrap().is_none(), "a hangup never kills");
    kill_process(pid, Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
}

#[test]
fn a_daemon_keeps_its_pid_file_to_itself_and_removes_it() {
    let dir = TempDir::new().unwrap();
    let [pid_file, stop, log] = ["pid", "stop", "log"].map(|name| dir.path().join(name));
    let settings = format!(
        "daemon={}\nlogger={}\nbootstrap=until {}",
        pid_file.display(),
        log.display(),
        stop.display()
    );
    // A stale file is no obstacle.
    fs::write(&pid_file, "999999999\n").unwrap();
    let output = node(&settings).output().unwrap();
    assert_eq!(seen(&output), (String::new(), String::new(), Some(0)), "the caller's process is back");
    wait_for(&log);
    let pid: i32 = wait_for(&pid_file).trim().parse().unwrap();
    let descriptor = fs::read_link(format!("/proc/{pid}/fd/1")).unwrap();
    assert_eq!(descriptor, Path::new("/dev/null"));

    let second = node(&settings).output().unwrap();
    let said = format!("Skynet is already running, pid = {pid}.\n");
    assert_eq!(seen(&second), (said, String::new(), Some(1)));

    fs::write(&stop, "").unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while pid_file.exists() {
        assert!(Instant::now() < until, "the pid file stays");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(fs::read_to_string(&log).unwrap().ends_with("[:00000002] bye\n"));
}
