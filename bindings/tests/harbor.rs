//! Nodes in a harbor network: two of ours, and one of ours with a peer that plays back what skynet was seen to do.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use common::Site;
use serde_json::Value as Json;

/// What both nodes of a test know.
struct Network {
    master: u16,
    addresses: [u16; 2],
}

impl Network {
    /// Ports that were free a moment ago.
    fn new() -> Network {
        let held: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        let port = |at: usize| held[at].local_addr().expect("an address").port();
        Network { master: port(0), addresses: [port(1), port(2)] }
    }

    /// The node `id` with this main service; the first one is the master.
    fn site(&self, id: usize, main: &str) -> Site {
        let site = Site::with_main(main);
        let Network { master, addresses } = self;
        let mut config = format!(
            "harbor = {id}\nmaster = '127.0.0.1:{master}'\naddress = '127.0.0.1:{}'\n",
            addresses[id - 1]
        );
        if id == 1 {
            config += &format!("standalone = '127.0.0.1:{master}'\n");
        }
        site.config(&config);
        site
    }
}

const FIRST: &str = r#"
local skynet = require "skynet"
local harbor = require "skynet.harbor"
skynet.start(function()
    local pushed = 0
    skynet.dispatch("lua", function(session, _, what, ...)
        if session == 0 then
            pushed = pushed + 1
            assert(what == pushed, "in order")
        elseif what == "pushed" then
            skynet.ret(skynet.pack(pushed))
        elseif what == "fail" then
            error "failed"
        else
            skynet.ret(skynet.pack(what, ...))
        end
    end)
    harbor.globalname "FIRST"
    harbor.connect(2)
    print "the second node is there"
end)
"#;

