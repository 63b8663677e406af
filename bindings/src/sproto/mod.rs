//! `sproto.core`: messages by schema, and 0-packing.
//!
//! Schemas belong to the process ([`handles`]); a Lua state keeps the names of their fields as strings. Messages are written at a
//! [`desk`] by [`walk`] and [`mod@encode`], read by [`mod@decode`]; [`zero`] packs them. None of it needs a service, but a message given as a pointer must be
//! in a service's hand.
//!
//! # From skynet
//! lsproto.c: the functions of those names. A schema and its types are pointers there, and believed.

mod decode;
mod describe;
mod desk;
mod encode;
mod handles;
mod input;
mod schema;
mod walk;
mod zero;

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;

use skein_vm::external;
use skein_vm::walk::{Value, slot};

use self::decode::Malformed;
use self::desk::{MOST, Place};
use self::handles::{Cache, Handle, SLOTS};
use self::input::Input;
use self::schema::{Answer, Protocol, Schema, Type};
use self::walk::Name;
use crate::raw::{Raise, bytes, check_bytes, ffi, guard, lua_State, raise, raise_argument};

const FUNCTIONS: [(&CStr, ffi::lua_CFunction); 12] = [
    (c"newproto", newproto),
    (c"deleteproto", deleteproto),
    (c"dumpproto", dumpproto),
    (c"querytype", querytype),
    (c"protocol", protocol),
    (c"saveproto", saveproto),
    (c"loadproto", loadproto),
    (c"encode", encode),
    (c"decode", decode),
    (c"pack", pack),
    (c"unpack", unpack),
    (c"default", default),
];

/// Upvalues: the [`Cache`], and the names of fields by place of their schema.
const CACHE: c_int = 1;
const NAMES: c_int = 2;

/// Opens `sproto.core`. Stack: 1 out.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`. The cache is whole before its finalizer is set.
    unsafe {
        ffi::lua_newuserdatauv(state, size_of::<Cache>(), 0).cast::<Cache>().write(Cache::default());
        ffi::lua_createtable(state, 0, 1);
        ffi::lua_pushcclosure(state, collect, 0);
        ffi::lua_setfield(state, -2, c"__gc".as_ptr());
        ffi::lua_setmetatable(state, -2);
        ffi::lua_createtable(state, 0, 0);
        ffi::lua_createtable(state, 0, FUNCTIONS.len() as c_int);
        for (name, function) in FUNCTIONS {
            ffi::lua_pushvalue(state, -3);
            ffi::lua_pushvalue(state, -3);
            ffi::lua_pushcclosure(state, function, 2);
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
    }
    1
}

/// The finalizer of the cache: empties it, and leaves it whole, should somebody still call a function.
unsafe extern "C-unwind" fn collect(state: *mut lua_State) -> c_int {
    // SAFETY: the metatable is out of Lua's reach, so slot 1 is the cache.
    let cache = unsafe { &*ffi::lua_touserdata(state, 1).cast::<Cache>() };
    let _ = guard(|| {
        cache.clear();
        Ok(())
    });
    0
}

/// # Safety
/// The running function has the upvalues of [`open`].
unsafe fn cache<'a>(state: *mut lua_State) -> &'a Cache {
    // SAFETY: by the caller's promise; the closure keeps the userdata.
    unsafe { &*ffi::lua_touserdata(state, ffi::lua_upvalueindex(CACHE)).cast::<Cache>() }
}

/// The light userdata in slot 1 as a handle; none for anything else.
///
/// # Safety
/// `state` runs a C function.
unsafe fn handle(state: *mut lua_State) -> Option<Handle> {
    // SAFETY: by the caller's promise.
    unsafe {
        let is_light = ffi::lua_type(state, 1) == ffi::LUA_TLIGHTUSERDATA;
        is_light.then(|| Handle::from_bits(ffi::lua_touserdata(state, 1).addr()))?
    }
}

