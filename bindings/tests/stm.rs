//! `skynet.stm`. `golden/stm.json` was recorded from skynet, call by call.

mod support;

use serde_json::{Value as Json, json};
use skein_vm::mlua::{MultiValue, Value};
use support::{Probe, describe_all};

/// What each recorded call says, as Lua: the same, but for words that describe.
const CALLS: [&str; 16] = [
    "w = stm.new(pack(1,'two',{3})) r1 = stm.newcopy(stm.copy(w)) r2 = stm.newcopy(stm.copy(w)) return r1(unpack)",
    "return r1(unpack)",
    "w(pack 'second') return r1(unpack)",
    "return r1(unpack)",
    "w(pack 'third') w(pack 'fourth') return r1(unpack)",
    "return r2(unpack)",
    "w('plain string') return r1(tostring)",
    "return r2(function(msg, sz, extra) return sz, extra end, 'extra')",
    "w('more') return r1(function() error('in reader', 0) end)",
    "return r1(tostring)",
    "local ok, e = pcall(r1, 'not a function') error(e, 0)",
    "w2 = stm.new('string object') r3 = stm.newcopy(stm.copy(w2)) return r3(tostring)",
    "stm.new(1) return 'made'",
    "local ok, e = pcall(stm.new, {}) error(e, 0)",
    "w2 = nil collectgarbage() collectgarbage() return r3(tostring)",
    "w3 = stm.new('dead soon') r4 = stm.newcopy(stm.copy(w3)) w3 = nil collectgarbage() collectgarbage() return r4(tostring)",
];

fn probe() -> Probe {
    let probe = Probe::new();
    probe.eval::<()>("stm = require 'skynet.stm' tostring = core.tostring");
    probe
}

#[test]
fn readers_see_each_version_once_as_in_skynet() {
    let probe = probe();
    let file: Json = serde_json::from_str(include_str!("golden/stm.json")).unwrap();
    let steps = file["steps"].as_array().unwrap();
    assert_eq!(steps.len(), CALLS.len());
    for (step, call) in steps.iter().zip(CALLS) {
        let mut values: MultiValue =
            probe.eval(format!("return pcall(load([==[{call}]==], '=test', 't', _ENV))"));
        let ok = values.pop_front();
        match step.get("error") {
            None => {
                assert_eq!(ok, Some(Value::Boolean(true)), "{step} {values:?}");
                assert_eq!(describe_all(&values), step["result"], "{step}");
            }
            Some(error) => {
                assert_eq!(ok, Some(Value::Boolean(false)), "{step}");
                let Some(Value::String(raised)) = values.pop_front() else { panic!("{step}") };
                assert_eq!(json!(raised.to_string_lossy()), *error, "{step}");
            }
        }
    }
}

#[test]
fn a_copy_has_one_reader() {
    let probe = probe();
    probe.eval::<()>(
        "local w = stm.new 'x'
        local ticket, again = stm.copy(w), stm.copy(w)
        assert(ticket == again)
        stm.newcopy(ticket) stm.newcopy(ticket)
        for _, wrong in ipairs { ticket, pointer(0), pointer(1) } do
            local ok, e = pcall(stm.newcopy, wrong)
            assert(not ok and e:find 'no stm copy')
        end
        for _, wrong in ipairs { 1, 'x', {}, io.stdout, stm.newcopy(stm.copy(w)) } do
            assert(not pcall(stm.copy, wrong))
            assert(not pcall(getmetatable(w).__call, wrong, 'x'))
        end
        assert(not pcall(stm.copy) and not pcall(w) and not pcall(w, {}) and not pcall(stm.newcopy))",
    );
}

#[test]
fn what_was_read_stays_until_the_next_read() {
    let probe = probe();
    probe.eval::<()>(
        "local w = stm.new(pack('first', ('x'):rep(5000)))
        local r = stm.newcopy(stm.copy(w))
        local kept, size
        assert(r(function(msg, sz) kept, size = msg, sz return unpack(msg, sz) end))
        w(pack 'second')
        collectgarbage()
        assert(unpack(kept, size) == 'first')
        local ok, text = r(unpack)
        assert(ok and text == 'second' and not pcall(unpack, kept, size))
        -- A reader that gives its message away has lost nothing but that.
        w(pack 'third')
        assert(r(function(msg, sz) trash(msg, sz) return true end))
        w(pack 'fourth')
        assert(select(2, r(unpack)) == 'fourth')
        -- A version taken from the hand is gone from it; an empty one is read as nothing.
        local p, n = pack 'fifth'
        w(p, n)
        assert(not pcall(trash, p, n) and not pcall(w, p, n))
        w ''
        assert(select('#', r(function(msg, sz) assert(sz == 0) end)) == 1)
        r, w, kept = nil, nil, nil
        collectgarbage() collectgarbage()",
    );
    assert_eq!(probe.state.blocks_in_hand(), 0);
}
