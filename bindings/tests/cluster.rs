//! `skynet.cluster.core`, held to what skynet does. `golden/cluster.json` was recorded from it; see its README for the form.

mod support;

use serde_json::{Value as Json, json};
use sha1::{Digest, Sha1};
use skein_vm::mlua::{LuaString, MultiValue, Value};
use support::{Probe, describe_all, hex, string, unhex};

fn golden(part: &str) -> Vec<Json> {
    let file: Json = serde_json::from_str(include_str!("golden/cluster.json")).unwrap();
    file[part].as_array().unwrap().clone()
}

fn probe() -> Probe {
    let probe = Probe::new();
    probe.eval::<()>(
        "c = require 'skynet.cluster.core'
        core.callback(function(_, p, n) held, size = p, n end, true)
        -- Blocks are shown as their bytes, and freed.
        function shown(...)
            local t = table.pack(...)
            for i = 1, t.n do
                if type(t[i]) == 'userdata' then
                    local p, n = t[i], t[i + 1]
                    t[i] = { block = core.tostring(p, n) }
                    trash(p, n)
                end
            end
            return table.unpack(t, 1, t.n)
        end",
    );
    probe
}

/// The text that recorded messages consist of.
fn text(len: usize) -> Vec<u8> {
    b"0123456789abcdef".iter().copied().cycle().take(len).collect()
}

/// Puts a block of these bytes into the globals `held` and `size`.
fn hold(probe: &Probe, bytes: &[u8]) {
    probe.deliver(probe.message(bytes));
}

/// A recorded value as a Lua one.
fn value(probe: &Probe, it: &Json) -> Value {
    match it["t"].as_str().unwrap() {
        "int" => Value::Integer(it["v"].as_str().unwrap().parse().unwrap()),
        "float" => Value::Number(it["v"].as_str().unwrap().parse().unwrap()),
        "bool" => Value::Boolean(it["v"].as_bool().unwrap()),
        "str" => Value::String(string(&probe.lua, &unhex(it["hex"].as_str().unwrap()))),
        other => panic!("no value of kind {other} is recorded here"),
    }
}

/// Whether bytes are those of a vector: in full, or by length, ends and digest.
#[track_caller]
fn assert_recorded(bytes: &[u8], recorded: &Json, of: &Json) {
    if let Some(all) = recorded.as_str() {
        return assert_eq!(hex(bytes), all, "{of}");
    }
    assert_eq!(json!(bytes.len()), recorded["len"], "{of}");
    assert_eq!(json!(hex(&Sha1::digest(bytes))), recorded["sha1"], "{of}");
}

/// The results as recorded ones: blocks by their bytes.
fn describe(values: &MultiValue) -> Json {
    let mut described = describe_all(values);
    for value in described.as_array_mut().unwrap() {
        if value["t"] == "table" {
            *value = json!({"t": "block", "hex": value["kv"][0][1]["hex"]});
        }
    }
    described
}

#[test]
fn requests_have_skynets_bytes() {
    let probe = probe();
    for case in golden("request") {
        hold(&probe, &text(case["msg_size"].as_u64().unwrap() as usize));
        probe.globals.set("address", value(&probe, &case["addr"])).unwrap();
        let function = case["fn"].as_str().unwrap();
        let call = format!("return pcall(c.{function}, address, {}, held, size)", case["session"]);
        let mut values: MultiValue = probe.eval(call);
        assert_eq!(probe.state.blocks_in_hand(), 0, "the message is taken: {case}");
        if case.get("error").is_some() {
            let Some(Value::String(error)) = values.get(1) else { panic!("{case}") };
            assert_eq!(error.to_string_lossy(), case["error"].as_str().unwrap(), "{case}");
            continue;
        }
        assert_eq!(values.pop_front(), Some(Value::Boolean(true)), "{values:?}");
        let Some(Value::String(frame)) = values.pop_front() else { panic!("{case}") };
        assert_recorded(&frame.as_bytes(), &case["out"], &case);
        assert_eq!(values.pop_front(), case["next_session"].as_i64().map(Value::Integer), "{case}");
        match (values.pop_front(), case["parts"].as_array()) {
            (None, None) => {}
            (Some(Value::Table(parts)), Some(recorded)) => {
                assert_eq!(parts.raw_len(), recorded.len(), "{case}");
                for (part, recorded) in parts.sequence_values::<LuaString>().zip(recorded) {
                    assert_recorded(&part.unwrap().as_bytes(), recorded, &case);
                }
            }
            other => panic!("{other:?} for {case}"),
        }
    }
}

