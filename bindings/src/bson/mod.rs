//! `bson`: documents of MongoDB.
//!
//! A document is `size: i32, fields, 0`, a field `type: u8, key, 0, value`, all little-endian (bsonspec.org); which Lua value
//! becomes which type stands in docs/compat.md. Values that Lua has no type for are strings of a NUL, the type and a payload.
//! Lua holds documents as userdata ([`document`]); they are made of values ([`encode`]) and turned into tables ([`decode`]), also
//! straight from a message.
//!
//! # From skynet
//! lua-bson.c: `lencode`, `pack_*` → [`encode`] and [`careful`]; `ldecode`, `unpack_dict` → [`decode`]; `lobjectid`, `ldate`, … and
//! `ltype` → [`special`]; `lmakeindex`, `lreplace`, `llightuserdata` → [`document`].

use std::ffi::{CStr, c_int, c_void};

use crate::raw::{ffi, lua_State};
use crate::state::ServiceState;

mod careful;
mod decode;
pub(crate) mod document;
mod encode;
mod out;
mod special;

const FUNCTIONS: [(&CStr, ffi::lua_CFunction); 11] = [
    (c"encode", encode::encode),
    (c"encode_order", encode::encode_order),
    (c"decode", decode::decode),
    (c"to_lightuserdata", document::to_lightuserdata),
    (c"objectid", special::objectid),
    (c"date", special::date),
    (c"timestamp", special::timestamp),
    (c"regex", special::regex_of),
    (c"binary", special::binary),
    (c"int64", special::int64),
    (c"type", special::type_of),
];

const CONSTANTS: [(&CStr, u8); 3] =
    [(c"null", out::ty::NULL), (c"minkey", out::ty::MIN_KEY), (c"maxkey", out::ty::MAX_KEY)];

const METAMETHODS: [(&CStr, ffi::lua_CFunction); 3] =
    [(c"__len", document::len), (c"__tostring", document::to_string), (c"__newindex", document::newindex)];

const METHODS: [(&CStr, ffi::lua_CFunction); 2] =
    [(c"decode", decode::decode), (c"makeindex", document::makeindex)];

/// Where a state's kit is kept in the registry.
static KIT: u8 = 0;

/// What the functions of a state need: a userdata, the only upvalue of each.
pub(crate) struct Kit {
    service: *const ServiceState,
    /// The strings of these events, as `lua_topointer` names them.
    pairs: *const c_void,
    len: *const c_void,
    metatable: *const c_void,
    view_metatable: *const c_void,
}

/// The user values of the kit. The last two keep the strings.
mod kept {
    pub(super) const METATABLE: i32 = 1;
    pub(super) const VIEW_METATABLE: i32 = 2;
    /// Documents by address, weak.
    pub(super) const KNOWN: i32 = 3;
    pub(super) const PAIRS: i32 = 4;
    pub(super) const LEN: i32 = 5;
    pub(super) const COUNT: i32 = 5;
}

impl Kit {
    /// The kit of the running function.
    ///
    /// # Safety
    /// `state` runs a function with a kit as upvalue 1, which lives as long as the function runs.
    pub(crate) unsafe fn of<'a>(state: *mut lua_State) -> &'a Kit {
        // SAFETY: by the caller's promise.
        unsafe { &*ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast::<Kit>() }
    }

    /// The service of the state, if it has one.
    fn service(&self) -> Option<&ServiceState> {
        // SAFETY: a service outlives its Lua state, and with it the kit.
        unsafe { self.service.as_ref() }
    }

    /// Keeps the service's messages where they are until [`Kit::end_reading`] is called with what this answers. An error in
    /// between leaves the reading open; the end of the message closes it.
    pub(crate) fn begin_reading(&self) -> Option<u32> {
        self.service().map(|it| it.hand.begin_reading())
    }

    pub(crate) fn end_reading(&self, before: Option<u32>) {
        if let (Some(service), Some(before)) = (self.service(), before) {
            service.hand.end_reading(before);
        }
    }