/// The schema that slot 1 names; raises `needed` otherwise. It stays until Lua code may run, or, after [`Place::take`], until the
/// function is done (P1).
///
/// # Safety
/// As for [`raise`].
unsafe fn check_schema<'a>(state: *mut lua_State, needed: &str) -> (Handle, &'a Schema) {
    // SAFETY: by the caller's promise.
    unsafe {
        let cache = cache(state);
        let found = handle(state).filter(|it| it.ty.is_none()).and_then(|it| Some((it, find(cache, it)?)));
        match found {
            Some(found) => found,
            None => raise_argument(state, 1, Raise::new(needed)),
        }
    }
}

/// The type that slot 1 names, and its schema; raises otherwise.
///
/// # Safety
/// As for [`raise`].
#[inline]
unsafe fn check_type<'a>(state: *mut lua_State) -> (Handle, &'a Schema, &'a Type) {
    // SAFETY: by the caller's promise.
    unsafe {
        let cache = cache(state);
        let found = handle(state).and_then(|it| {
            let schema: &Schema = find(cache, it)?;
            Some((it, schema, schema.types.get(usize::from(it.ty?))?))
        });
        match found {
            Some(found) => found,
            None => raise_argument(state, 1, Raise::new("Need a sproto_type object")),
        }
    }
}

/// # Safety
/// The schema is used as long as the running function (P1).
#[inline]
unsafe fn find<'a>(cache: &Cache, handle: Handle) -> Option<&'a Schema> {
    let found = guard(|| Ok(cache.find(handle))).ok().flatten()?;
    // SAFETY: the cache owns it that long, by the caller's promise.
    Some(unsafe { &*found })
}

/// Whether slot 1 is no type at all: nil, or a null pointer.
///
/// # Safety
/// `state` runs a C function.
#[inline]
unsafe fn is_no_type(state: *mut lua_State) -> bool {
    // SAFETY: by the caller's promise.
    unsafe {
        match ffi::lua_type(state, 1) {
            ffi::LUA_TNIL | ffi::LUA_TNONE => true,
            ffi::LUA_TLIGHTUSERDATA => ffi::lua_touserdata(state, 1).is_null(),
            _ => false,
        }
    }
}

/// The names of all fields of a schema, in the state from now on.
///
/// # Safety
/// As for [`raise`], with four free slots. They are used before a schema is used for the first time again.
#[inline]
unsafe fn names<'a>(state: *mut lua_State, handle: Handle, schema: &Schema) -> &'a [Name] {
    // SAFETY: by the caller's promise.
    unsafe {
        let cache = cache(state);
        if let Some(names) = cache.names(handle) {
            return &*names;
        }
        make_names(state, handle, schema);
        cache.names(handle).map(|it| &*it).unwrap_or_default()
    }
}

/// # Safety
/// As [`names`].
#[cold]
unsafe fn make_names(state: *mut lua_State, handle: Handle, schema: &Schema) {
    // SAFETY: by the caller's promise. In the guard is no call that raises.
    unsafe {
        ffi::lua_createtable(state, schema.names as c_int, 0);
        for (at, field) in schema.types.iter().flat_map(|it| &it.fields).enumerate() {
            ffi::lua_pushstring(state, field.name.as_ptr());
            ffi::lua_rawseti(state, -2, at as i64 + 1);
        }
        ffi::lua_pushvalue(state, -1);
        ffi::lua_rawseti(state, ffi::lua_upvalueindex(NAMES), handle.place() as i64 + 1);
        let made = guard(|| {
            let names = (1..=schema.names as i64).map(|at| {
                ffi::lua_rawgeti(state, -1, at);
                let name = ffi::lua_topointer(state, -1);
                ffi::lua_settop(state, -2);
                name
            });
            cache(state).set_names(handle, names.collect());
            Ok(())
        });
        ffi::lua_settop(state, -2);
        if let Err(error) = made {
            raise(state, error);
        }
    }
}

