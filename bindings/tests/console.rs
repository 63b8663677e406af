//! The debug console, as somebody at a terminal uses it.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{Running, Site};

/// A node with a console, and a service `.main` that answers `lua` requests with their first value plus one.
const MAIN: &str = r#"
local skynet = require "skynet"
require "skynet.manager"
skynet.start(function()
    skynet.dispatch("lua", function(_, _, first, ...)
        local sum = first
        sum = sum + 1
        skynet.ret(skynet.pack(sum, ...))
    end)
    skynet.info_func(function(...) return { asked = table.concat({ ... }, ",") } end)
    skynet.register ".main"
    skynet.newservice("debug_console", 0)
end)
"#;

/// What the debugger of `.main` says when it listens.
const PROMPT: &str = ":00000008>";

fn site() -> Site {
    let site = Site::with_main(MAIN);
    site.write("patch.lua", "print('from the patch', ...) print(_P.lua ~= nil)");
    site.write("broken.lua", "error 'broken'");
    site.write("other.lua", "local skynet = require 'skynet' skynet.start(function() end)");
    site
}

/// A connection to the console.
struct Console(TcpStream);

impl Console {
    fn connect(node: &mut Running<'_>) -> Console {
        const LINE: &str = "Start debug console at 127.0.0.1:";
        let out = node.wait_for("stdout", LINE);
        let port = out.split(LINE).nth(1).and_then(|it| it.lines().next()).expect("a port");
        let stream = TcpStream::connect(("127.0.0.1", port.parse().expect("a number"))).expect("the console");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        Console(stream)
    }

    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).expect("the console reads");
    }

    /// What comes, up to and including `end`.
    #[track_caller]
    fn until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(end.as_bytes()) {
            let read = self.0.read(&mut byte);
            assert!(matches!(read, Ok(1)), "{read:?} after {}", String::from_utf8_lossy(&text));
            text.push(byte[0]);
        }
        String::from_utf8(text).expect("text")
    }

    /// The answer to a command.
    #[track_caller]
    fn ask(&mut self, command: &str) -> String {
        self.send(&format!("{command}\n"));
        let answer = self.until(">\n");
        if answer.ends_with("<CMD OK>\n") || answer.ends_with("<CMD Error>\n") {
            return answer;
        }
        answer.clone() + &self.until(">\n")
    }

    /// Everything to the end.
    fn rest(&mut self) -> String {
        let mut text = String::new();
        self.0.read_to_string(&mut text).expect("text to the end");
        text
    }
}

#[test]
fn every_command_answers() {
    let site = site();
    let mut node = site.start(&["config"]);
    let mut console = Console::connect(&mut node);
    assert_eq!(console.until("\n"), "Welcome to skynet console\n");

    let help = console.ask("help");
    assert_eq!(help.lines().count(), 33 + 1, "{help}");
    for line in help.lines().filter(|it| *it != "<CMD OK>") {
        assert!(line.contains('\t'), "{line}");
    }
    // A line may end like a terminal's, and be empty.
    assert!(console.ask("\r\n  \nlist\r").ends_with("snlua debug_console 0\n<CMD OK>\n"));
    let expected = [
        ("stat", "\tcpu:"),
        ("stat 0", "\tcpu:"),
        ("mem", "Kb (snlua main)\n"),
        ("gc 100", "Kb (snlua main)\n"),
        ("info .main a b", "asked\ta,b\n<CMD OK>"),
        ("ping .main", "0\n<CMD OK>"),
        ("call .main 41, 'x', nil", "1\t42\n2\tx\nn\t3\n<CMD OK>"),
        ("call .main", "need arguments\n<CMD Error>"),
        ("call .main )(", "Invalid arguments\n<CMD Error>"),
        ("call .main print()", "<CMD Error>"),
        ("dbgcmd .main STAT", "mqlen"),
        ("inject .main patch.lua 7", "from the patch\t7\ntrue\n<CMD OK>"),
        ("inject .main broken.lua", "broken\n<CMD Error>"),
        ("inject .main nofile", "Can't open nofile\n<CMD OK>"),
        ("start other", "\tother\n<CMD OK>"),
        ("start nothing", "Failed\n<CMD OK>"),
        ("snax nothing", "Failed\n<CMD OK>"),
        ("clearcache", "<CMD OK>"),
        ("service", "<CMD OK>"),
        ("task .main", "<CMD OK>"),
        ("uniqtask .main", "<CMD OK>"),
        ("killtask .main nothing", "Not found\n<CMD OK>"),
        ("trace .main lua on", "<CMD OK>"),
        ("trace .main off", "<CMD OK>"),
        ("signal .main 1", "<CMD OK>"),
        ("cmem", "\ntotal\t"),
        ("jmem", "stats.active\t"),
        ("dumpheap", "<CMD OK>"),
        ("profactive on", "heap profilling is deactive\n<CMD OK>"),
        ("netstat", "type:LISTEN"),
        ("getenv thread", "thread\t2\n<CMD OK>"),
        ("getenv nokey", "nokey\tnil\n<CMD OK>"),
        ("setenv fresh value", "<CMD OK>"),
        ("getenv fresh", "fresh\tvalue\n<CMD OK>"),
        ("cluster", "no cluster\n<CMD OK>"),
        ("nonsense", "Invalid command, type help for command list\n\n<CMD Error>\n"),
        ("kill .nobody", "Not a valid name\n<CMD Error>"),
        ("kill xyz", "Need an address\n<CMD Error>"),
        ("ping ffffff", "<CMD Error>"),
    ];
    for (command, part) in expected {
        let answer = console.ask(command);
        assert!(answer.contains(part), "{command}: {answer}");
    }
    let log = node.wait_for("stdout", "Current Memory");
    assert!(log.contains("Turn trace log true for lua"), "{log}");
    let killed = console.ask("kill .main");
    assert!(killed.contains("snlua main\n<CMD OK>"), "{killed}");
    drop(console);
    node.wait_for("stdout", "disconnect");
}

