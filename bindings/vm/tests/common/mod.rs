//! States for tests.

#![allow(dead_code, reason = "each test file uses its part")]

use std::ffi::CString;
use std::sync::Arc;

use skein_vm::ffi::{self, lua_State};
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
