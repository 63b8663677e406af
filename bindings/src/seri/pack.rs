//! From values on a Lua stack to bytes.
//!
//! The bytes go straight into a block ([`Out`], S1). While it lives on the Rust stack no Lua call is made that could
//! raise and so jump over its destructor:
//! * reading values (`type`, `rawgeti`, `next`, `tolstring` of a string) raises nothing and collects no garbage;
//! * `__pairs` runs Lua code, which may do anything, so it is called protected; and since it may also have changed the
//!   tables that are being walked, `next` is protected too from then on. What was raised is raised again, unchanged,
//!   by the caller, once the writer is gone.

use std::ffi::c_int;
use std::{ptr, slice};

use skein_vm::ffi::{self, lua_State};

use super::out::Out;
use super::{
    BOOLEAN, COOKIE_MAX, LONG_STRING, NIL, NUMBER, POINTER, SHORT_STRING, TABLE, WRITE_DEPTH, head, number,
};

/// Why values cannot be packed.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Tables nest deeper than 33.
    TooDeep,
    /// The Lua type `.0` does not travel.
    Type(c_int),
    /// A string of two gigabytes or more.
    LongString,
    /// Lua's stack is at its limit.
    Stack,
    /// Lua code raised; what it raised is on top of the stack.
    Raised,
    /// The arena has no room.
    Arena(skein_arena::Error),
}

impl From<skein_arena::Error> for Refused {
    fn from(error: skein_arena::Error) -> Self {
        Refused::Arena(error)
    }
}

/// Where the `__pairs` string is kept in the registry: looking it up by address neither allocates nor raises.
static PAIRS: u8 = 0;

/// Keeps the string `__pairs` in the registry. Without it metamethods are not looked for.
///
/// # Safety
/// `state` is valid, with a free slot. May raise a memory error.
pub(crate) unsafe fn open(state: *mut lua_State) {
    // SAFETY: by the caller's promise.
    unsafe {
        ffi::lua_pushstring(state, c"__pairs".as_ptr());
        ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, (&raw const PAIRS).cast());
    }
}

/// Packs the stack slots `first..=last` into `out`, and notes in `pointers` every light userdata that `owned` says
/// yes to. On a refusal `out` holds a part, and the stack is higher than before.
///
/// # Safety
/// `state` is valid and `first..=last` are slots of the running C function.
pub(crate) unsafe fn pack(
    state: *mut lua_State,
    first: c_int,
    last: c_int,
    out: &mut Out,
    pointers: &mut Vec<usize>,
    owned: &dyn Fn(usize) -> bool,
) -> Result<(), Refused> {
    let mut pack = Pack { state, out, pointers, owned, foreign_code: false };
    for index in first..=last {
        // SAFETY: by the caller's promise.
        unsafe { pack.value(index, 0)? };
    }
    Ok(())
}

struct Pack<'a> {
    state: *mut lua_State,
    out: &'a mut Out,
    pointers: &'a mut Vec<usize>,
    owned: &'a dyn Fn(usize) -> bool,
    /// Lua code has run since we began.
    foreign_code: bool,
}