/// Pushes the list of the names of all fields of a schema.
///
/// # Safety
/// As [`names`].
#[inline]
unsafe fn push_names(state: *mut lua_State, handle: Handle, schema: &Schema) {
    // SAFETY: by the caller's promise.
    unsafe {
        names(state, handle, schema);
        ffi::lua_rawgeti(state, ffi::lua_upvalueindex(NAMES), handle.place() as i64 + 1);
    }
}

/// # Safety
/// `state` has a free slot.
unsafe fn push_handle(state: *mut lua_State, handle: Handle) {
    // SAFETY: by the caller's promise.
    unsafe { ffi::lua_pushlightuserdata(state, std::ptr::without_provenance_mut(handle.to_bits())) }
}

/// `sproto.newproto(bundle: string): lightuserdata | nothing`.
unsafe extern "C-unwind" fn newproto(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive when these raise.
    unsafe {
        let bundle = check_bytes(state, 1);
        match guard(|| Ok(Schema::parse(bundle).and_then(handles::add))) {
            Ok(Some(handle)) => push_handle(state, handle),
            Ok(None) => return 0,
            Err(error) => raise(state, error),
        }
    }
    1
}

/// `sproto.deleteproto(schema: lightuserdata)`. A saved one stays.
unsafe extern "C-unwind" fn deleteproto(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (handle, _) = check_schema(state, "Need a sproto object");
        let frame = 0;
        let place = Place::take(&frame, MOST);
        let deleted = guard(|| {
            let cache = cache(state);
            cache.delete(handle);
            if place.is_outermost() {
                cache.sweep();
            }
            Ok(())
        });
        place.leave();
        if let Err(error) = deleted {
            raise(state, error);
        }
    }
    0
}

/// `sproto.dumpproto(schema: lightuserdata)`: writes it to standard output.
unsafe extern "C-unwind" fn dumpproto(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (_, schema) = check_schema(state, "Need a sproto_type object");
        let printed = guard(|| {
            describe::print(schema);
            Ok(())
        });
        if let Err(error) = printed {
            raise(state, error);
        }
    }
    0
}

/// `sproto.querytype(schema: lightuserdata, name: string): lightuserdata | nothing`.
unsafe extern "C-unwind" fn querytype(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (handle, schema) = check_schema(state, "Need a sproto object");
        ffi::luaL_checktype(state, 2, ffi::LUA_TSTRING);
        let Some(index) = schema.type_named(bytes(state, 2).unwrap_or_default()) else { return 0 };
        push_handle(state, handle.of_type(index));
    }
    1
}

/// `sproto.protocol(schema: lightuserdata, which: string | integer): tag or name, request, response | nothing`.
unsafe extern "C-unwind" fn protocol(state: *mut lua_State) -> c_int {
    // SAFETY: as above; a string is not converted.
    unsafe {
        let frame = 0;
        let place = Place::take(&frame, MOST);
        let (handle, schema) = check_schema(state, "Need a sproto_type object");
        match ffi::lua_type(state, 2) {
            ffi::LUA_TNUMBER => {
                let tag = ffi::lua_tointeger(state, 2);
                let Some(found) = schema.protocol_of_tag(tag) else { return 0 };
                ffi::lua_pushstring(state, found.name.as_ptr());
                push_types(state, handle, found);
            }
            ffi::LUA_TSTRING => {
                let found = schema.protocol_named(bytes(state, 2).unwrap_or_default());
                let Some(found) = found else { return 0 };
                ffi::lua_pushinteger(state, i64::from(found.tag));
                push_types(state, handle, found);
            }
            _ => raise_argument(state, 2, Raise::new("Should be number or string")),
        }
        place.leave();
    }
    3
}

