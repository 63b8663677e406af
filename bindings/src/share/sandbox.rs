//! The state in which a shared table is made: the standard libraries, a chunk, and its arguments. It ends when the table is frozen, and its memory goes
//! as a whole.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::Arc;

use skein_sharedata::Segment;
use skein_vm::cache::{self, Mode};
use skein_vm::interrupt;
use skein_vm::shared::{self, Allowed};
use skein_vm::state::{Memory, State};

use super::{To, explain, segment_of};
use crate::core::message;
use crate::raw::{ffi, lua_State};
use crate::state::ServiceState;

/// Arguments that a chunk may get.
pub(super) const MOST: c_int = 200;

/// What the protected call in the new state needs. Its memory belongs to whoever waits for it.
struct Job<'a> {
    /// The caller's state, only read.
    from: *mut lua_State,
    /// First and last argument there.
    arguments: (c_int, c_int),
    source: &'a CStr,
    /// Code as such; for a file, its name is `source` without the first byte.
    code: &'a [u8],
    service: &'a ServiceState,
    /// The chunk has loaded a library in C.
    foreign: Cell<bool>,
}

/// Runs a chunk (`@file`, or its text) and freezes what it returns, under `name` in messages.
///
/// # Errors
/// The text of the error: the chunk's own, or why its result cannot be shared.
///
/// # Safety
/// `from` runs a function of ours; the slots of `arguments` have values that [`check`] let pass.
pub(super) unsafe fn run(
    service: &ServiceState,
    name: &CStr,
    code: &[u8],
    from: *mut lua_State,
    arguments: (c_int, c_int),
    to: To<'_>,
) -> Result<Arc<Segment>, Vec<u8>> {
    let no_memory = || b"luaL_newstate failed".to_vec();
    let mut state = State::new(Memory::passing()).ok_or_else(no_memory)?;
    let lua = state.as_ptr();
    let text = code.split(|&byte| byte == 0).next().unwrap_or_default();
    let source = CString::new(text).unwrap_or_default();
    let job = Job { from, arguments, source: &source, code, service, foreign: Cell::new(false) };
    // SAFETY: a fresh state of ours; `job` outlives the protected call.
    unsafe {
        let _running = interrupt::enter(lua);
        ffi::lua_pushcfunction(lua, protected);
        ffi::lua_pushlightuserdata(lua, (&raw const job).cast_mut().cast::<c_void>());
        if ffi::lua_pcall(lua, 1, 1, 0) != ffi::LUA_OK {
            return Err(text_of(lua));
        }
        if ffi::lua_type(lua, -1) != ffi::LUA_TTABLE {
            let found = crate::raw::type_name(lua, -1);
            return Err(format!("Not a table, it's a {found}.").into_bytes());
        }
        let root = ffi::lua_topointer(lua, -1);
        // Libraries in C may have made what only they can free; then the state is closed.
        let spent = !job.foreign.get() && state.settle();
        // Nothing was collected since it was taken off.
        ffi::lua_settop(lua, 0);
        shared::push(lua, root);
        let allowed =
            Allowed { pointers: true, functions: true, as_skynet: true, spent, ..Allowed::default() };
        segment_of(lua, -1, name, allowed, to).map_err(|error| explain(&error).into_bytes())
    }
}

/// The error on top of the stack.
///
/// # Safety
/// There is one.
unsafe fn text_of(lua: *mut lua_State) -> Vec<u8> {
    // SAFETY: by the caller's promise; a string is not converted, so nothing allocates.
    unsafe {
        if ffi::lua_type(lua, -1) != ffi::LUA_TSTRING {
            let found = crate::raw::type_name(lua, -1);
            return format!("(error object is a {found} value)").into_bytes();
        }
        crate::raw::bytes(lua, -1).unwrap_or_default().to_vec()
    }
}

/// The chunk, with everything around it that may raise. Argument: a [`Job`].
unsafe extern "C-unwind" fn protected(lua: *mut lua_State) -> c_int {
    // SAFETY: `run` passes its job, which we only borrow from: raising skips nothing.
    unsafe {
        let job = &*ffi::lua_touserdata(lua, 1).cast::<Job<'_>>();
        ffi::lua_settop(lua, 0);
        ffi::luaL_openlibs(lua);
        cache::set_mode(lua, Mode::Off);
        // Most of what is made stays: a collection waits until there is four times as much.
        ffi::lua_gc(lua, ffi::LUA_GCPARAM, ffi::LUA_GCPPAUSE, 400);
        let first: *const c_char = job.source.as_ptr();
        let status = if job.code.first() == Some(&b'@') {
            ffi::luaL_loadfilex(lua, first.add(1), std::ptr::null())
        } else {
            ffi::luaL_loadbufferx(lua, job.code.as_ptr().cast(), job.code.len(), first, std::ptr::null())
        };
        if status != ffi::LUA_OK {
            ffi::lua_error(lua);
        }
        let (begin, end) = job.arguments;
        ffi::luaL_checkstack(lua, end - begin + 8, c"too many arguments".as_ptr());
        for index in begin..=end {
            push_argument(lua, job, index);
        }
        ffi::lua_callk(lua, end - begin + 1, 1, 0, None);
        // Where `package` keeps them.
        if ffi::luaL_getsubtable(lua, ffi::LUA_REGISTRYINDEX, c"_CLIBS".as_ptr()) != 0 {
            ffi::lua_pushnil(lua);
            if ffi::lua_next(lua, -2) != 0 {
                job.foreign.set(true);
                ffi::lua_settop(lua, -3);
            }
        }
        ffi::lua_settop(lua, -2);
    }
    1
}

