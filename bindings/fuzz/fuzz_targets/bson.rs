//! `bson.decode` of any bytes as a message, `bson.type` of them, and `driver.reply`: values or an error. What was decoded and can be encoded
//! decodes to the same size again.
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
        "local bson, driver = require 'bson', require 'skynet.mongo.driver'
        core.callback(function(_, msg, sz)
            local ok, values = pcall(bson.decode, msg)
            if not ok then return end
            local document
            ok, document = pcall(bson.encode, values)
            if ok then
                document:makeindex()
                assert(#bson.encode(document:decode()) == #document)
            end
        end)
        return function(bytes)
            pcall(bson.type, bytes)
            pcall(bson.encode, { value = bytes })
            local ok, _, _, view = pcall(driver.reply, bytes)
            if ok and view then pcall(bson.decode, view) end
        end",
    );
    (probe, check)
}

fuzz_target!(|bytes: &[u8]| {
    let (probe, check) = kept(state);
    probe.deliver(probe.message(bytes));
    check.call::<()>(probe.lua.create_string(bytes).unwrap()).unwrap();
});
