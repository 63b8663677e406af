//! Tables that other processes publish or read: the domain that the config key `domain` names.
//!
//! A process joins one domain, before its first Lua state is made, since all states hash with the domain's seed. Versions of a
//! domain's tables are segments as those of this process, and named by their roots as those; `skynet.sharetable` keeps the current
//! ones, and learns from a descriptor that there are new ones.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use skein_arena::DomainOptions;
use skein_sharedata::Tables;
use skein_vm::seed;
use skein_vm::shared;

use super::{explain, keep, matrix, service};
use crate::raw::{Raise, bytes, check_text, ffi, guard, lua_State, raise};

/// The domain of this process: what it was called, and its tables.
static JOINED: OnceLock<(String, Arc<Tables>)> = OnceLock::new();

/// How a domain is opened: by its name, or, if there is a slash in that, by its directory.
pub(crate) fn options(name: &str) -> DomainOptions {
    if name.contains('/') { DomainOptions::in_directory(name) } else { DomainOptions::named(name) }
}

/// Joins a domain. Once it is joined, it may be joined again.
///
/// # Errors
/// One line.
pub(crate) fn join(name: &str) -> Result<(), String> {
    if let Some((joined, _)) = JOINED.get() {
        let again = joined == name;
        return again.then_some(()).ok_or_else(|| format!("this process is in the domain {joined} already"));
    }
    let tables = Tables::open(&options(name), shared::machine()).map_err(|error| explain(&error))?;
    adopt_seed(&tables)?;
    // Who came first, with another name, is the one that counts.
    let (joined, _) = JOINED.get_or_init(|| (name.to_owned(), tables));
    if joined == name { Ok(()) } else { join(name) }
}

/// Has the states of this process hash as the domain does.
///
/// # Errors
/// One line: there is a state that hashes otherwise.
pub(crate) fn adopt_seed(tables: &Tables) -> Result<(), String> {
    seed::set(tables.origin().seed)
        .map_err(|_| "a Lua state was made before the domain was joined, and hashes otherwise".to_owned())
}

/// The tables of this process's domain.
pub(super) fn tables() -> Result<&'static Arc<Tables>, Raise> {
    let joined =
        JOINED.get().ok_or_else(|| Raise::new("this process is in no domain (config key `domain`)"))?;
    Ok(&joined.1)
}

/// `share.domain(): string?`. What the domain of this process is called.
pub(super) unsafe extern "C-unwind" fn domain(state: *mut lua_State) -> c_int {
    let Some((name, _)) = JOINED.get() else { return 0 };
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive.
    unsafe { ffi::lua_pushlstring(state, name.as_ptr().cast(), name.len()) };
    1
}

/// `share.attach(name, known: integer?): integer?, matrix?`. The number of the segment that is the current version of `name` in the
/// domain, and, unless that is `known`, the version. Raises why it cannot be read.
pub(super) unsafe extern "C-unwind" fn attach(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive when something raises.
    unsafe {
        let name = check_text(state, 1);
        let known = ffi::luaL_optinteger(state, 2, 0);
        let service = service(state);
        let made = matrix::new(state);
        let found = guard(|| {
            let tables = tables()?;
            let Ok(name) = std::str::from_utf8(name) else { return Ok(Ok(None)) };
            if tables.number(name).is_ok_and(|it| it == Some(known as u64)) {
                return Ok(Ok(Some((known, 0))));
            }
            Ok(match tables.current(name) {
                Ok(found) => Ok(found.map(|it| (it.number() as i64, keep(it)))),
                Err(error) => Err(service.keep_text(explain(&error).into_bytes())),
            })
        });
        match found {
            Ok(Ok(None)) => 0,
            Ok(Ok(Some((number, root)))) => {
                (*made).root = root;
                ffi::lua_pushinteger(state, number);
                if root == 0 {
                    return 1;
                }
                ffi::lua_rotate(state, -2, 1);
                2
            }
            Ok(Err((text, len))) => {
                ffi::lua_pushlstring(state, text.cast(), len);
                ffi::lua_error(state)
            }
            Err(error) => raise(state, error),
        }
    }
}

/// `share.names(): table`. Which version is the current one of each table of the domain, by name.
pub(super) unsafe extern "C-unwind" fn names(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive when something raises.
    unsafe {
        let service = service(state);
        let listed = guard(|| {
            let mut text = Vec::new();
            for (name, version) in tables()?.names().map_err(|error| Raise::new(explain(&error)))? {
                text.extend((name.len() as u64).to_ne_bytes());
                text.extend(name.as_bytes());
                text.extend(version.to_ne_bytes());
            }
            Ok(service.keep_text(text))
        });
        match listed {
            // A finalizer that runs meanwhile may keep another text.
            Ok((text, len)) => ffi::lua_pushlstring(state, text.cast(), len),
            Err(error) => raise(state, error),
        };
        let listed = bytes(state, -1).unwrap_or_default();
        let (mut at, end) = (listed.as_ptr(), listed.as_ptr().add(listed.len()));
        ffi::lua_createtable(state, 0, 8);
        while at < end {
            let size = at.cast::<u64>().read_unaligned() as usize;
            ffi::lua_pushlstring(state, at.add(8).cast(), size);
            at = at.add(8 + size);
            ffi::lua_pushinteger(state, at.cast::<u64>().read_unaligned() as i64);
            at = at.add(8);
            ffi::lua_rawset(state, -3);
        }
    }
    1
}

/// `share.remove(name): boolean`. Takes a table out of the domain; who reads it keeps it. Whether there was one.
pub(super) unsafe extern "C-unwind" fn remove(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive when something raises.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TSTRING);
        let name = bytes(state, 1).unwrap_or_default();
        let removed = guard(|| match std::str::from_utf8(name) {
            Ok(name) => tables()?.remove(name).map_err(|error| Raise::new(explain(&error))),
            Err(_) => Ok(false),
        });
        match removed {
            Ok(removed) => ffi::lua_pushboolean(state, c_int::from(removed)),
            Err(error) => raise(state, error),
        }
    }
    1
}

/// `share.watch(): integer`. A descriptor that can be read whenever a table of the domain was published or removed: the same one each
/// time, for one reader in the process.
pub(super) unsafe extern "C-unwind" fn watch(state: *mut lua_State) -> c_int {
    static WATCH: OnceLock<OwnedFd> = OnceLock::new();
    let opened = guard(|| {
        if WATCH.get().is_none() {
            let fd = tables()?.watch().map_err(|error| Raise::new(explain(&error)))?;
            // Another thread's may have come first; then this one is closed.
            let _ = WATCH.set(fd);
        }
        Ok(WATCH.get().map_or(-1, AsRawFd::as_raw_fd))
    });
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive.
    unsafe {
        match opened {
            Ok(fd) => ffi::lua_pushinteger(state, i64::from(fd)),
            Err(error) => raise(state, error),
        }
    }
    1
}