/// Pushes what the caller has at `index`.
///
/// # Safety
/// [`check`] let it pass; `lua` has room. May raise a memory error of `lua`.
unsafe fn push_argument(lua: *mut lua_State, job: &Job<'_>, index: c_int) {
    // SAFETY: by the caller's promise; reading numbers, booleans and pointers neither raises nor converts.
    unsafe {
        match ffi::lua_type(job.from, index) {
            ffi::LUA_TBOOLEAN => ffi::lua_pushboolean(lua, ffi::lua_toboolean(job.from, index)),
            ffi::LUA_TNUMBER if ffi::lua_isinteger(job.from, index) != 0 => {
                ffi::lua_pushinteger(lua, ffi::lua_tointegerx(job.from, index, std::ptr::null_mut()));
            }
            ffi::LUA_TNUMBER => {
                ffi::lua_pushnumber(lua, ffi::lua_tonumberx(job.from, index, std::ptr::null_mut()))
            }
            ffi::LUA_TLIGHTUSERDATA => {
                ffi::lua_pushlightuserdata(lua, ffi::lua_touserdata(job.from, index));
            }
            _ if is_unpack(job.from, index) => {
                ffi::lua_pushlightuserdata(lua, std::ptr::from_ref(job.service).cast_mut().cast());
                ffi::lua_pushcclosure(lua, unpack, 1);
            }
            _ => match ffi::lua_tocfunction(job.from, index) {
                Some(function) => ffi::lua_pushcclosure(lua, function, 0),
                None => ffi::lua_pushnil(lua),
            },
        }
    }
}

/// `core.unpack` of the caller's service, who waits for us, in a state that has none: blocks are those in its hand.
unsafe extern "C-unwind" fn unpack(lua: *mut lua_State) -> c_int {
    // SAFETY: called by Lua. The upvalue is the service, which outlives the state; debug.setupvalue finds none in functions of C.
    unsafe {
        let service = &*ffi::lua_touserdata(lua, ffi::lua_upvalueindex(1)).cast::<ServiceState>();
        message::unpack_for(lua, service)
    }
}

/// Whether the value is `core.unpack`: the one function of a service's that may go along.
///
/// # Safety
/// `index` is a slot of `state`.
unsafe fn is_unpack(state: *mut lua_State, index: c_int) -> bool {
    // SAFETY: by the caller's promise.
    unsafe { ffi::lua_tocfunction(state, index) }
        .is_some_and(|it| std::ptr::fn_addr_eq(it, message::unpack as ffi::lua_CFunction))
}

/// Raises unless the values from `first` on may be arguments of a chunk.
///
/// # Safety
/// Called by a raw function in which nothing with a destructor is alive.
pub(super) unsafe fn check(state: *mut lua_State, first: c_int) {
    // SAFETY: by the caller's promise. An upvalue that is pushed is taken off again, and there is room for one.
    unsafe {
        let top = ffi::lua_gettop(state);
        if top - first >= MOST {
            ffi::luaL_error(state, c"Too many argument %d".as_ptr(), top - first + 1);
        }
        for index in first..=top {
            match ffi::lua_type(state, index) {
                ffi::LUA_TBOOLEAN | ffi::LUA_TNUMBER | ffi::LUA_TLIGHTUSERDATA => {}
                ffi::LUA_TFUNCTION => {
                    let own = !ffi::lua_getupvalue(state, index, 1).is_null();
                    if own {
                        ffi::lua_settop(state, top);
                    }
                    let fine = ffi::lua_iscfunction(state, index) != 0 && !own || is_unpack(state, index);
                    if !fine {
                        ffi::luaL_argerror(state, index, c"Only support light C function".as_ptr());
                    }
                }
                _ => {
                    ffi::luaL_argerror(state, index, c"Type invalid".as_ptr());
                }
            }
        }
    }
}
