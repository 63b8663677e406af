//! `skynet.netpack.filter` of any bytes in any pieces, against a plain reading of the same stream: the same packets, whatever
//! the cuts. The first byte seeds the sizes of the pieces. `.ci/fuzz SECONDS netpack`.
#![no_main]

use kept::kept;
use libfuzzer_sys::fuzz_target;
use skein_vm::mlua::Function;
use support::Probe;

mod kept;
#[path = "../../tests/support/mod.rs"]
mod support;

fn state() -> (Probe, Function) {
    let probe = Probe::new();
    let step = probe.eval(
        "netpack = require 'skynet.netpack'
        local payload, queue, got
        core.callback(function(_, msg, sz)
            if not payload then payload, length = msg, sz return end
            local found = table.pack(netpack.filter(queue, msg, sz))
            core.trash(msg, sz)
            payload, queue = nil, found[1]
            if found[2] == 'data' then got[#got + 1] = netpack.tostring(found[4], found[5]) end
            if found[2] == 'more' then
                for id, packet, size in netpack.pop, queue do got[#got + 1] = netpack.tostring(packet, size) end
            end
        end, true)
        return function(what)
            if what == 'begin' then got = {} return end
            if what == 'head' then return string.pack('<i4i4i4xxxxI8', 1, 1, length, address(payload)) end
            netpack.clear(queue)
            return table.concat(got, '|')
        end",
    );
    (probe, step)
}

/// What a stream holds, read in one go.
fn plain(mut stream: &[u8]) -> Vec<u8> {
    let mut packets = Vec::new();
    while let Some((header, rest)) = stream.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*header));
        if rest.len() < len {
            break;
        }
        packets.push(&rest[..len]);
        stream = &rest[len..];
    }
    packets.join(&b'|')
}

fuzz_target!(|input: &[u8]| {
    let Some((&seed, stream)) = input.split_first() else { return };
    let (probe, step) = kept(state);
    step.call::<()>("begin").unwrap();
    let (mut rest, mut size) = (stream, usize::from(seed));
    while !rest.is_empty() {
        size = (size * 5 + 3) % 257;
        let (piece, behind) = rest.split_at(size.clamp(1, rest.len()));
        rest = behind;
        probe.deliver(probe.message(piece));
        let head: skein_vm::mlua::LuaString = step.call("head").unwrap();
        probe.deliver(probe.message(&head.as_bytes()));
    }
    let got: skein_vm::mlua::LuaString = step.call("end").unwrap();
    assert_eq!(&got.as_bytes()[..], plain(stream));
    assert_eq!(probe.state.blocks_in_hand(), 0);
});
