//! `skynet.datasheet.core`: reads sheets as Lua tables, each table when it is first looked at.
//!
//! A table of a sheet is a *proxy*: an empty Lua table with a metatable, which the first access replaces by the contents. An
//! update empties all proxies of a sheet and puts the metatable back, so that whoever holds one sees the new contents.
//!
//! # From skynet
//! lua-datasheet.c: `lnew` → [`new`], `lupdate` → [`update`], `copytable` → [`fill`], `lstringpointer` → [`stringpointer`].

use std::ffi::{CStr, c_int};
use std::ptr;

use skein_arena::sync::Arc;

use crate::object::{self, Object, Slot};
use crate::raw::{Raise, check_bytes, ffi, guard, lua_State, raise, raise_argument};
use crate::seri::careful::raw_next;

mod document;

use document::{Body, Document, Value};

const FUNCTIONS: [(&CStr, ffi::lua_CFunction); 4] =
    [(c"stringpointer", stringpointer), (c"release", release), (c"new", new), (c"update", update)];

const METAMETHODS: [(&CStr, ffi::lua_CFunction); 3] =
    [(c"__index", index), (c"__len", len), (c"__pairs", pairs)];

/// What the functions share: the user values of their only upvalue.
mod kept {
    /// The sheets whose addresses this state has given.
    pub(super) const OWNED: i32 = 1;
    /// Address → sheet, weak.
    pub(super) const SHEETS: i32 = 2;
    /// Proxy → sheet, as long as the proxy lives.
    pub(super) const OWNER: i32 = 3;
    /// Proxy → index of its table.
    pub(super) const INDEX: i32 = 4;
    /// The metatable of proxies.
    pub(super) const METATABLE: i32 = 5;
    pub(super) const COUNT: i32 = 5;
}

/// The sheets of a builder.
struct Owned(Vec<Arc<Document>>);

impl Object for Owned {
    const NAME: &'static CStr = c"datasheet owned";
}

/// What a reader has of a sheet. Its user value is the table of its proxies by index, weak.
struct Sheet(Arc<Document>);

impl Object for Sheet {
    const NAME: &'static CStr = c"datasheet";
}

/// `luaopen_skynet_datasheet_core`: pushes the module's table.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` with 20 free slots; nothing with a destructor is alive.
    unsafe {
        ffi::lua_newuserdatauv(state, 0, kept::COUNT);
        let kit = ffi::lua_gettop(state);
        let owned = object::push::<Owned>(state);
        ffi::lua_setiuservalue(state, kit, kept::OWNED);
        for (place, mode) in [(kept::SHEETS, c"v"), (kept::OWNER, c"k"), (kept::INDEX, c"k")] {
            push_weak(state, mode);
            ffi::lua_setiuservalue(state, kit, place);
        }
        ffi::lua_createtable(state, 0, METAMETHODS.len() as c_int);
        register(state, kit, &METAMETHODS);
        ffi::lua_setiuservalue(state, kit, kept::METATABLE);
        let filled = guard(|| {
            *owned.value.try_borrow_mut()? = Some(Owned(Vec::new()));
            Ok(())
        });
        if let Err(error) = filled {
            raise(state, error);
        }
        ffi::lua_createtable(state, 0, FUNCTIONS.len() as c_int);
        register(state, kit, &FUNCTIONS);
    }
    1
}

