//! The first pass of unpacking: is it whole, and how large is it? Safe Rust over a slice; nothing is called.

use std::fmt;
use std::mem::MaybeUninit;

use super::{
    BOOLEAN, COOKIE_MAX, LONG_STRING, NIL, NUMBER, POINTER, READ_DEPTH, SHORT_STRING, TABLE, head, number,
};

/// Tables whose number of keys is noted. Those after it start empty and grow, as they would in Lua.
pub(super) const NOTED: usize = 1024;

/// Why a stream cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The bytes end too early, or name something that does not exist.
    Stream {
        /// Bytes not yet read.
        left: usize,
        /// Which check failed. skynet prints a line of its C source here.
        check: Check,
    },
    /// A key is NaN.
    NanKey,
}

/// The check that a stream failed; its number stands in the error text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Check {
    /// A number is cut short.
    Number = 1,
    /// No number has this cookie.
    NumberKind,
    /// A pointer is cut short.
    Pointer,
    /// A string is cut short.
    String,
    /// The length of a long string is cut short, or has no such width.
    StringLength,
    /// The count of a table is cut short, or is not an integer.
    TableLength,
    /// A table has no end.
    TableEnd,
    /// No value has this type.
    Type,
    /// Tables nest too deep.
    Depth,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Malformed::Stream { left, check } => {
                write!(f, "Invalid serialize stream {left} (line:{})", check as u16)
            }
            Malformed::NanKey => f.write_str("table index is NaN"),
        }
    }
}

/// What the first pass learned of a table.
pub(super) struct Notes {
    /// Deepest nesting.
    pub(super) depth: u32,
    /// Tables opened.
    pub(super) tables: usize,
    /// Keys of each of them, in the order in which they open; set when the pass is over.
    pub(super) keys: [MaybeUninit<u32>; NOTED],
}

impl Notes {
    /// No notes. They are made in place: four kilobytes are not for moving about.
    #[inline(always)]
    pub(super) fn new() -> Notes {
        Notes { depth: 0, tables: 0, keys: [const { MaybeUninit::uninit() }; NOTED] }
    }
}

/// The first pass.
pub(super) struct Scan<'a, 'n> {
    /// What has not been read.
    pub(super) rest: &'a [u8],
    pub(super) notes: &'n mut Notes,
}

impl<'a> Scan<'a, '_> {
    /// The integer of a number's cookie.
    #[inline(always)]
    pub(super) fn integer(&mut self, cookie: u8) -> Result<i64, Malformed> {
        Ok(match cookie {
            number::ZERO => 0,
            number::BYTE => i64::from(u8::from_le_bytes(self.take(Check::Number)?)),
            number::WORD => i64::from(u16::from_le_bytes(self.take(Check::Number)?)),
            number::DWORD => i64::from(i32::from_le_bytes(self.take(Check::Number)?)),
            number::QWORD => i64::from_le_bytes(self.take(Check::Number)?),
            _ => return self.fail(Check::NumberKind),
        })
    }

    /// The bytes of the string whose type byte is `byte`.
    #[inline(always)]
    pub(super) fn string(&mut self, byte: u8) -> Result<&'a [u8], Malformed> {
        let cookie = byte >> 3;
        let len = match (byte & 7, cookie) {
            (SHORT_STRING, _) => cookie as usize,
            (_, 2) => u16::from_le_bytes(self.take(Check::StringLength)?) as usize,
            (_, 4) => u32::from_le_bytes(self.take(Check::StringLength)?) as usize,
            _ => return self.fail(Check::StringLength),
        };
        match self.rest.split_at_checked(len) {
            Some((text, rest)) => {
                self.rest = rest;
                Ok(text)
            }
            None => self.fail(Check::String),
        }
    }

    #[inline]
    pub(super) fn fail<T>(&self, check: Check) -> Result<T, Malformed> {
        Err(Malformed::Stream { left: self.rest.len(), check })
    }

    #[inline]
    fn skip(&mut self, count: usize, check: Check) -> Result<(), Malformed> {
        match self.rest.split_at_checked(count) {
            Some((_, rest)) => {
                self.rest = rest;
                Ok(())
            }
            None => self.fail(check),
        }
    }

    #[inline]
    pub(super) fn take<const N: usize>(&mut self, check: Check) -> Result<[u8; N], Malformed> {
        match self.rest.split_first_chunk::<N>() {
            Some((&chunk, rest)) => {
                self.rest = rest;
                Ok(chunk)
            }
            None => self.fail(check),
        }
    }

    #[inline]
    fn value(&mut self, byte: u8, depth: u32) -> Result<(), Malformed> {
        let cookie = byte >> 3;
        match byte & 7 {
            NIL | BOOLEAN => Ok(()),
            NUMBER => match cookie {
                number::ZERO => Ok(()),
                number::BYTE => self.skip(1, Check::Number),
                number::WORD => self.skip(2, Check::Number),
                number::DWORD => self.skip(4, Check::Number),
                number::QWORD | number::REAL => self.skip(8, Check::Number),
                _ => self.fail(Check::NumberKind),
            },
            POINTER => self.skip(8, Check::Pointer),
            SHORT_STRING | LONG_STRING => self.string(byte).map(drop),
            TABLE => self.table(cookie, depth + 1),
            _ => self.fail(Check::Type),
        }
    }

    /// All of a table whose type byte has this cookie.
    pub(super) fn table(&mut self, cookie: u8, depth: u32) -> Result<(), Malformed> {
        if depth > READ_DEPTH {
            return self.fail(Check::Depth);
        }
        self.notes.depth = self.notes.depth.max(depth);
        let items = if cookie == COOKIE_MAX { self.count()? } else { i64::from(cookie) };
        // Tables are noted in the order in which they open, which is the order in which they are made.
        let table = self.notes.tables;
        self.notes.tables += 1;

        for _ in 0..items {
            let byte = self.item()?;
            self.value(byte, depth)?;
        }
        let mut keys = 0u32;
        loop {
            let byte = self.item()?;
            if byte & 7 == NIL {
                break;
            }
            let nan = byte == head(NUMBER, number::REAL)
                && self.rest.first_chunk().is_some_and(|&le| f64::from_le_bytes(le).is_nan());
            self.value(byte, depth)?;
            let byte = self.item()?;
            self.value(byte, depth)?;
            if nan {
                return Err(Malformed::NanKey);
            }
            keys = keys.saturating_add(1);
        }
        if let Some(note) = self.notes.keys.get_mut(table) {
            note.write(keys);
        }
        Ok(())
    }

    /// The type byte of something inside a table.
    #[inline]
    fn item(&mut self) -> Result<u8, Malformed> {
        match self.rest.split_first() {
            Some((&byte, rest)) => {
                self.rest = rest;
                Ok(byte)
            }
            None => self.fail(Check::TableEnd),
        }
    }

    /// The count of array items that follows a full cookie.
    pub(super) fn count(&mut self) -> Result<i64, Malformed> {
        let [byte] = self.take::<1>(Check::TableLength)?;
        if byte & 7 != NUMBER {
            return self.fail(Check::TableLength);
        }
        match byte >> 3 {
            number::REAL => self.fail(Check::TableLength),
            cookie => self.integer(cookie),
        }
    }
}
