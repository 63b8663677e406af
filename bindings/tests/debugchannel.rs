//! `skynet.debugchannel`: queues, connections, hooks.

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use common::fine;

#[test]
fn a_queue_has_two_ends() {
    fine(
        r##"
        local channels = require "skynet.debugchannel"
        local a, pointer = channels.create()
        assert(type(pointer) == "userdata")
        local b = channels.connect(pointer)
        assert(not pcall(channels.connect, pointer))
        assert(select(2, pcall(channels.connect, pointer)):find("new channel failed", 1, true))
        a:write "one" a:write "two\0three"
        assert(b:read() == "one" and b:read(5) == "two\0three" and select("#", b:read()) == 0)
        b:write "" assert(a:read() == "")
        local began = skynet.hpc()
        assert(a:read(1) == nil)
        assert(skynet.hpc() - began > 50 * 1000000, "a read waits")
        channels.release(a) channels.release(a) a = nil
        collectgarbage()
        assert(select(2, pcall(b.write, channels, "x")):find "debugchannel expected")
        local c, p = channels.create()
        c:close()
        assert(select(2, pcall(c.read, c)):find "the channel was released")
        c = nil collectgarbage()
        for _, wrong in ipairs { p, 5, "x", false } do
            assert(select(2, pcall(channels.connect, wrong)):find("Invalid channel pointer", 1, true))
        end
        assert(select(2, pcall(channels.connect)):find("Invalid channel pointer", 1, true))
        "##,
    );
}

#[test]
fn a_channel_may_be_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let debugger = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a service");
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).expect("what it says");
        stream.write_all(b"step\n").expect("our word");
        bytes
    });
    fine(&format!(
        r##"
        local channels = require "skynet.debugchannel"
        local channel = assert(channels.create("127.0.0.1", {port}))
        channel:write "hello"
        local got
        repeat got = channel:read(10) until got
        assert(got == "step\n", got)
        local ok, why
        repeat ok, why = pcall(channel.read, channel, 10) until not ok
        assert(why:find "the debugger's connection", why)
        channel:close()
        -- Not the port from above: a process that another test is just starting may still have its listener.
        assert(channels.create("127.0.0.1", 1) == nil)
        assert(select(2, pcall(channels.create, "127.0.0.1", 70000)):find "Invalid port 70000")
        "##
    ));
    assert_eq!(&debugger.join().expect("the debugger"), b"hello");
}

#[test]
fn a_hook_that_returns_true_suspends_the_coroutine_at_that_line() {
    fine(
        r##"
        local channels = require "skynet.debugchannel"
        local function body(a)
            local b = a + 1
            local c = b * 2
            return c
        end
        local co, events, stop = coroutine.create(body), {}, false
        channels.sethook(co, function(event, line)
            events[#events + 1] = event
            return event == "line" and stop
        end, "crl")
        stop = true
        assert(coroutine.resume(co, 1))
        assert(coroutine.status(co) == "suspended")
        assert(debug.getlocal(co, 0, 1) == "a")
        assert(coroutine.resume(co))
        assert(select(2, debug.getlocal(co, 0, 2)) == 2)
        channels.sethook(co)
        local ok, c = coroutine.resume(co)
        assert(ok and c == 4)
        assert(table.concat(events, " ") == "call line line", table.concat(events, " "))
        -- Where Lua cannot yield it goes on.
        local n = 0
        channels.sethook(function() end and nil)
        local co = coroutine.create(function() for i = 1, 10 do n = n + i end return "done" end)
        channels.sethook(co, function() return true end, "", 5)
        local steps = 0
        repeat steps = steps + 1 until not coroutine.resume(co) or coroutine.status(co) == "dead"
        assert(steps > 3 and n == 55, steps)
        -- A hook's table holds nothing alive.
        local gone = setmetatable({}, { __mode = "v" })
        gone[1] = coroutine.create(function() end)
        channels.sethook(gone[1], function() end, "l")
        collectgarbage() collectgarbage()
        assert(gone[1] == nil)
        "##,
    );
}
