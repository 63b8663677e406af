//! `sproto.core` and the Lua modules over it, held to what skynet does. `golden/sproto.json` was recorded from it.

mod support;

use serde_json::{Value as Json, json};
use skein_bindings::library;
use skein_vm::mlua::{LuaString, MultiValue, Value};
use support::{Probe, describe, describe_all, hex, normal, string, unhex};

fn golden(part: &str) -> Vec<Json> {
    file()[part].as_array().unwrap().clone()
}

fn file() -> Json {
    serde_json::from_str(include_str!("golden/sproto.json")).unwrap()
}

/// A state with the schemas of the recording as `sp` and `rpc`.
fn probe() -> Probe {
    library::install();
    let probe = Probe::new();
    let file = file();
    probe.globals.set("path", library::LUALIB).unwrap();
    for name in ["schema", "rpc_schema"] {
        probe.globals.set(name, file[name].as_str().unwrap()).unwrap();
    }
    probe.eval::<()>(
        "package.path = path
        sproto, parser, c = require 'sproto', require 'sprotoparser', require 'sproto.core'
        sp, rpc = sproto.parse(schema), sproto.parse(rpc_schema)",
    );
    probe
}

/// What an error says, without the position that Lua code puts in front.
fn bare(error: &str) -> &str {
    match error.find(".lua:") {
        Some(at) => error[at + 5..].split_once(": ").map_or(error, |it| it.1),
        None => error.split_once("test:1: ").map_or(error, |it| it.1),
    }
}

#[test]
fn schemas_become_skynets_bundles() {
    let probe = probe();
    for case in golden("parse").into_iter().chain(golden("parse_errors")) {
        probe.globals.set("text", case["text"].as_str().unwrap()).unwrap();
        let values: MultiValue = probe.eval("return pcall(parser.parse, text)");
        let Some(Value::String(found)) = values.get(1) else { panic!("{case}") };
        match case["error"].as_str() {
            None => assert_eq!(hex(&found.as_bytes()), case["hex"].as_str().unwrap(), "{case}"),
            // What is an assertion there may say more here.
            Some(error) if bare(error) == "assertion failed!" => {
                assert_eq!(values[0], Value::Boolean(false), "{case}");
            }
            Some(error) => assert_eq!(bare(&found.to_string_lossy()), bare(error), "{case}"),
        }
    }
}

