//! Clusters of several processes on loopback: links that are cut, nodes that are killed, and large messages.
//!
//! Ports are chosen by the kernel. Where a link is to be cut, a relay of the test stands between two nodes, and stops passing bytes on.

mod common;

use skein_arena::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{Running, Site};

/// A node that serves `@kv`: it says `listening <port>`, and counts what it executes in a file.
const STORE: &str = r#"
local skynet = require "skynet"
local cluster = require "skynet.cluster"
local executed = io.open("executed", "a")
executed:setvbuf "line"
local kept, pushed = {}, {}
local commands = {}
function commands.set(key, value) kept[key] = value return true end
function commands.get(key) return kept[key] end
function commands.echo(...) return ... end
function commands.once(id) executed:write(id, "\n") return id end
function commands.slow(ti, ...) skynet.sleep(ti) return ... end
function commands.hang(id) executed:write(id, "\n") skynet.wait() end
function commands.push(n) pushed[#pushed + 1] = n end
function commands.pushed() local all = pushed pushed = {} return table.concat(all, " ") end
skynet.start(function()
    skynet.dispatch("lua", function(session, _, name, ...)
        if session == 0 then commands[name](...) else skynet.retpack(commands[name](...)) end
    end)
    cluster.register "kv"
    local _, port = cluster.open(0)
    print("listening " .. port)
end)
"#;

/// A node that runs the text of `script`, with what it needs, and ends.
const CALLER: &str = r#"
local skynet = require "skynet"
local cluster = require "skynet.cluster"
require "skynet.manager"
local text = io.open "script":read "a"
local env = setmetatable({ skynet = skynet, cluster = cluster, port = skynet.getenv "store" }, { __index = _G })
--- Waits for a file of the test's.
function env.wait_for(name) while not io.open(name) do skynet.sleep(2) end end
--- Calls until it works.
function env.again(...)
    while true do
        local answer = table.pack(pcall(cluster.call, ...))
        if answer[1] then return table.unpack(answer, 2, answer.n) end
        skynet.sleep(2)
    end
end
skynet.start(function()
    local ok, why = xpcall(assert(load(text, "=script", "t", env)), debug.traceback)
    print(ok and "fine" or why)
    skynet.abort()
end)
"#;

fn port_of(node: &mut Running<'_>) -> u16 {
    let out = node.wait_for("stdout", "listening ");
    let line = out.lines().find_map(|it| it.strip_prefix("listening ")).expect("a line");
    line.trim().parse().unwrap_or_else(|_| panic!("{line}"))
}

fn caller(port: u16, script: &str) -> Site {
    let site = Site::with_main(CALLER);
    site.config(&format!("store = '127.0.0.1:{port}'"));
    site.write("script", script);
    site
}

/// Runs a caller to its end, and panics if it did not like what it saw.
#[track_caller]
fn runs(site: &Site) -> String {
    let ended = site.run();
    assert!(ended.stdout.lines().any(|it| it == "fine"), "{}\n{}", ended.stdout, ended.stderr);
    ended.stdout
}

/// Passes bytes between those who connect and a port, while it is let.
struct Relay {
    port: u16,
    /// 0: nobody is there.
    target: Arc<AtomicU32>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    connections: Arc<AtomicUsize>,
    frozen: Arc<Mutex<()>>,
}

impl Relay {
    fn to(target: u16) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let relay = Relay {
            port,
            target: Arc::new(AtomicU32::new(target.into())),
            streams: Arc::default(),
            connections: Arc::default(),
            frozen: Arc::default(),
        };
        let (streams, connections, frozen) =
            (Arc::clone(&relay.streams), Arc::clone(&relay.connections), Arc::clone(&relay.frozen));
        let target = Arc::clone(&relay.target);
        // Ends with the process of the test.
        thread::spawn(move || {
            for inward in listener.incoming().map_while(Result::ok) {
                let Ok(outward) = TcpStream::connect(("127.0.0.1", target.load(SeqCst) as u16)) else {
                    continue;
                };
                connections.fetch_add(1, SeqCst);
                let mut all = streams.lock().expect("no panic");
                for stream in [&inward, &outward] {
                    stream.set_nodelay(true).expect("a socket");
                    all.push(stream.try_clone().expect("a socket"));
                }
                for (from, to) in [(&inward, &outward), (&outward, &inward)] {
                    let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let frozen = Arc::clone(&frozen);
                    thread::spawn(move || pass(from, to, &frozen));
                }
            }
        });
        relay
    }

    /// Ends all connections.
    fn cut(&self) {
        for stream in self.streams.lock().expect("no panic").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, frozen: &Mutex<()>) {
    let mut bytes = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        // Whoever holds this holds up all bytes.
        drop(frozen.lock());
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Runs a node that says `freeze`, and `thaw` when the relay is to pass bytes on again. Returns what it printed; it ended well.
fn runs_with_a_pause(site: &Site, relay: &Relay) -> String {
    let mut running = site.start(&["config"]);
    running.wait_for("stdout", "freeze");
    let held = relay.frozen.lock().expect("no panic");
    site.write("frozen", "");
    running.wait_for("stdout", "thaw");
    drop(held);
    let ended = running.wait();
    assert!(ended.stdout.contains("\nfine\n"), "{}", ended.stdout);
    ended.stdout
}

#[test]
fn two_nodes_pass_large_messages_both_ways() {
    let store = Site::with_main(STORE);
    let mut node = store.start(&["config"]);
    let site = caller(
        port_of(&mut node),
        r#"
        cluster.reload { db = port }
        local values, left, all = {}, 20, {}
        for i = 1, left do
            skynet.fork(function()
                local key, value = ("k%d"):format(i):rep(1000), string.char(64 + i):rep(256 << 10)
                assert(cluster.call("db", "@kv", "set", key, value))
                for _ = 1, 10 do assert(cluster.call("db", "@kv", "get", key) == value) end
                left = left - 1
                if left == 0 then skynet.wakeup(all) end
            end)
        end
        skynet.wait(all)
        local link = cluster.links().db
        assert(link.state == "up" and link.connects == 1 and link.drops == 0 and link.failed == 0 and link.waiting == 0)
        assert(link.bytes_out > 20 * (256 << 10) and link.bytes_in > 200 * (256 << 10))
        "#,
    );
    runs(&site);
}

#[test]
fn a_request_that_is_larger_than_a_node_keeps_is_refused_and_holds_nothing() {
    let store = Site::with_main(STORE);
    store.config("cluster_inbound_limit = '1500k'");
    let mut node = store.start(&["config"]);
    let site = caller(
        port_of(&mut node),
        r#"
        cluster.reload { db = port }
        local fits, large = ("x"):rep(1 << 20), ("x"):rep(2 << 20)
        for _ = 1, 5 do
            local ok, why = pcall(cluster.call, "db", "@kv", "echo", large)
            assert(not ok and why:find("call failed", 1, true), why)
            assert(cluster.call("db", "@kv", "echo", fits) == fits)
            assert(cluster.call("db", "@kv", "echo", "small") == "small")
        end
        assert(cluster.links().db.connects == 1)
        "#,
    );
    let out = runs(&site);
    assert_eq!(out.matches("Too many unfinished large requests").count(), 5, "{out}");
}

#[test]
fn the_trace_of_a_request_to_another_node_tells_of_its_answer() {
    let store = Site::with_main(STORE);
    let mut node = store.start(&["config"]);
    let site = caller(
        port_of(&mut node),
        r#"
        cluster.reload { db = port }
        cluster.call("db", "@kv", "echo", 1)
        skynet.trace "far away"
        assert(cluster.call("db", "@kv", "echo", 2) == 2)
        "#,
    );
    let out = runs(&site);
    let lines: Vec<&str> = out.lines().filter(|it| it.contains("<TRACE ")).collect();
    let at =
        |what: &str| lines.iter().position(|it| it.contains(what)).unwrap_or_else(|| panic!("{what}\n{out}"));
    assert!(at("cluster") < at(" response"), "{out}");
}

#[test]
fn requests_on_a_lost_connection_fail_and_are_never_executed_twice() {
    let store = Site::with_main(STORE);
    let mut node = store.start(&["config"]);
    let relay = Relay::to(port_of(&mut node));
    let site = caller(
        relay.port,
        r#"
        cluster.reload { db = port }
        assert(cluster.call("db", "@kv", "once", "first") == "first")
        local failed = 0
        for i = 1, 50 do
            skynet.fork(function()
                local ok = pcall(cluster.call, "db", "@kv", "hang", "hang" .. i)
                assert(not ok)
                failed = failed + 1
            end)
        end
        -- Behind all of these.
        assert(cluster.call("db", "@kv", "once", "second") == "second")
        print "cut now"
        while failed < 50 do skynet.sleep(1) end
        assert(again("db", "@kv", "once", "third") == "third")
        local link = cluster.links().db
        assert(link.drops == 1 and link.connects == 2 and link.failed >= 50, link.drops)
        "#,
    );
    let mut running = site.start(&["config"]);
    running.wait_for("stdout", "cut now");
    relay.cut();
    let ended = running.wait();
    assert!(ended.stdout.contains("\nfine\n"), "{}", ended.stdout);
    let mut executed: Vec<_> = store.read("executed").lines().map(str::to_owned).collect();
    executed.sort();
    let mut expected: Vec<_> = (1..=50).map(|it| format!("hang{it}")).collect();
    expected.extend(["first", "second", "third"].map(str::to_owned));
    expected.sort();
    assert_eq!(executed, expected);
    assert_eq!(relay.connections.load(SeqCst), 2);
}

#[test]
fn a_connection_that_is_cut_again_and_again_executes_nothing_twice() {
    let store = Site::with_main(STORE);
    let mut node = store.start(&["config"]);
    let relay = Relay::to(port_of(&mut node));
    let site = caller(
        relay.port,
        r#"
        cluster.reload { db = port }
        again("db", "@kv", "once", "begin")
        local done, answered = 0, 0
        for task = 1, 10 do
            skynet.fork(function()
                for i = 1, 100 do
                    if pcall(cluster.call, "db", "@kv", "once", task .. "." .. i) then answered = answered + 1 end
                    if i % 10 == 0 then skynet.sleep(1) end
                end
                done = done + 1
            end)
        end
        print "go"
        while done < 10 do skynet.sleep(1) end
        assert(again("db", "@kv", "once", "end") == "end")
        print("answered " .. answered .. ".")
        "#,
    );
    let mut running = site.start(&["config"]);
    running.wait_for("stdout", "go");
    for _ in 0..5 {
        relay.cut();
        thread::sleep(Duration::from_millis(20)); // how often it is cut does not matter
    }
    let ended = running.wait();
    assert!(ended.stdout.contains("\nfine\n"), "{}", ended.stdout);
    let mut executed: Vec<_> = store.read("executed").lines().map(str::to_owned).collect();
    let count = executed.len();
    executed.sort();
    executed.dedup();
    assert_eq!(executed.len(), count, "something was executed twice");
    let answered = ended.stdout.lines().find_map(|it| it.strip_prefix("answered ")?.strip_suffix('.'));
    let answered: usize = answered.expect("a line").parse().expect("a number");
    assert!(answered + 2 <= count, "{answered} answers of {count}");
}

#[test]
fn a_node_that_is_killed_fails_its_callers_and_is_found_again() {
    let store = Site::with_main(STORE);
    let mut node = store.start(&["config"]);
    let relay = Relay::to(port_of(&mut node));
    let site = caller(
        relay.port,
        r#"
        cluster.reload { db = port }
        local failed = 0
        for i = 1, 20 do
            skynet.fork(function()
                if not pcall(cluster.call, "db", "@kv", "hang", i) then failed = failed + 1 end
            end)
        end
        assert(cluster.call("db", "@kv", "echo", 1) == 1)
        print "kill it"
        while failed < 20 do skynet.sleep(1) end
        assert(not pcall(cluster.call, "db", "@kv", "echo", 2))
        cluster.send("db", "@kv", "push", 1)
        assert(cluster.links().db.problem)
        print "start it"
        assert(again("db", "@kv", "echo", 3) == 3)
        local link = cluster.links().db
        assert(link.state == "up" and link.drops > 0)
        "#,
    );
    let mut running = site.start(&["config"]);
    running.wait_for("stdout", "kill it");
    relay.target.store(0, SeqCst);
    drop(node);
    running.wait_for("stdout", "start it");
    let second = Site::with_main(STORE);
    let mut node = second.start(&["config"]);
    relay.target.store(port_of(&mut node).into(), SeqCst);
    let ended = running.wait();
    assert!(ended.stdout.contains("\nfine\n"), "{}", ended.stdout);
}

#[test]
fn a_port_where_nobody_listens_is_asked_once_for_many() {
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = held.local_addr().expect("an address").port();
    let site = caller(
        port,
        r#"
        cluster.reload { __nowaiting = true, db = port }
        local done = 0
        for i = 1, 100 do
            skynet.fork(function() assert(not pcall(cluster.call, "db", "@kv", "echo", i)) done = done + 1 end)
        end
        while done < 100 do skynet.sleep(1) end
        "#,
    );
    // From now on nobody listens there, and nobody else is likely to before the node asks.
    drop(held);
    let out = runs(&site);
    assert_eq!(out.matches("Connect failed Connection refused").count(), 1, "{out}");
}

#[test]
fn deadlines_hold_while_nothing_comes_through() {
    let store = Site::with_main(STORE);
    let mut node = store.start(&["config"]);
    let relay = Relay::to(port_of(&mut node));
    let site = caller(
        relay.port,
        r#"
        cluster.reload { db = port }
        assert(cluster.call("db", "@kv", "echo", 1) == 1)
        print "freeze"
        wait_for "frozen"
        local ok, why = pcall(cluster.call_timeout, 20, "db", "@kv", "echo", 2)
        assert(not ok and why:find "the deadline has passed", why)
        -- One of 32 MB is only begun by then: another one behind it was not sent, and never is.
        local large = ("x"):rep(32 << 20)
        skynet.fork(function() print("large", #cluster.call("db", "@kv", "echo", large)) end)
        skynet.yield()
        ok, why = pcall(cluster.call_timeout, 20, "db", "@kv", "once", "never" .. large)
        assert(not ok and why:find "the deadline has passed", why)
        print "thaw"
        assert(cluster.call("db", "@kv", "echo", 3) == 3)
        local link = cluster.links().db
        assert(link.late == 2 and link.drops == 0)
        "#,
    );
    let out = runs_with_a_pause(&site, &relay);
    assert!(!out.contains("unknown session"), "{out}");
    assert_eq!(store.read("executed"), "");
}

#[test]
fn a_connection_that_falls_silent_is_given_up() {
    let store = Site::with_main(STORE);
    let mut node = store.start(&["config"]);
    let relay = Relay::to(port_of(&mut node));
    let site = caller(
        relay.port,
        r#"
        cluster.reload { db = port }
        assert(cluster.call("db", "@kv", "echo", 1) == 1)
        print "freeze"
        wait_for "frozen"
        local begin = skynet.now()
        assert(not pcall(cluster.call, "db", "@kv", "echo", 2))
        assert(skynet.now() - begin >= 100)
        print "thaw"
        assert(again("db", "@kv", "echo", 3) == 3)
        local link = cluster.links().db
        assert(link.drops > 0 and link.problem:find "no answer for", link.problem)
        "#,
    );
    site.config(&format!("store = '127.0.0.1:{}'\ncluster_silence = 1.2", relay.port));
    runs_with_a_pause(&site, &relay);
}

#[test]
fn a_request_may_take_longer_than_a_connection_may_be_silent() {
    let store = Site::with_main(STORE);
    let mut node = store.start(&["config"]);
    let port = port_of(&mut node);
    let site = caller(
        port,
        r#"
        cluster.reload { db = port }
        assert(cluster.call("db", "@kv", "slow", 800, "x") == "x")
        local link = cluster.links().db
        assert(link.drops == 0 and link.requests == 1)
        "#,
    );
    // It is asked after 3 seconds, and has 3 more to answer.
    site.config(&format!("store = '127.0.0.1:{port}'\ncluster_silence = 6"));
    let out = runs(&site);
    assert!(!out.contains("unknown session") && !out.contains("name not found"), "{out}");
}

#[test]
fn a_list_of_nodes_that_was_written_anew_is_read_anew() {
    let site = Site::with_main(
        r#"local skynet = require "skynet" require "skynet.manager"
        local cluster = require "skynet.cluster"
        skynet.start(function()
            -- The file is empty so far, and clusterd has read it.
            assert(not pcall(cluster.open, "game"))
            local file = assert(io.open("nodes.lua", "w"))
            file:write "__nowaiting = true game = '127.0.0.1:0'"
            file:close()
            cluster.reload()
            cluster.open "game"
            print "fine"
            skynet.abort()
        end)"#,
    );
    site.write("nodes.lua", "");
    site.config("cluster = './nodes.lua'");
    let ended = site.run();
    assert!(ended.stdout.contains("fine\n"), "{}", ended.stdout);
}

#[test]
fn five_nodes_call_each_other() {
    let sites: Vec<Site> = (0..5).map(|_| Site::with_main(STORE)).collect();
    let mut nodes: Vec<Running<'_>> = sites.iter().map(|it| it.start(&["config"])).collect();
    let ports: Vec<u16> = nodes.iter_mut().map(port_of).collect();
    let names = ports.iter().enumerate().map(|(at, port)| format!("n{at} = '127.0.0.1:{port}'"));
    let names = names.collect::<Vec<_>>().join("\n");
    let site = caller(
        0,
        r#"
        local done = 0
        for node = 0, 4 do
            skynet.fork(function()
                local name = "n" .. node
                for i = 1, 200 do cluster.send(name, "@kv", "push", i) end
                local all = cluster.call(name, "@kv", "pushed")
                local expected = {}
                for i = 1, 200 do expected[i] = i end
                assert(all == table.concat(expected, " "), all)
                local proxy = cluster.proxy(name .. "@kv")
                skynet.call(proxy, "lua", "set", "key", node)
                assert(cluster.call(name, cluster.query(name, "kv"), "get", "key") == node)
                done = done + 1
            end)
        end
        while done < 5 do skynet.sleep(1) end
        "#,
    );
    site.write("nodes.lua", &format!("__nowaiting = true\n{names}\n"));
    site.config("cluster = './nodes.lua'");
    runs(&site);
}

/// Whoever began large requests and never finished them made a node keep room for each; in the end its connection goes.
#[test]
fn who_begins_requests_and_never_finishes_them_is_refused_and_then_cut_off() {
    let site = Site::with_main(STORE);
    site.config("cluster_inbound_limit = '1026K'");
    let mut node = site.start(&["config"]);
    let mut stream = TcpStream::connect(("127.0.0.1", port_of(&mut node))).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let begin = |session: u32| {
        let (address, total) = (8_u32.to_le_bytes(), (1_u32 << 20).to_le_bytes());
        [&[0, 13, 1][..], &address, &session.to_le_bytes(), &total].concat()
    };
    // The first has room, the second has none.
    stream.write_all(&[begin(1), begin(2)].concat()).expect("the node reads");
    let text = [&2_u32.to_le_bytes()[..], &[0], b"Too many unfinished large requests"].concat();
    let refusal = [&(text.len() as u16).to_be_bytes()[..], &text].concat();
    let mut answer = vec![0; refusal.len()];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, refusal);
    for session in 3..20 {
        // The node may have hung up by now.
        let _ = stream.write_all(&begin(session));
    }
    // Until the node closes the connection, or resets it.
    let mut rest = Vec::new();
    let end = stream.read_to_end(&mut rest);
    assert!(
        !end.is_err_and(|it| it.kind() == std::io::ErrorKind::WouldBlock),
        "the connection is still there"
    );
    node.wait_for("stdout", "Too many unfinished large requests");
}