/// # Safety
/// `state` has two free slots.
unsafe fn push_types(state: *mut lua_State, handle: Handle, protocol: &Protocol) {
    // SAFETY: by the caller's promise.
    unsafe {
        match protocol.request {
            Some(index) => push_handle(state, handle.of_type(index)),
            None => ffi::lua_pushnil(state),
        }
        match protocol.answer {
            Answer::Struct(index) => push_handle(state, handle.of_type(index)),
            Answer::Empty => ffi::lua_pushlightuserdata(state, std::ptr::null_mut()),
            Answer::None => ffi::lua_pushnil(state),
        }
    }
}

/// Argument `index` as a slot of the process, 0 by default.
///
/// # Safety
/// As for [`raise`].
unsafe fn check_slot(state: *mut lua_State, index: c_int) -> usize {
    // SAFETY: by the caller's promise.
    unsafe {
        let slot = ffi::luaL_optinteger(state, index, 0);
        match usize::try_from(slot) {
            Ok(slot) if slot < SLOTS => slot,
            _ => raise(state, Raise::new(format_args!("Invalid global slot index {slot}"))),
        }
    }
}

/// `sproto.saveproto(schema: lightuserdata, slot: integer?)`.
unsafe extern "C-unwind" fn saveproto(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let slot = check_slot(state, 2);
        let (handle, _) = check_schema(state, "Need a sproto object");
        let saved = guard(|| {
            handles::save(slot, handle);
            Ok(())
        });
        if let Err(error) = saved {
            raise(state, error);
        }
    }
    0
}

/// `sproto.loadproto(slot: integer?): lightuserdata`.
unsafe extern "C-unwind" fn loadproto(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let slot = check_slot(state, 1);
        match guard(|| Ok(handles::load(slot))) {
            Ok(Some(handle)) => push_handle(state, handle),
            Ok(None) => raise(state, Raise::new(format_args!("nil sproto at index {slot}"))),
            Err(error) => raise(state, error),
        }
    }
    1
}

/// `sproto.encode(type: lightuserdata?, message: table): string`.
unsafe extern "C-unwind" fn encode(state: *mut lua_State) -> c_int {
    // SAFETY: as above. The place is plain data; whoever raises leaves it to the next.
    unsafe {
        if is_no_type(state) {
            ffi::luaL_checktype(state, 2, ffi::LUA_TNIL);
            ffi::lua_pushstring(state, c"".as_ptr());
            return 1;
        }
        ffi::lua_settop(state, 2);
        let frame = 0;
        let place = Place::take(&frame, MOST);
        let (handle, schema, ty) = check_type(state);
        let names = names(state, handle, schema);
        let walked =
            guard(|| Ok(walk::message(state, schema, ty, names, place.buffer()).is_ok())).unwrap_or(false);
        if !walked {
            place.clear();
            push_names(state, handle, schema);
            encode::message(state, schema, ty, (3, 2), place);
        }
        let message = place.message();
        ffi::lua_pushlstring(state, message.as_ptr().cast(), message.len());
        place.leave();
    }
    1
}

/// `sproto.decode(type: lightuserdata?, message: string | lightuserdata, size: integer?, result: table?): table, integer`, and how many bytes
/// it has.
unsafe extern "C-unwind" fn decode(state: *mut lua_State) -> c_int {
    // SAFETY: as above; the bytes are held until `done`.
    unsafe {
        if is_no_type(state) {
            return 0;
        }
        let frame = 0;
        let place = Place::take(&frame, MOST);
        let (handle, schema, ty) = check_type(state);
        let last = ffi::lua_gettop(state);
        let filled = last > 2 && ffi::lua_type(state, last) == ffi::LUA_TTABLE;
        let input = Input::check(state, 2);
        let table = if filled {
            last
        } else {
            ffi::lua_createtable(state, 0, decode::values(input.bytes()).min(ty.fields.len() as c_int));
            last + 1
        };
        push_names(state, handle, schema);
        let names = ffi::lua_gettop(state);
        let decoded = decode::message(state, schema, ty, (names, table), input.bytes());
        place.leave();
        input.done();
        match decoded {
            Ok(used) => {
                ffi::lua_pushvalue(state, table);
                ffi::lua_pushinteger(state, used as i64);
                2
            }
            Err(malformed) => raise(state, explain(malformed)),
        }
    }
}