#[test]
fn values_become_skynets_bytes_and_come_back() {
    let probe = probe();
    for case in golden("encode") {
        probe.globals.set("name", case["type"].as_str().unwrap()).unwrap();
        let lua = case["lua"].as_str().unwrap();
        let values: MultiValue = probe.eval(format!(
            "local bytes = sp:encode(name, {lua})
            local packed = sp:pencode(name, {lua})
            assert(packed == c.pack(bytes))
            local again, used = sp:decode(name, bytes)
            assert(used == #bytes)
            local more = sp:pdecode(name, packed)
            return bytes, packed, again, more"
        ));
        let texts: Vec<String> =
            values.iter().take(2).map(|it| hex(&it.as_string().unwrap().as_bytes())).collect();
        assert_eq!(json!(texts), json!([case["hex"], case["packed"]]), "{lua}");
        assert_eq!(describe(&values[2]), normal(&case["decode"]), "{lua}");
        assert_eq!(describe(&values[3]), normal(&case["decode"]), "{lua}, packed");
    }
}

#[test]
fn what_has_the_wrong_type_is_refused_in_skynets_words() {
    let probe = probe();
    probe.eval::<()>("nest = sproto.parse '.N { n 0 : N }'");
    for case in golden("encode_errors") {
        let lua = case["lua"].as_str().unwrap();
        if let Some(depth) = lua.strip_prefix("nested ") {
            let depth = depth.strip_suffix(" deep").unwrap();
            let values: MultiValue = probe.eval(format!(
                "local t = {{}} for _ = 1, {depth} do t = {{ n = t }} end
                local ok, bytes = pcall(nest.encode, nest, 'N', t)
                return ok, ok and #bytes or bytes, ok and pcall(nest.decode, nest, 'N', bytes)"
            ));
            assert_eq!(json!(values[0].as_boolean()), case["ok"], "{lua}");
            match case["error"].as_str() {
                Some(error) => assert_eq!(bare(&values[1].to_string().unwrap()), bare(error), "{lua}"),
                None => {
                    assert_eq!(json!(values[1].as_integer()), case["size"], "{lua}");
                    assert_eq!(json!(values[2].as_boolean()), case["decode_ok"], "{lua}");
                }
            }
            continue;
        }
        let name = case["type"].as_str().unwrap();
        let error = probe.error(&format!("local bytes = sp:encode('{name}', {lua})"));
        assert_eq!(bare(&error), bare(case["error"].as_str().unwrap()), "{lua}");
    }
    // Recorded by hand.
    probe.eval::<()>(
        "more = sproto.parse [[ .KV { k 1 : string  v 3 : integer } .El { id 2 : integer t 0 : string d 4 : integer(3) dd 6 : double }
            .Map { m 0 : *KV() e 1 : *El(id) as 3 : *string } ]]",
    );
    for (call, error) in [
        ("local s = more:encode('Map', { m = { [1] = 2 } })", "KV.k[0] is not a string (Is a number)"),
        ("local s = more:encode('Map', { e = { 1 } })", "attempt to index a number value"),
        (
            "local s = more:encode('Map', { e = { { id = 1.5 } } })",
            "El.id[0] is not an integer (Is a number)",
        ),
        (
            "local s = more:encode('Map', { as = io.stdout })",
            "Map.as(1) should be a table or an userdata with metamethods (Is a userdata)",
        ),
        ("local s = more:encode('El')", "attempt to index a nil value"),
        ("local s = c.encode(nil, 1)", "bad argument #2 to 'encode' (nil expected, got number)"),
        ("local s = c.pack {}", "bad argument #1 to 'pack' (Need a string or userdata)"),
        ("local s = c.querytype(nil, 'x')", "bad argument #1 to 'querytype' (Need a sproto object)"),
        ("local s = c.protocol(sp.__cobj, {})", "bad argument #2 to 'protocol' (Should be number or string)"),
        ("c.loadproto(99)", "Invalid global slot index 99"),
        ("c.loadproto(7)", "nil sproto at index 7"),
        ("c.saveproto(sp.__cobj, -1)", "Invalid global slot index -1"),
    ] {
        assert_eq!(bare(&probe.error(call)), error, "{call}");
    }
    let words = |words: &str| format!("more:decode('Map', string.pack({words}))");
    for (bytes, error) in [
        (
            "'<I2I2s4', 1, 0, string.pack('<s4', string.pack('<I2I2I2', 2, 5, 16))",
            "Can't find key field in [m]",
        ),
        (
            "'<I2I2s4', 1, 0, string.pack('<s4', string.pack('<I2I2I2s4', 2, 1, 0, 'key'))",
            "Can't find value field in [m]",
        ),
        (
            "'<I2I2I2s4', 2, 1, 0, string.pack('<s4', string.pack('<I2I2s4', 1, 0, 't'))",
            "Can't find main index (tag=2) in [e]",
        ),
    ] {
        assert_eq!(bare(&probe.error(&words(bytes))), error, "{bytes}");
    }
    for (value, bytes) in [
        ("'1.5'", "02000700ba0b"),
        ("0.0005", "020007000400"),
        ("-0.0005", "02000700000004000000ffffffff"),
        ("1e300", "020007000000080000000000000000000080"),
        ("0/0", "020007000000080000000000000000000080"),
    ] {
        let encoded: LuaString = probe.eval(format!("return more:encode('El', {{ d = {value} }})"));
        let bytes = bytes.replacen("020007", "020009", 1);
        assert_eq!(hex(&encoded.as_bytes())[8..], bytes[8..], "{value}");
    }
}

#[test]
fn odd_bytes_are_read_as_in_skynet() {
    let probe = probe();
    for case in golden("decode") {
        let bytes = unhex(case["in"].as_str().unwrap());
        probe.globals.set("bytes", string(&probe.lua, &bytes)).unwrap();
        probe.deliver(probe.message(&bytes));
        let name = case["type"].as_str().unwrap();
        let values: MultiValue = probe.eval(format!("return pcall(sp.decode, sp, '{name}', bytes)"));
        if let Some(error) = case["error"].as_str() {
            assert_eq!(bare(&values[1].to_string().unwrap()), bare(error), "{case}");
        } else {
            assert_eq!(describe(&values[1]), normal(&case["out"]), "{case}");
            assert_eq!(json!(values[2].as_integer()), case["used"], "{case}");
        }
    }
}

