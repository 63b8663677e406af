//! A version of a shared table, as its maker holds it: `core.matrix`, and `build` and `freeze` of `skein.share`.

use std::ffi::{CStr, CString, c_int};
use std::path::Path;

use skein_sharedata::Segment;
use skein_vm::shared::Allowed;

use super::{To, domain, explain, keep, let_go, sandbox, segment_of, service};
use crate::raw::{Raise, bytes, check_text, ffi, guard, lua_State, raise};

/// The metatable's name.
const TYPE: &CStr = c"BOXMATRIXSTATE";

/// What the userdata holds.
#[repr(C)]
pub(super) struct Matrix {
    /// Address of the root; 0 when it is closed.
    pub(super) root: usize,
}

/// `core.matrix(source, ...): matrix`. The table that a chunk returns, shared. Raises what the chunk does, and why its result
/// cannot be shared.
pub(super) unsafe extern "C-unwind" fn matrix(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive.
    unsafe {
        check_text(state, 1);
        sandbox::check(state, 2);
        let code = bytes(state, 1).unwrap_or_default();
        make(state, None, code, 2, false)
    }
}

/// `share.build(name, source, ...): matrix`. As `core.matrix`; messages call the table `name`.
pub(super) unsafe extern "C-unwind" fn build(state: *mut lua_State) -> c_int {
    // SAFETY: as in `matrix`.
    unsafe {
        let name = check_text(state, 1);
        check_text(state, 2);
        sandbox::check(state, 3);
        let code = bytes(state, 2).unwrap_or_default();
        make(state, Some(name), code, 3, false)
    }
}

/// `share.publish(name, source, ...): matrix`. As `build`; the table becomes the current version of `name` in the domain of this
/// process, and may hold no C functions and no pointers. Raises, beside, if there is no domain.
pub(super) unsafe extern "C-unwind" fn publish(state: *mut lua_State) -> c_int {
    // SAFETY: as in `matrix`.
    unsafe {
        let name = check_text(state, 1);
        check_text(state, 2);
        sandbox::check(state, 3);
        let code = bytes(state, 2).unwrap_or_default();
        make(state, Some(name), code, 3, true)
    }
}

/// Builds, and pushes the matrix. `publish`: into the domain.
///
/// # Safety
/// As for [`matrix`]; the bytes are of arguments, and values from `first` on went through [`sandbox::check`].
unsafe fn make(
    state: *mut lua_State,
    name: Option<&[u8]>,
    code: &[u8],
    first: c_int,
    publish: bool,
) -> c_int {
    // SAFETY: by the caller's promise; strings stay in their slots.
    unsafe {
        let service = service(state);
        let last = ffi::lua_gettop(state);
        let made = new(state);
        let done = guard(|| {
            let name = c_name(name.unwrap_or_else(|| name_of(code)));
            let to = if publish { To::Domain(domain::tables()?) } else { To::Process };
            let built = sandbox::run(service, &name, code, state, (first, last), to);
            // The text may be longer than what `Raise` keeps.
            Ok(match built {
                Ok(segment) => Ok(keep(segment)),
                Err(text) => Err(service.keep_text(text)),
            })
        });
        answer(state, made, done)
    }
}

/// `share.freeze(name, table): matrix`. The table and all it reaches, with metatables that hold data, shared. Raises why it cannot
/// be.
pub(super) unsafe extern "C-unwind" fn freeze(state: *mut lua_State) -> c_int {
    // SAFETY: as in `matrix`. The freezer does not raise.
    unsafe {
        let name = check_text(state, 1);
        ffi::luaL_checktype(state, 2, ffi::LUA_TTABLE);
        let service = service(state);
        let made = new(state);
        let done = guard(|| {
            let allowed = Allowed { pointers: true, functions: true, ..Allowed::default() };
            Ok(match segment_of(state, 2, &c_name(name), allowed, To::Process) {
                Ok(segment) => Ok(keep(segment)),
                Err(error) => Err(service.keep_text(explain(&error).into_bytes())),
            })
        });
        answer(state, made, done)
    }
}