const SECOND: &str = r#"
local skynet = require "skynet"
local harbor = require "skynet.harbor"
local datacenter = require "skynet.datacenter"
require "skynet.manager"
skynet.start(function()
    local ok, why = xpcall(function()
        local first = harbor.queryname "FIRST"
        assert(first >> 24 == 1)
        print("by name", skynet.call("FIRST", "lua", "hello", 1))
        print("by address", #skynet.call(first, "lua", ("x"):rep(1000000)))
        print("failed", pcall(skynet.call, first, "lua", "fail"))
        print("nobody", pcall(skynet.call, 0x01ff0000, "lua", "x"))
        for i = 1, 5000 do skynet.send("FIRST", "lua", i) end
        print("pushed", skynet.call("FIRST", "lua", "pushed"))
        datacenter.set("key", 5)
        print("datacenter", datacenter.get "key")
        print("unique", skynet.uniqueservice(true, "only") >> 24, skynet.queryservice(true, "only") >> 24)
        print("too large", pcall(skynet.call, first, "lua", ("x"):rep(1 << 24)))
        print "waiting"
        skynet.fork(function() harbor.linkmaster() print "the master is gone" end)
        harbor.link(1)
        print("down", pcall(skynet.call, "FIRST", "lua", "x"))
        skynet.sleep(20)
    end, debug.traceback)
    if not ok then print(why) end
    skynet.abort()
end)
"#;

#[test]
fn two_nodes_call_each_other_until_one_dies() {
    let network = Network::new();
    let first = network.site(1, FIRST);
    first.write("only.lua", "local skynet = require 'skynet' skynet.start(function() end)");
    let mut one = first.start(&["config"]);
    one.wait_for("stdout", "Shakehand ready");
    let second = network.site(2, SECOND);
    let mut two = second.start(&["config"]);
    two.wait_for("stdout", "waiting\n");
    one.wait_for("stdout", "the second node is there");
    let log = first.read("stdout");
    assert!(log.contains("Unknown destination :1ff0000 from"), "{log}");
    drop(one);
    let ended = two.wait();
    let out = &ended.stdout;
    for line in [
        "by name\thello\t1",
        "by address\t1000000",
        "pushed\t5000",
        "datacenter\t5",
        "unique\t1\t1",
        "the master is gone",
    ] {
        assert!(out.lines().any(|it| it == line), "no {line:?} in\n{out}");
    }
    for line in [
        "failed\tfalse",
        "nobody\tfalse",
        "too large\tfalse",
        "down\tfalse",
        "is too large.",
        "Drop message to harbor 1 from",
        "] New connection (fd = ",
        "] Harbor 1 connected (fd = ",
    ] {
        assert!(out.contains(line), "no {line:?} in\n{out}");
    }
    assert!(out.contains("Master disconnect"), "{out}");
}

/// Has a channel, and says what came over it.
const PUBLISHER: &str = r#"
local skynet = require "skynet"
local harbor = require "skynet.harbor"
local multicast = require "skynet.multicast"
local datacenter = require "skynet.datacenter"
skynet.start(function()
    local got = {}
    local channel = multicast.new { dispatch = function(_, source, ...) got[#got + 1] = table.concat({ source >> 24, ... }, ":") end }
    channel:subscribe()
    skynet.dispatch("lua", function(_, _, what, ...)
        if what == "publish" then
            channel:publish(...)
            skynet.retpack()
        elseif what == "got" then
            skynet.retpack(table.concat(got, " "))
        elseif what == "delete" then
            channel:delete()
            skynet.retpack()
        end
    end)
    harbor.globalname "PUBLISHER"
    datacenter.set("channel", channel.channel)
    print "published"
end)
"#;

const SUBSCRIBER: &str = r#"
local skynet = require "skynet"
local multicast = require "skynet.multicast"
local datacenter = require "skynet.datacenter"
require "skynet.manager"
skynet.start(function()
    local ok, why = xpcall(function()
        local id = datacenter.wait "channel"
        local got = {}
        local channel = multicast.new {
            channel = id,
            dispatch = function(_, source, ...) got[#got + 1] = table.concat({ source >> 24, ... }, ":") end,
        }
        channel:subscribe()
        for i = 1, 20 do skynet.call("PUBLISHER", "lua", "publish", i) end
        -- What a node publishes to a channel of another one comes back to it.
        for i = 21, 40 do channel:publish(i) end
        local large = ("x"):rep(100000)
        skynet.call("PUBLISHER", "lua", "publish", large)
        while #got < 41 do skynet.sleep(1) end
        for i = 1, 40 do assert(got[i] == (i <= 20 and "1:" or "2:") .. i, got[i]) end
        assert(got[41] == "1:" .. large)
        local there = skynet.call("PUBLISHER", "lua", "got")
        assert(there:find "^1:1 1:2 " and there:find " 2:40 1:xxx", there)
        channel:unsubscribe()
        skynet.call("PUBLISHER", "lua", "publish", "nobody here")
        channel:subscribe()
        skynet.call("PUBLISHER", "lua", "publish", "last")
        while #got < 42 do skynet.sleep(1) end
        assert(got[42] == "1:last", got[42])
        skynet.call("PUBLISHER", "lua", "delete")
        print "fine"
    end, debug.traceback)
    if not ok then print(why) end
    skynet.abort()
end)
"#;

#[test]
fn a_channel_has_subscribers_on_two_nodes() {
    let network = Network::new();
    let first = network.site(1, PUBLISHER);
    let mut one = first.start(&["config"]);
    one.wait_for("stdout", "published");
    let ended = network.site(2, SUBSCRIBER).run();
    assert!(ended.stdout.contains("\nfine\n"), "{}\n{}", ended.stdout, first.read("stdout"));
    // The master tells when a node has left.
    one.wait_for("stdout", "] slave 2 is down");
}

/// What was recorded: a service that knows a few words.
const RECORDED: &str = r#"
local skynet = require "skynet"
local harbor = require "skynet.harbor"
skynet.start(function()
    local words = {}
    function words.echo(...) skynet.ret(skynet.pack(...)) end
    function words.fail() error "failed" end
    function words.callback(address)
        skynet.send(address, "lua", "got", skynet.call(address, "lua", "hello", "from one"))
    end
    function words.byname(name) skynet.send(name, "lua", "named") end
    skynet.dispatch("lua", function(_, _, word, ...) words[word](...) end)
    harbor.connect(2)
    harbor.globalname "HSVC"
end)
"#;

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

/// The bytes of an entry; of a large one the middle is all one letter.
fn recorded(entry: &Json) -> Vec<u8> {
    let hex = &entry["hex"];
    let Some(text) = hex.as_str() else {
        let of = |key: &str| bytes_of(hex[key].as_str().expect("hex"));
        let (head, tail, len) = (of("head"), of("tail"), hex["len"].as_u64().expect("a length") as usize);
        let middle = vec![*head.last().expect("bytes"); len - head.len() - tail.len()];
        return [head, middle, tail].concat();
    };
    bytes_of(text)
}

#[test]
fn a_peer_of_skynets_finds_what_it_knows() {
    let network = Network::new();
    let site = network.site(1, RECORDED);
    let mut node = site.start(&["config"]);
    node.wait_for("stdout", "Shakehand ready");
    node.wait_for("stdout", "LAUNCH snlua main");

    let file: Json = serde_json::from_str(include_str!("golden/harbor.json")).expect("JSON");
    let mut entries = file["transcript"].as_array().expect("a list").iter();
    let patient = |stream: TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream
    };
    let mut master = patient(TcpStream::connect(("127.0.0.1", network.master)).expect("the master"));
    // The first entry says where the recording peer listened: ours listens elsewhere.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let mut hello = vec![0x0c, b'H', 0x0a, 2, (address.len() << 3 | 4) as u8];
    hello.extend_from_slice(address.as_bytes());
    hello.insert(0, hello.len() as u8);
    let first = recorded(entries.next().expect("an entry"));
    assert_eq!(hello[1..5], first[1..5]);
    master.write_all(&hello).expect("the master reads");
    let wait = recorded(entries.next().expect("an entry"));
    let mut found = vec![0; wait.len()];
    master.read_exact(&mut found).expect("its answer");
    assert_eq!(found, wait);
    let mut slave = patient(listener.accept().expect("the node connects").0);

    for entry in entries {
        let expected = recorded(entry);
        let stream = if entry["channel"] == "master" { &mut master } else { &mut slave };
        let what = entry["what"].as_str().unwrap_or_default();
        if entry["way"] == "to the node" {
            if what.contains("byte by byte") {
                for byte in expected {
                    stream.write_all(&[byte]).expect("the node reads");
                }
            } else {
                stream.write_all(&expected).expect("the node reads");
            }
            continue;
        }
        let mut found = vec![0; expected.len()];
        let read = stream.read_exact(&mut found);
        assert!(read.is_ok() && found == expected, "{what}: {read:?}\n{found:02x?}\n{expected:02x?}");
    }

    // What is no message ends the link, and only the link.
    slave.write_all(&[1, 0, 0, 0]).expect("the node reads");
    assert_eq!(slave.read(&mut [0; 16]).unwrap_or(0), 0);
    node.wait_for("stdout", "Message is too long from harbor 2");
    // A number is never free again.
    let mut again = patient(TcpStream::connect(("127.0.0.1", network.master)).expect("the master"));
    again.write_all(&hello).expect("the master reads");
    node.wait_for("stdout", "Slave 2 already register on");
    let mut wrong = patient(TcpStream::connect(("127.0.0.1", network.master)).expect("the master"));
    wrong.write_all(&[2, 0x0c, b'X']).expect("the master reads");
    node.wait_for("stdout", "Invalid handshake type X");
}
