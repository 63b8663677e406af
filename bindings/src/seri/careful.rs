//! Packing in the company of Lua code: tables with `__pairs`.
//!
//! While a block is being written no Lua call is made that could raise and so jump over its destructor:
//! * reading values (`type`, `rawgeti`, `next`, `tolstring` of a string) raises nothing and collects no garbage;
//! * `__pairs` runs Lua code, which may do anything, so it is called protected; and since it may also have changed the
//!   tables that are being walked, nothing is looked at in place, and `next` is protected too from then on. What was raised is
//!   raised again, unchanged, by the caller, once the block is gone.

use std::ffi::{c_int, c_void};
use std::{ptr, slice};

use skein_vm::ffi::{self, lua_State};

use super::WRITE_DEPTH;
use super::pack::Refused;
use super::write::Write;

/// Where the `__pairs` string is kept in the registry: looking it up by address neither allocates nor raises.
static PAIRS: u8 = 0;

/// Keeps the string `__pairs` in the registry, and says where the machine has it.
///
/// # Safety
/// `state` is valid, with a free slot. May raise a memory error.
pub(crate) unsafe fn open(state: *mut lua_State) -> *const c_void {
    // SAFETY: by the caller's promise. The registry keeps the string, so its address stays.
    unsafe {
        ffi::lua_pushstring(state, c"__pairs".as_ptr());
        let pairs = ffi::lua_topointer(state, -1);
        ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, (&raw const PAIRS).cast());
        pairs
    }
}

/// Packs the stack slots `first..=last`. On a refusal `write` holds a part, and the stack is higher than before.
///
/// # Safety
/// `state` is valid and `first..=last` are slots of the running C function.
#[cold]
pub(super) unsafe fn pack(
    state: *mut lua_State,
    first: c_int,
    last: c_int,
    write: &mut Write<'_>,
) -> Result<(), Refused> {
    let mut pack = Pack { state, write, foreign_code: false };
    for index in first..=last {
        // SAFETY: by the caller's promise.
        unsafe { pack.value(index, 0)? };
    }
    Ok(())
}

struct Pack<'a, 'b> {
    state: *mut lua_State,
    write: &'a mut Write<'b>,
    /// Lua code has run since we began.
    foreign_code: bool,
}

impl Pack<'_, '_> {
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
                ffi::LUA_TNIL => self.write.nil(),
                ffi::LUA_TBOOLEAN => self.write.boolean(ffi::lua_toboolean(state, index) != 0),
                ffi::LUA_TNUMBER if ffi::lua_isinteger(state, index) != 0 => {
                    self.write.integer(ffi::lua_tointegerx(state, index, ptr::null_mut()))
                }
                ffi::LUA_TNUMBER => self.write.real(ffi::lua_tonumberx(state, index, ptr::null_mut())),
                ffi::LUA_TSTRING => {
                    let mut len = 0;
                    let bytes = ffi::lua_tolstring(state, index, &mut len).cast::<u8>();
                    self.write.string(slice::from_raw_parts(bytes, len))
                }
                ffi::LUA_TLIGHTUSERDATA => {
                    self.write.pointer(ffi::lua_touserdata(state, index).expose_provenance())
                }
                ffi::LUA_TTABLE => self.table(index, depth),
                other => Err(Refused::Type(other)),
            }
        }
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
            self.write.table(items)?;
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
        self.write.nil()
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
        self.write.table(0)?;
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
        self.write.nil()
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
pub(crate) unsafe extern "C-unwind" fn raw_next(state: *mut lua_State) -> c_int {
    // SAFETY: called with a table and a key; nothing with a destructor is alive.
    unsafe {
        if ffi::lua_next(state, 1) != 0 {
            return 2;
        }
        ffi::lua_pushnil(state);
        1
    }
}