/// Fills the matrix on top of the stack, or raises.
///
/// # Safety
/// As for [`matrix`].
unsafe fn answer(
    state: *mut lua_State,
    made: *mut Matrix,
    done: Result<Result<usize, (*const u8, usize)>, Raise>,
) -> c_int {
    // SAFETY: by the caller's promise; the matrix is on the stack.
    unsafe {
        match done {
            Ok(Ok(root)) => {
                (*made).root = root;
                1
            }
            Ok(Err((text, len))) => {
                ffi::lua_pushlstring(state, text.cast(), len);
                ffi::lua_error(state)
            }
            Err(error) => raise(state, error),
        }
    }
}

fn c_name(name: &[u8]) -> CString {
    CString::new(name).unwrap_or_default()
}

/// What messages call a table that has no name: as its file is called.
fn name_of(code: &[u8]) -> &[u8] {
    let Some(file) = code.strip_prefix(b"@") else { return b"table" };
    let path = std::str::from_utf8(file).ok().map(Path::new);
    path.and_then(Path::file_stem).and_then(|it| it.to_str()).map_or(b"table", str::as_bytes)
}

/// Pushes a closed matrix.
///
/// # Safety
/// As for [`matrix`].
pub(super) unsafe fn new(state: *mut lua_State) -> *mut Matrix {
    // SAFETY: by the caller's promise.
    unsafe {
        let made = ffi::lua_newuserdatauv(state, size_of::<Matrix>(), 0).cast::<Matrix>();
        made.write(Matrix { root: 0 });
        if ffi::luaL_newmetatable(state, TYPE.as_ptr()) != 0 {
            ffi::lua_pushvalue(state, -1);
            ffi::lua_setfield(state, -2, c"__index".as_ptr());
            for (name, function) in
                [(c"close", close as ffi::lua_CFunction), (c"getptr", getptr), (c"size", size)]
            {
                ffi::lua_pushcclosure(state, function, 0);
                ffi::lua_setfield(state, -2, name.as_ptr());
            }
        }
        ffi::lua_setmetatable(state, -2);
        made
    }
}

/// The matrix that is argument 1; raises if that is none.
///
/// # Safety
/// As for [`matrix`].
unsafe fn checked<'a>(state: *mut lua_State) -> &'a mut Matrix {
    // SAFETY: by the caller's promise. A program with `debug.setmetatable` may have put our metatable on something else, so the
    // size is checked, too; what is in the memory is then a number that names no version.
    unsafe {
        let found = ffi::luaL_checkudata(state, 1, TYPE.as_ptr()).cast::<Matrix>();
        if ffi::lua_rawlen(state, 1) as usize != size_of::<Matrix>() {
            ffi::luaL_argerror(state, 1, c"not a matrix".as_ptr());
        }
        &mut *found
    }
}

/// `matrix:close()`. Whoever has opened the table keeps it.
unsafe extern "C-unwind" fn close(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    let root = unsafe { std::mem::take(&mut checked(state).root) };
    // A panic here could only be a poisoned lock, which is overlooked.
    let _ = guard(|| {
        let_go(root);
        Ok(())
    });
    0
}

/// `matrix:getptr(): lightuserdata?`
unsafe extern "C-unwind" fn getptr(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe {
        match checked(state).root {
            0 => 0,
            root => {
                ffi::lua_pushlightuserdata(state, super::root_at(root).cast_mut());
                1
            }
        }
    }
}

/// `matrix:size(): integer`. Bytes; 0 when it is closed.
unsafe extern "C-unwind" fn size(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    let root = unsafe { checked(state).root };
    let size = guard(|| Ok(Segment::of_root(root).map_or(0, |it| it.size()))).unwrap_or(0);
    // SAFETY: as above; nothing with a destructor is alive.
    unsafe { ffi::lua_pushinteger(state, size as i64) };
    1
}
