//! Buffers of `skynet.socketdriver` under any program, against a plain string; and `driver.unpack` of any bytes as a message.
//!
//! An input is a list of steps: a byte that says what to do, and one that says how much. `.ci/fuzz SECONDS sockets`.
#![no_main]

use kept::kept;
use libfuzzer_sys::fuzz_target;
use skein_vm::mlua::{Function, LuaString};
use support::Probe;

mod kept;
#[path = "../../tests/support/mod.rs"]
mod support;

fn state() -> (Probe, Function) {
    let probe = Probe::new();
    let step = probe.eval(
        "local driver = require 'skynet.socketdriver'
        local buffer, pool = driver.buffer(), {}
        -- What the runtime did not make is read and answered with plain values, or an error.
        core.callback(function(_, msg, sz)
            local ok, kind, id, ud, data = pcall(driver.unpack, msg, sz)
            assert(ok == (sz >= 24) or type(kind) == 'string')
            if ok and type(data) == 'userdata' then
                assert(not pcall(driver.drop, data, ud))
                assert(not pcall(driver.push, buffer, pool, data, ud))
            end
            core.trash(msg, sz)
        end, true)
        return function(what, value)
            if what == 'push' then return driver.push(buffer, pool, driver.str2p(value)) end
            if what == 'pop' then return (driver.pop(buffer, pool, value)) end
            if what == 'line' then
                local there = driver.readline(buffer, nil, value)
                local line = driver.readline(buffer, pool, value)
                assert((there == true) == (line ~= nil))
                return line
            end
            if what == 'all' then return driver.readall(buffer, pool) end
            driver.clear(buffer, pool)
        end",
    );
    (probe, step)
}

/// Where `separator` first begins; an empty one begins wherever something is.
fn find(bytes: &[u8], separator: &[u8]) -> Option<usize> {
    if separator.is_empty() {
        return (!bytes.is_empty()).then_some(0);
    }
    bytes.windows(separator.len()).position(|it| it == separator)
}

fuzz_target!(|input: &[u8]| {
    let (probe, step) = kept(state);
    let lua = &probe.lua;
    let mut model = Vec::new();
    let mut rest = input;
    while let Some((&[what, size], behind)) = rest.split_first_chunk() {
        let (bytes, behind) = behind.split_at(behind.len().min(usize::from(size) % 32));
        rest = behind;
        match what % 6 {
            0 => {
                // Every other one is large enough to be shown rather than copied.
                let times = if what & 64 == 0 { 1 } else { 100 };
                let bytes = bytes.repeat(times);
                model.extend_from_slice(&bytes);
                let total: usize = step.call(("push", lua.create_string(&bytes).unwrap())).unwrap();
                assert_eq!(total, model.len());
            }
            1 => {
                let wanted = usize::from(size) * if what & 64 == 0 { 1 } else { 16 };
                let got: Option<LuaString> = step.call(("pop", wanted)).unwrap();
                let expected = (wanted > 0 && wanted <= model.len()).then(|| model.drain(..wanted).collect::<Vec<u8>>());
                assert_eq!(got.map(|it| it.as_bytes().to_vec()), expected);
            }
            2 => {
                let separator = &bytes[..bytes.len().min(3)];
                let got: Option<LuaString> =
                    step.call(("line", lua.create_string(separator).unwrap())).unwrap();
                let expected = find(&model, separator).map(|at| {
                    let line = model[..at].to_vec();
                    model.drain(..at + separator.len());
                    line
                });
                assert_eq!(got.map(|it| it.as_bytes().to_vec()), expected);
            }
            3 => {
                let got: LuaString = step.call("all").unwrap();
                assert_eq!(got.as_bytes()[..], model);
                model.clear();
            }
            4 => probe.deliver(probe.message(bytes)),
            _ => {
                step.call::<()>("clear").unwrap();
                model.clear();
            }
        }
    }
    step.call::<()>("clear").unwrap();
    assert_eq!(probe.state.blocks_in_hand(), 0);
});
