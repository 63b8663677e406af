//! `bson` and `skynet.mongo.driver`. `golden/bson.json` was recorded from skynet; the crate `bson` is the oracle for random documents.

mod support;

use bson::{Bson, Document};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use skein_vm::mlua::{LuaString, MultiValue, Value};
use support::{Probe, describe_all, hex, normal, source, string, unhex};

fn golden(part: &str) -> Vec<Json> {
    let file: Json = serde_json::from_str(include_str!("golden/bson.json")).unwrap();
    file[part].as_array().unwrap().clone()
}

fn probe() -> Probe {
    let probe = Probe::new();
    probe.eval::<()>(
        "bson = require 'bson'
        core.callback(function(_, msg, sz) decoded = table.pack(pcall(bson.decode, msg)) end)",
    );
    probe
}

/// What `bson.decode` makes of a message: values, or an error.
fn decode_message(probe: &Probe, bytes: &[u8]) -> Result<Json, String> {
    probe.deliver(probe.message(bytes));
    let mut values: MultiValue = probe.eval("return table.unpack(decoded, 1, decoded.n)");
    match (values.pop_front(), values.front()) {
        (Some(Value::Boolean(true)), _) => Ok(describe_all(&values)),
        (_, Some(Value::String(error))) => Err(error.to_string_lossy()),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check_decoded(probe: &Probe, bytes: &[u8], recorded: &Json, of: &str) {
    let expected = match recorded.get("error") {
        Some(error) => Err(error.as_str().unwrap().to_owned()),
        None => Ok(json!([normal(recorded)])),
    };
    assert_eq!(decode_message(probe, bytes), expected, "{of}");
}

#[test]
fn values_become_the_documents_that_skynet_makes() {
    let probe = probe();
    for function in ["encode_order", "encode"] {
        for case in golden(function) {
            let lua = case["lua"].as_str().unwrap();
            let mut text = format!("document = bson.{function}(").into_bytes();
            text.extend(source(lua));
            text.extend(b"\n) return tostring(document), #document");
            let (bytes, len): (LuaString, usize) = probe.eval(text);
            assert_eq!(hex(&bytes.as_bytes()), case["hex"], "{function} {lua}");
            assert_eq!(bytes.as_bytes().len(), len);
            check_decoded(&probe, &bytes.as_bytes(), &case["decode"], lua);
            // The same from the userdata, and by its address.
            for decode in ["document:decode()", "bson.decode(bson.to_lightuserdata(document))"] {
                let values: MultiValue = probe.eval(format!("return pcall(function() return {decode} end)"));
                if case["decode"].get("error").is_none() {
                    assert_eq!(describe_all(&values)[1], normal(&case["decode"]), "{lua}");
                }
            }
        }
    }
}

#[test]
fn documents_of_others_are_read_as_skynet_reads_them() {
    let probe = probe();
    for case in golden("decode") {
        let bytes = unhex(case["hex"].as_str().unwrap());
        check_decoded(&probe, &bytes, &case["decode"], case["name"].as_str().unwrap());
    }
}

#[test]
fn special_values_are_strings_with_a_type() {
    let probe = probe();
    for case in golden("tagged_strings") {
        let call = case["call"].as_str().unwrap();
        let value = match call.strip_prefix("type(hex ") {
            Some(text) => {
                let bytes = unhex(text.trim_end_matches(')'));
                probe.globals.set("value", string(&probe.lua, &bytes)).unwrap();
                "value".to_owned()
            }
            None => match call.strip_prefix("type(") {
                Some(rest) => rest[..rest.len() - 1].to_owned(),
                None => format!("bson.{call}"),
            },
        };
        if let Some(bytes) = case.get("string") {
            let made: LuaString = probe.eval(format!("return {value}"));
            assert_eq!(json!(hex(&made.as_bytes())), *bytes, "{call}");
        }
        let mut values: MultiValue = probe.eval(format!("return pcall(bson.type, {value})"));
        let ok = values.pop_front();
        match case.get("type").or(case.get("result")) {
            Some(Json::Array(expected)) => {
                assert_eq!(ok, Some(Value::Boolean(true)), "{call}");
                let expected: Vec<Json> = expected.iter().map(normal).collect();
                assert_eq!(describe_all(&values), json!(expected), "{call}");
            }
            error => {
                assert_eq!(ok, Some(Value::Boolean(false)), "{call}");
                let Some(Value::String(raised)) = values.pop_front() else { panic!("{call}") };
                assert_eq!(json!(raised.to_string_lossy()), error.unwrap()["error"], "{call}");
            }
        }
    }
}

#[test]
fn fields_of_a_fixed_size_can_be_set() {
    let probe = probe();
    for case in golden("replace") {
        probe.eval::<()>(format!("document = {}", case["lua"].as_str().unwrap()));
        let before: LuaString = probe.eval("return tostring(document)");
        assert_eq!(hex(&before.as_bytes()), case["before"]);
        let to = case["to"].as_str().unwrap().replace("'ff..'", "'ffffffffffffffffffffffff'");
        let set = format!("document[{:?}] = {to}", case["set"].as_str().unwrap());
        let (ok, error): (bool, Option<String>) =
            probe.eval(format!("document:makeindex() return pcall(load([==[{set}]==], '=set', 't', _ENV))"));
        assert_eq!(ok, case.get("error").is_none(), "{set}: {error:?}");
        if let Some(expected) = case.get("error") {
            assert_eq!(error.unwrap(), format!("set:1: {}", expected.as_str().unwrap()), "{set}");
        }
        let after: LuaString = probe.eval("return tostring(document)");
        assert_eq!(hex(&after.as_bytes()), case["after"], "{set}");
    }
}

#[test]
fn what_cannot_be_encoded_is_refused_as_skynet_refuses_it() {
    let probe = probe();
    for case in golden("errors") {
        let lua = case["lua"].as_str().unwrap();
        let call = if let Some(rest) = lua.strip_prefix("encode of a document nested ") {
            let depth = rest.split(' ').next().unwrap();
            probe.eval::<()>(format!("nested = {{}} for _ = 2, {depth} do nested = {{d = nested}} end"));
            "bson.encode, nested".to_owned()
        } else {
            match lua {
                "encode_order: odd arguments" => "bson.encode_order, 'a'".to_owned(),
                "encode_order: key not a string" => continue,
                "encode_order: nil value" => "bson.encode_order, 'a', nil".to_owned(),
                "b.a = 2 without makeindex" => "function() bson.encode{a=1}.a = 2 end".to_owned(),
                "objectid 'short'" | "date 'x'" => format!("bson.{}", lua.replace(' ', ", ")),
                _ if lua.contains(" of encode") => continue,
                _ => {
                    let (function, arguments) = lua.split_once('(').unwrap();
                    format!("bson.{function}, {}", &arguments[..arguments.len() - 1])
                }
            }
        };
        let mut values: MultiValue = probe.eval(format!("return pcall({call})"));
        let ok = values.pop_front();
        match case.get("error") {
            None => assert_eq!(ok, Some(Value::Boolean(true)), "{lua}"),
            Some(error) => {
                assert_eq!(ok, Some(Value::Boolean(false)), "{lua}");
                let Some(Value::String(raised)) = values.pop_front() else { panic!("{lua}") };
                assert_eq!(raised.to_string_lossy().trim_start_matches("test:1: "), error, "{lua}");
            }
        }
    }
    for (call, error) in [
        ("bson.encode_order, {}, 1", "Argument 1 need a string"),
        ("bson.encode_order, 'a', 1, true, 1", "Argument 3 need a string"),
        ("bson.encode, {a = '\\0\\11abc'}", "Invalid regex"),
        ("bson.encode, {a = '\\0\\5'}", "Invalid binary"),
        ("bson.encode, {a = io.stdout}", "a userdata that is no bson document"),
        ("bson.encode, {['\\255'] = 1}", "Invalid utf8 string"),
        ("bson.encode, {a = '\\xc0\\x80'}", "Invalid utf8 string"),
        ("bson.objectid, 'zz0123456789012345678901'", "Invalid objectid zz0123456789012345678901"),
    ] {
        assert_eq!(probe.eval::<String>(format!("return select(2, pcall({call}))")), error, "{call}");
    }
    assert!(probe.eval::<bool>("return pcall(bson.encode, {a = '\\u{d800}'})"), "surrogates pass");
}

#[test]
fn what_is_refused_has_no_position_as_in_skynet() {
    let probe = probe();
    for (lua, error) in [
        ("bson.encode { [2] = 1 }", "Bson dictionary's key can't be number"),
        ("bson.encode { a = print }", "Invalid value type : function"),
        (
            "bson.encode(setmetatable({ a = '\\xff' }, { __pairs = function(t) return next, t end }))",
            "Invalid utf8 string",
        ),
        ("bson.encode_order('a', 1, {}, 2)", "Argument 3 need a string"),
        ("bson.encode()", "test:1: bad argument #1 to 'encode' (table expected, got nil)"),
    ] {
        let raised: LuaString = probe.eval(format!("return select(2, pcall(function() return ({lua}) end))"));
        assert_eq!(raised.to_string_lossy(), error, "{lua}");
    }
}

#[test]
fn metamethods_and_documents_are_encoded_wherever_they_stand() {
    let probe = probe();
    probe.eval::<()>(
        "local function same(t, hex)
            local made = tostring(bson.encode(t)):gsub('.', function(c) return ('%02x'):format(c:byte()) end)
            assert(made == hex, made)
        end
        local pairs_of = function(t) return setmetatable({}, {__pairs = function() return next, t end}) end
        same(pairs_of{b = 2}, '0c0000001062000200000000')
        same({x = pairs_of{b = 2}}, '140000000378000c000000106200020000000000')
        -- The outermost table is a document, whatever it says of its length.
        same(setmetatable({a = 1}, {__len = function() return 3 end}), '0c0000001061000100000000')
        local inner = bson.encode{x = 1}
        local made = bson.encode{a = {inner, bson.to_lightuserdata(inner), setmetatable({}, {__len = function() return 2 end,
            __index = function(_, i) return inner end})}}:decode()
        assert(made.a[1].x == 1 and made.a[2].x == 1 and made.a[3][2].x == 1)
        -- A metamethod may raise, and may encode.
        local raised = {}
        local ok, e = pcall(bson.encode, {a = setmetatable({}, {__pairs = function() error(raised) end})})
        assert(not ok and e == raised)
        made = bson.encode{a = setmetatable({}, {__pairs = function()
            assert(bson.encode{deep = {1, 2, 3}}:decode().deep[3] == 3)
            return next, {b = bson.encode{c = 1}}
        end})}:decode()
        assert(made.a.b.c == 1)
        -- One that never ends its own encoding runs out of stack, not of the process.
        local function again() return next, {a = setmetatable({}, {__pairs = function() bson.encode(setmetatable({}, {__pairs = again})) end})} end
        ok, e = pcall(bson.encode, setmetatable({}, {__pairs = again}))
        assert(not ok and e:find 'overflow', e)",
    );
}

#[test]
fn finalizers_may_encode_while_a_document_is_made() {
    let probe = probe();
    probe.eval::<()>(
        "collectgarbage('generational')
        local busy
        local function litter()
            setmetatable({}, {__gc = function()
                if not busy then
                    busy = true
                    bson.encode{noise = ('n'):rep(100)}
                    busy = false
                    litter()
                end
            end})
        end
        for _ = 1, 20 do litter() end
        for i = 1, 20000 do
            local text = ('t'):rep(i % 200)
            assert(bson.encode{n = i, text = text}:decode().text == text)
        end",
    );
}

#[test]
fn an_address_is_a_document_only_as_long_as_it_is_one() {
    let probe = probe();
    probe.eval::<()>(
        "local document = bson.encode{a = 1}
        local address = bson.to_lightuserdata(document)
        assert(bson.decode(address).a == 1)
        document = nil
        collectgarbage() collectgarbage()
        assert(not pcall(bson.decode, address) and not pcall(bson.encode, {a = address}))
        for _, bad in ipairs { pointer(0), pointer(1), pointer(0x7fff12345678), pointer(0x200000001000) } do
            assert(not pcall(bson.decode, bad) and not pcall(bson.encode, {a = bad}))
        end
        assert(select('#', bson.decode()) == 0 and select('#', bson.decode 'x') == 0)
        assert(bson.to_lightuserdata(nil) == pointer(0))
        assert(not pcall(bson.decode, io.stdout))
        -- A message is one as long as it is in hand.
        local p, n = pack('not bson')
        assert(not pcall(bson.decode, p))
        trash(p, n)
        assert(not pcall(bson.decode, p))",
    );
    assert_eq!(probe.state.blocks_in_hand(), 0);
}

#[test]
fn documents_of_an_array_may_have_the_same_keys_or_others() {
    let probe = probe();
    probe.eval::<()>(
        "local function same(a, b)
            if type(a) ~= 'table' then return a == b end
            for k, v in pairs(a) do if not same(v, b[k]) then return false end end
            for k in pairs(b) do if a[k] == nil then return false end end
            return true
        end
        local many = {}
        for i = 1, 40 do many['key' .. i] = i end
        local list = {}
        for i = 1, 50 do
            list[i] = {
                id = i, name = 'item ' .. i, [i % 3 == 0 and 'odd' or 'even'] = true,
                parts = i % 4 > 0 and { { a = 1, b = { c = i } }, { a = 2 } } or nil,
                more = i % 7 == 0 and many or nil,
            }
        end
        for _, made in ipairs { { list = list }, { a = { list, list }, b = list }, { list = { many, many } } } do
            assert(same(bson.encode(made):decode(), made))
        end
        -- The table is the only result, however deep the arrays are.
        assert(select('#', bson.decode(bson.encode { a = { { { 1 } } } })) == 1)",
    );
}

#[test]
fn new_ids_differ() {
    let probe = probe();
    probe.eval::<()>(
        "local seen = {}
        for _ = 1, 1000 do
            local id = bson.objectid()
            assert(#id == 14 and id:sub(1, 2) == '\\0\\7' and not seen[id])
            seen[id] = true
            local name, hex = bson.type(id)
            assert(name == 'objectid' and bson.objectid(hex) == id)
        end
        local _, _, first = bson.type(bson.timestamp(1))
        local _, _, second = bson.type(bson.timestamp(1))
        assert(second > first)",
    );
}

#[test]
fn replies_of_a_server_are_taken_apart() {
    let probe = probe();
    probe.eval::<()>(
        r#"local driver = require "skynet.mongo.driver"
        local document = bson.encode{a = 1}
        local message = driver.op_msg(5, 0, document)
        assert(message == string.pack("<i4i4i4i4i4B", 33, 5, 0, 2013, 0, 0) .. tostring(document))
        assert(driver.length(message:sub(1, 4)) == #message - 4 and not pcall(driver.length, "abc"))
        local function reply(id, opcode, flags, kind, body)
            return driver.reply(string.pack("<i4i4i4I4B", 1, id, opcode, flags, kind) .. body)
        end
        local ok, id, view = reply(7, 2013, 2, 0, tostring(document))
        collectgarbage() collectgarbage()
        assert(ok == true and id == 7 and bson.decode(view).a == 1)
        assert(bson.decode(bson.to_lightuserdata(view)).a == 1 and bson.encode{d = view}:decode().d.a == 1)
        assert(driver.op_msg(5, 0, view) == message)
        for n = 0, 15 do assert(driver.reply(("x"):rep(n)) == false) end
        local function refused(expected, ...)
            local ok, e = pcall(...)
            assert(not ok and e:find(expected, 1, true), e)
        end
        local empty = "\5\0\0\0\0"
        refused("opmsg require cmd document", driver.op_msg, 1, 0)
        refused("opmsg require cmd document", driver.op_msg, 1, 0, "text")
        refused("Unsupported opcode:2012", reply, 7, 2012, 0, 0, empty)
        refused("Unsupported OP_MSG flag checksumPresent", reply, 7, 2013, 1, 0, empty)
        refused("Unsupported OP_MSG flag:8", reply, 7, 2013, 8, 0, empty)
        refused("Unsupported OP_MSG payload type: 1", reply, 7, 2013, 0, 1, empty)
        refused("Unsupported OP_MSG reply: >1 section", reply, 7, 2013, 0, 0, empty .. "x")
        refused("Unsupported OP_MSG reply: >1 section", reply, 7, 2013, 0, 0, "")"#,
    );
}

/// A value that both sides can say.
fn value() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Bson::Boolean),
        any::<i32>().prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        any::<f64>().prop_filter("equal to itself", |it| !it.is_nan()).prop_map(Bson::Double),
        "\\PC{0,40}".prop_filter("special", |it| !it.starts_with('\0')).prop_map(Bson::String),
        Just(Bson::Null),
        any::<[u8; 12]>().prop_map(|id| Bson::ObjectId(id.into())),
        any::<u32>().prop_map(|s| Bson::DateTime(bson::DateTime::from_millis(i64::from(s) * 1000))),
        (any::<u32>(), any::<u32>())
            .prop_map(|(time, increment)| Bson::Timestamp(bson::Timestamp { time, increment })),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Bson::Binary(bson::Binary {
            subtype: bson::spec::BinarySubtype::Generic,
            bytes
        })),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..6).prop_map(Bson::Array),
            prop::collection::vec(("[a-z]{1,8}", inner), 0..6)
                .prop_map(|fields| Bson::Document(fields.into_iter().collect())),
        ]
    })
}

