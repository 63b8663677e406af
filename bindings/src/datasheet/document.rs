//! Sheets as bytes, and who has them.
//!
//! All numbers are little-endian. `strings: u32, tables: u32, offset: u32 × tables`, the tables, the strings. An offset counts from the
//! end of the offsets; 0xffffffff is a table that is gone. A table is `array: u32, dict: u32, type: u8 × (array + dict)`, zeros up to
//! a multiple of 4, `array` values of 4 bytes, and `dict` pairs of the offset of a key and a value. A string is an offset from
//! `strings` on, and ends at its NUL. Nothing of it is believed: each read is checked against the size.
//!
//! # Who frees a sheet
//! A sheet is named by the address of its bytes, in every service of the process. It belongs to the state that made the address of
//! it, and to each that reads it; a name whose owners are gone is refused.

use std::collections::HashMap;
use std::sync::{LazyLock, Weak};

use skein_arena::sync::{Arc, Mutex};

/// Why a sheet cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("Invalid proxy (index = {index}, total = {total})")]
    Total { index: u32, total: u32 },
    #[error("Invalid proxy (index = {0})")]
    Gone(u32),
    #[error("Invalid index {0}")]
    Index(u32),
    #[error("Invalid type {0}")]
    Type(u8),
    #[error("a datasheet ends at {at}, before its end at {len}")]
    Short { at: u64, len: u64 },
}

/// A sheet.
pub(super) struct Document {
    bytes: Box<[u8]>,
}

/// Where the parts of a table are.
#[derive(Clone, Copy)]
pub(super) struct Body {
    pub(super) array: u32,
    pub(super) dict: u32,
    types: usize,
    values: usize,
}

/// A value. The bytes of a text are those of the sheet.
#[derive(Clone, Copy)]
pub(super) enum Value {
    Nil,
    Integer(i32),
    Real(f32),
    Boolean(bool),
    Table(u32),
    Text(*const u8, usize),
}

static ALL: LazyLock<Mutex<HashMap<usize, Weak<Document>>>> = LazyLock::new(Mutex::default);

fn with_all<R>(work: impl FnOnce(&mut HashMap<usize, Weak<Document>>) -> R) -> R {
    // What a panic interrupted is whole: each change is one operation of the map.
    work(&mut ALL.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

impl Drop for Document {
    fn drop(&mut self) {
        with_all(|all| all.remove(&self.address()));
    }
}

impl Document {
    /// A sheet of these bytes, known by its address from now on.
    pub(super) fn new(bytes: &[u8]) -> Arc<Document> {
        // Never empty, so that the address is one.
        let mut copy = Vec::with_capacity(bytes.len() + 1);
        copy.extend_from_slice(bytes);
        copy.push(0);
        let document = Arc::new(Document { bytes: copy.into_boxed_slice() });
        with_all(|all| all.insert(document.address(), Arc::downgrade(&document)));
        document
    }

    /// The sheet at an address, if it still has an owner.
    pub(super) fn find(address: usize) -> Option<Arc<Document>> {
        with_all(|all| all.get(&address).and_then(Weak::upgrade))
    }

    pub(super) fn address(&self) -> usize {
        self.bytes.as_ptr().addr()
    }

    /// The bytes it was made of.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.bytes.len() - 1]
    }

    fn word(&self, at: usize) -> Result<u32, Broken> {
        match self.bytes().get(at..).and_then(|rest| rest.first_chunk()) {
            Some(word) => Ok(u32::from_le_bytes(*word)),
            None => Err(Broken::Short { at: self.bytes().len() as u64, len: at as u64 + 4 }),
        }
    }

    /// The table of this index.
    pub(super) fn table(&self, index: u32) -> Result<Body, Broken> {
        let total = self.word(4)?;
        if index >= total {
            return Err(Broken::Total { index, total });
        }
        let offset = self.word(8 + 4 * index as usize)?;
        if offset == u32::MAX {
            return Err(Broken::Gone(index));
        }
        let at = 8 + 4 * total as usize + offset as usize;
        let (array, dict) = (self.word(at)?, self.word(at + 4)?);
        let types = at + 8;
        let count = array as usize + dict as usize;
        let values = at + (8 + count).next_multiple_of(4);
        let end = values + 4 * array as usize + 8 * dict as usize;
        if end > self.bytes().len() {
            return Err(Broken::Short { at: self.bytes().len() as u64, len: end as u64 });
        }
        Ok(Body { array, dict, types, values })
    }

    /// An item of a table's array.
    pub(super) fn item(&self, body: Body, index: u32) -> Result<Value, Broken> {
        self.value(body.types + index as usize, body.values + 4 * index as usize)
    }

    /// Key and value of a table's dictionary.
    pub(super) fn pair(&self, body: Body, index: u32) -> Result<(Value, Value), Broken> {
        let at = body.values + 4 * body.array as usize + 8 * index as usize;
        let key = self.text(self.word(at)?)?;
        Ok((key, self.value(body.types + body.array as usize + index as usize, at + 4)?))
    }

    fn value(&self, ty: usize, at: usize) -> Result<Value, Broken> {
        let word = self.word(at)?;
        Ok(match self.bytes[ty] {
            0 => Value::Nil,
            1 => Value::Integer(word as i32),
            2 => Value::Real(f32::from_bits(word)),
            3 => Value::Boolean(word != 0),
            4 if word >= self.word(4)? => return Err(Broken::Index(word)),
            4 => Value::Table(word),
            5 => self.text(word)?,
            other => return Err(Broken::Type(other)),
        })
    }

    fn text(&self, offset: u32) -> Result<Value, Broken> {
        let at = self.word(0)? as usize + offset as usize;
        let Some(rest) = self.bytes.get(at..) else {
            return Err(Broken::Short { at: self.bytes().len() as u64, len: at as u64 });
        };
        let len = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
        Ok(Value::Text(rest.as_ptr(), len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_without_owners_is_not_found() {
        let document = Document::new(b"abc");
        let address = document.address();
        assert_eq!(Document::find(address).map(|it| it.bytes().to_vec()), Some(b"abc".to_vec()));
        drop(document);
        assert!(Document::find(address).is_none());
    }
}
