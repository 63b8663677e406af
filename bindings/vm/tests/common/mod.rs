//! States for tests.

#![allow(dead_code, reason = "each test file uses its part")]

use std::ffi::{CString, c_int};
use std::ptr;
use std::sync::Arc;

use skein_vm::ffi::{self, lua_State};
use skein_vm::image::{Image, share_names};
use skein_vm::interrupt;
use skein_vm::state::{Memory, State};

/// A state with the standard library and memory that nobody watches.
pub(crate) fn state() -> State {
    state_with(Memory::new(|_| {}))
}

/// A state with the standard library.
pub(crate) fn state_with(memory: Arc<Memory>) -> State {
    let state = State::new(memory).unwrap();
    // SAFETY: a fresh state without a limit: opening the libraries does not fail.
    unsafe { ffi::luaL_openlibs(state.as_ptr()) };
    state
}

/// Runs a chunk with `arguments` values from the top of the stack: its first result or its error, as text.
pub(crate) fn run(state: &State, code: &str) -> Result<String, String> {
    let code = CString::new(code).unwrap();
    let lua = state.as_ptr();
    // SAFETY: we own the state, and are done with it when we return.
    let _running = unsafe { interrupt::enter(lua) };
    // SAFETY: as above; loading and calling are protected, and the result is checked to be text.
    unsafe {
        let mut status = ffi::luaL_loadbufferx(
            lua,
            code.as_ptr(),
            code.as_bytes().len(),
            c"=test".as_ptr(),
            c"t".as_ptr(),
        );
        if status == ffi::LUA_OK {
            status = ffi::lua_pcall(lua, 0, 1, 0);
        }
        let text = text(lua);
        if status == ffi::LUA_OK { Ok(text) } else { Err(text) }
    }
}

/// Takes the value at the top of the stack, as text.
///
/// # Safety
///
/// `lua` has a value on its stack, and memory to turn it into text.
pub(crate) unsafe fn text(lua: *mut lua_State) -> String {
    let mut len = 0;
    // SAFETY: promised by the caller.
    unsafe {
        let at = ffi::luaL_tolstring(lua, -1, &mut len);
        let text = String::from_utf8_lossy(std::slice::from_raw_parts(at.cast::<u8>(), len)).into_owned();
        ffi::lua_settop(lua, -3);
        text
    }
}

unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: called by Lua.
    unsafe { ffi::luaL_openlibs(state) };
    0
}

/// Answers the integer behind its upvalue.
unsafe extern "C-unwind" fn outside(state: *mut lua_State) -> c_int {
    // SAFETY: the upvalue is the address of an integer that outlives the state.
    unsafe {
        let at = ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast::<i64>();
        ffi::lua_pushinteger(state, *at);
    }
    1
}

/// A state that ran `code`, with a function `outside` that knows `own`.
pub(crate) fn mould(code: &str, own: &i64) -> State {
    let state = State::new(Memory::for_image().unwrap()).unwrap();
    // SAFETY: a fresh state with 20 free slots; with the collector stopped and no limit none of these raises.
    unsafe {
        let lua = state.as_ptr();
        ffi::lua_gc(lua, ffi::LUA_GCSTOP);
        ffi::lua_gc(lua, ffi::LUA_GCGEN);
        ffi::lua_pushcfunction(lua, open);
        assert_eq!(ffi::lua_pcall(lua, 0, 0, 0), ffi::LUA_OK);
        ffi::lua_pushlightuserdata(lua, ptr::from_ref(own).cast_mut().cast());
        ffi::lua_pushcclosure(lua, outside, 1);
        ffi::lua_setglobal(lua, c"outside".as_ptr());
    }
    run(&state, code).unwrap();
    // SAFETY: as above.
    unsafe { ffi::lua_gc(state.as_ptr(), ffi::LUA_GCCOLLECT) };
    state
}

/// [`image`], tried as often as a host tries: the compiler has a table with an address among its keys, and now and then that makes it
/// grow sooner, so that others lie elsewhere.
pub(crate) fn sure_image(code: &str) -> Image {
    (0..20).find_map(|_| image(code)).expect("nothing in there depends on addresses")
}

/// The image of states that ran `code`, if they have one. The first time some names are not yet where they will be.
pub(crate) fn image(code: &str) -> Option<Image> {
    let (a, b) = (1, 2);
    let before = mould(code, &a);
    // SAFETY: nobody runs it.
    unsafe { share_names(&before) };
    drop(before);
    let (first, second) = (mould(code, &a), mould(code, &b));
    // SAFETY: nobody runs them.
    unsafe { Image::of(&first, &second, &[(ptr::from_ref(&a).addr(), ptr::from_ref(&b).addr())]) }
}

/// A copy whose function `outside` answers `own`.
pub(crate) fn copy(image: &Image, own: &'static i64) -> State {
    // SAFETY: the memory is new, and `outside` may read the integer.
    let state =
        unsafe { image.state(Memory::new(|_| {}), &[ptr::from_ref(own).expose_provenance()]) }.unwrap();
    // SAFETY: ours, with free slots.
    unsafe { ffi::lua_gc(state.as_ptr(), ffi::LUA_GCRESTART) };
    state
}
