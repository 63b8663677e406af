//! Packed values for services in Rust: the same bytes as Lua's `skynet.pack`, read without a copy, written into the block that
//! travels.
//!
//! ```
//! use skein_arena::{Arena, Options};
//! use skein_bindings::values::{self, Table, Value};
//!
//! let arena = Arena::private(&Options::default())?;
//! // What `skynet.pack("add", { name = "ann", 7 })` gives in Lua.
//! let table = Table { items: vec![7.into()], pairs: vec![("name".into(), "ann".into())] };
//! let block = values::pack(arena, &["add".into(), table.into()])?;
//!
//! let values = values::unpack(&block)?;
//! assert_eq!(values[0].as_str(), Some("add"));
//! let table = values[1].as_table().unwrap();
//! assert_eq!(table.get("name").and_then(Value::as_str), Some("ann"));
//! assert_eq!(table.items[0].as_integer(), Some(7));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::borrow::Cow;

use skein_arena::{Arena, Block};

use super::out::Out;
use super::pack::Refused;
use super::scan::{Check, Malformed, Notes, Scan};
use super::write::Write;
use super::{
    BOOLEAN, COOKIE_MAX, LONG_STRING, NIL, NUMBER, POINTER, READ_DEPTH, SHORT_STRING, TABLE, WRITE_DEPTH,
    number,
};

/// A Lua value that can travel. Strings that were unpacked show the bytes of the message.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `nil`.
    Nil,
    /// A boolean.
    Boolean(bool),
    /// A number that is an integer.
    Integer(i64),
    /// A number that is a float.
    Number(f64),
    /// A light userdata. It means something in one process only, and owns nothing.
    Pointer(u64),
    /// A string, of any bytes.
    String(Cow<'a, [u8]>),
    /// A table.
    Table(Table<'a>),
}

/// A table: the items of its array part, then the other pairs, in no order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table<'a> {
    /// What stands under 1, 2, 3 and so on.
    pub items: Vec<Value<'a>>,
    /// Keys and values. A key is neither nil nor NaN.
    pub pairs: Vec<(Value<'a>, Value<'a>)>,
}

impl<'a> Table<'a> {
    /// What stands under a string.
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.pairs
            .iter()
            .find(|(k, _)| matches!(k, Value::String(it) if **it == *key.as_bytes()))
            .map(|(_, v)| v)
    }
}

impl<'a> Value<'a> {
    /// The integer; also that of a float without a fraction, as Lua converts it.
    pub fn as_integer(&self) -> Option<i64> {
        match *self {
            Value::Integer(value) => Some(value),
            // -2^63 and 2^63 are floats; what is between, the upper end left out, fits.
            Value::Number(value)
                if value.fract() == 0.0
                    && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value) =>
            {
                Some(value as i64)
            }
            _ => None,
        }
    }

    /// The number, of either kind.
    pub fn as_number(&self) -> Option<f64> {
        match *self {
            Value::Integer(value) => Some(value as f64),
            Value::Number(value) => Some(value),
            _ => None,
        }
    }

    /// The bytes of a string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        if let Value::String(bytes) = self { Some(bytes) } else { None }
    }

    /// The text of a string that is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        self.as_bytes().and_then(|it| std::str::from_utf8(it).ok())
    }

    /// The table.
    pub fn as_table(&self) -> Option<&Table<'a>> {
        if let Value::Table(table) = self { Some(table) } else { None }
    }

    /// What an `if` in Lua says: everything but `nil` and `false`.
    pub fn is_true(&self) -> bool {
        !matches!(self, Value::Nil | Value::Boolean(false))
    }
}

macro_rules! from {
    ($($from:ty => |$it:ident| $value:expr;)*) => {$(
        impl<'a> From<$from> for Value<'a> {
            fn from($it: $from) -> Self {
                $value
            }
        }
    )*};
}

from! {
    bool => |it| Value::Boolean(it);
    i32 => |it| Value::Integer(it.into());
    u32 => |it| Value::Integer(it.into());
    i64 => |it| Value::Integer(it);
    f64 => |it| Value::Number(it);
    &'a str => |it| Value::String(Cow::Borrowed(it.as_bytes()));
    &'a [u8] => |it| Value::String(Cow::Borrowed(it));
    String => |it| Value::String(Cow::Owned(it.into_bytes()));
    Vec<u8> => |it| Value::String(Cow::Owned(it));
    Table<'a> => |it| Value::Table(it);
}

/// Bytes that are no packed values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no packed values: {what} at byte {at} of {len}")]
pub struct UnpackError {
    /// Where reading ended.
    pub at: usize,
    /// How many bytes there are.
    pub len: usize,
    what: &'static str,
}

/// Values that cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The limit of the format.
    #[error("tables nest deeper than {WRITE_DEPTH}")]
    TooDeep,
    /// The limit of the format.
    #[error("a string has 2 GiB or more")]
    LongString,
    /// No such key exists.
    #[error("a key is nil or NaN")]
    Key,
    /// There is no block to write into.
    #[error(transparent)]
    Arena(#[from] skein_arena::Error),
}

