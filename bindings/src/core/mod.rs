//! `skynet.core`: what a Lua service can ask of the runtime.
//!
//! Seventeen raw functions under skynet's names (`crate::raw` has their rules). Each finds its [`ServiceState`] as the owner of the
//! state that it is called in ([`skein_vm::owner`]).
//!
//! # From skynet
//! lua-skynet.c: lsend, lredirect, lgenid, lharbor → `send.rs`; lcommand, lintcommand, laddresscommand → `command.rs`;
//! lcallback → `callback.rs`; lpackstring, lunpack, ltostring, ltrash → `message.rs`; lerror, ltrace → `log.rs`; lnow, lhpc →
//! `clock.rs`.

use std::ffi::c_int;

use skein_vm::owner;

use crate::raw::{ffi, lua_State};
use crate::seri::careful;
use crate::state::{SERVICE_KEY, ServiceState};

mod callback;
mod clock;
mod command;
pub(crate) mod log;
pub(crate) mod message;
pub(crate) mod send;

/// A function and its name in the module.
pub(crate) type Entry = (&'static std::ffi::CStr, ffi::lua_CFunction);

const FUNCTIONS: [Entry; 17] = [
    (c"send", send::send),
    (c"genid", send::genid),
    (c"redirect", send::redirect),
    (c"harbor", send::harbor),
    (c"command", command::command),
    (c"intcommand", command::intcommand),
    (c"addresscommand", command::addresscommand),
    (c"error", log::error),
    (c"trace", log::trace),
    (c"callback", callback::callback),
    (c"tostring", message::tostring),
    (c"pack", message::pack),
    (c"packstring", message::packstring),
    (c"unpack", message::unpack),
    (c"trash", message::trash),
    (c"now", clock::now),
    (c"hpc", clock::hpc),
];

/// `luaopen_skynet_core`: pushes the module's table. Raises `Init skynet context first` in a state without a service.
///
/// # Safety
/// Called by Lua.
pub unsafe extern "C-unwind" fn open_core(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive.
    unsafe {
        required(state).pairs.set(careful::open(state));
        make(state, &FUNCTIONS)
    }
}

/// Pushes a table of functions that ask for their [`service`]. Raises in a state without one.
///
/// # Safety
/// `state` runs a C function, and nothing with a destructor is alive.
pub(crate) unsafe fn make(state: *mut lua_State, functions: &[Entry]) -> c_int {
    // SAFETY: by the caller's promise.
    unsafe {
        required(state);
        ffi::lua_createtable(state, 0, functions.len() as c_int);
        for (name, function) in functions {
            ffi::lua_pushcfunction(state, *function);
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
    }
    1
}

/// The service of `state`, by the registry: its owner from now on. Raises `Init skynet context first` if it has none.
///
/// # Safety
/// As [`make`].
pub(crate) unsafe fn required<'a>(state: *mut lua_State) -> &'a ServiceState {
    // SAFETY: by the caller's promise. The registry's address is that of a `ServiceState`, which outlives the Lua state.
    unsafe {
        let service = context(state);
        if service.is_null() {
            nobody(state);
        }
        owner::set(state, service.cast_mut().cast());
        &*service
    }
}

/// # Safety
/// As [`make`].
#[cold]
unsafe fn nobody(state: *mut lua_State) -> ! {
    // SAFETY: by the caller's promise.
    unsafe { ffi::luaL_error(state, c"Init skynet context first".as_ptr()) };
    unreachable!("luaL_error came back");
}

/// The service of `state`, by the registry; null if it has none.
///
/// # Safety
/// `state` is valid and has a free slot. May raise a memory error.
pub(crate) unsafe fn context(state: *mut lua_State) -> *const ServiceState {
    // SAFETY: by the caller's promise.
    unsafe {
        ffi::lua_getfield(state, ffi::LUA_REGISTRYINDEX, SERVICE_KEY.as_ptr());
        let service = ffi::lua_touserdata(state, -1);
        ffi::lua_settop(state, -2);
        service.cast_const().cast()
    }
}

/// The service in whose state a function runs. Raises `Init skynet context first` in a state without one, which has the function from a
/// shared table.
///
/// # Safety
/// As [`make`].
#[inline(always)]
pub(crate) unsafe fn service<'a>(state: *mut lua_State) -> &'a ServiceState {
    // SAFETY: by the caller's promise. An owner is a `ServiceState` (`required`), which outlives the Lua state.
    unsafe {
        let service = owner::of(state).cast::<ServiceState>();
        if service.is_null() {
            nobody(state);
        }
        &*service
    }
}
