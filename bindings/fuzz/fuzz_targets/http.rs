//! Heads of HTTP requests of any bytes: the one pass sees what the lines say in Lua.
#![no_main]

use kept::kept;
use libfuzzer_sys::fuzz_target;
use skein_vm::mlua::{Function, Table};
use support::Probe;

mod kept;
#[path = "../../tests/support/mod.rs"]
mod support;

fn state() -> (Probe, Function) {
    let probe = Probe::new();
    let lines = probe.eval::<Table>(include_str!("../../lualib/http/internal.lua"));
    probe.globals.set("internal", lines).unwrap();
    let check = probe.eval(
        "local head = require('skein.http').head
        local none = {}
        return function(bytes)
            local header, lines = {}, {}
            local behind, method, url, version = head(bytes, header)
            if behind == nil then
                assert(next(header) == nil)
                return
            end
            local ok, rest = pcall(internal.recvheader, error, lines, bytes)
            if not (ok and rest) then return end
            local expected = internal.parseheader(lines, 2, {})
            assert((expected == nil) == (behind == false))
            if not behind then return end
            assert(bytes:sub(behind) == rest)
            for name, value in pairs(expected) do
                local its = header[name]
                for i, one in ipairs(type(value) == 'table' and value or none) do
                    assert(its[i] == one)
                end
                assert(type(value) == 'table' or its == value)
            end
            if method then
                local m, u, v = lines[1]:match '^(%a+)%s+(.-)%s+HTTP/([%d%.]+)$'
                assert(m == method and u == url and tonumber(v) == version)
            end
        end",
    );
    (probe, check)
}

fuzz_target!(|bytes: &[u8]| {
    let (probe, check) = kept(state);
    check.call::<()>(probe.lua.create_string(bytes).unwrap()).unwrap();
});
