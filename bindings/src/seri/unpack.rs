//! From bytes to values on a Lua stack.
//!
//! Two passes (S2). [`Plan::read`] is safe Rust over a slice: it proves that the stream is whole, and notes what makes
//! the second pass fast: how many values there are, how deep they nest, and how many keys each table has, so that
//! tables are made in their final size. [`Plan::push`] then makes the values. Between the two nobody may change the
//! bytes; whoever calls holds the block, or the string, that they lie in.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::{fmt, ptr};

use skein_vm::ffi::{self, lua_State};

use super::{
    BOOLEAN, COOKIE_MAX, LONG_STRING, NIL, NUMBER, POINTER, READ_DEPTH, SHORT_STRING, TABLE, number,
};

/// Tables whose number of keys is noted. Those after it start empty and grow, as they would in Lua.
const NOTED: usize = 1024;

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

/// What the first pass learned of a stream.
pub(crate) struct Plan {
    values: usize,
    depth: u32,
    tables: usize,
    keys: [MaybeUninit<u32>; NOTED],
}

impl Plan {
    /// A plan of nothing. It is filled in place: four kilobytes of notes are not for moving about.
    #[inline(always)]
    pub(crate) fn new() -> Plan {
        Plan { values: 0, depth: 0, tables: 0, keys: [const { MaybeUninit::uninit() }; NOTED] }
    }

    /// Reads the whole stream, and calls nothing.
    ///
    /// # Errors
    /// The stream is broken; the plan is of no use then.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        (self.depth, self.tables) = (0, 0);
        let mut scan = Scan { rest: bytes, plan: self };
        let mut values = 0;
        while let Some((&byte, rest)) = scan.rest.split_first() {
            scan.rest = rest;
            scan.value(byte, 0)?;
            values += 1;
        }
        self.values = values;
        Ok(())
    }

    /// Pushes the values of `bytes` and says how many; `None` if Lua's stack cannot hold them, with nothing pushed.
    ///
    /// # Safety
    /// `bytes` are those that were read, unchanged, and stay so whatever Lua code the collector runs in between. May
    /// raise a memory error: nothing with a destructor may be alive.
    #[inline]
    pub(crate) unsafe fn push(&self, state: *mut lua_State, bytes: *const u8) -> Option<c_int> {
        let values = c_int::try_from(self.values).ok()?;
        // Table, key and value at each depth; one spare.
        let slots = values.checked_add(self.depth as c_int * 3 + 4)?;
        // SAFETY: `state` is valid; this call never raises.
        if unsafe { ffi::lua_checkstack(state, slots) } == 0 {
            return None;
        }
        let mut build = Build { state, at: bytes, keys: &raw const self.keys, table: 0, noted: self.tables };
        for _ in 0..values {
            // SAFETY: the first pass counted as many values, each of them whole.
            unsafe {
                let byte = build.byte();
                build.value(byte);
            }
        }
        Some(values)
    }
}

/// The first pass.
struct Scan<'a> {
    rest: &'a [u8],
    plan: &'a mut Plan,
}

impl Scan<'_> {
    #[inline]
    fn fail<T>(&self, check: Check) -> Result<T, Malformed> {
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
    fn take<const N: usize>(&mut self, check: Check) -> Result<[u8; N], Malformed> {
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
            SHORT_STRING => self.skip(cookie as usize, Check::String),
            LONG_STRING => {
                let len = match cookie {
                    2 => u16::from_le_bytes(self.take(Check::StringLength)?) as usize,
                    4 => u32::from_le_bytes(self.take(Check::StringLength)?) as usize,
                    _ => return self.fail(Check::StringLength),
                };
                self.skip(len, Check::String)
            }
            TABLE => self.table(cookie, depth + 1),
            _ => self.fail(Check::Type),
        }
    }

    fn table(&mut self, cookie: u8, depth: u32) -> Result<(), Malformed> {
        if depth > READ_DEPTH {
            return self.fail(Check::Depth);
        }
        self.plan.depth = self.plan.depth.max(depth);
        let items = if cookie == COOKIE_MAX { self.count()? } else { i64::from(cookie) };
        // Tables are noted in the order in which they open, which is the order in which they are made.
        let table = self.plan.tables;
        self.plan.tables += 1;

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
            let nan = byte == super::head(NUMBER, number::REAL)
                && self.rest.first_chunk().is_some_and(|&le| f64::from_le_bytes(le).is_nan());
            self.value(byte, depth)?;
            let byte = self.item()?;
            self.value(byte, depth)?;
            if nan {
                return Err(Malformed::NanKey);
            }
            keys = keys.saturating_add(1);
        }
        if let Some(note) = self.plan.keys.get_mut(table) {
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
    fn count(&mut self) -> Result<i64, Malformed> {
        let [byte] = self.take::<1>(Check::TableLength)?;
        if byte & 7 != NUMBER {
            return self.fail(Check::TableLength);
        }
        Ok(match byte >> 3 {
            number::ZERO => 0,
            number::BYTE => i64::from(u8::from_le_bytes(self.take(Check::Number)?)),
            number::WORD => i64::from(u16::from_le_bytes(self.take(Check::Number)?)),
            number::DWORD => i64::from(i32::from_le_bytes(self.take(Check::Number)?)),
            number::QWORD => i64::from_le_bytes(self.take(Check::Number)?),
            number::REAL => return self.fail(Check::TableLength),
            _ => return self.fail(Check::NumberKind),
        })
    }
}

