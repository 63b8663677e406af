//! Shared objects of other people: services in C, a log service in C, and C modules that speak to the runtime.

mod common;

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use common::{Ended, Site};

/// Compiles `tests/c/NAME.c` to `NAME.so` of the site.
fn build(site: &Site, name: &str) {
    let root = env!("CARGO_MANIFEST_DIR");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"])
        .args(["-I", env!("SKEIN_LUA_INCLUDE"), "-I", &format!("{root}/include")])
        .args(["-o", &format!("{name}.so"), &format!("{root}/tests/c/{name}.c")])
        .current_dir(site.dir())
        .output()
        .expect("a C compiler");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

/// Runs `main` with the objects `objects` in reach.
fn run(objects: &[&str], config: &str, main: &str) -> Ended {
    let site = Site::with_main(&format!(
        "local skynet = require 'skynet'\nrequire 'skynet.manager'\nlocal core = require 'skynet.core'\n{main}"
    ));
    for object in objects {
        build(&site, object);
    }
    site.config(&format!("cpath = './?.so'\nlua_cpath = './?.so'\nprobe_key = 'a value'\n{config}"));
    let ended = site.run();
    assert!(ended.status.success(), "{ended:?}");
    ended
}

/// What the services of these tests need.
const PROBE: &str = r#"
skynet.register_protocol { name = "text", id = 0, pack = function(m) return m end, unpack = skynet.tostring }
local function start(f)
    skynet.start(function()
        skynet.dispatch("text", function(_, _, m) print("text:", m) end)
        local ok, why = pcall(f)
        if not ok then print("WENT WRONG", why) end
        skynet.abort()
    end)
end
"#;

#[track_caller]
fn said(ended: &Ended, lines: &[&str]) {
    for line in lines {
        assert!(ended.stdout.lines().any(|it| it.ends_with(line)), "no line {line:?} in\n{}", ended.stdout);
    }
    assert!(!ended.stdout.contains("WENT WRONG"), "{}", ended.stdout);
}

#[test]
fn a_service_in_c_gets_answers_keeps_and_gives_away() {
    let ended = run(
        &["probe"],
        "",
        &format!(
            r#"{PROBE}
start(function()
    skynet.register ".main"
    local probe = skynet.launch("probe", "some args")
    local function call(m) return skynet.call(probe, "text", m) end
    print(call "echo")
    print(call "give and get")
    print(call "keep this one")
    print(call "return")
    print(call "keep another")
    print(call "free")
    local made = call "malloc"
    print("malloc", #made, made == ("m"):rep(100000))
    print("who", (call "who"):gsub("^:%x+", "me"))
    print(call "liar")
    for _, m in ipairs {{ "by name", "timer", "long line" }} do skynet.send(probe, "text", m) end
    skynet.sleep(20)
    core.command("SIGNAL", skynet.address(probe) .. " 7")
    skynet.send(probe, "text", "exit")
    skynet.sleep(10)
    print("gone", pcall(call, "echo"))
    print("refused", pcall(skynet.launch, "probe", "refuse"))
    print("no such", pcall(skynet.launch, "nothing"))
end)"#
        ),
    );
    said(
        &ended,
        &[
            "LAUNCH probe some args",
            "args some args",
            "echo!",
            "give and get",
            "kept",
            "keep this one",
            "sent 1, again -1",
            "freed",
            "malloc\t100000\ttrue",
            "who\tme 1 0 0 1 a value 1\t1",
            "liar",
            "text:\tto a name",
            "nobody -1, gone -1, wrong session -1",
            "timer or answer 1, source 0, 0 bytes",
            "signal 7",
            "error: launch probe FAILED",
        ],
    );
    let log = &ended.stdout;
    assert!(log.contains(&format!("{}.", "l".repeat(999))), "{log}");
    assert!(log.contains("] released after 14 messages"), "{log}");
    assert!(log.contains("gave its message (type 0, 4 bytes) away and answered 0"), "{log}");
    assert!(log.contains("is not held by this service"), "{log}");
    assert!(log.contains("gone\tfalse"), "{log}");
    assert!(
        ended.stderr.contains("try open nothing failed : ./nothing.so: cannot open shared object"),
        "{ended:?}"
    );
}

#[test]
fn a_log_service_of_the_applications_own_may_have_the_built_in_ones_name() {
    let main = "skynet.start(function() skynet.error 'hello' skynet.abort() end)";
    let ended = run(&["logger"], "", main);
    assert!(ended.stderr.contains("own <8> hello\n"), "{ended:?}");
    assert!(!ended.stdout.contains("hello"), "{ended:?}");
}

#[test]
fn skynets_own_log_service_is_not_loaded() {
    let site = Site::with_main(
        "local skynet = require 'skynet' require 'skynet.manager'
        skynet.start(function() skynet.error 'hello' skynet.abort() end)",
    );
    build(&site, "logger");
    // What tells skynet's folder from others.
    site.write("snlua.so", "");
    site.config("cpath = './?.so'");
    let ended = site.run();
    assert!(ended.stdout.contains("hello\n") && !ended.stderr.contains("own"), "{ended:?}");
}

#[test]
fn the_log_service_may_be_in_c_and_its_init_gets_null() {
    let ended = run(
        &["quiet"],
        "logservice = 'quiet'",
        &format!("{PROBE}start(function() skynet.error 'a line' end)"),
    );
    assert!(ended.stderr.contains("quiet begins: instance, NULL\n"), "{ended:?}");
    assert!(ended.stderr.contains("> a line\n"), "{ended:?}");
}

#[test]
fn an_object_without_an_init_is_no_service() {
    let ended =
        run(&["inner"], "", &format!("{PROBE}start(function() print(pcall(skynet.launch, 'inner')) end)"));
    assert!(ended.stderr.contains("./inner.so: there is no function inner_init"), "{ended:?}");
}

#[test]
fn a_c_module_sends_what_lua_had_and_lua_sends_what_malloc_made() {
    let ended = run(
        &["inner"],
        "",
        &format!(
            r#"{PROBE}
start(function()
    local inner = require "inner"
    local me = skynet.self()
    local a, b = inner.handle()
    print("handles", a == me, b == me)
    skynet.register_protocol {{ name = "lua2", id = 20, pack = skynet.pack, unpack = skynet.unpack,
        dispatch = function(_, _, ...) print("lua2:", ...) end }}
    print("copied", inner.send(me, 0, "by copy"))
    local p, n = skynet.pack("packed", 1, 2)
    print("given", inner.give(me, 20, p, n))
    print("again", inner.give(me, 20, p, n))
    local p, n = skynet.pack("packed", 3)
    inner.release(p)
    print("freed", pcall(skynet.trash, p, n))
    core.send(me, 0, 0, inner.made "from malloc")
    print("tostring", skynet.tostring(inner.made "malloc as string"))
    local p, n = inner.made "trashed"
    skynet.trash(p, n)
    skynet.sleep(5)
end)"#
        ),
    );
    said(
        &ended,
        &[
            "handles\ttrue\ttrue",
            "copied\t0",
            "given\t0",
            "again\t-1",
            "text:\tby copy",
            "lua2:\tpacked\t1\t2",
            "text:\tfrom malloc",
            "tostring\tmalloc as string",
        ],
    );
    assert!(ended.stdout.contains("freed\tfalse"), "{}", ended.stdout);
}

#[test]
fn a_service_in_c_has_sockets() {
    let site = Site::with_main(
        "local skynet = require 'skynet' require 'skynet.manager'
        skynet.start(function() skynet.launch('echo', skynet.getenv 'udp') end)",
    );
    build(&site, "echo");
    // A port that was free a moment ago.
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    site.config(&format!("cpath = './?.so'\nudp = {port}"));
    let mut node = site.start(&["config"]);
    let log = node.wait_for("stdout", "streams on ");
    assert!(log.contains("no host -1, no port -1, no socket -1"), "{log}");
    assert!(log.contains("no object -1") && log.contains("(SOCKET_BUFFER_OBJECT)"), "{log}");
    let streams: u16 = log.split("streams on ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();

    let mut stream = TcpStream::connect(("127.0.0.1", streams)).expect("the service listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let large = vec![b'e'; 300_000];
    let mut writer = stream.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || {
        writer.write_all(&large).expect("the service reads");
        large
    });
    let mut back = vec![0; 300_000];
    stream.read_exact(&mut back).expect("the echo");
    assert!(back == writing.join().expect("the writer"));
    stream.write_all(b"keep").expect("the service reads");
    node.wait_for("stdout", "accepted 127.0.0.1:");
    node.wait_for("stdout", "keeps it");
    stream.write_all(b"bye!").expect("the service reads");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the end");
    assert_eq!(rest, b"so longkeep\0");
    node.wait_for("stdout", "kept keep");

    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    socket.send_to(b"a datagram", ("127.0.0.1", port)).expect("sent");
    let mut bytes = [0; 100];
    let (size, _) = socket.recv_from(&mut bytes).expect("the echo");
    assert_eq!(&bytes[..size], b"a datagram");
    node.wait_for("stdout", "a datagram of 10, sender of 7");
}
