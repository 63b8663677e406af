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

/// A service with the calls that X3 speaks of.
const SLEEPER: &str = r#"
local skynet = require "skynet"
require "skynet.manager"
local name = ...
if name == "leaves" then
    skynet.start(skynet.exit)
elseif name == "fails" then
    skynet.start(function() error "on purpose" end)
else
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, what, ti)
            if what == "sleep" then skynet.sleep(ti) return skynet.retpack "slept" end
            skynet.wait()
        end)
        if name then skynet.register(name) end
    end)
end
"#;

/// The lines of an answer that are not its end, each cut at its tabs.
fn fields(answer: &str) -> Vec<Vec<&str>> {
    answer.lines().filter(|it| !it.starts_with("<CMD")).map(|it| it.split('\t').collect()).collect()
}

fn is_address(text: &str) -> bool {
    text.len() == 9 && text.starts_with(':') && text[1..].chars().all(|it| it.is_ascii_hexdigit())
}

/// The values of `key:value` fields, by these keys in this order.
#[track_caller]
fn values<'a>(fields: &[&'a str], keys: &[&str]) -> Vec<&'a str> {
    let split: Vec<_> = fields.iter().map(|it| it.split_once(':').unwrap_or((it, ""))).collect();
    assert_eq!(split.iter().map(|it| it.0).collect::<Vec<_>>(), keys);
    split.into_iter().map(|it| it.1).collect()
}

#[test]
fn answers_are_laid_out_as_in_skynet() {
    let site = site();
    site.write("sleeper.lua", SLEEPER);
    let mut node = site.start(&["config"]);
    let mut console = Console::connect(&mut node);
    // X1
    assert_eq!(console.until("\n"), "Welcome to skynet console\n", "X1");
    assert_eq!(console.ask("nonsense"), "Invalid command, type help for command list\n\n<CMD Error>\n", "X1");
    // X4
    let started = console.ask("start sleeper .a");
    let address = fields(&started)[0][0];
    assert!(is_address(address) && started == format!("{address}\tsleeper\n<CMD OK>\n"), "X4 {started}");
    assert_eq!(console.ask("start sleeper leaves"), "Exit\n<CMD OK>\n", "X4");
    assert_eq!(console.ask("start sleeper fails"), "Failed\n<CMD OK>\n", "X4");
    // X2
    let list = console.ask("list");
    assert!(list.ends_with("<CMD OK>\n"), "X2 {list}");
    for line in fields(&list) {
        assert!(line.len() == 2 && is_address(line[0]) && line[1].starts_with("snlua "), "X2 list {line:?}");
    }
    assert!(list.contains(&format!("{address}\tsnlua sleeper .a\n")), "X2 {list}");
    for line in fields(&console.ask("stat")) {
        let found = values(&line[1..], &["cpu", "message", "mqlen", "task"]);
        assert!(is_address(line[0]) && found.iter().all(|it| it.parse::<f64>().is_ok()), "X2 stat {line:?}");
    }
    for line in fields(&console.ask("mem")) {
        let (size, name) = line[1].split_once(" Kb (snlua ").unwrap_or_else(|| panic!("X2 mem {line:?}"));
        assert!(is_address(line[0]) && size.parse::<f64>().is_ok() && name.ends_with(')'), "X2 mem {line:?}");
    }
    console.send("call .a 'wait'\n");
    let mut other = Console::connect(&mut node);
    other.until("\n");
    let task = loop {
        let task = other.ask("task .a");
        if task.contains("session: ") {
            break task;
        }
    };
    let first = fields(&task)[0].join("\t");
    assert!(first.starts_with("thread: 0x") && first.contains(" session: "), "X2 task {task}");
    let unique = other.ask("uniqtask .a");
    assert!(unique.starts_with("1\tsessions:["), "X2 uniqtask {unique}");
    for line in fields(&other.ask("netstat")) {
        let known = [
            "accept", "address", "id", "peer", "read", "reading", "rtime", "sock", "type", "wbuffer",
            "write", "writing", "wtime",
        ];
        let keys: Vec<_> = line.iter().map(|it| it.split(':').next().expect("a key")).collect();
        assert!(keys.is_sorted() && keys.iter().all(|it| known.contains(it)), "X2 netstat {line:?}");
        assert!(line.iter().any(|it| it.strip_prefix("address:").is_some_and(is_address)), "X2 {line:?}");
    }
    assert_eq!(other.ask("getenv thread"), "thread\t2\n<CMD OK>\n", "X2");
    assert!(other.ask("ping .launcher").ends_with("\n<CMD OK>\n"), "X2");
    assert!(other.ask(&format!("ping {}", &address[1..])).ends_with("\n<CMD OK>\n"), "X2 without the colon");
    assert!(other.ask("ping zzz").contains("Need an address\n<CMD Error>\n"), "X2");
    assert!(other.ask("ping .zzz").contains("Not a valid name\n<CMD Error>\n"), "X2");
    // X3
    other.ask("start sleeper .b");
    assert_eq!(other.ask("call .b 'sleep',1"), "1\tslept\nn\t1\n<CMD OK>\n", "X3");
    assert!(other.ask("call .b").contains("need arguments\n<CMD Error>\n"), "X3");
    // X4
    let killed = other.ask("kill .a");
    assert_eq!(killed, format!("{address}\tsnlua sleeper .a\n<CMD OK>\n"), "X4");
    assert_eq!(other.ask("exit .b"), "<CMD OK>\n", "X4");
    // X6, first half: the console whose call will never be answered now is told so.
    assert!(console.until(">\n").ends_with("<CMD Error>\n"), "X6");
    assert!(console.ask("ping .launcher").ends_with("\n<CMD OK>\n"), "X6");
}