#[test]
fn zeros_are_packed_as_in_skynet() {
    let probe = probe();
    for case in golden("pack") {
        let bytes = |it: &Json| match it.as_str() {
            Some(all) => Some(unhex(all)),
            None => it["lua"]
                .as_str()
                .map(|lua| probe.eval::<LuaString>(format!("return {lua}")).as_bytes().to_vec()),
        };
        let Some(input) = bytes(&case["in"]) else { continue };
        probe.globals.set("bytes", string(&probe.lua, &input)).unwrap();
        let packed: LuaString = probe.eval("return c.pack(bytes)");
        if let Some(expected) = case["packed"].as_str() {
            assert_eq!(hex(&packed.as_bytes()), expected, "{case}");
        }
        let again: LuaString = probe.eval("return c.unpack(c.pack(bytes))");
        assert_eq!(again.as_bytes()[..input.len()], input, "{case}");
        assert_eq!(again.as_bytes().len(), input.len().div_ceil(8) * 8, "{case}");
    }
    for case in golden("unpack") {
        let bytes = unhex(case["in"].as_str().unwrap());
        probe.globals.set("bytes", string(&probe.lua, &bytes)).unwrap();
        let values: MultiValue = probe.eval("return pcall(c.unpack, bytes)");
        let found = values[1].as_string().unwrap().as_bytes().to_vec();
        match case["error"].as_str() {
            Some(error) => assert_eq!(found, error.as_bytes(), "{case}"),
            None => assert_eq!(hex(&found), case["out"].as_str().unwrap(), "{case}"),
        }
    }
}

#[test]
fn requests_and_answers_have_skynets_bytes() {
    let probe = probe();
    probe.eval::<()>("host, client = rpc:host(), rpc:host() request = client:attach(rpc)");
    for case in golden("rpc") {
        let call = case["call"].as_str().unwrap();
        if let Some(error) = case["error"].as_str() {
            let call = if call.starts_with("request") {
                call
            } else {
                "client:dispatch(request('ping'):gsub('.', '') .. c.pack(rpc:encode('package', { session = 77 })))"
            };
            assert_eq!(bare(&probe.error(&format!("local x = {call}"))), bare(error), "{call}");
            continue;
        }
        let packet: LuaString = probe.eval(format!("packet = {call} return packet"));
        assert_eq!(hex(&packet.as_bytes()), case["packet"].as_str().unwrap(), "{call}");
        let values: MultiValue = probe.eval(
            "local kind, name, value, respond, ud = host:dispatch(packet)
            answer = respond
            return kind, name, value",
        );
        assert_eq!(describe_all(&values), normal(&case["dispatch"]), "{call}");
        assert_eq!(json!(probe.eval::<bool>("return answer ~= nil")), case["has_response"], "{call}");
        let Some(value) = case["response_of"].as_str() else { continue };
        let value = if value == "nothing" { "" } else { value };
        let response: LuaString = probe.eval(format!("response = answer({value}) return response"));
        assert_eq!(hex(&response.as_bytes()), case["response"].as_str().unwrap(), "{call}");
        let values: MultiValue = probe.eval("return client:dispatch(response)");
        assert_eq!(describe_all(&values), normal(&case["dispatch_response"]), "{call}");
    }
}

#[test]
fn fields_have_skynets_defaults() {
    let probe = probe();
    for case in golden("default") {
        let name = case["type"].as_str().unwrap();
        let call = match name.split_once(' ') {
            Some((name, part)) => format!("rpc:default('{name}', '{}')", part.to_uppercase()),
            None => format!("sp:default('{name}')"),
        };
        let value: Value = probe.eval(format!("return {call}"));
        assert_eq!(describe(&value), normal(&case["default"]), "{name}");
    }
}

#[test]
fn a_handle_that_names_nothing_is_an_error() {
    let probe = probe();
    probe.eval::<()>("dead = c.newproto(parser.parse '.A { a 0 : integer }') type_of_it = c.querytype(dead, 'A') c.deleteproto(dead)");
    for call in [
        "c.encode(type_of_it, { a = 1 })",
        "c.decode(type_of_it, '\\0\\0')",
        "c.querytype(dead, 'A')",
        "c.encode(dead, {})",
        "c.encode(pointer(1), {})",
        "c.encode(pointer(0x2ffffff000010000), {})",
        "c.decode(pointer(-1), '')",
        "c.default(sp.__cobj)",
        "c.dumpproto(pointer(0))",
        "c.saveproto(dead, 1)",
        "c.deleteproto(dead)",
    ] {
        assert!(probe.error(&format!("local x = {call}")).contains("Need a sproto"), "{call}");
    }
    // A place is used again, for another schema.
    probe.eval::<()>("new = c.newproto(parser.parse '.B { b 0 : string }')");
    assert!(probe.error("c.encode(type_of_it, { a = 1 })").contains("Need a sproto_type object"));
    assert!(
        probe.eval::<bool>(
            "return c.encode(c.querytype(new, 'B'), { b = 'x' }) == '\\1\\0\\0\\0\\1\\0\\0\\0x'"
        )
    );
}

