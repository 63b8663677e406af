//! `client.socket`: what a client in Lua that tests a server does with it.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::thread;

use common::{Site, fine};

#[test]
fn a_client_connects_talks_and_hears_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        // Silence until the client has spoken; then more than one `recv` takes.
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).expect("its word");
        stream.write_all(&[b'x'; 5000]).expect("an answer");
        // More than the buffers of both ends hold, so that `send` has to wait.
        let mut long = Vec::new();
        stream.read_to_end(&mut long).expect("all of it");
        stream.shutdown(Shutdown::Write).expect("an end");
        (hello, long)
    });
    let ended = fine(&format!(
        r##"
        local socket = require "client.socket"
        local function fails(text, f, ...)
            local ok, why = pcall(f, ...)
            assert(not ok and why:find(text, 1, true), why)
        end
        fails("Connect nowhere 80 failed", socket.connect, "nowhere", 80)
        fails("Connect 127.0.0.1 0 failed", socket.connect, "127.0.0.1", 0)
        local fd = socket.connect("127.0.0.1", {port})
        assert(math.type(fd) == "integer")
        assert(select("#", socket.recv(fd)) == 0, "nothing is there")
        assert(select("#", socket.send(fd, "hello")) == 0)
        local function hear()
            local text
            repeat
                text = socket.recv(fd)
                if not text then socket.usleep(1000) end
            until text
            return text
        end
        local got, most = 0, 0
        while got < 5000 do
            local text = hear()
            assert(text == ("x"):rep(#text))
            got, most = got + #text, math.max(most, #text)
        end
        assert(got == 5000 and most <= 4096)
        fails("Invalid mode x", socket.shutdown, fd, "x")
        fails("mode should be r or/and w", socket.shutdown, fd, "")
        socket.send(fd, ("0123456789"):rep(1000000))
        socket.shutdown(fd, "w")
        assert(hear() == "", "the end")
        assert(socket.recv(fd) == "", "and again")
        assert(select("#", socket.close(fd)) == 0)
        fails("socket error: ", socket.recv, fd)
        fails("socket error: ", socket.send, fd, "x")
        fails("socket error: ", socket.recv, 0)
        "##
    ));
    let (hello, long) = server.join().expect("the server");
    assert_eq!(&hello, b"hello");
    assert_eq!(long.len(), 10_000_000);
    assert!(long.chunks(10).all(|it| it == b"0123456789"));
    let shown =
        ended.stdout.lines().filter(|line| line.starts_with("SHUTDOWN ") && line.ends_with(" 1")).count();
    assert_eq!(shown, 1, "{}", ended.stdout);
}

#[test]
fn lines_of_the_standard_input_come_and_its_end_ends_the_process() {
    let site = Site::with_main(
        r#"
        local skynet = require "skynet"
        local socket = require "client.socket"
        skynet.start(function()
            print "ready"
            while true do
                local line = socket.readstdin()
                if line then print("[" .. #line .. ":" .. line:sub(1, 5) .. "]") else socket.usleep(1000) end
            end
        end)"#,
    );
    let (mut node, mut input) = site.start_with_input(&["config"]);
    node.wait_for("stdout", "ready");
    // A line longer than a piece is cut, and of each piece the last byte is left out.
    writeln!(input, "first\n\n{}", "y".repeat(1100)).expect("a pipe");
    let shown = node.wait_for("stdout", "[77:yyyyy]");
    assert!(shown.contains("[5:first]\n[0:]\n[1022:yyyyy]\n[77:yyyyy]"), "{shown}");
    drop(input);
    assert_eq!(node.wait().status.code(), Some(1));
}
