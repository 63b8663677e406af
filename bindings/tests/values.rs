//! Packed values in Rust, held to the same data as those in Lua.

mod support;

use proptest::prelude::*;
use serde_json::Value as Json;
use skein_arena::{Arena, Options};
use skein_bindings::values::{PackError, Table, Value, pack, unpack};
use support::{Probe, hex, unhex};

fn arena() -> Arena {
    Arena::private(&Options::default()).unwrap()
}

#[test]
fn every_recorded_stream_is_read_and_written_back() {
    let file: Json = serde_json::from_str(include_str!("golden/seri.json")).unwrap();
    let mut read = 0;
    for case in file["pack"].as_array().unwrap() {
        // Very long ones are recorded in part.
        let Some(text) = case["hex"].as_str() else { continue };
        let bytes = unhex(text);
        let values = unpack(&bytes).unwrap_or_else(|error| panic!("{}: {error}", case["lua"]));
        if case["unpack"].as_array().is_some() {
            assert_eq!(values.len(), case["unpack"].as_array().unwrap().len(), "{}", case["lua"]);
        }
        assert_eq!(hex(&pack(arena(), &values).unwrap()), text, "{}", case["lua"]);
        read += 1;
    }
    assert!(read > 100, "{read} cases");
}

#[test]
fn what_rust_packs_lua_unpacks() {
    let probe = Probe::new();
    let inner =
        Table { items: vec![1.into(), Value::Nil, 2.5.into()], pairs: vec![(true.into(), (-7).into())] };
    let table =
        Table { items: Vec::new(), pairs: vec![("inner".into(), inner.into()), (1.5.into(), "x".into())] };
    let block =
        pack(arena(), &["add".into(), i64::MIN.into(), table.into(), vec![0u8; 70_000].into()]).unwrap();
    probe.globals.set("packed", probe.lua.create_string(&*block).unwrap()).unwrap();
    let same: bool = probe.eval(
        "local word, least, table, long = unpack(packed)
        assert(select('#', unpack(packed)) == 4)
        assert(word == 'add' and least == math.mininteger and long == ('\\0'):rep(70000))
        assert(table[1.5] == 'x' and table.inner[1] == 1 and table.inner[2] == nil and table.inner[3] == 2.5)
        return table.inner[true] == -7",
    );
    assert!(same);
}

#[test]
fn limits_are_errors() {
    let mut deep = Table::default();
    for _ in 0..32 {
        deep = Table { items: vec![deep.into()], pairs: Vec::new() };
    }
    let fits = [deep.clone().into()];
    assert!(unpack(&pack(arena(), &fits).unwrap()).unwrap() == fits);
    let deeper = Table {
        items: vec![Table { items: vec![deep.into()], pairs: Vec::new() }.into()],
        pairs: Vec::new(),
    };
    assert!(matches!(pack(arena(), &[deeper.into()]), Err(PackError::TooDeep)));
    for key in [Value::Nil, f64::NAN.into()] {
        let table = Table { items: Vec::new(), pairs: vec![(key, 1.into())] };
        assert!(matches!(pack(arena(), &[table.into()]), Err(PackError::Key)));
    }
}

#[test]
fn a_float_is_an_integer_where_lua_says_so() {
    for (value, integer) in [
        (Value::Number(3.0), Some(3)),
        (Value::Number(3.5), None),
        (Value::Number(-9_223_372_036_854_775_808.0), Some(i64::MIN)),
        (Value::Number(9_223_372_036_854_775_808.0), None),
        (Value::Number(f64::NAN), None),
        (Value::Number(f64::INFINITY), None),
        ("3".into(), None),
    ] {
        assert_eq!(value.as_integer(), integer, "{value:?}");
    }
}

#[test]
fn broken_bytes_are_named_with_their_place() {
    for (bytes, text) in [
        (&[0x0a][..], "no packed values: a number that is cut short at byte 1 of 1"),
        (&[0x07], "no packed values: an unknown type at byte 1 of 1"),
        (&[0x1c, b'a'], "no packed values: a string that is cut short at byte 1 of 2"),
        (&[0x06], "no packed values: a table without an end at byte 1 of 1"),
        (&[0x06; 300], "no packed values: a table without an end at byte 300 of 300"),
    ] {
        let error = unpack(bytes).unwrap_err().to_string();
        if bytes.len() < 300 {
            assert_eq!(error, text);
        }
    }
    // A count of 2^62 items.
    let mut hostile = vec![0xfe, 0x32];
    hostile.extend((1_i64 << 62).to_le_bytes());
    assert!(unpack(&hostile).unwrap_err().to_string().contains("a table without an end"));
}

proptest! {
    #[test]
    fn any_bytes_are_values_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(values) = unpack(&bytes) {
            // What was read can be written, unless it nests deeper than writers may; and reads the same again.
            if let Ok(block) = pack(arena(), &values) {
                prop_assert_eq!(format!("{:?}", unpack(&block).unwrap()), format!("{values:?}"));
            }
        }
    }
}
