//! From the bytes of a message to a table.
//!
//! Every size is checked against the bytes that are there before anything is made. Tables are made as large as they become, so what a
//! message costs is a fixed multiple of its size.
//!
//! # From skynet
//! lsproto.c: `decode`, `ldecode` → [`message`]; sproto.c: `sproto_decode` → [`Decoder::fields`], `decode_array` →
//! [`Decoder::push_array`].

use std::ffi::c_int;

use super::encode::DEPTH;
use super::schema::{Field, Kind, Schema, Shape, Type};
use crate::raw::{ffi, lua_State};

/// Slots that one level uses.
const SLOTS: c_int = 10;

/// Why bytes are no message. Plain, so that it can be raised when nothing is left.
#[derive(Clone, Copy, Debug)]
pub(super) enum Malformed<'a> {
    Bytes,
    TooDeep,
    NoIndex(&'a Field),
    NoKey(&'a Field),
    NoValue(&'a Field),
}

type Done<'a> = Result<(), Malformed<'a>>;

/// Where the fields of a struct go.
#[derive(Clone, Copy)]
enum Into {
    /// Into the table in this slot.
    Table(c_int),
    /// The fields with these indices into these slots, which hold nil.
    Pair { key: (usize, c_int), value: (usize, c_int) },
}

#[derive(Clone, Copy)]
struct Decoder<'a> {
    state: *mut lua_State,
    schema: &'a Schema,
    /// Slot of the list of field names.
    names: c_int,
}

/// Reads a message of type `ty` into the table in slot `table`, and says how many bytes it has.
///
/// # Errors
/// [`Malformed`]; the table has what came before.
///
/// # Safety
/// `state` runs a C function, nothing with a destructor is alive, and `message` stays while Lua makes values.
pub(super) unsafe fn message<'a>(
    state: *mut lua_State,
    schema: &'a Schema,
    ty: &'a Type,
    (names, table): (c_int, c_int),
    message: &[u8],
) -> Result<usize, Malformed<'a>> {
    let decoder = Decoder { state, schema, names };
    let rest = Struct::split(message).ok_or(Malformed::Bytes)?;
    // SAFETY: by the caller's promise.
    let left = unsafe { decoder.fields(ty, rest, Into::Table(table), 0) }?;
    Ok(message.len() - left)
}

/// How many values a message of `bytes` has, at most: for the size of its table.
pub(super) fn values(bytes: &[u8]) -> c_int {
    Struct::split(bytes).map_or(0, |it| it.values())
}

/// The words of a struct, and what stands behind them.
#[derive(Clone, Copy)]
struct Struct<'b> {
    words: &'b [u8],
    data: &'b [u8],
}

impl<'b> Struct<'b> {
    #[inline]
    fn split(bytes: &'b [u8]) -> Option<Struct<'b>> {
        let (count, rest) = bytes.split_first_chunk::<2>()?;
        let (words, data) = rest.split_at_checked(2 * usize::from(u16::from_le_bytes(*count)))?;
        Some(Struct { words, data })
    }

    /// Words that stand for a value.
    fn values(self) -> c_int {
        self.words.iter().step_by(2).filter(|&&low| low & 1 == 0).count() as c_int
    }
}

/// Takes a block off the front of `data`.
#[inline]
fn block<'b>(data: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (size, rest) = data.split_first_chunk::<4>()?;
    let (block, rest) = rest.split_at_checked(u32::from_le_bytes(*size) as usize)?;
    *data = rest;
    Some(block)
}

/// How many blocks stand in `bytes`.
fn count(mut bytes: &[u8]) -> Option<c_int> {
    let mut all = 0;
    while !bytes.is_empty() {
        block(&mut bytes)?;
        all += 1;
    }
    Some(all)
}

