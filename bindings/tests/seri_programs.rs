//! Random Lua values pack and unpack to themselves.
//!
//! Values are made as Lua source, so that what fails is a line to paste.

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use support::Probe;

/// Compares by kind, value and structure; NaN is itself, and `1` is not `1.0`.
const SAME: &str = "
    local function same(a, b, path)
        local kind = math.type(a) or type(a)
        if kind ~= (math.type(b) or type(b)) then error(path .. ': ' .. tostring(a) .. ' became ' .. tostring(b), 0) end
        if kind == 'float' then
            return string.pack('<d', a) == string.pack('<d', b) or error(path .. ': ' .. a .. ' became ' .. b, 0)
        elseif kind ~= 'table' then
            return a == b or error(path .. ' differs', 0)
        end
        for k, v in pairs(a) do
            same(v, b[k], path .. '.' .. tostring(k))
        end
        for k in pairs(b) do
            if a[k] == nil then error(path .. ' got ' .. tostring(k), 0) end
        end
        return true
    end
    return function(...)
        local given = table.pack(...)
        local p, n = pack(...)
        local got = table.pack(unpack(p, n))
        assert(got.n == given.n, 'number of values')
        for i = 1, given.n do same(given[i], got[i], 'value ' .. i) end
        -- The same bytes as a string, and once more through it: a stream says what it means.
        local text = packstring(...)
        assert(#text == n)
        assert(core.tostring(p, n) == text)
        local again = table.pack(unpack(text))
        for i = 1, given.n do same(given[i], again[i], 'value ' .. i .. ' of the string') end
        trash(p, n)
    end
";

fn integer() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>(),
        any::<i32>().prop_map(i64::from),
        any::<u16>().prop_map(i64::from),
        any::<u8>().prop_map(i64::from),
        // Around every change of width.
        (0..64u32, -1..=1i64, any::<bool>()).prop_map(|(bit, by, negative)| {
            let edge = (1i64 << bit).wrapping_add(by);
            if negative { edge.wrapping_neg() } else { edge }
        }),
    ]
    // The least integer has no decimal form in Lua.
    .prop_map(|it| format!("0x{:x}", it as u64))
}

fn real() -> impl Strategy<Value = String> {
    any::<f64>().prop_map(|it| format!("(string.unpack('<d', '{}'))", escaped(&it.to_le_bytes())))
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:03}")).collect()
}

fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..40).prop_map(|bytes| format!("'{}'", escaped(&bytes))),
        1 => (0..70_000usize, any::<u8>()).prop_map(|(len, byte)| format!("rep('{}', {len})", escaped(&[byte]))),
        // The lengths where the head of a string changes.
        1 => prop_oneof![Just(31usize), Just(32), Just(65_535), Just(65_536)].prop_map(|len| format!("rep('e', {len})")),
    ]
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("true".to_owned()),
        Just("false".to_owned()),
        integer(),
        real(),
        string(),
        // No address that could be in the hand.
        (1..1i64 << 40).prop_map(|at| format!("pointer({at})")),
    ]
}

/// A scalar that may be a key.
fn key() -> impl Strategy<Value = String> {
    scalar().prop_map(|it| format!("(function(k) if k == k then return k end return 'nan' end)({it})"))
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![9 => scalar(), 1 => Just("nil".to_owned())];
    leaf.prop_recursive(6, 60, 12, |inner| {
        let items = vec(inner.clone(), 0..40);
        let fields = vec((key(), inner), 0..12);
        (items, fields).prop_map(|(items, fields)| {
            let items = items.join(", ");
            let fields: Vec<_> =
                fields.into_iter().map(|(key, value)| format!("[{key}] = {value}")).collect();
            format!("{{{items}{}{}}}", if items.is_empty() { "" } else { ", " }, fields.join(", "))
        })
    })
}

#[test]
fn values_come_back_as_they_went() {
    let probe = Probe::new();
    let check: skein_vm::mlua::Function = probe.eval(SAME);
    probe.globals.set("check", check).unwrap();
    let config = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(values in vec(value(), 0..6))| {
        let chunk = format!("check({})", values.join(", "));
        let done = probe.lua.load(&chunk).set_environment(probe.globals.clone()).exec();
        prop_assert!(done.is_ok(), "{}\n{}", done.unwrap_err(), chunk);
        prop_assert_eq!(probe.state.blocks_in_hand(), 0);
    });
}
