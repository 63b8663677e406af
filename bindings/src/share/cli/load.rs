//! From a file to a table, and from a table to a segment.
//!
//! Formats go by the ending: `.json`, `.msgpack` or `.mp`, and Lua otherwise. In JSON and MessagePack `null` is no value, integers beyond
//! 64 bits signed are floats, and binary data are strings.

use std::{ffi::CString, fmt, fs, path::Path, sync::Arc};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use skein_sharedata::{Segment, Tables};
use skein_vm::mlua::{Lua, Table, Value};
use skein_vm::shared::{self, Allowed};

use super::super::{To, root_at, segment_of};

/// The table that a file holds, or returns.
///
/// # Errors
/// One line, which begins with the file's name.
pub(super) fn file(lua: &Lua, path: &Path) -> Result<Table, String> {
    let said = |what: &dyn fmt::Display| {
        let what = what.to_string();
        format!("{}: {}", path.display(), what.lines().next().unwrap_or_default())
    };
    let bytes = fs::read(path).map_err(|error| said(&error))?;
    let ending = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
    let value = match ending {
        "json" => {
            let mut from = serde_json::Deserializer::from_slice(&bytes);
            let value = Make(lua).deserialize(&mut from).map_err(|error| said(&error))?;
            from.end().map_err(|error| said(&error))?;
            value
        }
        "msgpack" | "mp" => {
            let mut from = rmp_serde::Deserializer::new(std::io::Cursor::new(&bytes));
            let value = Make(lua).deserialize(&mut from).map_err(|error| said(&error))?;
            if from.position() != bytes.len() as u64 {
                return Err(said(&format_args!("something follows the value at byte {}", from.position())));
            }
            value
        }
        _ => return run(lua, path, &bytes),
    };
    match value {
        Value::Table(table) => Ok(table),
        other => Err(said(&format_args!("expected an object or a list, found a {}", other.type_name()))),
    }
}

/// What a Lua file returns.
fn run(lua: &Lua, path: &Path, bytes: &[u8]) -> Result<Table, String> {
    // As the `lua` program does: a first line that begins with `#` is for the system.
    let skip = if bytes.starts_with(b"#") {
        bytes.iter().position(|&it| it == b'\n').unwrap_or(bytes.len())
    } else {
        0
    };
    let chunk = lua.load(&bytes[skip..]).set_name(format!("@{}", path.display()));
    match chunk.eval::<Value>() {
        Ok(Value::Table(table)) => Ok(table),
        Ok(other) => Err(format!("{}: expected a table, found a {}", path.display(), other.type_name())),
        // Lua's own text says the place.
        Err(error) => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            let line = line.trim_start_matches("runtime error: ").trim_start_matches("syntax error: ");
            Err(line.to_owned())
        }
    }
}

/// Freezes a table into the domain, as the current version of `name`.
///
/// # Errors
/// Why not, with the path of what cannot be shared.
pub(super) fn freeze(
    lua: &Lua,
    table: &Table,
    name: &str,
    tables: &Arc<Tables>,
) -> Result<Arc<Segment>, skein_sharedata::Error> {
    let allowed = Allowed { functions: true, ..Allowed::default() };
    let name = CString::new(name).map_err(|_| skein_sharedata::Error::Name { name: name.to_owned() })?;
    let mut frozen = None;
    // SAFETY: the state runs nothing but this function; the table is in its first slot; freezing raises nothing.
    let called = unsafe {
        lua.exec_raw::<()>(table, |state| {
            frozen = Some(segment_of(state, 1, &name, allowed, To::Domain(tables)));
        })
    };
    let not_called = |error: skein_vm::mlua::Error| skein_sharedata::Error::Refused(error.to_string());
    called.map_err(not_called)?;
    frozen.expect("it was called")
}

/// The table of a segment, which has to outlive it.
///
/// # Errors
/// Not enough memory.
pub(super) fn push(lua: &Lua, segment: &Segment) -> Result<Table, String> {
    // SAFETY: a frozen table of a segment that is mapped; there is a free slot.
    let pushed = unsafe { lua.exec_raw((), |state| shared::push(state, root_at(segment.root()))) };
    pushed.map_err(|error| error.to_string())
}

/// Makes a Lua value of what comes.
#[derive(Clone, Copy)]
struct Make<'a>(&'a Lua);

impl<'de> DeserializeSeed<'de> for Make<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Make<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that a table can hold")
    }

    fn visit_bool<E>(self, it: bool) -> Result<Value, E> {
        Ok(Value::Boolean(it))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Value, E> {
        Ok(Value::Integer(it))
    }

    fn visit_u64<E>(self, it: u64) -> Result<Value, E> {
        Ok(i64::try_from(it).map_or(Value::Number(it as f64), Value::Integer))
    }

    fn visit_f64<E>(self, it: f64) -> Result<Value, E> {
        Ok(Value::Number(it))
    }

    fn visit_str<E: serde::de::Error>(self, it: &str) -> Result<Value, E> {
        self.visit_bytes(it.as_bytes())
    }

    fn visit_bytes<E: serde::de::Error>(self, it: &[u8]) -> Result<Value, E> {
        self.0.create_string(it).map(Value::String).map_err(E::custom)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let room = from.size_hint().unwrap_or(0).min(1 << 16);
        let table = self.0.create_table_with_capacity(room, 0).map_err(A::Error::custom)?;
        let mut place = 1;
        while let Some(value) = from.next_element_seed(self)? {
            table.raw_set(place, value).map_err(A::Error::custom)?;
            place += 1;
        }
        Ok(Value::Table(table))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let table = self.0.create_table().map_err(A::Error::custom)?;
        while let Some(key) = from.next_key_seed(self)? {
            match key {
                Value::Nil => return Err(A::Error::custom("a key is null")),
                Value::Number(it) if it.is_nan() => return Err(A::Error::custom("a key is no number")),
                _ => {}
            }
            let value: Value = from.next_value_seed(self)?;
            table.raw_set(key, value).map_err(A::Error::custom)?;
        }
        Ok(Value::Table(table))
    }
}
