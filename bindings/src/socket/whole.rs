//! `expect`: a reader of many bytes gets them in one piece.

use std::ffi::c_int;

use super::{buffer, id, network, pool};
use crate::raw::{ffi, guard, lua_State, raise};

/// `driver.expect(buffer, pool, id, size): boolean`: whether the socket's next event of bytes has exactly `size` of them, with what is in
/// the buffer in front, which is empty now; they are read straight into one block. An end comes earlier, with what there is.
/// Size 0: what has come of it is told of at once.
pub(super) unsafe extern "C-unwind" fn expect(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`, and the upvalues are ours. Nothing with a destructor is alive when these raise.
    unsafe {
        let stream = buffer::need(state, 1, buffer::NEED);
        ffi::luaL_checktype(state, 2, ffi::LUA_TTABLE);
        let id = id(state, 3);
        let size = ffi::luaL_checkinteger(state, 4);
        let (service, network) = network(state);
        let owner = service.ctx.handle();
        let done = guard(|| {
            let Some(size) = usize::try_from(size).ok().filter(|it| *it > 0) else {
                network.expect_nothing(owner, id);
                return Ok(None);
            };
            let begun = stream.len();
            // Most of it is here: to put it together later is as cheap.
            if begun > size / 2 {
                return Ok(None);
            }
            let expected =
                network.expect(owner, id, stream.pushed(), size, begun, |into| stream.copy_to(into))?;
            Ok(expected.then(|| stream.take_back()))
        });
        match done {
            Ok(gone) => {
                pool::give(state, 2, gone.unwrap_or(0));
                ffi::lua_pushboolean(state, c_int::from(gone.is_some()));
            }
            Err(error) => raise(state, error),
        }
    }
    1
}
