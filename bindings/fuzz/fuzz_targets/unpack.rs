//! `skynet.core.unpack` of any bytes, as a string and as a message: values or an error.
//!
//! With cargo-fuzz: `cargo +nightly fuzz run unpack`. Without it, on the stable toolchain (`.ci/fuzz SECONDS`):
//! coverage is an LLVM pass that any toolchain has.
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
        "core.callback(function(_, msg, sz) fine, message = pcall(unpack, msg, sz) end)
        return function(stream)
            local got = table.pack(pcall(unpack, stream))
            -- A string and a block read alike.
            assert(got[1] == fine and (fine or got[2] == message))
            if got[1] then pcall(packstring, table.unpack(got, 2, got.n)) end
        end",
    );
    (probe, check)
}

fuzz_target!(|bytes: &[u8]| {
    let (probe, check) = kept(state);
    probe.deliver(probe.message(bytes));
    check.call::<()>(probe.lua.create_string(bytes).unwrap()).unwrap();
});
