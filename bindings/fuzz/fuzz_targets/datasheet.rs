//! `skynet.datasheet.core` over any bytes as a sheet, and an update to the other half of them: tables or an error.
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
        "local sheet = require 'skynet.datasheet.core'
        local function walk(t, depth)
            for _, v in pairs(t) do
                if type(v) == 'table' and depth < 8 then pcall(walk, v, depth + 1) end
            end
        end
        return function(bytes)
            local name = sheet.stringpointer(bytes)
            local t = sheet.new(name)
            pcall(walk, t, 0)
            local other = sheet.stringpointer(bytes:sub(1, #bytes // 2))
            sheet.update(t, other)
            pcall(walk, t, 0)
            sheet.release(name)
            sheet.release(other)
        end",
    );
    (probe, check)
}

fuzz_target!(|bytes: &[u8]| {
    let (probe, check) = kept(state);
    check.call::<()>(probe.lua.create_string(bytes).unwrap()).unwrap();
});
