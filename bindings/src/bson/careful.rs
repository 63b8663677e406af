//! Encoding in the company of Lua code, and of documents inside of tables.
//!
//! Metamethods run Lua code, which may raise. So nothing here has a destructor: the document is written into a userdata of
//! Lua's, that a larger one replaces when it is full, and errors are raised where they are found.

use std::cell::Cell;
use std::ffi::c_int;
use std::slice;

use super::Kit;
use super::encode::{Source, number_key};
use super::out::{DEPTH, Key, Out, Store, hole, is_array, too_deep, ty};
use crate::raw::{Raise, bytes, ffi, lua_State, raise_bare, type_name};

/// How much deeper than the shallowest one an encoding may begin. A metamethod may encode as well, and so on: Lua counts its own
/// calls, but not our frames for each level of a table.
const STACK: usize = 2 << 20;

thread_local! {
    /// The highest address of a frame that began one on this thread.
    static SHALLOWEST: Cell<usize> = const { Cell::new(0) };
}

/// Whether the thread's stack is used up.
#[inline(never)]
fn is_deep() -> bool {
    let frame = 0_u8;
    let here = (&raw const frame).addr();
    SHALLOWEST.set(SHALLOWEST.get().max(here));
    SHALLOWEST.get() - here > STACK
}

/// A userdata of Lua's, in a slot of the stack.
struct Userdata {
    state: *mut lua_State,
    slot: c_int,
}

impl Store for Userdata {
    fn grow(&mut self, used: usize, needed: usize) -> Result<(*mut u8, usize), Raise> {
        let Userdata { state, slot } = *self;
        // SAFETY: a slot is free (`Walk::value` sees to it). The old userdata stays in its slot until its bytes are copied.
        unsafe {
            let first = ffi::lua_newuserdatauv(state, needed, 0).cast::<u8>();
            first.copy_from_nonoverlapping(ffi::lua_touserdata(state, slot).cast(), used);
            ffi::lua_replace(state, slot);
            Ok((first, needed))
        }
    }
}

/// Pushes the document of `source`.
///
/// # Safety
/// As `encode::push`.
pub(super) unsafe fn push(state: *mut lua_State, kit: &Kit, source: Source) -> c_int {
    // SAFETY: by the caller's promise. Everything alive is plain data.
    unsafe {
        if ffi::lua_checkstack(state, 16) == 0 || is_deep() {
            raise_bare(state, Raise::new("stack overflow"));
        }
        let slot = ffi::lua_gettop(state) + 1;
        ffi::lua_newuserdatauv(state, 0, 0);
        let mut walk = Walk { state, kit, out: Out::new(Userdata { state, slot }) };
        if let Err(error) = walk.source(source) {
            raise_bare(state, error);
        }
        let (_, len) = walk.out.finish();
        let document = super::document::push(state, kit, len);
        document.copy_from_nonoverlapping(ffi::lua_touserdata(state, slot).cast(), len);
    }
    1
}

struct Walk<'a> {
    state: *mut lua_State,
    kit: &'a Kit,
    out: Out<Userdata>,
}

