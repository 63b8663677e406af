//! From bytes to values on a Lua stack.
//!
//! Scalars are pushed as they are read. A table is looked at twice (S2). The first pass ([`Scan`]) proves
//! that the table is whole, and notes what makes the second pass fast: how deep it nests, and how many keys each table in it
//! has, so that tables are made in their final size. The second pass makes the values, and trusts the first. Between the two
//! nobody may change the bytes; whoever calls holds the block, or the string, that they lie in.
//!
//! A long string at the end of a message, outside of tables, ends the block that the message is: it need not be copied
//! ([`skein_vm::external`]). Whether it is worth it is for the caller to say.
//!
//! Whatever fails is raised by the caller, so that what was pushed by then is no result of the function.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::{fmt, ptr};

use skein_arena::Header;
use skein_vm::external;
use skein_vm::ffi::{self, lua_State};
use skein_vm::fields;

use super::scan::{Check, Malformed, NOTED, Notes, Scan};
use super::{BOOLEAN, COOKIE_MAX, LONG_STRING, NIL, NUMBER, POINTER, SHORT_STRING, TABLE, number};

/// Why a stream gives no values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The stream is broken.
    Malformed(Malformed),
    /// Lua's stack cannot hold that many values.
    Stack,
}

impl From<Malformed> for Failed {
    #[cold]
    fn from(malformed: Malformed) -> Self {
        Failed::Malformed(malformed)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Malformed(malformed) => malformed.fmt(f),
            Failed::Stack => f.write_str("stack overflow"),
        }
    }
}

/// Free slots that are made at a time.
const SLOTS: c_int = 16;

/// Pushes the values of `bytes`, and says how many. If the last of them is a long string, `lend` is asked for the payload that
/// ends with it; without one it is copied.
///
/// # Errors
/// Some values may have been pushed.
///
/// # Safety
/// `state` runs a C function that has pushed nothing. `bytes` stay as they are, whatever Lua code the collector runs
/// meanwhile. What `lend` answers is as [`external::push`] demands. May raise a memory error: nothing with a destructor may
/// be alive, and `lend` has none.
pub(crate) unsafe fn unpack(
    state: *mut lua_State,
    bytes: &[u8],
    mut lend: impl FnMut(*const u8, usize) -> Option<NonNull<Header>>,
) -> Result<c_int, Failed> {
    let mut notes = Notes::new();
    let mut scan = Scan { rest: bytes, notes: &mut notes };
    let mut values: c_int = 0;
    while let Some((&byte, rest)) = scan.rest.split_first() {
        scan.rest = rest;
        // SAFETY: there is a slot: a C function begins with twenty, and more are made before they are used up.
        unsafe {
            if values % SLOTS == 0 && values > 0 && ffi::lua_checkstack(state, SLOTS + 1) == 0 {
                return Err(Failed::Stack);
            }
            if byte & 7 == TABLE {
                scan.push_table(state, byte >> 3)?;
            } else if byte & 7 == LONG_STRING {
                let text = scan.string(byte)?;
                let owner = if scan.rest.is_empty() { lend(text.as_ptr(), text.len()) } else { None };
                match owner {
                    Some(owner) => external::push(state, owner, text.as_ptr(), text.len()),
                    None => {
                        ffi::lua_pushlstring(state, text.as_ptr().cast(), text.len());
                    }
                }
            } else {
                scan.push_scalar(state, byte)?;
            }
        }
        values += 1;
    }
    Ok(values)
}

impl Scan<'_, '_> {
    /// # Safety
    /// As [`unpack`]; there is a free slot.
    #[inline(always)]
    unsafe fn push_scalar(&mut self, state: *mut lua_State, byte: u8) -> Result<(), Malformed> {
        let cookie = byte >> 3;
        // SAFETY: by the caller's promise.
        unsafe {
            match byte & 7 {
                NIL => ffi::lua_pushnil(state),
                BOOLEAN => ffi::lua_pushboolean(state, c_int::from(cookie != 0)),
                NUMBER if cookie == number::REAL => {
                    ffi::lua_pushnumber(state, f64::from_le_bytes(self.take(Check::Number)?));
                }
                NUMBER => ffi::lua_pushinteger(state, self.integer(cookie)?),
                POINTER => {
                    let address = u64::from_le_bytes(self.take(Check::Pointer)?) as usize;
                    ffi::lua_pushlightuserdata(state, ptr::with_exposed_provenance_mut(address));
                }
                SHORT_STRING => {
                    let text = self.string(byte)?;
                    ffi::lua_pushlstring(state, text.as_ptr().cast(), text.len());
                }
                _ => return self.fail(Check::Type),
            }
        }
        Ok(())
    }

    /// Both passes over one table.
    ///
    /// # Safety
    /// As [`unpack`].
    unsafe fn push_table(&mut self, state: *mut lua_State, cookie: u8) -> Result<(), Failed> {
        (self.notes.depth, self.notes.tables) = (0, 0);
        let at = self.rest.as_ptr();
        self.table(cookie, 1)?;
        // Table, key and value at each depth; one spare.
        let slots = self.notes.depth as c_int * 3 + 4;
        let keys = &raw const self.notes.keys;
        // SAFETY: the first pass read the table from `at` on, and noted its keys; the stack has room.
        unsafe {
            if ffi::lua_checkstack(state, slots) == 0 {
                return Err(Failed::Stack);
            }
            Build { state, at, keys, table: 0 }.table(cookie);
        }
        Ok(())
    }
}

/// The second pass: plain data only, for a memory error may end it anywhere.
struct Build {
    state: *mut lua_State,
    at: *const u8,
    keys: *const [MaybeUninit<u32>; NOTED],
    table: usize,
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
        // SAFETY: as `value`. Keys are neither nil nor NaN, so that setting a pair can only fail for want of memory.
        unsafe {
            let mut items = i64::from(cookie);
            if cookie == COOKIE_MAX {
                let kind = self.byte() >> 3;
                items = self.integer(kind).max(0);
            }
            let keys = if table < NOTED { (&(*self.keys))[table].assume_init() } else { 0 };
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
                fields::set_pair(state);
            }
        }
    }
}