#[test]
fn a_schema_deleted_in_the_middle_of_a_message_lasts_until_its_end() {
    let probe = probe();
    probe.eval::<()>(
        "local schema = c.newproto(parser.parse '.A { a 0 : integer b 1 : string c 2 : *A }')
        local A = c.querytype(schema, 'A')
        local t = setmetatable({}, { __index = function(_, key)
            if key == 'a' then
                c.deleteproto(schema)
                -- Another one in its place, and a message inside of the message.
                local other = sproto.parse '.X { x 0 : integer }'
                assert(other:encode('X', { x = 1 }) == '\\1\\0\\4\\0')
                collectgarbage()
                return 7
            end
            if key == 'b' then return 'text' end
        end })
        assert(c.encode(A, { c = { t } }) == string.pack('<I2I2I2s4', 2, 3, 0, string.pack('<s4', string.pack('<I2I2I2s4', 2, 16, 0, 'text'))))
        -- An error in the middle leaves nothing behind.
        local bad = setmetatable({}, { __index = function() error 'told to' end })
        for _ = 1, 10 do assert(not pcall(sp.encode, sp, 'Outer', { inner = bad })) end
        assert(sp:encode('Point', { x = 1 }) == '\\1\\0\\4\\0')",
    );
}

#[test]
fn schemas_are_shared_by_the_states_of_a_process() {
    let (one, other) = (probe(), probe());
    one.eval::<()>("require 'sprotoloader'.save(parser.parse '.Shared { v 0 : integer }', 5)");
    other.eval::<()>(
        "local shared = require 'sprotoloader'.load(5)
        assert(shared:encode('Shared', { v = 3 }) == '\\1\\0\\8\\0')
        -- Saved ones stay.
        c.deleteproto(c.loadproto(5))
        assert(shared:decode('Shared', '\\1\\0\\8\\0').v == 3)",
    );
    assert!(one.eval::<bool>("return require 'sprotoloader'.load(5):exist_type 'Shared'"));
}

#[test]
fn containers_with_pairs_are_walked_by_them() {
    let probe = probe();
    probe.eval::<()>(
        "local function walked(list)
            return setmetatable({}, { __pairs = function()
                local i = 0
                return function() i = i + 1 if list[i] then return table.unpack(list[i]) end end
            end })
        end
        local bytes = sp:encode('Map', { m = walked { { 'a', 1 }, { 'b', 2 } } })
        local m = sp:decode('Map', bytes).m
        assert(m.a == 1 and m.b == 2)
        bytes = sp:encode('Person', { phone = walked { { 1, { type = 5, number = '1' } }, { 2, { type = 6, number = '2' } } } })
        local phone = sp:decode('Person', bytes).phone
        assert(phone[5].number == '1' and phone[6].number == '2')
        -- A table to be filled keeps what it has.
        local t = sp:decode('Point', sp:encode('Point', { x = 1 }), { y = 9 })
        assert(t.x == 1 and t.y == 9)
        assert(#sp:encode('All', { s = rep('x', 1 << 20) }) > 1 << 20)
        local ok, why = pcall(sp.encode, sp, 'All', { s = rep('x', 1 << 24) })
        assert(why:find 'object is too large %(>16777216%)', why)",
    );
}

#[test]
fn messages_are_read_straight_from_a_block() {
    let probe = probe();
    probe.eval::<()>("core.callback(function(_, p, n) got, used = sp:decode('Person', p, n) end) bytes = sp:encode('Person', { name = 'Ann', id = 7 })");
    let bytes: LuaString = probe.eval("return bytes");
    probe.deliver(probe.message(&bytes.as_bytes()));
    assert!(probe.eval::<bool>("return got.name == 'Ann' and got.id == 7 and used == #bytes"));
    assert!(probe.error("c.unpack(pointer(16), 3)").contains("not held by this service"));
    assert!(probe.error("sp:decode('Person', io.stdout, 1 << 20)").contains("out of range"));
}

#[test]
fn arguments_that_are_not_there_are_taken_as_in_skynet() {
    let probe = probe();
    for (lua, said) in [
        ("c.decode()", Ok(0)),
        ("c.encode()", Err("bad argument #2 to 'encode' (nil expected, got no value)")),
        ("c.encode(nil, nil)", Ok(1)),
        ("c.saveproto(nil, 16)", Err("Invalid global slot index 16")),
    ] {
        let (ok, found): (bool, Value) = probe.eval(format!(
            "local t = table.pack(pcall(function() return {lua} end)) return t[1], t[1] and t.n - 1 or t[2]"
        ));
        match (said, found) {
            (Ok(count), Value::Integer(found)) => assert!(ok && found == count, "{lua}: {found} values"),
            (Err(error), Value::String(found)) => assert_eq!(bare(&found.to_string_lossy()), error, "{lua}"),
            (_, found) => panic!("{lua}: {found:?}"),
        }
    }
}
