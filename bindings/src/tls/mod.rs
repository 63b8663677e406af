//! `ltls.c` and `ltls.init.c`: TLS over bytes that somebody else sends and receives.
//!
//! The names, the order of calls and the texts in front of a colon are those of skynet's module over OpenSSL; the protocol is that of
//! rustls: TLS 1.2 and 1.3. A client that was told a host name checks the certificate, unless it was told not to.
//!
//! # From skynet
//! ltls.c: _ctx_* and the metatable of contexts → `context.rs`; lbuildin_*, tls_* → `session.rs`; ltls_init_constructor → the switch here.

use std::ffi::c_int;

use skein_arena::sync::atomic::{AtomicBool, Ordering};

use crate::object;
use crate::raw::{Raise, bytes, ffi, guard, lua_State, raise};

use self::context::Context;
use self::session::Session;

mod context;
mod session;
mod trust;

/// Whether the process is to have TLS. `Relaxed`: nothing is published by it.
static ENABLED: AtomicBool = AtomicBool::new(false);

/// Opens `ltls.init.c`. Stack: 1 out.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open_init(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` with free slots; nothing with a destructor is alive when this raises.
    unsafe {
        ffi::lua_createtable(state, 0, 2);
        ffi::lua_pushcfunction(state, constructor);
        ffi::lua_setfield(state, -2, c"constructor".as_ptr());
        ffi::lua_pushcfunction(state, destructor);
        ffi::lua_setfield(state, -2, c"destructor".as_ptr());
    }
    1
}

/// Opens `ltls.c`. Stack: 1 out. Raises as long as nobody called `constructor`.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: as in `open_init`.
    unsafe {
        if !ENABLED.load(Ordering::Relaxed) {
            return ffi::luaL_error(
                state,
                c"ltls need init, Put enablessl = true in you config file.".as_ptr(),
            );
        }
        ffi::lua_createtable(state, 0, 2);
        ffi::lua_pushcfunction(state, newctx);
        ffi::lua_setfield(state, -2, c"newctx".as_ptr());
        ffi::lua_pushcfunction(state, newtls);
        ffi::lua_setfield(state, -2, c"newtls".as_ptr());
    }
    1
}

/// `init.constructor()`: the process is to have TLS.
unsafe extern "C-unwind" fn constructor(_: *mut lua_State) -> c_int {
    ENABLED.store(true, Ordering::Relaxed);
    0
}

/// `init.destructor()`: nothing is to be torn down.
unsafe extern "C-unwind" fn destructor(_: *mut lua_State) -> c_int {
    0
}

/// `ltls.newctx(): ltls.Context`.
unsafe extern "C-unwind" fn newctx(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; the slot is empty when its making raises.
    unsafe {
        let slot = object::push::<Context>(state);
        if let Err(error) = guard(|| {
            *slot.value.borrow_mut() = Some(Context::default());
            Ok(())
        }) {
            raise(state, error);
        }
    }
    1
}

/// `ltls.newtls(method: "client"|"server", context, hostname: string?): ltls.Session`.
unsafe extern "C-unwind" fn newtls(state: *mut lua_State) -> c_int {
    // SAFETY: as in `newctx`; arguments stay in their slots.
    unsafe {
        ffi::lua_settop(state, 3);
        let method = match ffi::lua_type(state, 1) {
            ffi::LUA_TSTRING => bytes(state, 1).unwrap_or_default(),
            _ => b"nil",
        };
        let is_server = match method {
            b"client" => false,
            b"server" => true,
            other => raise(
                state,
                Raise::new(format_args!(
                    "invalid method:{} e.g[server, client]",
                    String::from_utf8_lossy(&other[..other.len().min(40)])
                )),
            ),
        };
        let Some(context) = object::get::<Context>(state, 2) else { raise(state, Raise::new("need sslctx")) };
        let host = match ffi::lua_type(state, 3) {
            ffi::LUA_TNIL => None,
            _ => {
                ffi::luaL_checklstring(state, 3, std::ptr::null_mut());
                bytes(state, 3)
            }
        };
        let slot = object::push::<Session>(state);
        let made = guard(|| {
            let mut context = context.value.borrow_mut();
            let context = context.as_mut().ok_or_else(|| Raise::new("need sslctx"))?;
            let session = if is_server { Session::server(context)? } else { Session::client(context, host)? };
            *slot.value.borrow_mut() = Some(session);
            Ok(())
        });
        if let Err(error) = made {
            raise(state, error);
        }
    }
    1
}
