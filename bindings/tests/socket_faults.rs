//! Peers that behave badly, against the real binary: what each costs, and that the others are served all the same.
//!
//! `SKEIN_IDLE=15000` tries so many idle connections instead of a few; both processes need as many descriptors.

mod common;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use common::{Running, Site, until};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    node: Running<'static>,
    lines: u16,
    http: u16,
}

impl Server {
    fn start(more: &str) -> Server {
        // A test's directory outlives the test: that is soon.
        let site: &'static Site = Box::leak(Box::new(Site::empty()));
        site.write("main.lua", include_str!("socket_faults/main.lua"));
        site.config(more);
        let mut node = site.start(&["config"]);
        let text = node.wait_for("ports", "ready");
        let mut ports = text.lines().map(|it| it.parse().unwrap_or_default());
        let (lines, http) = (ports.next().unwrap(), ports.next().unwrap());
        Server { node, lines, http }
    }

    fn connect(&self, port: u16) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A connection that was answered once.
    fn client(&self) -> Client {
        let mut client = Client(BufReader::new(self.connect(self.lines)));
        assert_eq!(client.ask("hello"), "hello");
        client
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.node.id() as i32).expect("a process")
    }

    /// Descriptors that the server has open.
    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.node.id())).expect("it runs").count()
    }

    /// Bytes of its memory that the system has given it.
    fn resident(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.node.id())).expect("it runs");
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    #[track_caller]
    fn ask(&mut self, line: &str) -> String {
        self.0.get_ref().write_all(format!("{line}\n").as_bytes()).expect("the server reads");
        let mut answer = String::new();
        self.0.read_line(&mut answer).expect("an answer");
        answer.trim_end().to_owned()
    }
}

/// Ends a connection with a reset.
fn reset(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: sets an option of a socket that is ours, from a value of its type.
    let done = unsafe {
        let at = (&raw const linger).cast();
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            at,
            size_of_val(&linger) as u32,
        )
    };
    assert_eq!(done, 0);
}

fn ask_http(server: &Server) -> String {
    let mut stream = server.connect(server.http);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits until no other sockets are left than the listeners and the connection that asks.
fn all_gone(server: &Server) {
    let mut client = server.client();
    until(|| (client.ask("sockets") == "3").then_some(()), || "sockets are left".to_owned());
}

#[test]
fn descriptors_that_run_out_turn_newcomers_away_and_the_rest_goes_on() {
    let mut server = Server::start("");
    let mut old: Vec<_> = (0..3).map(|_| server.client()).collect();
    let most = server.descriptors() as u64 + 20;
    prlimit(Some(server.pid()), Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) })
        .unwrap();
    let new: Vec<_> = (0..100).map(|_| server.connect(server.lines)).collect();
    let mut answered = 0;
    for mut stream in &new {
        // A write may fail as well, if it was turned away before.
        let _ = stream.write_all(b"hello\n");
        answered += usize::from(matches!(stream.read(&mut [0; 16]), Ok(6)));
    }
    assert!((1..=30).contains(&answered), "{answered} of 100 were answered");
    assert!(old.iter_mut().all(|it| it.ask("still there?") == "still there?"));
    server.node.wait_for("stdout", "accept error: Too many open files");
    drop(new);
    until(|| (server.descriptors() as u64 + 10 < most).then_some(()), || "they stay open".to_owned());
    server.client();
}

/// Connections that there are before those that are counted.
const FIRST: usize = 500;

#[test]
fn a_connection_that_says_nothing_costs_little() {
    let count = env::var("SKEIN_IDLE").map_or(2000, |it| it.parse().expect("SKEIN_IDLE is to be a number"));
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
    let server = Server::start("");
    let mut asking = server.client();
    let mut idle = Vec::with_capacity(FIRST + count);
    let mut connect = |more: usize| {
        idle.extend((0..more).map(|_| server.connect(server.lines)));
        let all = (idle.len() + 1).to_string();
        until(|| (asking.ask("made") == all).then_some(()), || "they are not all accepted".to_owned());
        server.resident()
    };
    // What the first ones cost is mostly what the server keeps anyway.
    let before = connect(FIRST);
    let each = connect(count).saturating_sub(before) / count;
    println!("{count} idle connections: {each} bytes each");
    // The system gives memory in pieces of 2 MiB.
    let most = if count < 5000 { 8 << 10 } else { 4 << 10 };
    assert!(each <= most, "{each} bytes for each of {count}");
    drop((idle, asking));
    all_gone(&server);
}