impl Walk<'_> {
    /// # Safety
    /// As [`push`]. (So for all that follow.)
    unsafe fn source(&mut self, source: Source) -> Result<(), Raise> {
        let at = self.out.begin()?;
        // SAFETY: the slots were checked for.
        unsafe {
            match source {
                Source::Table
                    if ffi::luaL_getmetafield(self.state, 1, c"__pairs".as_ptr()) != ffi::LUA_TNIL =>
                {
                    self.pairs(1, 0)?;
                }
                Source::Table => self.fields(1, 0)?,
                Source::Pairs { last } => {
                    for key in (1..=last).step_by(2) {
                        let name = bytes(self.state, key).unwrap_or_default();
                        self.value(Key::Name(name), key + 1, 0)?;
                    }
                }
            }
        }
        self.out.end(at)
    }

    /// The value in slot `index`, which is absolute.
    unsafe fn value(&mut self, key: Key<'_>, index: c_int, depth: u32) -> Result<(), Raise> {
        let state = self.state;
        // SAFETY: `luaL_checkstack` makes room for what is pushed from here on, one level down at most.
        unsafe {
            match ffi::lua_type(state, index) {
                ffi::LUA_TNIL => Err(hole()),
                ffi::LUA_TBOOLEAN => self.out.boolean(key, ffi::lua_toboolean(state, index) != 0),
                ffi::LUA_TNUMBER if ffi::lua_isinteger(state, index) != 0 => {
                    self.out.integer(key, ffi::lua_tointegerx(state, index, std::ptr::null_mut()))
                }
                ffi::LUA_TNUMBER => {
                    self.out.real(key, ffi::lua_tonumberx(state, index, std::ptr::null_mut()))
                }
                ffi::LUA_TSTRING => self.out.string(key, bytes(state, index).unwrap_or_default()),
                ffi::LUA_TTABLE => {
                    ffi::luaL_checkstack(state, 16, std::ptr::null());
                    self.table(key, index, depth + 1)
                }
                ffi::LUA_TUSERDATA | ffi::LUA_TLIGHTUSERDATA => {
                    let top = ffi::lua_gettop(state);
                    ffi::luaL_checkstack(state, 8, std::ptr::null());
                    // Making room may collect garbage, whose finalizers may free the message that the document is. An error leaves
                    // the reading open; the end of the message closes it.
                    let before = self.kit.begin_reading();
                    let written = super::document::whole(state, self.kit, index).and_then(|(first, len)| {
                        self.out.raw(ty::DOCUMENT, key, slice::from_raw_parts(first, len))
                    });
                    self.kit.end_reading(before);
                    ffi::lua_settop(state, top);
                    written
                }
                _ => Err(Raise::new(format_args!("Invalid value type : {}", type_name(state, index)))),
            }
        }
    }

    unsafe fn table(&mut self, key: Key<'_>, index: c_int, depth: u32) -> Result<(), Raise> {
        if depth > DEPTH {
            return Err(too_deep());
        }
        let state = self.state;
        // SAFETY: the slots were made by `value`.
        unsafe {
            let top = ffi::lua_gettop(state);
            let at = if ffi::luaL_getmetafield(state, index, c"__len".as_ptr()) != ffi::LUA_TNIL {
                ffi::lua_pushvalue(state, index);
                ffi::lua_callk(state, 1, 1, 0, None);
                if ffi::lua_isinteger(state, -1) == 0 {
                    return Err(Raise::new("__len should return integer"));
                }
                let len = ffi::lua_tointegerx(state, -1, std::ptr::null_mut());
                let at = self.out.begin_value(ty::ARRAY, key)?;
                self.items(index, len, depth)?;
                at
            } else if ffi::luaL_getmetafield(state, index, c"__pairs".as_ptr()) != ffi::LUA_TNIL {
                let at = self.out.begin_value(ty::DOCUMENT, key)?;
                self.pairs(index, depth)?;
                at
            } else if let Some(border) = self.array_border(index) {
                let at = self.out.begin_value(ty::ARRAY, key)?;
                self.items(index, border, depth)?;
                at
            } else {
                let at = self.out.begin_value(ty::DOCUMENT, key)?;
                self.fields(index, depth)?;
                at
            };
            ffi::lua_settop(state, top);
            self.out.end(at)
        }
    }

    /// The number of items, if the table is an array by its first key.
    unsafe fn array_border(&mut self, index: c_int) -> Option<i64> {
        let state = self.state;
        // SAFETY: `index` is a table, and there are free slots.
        unsafe {
            ffi::lua_pushnil(state);
            if ffi::lua_next(state, index) == 0 {
                return None;
            }
            let border = ffi::lua_rawlen(state, index) as i64;
            let is_array = ffi::lua_isinteger(state, -2) != 0
                && is_array(ffi::lua_tointegerx(state, -2, std::ptr::null_mut()), border);
            ffi::lua_settop(state, -3);
            is_array.then_some(border)
        }
    }

    unsafe fn items(&mut self, index: c_int, len: i64, depth: u32) -> Result<(), Raise> {
        // SAFETY: as `table`.
        unsafe {
            let slot = ffi::lua_gettop(self.state) + 1;
            for place in 1..=len {
                ffi::lua_geti(self.state, index, place);
                self.value(Key::Place(place - 1), slot, depth)?;
                ffi::lua_settop(self.state, slot - 1);
            }
        }
        Ok(())
    }

    unsafe fn fields(&mut self, index: c_int, depth: u32) -> Result<(), Raise> {
        // SAFETY: as `table`. A key that Lua code has removed meanwhile makes `lua_next` raise, as it does in Lua.
        unsafe {
            let key = ffi::lua_gettop(self.state) + 1;
            ffi::lua_pushnil(self.state);
            while ffi::lua_next(self.state, index) != 0 {
                self.field(key, depth)?;
                ffi::lua_settop(self.state, key);
            }
        }
        Ok(())
    }

    /// The pairs that the metamethod on top of the stack yields.
    unsafe fn pairs(&mut self, index: c_int, depth: u32) -> Result<(), Raise> {
        let state = self.state;
        // SAFETY: as `table`.
        unsafe {
            ffi::lua_pushvalue(state, index);
            ffi::lua_callk(state, 1, 3, 0, None);
            // The function, its state, the key. Above: the pair.
            let step = ffi::lua_gettop(state) - 2;
            let pair = step + 3;
            loop {
                for slot in step..pair {
                    ffi::lua_pushvalue(state, slot);
                }
                ffi::lua_callk(state, 2, 2, 0, None);
                if ffi::lua_type(state, pair) == ffi::LUA_TNIL {
                    return Ok(());
                }
                self.field(pair, depth)?;
                ffi::lua_copy(state, pair, step + 2);
                ffi::lua_settop(state, pair - 1);
            }
        }
    }

    /// The pair in the slots `key` and `key + 1`.
    unsafe fn field(&mut self, key: c_int, depth: u32) -> Result<(), Raise> {
        // SAFETY: as `table`; the name stays in its slot.
        unsafe {
            match ffi::lua_type(self.state, key) {
                ffi::LUA_TSTRING => {
                    let name = bytes(self.state, key).unwrap_or_default();
                    self.value(Key::Name(name), key + 1, depth)
                }
                ffi::LUA_TNUMBER => Err(number_key()),
                _ => Err(Raise::new(format_args!("Invalid key type : {}", type_name(self.state, key)))),
            }
        }
    }
}