#[test]
fn requests_are_taken_apart_as_skynet_does() {
    let probe = probe();
    for case in golden("unpackrequest") {
        let Some(bytes) = case["in"].as_str().map(unhex) else { panic!("{case}") };
        hold(&probe, &bytes);
        probe.globals.set("text", string(&probe.lua, &bytes)).unwrap();
        for source in ["text", "held, size"] {
            let mut values: MultiValue =
                probe.eval(format!("return shown(pcall(c.unpackrequest, {source}))"));
            let ok = values.pop_front();
            if let Some(error) = case["error"].as_str() {
                assert_eq!(
                    describe(&values),
                    json!([{"t": "str", "hex": hex(error.as_bytes())}]),
                    "{source}: {case}"
                );
            } else {
                assert_eq!(ok, Some(Value::Boolean(true)), "{source}: {case} {values:?}");
                let (found, recorded) = (describe(&values), case["out"].as_array().unwrap());
                assert_eq!(found.as_array().unwrap().len(), recorded.len(), "{case}");
                for (found, recorded) in found.as_array().unwrap().iter().zip(recorded) {
                    if recorded["t"] == "block" && recorded.get("sha1").is_some() {
                        assert_recorded(&unhex(found["hex"].as_str().unwrap()), recorded, &case);
                    } else {
                        assert_eq!(found, recorded, "{source}: {case}");
                    }
                }
            }
        }
        probe.eval::<()>("trash(held, size)");
        assert_eq!(probe.state.blocks_in_hand(), 0, "{case}");
    }
}

#[test]
fn responses_have_skynets_bytes() {
    let probe = probe();
    for case in golden("response") {
        let message = match &case["msg"] {
            Json::String(all) => unhex(all),
            long => text(long["len"].as_u64().unwrap() as usize),
        };
        hold(&probe, &message);
        probe.globals.set("text", string(&probe.lua, &message)).unwrap();
        for source in ["text", "held, size"] {
            let call = format!("return c.packresponse({}, {}, {source})", case["session"], case["ok"]);
            match probe.eval::<Value>(call) {
                Value::String(frame) => assert_recorded(&frame.as_bytes(), &case["out"], &case),
                Value::Table(parts) => {
                    let recorded = case["parts"].as_array().unwrap_or_else(|| panic!("{case}"));
                    assert_eq!(parts.raw_len(), recorded.len(), "{case}");
                    for (part, recorded) in parts.sequence_values::<LuaString>().zip(recorded) {
                        assert_recorded(&part.unwrap().as_bytes(), recorded, &case);
                    }
                }
                other => panic!("{other:?} for {case}"),
            }
        }
        probe.eval::<()>("trash(held, size)");
    }
}

#[test]
fn responses_are_taken_apart_as_skynet_does() {
    let probe = probe();
    for case in golden("unpackresponse") {
        probe.globals.set("text", string(&probe.lua, &unhex(case["in"].as_str().unwrap()))).unwrap();
        let values: MultiValue = probe.eval("return c.unpackresponse(text)");
        assert_eq!(describe(&values), case["out"], "{case}");
    }
}

