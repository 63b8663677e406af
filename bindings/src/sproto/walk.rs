//! From a table to the bytes of a message, when no Lua code need run.
//!
//! Values are read where the machine has them (`skein_vm::walk`) and written at the [`desk`](super::desk): nothing is pushed, nothing
//! raises, so that a field costs one look-up by the address of its name. Whatever is not plain (a metamethod, a text that means
//! a number, a value of the wrong type, a message that is too large) ends the walk, and [`mod@super::encode`] begins anew: it knows all
//! rules, and the words of each error.
//!
//! # From skynet
//! lsproto.c: `encode`; sproto.c: `sproto_encode`, for what most messages are.

use std::ffi::c_void;

use skein_vm::walk::{self, Table, Value};

use super::desk::MOST;
use super::encode::{DEPTH, inline_word, to_integer};
use super::schema::{Field, Kind, Schema, Shape, Type};
use crate::raw::lua_State;

/// The address of a string of the state: the name of a field.
pub(super) type Name = *const c_void;

/// The message needs Lua's interface.
#[derive(Clone, Copy, Debug)]
pub(super) struct Careful;

type Done<T = ()> = Result<T, Careful>;

struct Walk<'a> {
    state: *mut lua_State,
    schema: &'a Schema,
    names: &'a [Name],
    out: &'a mut Vec<u8>,
    /// The length that `out` may reach.
    most: usize,
}

/// Appends the table in slot 2 as a message of type `ty` to `out`.
///
/// # Errors
/// [`Careful`]; `out` has what was written before.
///
/// # Safety
/// `names` are those of all fields of `schema`, kept by the state; slot 2 is valid, and no Lua code runs meanwhile.
pub(super) unsafe fn message(
    state: *mut lua_State,
    schema: &Schema,
    ty: &Type,
    names: &[Name],
    out: &mut Vec<u8>,
) -> Done {
    // SAFETY: by the caller's promise. (So for all below.)
    unsafe {
        let Value::Table(table) = walk::slot(state, 2) else { return Err(Careful) };
        let most = out.len() + MOST;
        Walk { state, schema, names, out, most }.fields(ty, table, 0)
    }
}

/// The words of a struct that is being written, behind its room for them.
struct Words {
    /// Where the struct begins.
    start: usize,
    /// Where the next word goes.
    at: usize,
    /// The tag that it would stand for.
    next: u32,
}

impl Words {
    #[inline(always)]
    fn begin(out: &mut Vec<u8>, ty: &Type) -> Words {
        let (start, room) = (out.len(), 2 + 2 * ty.most_words);
        // A few stores for what is small.
        const SMALL: usize = 32;
        if room <= SMALL {
            out.extend_from_slice(&[0; SMALL]);
            out.truncate(start + room);
        } else {
            out.resize(start + room, 0);
        }
        Words { start, at: start + 2, next: 0 }
    }

    /// The word of `tag`, after one for the tags that are missing in between.
    #[inline(always)]
    fn push(&mut self, out: &mut [u8], tag: u16, word: u16) {
        let missing = u32::from(tag) - self.next;
        if missing > 0 {
            self.write(out, ((missing - 1) * 2 + 1) as u16);
        }
        self.write(out, word);
        self.next = u32::from(tag) + 1;
    }

    #[inline(always)]
    fn write(&mut self, out: &mut [u8], word: u16) {
        out[self.at..self.at + 2].copy_from_slice(&word.to_le_bytes());
        self.at += 2;
    }

    /// Writes the count, and closes the gap between the words and the data.
    #[inline(always)]
    fn finish(self, out: &mut Vec<u8>, ty: &Type) {
        let Words { start, at, .. } = self;
        let count = (at - start) / 2 - 1;
        out[start..start + 2].copy_from_slice(&(count as u16).to_le_bytes());
        let data = start + 2 + 2 * ty.most_words;
        if at < data {
            out.copy_within(data.., at);
            out.truncate(out.len() - (data - at));
        }
    }
}

/// A number as the integer that it is; none if it is no whole one.
#[inline(always)]
fn integer(field: &Field, value: Value<'_>) -> Done<i64> {
    match (field.kind, value) {
        (Kind::Decimal(digits), value) => Ok(to_integer((real(value)? * 10f64.powi(digits as i32)).round())),
        (_, Value::Integer(value)) => Ok(value),
        (_, Value::Real(value)) => {
            let whole = to_integer(value);
            // The least integer also stands for what is none.
            if whole as f64 == value && whole != i64::MIN { Ok(whole) } else { Err(Careful) }
        }
        _ => Err(Careful),
    }
}