impl Pack<'_> {
    /// # Safety
    /// `index` is an absolute, valid slot. (So for all that follows.)
    unsafe fn value(&mut self, index: c_int, depth: u32) -> Result<(), Refused> {
        if depth > WRITE_DEPTH {
            return Err(Refused::TooDeep);
        }
        let state = self.state;
        // SAFETY: none of these calls raises for a value of the type that was asked for.
        unsafe {
            match ffi::lua_type(state, index) {
                ffi::LUA_TSTRING => {
                    let mut len = 0;
                    let bytes = ffi::lua_tolstring(state, index, &mut len).cast::<u8>();
                    self.string(slice::from_raw_parts(bytes, len))?;
                }
                ffi::LUA_TNUMBER => {
                    if ffi::lua_isinteger(state, index) != 0 {
                        self.integer(ffi::lua_tointegerx(state, index, ptr::null_mut()))?;
                    } else {
                        let real = ffi::lua_tonumberx(state, index, ptr::null_mut());
                        self.tagged(head(NUMBER, number::REAL), real.to_bits(), 9)?;
                    }
                }
                ffi::LUA_TBOOLEAN => {
                    let cookie = u8::from(ffi::lua_toboolean(state, index) != 0);
                    self.tagged(head(BOOLEAN, cookie), 0, 1)?;
                }
                ffi::LUA_TNIL => self.tagged(NIL, 0, 1)?,
                ffi::LUA_TTABLE => self.table(index, depth)?,
                ffi::LUA_TLIGHTUSERDATA => {
                    let address = ffi::lua_touserdata(state, index).expose_provenance();
                    if (self.owned)(address) && !self.pointers.contains(&address) {
                        self.pointers.push(address);
                    }
                    self.tagged(head(POINTER, 0), address as u64, 9)?;
                }
                other => return Err(Refused::Type(other)),
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn tagged(&mut self, tag: u8, value: u64, width: usize) -> Result<(), Refused> {
        Ok(self.out.scalar(tag, value, width)?)
    }

    #[inline(always)]
    fn integer(&mut self, value: i64) -> Result<(), Refused> {
        let (cookie, width) = match value {
            0 => (number::ZERO, 1),
            1..=0xff => (number::BYTE, 2),
            0x100..=0xffff => (number::WORD, 3),
            -0x8000_0000..=0x7fff_ffff => (number::DWORD, 5),
            _ => (number::QWORD, 9),
        };
        self.tagged(head(NUMBER, cookie), value as u64, width)
    }

    #[inline(always)]
    fn string(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let (cookie, kind, width) = match bytes.len() {
            len @ 0..32 => (len as u8, SHORT_STRING, 1),
            32..0x1_0000 => (2, LONG_STRING, 3),
            0x1_0000..0x8000_0000 => (4, LONG_STRING, 5),
            _ => return Err(Refused::LongString),
        };
        Ok(self.out.text(head(kind, cookie), width, bytes)?)
    }

    unsafe fn table(&mut self, index: c_int, depth: u32) -> Result<(), Refused> {
        let state = self.state;
        // SAFETY: the slots that are pushed here and in the branches were checked for.
        unsafe {
            if ffi::lua_checkstack(state, 12) == 0 {
                return Err(Refused::Stack);
            }
            if ffi::lua_getmetatable(state, index) != 0 {
                ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, (&raw const PAIRS).cast());
                if ffi::lua_rawget(state, -2) != ffi::LUA_TNIL {
                    return self.pairs(index, depth + 1);
                }
                ffi::lua_settop(state, -3);
            }
            let items = self.items(index, depth + 1)?;
            self.fields(index, items, depth + 1)
        }
    }

    /// The array part, raw.
    unsafe fn items(&mut self, index: c_int, depth: u32) -> Result<i64, Refused> {
        let state = self.state;
        // SAFETY: `index` is a table, and there is a free slot.
        unsafe {
            let items = ffi::lua_rawlen(state, index) as i64;
            if items < i64::from(COOKIE_MAX) {
                self.tagged(head(TABLE, items as u8), 0, 1)?;
            } else {
                self.tagged(head(TABLE, COOKIE_MAX), 0, 1)?;
                self.integer(items)?;
            }
            let slot = ffi::lua_gettop(state) + 1;
            for item in 1..=items {
                ffi::lua_rawgeti(state, index, item);
                self.value(slot, depth)?;
                ffi::lua_settop(state, slot - 1);
            }
            Ok(items)
        }
    }

    /// All keys but `1..=items`, raw, and the end of the table.
    unsafe fn fields(&mut self, index: c_int, items: i64, depth: u32) -> Result<(), Refused> {
        let state = self.state;
        // SAFETY: `index` is a table, and there are free slots.
        unsafe {
            let key = ffi::lua_gettop(state) + 1;
            ffi::lua_pushnil(state);
            while self.next(index)? {
                let is_item = items > 0
                    && ffi::lua_isinteger(state, key) != 0
                    && (1..=items).contains(&ffi::lua_tointegerx(state, key, ptr::null_mut()));
                if !is_item {
                    self.value(key, depth)?;
                    self.value(key + 1, depth)?;
                }
                ffi::lua_settop(state, key);
            }
        }
        self.tagged(NIL, 0, 1)
    }

    /// `next(table, key)`: takes the key from the top, and pushes key and value if there is one more.
    #[inline(always)]
    unsafe fn next(&mut self, index: c_int) -> Result<bool, Refused> {
        let state = self.state;
        // SAFETY: `lua_next` raises for a key that the table does not have. Only Lua code that ran in the middle of the
        // walk could bring that about, and then the call is protected.
        unsafe {
            if !self.foreign_code {
                return Ok(ffi::lua_next(state, index) != 0);
            }
            let key = ffi::lua_gettop(state);
            ffi::lua_pushcfunction(state, raw_next);
            ffi::lua_insert(state, key);
            ffi::lua_pushvalue(state, index);
            ffi::lua_insert(state, key + 1);
            self.call(2, 2)?;
            if ffi::lua_type(state, key) == ffi::LUA_TNIL {
                ffi::lua_settop(state, key - 1);
                return Ok(false);
            }
            Ok(true)
        }
    }

    /// The pairs that the metamethod on top of the stack yields, and the end of the table.
    unsafe fn pairs(&mut self, index: c_int, depth: u32) -> Result<(), Refused> {
        let state = self.state;
        self.tagged(head(TABLE, 0), 0, 1)?;
        // SAFETY: the slots were checked for.
        unsafe {
            let step = ffi::lua_gettop(state);
            ffi::lua_pushvalue(state, index);
            self.call(1, 3)?;
            // At `step`: the function, its state, the key. Above: the pair.
            let pair = step + 3;
            loop {
                for slot in step..pair {
                    ffi::lua_pushvalue(state, slot);
                }
                self.call(2, 2)?;
                if ffi::lua_type(state, pair) == ffi::LUA_TNIL {
                    ffi::lua_settop(state, step - 2);
                    break;
                }
                self.value(pair, depth)?;
                self.value(pair + 1, depth)?;
                ffi::lua_copy(state, pair, step + 2);
                ffi::lua_settop(state, pair - 1);
            }
        }
        self.tagged(NIL, 0, 1)
    }

    /// Runs Lua code, protected.
    unsafe fn call(&mut self, arguments: c_int, results: c_int) -> Result<(), Refused> {
        self.foreign_code = true;
        // SAFETY: the function and its arguments are on the stack.
        match unsafe { ffi::lua_pcall(self.state, arguments, results, 0) } {
            ffi::LUA_OK => Ok(()),
            _ => Err(Refused::Raised),
        }
    }
}

/// `next`, as a function that can be called protected.
unsafe extern "C-unwind" fn raw_next(state: *mut lua_State) -> c_int {
    // SAFETY: called with a table and a key; nothing with a destructor is alive.
    unsafe {
        if ffi::lua_next(state, 1) != 0 {
            return 2;
        }
        ffi::lua_pushnil(state);
        1
    }
}