#[test]
fn parts_are_put_together_as_in_skynet() {
    let probe = probe();
    for case in golden("concat") {
        let list = match case["in"].as_array() {
            Some(list) => {
                let list = list.iter().map(|it| value(&probe, it));
                Value::Table(probe.lua.create_sequence_from(list).unwrap())
            }
            None => value(&probe, &case["in"]),
        };
        probe.globals.set("list", list).unwrap();
        let values: MultiValue = probe.eval("return shown(c.concat(list))");
        match case["out"].as_str() {
            Some(bytes) => {
                let size = case["size"].to_string();
                assert_eq!(
                    describe(&values),
                    json!([{"t": "block", "hex": bytes}, {"t": "int", "v": size}]),
                    "{case}"
                );
            }
            None => assert!(values.is_empty(), "{case}: {values:?}"),
        }
    }
    probe.eval::<()>(
        "local function block(text)
            return c.concat { #text, text }
        end
        local t = {}
        c.append(t, nil, 100) c.append(t, block 'abc') c.append(t, block 'defg')
        assert(#t == 3 and t[1] == 100 and t[2] == 'abc' and t[3] == 'defg')
        -- Long ones show their block.
        c.append(t, block(rep('x', 5000)))
        assert(t[4] == rep('x', 5000))",
    );
    for (call, error) in [
        ("c.append({}, 'str', 3)", "Need lightuserdata"),
        ("c.append(1, nil, 3)", "table expected, got number"),
        ("c.append({}, pointer(16), 3)", "not held by this service"),
        ("c.packrequest(1, 1, nil, 0)", "Invalid request message"),
        ("c.packpush(1, 1, nil, 0)", "Invalid request message"),
        // A total that another node made up.
        ("assert(c.concat { 1 << 40, 'x' })", "value expected"),
    ] {
        assert!(probe.error(call).contains(error), "{call}: {}", probe.error(call));
    }
    assert_eq!(probe.state.blocks_in_hand(), 0);
}

#[test]
fn tags_and_names_are_as_in_skynet() {
    let probe = probe();
    for case in golden("trace") {
        let length = case["tag"]["len"].as_u64().unwrap_or(0x8001);
        let tag = case["tag"].as_str().map_or_else(|| vec![b't'; length as usize], unhex);
        probe.globals.set("text", string(&probe.lua, &tag)).unwrap();
        if let Some(error) = case["error"].as_str() {
            assert!(probe.error("c.packtrace(text)").contains(error), "{case}");
        } else {
            let frame: LuaString = probe.eval("return c.packtrace(text)");
            assert_recorded(&frame.as_bytes(), &case["out"], &case);
        }
    }
    probe.eval::<()>(
        "assert(c.isname '@x' == true and c.isname '@' == true)
        assert(select('#', c.isname 'x', c.isname '', (c.isname(1))) >= 1 and not c.isname 'x' and not c.isname '' and not c.isname(1))
        assert(select('#', c.isname 'x') == 0)
        assert(c.nodename():find '^[^%s]+%d+$')",
    );
}

#[test]
fn a_large_payload_that_arrived_in_a_block_is_not_copied() {
    let probe = probe();
    hold(&probe, &[b"\x00\x01\0\0\0\x07\0\0\0".as_slice(), &text(20_000)].concat());
    probe.eval::<()>(
        "to, session, p, n = c.unpackrequest(held, size)
        assert(to == 1 and session == 7 and n == 20000)
        assert(address(p) == address(held) + 9)
        trash(held, size)
        assert(core.tostring(p, n) == rep('0123456789abcdef', 1250))
        trash(p, n)",
    );
    assert_eq!(probe.state.blocks_in_hand(), 0);
}

#[test]
fn strings_alone_are_packed_in_the_other_form() {
    let probe = probe();
    let bytes: LuaString = probe.eval(
        "local p, n = c.packrequest('name', '', 'x\\0y')
        local text = core.tostring(p, n)
        assert(n == 4 * 3 + 7)
        local t = table.pack(c.unpackresponse(p, n))
        assert(t.n == 3 and t[1] == 'name' and t[2] == '' and t[3] == 'x\\0y')
        trash(p, n)
        p, n = c.packrequest 'alone'
        assert(c.unpackresponse(p, n) == 'alone')
        assert(select('#', c.unpackresponse(p, 0)) == 0)
        trash(p, n)
        return text",
    );
    assert_eq!(*bytes.as_bytes(), *b"\x04\0\0\0name\0\0\0\0\x03\0\0\0x\0y");
    for (stream, error) in [
        (b"\x01\0\0".as_slice(), "Invalid cluster response"),
        (b"\x02\0\0\0x", "Invalid cluster response size"),
        (b"\xff\xff\xff\xffx", "Invalid cluster response size"),
    ] {
        hold(&probe, stream);
        let found = probe.error("c.unpackresponse(held, size)");
        assert!(found.ends_with(error), "{stream:?}: {found}");
        probe.eval::<()>("trash(held, size)");
    }
    assert!(probe.error("c.packrequest('a', 'b', 3)").contains("string expected, got number"));
    assert!(probe.error("c.unpackresponse(pointer(0), 5)").contains("not held by this service"));
    assert_eq!(probe.state.blocks_in_hand(), 0);
}

#[test]
fn large_messages_are_taken_apart_and_put_together_as_blocks() {
    let probe = probe();
    for size in [0x8000, 0x8001, 0x10000, 100_000] {
        hold(&probe, &text(size));
        probe.globals.set("text", string(&probe.lua, &text(size))).unwrap();
        probe.eval::<()>(
            "n = require 'skein.cluster'
            local function frames(head, is_response)
                local all, p, s = { head }, nil, nil
                for from = 0, size - 1, 0x8000 do
                    p, s = n.part(held, size, from, 5, is_response)
                    all[#all + 1] = core.tostring(p, s)
                    trash(p, s)
                end
                return all
            end
            -- The frames are those of skynet's functions.
            local function same(a, b)
                assert(#a == #b)
                for i = 1, #a do assert(a[i] == b[i], i) end
            end
            local response = c.packresponse(5, true, text)
            if size > 0x8000 then same(frames(n.announce(nil, 5, size), true), response) end
            local p = c.concat { #text, text }
            local head, _, parts = c.packrequest('@name', 5, p, size)
            table.insert(parts, 1, head)
            same(frames(n.announce('@name', 5, size), false), parts)
            p = c.concat { #text, text }
            local push = c.packpush(7, 5, p, size)
            assert(n.announce(7, 5, size, true) == push)

            -- And back.
            local function block(body)
                return c.concat { #body, body }
            end
            local a
            for i, frame in ipairs(type(response) == 'table' and response or {}) do
                local session, kind, data, length = n.response(block(frame:sub(3)))
                assert(session == 5 and kind == (i == 1 and 2 or i == #response and 4 or 3))
                if kind == 2 then
                    assert(data == size)
                    a = n.assembly(data)
                else
                    assert(n.finish(n.assembly(1)) == nil)
                    assert(n.add(a, data, length))
                end
            end
            if a then
                local p, s = n.finish(a)
                assert(s == size and core.tostring(p, s) == text)
                trash(p, s)
                assert(n.finish(a) == nil and n.add(a, block 'x') == false)
            end
            trash(held, size)",
        );
        assert_eq!(probe.state.blocks_in_hand(), 0);
    }
    probe.eval::<()>(
        "local function block(body) return c.concat { #body, body } end
        local function response(body) return n.response(block(body)) end
        local session, kind, p, s = response '\\7\\0\\0\\0\\1abc'
        assert(session == 7 and kind == 1 and core.tostring(p, s) == 'abc')
        trash(p, s)
        assert(select('#', response '\\7\\0\\0\\0\\1') == 3 and select(3, response '\\7\\0\\0\\0\\1') == '')
        assert(select(2, response '\\7\\0\\0\\0\\0why') == 0 and select(3, response '\\7\\0\\0\\0\\0why') == 'why')
        for _, body in ipairs { '\\7\\0\\0\\0', '\\7\\0\\0\\0\\5', '\\7\\0\\0\\0\\2abc', '\\7\\0\\0\\0\\2abcde' } do
            assert(select('#', response(body)) == 0)
        end
        -- More than was announced, and less.
        local a = n.assembly(5)
        assert(n.add(a, block 'abc') and n.finish(a) == nil)
        a = n.assembly(5)
        assert(n.add(a, block 'abc') and not n.add(a, block 'def') and not n.add(a, block 'de') and n.finish(a) == nil)
        -- What another node announces costs nothing.
        a = n.assembly(0xffffffff)
        assert(n.add(a, block 'abc') and n.finish(a) == nil)
        p, s = n.keep(block 'kept')
        assert(core.tostring(p, s) == 'kept')
        trash(p, s)",
    );
    for (call, error) in [
        ("n.assembly(-1)", "-1 is no size of a message"),
        ("n.assembly(1 << 32)", "is no size of a message"),
        ("n.announce('x', 1, 5)", "5 is no size of a large message"),
        ("n.announce('', 1, 0x8000)", "name length is invalid"),
        ("n.announce({}, 1, 0x8000)", "name is not a string"),
        ("n.announce('x', 0, 0x8000)", "Invalid request session 0"),
        ("n.part(pointer(16), 5, 0, 1)", "not held by this service"),
        ("n.response(pointer(16), 5)", "not held by this service"),
        ("n.keep(pointer(16), 5)", "not held by this service"),
        ("n.add(n.assembly(5), pointer(16), 5)", "not held by this service"),
        ("n.add({}, pointer(16), 5)", "assembly of skein.cluster expected"),
    ] {
        assert!(probe.error(call).contains(error), "{call}: {}", probe.error(call));
    }
}

#[test]
fn what_is_no_text_is_taken_as_skynet_takes_it() {
    let probe = probe();
    probe.eval::<()>(
        "local function fails(expected, f, ...)
            local ok, why = pcall(f, ...)
            assert(not ok and why:find(expected, 1, true), why)
        end
        -- A number is a pointer that lacks, here and in front of a size.
        fails('bad argument #4', c.packresponse, 1, true, 12)
        fails('bad argument #4', c.packresponse, 1, true)
        fails('bad argument #3', c.packresponse, 1, true, 12, 2)
        assert(c.concat { '4', 'ab', 'cd' } == nil)
        local parts = {}
        assert(select('#', c.append(parts, nil)) == 0 and #parts == 0)",
    );
}

#[test]
fn small_frames_are_the_same_whichever_way_they_take() {
    let probe = probe();
    // On both sides of what is interned, of what is small, and of a part; by name and by number; what is packed and what was received.
    probe.eval::<()>(
        "for _, size in ipairs { 0, 1, 20, 28, 29, 30, 40, 41, 900, 999, 1000, 1001, 2000, 32767 } do
            local text = rep('x', size)
            for _, to in ipairs { 7, '@name', rep('n', 255) } do
                local function frame(session, ...) return (c.packrequest(to, session, ...)) end
                local head = type(to) == 'number' and string.pack('<I1I4I4', 0, to, 5)
                    or string.pack('<I1s1I4', 0x80, to, 5)
                local m, n = pack(text)
                local body = core.tostring(m, n)
                if #body < 32768 then
                    assert(frame(5, m, n) == string.pack('>s2', head .. body), size)
                    local push = c.packpush(to, 5, pack(text))
                    assert(push == string.pack('>s2', head:sub(1, -5) .. '\\0\\0\\0\\0' .. body), size)
                else
                    trash(m, n)
                end
            end
            if size <= 32768 then
                local answer = string.pack('<I4I1', 9, 1) .. text
                assert(c.packresponse(9, true, text) == string.pack('>s2', answer), size)
                local session, ok, data = c.unpackresponse(answer)
                assert(session == 9 and ok and data == text, size)
            end
        end
        -- A part of a message, one that is not the last given, and one that is no more.
        local m, n = pack(rep('y', 60))
        local k, l = pack(rep('z', 60))
        assert(c.packrequest('a', 1, m, 50):find('y', 1, true))
        assert(not pcall(c.packrequest, 'a', 1, m, 50))
        assert(not pcall(c.packrequest, 'a', 1, k, 1000))
        trash(k, l)",
    );
    assert_eq!(probe.state.blocks_in_hand(), 0);
}
