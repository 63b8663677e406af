//! `bson.decode` of any bytes as a message, `bson.type` of them, and `driver.reply`: values or an error. What was decoded and can be encoded
//! decodes to the same size again.
#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::fuzz_target;
use skein_vm::mlua::Function;
use support::Probe;

#[path = "../../tests/support/mod.rs"]
mod support;

thread_local! {
    static STATE: OnceCell<(Probe, Function)> = const { OnceCell::new() };
}

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
    STATE.with(|it| {
        let (probe, check) = it.get_or_init(state);
        probe.deliver(probe.message(bytes));
        check.call::<()>(probe.lua.create_string(bytes).unwrap()).unwrap();
    });
});
