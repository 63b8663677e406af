//! Redis' replies of any bytes: what is accepted in one piece is read the same in two, wherever it is cut.
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
        "local resp = require 'skein.resp'
        return function(bytes)
            local values = {}
            local ok, at, index, fine, nested, count = pcall(resp.fill, bytes, 1, values, 1, 1000)
            if not ok then
                assert(at:find 'Redis', at)
                return
            end
            assert(at >= 1 and at <= #bytes + 1 and index <= 1001 and count >= 0)
            local seen = 1
            for i = 1, index - 1 do
                local next, its_fine, value = resp.read(bytes, seen)
                assert(next > seen and its_fine ~= nil and value == values[i])
                seen = next
            end
            if not nested then
                assert(seen == at)
                local cut = #bytes // 2
                local early, first = resp.fill(bytes:sub(1, cut), 1, {}, 1, index - 1)
                assert(early <= cut + 1 and first <= index)
            end
        end",
    );
    (probe, check)
}

fuzz_target!(|bytes: &[u8]| {
    let (probe, check) = kept(state);
    check.call::<()>(probe.lua.create_string(bytes).unwrap()).unwrap();
});