    /// Pushes the metatable of documents.
    ///
    /// # Safety
    /// `state` runs a function of this kit, and has a free slot. (So for those that follow.)
    unsafe fn push_metatable(&self, state: *mut lua_State) {
        // SAFETY: by the caller's promise.
        unsafe { ffi::lua_getiuservalue(state, ffi::lua_upvalueindex(1), kept::METATABLE) };
    }

    unsafe fn push_view_metatable(&self, state: *mut lua_State) {
        // SAFETY: as above.
        unsafe { ffi::lua_getiuservalue(state, ffi::lua_upvalueindex(1), kept::VIEW_METATABLE) };
    }

    unsafe fn push_known(&self, state: *mut lua_State) {
        // SAFETY: as above.
        unsafe { ffi::lua_getiuservalue(state, ffi::lua_upvalueindex(1), kept::KNOWN) };
    }
}

/// Pushes the state's kit, made at the first call.
///
/// # Safety
/// `state` is valid and has ten free slots. May raise a memory error.
pub(crate) unsafe fn push_kit(state: *mut lua_State) {
    // SAFETY: by the caller's promise; the kit is plain data in memory of Lua's.
    unsafe {
        if ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, (&raw const KIT).cast()) == ffi::LUA_TUSERDATA {
            return;
        }
        ffi::lua_settop(state, -2);
        let service = crate::core::context(state);
        let kit = ffi::lua_newuserdatauv(state, size_of::<Kit>(), kept::COUNT).cast::<Kit>();
        let keep = |place: c_int| {
            let at = ffi::lua_topointer(state, -1);
            ffi::lua_setiuservalue(state, -2, place);
            at
        };
        ffi::lua_pushstring(state, c"__pairs".as_ptr());
        let pairs = keep(kept::PAIRS);
        ffi::lua_pushstring(state, c"__len".as_ptr());
        let len = keep(kept::LEN);
        ffi::lua_createtable(state, 0, 0);
        ffi::lua_createtable(state, 0, 1);
        ffi::lua_pushstring(state, c"v".as_ptr());
        ffi::lua_setfield(state, -2, c"__mode".as_ptr());
        ffi::lua_setmetatable(state, -2);
        keep(kept::KNOWN);
        ffi::luaL_newmetatable(state, c"bson".as_ptr());
        let metatable = keep(kept::METATABLE);
        ffi::lua_createtable(state, 0, 1);
        ffi::lua_pushstring(state, c"bson".as_ptr());
        ffi::lua_setfield(state, -2, c"__name".as_ptr());
        let view_metatable = keep(kept::VIEW_METATABLE);
        kit.write(Kit { service, pairs, len, metatable, view_metatable });
        // The functions of documents have the kit as upvalue, and so it is complete before.
        ffi::lua_getiuservalue(state, -1, kept::METATABLE);
        register(state, -2, &METAMETHODS);
        ffi::lua_createtable(state, 0, METHODS.len() as c_int);
        register(state, -3, &METHODS);
        ffi::lua_setfield(state, -2, c"__index".as_ptr());
        ffi::lua_settop(state, -2);
        ffi::lua_pushvalue(state, -1);
        ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, (&raw const KIT).cast());
    }
}

/// Puts functions into the table on top, the kit in slot `kit` as their upvalue.
///
/// # Safety
/// `state` is valid and has three free slots. May raise a memory error.
pub(crate) unsafe fn register(state: *mut lua_State, kit: c_int, functions: &[(&CStr, ffi::lua_CFunction)]) {
    // SAFETY: by the caller's promise.
    unsafe {
        for (name, function) in functions {
            ffi::lua_pushvalue(state, kit);
            ffi::lua_pushcclosure(state, *function, 1);
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
    }
}

/// `luaopen_bson`: pushes the module's table.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` with 20 free slots; nothing with a destructor is alive.
    unsafe {
        push_kit(state);
        ffi::lua_createtable(state, 0, (FUNCTIONS.len() + CONSTANTS.len()) as c_int);
        register(state, -2, &FUNCTIONS);
        for (name, kind) in CONSTANTS {
            ffi::lua_pushlstring(state, [0, kind].as_ptr().cast(), 2);
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
    }
    1
}