#[test]
fn requests_that_are_cut_off_at_any_byte_harm_nobody() {
    let server = Server::start("");
    // Peers that never say a word, or not the last one.
    let silent = server.connect(server.http);
    let mut hesitant = server.connect(server.http);
    hesitant.write_all(b"GET / HT").unwrap();
    let request = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for cut in 0..request.len() {
        for resets in [false, true] {
            let mut stream = server.connect(server.http);
            stream.write_all(&request[..cut]).unwrap();
            if resets { reset(stream) } else { drop(stream) }
        }
    }
    assert!(ask_http(&server).ends_with("\r\n\r\nhello\n"));
    drop((silent, hesitant));
    all_gone(&server);
}

#[test]
fn who_has_said_everything_still_hears_the_answer() {
    let server = Server::start("");
    let mut stream = server.connect(server.http);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nhello\n"), "{answer}");
    all_gone(&server);
}

#[test]
fn who_reads_nothing_costs_what_the_limit_says_and_is_closed_with_a_reason() {
    let mut server = Server::start("socket_write_limit = '4M'");
    let mut other = server.client();
    let before = server.resident();
    let mut slow: Vec<_> = (0..4).map(|_| server.connect(server.lines)).collect();
    for stream in &mut slow {
        stream.write_all(b"flood\n").unwrap();
    }
    server.node.wait_for("stdout", "more than 4194304 bytes wait to be sent");
    assert_eq!(other.ask("and I?"), "and I?");
    let more = server.resident().saturating_sub(before);
    assert!(more < 64 << 20, "{more} bytes more than before");
    // Closed, all of them, though they never read.
    drop(other);
    all_gone(&server);
}

#[test]
fn who_sends_what_nobody_reads_has_to_wait_and_costs_little() {
    let mut server = Server::start("");
    let mut other = server.client();
    let mut rude = server.client();
    assert_eq!(rude.ask("ignore"), "for now");
    let before = server.resident();
    let stream = rude.0.get_mut();
    stream.set_nonblocking(true).unwrap();
    let mut sent = 0;
    let mut write = |least| {
        until(
            || {
                while let Ok(count) = stream.write(&[b'x'; 64 << 10]) {
                    sent += count;
                    assert!(sent < 64 << 20, "all of it is taken");
                }
                (sent >= least).then_some(sent)
            },
            || "nothing is taken".to_owned(),
        )
    };
    write(256 << 10);
    server.node.wait_for("stdout", "Pause socket (");
    // What the systems at both ends keep.
    let sent = write(0);
    let more = server.resident().saturating_sub(before);
    assert!(more < 16 << 20, "{more} bytes more than before, of {sent}");
    assert_eq!(other.ask("and I?"), "and I?");
    drop(rude);
    assert_eq!(other.ask("attend"), "attend");
    drop(other);
    all_gone(&server);
}

#[test]
fn noise_where_a_request_was_expected_is_refused() {
    let server = Server::start("");
    let mut noise = 0x2545_f491_u32;
    for len in [1, 2, 100, 9000, 100_000] {
        let bytes: Vec<u8> = (0..len)
            .map(|_| {
                noise ^= noise << 13;
                noise ^= noise >> 17;
                noise ^= noise << 5;
                noise as u8
            })
            .collect();
        let mut stream = server.connect(server.http);
        // It may close before it has read all.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    assert!(ask_http(&server).ends_with("hello\n"));
    all_gone(&server);
}

#[test]
fn the_console_starts_what_its_lines_say_until_they_end() {
    let site = Site::with_main(
        "local skynet = require 'skynet' skynet.start(function() skynet.newservice 'console' print 'listening' end)",
    );
    site.write(
        "greet.lua",
        "local skynet = require 'skynet' print('greets', ...) skynet.start(function() end)",
    );
    let (mut node, mut input) = site.start_with_input(&["config"]);
    node.wait_for("stdout", "listening");
    input.write_all(b"greet one two\n\n   \nno_such_service\n").unwrap();
    node.wait_for("stdout", "greets\tone\ttwo");
    // In two pieces, the second without an end: it is no line.
    input.write_all(b"greet thr").unwrap();
    input.write_all(b"ee\ngreet nobody").unwrap();
    node.wait_for("stdout", "greets\tthree");
    drop(input);
    let out = node.wait_for("stdout", "console: end of input");
    assert!(out.contains("no_such_service") && !out.contains("greets\tnobody"), "{out}");
}
