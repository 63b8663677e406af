//! `skynet.netpack`, held to what skynet does (`golden/netpack.json` was recorded from it), and where it differs.

mod support;

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value as Json, json};
use sha1::{Digest, Sha1};
use skein_vm::mlua::LuaString;
use support::{Probe, hex, node, receive, seat, unhex};

/// Blocks come as messages to a callback that keeps them; `step` then shows them to `filter` as a service does.
const PRELUDE: &str = r#"
    netpack = require "skynet.netpack"
    local arrived = {}
    core.callback(function(_, msg, sz) arrived[#arrived + 1] = { msg, sz } end, true)
    function take() local block = table.remove(arrived) return block[1], block[2] end
    local kinds = { data = 1, connect = 2, close = 3, accept = 4, error = 5, udp = 6, warning = 7 }
    --- The message of a socket, as a string; its payload is the block that came last.
    function head(op, id, ud, text)
        local payload = 0
        if op == "data" then
            payload, ud = take()
            payload = address(payload)
        end
        return string.pack("<i4i4i4xxxxI8", kinds[op] or op, id, ud, payload) .. (text or "")
    end
    --- What became of the message that came last: a line for each packet or event.
    function step()
        local message, sz = take()
        local got = table.pack(netpack.filter(queue, message, sz))
        core.trash(message, sz)
        local lines = { type(got[1]) }
        queue = got[1]
        if got[2] == "data" then
            lines[2] = ("data %d %d %s"):format(got[3], got[5], netpack.tostring(got[4], got[5]))
        elseif got[2] then
            lines[2] = table.concat(got, " ", 2, got.n)
        end
        if got[2] == "more" then
            for id, packet, size in netpack.pop, queue do
                lines[#lines + 1] = ("pop %d %d %s"):format(id, size, netpack.tostring(packet, size))
            end
        end
        return table.concat(lines, "\n")
    end
"#;

fn probe() -> Probe {
    let probe = Probe::new();
    probe.eval::<()>(PRELUDE);
    probe
}

/// Shows an event to `filter` and gives the lines of `step`.
fn step(probe: &Probe, op: &str, id: i64, ud: i64, bytes: &[u8]) -> Vec<u8> {
    if op == "data" {
        probe.deliver(probe.message(bytes));
        probe.globals.set("text", "").unwrap();
    } else {
        probe.globals.set("text", probe.lua.create_string(bytes).unwrap()).unwrap();
    }
    let head: LuaString = probe.eval(format!("return head('{op}', {id}, {ud}, text)"));
    probe.deliver(probe.message(&head.as_bytes()));
    probe.eval::<LuaString>("return step()").as_bytes().to_vec()
}

fn golden(part: &str) -> Vec<Json> {
    let file: Json = serde_json::from_str(include_str!("golden/netpack.json")).unwrap();
    file[part].as_array().unwrap().clone()
}

/// Bytes of a vector. Of long ones the file has the ends and a digest; all of them repeat a few bytes.
fn spelled(recorded: &Json) -> Vec<u8> {
    let Some(len) = recorded["len"].as_u64() else {
        return unhex(recorded.as_str().unwrap_or_default());
    };
    let len = len as usize;
    let head = unhex(recorded["head"].as_str().unwrap());
    let mut continued = head.clone();
    continued.resize(len, *head.last().unwrap());
    let tiled: Vec<u8> = head[..3].iter().copied().cycle().take(len).collect();
    let fits = |bytes: &Vec<u8>| recorded["sha1"] == json!(hex(&Sha1::digest(bytes)));
    [continued, tiled].into_iter().find(fits).expect("one of the two patterns")
}

/// The line of `step` for a recorded event.
fn line(event: &Json) -> Vec<u8> {
    let name = event["event"].as_str().unwrap();
    let mut line = name.as_bytes().to_vec();
    if let Some(results) = event["results"].as_array() {
        for result in results {
            let value = match result["t"].as_str().unwrap() {
                "int" => result["v"].as_str().unwrap().as_bytes().to_vec(),
                _ => unhex(result["hex"].as_str().unwrap()),
            };
            line.extend([b" ".as_slice(), &value].concat());
        }
    } else if name != "more" {
        line.extend(format!(" {} {} ", event["fd"], event["size"]).into_bytes());
        line.extend(spelled(&event["payload"]));
    }
    line
}

#[test]
fn filters_as_skynet_does() {
    for case in golden("filter") {
        let probe = probe();
        for step_of_case in case["steps"].as_array().unwrap() {
            let op = step_of_case["op"].as_str().unwrap();
            if op == "clear" {
                probe.eval::<()>("netpack.clear(queue)");
                continue;
            }
            let bytes = spelled(&step_of_case["bytes"]);
            let (id, ud) = (&step_of_case["id"], &step_of_case["ud"]);
            let found = step(&probe, op, id.as_i64().unwrap(), ud.as_i64().unwrap_or(0), &bytes);
            let mut lines = vec![step_of_case["queue"].as_str().unwrap().as_bytes().to_vec()];
            lines.extend(step_of_case["events"].as_array().unwrap().iter().map(line));
            let expected = lines.join(b"\n".as_slice());
            assert!(
                found == expected,
                "{}: {} is not {}",
                case["name"],
                String::from_utf8_lossy(&found),
                String::from_utf8_lossy(&expected)
            );
        }
        probe.eval::<()>("netpack.clear(queue) assert(not netpack.pop(queue)) queue = nil");
        assert_eq!(probe.state.blocks_in_hand(), 0, "{}", case["name"]);
    }
}

#[test]
fn packs_as_skynet_does() {
    let probe = probe();
    for case in golden("pack") {
        let source = match case["in_lua"].as_str() {
            Some(lua) => lua.to_owned(),
            None => format!("unhex '{}'", hex(&spelled(&case["in"]))),
        };
        let packed: LuaString = probe.eval(format!(
            "local function unhex(text) return (text:gsub('..', function(it) return string.char(tonumber(it, 16)) end)) end
            local body = {source}
            local packet, size = netpack.pack(body)
            assert(size == {} and netpack.unpack(packet, size) == body)
            -- From a block as well.
            local again, sz = netpack.pack(packet, size - (size > 65535 and 2 or 0))
            netpack.tostring(again, sz)
            return netpack.tostring(packet, size)",
            case["size"].as_u64().or(case["out"]["len"].as_u64()).unwrap()
        ));
        let bytes = packed.as_bytes().to_vec();
        assert_eq!(bytes, spelled_or(&case["out"], &bytes), "{case}");
    }
    for case in golden("pack_errors") {
        let error = probe.error(&format!(
            "local ok, why = pcall(netpack.pack, {}) error(why, 0)",
            case["in_lua"].as_str().unwrap()
        ));
        // Which name stands in a bad argument depends on where Lua finds the function.
        let expected = case["error"].as_str().unwrap().replace("'skynet.netpack.pack'", "'?'");
        assert_eq!(error.replace("'skynet.netpack.pack'", "'?'"), expected);
    }
    assert_eq!(probe.state.blocks_in_hand(), 0);
}

/// The recorded bytes in full, or `found` if it has the recorded length, ends and digest.
fn spelled_or(recorded: &Json, found: &[u8]) -> Vec<u8> {
    match recorded["len"].as_u64() {
        None => spelled(recorded),
        Some(len) => {
            assert_eq!(found.len() as u64, len);
            assert_eq!(recorded["sha1"], json!(hex(&Sha1::digest(found))));
            found.to_vec()
        }
    }
}

#[test]
fn the_first_packet_of_a_block_is_read_without_taking_it() {
    let probe = probe();
    probe.deliver(probe.message(b"\0\x03abc\0\x01d\0"));
    probe.eval::<()>(
        r#"
        local block, size = take()
        local function check(expected, left, size)
            local body, rest = netpack.unpack(block, size)
            assert(body == expected and rest == left, rest)
        end
        check("abc", 4, size) check("abc", 0, 5)
        local function fails(text, ...)
            local ok, why = pcall(netpack.unpack, ...)
            assert(not ok and why:find(text, 1, true), why)
        end
        fails("Invalid size 0", block, 0)
        fails("Invalid size -1", block, -1)
        fails("Invalid size 1", block, 1)
        fails("Invalid package size 3", block, 4)
        fails("out of range", block, 1 << 40)
        fails("not held", pointer(4096), 5)
        assert(netpack.unpack(nil, 0) == "" and netpack.unpack(pointer(0), 7) == "")
        core.trash(block, size)
        fails("not held", block, size)
        "#,
    );
}

#[test]
fn a_packet_given_back_twice_is_an_error() {
    let probe = probe();
    probe.eval::<()>(
        r#"
        local packet, size = netpack.pack "hello"
        assert(netpack.tostring(packet, size) == "\0\5hello")
        assert(not pcall(netpack.tostring, packet, size))
        assert(netpack.tostring(nil) == "" and netpack.tostring(pointer(0), 5) == "" and netpack.tostring("x", 1) == "")
        assert(netpack.pop() == nil and netpack.clear() == nil)
        for _, wrong in ipairs { 1, "queue", {}, io.stdout, print, pointer(16) } do
            assert(select(2, pcall(netpack.pop, wrong)):find "queue of skynet.netpack expected")
            assert(not pcall(netpack.clear, wrong) and not pcall(netpack.filter, wrong, packet, 24))
        end
        "#,
    );
}

#[test]
fn a_queue_is_known_by_what_it_is_and_not_by_its_metatable() {
    let probe = probe();
    step(&probe, "data", 4, 0, b"\0");
    probe.eval::<()>(
        r#"
        local meta = debug.getmetatable(queue)
        local file <close> = io.tmpfile()
        local before = debug.getmetatable(file)
        debug.setmetatable(file, meta)
        assert(not pcall(netpack.pop, file))
        meta.__gc(file) meta.__gc(1) meta.__gc()
        debug.setmetatable(file, before)
        -- Finalized by hand, it is an empty queue.
        meta.__gc(queue) meta.__gc(queue)
        assert(netpack.pop(queue) == nil)
        "#,
    );
    assert_eq!(step(&probe, "data", 4, 0, b"\0\x01x"), b"userdata\ndata 4 1 x");
}

#[test]
fn a_message_that_lies_is_an_error_and_keeps_its_block() {
    let probe = probe();
    for (head, why) in [
        ("string.pack('<i4i4i4xxxxI8', 1, 1, 5, 4096)", "not held"),
        ("string.pack('<i4i4i4xxxxI8', 1, 1, 5, 0)", "not held"),
        ("string.pack('<i4i4i4xxxxI8', 6, 1, 5, 77)", "not held"),
        ("('x'):rep(23)", "out of range"),
    ] {
        let head: LuaString = probe.eval(format!("return {head}"));
        probe.deliver(probe.message(&head.as_bytes()));
        let error = probe.error("message, sz = take() netpack.filter(queue, message, sz)");
        assert!(error.contains(why), "{error}");
        probe.eval::<()>("core.trash(message, sz)");
    }
    for kind in [0, 8, -1, 99] {
        let head: LuaString = probe.eval(format!("return string.pack('<i4i4i4xxxxI8', {kind}, 1, 5, 0)"));
        probe.deliver(probe.message(&head.as_bytes()));
        assert_eq!(probe.eval::<LuaString>("return step()").as_bytes(), b"nil");
    }
    // The payload is shorter than the message says.
    probe.deliver(probe.message(b"\0\x01a"));
    probe.eval::<()>("payload, length = take()");
    let head: LuaString = probe.eval("return string.pack('<i4i4i4xxxxI8', 1, 1, 4, address(payload))");
    probe.deliver(probe.message(&head.as_bytes()));
    assert!(probe.error("message, sz = take() netpack.filter(queue, message, sz)").contains("out of range"));
    probe.eval::<()>("core.trash(message, sz) core.trash(payload, length)");
    assert_eq!(probe.state.blocks_in_hand(), 0);
}

/// A body that came in pieces was put together by a copy, whatever its size.
#[test]
fn a_large_body_is_read_straight_into_its_own_block() {
    let node = node(|_| ());
    node.start().unwrap();
    let probe = Probe::of(seat(&node));
    let owner = probe.state.context().handle();
    probe.eval::<()>(
        r#"
        local netpack, driver = require "skynet.netpack", require "skynet.socketdriver"
        driver.start(driver.listen("127.0.0.1", 0))
        local queue
        local event = {}
        function event.init(_, _, at) if at > 0 then port = at end end
        function event.open(fd) driver.start(fd) end
        function event.data(_, packet, size) body = netpack.tostring(packet, size) end
        function event.more() for _, packet, size in netpack.pop, queue do event.data(_, packet, size) end end
        function event.close() closed = true end
        core.callback(function(_, message, size)
            local found = table.pack(netpack.filter(queue, message, size))
            queue = found[1]
            if found[2] then event[found[2]](table.unpack(found, 3, found.n)) end
        end)
        "#,
    );
    let step = || probe.deliver(receive(&probe, owner));
    let body = || probe.globals.get::<Option<LuaString>>("body").unwrap().map(|it| it.as_bytes().to_vec());
    let port = std::iter::repeat_with(|| {
        step();
        probe.globals.get::<Option<u16>>("port").unwrap()
    });
    let port = port.take(8).find_map(|it| it).expect("the listener says its port");
    let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let sent: Vec<u8> = (0..60_000_u32).map(|it| (it % 251) as u8).collect();
    // What is started is told of, and then its connection, and then what that one brings.
    let header = (sent.len() as u16).to_be_bytes();
    peer.write_all(&[&b"\0\x03abc"[..], &header, &sent[..100]].concat()).unwrap();
    while body().is_none() {
        step();
    }
    assert_eq!(body().unwrap(), b"abc");
    let copied = node.network().counters().copied;
    for round in 0..3 {
        let before = node.network().counters().read;
        let begun = if round == 0 { 100 } else { 0 };
        for piece in sent[begun..].chunks(17_000) {
            let already = node.network().counters().read;
            peer.write_all(piece).unwrap();
            while node.network().counters().read < already + piece.len() as u64 {
                std::thread::yield_now();
            }
        }
        // One event, whatever the number of packets.
        step();
        assert!(body().unwrap() == sent, "round {round}");
        assert_eq!(node.network().counters().read - before, (sent.len() - begun) as u64);
        peer.write_all(&header).unwrap();
        step();
    }
    assert_eq!(node.network().counters().copied, copied, "nothing but what had come with the header");
    // The end comes before the body does.
    peer.write_all(&sent[..10]).unwrap();
    drop(peer);
    while !probe.eval::<bool>("return closed == true") {
        step();
    }
    assert_eq!(probe.state.blocks_in_hand(), 0);
    drop(probe);
    node.abort();
    node.wait();
}
