//! `skynet.cluster.core` on any bytes: requests and responses, as strings and as blocks, and the plain form.
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
    let check = probe.eval(
        "local c = require 'skynet.cluster.core'
        -- Results, blocks as their bytes.
        local function results(...)
            local t = table.pack(pcall(...))
            for i = 1, t.n do
                if type(t[i]) == 'userdata' then
                    local p = t[i]
                    t[i] = core.tostring(p, t[i + 1])
                    trash(p, t[i + 1])
                end
            end
            return t
        end
        local blocks
        core.callback(function(_, msg, sz)
            blocks = { results(c.unpackrequest, msg, sz), results(c.unpackresponse, msg, sz) }
        end)
        return function(bytes)
            local strings = results(c.unpackrequest, bytes)
            for i = 1, math.max(strings.n, blocks[1].n) do assert(strings[i] == blocks[1][i]) end
            local plain = blocks[2]
            if plain[1] then
                local all = { table.unpack(plain, 2, plain.n) }
                if #all > 0 and #all < 200 then
                    local p, n = c.packrequest(table.unpack(all))
                    assert(core.tostring(p, n) == bytes)
                    trash(p, n)
                end
            end
            local session, ok, data, more = c.unpackresponse(bytes)
            if session and not more then
                local again = c.packresponse(session, ok, data)
                assert(type(again) == 'table' or #data > 0x8000 or c.unpackresponse(again:sub(3)) == session)
            end
        end",
    );
    (probe, check)
}

fuzz_target!(|bytes: &[u8]| {
    let (probe, check) = kept(state);
    probe.deliver(probe.message(bytes));
    check.call::<()>(probe.lua.create_string(bytes).unwrap()).unwrap();
});
