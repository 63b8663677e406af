//! Strings that show the block of a message: who keeps what alive, what is copied, and what it counts for.

mod support;

use skein_arena::Arena;
use skein_runtime::{Handle, Message, MessageType};
use support::{Probe, node, receive, seat};

const KIB: usize = 1024;

/// A service of a running node.
fn service() -> Probe {
    let node = node(|_| ());
    node.start().unwrap();
    Probe::of(seat(&node))
}

/// A service whose callback makes `got` of its message.
fn probe() -> Probe {
    let probe = service();
    probe.eval::<()>("core.callback(function(_, msg, sz) got = core.tostring(msg, sz) end)");
    probe
}

fn arena(probe: &Probe) -> Arena {
    probe.state.context().node().arena()
}

/// Copied in and out by this service.
fn copied(probe: &Probe) -> (u64, u64) {
    let counters = probe.state.context().counters();
    (counters.copied_in, counters.copied_out)
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// Delivers one of many messages around the same payload.
fn broadcast(to: &Probe, payload: &skein_arena::Payload) {
    let block = arena(to).forward(payload.clone()).unwrap();
    to.deliver(Message::new(block, Handle(7), 0, MessageType::LUA));
}

/// `probe` sends with `chunk` to itself, and gets the message back.
fn send_to_self(probe: &Probe, chunk: &str) -> Message {
    let handle = probe.state.context().handle();
    probe.globals.set("to", handle.0).unwrap();
    probe.eval::<()>(chunk);
    receive(probe, handle)
}

#[test]
fn a_large_message_becomes_a_string_without_a_copy() {
    let probe = probe();
    let before = arena(&probe).stats().live_blocks;
    let text = bytes(64 * KIB);
    probe.deliver(probe.message(&text));
    let (shown, same): (skein_vm::mlua::LuaString, bool) =
        probe.eval("return got, got == got:sub(1, -2) .. got:sub(-1) and #got == 65536 and ({[got] = 1})[got .. ''] == 1");
    assert_eq!((&shown.as_bytes()[..], same), (&text[..], true));
    drop(shown);
    assert_eq!(copied(&probe), (0, 0));
    assert_eq!(arena(&probe).stats().live_blocks, before + 1);
    probe.eval::<()>("got = nil collectgarbage() collectgarbage()");
    assert_eq!(arena(&probe).stats().live_blocks, before);
}

#[test]
fn what_is_small_or_does_not_end_its_block_is_copied() {
    let probe = probe();
    probe.deliver(probe.message(&bytes(1023)));
    assert_eq!(copied(&probe), (0, 1023));
    // Without its last byte there is no NUL behind it.
    probe.eval::<()>("core.callback(function(_, msg, sz) got = core.tostring(msg, sz - 1) end)");
    probe.deliver(probe.message(&bytes(4096)));
    assert_eq!(copied(&probe), (0, 1023 + 4095));
    assert_eq!(probe.eval::<usize>("return #got"), 4095);
}

#[test]
fn a_long_string_at_the_end_of_packed_values_is_not_copied() {
    let probe = service();
    probe.eval::<()>("core.callback(function(_, msg, sz) got = table.pack(core.unpack(msg, sz)) end)");
    let pack = |values: &str| {
        send_to_self(&probe, &format!("local p, n = pack({values}) core.send(to, 10, 0, p, n)"))
    };
    probe.deliver(pack("'put', {1, 2}, rep('x', 65536)"));
    let (_, out) = copied(&probe);
    assert!(out < 64, "{out} bytes were copied out");
    assert!(probe.eval::<bool>("return got.n == 3 and got[1] == 'put' and got[3] == rep('x', 65536)"));
    // Something follows; or the string is the lesser part of its block.
    for values in ["rep('y', 65536), 1", "{rep('y', 65536)}", "rep('z', 65536), rep('y', 30000)"] {
        let (_, before) = copied(&probe);
        probe.deliver(pack(values));
        let (_, after) = copied(&probe);
        assert!(after - before > 65536, "{values}: {} bytes were copied out", after - before);
    }
}

#[test]
fn a_received_string_is_sent_on_as_a_reference() {
    let probe = probe();
    let before = arena(&probe).stats().live_blocks;
    probe.deliver(probe.message(&bytes(64 * KIB)));
    let message = send_to_self(&probe, "core.send(to, 10, 0, got) at = got");
    assert_eq!(copied(&probe), (0, 0));
    probe.deliver(message);
    assert!(probe.eval::<bool>("return got == at and not rawequal(got, nil)"));
    assert_eq!(copied(&probe), (0, 0));
    // The end of packed values travels as a reference to the end.
    probe.eval::<()>("core.callback(function(_, msg, sz) got = select(-1, core.unpack(msg, sz)) end)");
    let packed = send_to_self(&probe, "local p, n = pack(1, rep('p', 5000)) core.send(to, 10, 0, p, n)");
    probe.deliver(packed);
    let (copied_in, copied_out) = copied(&probe);
    probe.eval::<()>("core.callback(function(_, msg, sz) got = core.tostring(msg, sz) end)");
    let message = send_to_self(&probe, "core.send(to, 10, 0, got)");
    assert_eq!(&message[..], [b'p'; 5000]);
    probe.deliver(message);
    assert!(probe.eval::<bool>("return got == rep('p', 5000)"));
    assert_eq!(copied(&probe), (copied_in, copied_out));
    probe.eval::<()>("got, at = nil collectgarbage() collectgarbage()");
    assert_eq!(arena(&probe).stats().live_blocks, before);
}

#[test]
fn a_message_that_a_string_shows_can_still_be_handed_on() {
    let probe = service();
    let before = arena(&probe).stats().live_blocks;
    probe.eval::<()>(
        "core.callback(function(_, msg, sz)
            got = core.tostring(msg, sz)
            again = core.tostring(msg, sz)
            core.send(to, 10, 0, msg, size or sz)
            ok, why = pcall(core.tostring, msg, sz)
        end)",
    );
    let handle = probe.state.context().handle();
    probe.globals.set("to", handle.0).unwrap();
    let text = bytes(10_000);
    for (size, drop_strings) in [(None, false), (Some(4000), false), (None, true)] {
        probe.globals.set("size", size).unwrap();
        probe.deliver(probe.message(&text));
        assert!(probe.eval::<bool>("return got == again and not ok and why:find('not held', 1, true)"));
        if drop_strings {
            probe.eval::<()>("got, again = nil collectgarbage() collectgarbage()");
        }
        let sent = receive(&probe, handle);
        assert_eq!(&sent[..], &text[..size.unwrap_or(10_000)]);
        drop(sent);
    }
    assert_eq!(copied(&probe), (0, 0));
    assert_eq!(arena(&probe).stats().live_blocks, before);
}