/// As it comes back: an integer is as short as it can be.
fn shortened(value: Bson) -> Bson {
    match value {
        Bson::Int64(it) => i32::try_from(it).map_or(Bson::Int64(it), Bson::Int32),
        Bson::Array(items) => Bson::Array(items.into_iter().map(shortened).collect()),
        Bson::Document(fields) => {
            Bson::Document(fields.into_iter().map(|(key, value)| (key, shortened(value))).collect())
        }
        other => other,
    }
}

#[test]
fn documents_of_the_bson_crate_come_back_the_same() {
    let probe = probe();
    let check: skein_vm::mlua::Function = probe.eval(
        "return function()
            local document = bson.decode(msg)
            return tostring(bson.encode(document))
        end",
    );
    probe.eval::<()>("core.callback(function(_, m) msg = m again = check() end)");
    probe.globals.set("check", check).unwrap();
    proptest!(|(fields in prop::collection::vec(("[a-z]{1,8}", value()), 0..8))| {
        let document: Document = fields.into_iter().collect();
        let mut bytes = Vec::new();
        document.to_writer(&mut bytes).unwrap();
        probe.deliver(probe.message(&bytes));
        let again: LuaString = probe.eval("return again");
        let again = Document::from_reader(&*again.as_bytes()).unwrap();
        // Fields come in any order: compare as sets.
        prop_assert_eq!(sorted(Bson::Document(again)), sorted(shortened(Bson::Document(document))));
    });
}

fn sorted(value: Bson) -> Bson {
    match value {
        Bson::Array(items) => Bson::Array(items.into_iter().map(sorted).collect()),
        Bson::Document(fields) => {
            let mut fields: Vec<_> = fields.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Bson::Document(fields.into_iter().collect())
        }
        other => other,
    }
}
