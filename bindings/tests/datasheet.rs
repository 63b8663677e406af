//! `skynet.datasheet.core` and `skynet.datasheet.dump`. `golden/datasheet.json` was recorded from skynet.

mod support;

use serde_json::{Value as Json, json};
use skein_vm::mlua::{LuaString, MultiValue, Value};
use support::{Probe, describe_all, hex, normal};

fn golden(part: &str) -> Vec<Json> {
    let file: Json = serde_json::from_str(include_str!("golden/datasheet.json")).unwrap();
    file[part].as_array().unwrap().clone()
}

fn probe() -> Probe {
    let probe = Probe::new();
    let dump: Value = probe.eval(include_str!("../lualib/skynet/datasheet/dump.lua"));
    probe.globals.set("dump", dump).unwrap();
    probe.eval::<()>(
        "sheet = require 'skynet.datasheet.core'
        --- A plain copy of what a sheet says.
        function read(t)
            local copy = {}
            for k, v in pairs(t) do copy[k] = type(v) == 'table' and read(v) or v end
            return copy
        end
        function open(bytes) return sheet.new(sheet.stringpointer(bytes)) end",
    );
    probe
}

#[test]
fn tables_become_the_sheets_that_skynet_makes() {
    let probe = probe();
    for case in golden("dump") {
        let lua = case["lua"].as_str().unwrap();
        let bytes: LuaString = probe.eval(format!("bytes = dump.dump({lua}) return bytes"));
        assert_eq!(json!(bytes.as_bytes().len()), case["size"], "{lua}");
        if case.get("any_order").is_none() {
            assert_eq!(hex(&bytes.as_bytes()), case["hex"], "{lua}");
        }
        assert_eq!(probe.eval::<i64>("return #open(bytes)"), case["len"], "{lua}");
        for made in ["read(open(bytes))", "read(open(bytes .. '17'))", "(dump.undump(bytes))"] {
            let values: MultiValue = probe.eval(format!("return {made}"));
            assert_eq!(describe_all(&values)[0], normal(&case["read"]), "{made} of {lua}");
        }
    }
    for case in golden("dump_errors") {
        let lua = case["lua"].as_str().unwrap();
        let error = probe.error(&format!("dump.dump({lua})"));
        let expected = case["error"].as_str().unwrap().split(": ").nth(1).unwrap();
        let expected = expected.split(" function").next().unwrap();
        assert!(error.contains(expected), "{lua}: {error}");
    }
}

#[test]
fn an_update_refills_the_tables_that_are_there() {
    let probe = probe();
    for case in golden("diff") {
        let (first, then) = (case["first"].as_str().unwrap(), case["then"].as_str().unwrap());
        let (dumped, diff): (LuaString, LuaString) = probe.eval(format!(
            "before = dump.dump({first}) after = dump.diff(before, dump.dump({then}))
            t = open(before .. '1') a = type(t.a) == 'table' and t.a
            assert(not a or a == t.a and next(read(a)))
            assert(type(sheet.update(t, sheet.stringpointer(after .. '2'))) == 'userdata')
            return before, after"
        ));
        assert_eq!(hex(&dumped.as_bytes()), case["dump"], "{first}");
        assert_eq!(hex(&diff.as_bytes()), case["diff"], "{first} to {then}");
        let values: MultiValue = probe.eval("return read(t)");
        assert_eq!(describe_all(&values)[0], normal(&case["after_update"]), "{first} to {then}");
        if let Some(branch) = case.get("old_branch_a") {
            let mut values: MultiValue = probe.eval("return pcall(read, a)");
            let ok = values.pop_front();
            match branch.get("error") {
                None => assert_eq!(describe_all(&values)[0], normal(branch), "{first} to {then}"),
                Some(error) => {
                    assert_eq!(ok, Some(Value::Boolean(false)), "{first} to {then}");
                    let Some(Value::String(raised)) = values.pop_front() else { panic!("no text") };
                    assert!(raised.to_string_lossy().ends_with(error.as_str().unwrap()), "{raised:?}");
                }
            }
        }
    }
}