#[test]
fn a_payload_for_a_hundred_services_exists_once() {
    let node = node(|_| ());
    node.start().unwrap();
    let probes: Vec<Probe> = (0..100).map(|_| Probe::of(seat(&node))).collect();
    let home = arena(&probes[0]);
    let before = home.stats();
    let payload = home.copy_from(&bytes(64 * KIB)).unwrap().share();
    for probe in &probes {
        probe.eval::<()>("core.callback(function(_, msg, sz) got = core.tostring(msg, sz) end)");
        broadcast(probe, &payload);
        assert_eq!(probe.eval::<usize>("return #got"), 64 * KIB);
        assert_eq!(copied(probe), (0, 0));
    }
    assert_eq!(payload.owners(), 101);
    assert_eq!(home.stats().live_blocks, before.live_blocks + 1);
    // A small one too, when many own it.
    let small = home.copy_from(&bytes(100)).unwrap().share();
    broadcast(&probes[0], &small);
    assert_eq!((small.owners(), copied(&probes[0])), (2, (0, 0)));
    // Their end gives everything back.
    drop(probes);
    assert_eq!((payload.owners(), small.owners()), (1, 1));
    drop((payload, small));
    assert_eq!(home.stats().live_blocks, before.live_blocks);
}

#[test]
fn garbage_of_large_strings_stays_bounded() {
    let probe = probe();
    probe.eval::<()>("collectgarbage('generational')");
    let home = arena(&probe);
    let before = home.stats().live_bytes;
    let text = bytes(KIB * KIB);
    let mut most = 0;
    for _ in 0..200 {
        probe.deliver(probe.message(&text));
        most = most.max(home.stats().live_bytes - before);
    }
    // A string of Lua's own is garbage as long.
    assert!(most <= 8 << 20, "{most} bytes of garbage");
}