/// An integer of 4 or 8 bytes.
#[inline]
fn integer(bytes: &[u8]) -> Option<i64> {
    match bytes.len() {
        4 => Some(i64::from(i32::from_le_bytes(bytes.try_into().ok()?))),
        8 => Some(i64::from_le_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

impl<'a> Decoder<'a> {
    /// Reads the fields of a struct, and says how many bytes of data are left.
    ///
    /// # Safety
    /// As [`message`].
    unsafe fn fields(
        &self,
        ty: &'a Type,
        Struct { words, mut data }: Struct<'_>,
        into: Into,
        depth: u32,
    ) -> Result<usize, Malformed<'a>> {
        if depth >= DEPTH {
            return Err(Malformed::TooDeep);
        }
        let state = self.state;
        let mut tag = 0u32;
        // SAFETY: by the caller's promise; one level has its slots.
        unsafe {
            ffi::luaL_checkstack(state, SLOTS, std::ptr::null());
            for word in words.chunks_exact(2) {
                let word = u16::from_le_bytes([word[0], word[1]]);
                if word & 1 == 1 {
                    tag += u32::from(word / 2) + 1;
                    continue;
                }
                let bytes = match word {
                    0 => Some(block(&mut data).ok_or(Malformed::Bytes)?),
                    _ => None,
                };
                let found = ty.find(tag);
                tag += 1;
                let Some((at, field)) = found else { continue };
                if let Into::Table(_) = into {
                    ffi::lua_rawgeti(state, self.names, i64::from(ty.first_name) + at as i64 + 1);
                }
                match bytes {
                    None => self.push_inline(field, i64::from(word / 2) - 1)?,
                    Some(bytes) if field.shape == Shape::One => self.push_one(field, bytes, depth)?,
                    Some(bytes) => self.push_many(field, bytes, depth)?,
                }
                match into {
                    Into::Table(table) => ffi::lua_rawset(state, table),
                    Into::Pair { key, value } => {
                        let slot = [key, value].into_iter().find(|it| it.0 == at);
                        match slot {
                            Some((_, slot)) => ffi::lua_replace(state, slot),
                            None => ffi::lua_settop(state, -2),
                        }
                    }
                }
            }
        }
        Ok(data.len())
    }

    /// Pushes a number that stands among the words.
    ///
    /// # Safety
    /// As [`message`].
    #[inline]
    unsafe fn push_inline(&self, field: &'a Field, value: i64) -> Done<'a> {
        // SAFETY: by the caller's promise.
        unsafe {
            match field.kind {
                _ if field.shape != Shape::One => return Err(Malformed::Bytes),
                Kind::Integer | Kind::Decimal(_) => self.push_integer(field, value),
                Kind::Boolean => ffi::lua_pushboolean(self.state, c_int::from(value != 0)),
                _ => return Err(Malformed::Bytes),
            }
        }
        Ok(())
    }

    /// # Safety
    /// As [`message`].
    #[inline]
    unsafe fn push_integer(&self, field: &'a Field, value: i64) {
        // SAFETY: by the caller's promise.
        unsafe {
            match field.kind {
                Kind::Decimal(digits) => {
                    ffi::lua_pushnumber(self.state, value as f64 / 10f64.powi(digits as i32))
                }
                _ => ffi::lua_pushinteger(self.state, value),
            }
        }
    }

    /// Pushes the value of a block.
    ///
    /// # Safety
    /// As [`message`].
    #[inline]
    unsafe fn push_one(&self, field: &'a Field, bytes: &[u8], depth: u32) -> Done<'a> {
        // SAFETY: by the caller's promise.
        unsafe {
            match field.kind {
                Kind::Integer | Kind::Decimal(_) => {
                    self.push_integer(field, integer(bytes).ok_or(Malformed::Bytes)?);
                }
                Kind::Boolean => return Err(Malformed::Bytes),
                Kind::String | Kind::Binary => {
                    ffi::lua_pushlstring(self.state, bytes.as_ptr().cast(), bytes.len());
                }
                Kind::Double => {
                    let value = integer(bytes).ok_or(Malformed::Bytes)?;
                    ffi::lua_pushnumber(self.state, f64::from_bits(value as u64));
                }
                Kind::Struct(index) => self.push_struct(index, bytes, depth)?,
            }
        }
        Ok(())
    }

    /// Pushes a table of a struct, which must be all of `bytes`.
    ///
    /// # Safety
    /// As [`message`].
    unsafe fn push_struct(&self, index: u16, bytes: &[u8], depth: u32) -> Done<'a> {
        let parts = Struct::split(bytes).ok_or(Malformed::Bytes)?;
        let ty = &self.schema.types[usize::from(index)];
        // SAFETY: by the caller's promise.
        unsafe {
            ffi::lua_createtable(self.state, 0, parts.values().min(ty.fields.len() as c_int));
            let table = ffi::lua_gettop(self.state);
            match self.fields(ty, parts, Into::Table(table), depth + 1)? {
                0 => Ok(()),
                _ => Err(Malformed::Bytes),
            }
        }
    }

    /// Pushes a table of the values in a block.
    ///
    /// # Safety
    /// As [`message`].
    unsafe fn push_many(&self, field: &'a Field, bytes: &[u8], depth: u32) -> Done<'a> {
        // SAFETY: by the caller's promise.
        unsafe {
            match (field.shape, field.kind) {
                (Shape::Indexed(key), Kind::Struct(index)) => {
                    self.push_indexed(field, (index, key), bytes, depth)
                }
                (Shape::Map(key, value), Kind::Struct(index)) => {
                    self.push_map(field, (index, key, value), bytes, depth)
                }
                _ => self.push_array(field, bytes, depth),
            }
        }
    }

    /// # Safety
    /// As [`message`].
    unsafe fn push_array(&self, field: &'a Field, bytes: &[u8], depth: u32) -> Done<'a> {
        let state = self.state;
        // SAFETY: by the caller's promise.
        unsafe {
            match field.kind {
                Kind::Integer | Kind::Decimal(_) | Kind::Double => {
                    let (width, values) = match bytes.split_first() {
                        Some((&width, values)) if !values.is_empty() => (usize::from(width), values),
                        // No values, and then any width.
                        _ => (4, &[] as &[u8]),
                    };
                    if !matches!(width, 4 | 8) || values.len() % width != 0 {
                        return Err(Malformed::Bytes);
                    }
                    ffi::lua_createtable(state, (values.len() / width) as c_int, 0);
                    for (at, value) in values.chunks_exact(width).enumerate() {
                        let value = integer(value).ok_or(Malformed::Bytes)?;
                        match field.kind {
                            Kind::Double => ffi::lua_pushnumber(state, f64::from_bits(value as u64)),
                            _ => self.push_integer(field, value),
                        }
                        ffi::lua_rawseti(state, -2, at as i64 + 1);
                    }
                }
                Kind::Boolean => {
                    ffi::lua_createtable(state, bytes.len() as c_int, 0);
                    for (at, value) in bytes.iter().enumerate() {
                        ffi::lua_pushboolean(state, c_int::from(*value != 0));
                        ffi::lua_rawseti(state, -2, at as i64 + 1);
                    }
                }
                Kind::String | Kind::Binary | Kind::Struct(_) => {
                    ffi::lua_createtable(state, count(bytes).ok_or(Malformed::Bytes)?, 0);
                    let mut rest = bytes;
                    let mut at = 0;
                    while let Some(element) = block(&mut rest) {
                        at += 1;
                        self.push_one(field, element, depth)?;
                        ffi::lua_rawseti(state, -2, at);
                    }
                }
            }
        }
        Ok(())
    }

    /// Pushes a table of structs under one of their fields.
    ///
    /// # Safety
    /// As [`message`].
    unsafe fn push_indexed(
        &self,
        field: &'a Field,
        (index, key): (u16, u16),
        bytes: &[u8],
        depth: u32,
    ) -> Done<'a> {
        let state = self.state;
        let first = self.schema.types[usize::from(index)].first_name;
        // SAFETY: by the caller's promise.
        unsafe {
            ffi::lua_createtable(state, 0, count(bytes).ok_or(Malformed::Bytes)?);
            let mut rest = bytes;
            while let Some(element) = block(&mut rest) {
                self.push_struct(index, element, depth)?;
                if key == u16::MAX {
                    return Err(Malformed::NoIndex(field));
                }
                ffi::lua_rawgeti(state, self.names, i64::from(first) + i64::from(key) + 1);
                if ffi::lua_rawget(state, -2) == ffi::LUA_TNIL || self.is_nan() {
                    return Err(Malformed::NoIndex(field));
                }
                ffi::lua_insert(state, -2);
                ffi::lua_rawset(state, -3);
            }
        }
        Ok(())
    }

    /// Pushes a table of the pairs in a block.
    ///
    /// # Safety
    /// As [`message`].
    unsafe fn push_map(
        &self,
        field: &'a Field,
        (index, key, value): (u16, u16, u16),
        bytes: &[u8],
        depth: u32,
    ) -> Done<'a> {
        let state = self.state;
        let ty = &self.schema.types[usize::from(index)];
        // SAFETY: by the caller's promise.
        unsafe {
            ffi::lua_createtable(state, 0, count(bytes).ok_or(Malformed::Bytes)?);
            let table = ffi::lua_gettop(state);
            let into =
                Into::Pair { key: (usize::from(key), table + 1), value: (usize::from(value), table + 2) };
            let mut rest = bytes;
            while let Some(element) = block(&mut rest) {
                let parts = Struct::split(element).ok_or(Malformed::Bytes)?;
                ffi::lua_pushnil(state);
                ffi::lua_pushnil(state);
                if self.fields(ty, parts, into, depth + 1)? != 0 {
                    return Err(Malformed::Bytes);
                }
                ffi::lua_pushvalue(state, -2);
                if ffi::lua_type(state, -1) == ffi::LUA_TNIL || self.is_nan() {
                    return Err(Malformed::NoKey(field));
                }
                ffi::lua_settop(state, -2);
                if ffi::lua_type(state, -1) == ffi::LUA_TNIL {
                    return Err(Malformed::NoValue(field));
                }
                ffi::lua_rawset(state, table);
            }
        }
        Ok(())
    }

    /// Whether the value on top is the number that can be no key.
    ///
    /// # Safety
    /// As [`message`].
    unsafe fn is_nan(&self) -> bool {
        // SAFETY: by the caller's promise; nothing is converted.
        unsafe {
            ffi::lua_type(self.state, -1) == ffi::LUA_TNUMBER && ffi::lua_tonumber(self.state, -1).is_nan()
        }
    }
}
