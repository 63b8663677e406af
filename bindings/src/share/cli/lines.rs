//! A table as lines: a path and a value for each of its leaves, in an order that depends on the keys alone.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ffi::c_void;
use std::fmt::Write;

use skein_vm::mlua::{self, Table, Value};

/// Path and value of each leaf.
pub(super) type Lines = Vec<(String, String)>;

/// Tables inside of tables that are followed.
const DEPTH: usize = 200;

/// The lines of a table.
///
/// # Errors
/// Not enough memory.
pub(super) fn of(table: &Table) -> Result<Lines, String> {
    let mut walk = Walk { lines: Vec::new(), seen: HashMap::new() };
    walk.table(table, String::new(), 0).map_err(|error| error.to_string())?;
    Ok(walk.lines)
}

struct Walk {
    lines: Lines,
    /// Where a table was met first.
    seen: HashMap<*const c_void, String>,
}

impl Walk {
    fn table(&mut self, table: &Table, path: String, depth: usize) -> mlua::Result<()> {
        if let Some(first) = self.seen.get(&table.to_pointer()) {
            let first = if first.is_empty() { "the table itself" } else { first };
            self.lines.push((path, format!("<{first}>")));
            return Ok(());
        }
        if depth == DEPTH {
            self.lines.push((path, "<more>".to_owned()));
            return Ok(());
        }
        self.seen.insert(table.to_pointer(), path.clone());
        let mut entries = Vec::new();
        table.for_each(|key: Value, value: Value| {
            entries.push((key, value));
            Ok(())
        })?;
        entries.sort_by(|(a, _), (b, _)| order(a, b));
        if entries.is_empty() {
            self.lines.push((path.clone(), "{}".to_owned()));
        }
        for (key, value) in entries {
            let path = format!("{path}{}", step(&key));
            match value {
                Value::Table(inner) => self.table(&inner, path, depth + 1)?,
                other => self.lines.push((path, shown(&other))),
            }
        }
        match table.metatable() {
            Some(meta) => self.table(&meta, format!("{path}<metatable>"), depth + 1),
            None => Ok(()),
        }
    }
}

/// Numbers, then texts, then the others.
fn order(a: &Value, b: &Value) -> Ordering {
    let rank = |it: &Value| match it {
        Value::Integer(_) | Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Boolean(_) => 2,
        _ => 3,
    };
    let number = |it: &Value| match it {
        Value::Integer(it) => *it as f64,
        other => other.as_number().unwrap_or_default(),
    };
    match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => a.as_bytes().cmp(&b.as_bytes()),
        (Value::Boolean(a), Value::Boolean(b)) => a.cmp(b),
        _ if rank(a) == 0 && rank(b) == 0 => number(a).total_cmp(&number(b)),
        _ => rank(a).cmp(&rank(b)),
    }
}

/// `.name`, `[1]`, `["any text"]`.
fn step(key: &Value) -> String {
    if let Value::String(text) = key {
        let bytes = text.as_bytes();
        let letter = |it: &u8| it.is_ascii_alphabetic() || *it == b'_';
        if bytes.first().is_some_and(letter) && bytes.iter().all(|it| letter(it) || it.is_ascii_digit()) {
            return format!(".{}", String::from_utf8_lossy(&bytes));
        }
    }
    format!("[{}]", shown(key))
}

/// A value as Lua would read it.
fn shown(value: &Value) -> String {
    match value {
        Value::Boolean(it) => it.to_string(),
        Value::Integer(it) => it.to_string(),
        Value::Number(it) if it.is_nan() => "0/0".to_owned(),
        Value::Number(it) if it.is_infinite() => if *it > 0.0 { "1/0" } else { "-1/0" }.to_owned(),
        Value::Number(it) => format!("{it:?}"),
        Value::String(it) => quoted(&it.as_bytes()),
        other => format!("<{}>", other.type_name()),
    }
}

fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for it in chunk.valid().chars() {
            match it {
                '"' | '\\' => text.extend(['\\', it]),
                '\n' => text.push_str("\\n"),
                it if it.is_control() => {
                    let _ = write!(text, "\\u{{{:x}}}", u32::from(it));
                }
                it => text.push(it),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.push('"');
    text
}

/// What changes from `before` to `after`: `- path = value` and `+ path = value`, in order of paths as they were.
pub(super) fn compare(before: &Lines, after: &Lines) -> Vec<String> {
    let was: HashMap<&str, &str> =
        before.iter().map(|(path, value)| (path.as_str(), value.as_str())).collect();
    let is: HashMap<&str, &str> = after.iter().map(|(path, value)| (path.as_str(), value.as_str())).collect();
    let mut lines = Vec::new();
    for (path, value) in before {
        match is.get(path.as_str()) {
            Some(now) if now == value => {}
            Some(now) => lines.extend([format!("- {path} = {value}"), format!("+ {path} = {now}")]),
            None => lines.push(format!("- {path} = {value}")),
        }
    }
    let new = after.iter().filter(|(path, _)| !was.contains_key(path.as_str()));
    lines.extend(new.map(|(path, value)| format!("+ {path} = {value}")));
    lines
}
