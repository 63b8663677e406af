//! `skynet.multicast.core`, held to what skynet does. `golden/multicast.json` was recorded from it, call by call.

mod support;

use serde_json::{Value as Json, json};
use skein_runtime::{Handle, Message, MessageType};
use skein_vm::mlua::{LuaString, MultiValue};
use support::{Probe, describe_all, hex, node, receive, seat};

fn golden(part: &str) -> Vec<Json> {
    let file: Json = serde_json::from_str(include_str!("golden/multicast.json")).unwrap();
    file[part].as_array().unwrap().clone()
}

fn probe() -> Probe {
    let probe = Probe::new();
    probe.eval::<()>("m = require 'skynet.multicast.core'");
    probe
}

#[test]
fn channels_count_as_in_skynet() {
    let probe = probe();
    for case in golden("nextid") {
        let next: i64 = probe.eval(format!("return m.nextid({})", case["in"]));
        assert_eq!(json!(next), case["out"], "{}", case["in"]);
    }
}

#[test]
fn packages_are_made_read_and_closed_as_in_skynet() {
    let probe = probe();
    // What each line of the recording does, as a program.
    let programs = [
        "local p, n = m.pack(block 'payload') trash(p, n) return n",
        "local p, n = m.pack(block 'payload') local _, d, l = m.unpack(p, n)
         local s = core.tostring(d, l) m.close(m.bind(p, 1)) return s",
        "local p, n = m.pack(block 'payload') local d, l = m.remote(p)
         local s = core.tostring(d, l) trash(d, l) return s, l",
        "local b, l = block 'payload' local p, n = m.packremote(b, l) local _, d, k = m.unpack(p, n)
         local s = core.tostring(d, k) m.close(m.bind(p, 1)) trash(b, l) return s, n, b ~= d",
        "local k = m.bind((m.pack(block 'payload')), 2) m.close(k) m.close(k)",
        "local p, n = m.pack(block 'payload') local ok, e = pcall(m.unpack, p, 4) trash(p, n) return e",
    ];
    // Blocks of exactly these bytes: messages that the callback keeps.
    probe.eval::<()>(
        "local blocks = {}
        core.callback(function(_, p, n) blocks[#blocks + 1] = { p, n } end, true)
        function block() return table.unpack(table.remove(blocks)) end",
    );
    let calls = golden("calls");
    assert_eq!(calls.len(), programs.len());
    for (case, program) in calls.iter().zip(programs) {
        probe.deliver(probe.message(b"payload"));
        let values: MultiValue = probe.eval(program);
        match case["error"].as_str() {
            Some(text) => assert_eq!(
                describe_all(&values),
                json!([{"t": "str", "hex": hex(text.as_bytes())}]),
                "{case}"
            ),
            None => assert_eq!(describe_all(&values), case["result"], "{case}"),
        }
    }
    assert_eq!(probe.state.blocks_in_hand(), 0);
}

#[test]
fn a_number_that_names_no_package_is_an_error() {
    let probe = probe();
    assert!(
        probe
            .error("m.close(pointer(0x7fff12345678))")
            .contains("there is no multicast package 0x7fff12345678")
    );
    assert!(probe.error("m.close(pointer(0))").contains("there is no multicast package"));
    // A block of 8 bytes that a program made up.
    probe.eval::<()>("p, n = pack('sixbyte')");
    assert!(probe.error("m.unpack(p, n)").contains("there is no multicast package"));
    assert!(probe.error("m.bind(p, 1)").contains("there is no multicast package"));
    assert!(probe.error("m.remote(p)").contains("there is no multicast package"));
    probe.eval::<()>("trash(p, n)");
    // More than once: bound, closed, used after that.
    probe.eval::<()>("p, n = m.pack(pack 'x') copy = core.tostring(p, n)  k = m.bind(p, 2)");
    assert!(probe.error("m.bind(p, 2)").contains("not held by this service"));
    probe.eval::<()>("m.close(k) m.close(k)");
    assert!(probe.error("m.close(k)").contains("there is no multicast package"));
    probe.eval::<()>("p, n = m.pack(pack 'x') k = m.bind(p, -1)");
    assert!(probe.error("m.close(k)").contains("Invalid multicast package reference -2"));
    assert_eq!(probe.state.blocks_in_hand(), 0);
}

#[test]
fn a_package_pointer_that_is_dropped_takes_its_package_along() {
    let probe = probe();
    let live = || probe.state.context().node().arena().stats().live_bytes;
    let before = live();
    probe.eval::<()>("for _ = 1, 10 do trash(m.pack(pack(rep('x', 100000)))) end");
    assert!(live() < before + 100_000, "{} bytes and then {}", before, live());
}

#[test]
fn subscribers_share_one_block() {
    let node = node(|_| ());
    let [a, b] = [(); 2].map(|()| seat(&node).handle());
    let publisher = Probe::of(seat(&node));
    node.start().unwrap();
    publisher.globals.set("a", a.0).unwrap();
    publisher.globals.set("b", b.0).unwrap();
    publisher.eval::<()>(
        "m, d = require 'skynet.multicast.core', require 'skein.multicast'
        p, n = m.pack(pack(rep('x', 5000)))
        d.deliver(p, n, 512, 7, { [a] = true, [b] = true, [0xfffff0] = true })",
    );
    let messages = [a, b].map(|to| receive(&publisher, to));
    assert_eq!(messages[0].as_ptr(), messages[1].as_ptr());
    for message in &messages {
        assert_eq!((message.ty().0, message.session(), message.source().0), (2, 512, 7));
        assert_eq!(message.len(), 5003);
    }
    // The pointer is used up, also when there is nobody.
    assert!(publisher.error("d.deliver(p, n, 512, 7, {})").contains("not held by this service"));
    publisher.eval::<()>("local p, n = m.pack(pack 'x') d.deliver(p, n, 512, 7, {})");
    assert_eq!(publisher.state.blocks_in_hand(), 0);
}

#[test]
fn a_message_of_either_form_is_unpacked_without_a_copy() {
    let probe = probe();
    probe.eval::<()>(
        "core.callback(function(_, p, n)
            local package, data, size = m.unpack(p, n)
            got, same = unpack(data, size), data == p
            m.close(package)
        end)",
    );
    let arena = probe.state.context().node().arena();
    let mut bytes = arena.alloc(0).unwrap();
    probe.eval::<()>("text = packstring(rep('x', 5000))");
    let text: LuaString = probe.eval("return text");
    std::io::Write::write_all(&mut bytes, &text.as_bytes()).unwrap();
    let envelope =
        Message::new(arena.forward(bytes.share()).unwrap(), Handle(7), 256, MessageType::MULTICAST);
    probe.deliver(envelope);
    assert!(probe.eval::<bool>("return got == rep('x', 5000) and same"));

    // skynet's multicastd: the bytes of the package pointer, to each subscriber a message of its own.
    probe
        .eval::<()>("got = nil p, n = m.pack(pack(rep('y', 5000))) bytes = core.tostring(p, n) m.bind(p, 2)");
    let bytes: LuaString = probe.eval("return bytes");
    for _ in 0..2 {
        probe.deliver(probe.message(&bytes.as_bytes()));
        assert!(probe.eval::<bool>("return got == rep('y', 5000) and not same"));
        probe.eval::<()>("got = nil");
    }
    probe.deliver(probe.message(&bytes.as_bytes()));
    assert!(probe.eval::<bool>("return got == nil"), "the package is gone");
    assert_eq!(probe.state.blocks_in_hand(), 0);
}
