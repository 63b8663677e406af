//! The decoders of `skynet.crypt` and `md5` on any bytes: base64, hexadecimal, DES, MD5's cipher. What they accept, their encoders
//! turn back into something that decodes to the same.
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
        "local crypt, md5 = require 'skynet.crypt', require 'md5.core'
        local sealed = require 'skein.crypt'
        local key = '8 bytes!'
        return function(bytes)
            local ok, text = pcall(crypt.base64decode, bytes)
            if ok then
                assert(crypt.base64decode(crypt.base64encode(text)) == text)
            else
                assert(text == 'Invalid base64 text', text)
            end
            ok, text = pcall(crypt.hexdecode, bytes)
            if ok then
                assert(crypt.hexencode(text) == bytes)
            else
                assert(text:find '^Invalid hex text', text)
            end
            for padding = 0, 1 do
                ok, text = pcall(crypt.desdecode, key, bytes, padding)
                if ok then
                    assert(crypt.desencode(key, text, padding) == bytes)
                else
                    assert(text:find '^Invalid des crypt text', text)
                end
                assert(crypt.desdecode(key, crypt.desencode(key, bytes, padding), padding) == bytes)
            end
            ok, text = pcall(md5.decrypt, bytes, key)
            assert(not ok or #text < #bytes)
            assert(not sealed.open(('k'):rep(32), ('n'):rep(12), bytes))
        end",
    );
    (probe, check)
}

fuzz_target!(|bytes: &[u8]| {
    let (probe, check) = kept(state);
    check.call::<()>(probe.lua.create_string(bytes).unwrap()).unwrap();
});
