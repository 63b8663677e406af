//! Documents as Lua holds them.
//!
//! A document of our own is a userdata with its bytes and one user value, the index of its fields once `makeindex` was called. A
//! *view* is a document inside of a string, which its user value keeps. A light userdata is a document if it is the address of
//! one that `to_lightuserdata` gave and that is still alive, or of a message in the service's hand.

use std::ffi::{c_int, c_void};
use std::ptr;

use skein_vm::walk::{Value, slot};

use super::Kit;
use super::decode::{Element, Reader};
use super::out::ty;
use crate::raw::{Raise, bytes, check_bytes, ffi, guard, lua_State, raise, raise_argument};

/// A document inside of a string.
#[repr(C)]
struct View {
    offset: usize,
    len: usize,
}

/// Pushes a document of `len` bytes, all still to be written, and says where.
///
/// # Safety
/// `state` is valid and has three free slots. May raise a memory error.
pub(super) unsafe fn push(state: *mut lua_State, kit: &Kit, len: usize) -> *mut u8 {
    // SAFETY: by the caller's promise.
    unsafe {
        let document = ffi::lua_newuserdatauv(state, len, 1).cast::<u8>();
        kit.push_metatable(state);
        ffi::lua_setmetatable(state, -2);
        document
    }
}

/// Pushes the document at `range` of the string in slot `index`.
///
/// # Safety
/// As [`push`]; the range is one of the string.
pub(crate) unsafe fn push_view(state: *mut lua_State, kit: &Kit, index: c_int, offset: usize, len: usize) {
    // SAFETY: by the caller's promise; a userdata is aligned for anything.
    unsafe {
        let view = ffi::lua_newuserdatauv(state, size_of::<View>(), 1).cast::<View>();
        view.write(View { offset, len });
        ffi::lua_pushvalue(state, index);
        ffi::lua_setiuservalue(state, -2, 1);
        kit.push_view_metatable(state);
        ffi::lua_setmetatable(state, -2);
    }
}

/// The document that the userdata in slot `index` is: where it begins, and how many bytes may belong to it. What keeps it alive
/// may be pushed.
///
/// # Errors
/// It is none.
///
/// # Safety
/// `state` is valid, and `index` an absolute slot; four slots are free.
pub(crate) unsafe fn find(
    state: *mut lua_State,
    kit: &Kit,
    mut index: c_int,
) -> Result<(*const u8, usize), Raise> {
    // SAFETY: by the caller's promise. Metatables say what a userdata is; nobody else can set them.
    unsafe {
        // The usual, in one call.
        if let Value::Userdata(document, metatable) = slot(state, index)
            && metatable == kit.metatable
        {
            return Ok((document.cast(), document.len()));
        }
        let mut address = ffi::lua_touserdata(state, index).cast_const();
        if ffi::lua_type(state, index) == ffi::LUA_TLIGHTUSERDATA {
            kit.push_known(state);
            if ffi::lua_rawgetp(state, -1, address) != ffi::LUA_TUSERDATA {
                return held(kit, address);
            }
            index = ffi::lua_gettop(state);
            address = ffi::lua_touserdata(state, index);
        }
        let metatable = if ffi::lua_getmetatable(state, index) != 0 {
            let at = ffi::lua_topointer(state, -1);
            ffi::lua_settop(state, -2);
            at
        } else {
            ptr::null()
        };
        if metatable == kit.metatable {
            return Ok((address.cast(), ffi::lua_rawlen(state, index) as usize));
        }
        if metatable == kit.view_metatable && ffi::lua_rawlen(state, index) as usize >= size_of::<View>() {
            let View { offset, len } = address.cast::<View>().read();
            ffi::lua_getiuservalue(state, index, 1);
            if let Some(text) = bytes(state, -1).and_then(|text| text.get(offset..)?.get(..len)) {
                return Ok((text.as_ptr(), text.len()));
            }
        }
        Err(Raise::new("a userdata that is no bson document"))
    }
}

/// As [`find`], cut to the size that the document says it has.
///
/// # Errors
/// It is none, or has fewer bytes.
///
/// # Safety
/// As [`find`].
pub(crate) unsafe fn whole(
    state: *mut lua_State,
    kit: &Kit,
    index: c_int,
) -> Result<(*const u8, usize), Raise> {
    // SAFETY: by the caller's promise; what was found has `len` bytes.
    unsafe {
        let (first, len) = find(state, kit, index)?;
        Reader::document(first, len)?;
        Ok((first, i32::from_le_bytes(first.cast::<[u8; 4]>().read()) as usize))
    }
}