#[inline(always)]
fn real(value: Value<'_>) -> Done<f64> {
    match value {
        Value::Real(value) => Ok(value),
        Value::Integer(value) => Ok(value as f64),
        _ => Err(Careful),
    }
}

#[inline(always)]
fn boolean(value: Value<'_>) -> Done<bool> {
    match value {
        Value::Boolean(value) => Ok(value),
        _ => Err(Careful),
    }
}

impl Walk<'_> {
    /// Ends the walk if the message is too large, before or behind `more` bytes.
    #[inline(always)]
    fn check(&self, more: usize) -> Done {
        if self.out.len().saturating_add(more) <= self.most { Ok(()) } else { Err(Careful) }
    }

    /// Writes the size of all that stands behind `at`, where 4 bytes are set aside for it.
    #[inline(always)]
    fn close(&mut self, at: usize) {
        let size = (self.out.len() - at - 4) as u32;
        self.out[at..at + 4].copy_from_slice(&size.to_le_bytes());
    }

    /// Writes a struct.
    ///
    /// # Safety
    /// As [`message`]; `table` is good. (So for all below.)
    unsafe fn fields(&mut self, ty: &Type, table: Table, depth: u32) -> Done {
        if depth >= DEPTH {
            return Err(Careful);
        }
        let names = &self.names[ty.first_name as usize..][..ty.fields.len()];
        let mut words = Words::begin(self.out, ty);
        for (field, name) in ty.fields.iter().zip(names) {
            // SAFETY: by the caller's promise; the names are strings of this state.
            let value = unsafe { table.field(self.state, *name).ok_or(Careful)? };
            if let Value::Nil = value {
                continue;
            }
            // SAFETY: by the caller's promise.
            let word = unsafe { self.value(field, value, depth)? };
            words.push(self.out, field.tag, word);
        }
        words.finish(self.out, ty);
        self.check(0)
    }

    /// Writes the value of a field, and says which word stands for it.
    #[inline(always)]
    unsafe fn value(&mut self, field: &Field, value: Value<'_>, depth: u32) -> Done<u16> {
        if field.shape != Shape::One {
            // SAFETY: by the caller's promise.
            unsafe { self.many(field, value, depth)? };
            return Ok(0);
        }
        match field.kind {
            Kind::Integer | Kind::Decimal(_) => {
                let value = integer(field, value)?;
                if (0..0x7fff).contains(&value) {
                    return Ok(inline_word(value as u64));
                }
                match i32::try_from(value) {
                    Ok(small) => self.number(small.to_le_bytes()),
                    Err(_) => self.number(value.to_le_bytes()),
                }
            }
            Kind::Boolean => return Ok(inline_word(boolean(value)?.into())),
            Kind::Double => self.number(real(value)?.to_le_bytes()),
            Kind::String | Kind::Binary => self.text(value)?,
            // SAFETY: by the caller's promise.
            Kind::Struct(index) => unsafe { self.nested(index, value, depth)? },
        }
        Ok(0)
    }

    /// Writes a number with its size.
    #[inline(always)]
    fn number<const N: usize>(&mut self, bytes: [u8; N]) {
        self.out.reserve(4 + N);
        self.out.extend_from_slice(&(N as u32).to_le_bytes());
        self.out.extend_from_slice(&bytes);
    }

    /// Writes a string with its size.
    #[inline(always)]
    fn text(&mut self, value: Value<'_>) -> Done {
        let Value::String(text) = value else { return Err(Careful) };
        self.check(text.len().saturating_add(4))?;
        self.out.reserve(4 + text.len());
        self.out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.out.extend_from_slice(text);
        Ok(())
    }

    /// Writes a struct with its size.
    unsafe fn nested(&mut self, index: u16, value: Value<'_>, depth: u32) -> Done {
        let Value::Table(table) = value else { return Err(Careful) };
        let at = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        let schema = self.schema;
        // SAFETY: by the caller's promise; a table's values are good as long as itself.
        unsafe { self.fields(&schema.types[usize::from(index)], table, depth + 1)? };
        self.close(at);
        Ok(())
    }

    /// Writes the values of a container, with their size in front.
    unsafe fn many(&mut self, field: &Field, value: Value<'_>, depth: u32) -> Done {
        let Value::Table(container) = value else { return Err(Careful) };
        let at = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        // SAFETY: by the caller's promise.
        unsafe {
            match field.shape {
                Shape::One | Shape::Array => self.array(field, container, depth)?,
                Shape::Indexed(_) | Shape::Map(..) => self.pairs(field, container, depth)?,
            }
        }
        self.close(at);
        self.check(0)
    }

    /// The value at `index`: none behind the last one.
    #[inline(always)]
    unsafe fn item<'v>(container: Table, index: i64) -> Done<Option<Value<'v>>> {
        // SAFETY: by the caller's promise.
        unsafe {
            match container.item(index) {
                Value::Nil if container.is_plain() => Ok(None),
                Value::Nil => Err(Careful),
                value => Ok(Some(value)),
            }
        }
    }

    /// Values under 1, 2, 3 …
    unsafe fn array(&mut self, field: &Field, container: Table, depth: u32) -> Done {
        let mut index = 1;
        // SAFETY: by the caller's promise.
        unsafe {
            match field.kind {
                Kind::Integer | Kind::Decimal(_) => return self.integers(field, container),
                Kind::Double => {
                    while let Some(value) = Self::item(container, index)? {
                        if index == 1 {
                            self.out.push(8);
                        }
                        self.check(8)?;
                        self.out.extend_from_slice(&real(value)?.to_le_bytes());
                        index += 1;
                    }
                }
                Kind::Boolean => {
                    while let Some(value) = Self::item(container, index)? {
                        self.check(1)?;
                        self.out.push(boolean(value)?.into());
                        index += 1;
                    }
                }
                Kind::String | Kind::Binary => {
                    while let Some(value) = Self::item(container, index)? {
                        self.text(value)?;
                        index += 1;
                    }
                }
                Kind::Struct(it) => {
                    while let Some(value) = Self::item(container, index)? {
                        self.nested(it, value, depth)?;
                        index += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// Integers under 1, 2, 3 …: 4 bytes each as long as that is enough, 8 bytes each from then on, and for those before.
    unsafe fn integers(&mut self, field: &Field, container: Table) -> Done {
        let start = self.out.len();
        let mut index = 1;
        // SAFETY: by the caller's promise.
        unsafe {
            while let Some(value) = Self::item(container, index)? {
                let value = integer(field, value)?;
                if index == 1 {
                    self.out.push(4);
                }
                let Ok(small) = i32::try_from(value) else {
                    self.widen(start);
                    return self.wide(field, container, index);
                };
                self.check(4)?;
                self.out.extend_from_slice(&small.to_le_bytes());
                index += 1;
            }
        }
        Ok(())
    }

    /// What [`Walk::integers`] does from `index` on, the first that needs 8 bytes.
    unsafe fn wide(&mut self, field: &Field, container: Table, mut index: i64) -> Done {
        // SAFETY: by the caller's promise.
        while let Some(value) = unsafe { Self::item(container, index)? } {
            self.check(8)?;
            self.out.extend_from_slice(&integer(field, value)?.to_le_bytes());
            index += 1;
        }
        Ok(())
    }

    /// Makes the integers behind the byte at `start` 8 bytes wide.
    fn widen(&mut self, start: usize) {
        let narrow = self.out.split_off(start);
        self.out.push(8);
        for value in narrow[1..].chunks_exact(4) {
            let value = i32::from_le_bytes(value.try_into().expect("four bytes"));
            self.out.extend_from_slice(&i64::from(value).to_le_bytes());
        }
    }

    /// Structs under keys of any kind.
    unsafe fn pairs(&mut self, field: &Field, container: Table, depth: u32) -> Done {
        let Kind::Struct(index) = field.kind else { return Err(Careful) };
        let mut at = 0;
        // SAFETY: by the caller's promise.
        unsafe {
            if !container.is_plain() {
                return Err(Careful);
            }
            while let Some((key, value, next)) = container.pair(at, 0) {
                match field.shape {
                    Shape::Map(key_at, _) => self.pair(index, key_at, (key, value), depth)?,
                    _ => self.nested(index, value, depth)?,
                }
                at = next;
            }
        }
        Ok(())
    }

    /// A pair as a struct of two fields.
    unsafe fn pair(
        &mut self,
        index: u16,
        key_at: u16,
        (key, value): (Value<'_>, Value<'_>),
        depth: u32,
    ) -> Done {
        if depth + 1 >= DEPTH {
            return Err(Careful);
        }
        let schema = self.schema;
        let ty = &schema.types[usize::from(index)];
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        let mut words = Words::begin(self.out, ty);
        for (at, field) in ty.fields.iter().enumerate() {
            let value = if at == usize::from(key_at) { key } else { value };
            // SAFETY: by the caller's promise.
            let word = unsafe { self.value(field, value, depth + 1)? };
            words.push(self.out, field.tag, word);
        }
        words.finish(self.out, ty);
        self.close(start);
        Ok(())
    }
}