#[test]
fn new_tables_of_a_diff_are_numbered_behind_the_old_ones() {
    // Recorded from skynet like the rest, by hand.
    const CASES: [(&str, &str, &str); 2] = [
        (
            "{{1},{2}}",
            "{{1,{11}},{2},{3,{4}},{5}}",
            "a800000007000000000000001c00000040000000300000005000000064000000740000000400000000000000040404040100000002000000040000000600000002000000000000000104000001000000030000000100000000000000010000000b000000010000000000000001000000020000000200000000000000010400000300000005000000010000000000000001000000040000000100000000000000010000000500000000",
        ),
        (
            "{{1},{2},{3}}",
            "{{1}}",
            "38000000040000000000000010000000ffffffffffffffff010000000000000004000000010000000100000000000000010000000100000000",
        ),
    ];
    let probe = probe();
    for (first, then, expected) in CASES {
        let diff: LuaString = probe.eval(format!("return dump.diff(dump.dump({first}), dump.dump({then}))"));
        assert_eq!(hex(&diff.as_bytes()), expected, "{first} to {then}");
    }
}

#[test]
fn proxies_are_ordinary_tables_once_they_are_looked_at() {
    let probe = probe();
    probe.eval::<()>(
        "local bytes = dump.dump { 1, 2, a = { x = 1 } }
        local name = sheet.stringpointer(bytes)
        assert(name == sheet.stringpointer(bytes))
        local t = sheet.new(name)
        assert(t == sheet.new(name) and getmetatable(t) and next(t) == nil)
        assert(#t == 2 and getmetatable(t) == nil and rawget(t, 1) == 1)
        local a = t.a
        assert(a.x == 1 and t.a == a)
        -- What is written is lost at the next update; identity is not.
        t.z, a.y = 5, 6
        sheet.update(t, name)
        assert(t.z == nil and t.a == a and a.y == nil and a.x == 1)
        sheet.update(a, sheet.stringpointer(dump.diff(bytes, dump.dump { 3, a = { x = 2 } })))
        assert(t[1] == 3 and t[2] == nil and t.a == a and a.x == 2)
        local seen = {}
        for k, v in pairs(sheet.new(sheet.stringpointer(dump.dump { k = 'v', 7 }))) do seen[k] = v end
        assert(seen.k == 'v' and seen[1] == 7)
        -- Who reads keeps it; a name without owners is no name.
        local other = sheet.stringpointer(dump.dump { 'other' })
        local reader = sheet.new(other)
        sheet.release(other)
        collectgarbage()
        assert(reader[1] == 'other')
        reader = nil
        collectgarbage() collectgarbage()
        for _, wrong in ipairs { other, pointer(0), pointer(1) } do
            assert(not pcall(sheet.new, wrong) and not pcall(sheet.update, t, wrong))
        end
        local function refused(expected, ...)
            local ok, e = pcall(...)
            assert(not ok and e:find(expected), e)
        end
        refused('^Invalid proxy table 0x', sheet.update, {}, name)
        refused('^Invalid proxy table ', sheet.update, 1, name)
        refused('userdata expected, got no value', sheet.update, t)
        refused('userdata expected, got string', sheet.new, 'x')
        refused('string expected', sheet.stringpointer)
        -- A sheet is not believed.
        refused('Invalid proxy %(index = 0, total = 0%)', function() return open('\\4\\0\\0\\0\\0\\0\\0\\0').x end)
        refused('ends at', function() return open('').x end)
        for cut = 8, #bytes - 1 do pcall(read, open(bytes:sub(1, cut))) end
        for at = 1, #bytes do
            for _, byte in ipairs { 0, 1, 4, 5, 6, 127, 255 } do
                pcall(function()
                    local t = open(bytes:sub(1, at - 1) .. string.char(byte) .. bytes:sub(at + 1))
                    for _, v in pairs(t) do if type(v) == 'table' then local _ = v.x end end
                end)
            end
        end",
    );
}