#[test]
fn a_request_over_http_gets_an_answer_with_a_head() {
    let site = site();
    let mut node = site.start(&["config"]);
    let mut get = Console::connect(&mut node);
    get.send("GET /call/.main/1 HTTP/1.1\r\nhost: x\r\n\r\n");
    let answer = get.rest();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
    assert_eq!(body, "Welcome to skynet console\n1\t2\nn\t1\n<CMD OK>\n");

    let mut post = Console::connect(&mut node);
    post.send("POST / HTTP/1.1\r\nContent-Length: 13\r\n\r\nping .main\r\n ");
    assert!(post.rest().ends_with("0\n<CMD OK>\n"));

    let mut large = Console::connect(&mut node);
    large.send("POST / HTTP/1.1\r\nContent-Length: 8193\r\n\r\n");
    assert!(large.rest().starts_with("HTTP/1.1 400 Bad Request\r\n"));
}

#[test]
fn a_service_is_debugged_line_by_line() {
    let site = site();
    let mut node = site.start(&["config"]);
    let mut other = Console::connect(&mut node);
    other.until("\n");
    let mut console = Console::connect(&mut node);
    console.until("\n");
    console.send("debug .main\n");
    console.until(PROMPT);
    console.send("1 + 1, 'x'\n");
    assert_eq!(console.until(PROMPT), "2\tx\t\n:00000008>");
    console.send("kept = 5\n");
    console.until(PROMPT);
    console.send("kept\n");
    assert!(console.until(PROMPT).starts_with("5\t\n"));
    console.send("error 'no'\n");
    assert!(console.until(PROMPT).contains("(debug):1: no"));
    console.send("watch 'nope'\n");
    assert!(console.until(PROMPT).starts_with("No nope"));
    console.send("watch('lua', function(first) return first == 5 end)\n");
    console.until(PROMPT);

    // A request that does not match is served; one that does stops, and others are served meanwhile.
    assert!(other.ask("call .main 7").contains("1\t8\n"));
    other.send("call .main 5\n");
    assert_eq!(console.until(")>"), "./main.lua(6)>");
    console.send("n\n");
    assert_eq!(console.until(")>"), "./main.lua(7)>");
    console.send("sum\n");
    assert_eq!(console.until(")>"), "5\t\n./main.lua(7)>");
    console.send("sum = 40\n");
    console.until(")>");
    console.send("s\n");
    assert_eq!(console.until(")>"), "./main.lua(8)>");
    console.send("c\n");
    console.until(PROMPT);
    assert!(other.until(">\n").contains("1\t41\n"));
    console.send("cont\n");
    assert_eq!(console.until("\n"), "<CMD OK>\n");
    let log = node.wait_for("stdout", "Leave debug mode");
    assert!(log.contains("Attach to :00000008") && log.contains("Enter debug mode"), "{log}");
    // Who hangs up ends the session.
    console.send("debug .main\n");
    console.until(PROMPT);
    drop(console);
    assert!(other.ask("call .main 1").contains("1\t2\n"));
}