/// A refusal as skynet says it.
#[cold]
fn explain(malformed: Malformed<'_>) -> Raise {
    match malformed {
        Malformed::Bytes => Raise::new("decode error"),
        Malformed::TooDeep => Raise::new("The table is too deep"),
        Malformed::NoIndex(field) => {
            let (tag, name) = (field.key_tag, field.name.to_string_lossy());
            Raise::new(format_args!("Can't find main index (tag={tag}) in [{name}]"))
        }
        Malformed::NoKey(field) => {
            Raise::new(format_args!("Can't find key field in [{}]", field.name.to_string_lossy()))
        }
        Malformed::NoValue(field) => {
            Raise::new(format_args!("Can't find value field in [{}]", field.name.to_string_lossy()))
        }
    }
}

/// `sproto.pack(message: string | lightuserdata, size: integer?): string`: zeros take one bit each.
unsafe extern "C-unwind" fn pack(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        if let Some(done) = rewrite_few(state, |input, room| Ok(zero::pack_small(input, room))) {
            return done;
        }
        rewrite(state, |input, place| zero::pack(input, place).map_err(|_| "the packed message is too large"))
    }
}

/// `sproto.unpack(packed: string | lightuserdata, size: integer?): string`.
unsafe extern "C-unwind" fn unpack(state: *mut lua_State) -> c_int {
    let text = |refused| match refused {
        zero::Refused::Truncated => "Invalid unpack stream",
        zero::Refused::TooLarge => "the unpacked message is too large",
    };
    // SAFETY: as above.
    unsafe {
        if let Some(done) = rewrite_few(state, |input, room| zero::unpack_small(input, room).map_err(text)) {
            return done;
        }
        rewrite(state, |input, place| zero::unpack(input, place).map_err(text))
    }
}

/// Answers what `write` makes of argument 1, if that is a short string; it says how many bytes of the room it wrote.
///
/// # Safety
/// As for [`raise`].
#[inline(always)]
unsafe fn rewrite_few(
    state: *mut lua_State,
    write: impl FnOnce(&[u8], &mut zero::SmallRoom) -> Result<usize, &'static str>,
) -> Option<c_int> {
    // SAFETY: by the caller's promise; the string stays in its slot. What is pushed was written.
    unsafe {
        let input = match slot(state, 1) {
            Value::String(input) if input.len() <= zero::SMALL => input,
            _ => return None,
        };
        let mut room = [const { MaybeUninit::uninit() }; size_of::<zero::SmallRoom>()];
        match guard(|| write(input, &mut room).map_err(Raise::new)) {
            Ok(len) => external::push_copy(state, room[..len].assume_init_ref()),
            Err(error) => raise(state, error),
        }
    }
    Some(1)
}

/// Answers what `write` makes of arguments 1 and 2.
///
/// # Safety
/// As for [`raise`].
unsafe fn rewrite(
    state: *mut lua_State,
    write: impl FnOnce(&[u8], Place) -> Result<(), &'static str>,
) -> c_int {
    // SAFETY: by the caller's promise.
    unsafe {
        let input = Input::check(state, 1);
        let frame = 0;
        let place = Place::take(&frame, isize::MAX as usize);
        let written = guard(|| write(input.bytes(), place).map_err(Raise::new));
        input.done();
        if let Err(error) = written {
            place.leave();
            raise(state, error);
        }
        let bytes = place.message();
        ffi::lua_pushlstring(state, bytes.as_ptr().cast(), bytes.len());
        place.leave();
    }
    1
}

/// `sproto.default(type: lightuserdata): table`, a value for each field.
unsafe extern "C-unwind" fn default(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let frame = 0;
        let place = Place::take(&frame, MOST);
        let (_, schema, ty) = check_type(state);
        describe::push_default(state, schema, ty);
        place.leave();
    }
    1
}