/// The second pass: plain data only, for a memory error may end it anywhere.
struct Build {
    state: *mut lua_State,
    at: *const u8,
    keys: *const [MaybeUninit<u32>; NOTED],
    table: usize,
    noted: usize,
}

impl Build {
    /// # Safety
    /// The first pass found `N` bytes here. (So for all that follows: where they read, it has read.)
    #[inline(always)]
    unsafe fn take<const N: usize>(&mut self) -> [u8; N] {
        // SAFETY: the caller promises the bytes.
        unsafe {
            let chunk = ptr::read_unaligned(self.at.cast::<[u8; N]>());
            self.at = self.at.add(N);
            chunk
        }
    }

    /// # Safety
    /// As [`Build::take`].
    #[inline(always)]
    unsafe fn byte(&mut self) -> u8 {
        // SAFETY: the caller promises the byte.
        let [byte] = unsafe { self.take::<1>() };
        byte
    }

    /// # Safety
    /// As [`Build::take`]; the stack has room (checked for the whole plan).
    #[inline]
    unsafe fn value(&mut self, byte: u8) {
        let cookie = byte >> 3;
        let state = self.state;
        // SAFETY: the first pass read the same bytes with the same widths; pushes have room.
        unsafe {
            match byte & 7 {
                NIL => ffi::lua_pushnil(state),
                BOOLEAN => ffi::lua_pushboolean(state, c_int::from(cookie != 0)),
                NUMBER if cookie == number::REAL => {
                    let real = f64::from_le_bytes(self.take());
                    ffi::lua_pushnumber(state, real);
                }
                NUMBER => {
                    let integer = self.integer(cookie);
                    ffi::lua_pushinteger(state, integer);
                }
                POINTER => {
                    let address = u64::from_le_bytes(self.take()) as usize;
                    ffi::lua_pushlightuserdata(state, ptr::with_exposed_provenance_mut(address));
                }
                SHORT_STRING => self.string(cookie as usize),
                LONG_STRING => {
                    let len = if cookie == 2 {
                        u16::from_le_bytes(self.take()) as usize
                    } else {
                        u32::from_le_bytes(self.take()) as usize
                    };
                    self.string(len);
                }
                _ => self.table(cookie),
            }
        }
    }

    /// # Safety
    /// As [`Build::take`].
    #[inline(always)]
    unsafe fn integer(&mut self, cookie: u8) -> i64 {
        // SAFETY: the caller promises the bytes of this cookie.
        unsafe {
            match cookie {
                number::ZERO => 0,
                number::BYTE => i64::from(self.byte()),
                number::WORD => i64::from(u16::from_le_bytes(self.take())),
                number::DWORD => i64::from(i32::from_le_bytes(self.take())),
                _ => i64::from_le_bytes(self.take()),
            }
        }
    }

    /// # Safety
    /// As [`Build::value`].
    #[inline(always)]
    unsafe fn string(&mut self, len: usize) {
        let bytes = self.at;
        // SAFETY: the caller promises `len` bytes. The pointer moves first: a memory error does not come back.
        unsafe {
            self.at = bytes.add(len);
            ffi::lua_pushlstring(self.state, bytes.cast(), len);
        }
    }

    /// # Safety
    /// As [`Build::value`].
    unsafe fn table(&mut self, cookie: u8) {
        let state = self.state;
        let table = self.table;
        self.table += 1;
        // SAFETY: as `value`. Keys are neither nil nor NaN, so that `rawset` can only fail for want of memory.
        unsafe {
            let mut items = i64::from(cookie);
            if cookie == COOKIE_MAX {
                let kind = self.byte() >> 3;
                items = self.integer(kind).max(0);
            }
            let keys = if table < NOTED.min(self.noted) { (&(*self.keys))[table].assume_init() } else { 0 };
            // Every item takes a byte of the stream at least, so this is never more than was sent.
            ffi::lua_createtable(
                state,
                c_int::try_from(items).unwrap_or(c_int::MAX),
                c_int::try_from(keys).unwrap_or(c_int::MAX),
            );
            for index in 1..=items {
                let byte = self.byte();
                self.value(byte);
                ffi::lua_rawseti(state, -2, index);
            }
            loop {
                let byte = self.byte();
                if byte & 7 == NIL {
                    break;
                }
                self.value(byte);
                let byte = self.byte();
                self.value(byte);
                ffi::lua_rawset(state, -3);
            }
        }
    }
}