/// The values of a message.
///
/// # Errors
/// The bytes are cut short, or were never packed values. What was allocated until then is a fixed multiple of `bytes`.
pub fn unpack(bytes: &[u8]) -> Result<Vec<Value<'_>>, UnpackError> {
    let mut notes = Notes::new();
    let mut scan = Scan { rest: bytes, notes: &mut notes };
    let mut values = Vec::new();
    while let [_, ..] = scan.rest {
        values.push(value(&mut scan, 0).map_err(|malformed| explain(malformed, bytes.len()))?);
    }
    Ok(values)
}

fn explain(malformed: Malformed, len: usize) -> UnpackError {
    let Malformed::Stream { left, check } = malformed else {
        return UnpackError { at: len, len, what: "a key that is NaN" };
    };
    let what = match check {
        Check::Number => "a number that is cut short",
        Check::NumberKind => "an unknown kind of number",
        Check::Pointer => "a pointer that is cut short",
        Check::String => "a string that is cut short",
        Check::StringLength => "a length that is none",
        Check::TableLength => "a count that is none",
        Check::TableEnd => "a table without an end",
        Check::Type => "an unknown type",
        Check::Depth => "tables that nest too deep",
    };
    UnpackError { at: len - left, len, what }
}

fn value<'a>(scan: &mut Scan<'a, '_>, depth: u32) -> Result<Value<'a>, Malformed> {
    let [byte] = scan.take::<1>(Check::TableEnd)?;
    let cookie = byte >> 3;
    Ok(match byte & 7 {
        NIL => Value::Nil,
        BOOLEAN => Value::Boolean(cookie != 0),
        NUMBER if cookie == number::REAL => Value::Number(f64::from_le_bytes(scan.take(Check::Number)?)),
        NUMBER => Value::Integer(scan.integer(cookie)?),
        POINTER => Value::Pointer(u64::from_le_bytes(scan.take(Check::Pointer)?)),
        SHORT_STRING | LONG_STRING => Value::String(Cow::Borrowed(scan.string(byte)?)),
        TABLE => Value::Table(table(scan, cookie, depth + 1)?),
        _ => return scan.fail(Check::Type),
    })
}

fn table<'a>(scan: &mut Scan<'a, '_>, cookie: u8, depth: u32) -> Result<Table<'a>, Malformed> {
    if depth > READ_DEPTH {
        return scan.fail(Check::Depth);
    }
    let count = if cookie == COOKIE_MAX { scan.count()? } else { i64::from(cookie) };
    let mut table = Table::default();
    // Each item takes a byte at least: what is left bounds the vector, whatever the count says.
    for _ in 0..count {
        table.items.push(value(scan, depth)?);
    }
    loop {
        let key = value(scan, depth)?;
        match key {
            Value::Nil => return Ok(table),
            Value::Number(it) if it.is_nan() => return Err(Malformed::NanKey),
            _ => {}
        }
        let value = value(scan, depth)?;
        table.pairs.push((key, value));
    }
}

/// A block with the values, for `send`.
///
/// # Errors
/// The values are beyond the format, or the arena has no room.
pub fn pack(arena: Arena, values: &[Value<'_>]) -> Result<Block, PackError> {
    let mut out = Out::new(arena, 64)?;
    let mut pointers = Vec::new();
    let mut write = Write { out: &mut out, pointers: &mut pointers, owned: &|_| false };
    for value in values {
        put(&mut write, value, 0)?;
    }
    Ok(out.finish(arena)?)
}

fn put(write: &mut Write<'_>, value: &Value<'_>, depth: u32) -> Result<(), PackError> {
    if depth > WRITE_DEPTH {
        return Err(PackError::TooDeep);
    }
    match value {
        Value::Nil => write.nil(),
        Value::Boolean(value) => write.boolean(*value),
        Value::Integer(value) => write.integer(*value),
        Value::Number(value) => write.real(*value),
        // Nothing is given away with it: `owned` says so.
        Value::Pointer(address) => write.pointer(*address as usize),
        Value::String(bytes) => write.string(bytes),
        Value::Table(table) => return put_table(write, table, depth + 1),
    }
    .map_err(refused)
}

fn put_table(write: &mut Write<'_>, table: &Table<'_>, depth: u32) -> Result<(), PackError> {
    write.table(table.items.len() as i64).map_err(refused)?;
    for item in &table.items {
        put(write, item, depth)?;
    }
    for (key, value) in &table.pairs {
        if matches!(key, Value::Nil) || matches!(key, Value::Number(it) if it.is_nan()) {
            return Err(PackError::Key);
        }
        put(write, key, depth)?;
        put(write, value, depth)?;
    }
    write.nil().map_err(refused)
}

fn refused(refused: Refused) -> PackError {
    match refused {
        Refused::LongString => PackError::LongString,
        Refused::Arena(error) => PackError::Arena(error),
        Refused::TooDeep | Refused::Type(_) | Refused::Stack | Refused::Raised => {
            unreachable!("no Lua value is looked at")
        }
    }
}
