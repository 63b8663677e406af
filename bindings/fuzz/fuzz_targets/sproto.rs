//! `sproto.core` on any bytes: as a schema, as a message of a schema with every kind of field, as a packed stream, and as the text of a
//! schema. What was decoded encodes to something that decodes to the same.
#![no_main]

use kept::kept;
use libfuzzer_sys::fuzz_target;
use skein_bindings::library;
use skein_vm::mlua::Function;
use support::Probe;

mod kept;
#[path = "../../tests/support/mod.rs"]
mod support;

fn state() -> (Probe, Function) {
    library::install();
    let probe = Probe::new();
    probe.globals.set("path", library::LUALIB).unwrap();
    let check = probe.eval(
        "package.path = path
        local sproto, parser, c = require 'sproto', require 'sprotoparser', require 'sproto.core'
        local sp = sproto.parse [[
            .P { x 0 : integer y 1 : integer }
            .KV { k 0 : string v 1 : integer }
            .All { b 0 : boolean i 1 : integer s 2 : string bin 3 : binary d 4 : double p 5 : P ai 6 : *integer ab 7 : *boolean
                as 8 : *string ap 9 : *P ad 10 : *double fix 11 : integer(2) m 13 : *KV() x 14 : *P(x) all 15 : All far 30 : integer }
        ]]
        local function use(schema)
            for tag = 0, 3 do
                local name, request = c.protocol(schema, tag)
                if request then pcall(c.encode, request, {}) c.default(request) end
            end
        end
        return function(bytes)
            local ok, value = pcall(sp.decode, sp, 'All', bytes)
            if ok then
                local again = sp:encode('All', value)
                local ok, more = pcall(sp.decode, sp, 'All', again)
                assert(ok, more)
            end
            local ok, plain = pcall(c.unpack, bytes)
            if ok then assert(c.unpack(c.pack(plain)) == plain) end
            assert(c.unpack(c.pack(bytes)):sub(1, #bytes) == bytes)
            local schema = c.newproto(bytes)
            if schema then
                use(schema)
                c.deleteproto(schema)
            end
            local ok, bundle = pcall(parser.parse, bytes)
            if ok then
                schema = c.newproto(bundle)
                if schema then use(schema) c.deleteproto(schema) end
            end
        end",
    );
    (probe, check)
}

fuzz_target!(|bytes: &[u8]| {
    let (probe, check) = kept(state);
    check.call::<()>(probe.lua.create_string(bytes).unwrap()).unwrap();
});
