//! Two nodes on hosts of their own: network namespaces with a cable between them, which is pulled: under a cluster, and under sockets.
//!
//! Unlike a connection that somebody ends, a cable that is pulled says nothing to either side. Where namespaces may not be made the test
//! says so and is through; `nodes.rs` has the same with a relay that holds bytes back.

mod common;

use std::process::Command;

use common::Site;

/// Two hosts, `10.77.0.1` and `10.77.0.2`. They are gone with this.
struct Hosts {
    names: [String; 2],
}

impl Hosts {
    fn new(test: &str) -> Option<Hosts> {
        let names = ["a", "b"].map(|it| format!("skein-{}-{test}-{it}", std::process::id()));
        let hosts = Hosts { names };
        let [a, b] = &hosts.names;
        let made = ip(&["netns", "add", a])
            && ip(&["netns", "add", b])
            && ip(&["-n", a, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", b])
            && hosts.names.iter().zip(["10.77.0.1/24", "10.77.0.2/24"]).all(|(name, address)| {
                ip(&["-n", name, "addr", "add", address, "dev", "cable"])
                    && ip(&["-n", name, "link", "set", "cable", "up"])
                    && ip(&["-n", name, "link", "set", "lo", "up"])
            });
        made.then_some(hosts)
    }

    /// The binary on one of them.
    fn command(&self, host: usize) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[host], env!("CARGO_BIN_EXE_skein"), "config"]);
        command
    }

    fn cable(&self, state: &str) {
        assert!(ip(&["-n", &self.names[1], "link", "set", "cable", state]), "the cable is {state}");
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&["netns", "delete", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).output().is_ok_and(|it| it.status.success())
}

const SERVER: &str = r#"
local skynet = require "skynet"
local cluster = require "skynet.cluster"
local executed = io.open("executed", "a")
executed:setvbuf "line"
skynet.start(function()
    skynet.dispatch("lua", function(_, _, what, ...)
        executed:write(what, "\n")
        if what:find "^hang" then skynet.wait() end
        skynet.retpack(what, ...)
    end)
    cluster.register "echo"
    local _, port = cluster.open(0)
    print("listening " .. port .. ".")
end)
"#;

const CLIENT: &str = r#"
local skynet = require "skynet"
local cluster = require "skynet.cluster"
require "skynet.manager"
skynet.start(function()
    local ok, why = xpcall(function()
        cluster.reload { there = skynet.getenv "there" }
        assert(cluster.call("there", "@echo", "first", 1) == "first")
        local failed = 0
        for i = 1, 20 do
            skynet.fork(function()
                assert(not pcall(cluster.call, "there", "@echo", "hang" .. i))
                failed = failed + 1
            end)
        end
        assert(cluster.call("there", "@echo", "second") == "second")
        print "pull"
        while failed < 20 do skynet.sleep(1) end
        assert(not pcall(cluster.call_timeout, 20, "there", "@echo", "while it is out"))
        print "plug in"
        local tries = 0
        repeat
            tries = tries + 1
            skynet.sleep(2)
        until pcall(cluster.call, "there", "@echo", "try" .. tries)
        local link = cluster.links().there
        assert(link.state == "up" and link.drops > 0 and link.connects > 1)
        print "fine"
    end, debug.traceback)
    if not ok then print(why) end
    skynet.abort()
end)
"#;

#[test]
fn a_cable_that_is_pulled_fails_requests_and_loses_nothing_else() {
    let Some(hosts) = Hosts::new("cluster") else {
        println!("there are no network namespaces to be had here");
        return;
    };
    let server = Site::with_main(SERVER);
    let mut there = server.start_by(&mut hosts.command(1));
    let out = there.wait_for("stdout", ".\n");
    let port = out.lines().find_map(|it| it.strip_prefix("listening ")?.strip_suffix('.')).expect("a port");
    let client = Site::with_main(CLIENT);
    client.config(&format!("there = '10.77.0.2:{port}'\ncluster_silence = 1.2"));
    let mut here = client.start_by(&mut hosts.command(0));
    here.wait_for("stdout", "pull");
    hosts.cable("down");
    here.wait_for("stdout", "plug in");
    hosts.cable("up");
    let ended = here.wait();
    assert!(ended.stdout.contains("\nfine\n"), "{}\n{}", ended.stdout, server.read("stdout"));
    let mut executed: Vec<_> = server.read("executed").lines().map(str::to_owned).collect();
    let count = executed.len();
    executed.sort();
    executed.dedup();
    assert_eq!(executed.len(), count, "something was executed twice: {executed:?}");
}

const LISTENER: &str = r#"
local skynet = require "skynet"
local socket = require "skynet.socket"
require "skynet.manager"
local left = 2
skynet.start(function()
    local id, _, port = socket.listen("0.0.0.0", 0)
    socket.start(id, function(fd)
        socket.start(fd)
        local what = socket.readline(fd)
        print("begun " .. what .. ".")
        -- One only waits for the peer, the other has something for it that never arrives.
        if what == "told" then
            skynet.fork(function()
                while socket.write(fd, "are you there?\n") do skynet.sleep(10) end
            end)
        end
        assert(not socket.readline(fd))
        socket.close(fd)
        print("gone " .. what .. ".")
        left = left - 1
        if left == 0 then skynet.abort() end
    end)
    print("listening " .. port .. ".")
end)
"#;

const PEERS: &str = r#"
local skynet = require "skynet"
local socket = require "skynet.socket"
skynet.start(function()
    for _, what in ipairs { "quiet", "told" } do
        local fd = assert(socket.open("10.77.0.2", math.tointeger(skynet.getenv "port")))
        socket.write(fd, what .. "\n")
    end
end)
"#;

#[test]
fn peers_whose_host_has_vanished_are_given_up_with_a_reason_in_the_log() {
    let Some(hosts) = Hosts::new("sockets") else {
        println!("there are no network namespaces to be had here");
        return;
    };
    let server = Site::with_main(LISTENER);
    server.config("socket_silence = 2");
    let mut there = server.start_by(&mut hosts.command(1));
    let out = there.wait_for("stdout", ".\n");
    let port = out.lines().find_map(|it| it.strip_prefix("listening ")?.strip_suffix('.')).expect("a port");
    let client = Site::with_main(PEERS);
    client.config(&format!("port = {port}"));
    let _here = client.start_by(&mut hosts.command(0));
    there.wait_for("stdout", "begun quiet.");
    there.wait_for("stdout", "begun told.");
    hosts.cable("down");
    let ended = there.wait();
    for what in ["gone quiet.", "gone told.", "socket: error on"] {
        assert!(ended.stdout.contains(what), "{what}\n{}", ended.stdout);
    }
}