/// The message at `address`, if it is in the service's hand.
fn held(kit: &Kit, address: *const c_void) -> Result<(*const u8, usize), Raise> {
    guard(|| match kit.service() {
        Some(service) => Ok(service.hand.whole(address.addr())?),
        None => Err(Raise::new("a pointer that is no bson document")),
    })
}

/// `bson.to_lightuserdata(document): lightuserdata`, good as long as the document lives. Null for anything else.
pub(super) unsafe extern "C-unwind" fn to_lightuserdata(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`, and the function has the upvalue of the module; nothing with a destructor is alive.
    // (So for all that follow.)
    unsafe {
        let kit = Kit::of(state);
        ffi::lua_settop(state, 1);
        match ffi::lua_type(state, 1) {
            ffi::LUA_TLIGHTUSERDATA => return 1,
            ffi::LUA_TUSERDATA => {}
            _ => {
                ffi::lua_pushlightuserdata(state, ptr::null_mut());
                return 1;
            }
        }
        match find(state, kit, 1) {
            Ok((address, _)) => {
                ffi::lua_settop(state, 1);
                kit.push_known(state);
                ffi::lua_pushvalue(state, 1);
                ffi::lua_rawsetp(state, -2, address.cast());
                ffi::lua_pushlightuserdata(state, address.cast_mut().cast());
                1
            }
            Err(error) => raise_argument(state, 1, error),
        }
    }
}

/// The document that a method was called on: its bytes.
///
/// # Safety
/// As [`find`], of slot 1.
unsafe fn check_own(state: *mut lua_State, kit: &Kit) -> (*mut u8, usize) {
    // SAFETY: by the caller's promise.
    unsafe {
        let is_own = ffi::lua_type(state, 1) == ffi::LUA_TUSERDATA
            && ffi::lua_getmetatable(state, 1) != 0
            && ffi::lua_topointer(state, -1) == kit.metatable;
        if !is_own {
            raise_argument(state, 1, Raise::new("bson document expected"));
        }
        ffi::lua_settop(state, -2);
        (ffi::lua_touserdata(state, 1).cast(), ffi::lua_rawlen(state, 1) as usize)
    }
}

/// `#document`, in bytes.
pub(super) unsafe extern "C-unwind" fn len(state: *mut lua_State) -> c_int {
    // SAFETY: as in `to_lightuserdata`.
    unsafe {
        ffi::luaL_checkany(state, 1);
        let (_, len) = check_own(state, Kit::of(state));
        ffi::lua_pushinteger(state, len as i64);
    }
    1
}

/// `tostring(document)`, its bytes.
pub(super) unsafe extern "C-unwind" fn to_string(state: *mut lua_State) -> c_int {
    // SAFETY: as in `to_lightuserdata`.
    unsafe {
        ffi::luaL_checkany(state, 1);
        let (first, len) = check_own(state, Kit::of(state));
        ffi::lua_pushlstring(state, first.cast(), len);
    }
    1
}

/// Bytes of a value that can be set.
fn width(ty: u8) -> Option<usize> {
    match ty {
        ty::BOOLEAN => Some(1),
        ty::INT32 => Some(4),
        ty::REAL | ty::DATE | ty::TIMESTAMP | ty::INT64 => Some(8),
        ty::OBJECT_ID => Some(12),
        _ => None,
    }
}

/// `document:makeindex(): userdata`: notes where fields of a fixed size are, so that they can be set.
pub(super) unsafe extern "C-unwind" fn makeindex(state: *mut lua_State) -> c_int {
    // SAFETY: as in `to_lightuserdata`. The document's length never changes, and the reader checks each step.
    unsafe {
        ffi::luaL_checkany(state, 1);
        let (first, len) = check_own(state, Kit::of(state));
        ffi::lua_settop(state, 1);
        ffi::lua_createtable(state, 0, 8);
        let mut fields = match Reader::document(first, len) {
            Ok(fields) => fields,
            Err(error) => raise(state, error),
        };
        loop {
            match fields.element() {
                Ok(Some(Element { ty, key, value })) => {
                    if width(ty).is_some() {
                        let offset = value.offset_from_unsigned(first) as i64;
                        key.push(state);
                        ffi::lua_pushinteger(state, offset << 8 | i64::from(ty));
                        ffi::lua_rawset(state, 2);
                    }
                }
                Ok(None) => break,
                Err(error) => raise(state, error),
            }
        }
        ffi::lua_setiuservalue(state, 1, 1);
    }
    1
}

/// `document[field] = value`, of the type that is there.
pub(super) unsafe extern "C-unwind" fn newindex(state: *mut lua_State) -> c_int {
    // SAFETY: as in `to_lightuserdata`. The index holds offsets of fields whose value lies inside of the document.
    unsafe {
        ffi::luaL_checkany(state, 3);
        let (first, len) = check_own(state, Kit::of(state));
        ffi::lua_settop(state, 3);
        if ffi::lua_getiuservalue(state, 1, 1) != ffi::LUA_TTABLE {
            return ffi::luaL_error(state, c"call makeindex first".as_ptr());
        }
        ffi::lua_pushvalue(state, 2);
        if ffi::lua_rawget(state, 4) == ffi::LUA_TNIL {
            match bytes(state, 2) {
                Some(_) => ffi::luaL_error(
                    state,
                    c"Can't replace key : %s".as_ptr(),
                    ffi::lua_tolstring(state, 2, ptr::null_mut()),
                ),
                None => ffi::luaL_error(state, c"Can't replace key : (null)".as_ptr()),
            };
        }
        let field = ffi::lua_tointegerx(state, 5, ptr::null_mut());
        let offset = (field >> 8) as usize;
        // The index is a user value, which `debug` can set.
        if width(field as u8).is_none_or(|width| offset.saturating_add(width) > len) {
            raise(state, Raise::new("the index is not that of this document"));
        }
        let at = first.add(offset);
        match field as u8 {
            ty::REAL => {
                let value = ffi::luaL_checknumber(state, 3);
                at.cast::<[u8; 8]>().write_unaligned(value.to_le_bytes());
            }
            ty::BOOLEAN => at.write(u8::from(ffi::lua_toboolean(state, 3) != 0)),
            ty::INT32 => {
                let value = check_integer(state, c"%f must be a 32bit integer ") as i32;
                at.cast::<[u8; 4]>().write_unaligned(value.to_le_bytes());
            }
            ty::INT64 => {
                let value = check_integer(state, c"%f must be a 64bit integer ");
                at.cast::<[u8; 8]>().write_unaligned(value.to_le_bytes());
            }
            ty @ ty::DATE => {
                let seconds = u32::from_le_bytes(check_special(state, ty));
                at.cast::<[u8; 8]>().write_unaligned((u64::from(seconds) * 1000).to_le_bytes());
            }
            ty @ ty::TIMESTAMP => at.cast::<[u8; 8]>().write_unaligned(check_special(state, ty)),
            ty @ ty::OBJECT_ID => at.cast::<[u8; 12]>().write_unaligned(check_special(state, ty)),
            other => {
                return ffi::luaL_error(state, c"Can't replace type %d".as_ptr(), c_int::from(other));
            }
        }
    }
    0
}

/// Argument 3, an integer; raises `otherwise`, a format for a real.
///
/// # Safety
/// As [`raise`].
unsafe fn check_integer(state: *mut lua_State, otherwise: &std::ffi::CStr) -> i64 {
    // SAFETY: by the caller's promise.
    unsafe {
        if ffi::lua_isinteger(state, 3) == 0 {
            let value = ffi::lua_tonumberx(state, 3, ptr::null_mut());
            ffi::luaL_error(state, otherwise.as_ptr(), value);
        }
        ffi::lua_tointegerx(state, 3, ptr::null_mut())
    }
}

/// The payload of argument 3, a special value of this type.
///
/// # Safety
/// As [`raise`].
unsafe fn check_special<const N: usize>(state: *mut lua_State, ty: u8) -> [u8; N] {
    // SAFETY: by the caller's promise.
    unsafe {
        if ffi::lua_type(state, 3) == ffi::LUA_TSTRING
            && let [0, kind, payload @ ..] = check_bytes(state, 3)
            && *kind == ty
            && let Ok(payload) = payload.try_into()
        {
            return payload;
        }
        raise(state, Raise::new(format_args!("Type mismatch, need bson type {ty}")))
    }
}