/// The way of public code that runs in the console's own service: from the handler of sockets to the listener, and on to the commands.
#[test]
fn a_command_that_is_injected_into_the_console_is_one_of_its_own() {
    let site = Site::with_main(
        r#"
local skynet = require "skynet"
local console
local source = [[
    local function upvalue(f, wanted, seen)
        if seen[f] then return nil end
        seen[f] = true
        local at = 1
        while true do
            local name, value = debug.getupvalue(f, at)
            if not name then return nil end
            if name == wanted then return value end
            local inner = type(value) == "function" and upvalue(value, wanted, seen)
            if inner then return inner end
            at = at + 1
        end
    end
    for _, it in pairs(upvalue(_P.socket.socket_message[1], "socket_pool", {})) do
        if it.callback then
            upvalue(it.callback, "COMMAND", {}).twice = function(text) return { answer = text .. text } end
        end
    end
]]
skynet.start(function()
    console = skynet.newservice("debug_console", 0)
    skynet.call(console, "debug", "RUN", source)
    print "injected"
end)
"#,
    );
    let mut node = site.start(&["config"]);
    let mut console = Console::connect(&mut node);
    node.wait_for("stdout", "injected\n");
    console.send("twice ab\n");
    let answer = console.until("<CMD OK>\n");
    assert!(answer.contains("answer\tabab\n"), "{answer}");
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
    assert_eq!(body, "Welcome to skynet console\n1\t2\nn\t1\n<CMD OK>\n", "X5");

    let mut post = Console::connect(&mut node);
    post.send("POST / HTTP/1.1\r\nContent-Length: 13\r\n\r\nping .main\r\n ");
    assert!(post.rest().ends_with("0\n<CMD OK>\n"), "X5");

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
    assert_eq!(console.until("\n"), "<CMD OK>\n", "X6");
    let log = node.wait_for("stdout", "Leave debug mode");
    assert!(log.contains("Attach to :00000008") && log.contains("Enter debug mode"), "{log}");
    // Who hangs up ends the session.
    console.send("debug .main\n");
    console.until(PROMPT);
    drop(console);
    assert!(other.ask("call .main 1").contains("1\t2\n"));
}
