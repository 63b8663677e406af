//! The last searcher of `require`: built-in modules, wherever `package.path` leads.
//!
//! The paths of a service end in the built-in patterns ([`crate::library`]). An application that writes a path of its own over
//! `package.path` names skynet's `lualib` in it, which need not be there: what no other searcher finds is looked for here.

use std::ffi::{CStr, c_int};

use crate::library;
use crate::raw::{self, ffi, lua_State};

/// The longest name that is looked up: none of ours comes near.
const LONGEST: usize = 128;

/// Appends the searcher to `package.searchers`. Stack: unchanged. May raise a memory error.
///
/// # Safety
///
/// Inside a call by Lua, with the standard library open.
pub(crate) unsafe fn install(state: *mut lua_State) {
    // SAFETY: promised by the caller; nothing with a destructor is alive when one of these raises.
    unsafe {
        ffi::lua_getglobal(state, c"package".as_ptr());
        ffi::lua_getfield(state, -1, c"searchers".as_ptr());
        ffi::lua_pushcfunction(state, search);
        ffi::lua_rawseti(state, -2, ffi::lua_rawlen(state, -2) as ffi::lua_Integer + 1);
        ffi::lua_pop(state, 2);
    }
}

/// `searcher(name: string): (function, string)?`, the chunk of a built-in module and the name of its file. Raises if it
/// cannot be loaded.
unsafe extern "C-unwind" fn search(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; only `Copy` values live when one of these raises.
    unsafe {
        let mut file = [0; LONGEST + 32];
        let Some(file) = file_of(raw::check_bytes(state, 1), &mut file) else { return 0 };
        if ffi::luaL_loadfile(state, file.as_ptr()) != ffi::LUA_OK {
            ffi::lua_error(state);
        }
        ffi::lua_pushstring(state, file.as_ptr());
        2
    }
}

/// The embedded file of the module `name`, written into `room` as text that ends in a zero byte.
fn file_of<'a>(name: &[u8], room: &'a mut [u8; LONGEST + 32]) -> Option<&'a CStr> {
    if name.len() > LONGEST {
        return None;
    }
    let len = library::LUALIB.split(';').find_map(|pattern| {
        let (before, behind) = pattern.split_once('?')?;
        let mut len = 0;
        let path = name.iter().map(|&byte| if byte == b'.' { b'/' } else { byte });
        for byte in before.bytes().chain(path).chain(behind.bytes()) {
            room[len] = byte;
            len += 1;
        }
        library::find(&room[..len]).map(|_| len)
    })?;
    room[len] = 0;
    CStr::from_bytes_until_nul(&room[..=len]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_modules_lead_to_embedded_files() {
        let mut room = [0; LONGEST + 32];
        let mut file =
            |name: &str| file_of(name.as_bytes(), &mut room).map(|it| it.to_str().unwrap().to_owned());
        assert_eq!(file("skynet").as_deref(), Some("skein:/lualib/skynet.lua"));
        assert_eq!(file("skynet.db.redis").as_deref(), Some("skein:/lualib/skynet/db/redis.lua"));
        for name in ["", "skynet.no_such", "skynet\0", "../service/gate", &"x".repeat(LONGEST + 1)] {
            assert_eq!(file(name), None, "{name:?}");
        }
    }
}