/// Puts functions into the table on top, the userdata in slot `kit` as their upvalue.
///
/// # Safety
/// `state` is valid and has three free slots. May raise a memory error.
unsafe fn register(state: *mut lua_State, kit: c_int, functions: &[(&CStr, ffi::lua_CFunction)]) {
    // SAFETY: by the caller's promise.
    unsafe {
        for (name, function) in functions {
            ffi::lua_pushvalue(state, kit);
            ffi::lua_pushcclosure(state, *function, 1);
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
    }
}

/// Pushes a weak table.
///
/// # Safety
/// As [`register`].
unsafe fn push_weak(state: *mut lua_State, mode: &CStr) {
    // SAFETY: by the caller's promise.
    unsafe {
        ffi::lua_createtable(state, 0, 0);
        ffi::lua_createtable(state, 0, 1);
        ffi::lua_pushstring(state, mode.as_ptr());
        ffi::lua_setfield(state, -2, c"__mode".as_ptr());
        ffi::lua_setmetatable(state, -2);
    }
}

/// Pushes what the functions share.
///
/// # Safety
/// `state` runs one of the functions, and has a free slot.
unsafe fn push_kept(state: *mut lua_State, place: i32) {
    // SAFETY: by the caller's promise.
    unsafe { ffi::lua_getiuservalue(state, ffi::lua_upvalueindex(1), place) };
}

/// Does something to the sheets that this state owns.
///
/// # Safety
/// As [`push_kept`].
unsafe fn with_owned<T: Copy>(
    state: *mut lua_State,
    work: impl FnOnce(&mut Vec<Arc<Document>>) -> Result<T, Raise>,
) -> Result<T, Raise> {
    // SAFETY: by the caller's promise; the userdata stays while it is a user value.
    unsafe {
        push_kept(state, kept::OWNED);
        let slot = object::get::<Owned>(state, -1);
        ffi::lua_settop(state, -2);
        guard(|| match slot {
            Some(slot) => match slot.value.try_borrow_mut()?.as_mut() {
                Some(Owned(all)) => work(all),
                None => Err(Raise::new("the state is being closed")),
            },
            None => Err(Raise::new("the state is being closed")),
        })
    }
}

/// `core.stringpointer(sheet: string): lightuserdata`, the name of a sheet for every service. It is good until `release`, or the end of
/// this service.
unsafe extern "C-unwind" fn stringpointer(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`, and the function has its upvalue; only plain data lives when something raises. (So for
    // all that follow.)
    unsafe {
        let bytes = check_bytes(state, 1);
        let named = with_owned(state, |all| {
            if let Some(same) = all.iter().find(|it| it.bytes() == bytes) {
                return Ok(same.address());
            }
            let document = Document::new(bytes);
            let address = document.address();
            all.push(document);
            Ok(address)
        });
        match named {
            Ok(address) => ffi::lua_pushlightuserdata(state, ptr::without_provenance_mut(address)),
            Err(error) => raise(state, error),
        }
    }
    1
}

/// `core.release(sheet: lightuserdata)`: this state does not own it any more. Who reads it keeps it.
unsafe extern "C-unwind" fn release(state: *mut lua_State) -> c_int {
    // SAFETY: as in `stringpointer`.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TLIGHTUSERDATA);
        let address = ffi::lua_touserdata(state, 1).addr();
        let released = with_owned(state, |all| {
            all.retain(|it| it.address() != address);
            Ok(())
        });
        if let Err(error) = released {
            raise(state, error);
        }
    }
    0
}

/// Puts the sheet at the address in slot `name` into a slot of Lua's.
///
/// # Safety
/// As [`raise`].
unsafe fn load(state: *mut lua_State, name: c_int, slot: &Slot<Sheet>) {
    // SAFETY: by the caller's promise.
    unsafe {
        let address = ffi::lua_touserdata(state, name).addr();
        let loaded = guard(|| {
            let found = Document::find(address)
                .ok_or_else(|| Raise::new(format_args!("there is no datasheet at {address:#x}")))?;
            let before = slot.value.try_borrow_mut()?.replace(Sheet(found));
            drop(before);
            Ok(())
        });
        if let Err(error) = loaded {
            raise_argument(state, name, error);
        }
    }
}

/// `core.new(sheet: lightuserdata): table`, its outermost table.
unsafe extern "C-unwind" fn new(state: *mut lua_State) -> c_int {
    // SAFETY: as in `stringpointer`.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TLIGHTUSERDATA);
        ffi::lua_settop(state, 1);
        push_kept(state, kept::SHEETS);
        ffi::lua_pushvalue(state, 1);
        if ffi::lua_rawget(state, 2) != ffi::LUA_TUSERDATA {
            ffi::lua_settop(state, 2);
            let slot = object::push::<Sheet>(state);
            load(state, 1, slot);
            push_weak(state, c"v");
            ffi::lua_setiuservalue(state, 3, 1);
            ffi::lua_pushvalue(state, 1);
            ffi::lua_pushvalue(state, 3);
            ffi::lua_rawset(state, 2);
        }
        push_proxy(state, 3, 0);
    }
    1
}

/// Pushes the proxy of table `index` of the sheet in slot `sheet`.
///
/// # Safety
/// As [`push_kept`], with six free slots. May raise a memory error.
unsafe fn push_proxy(state: *mut lua_State, sheet: c_int, index: u32) {
    // SAFETY: by the caller's promise.
    unsafe {
        ffi::lua_getiuservalue(state, sheet, 1);
        if ffi::lua_rawgeti(state, -1, i64::from(index)) == ffi::LUA_TTABLE {
            ffi::lua_remove(state, -2);
            return;
        }
        ffi::lua_settop(state, -2);
        let proxy = ffi::lua_gettop(state) + 1;
        ffi::lua_createtable(state, 0, 0);
        push_kept(state, kept::OWNER);
        ffi::lua_pushvalue(state, proxy);
        ffi::lua_pushvalue(state, sheet);
        ffi::lua_rawset(state, -3);
        push_kept(state, kept::INDEX);
        ffi::lua_pushvalue(state, proxy);
        ffi::lua_pushinteger(state, i64::from(index));
        ffi::lua_rawset(state, -3);
        ffi::lua_settop(state, proxy);
        push_kept(state, kept::METATABLE);
        ffi::lua_setmetatable(state, proxy);
        ffi::lua_pushvalue(state, proxy);
        ffi::lua_rawseti(state, proxy - 1, i64::from(index));
        ffi::lua_remove(state, proxy - 1);
    }
}

/// Pushes the sheet of the proxy in slot 1, which is a table, and says its index.
///
/// # Safety
/// As [`push_kept`], with two free slots.
unsafe fn push_sheet<'a>(state: *mut lua_State) -> Option<(&'a Slot<Sheet>, u32)> {
    // SAFETY: by the caller's promise; the slot stays while the sheet is on the stack.
    unsafe {
        push_kept(state, kept::INDEX);
        ffi::lua_pushvalue(state, 1);
        ffi::lua_rawget(state, -2);
        let index = ffi::lua_tointegerx(state, -1, ptr::null_mut());
        ffi::lua_settop(state, -3);
        push_kept(state, kept::OWNER);
        ffi::lua_pushvalue(state, 1);
        ffi::lua_rawget(state, -2);
        ffi::lua_remove(state, -2);
        object::get::<Sheet>(state, -1).map(|slot| (slot, index as u32))
    }
}

/// Raises that the table in slot 1 is no proxy.
///
/// # Safety
/// As [`raise`].
unsafe fn no_proxy(state: *mut lua_State) -> ! {
    // SAFETY: by the caller's promise.
    unsafe {
        ffi::luaL_error(state, c"Invalid proxy table %p".as_ptr(), ffi::lua_topointer(state, 1));
    }
    unreachable!("luaL_error came back")
}

/// Fills the proxy in slot 1, and takes its metatable away. What is above it is left on the stack.
///
/// # Safety
/// `state` runs a metamethod of proxies; nothing with a destructor is alive.
unsafe fn fill(state: *mut lua_State) {
    // SAFETY: by the caller's promise. The sheet stays on the stack. Making values may run finalizers, and those may update
    // the sheet: then nothing of it is read any more. A text is copied before the collector runs.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        let Some((slot, index)) = push_sheet(state) else { no_proxy(state) };
        let sheet = ffi::lua_gettop(state);
        let begun = read(slot, None, |it| Ok((it.address(), it.table(index)?)));
        let (address, body): (usize, Body) = match begun {
            Ok(begun) => begun,
            Err(error) => raise(state, error),
        };
        for item in 0..body.array {
            match read(slot, Some(address), |it| Ok(it.item(body, item)?)) {
                Ok(value) => push_value(state, sheet, value),
                Err(error) => raise(state, error),
            }
            ffi::lua_rawseti(state, 1, i64::from(item) + 1);
        }
        for pair in 0..body.dict {
            match read(slot, Some(address), |it| Ok(it.pair(body, pair)?.0)) {
                Ok(key) => push_value(state, sheet, key),
                Err(error) => raise(state, error),
            }
            match read(slot, Some(address), |it| Ok(it.pair(body, pair)?.1)) {
                Ok(value) => push_value(state, sheet, value),
                Err(error) => raise(state, error),
            }
            ffi::lua_rawset(state, 1);
        }
        ffi::lua_pushnil(state);
        ffi::lua_setmetatable(state, 1);
    }
}

/// Reads from a sheet, which is still the one at `address`.
fn read<T: Copy>(
    slot: &Slot<Sheet>,
    address: Option<usize>,
    work: impl FnOnce(&Document) -> Result<T, Raise>,
) -> Result<T, Raise> {
    guard(|| match slot.value.try_borrow()?.as_ref() {
        Some(Sheet(document)) if address.is_none_or(|it| it == document.address()) => work(document),
        Some(_) => Err(Raise::new("a datasheet was updated while it was read")),
        None => Err(Raise::new("the state is being closed")),
    })
}

/// # Safety
/// As [`push_proxy`]; a text is still there.
unsafe fn push_value(state: *mut lua_State, sheet: c_int, value: Value) {
    // SAFETY: by the caller's promise.
    unsafe {
        match value {
            Value::Nil => ffi::lua_pushnil(state),
            Value::Integer(value) => ffi::lua_pushinteger(state, i64::from(value)),
            Value::Real(value) => ffi::lua_pushnumber(state, f64::from(value)),
            Value::Boolean(value) => ffi::lua_pushboolean(state, c_int::from(value)),
            Value::Table(index) => push_proxy(state, sheet, index),
            Value::Text(first, len) => _ = ffi::lua_pushlstring(state, first.cast(), len),
        }
    }
}

/// `__index` of a proxy.
unsafe extern "C-unwind" fn index(state: *mut lua_State) -> c_int {
    // SAFETY: as in `stringpointer`.
    unsafe {
        ffi::lua_settop(state, 2);
        fill(state);
        ffi::lua_settop(state, 2);
        ffi::lua_rawget(state, 1);
    }
    1
}

/// `__len` of a proxy.
unsafe extern "C-unwind" fn len(state: *mut lua_State) -> c_int {
    // SAFETY: as in `stringpointer`.
    unsafe {
        ffi::lua_settop(state, 1);
        fill(state);
        ffi::lua_pushinteger(state, ffi::lua_rawlen(state, 1) as i64);
    }
    1
}

/// `__pairs` of a proxy.
unsafe extern "C-unwind" fn pairs(state: *mut lua_State) -> c_int {
    // SAFETY: as in `stringpointer`.
    unsafe {
        ffi::lua_settop(state, 1);
        fill(state);
        ffi::lua_pushcfunction(state, raw_next);
        ffi::lua_pushvalue(state, 1);
        ffi::lua_pushnil(state);
    }
    3
}

/// `core.update(table: table, sheet: lightuserdata): userdata`: every table that was read from the sheet of this one has the contents of
/// the other sheet from now on.
unsafe extern "C-unwind" fn update(state: *mut lua_State) -> c_int {
    // SAFETY: as in `stringpointer`.
    unsafe {
        ffi::luaL_checktype(state, 2, ffi::LUA_TLIGHTUSERDATA);
        ffi::lua_settop(state, 2);
        if ffi::lua_type(state, 1) != ffi::LUA_TTABLE {
            no_proxy(state);
        }
        let Some((slot, _)) = push_sheet(state) else { no_proxy(state) };
        const SHEET: c_int = 3;
        let before = match read(slot, None, |it| Ok(it.address())) {
            Ok(before) => before,
            Err(error) => raise(state, error),
        };
        load(state, 2, slot);
        push_kept(state, kept::SHEETS);
        ffi::lua_pushlightuserdata(state, ptr::without_provenance_mut(before));
        ffi::lua_pushnil(state);
        ffi::lua_rawset(state, 4);
        ffi::lua_pushvalue(state, 2);
        ffi::lua_pushvalue(state, SHEET);
        ffi::lua_rawset(state, 4);
        ffi::lua_getiuservalue(state, SHEET, 1);
        push_kept(state, kept::METATABLE);
        // 5: the proxies, 6: their metatable.
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, 5) != 0 {
            empty(state, 8);
            ffi::lua_pushvalue(state, 6);
            ffi::lua_setmetatable(state, 8);
            ffi::lua_settop(state, 7);
        }
        ffi::lua_settop(state, SHEET);
    }
    1
}

/// Takes all fields out of the table in slot `table`.
///
/// # Safety
/// `state` is valid and has four free slots.
unsafe fn empty(state: *mut lua_State, table: c_int) {
    // SAFETY: by the caller's promise; fields may be set to nil during a walk, and that allocates nothing.
    unsafe {
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, table) != 0 {
            ffi::lua_settop(state, -2);
            ffi::lua_pushvalue(state, -1);
            ffi::lua_pushnil(state);
            ffi::lua_rawset(state, table);
        }
    }
}
