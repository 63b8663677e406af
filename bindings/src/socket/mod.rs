//! `skynet.socketdriver`: sockets for Lua.
//!
//! Twenty-eight raw functions under skynet's names, and `expect` and `direct`, which are ours (`crate::raw` has their rules): stream buffers, which are memory only
//! ([`buffer`]), and what the runtime's sockets can do ([`skein_runtime::socket`]). Their upvalues are the
//! metatables of buffers and of pools.
//!
//! # From skynet
//! lua-socket.c → the functions here; struct buffer_node and its pool → [`buffer`].

use std::ffi::c_int;

use crate::core::{required, service};
use crate::raw::{ffi, lua_State};
use crate::state::ServiceState;

mod address;
mod buffer;
mod control;
mod data;
pub(crate) mod direct;
pub(crate) mod event;
mod info;
mod line;
mod pool;
mod send;
mod udp;
mod whole;

const FUNCTIONS: [(&std::ffi::CStr, ffi::lua_CFunction); 30] = [
    (c"buffer", buffer::new),
    (c"push", buffer::push),
    (c"pop", buffer::pop),
    (c"drop", event::discard),
    (c"readall", buffer::readall),
    (c"clear", buffer::clear),
    (c"readline", buffer::readline),
    (c"expect", whole::expect),
    (c"direct", direct::direct),
    (c"header", event::header),
    (c"str2p", event::str2p),
    (c"unpack", event::unpack),
    (c"info", info::info),
    (c"connect", control::connect),
    (c"listen", control::listen),
    (c"start", control::start),
    (c"pause", control::pause),
    (c"close", control::close),
    (c"shutdown", control::shutdown),
    (c"bind", control::bind),
    (c"nodelay", control::nodelay),
    (c"resolve", address::resolve),
    (c"send", send::send),
    (c"lsend", send::lsend),
    (c"udp", udp::udp),
    (c"udp_listen", udp::listen),
    (c"udp_dial", udp::dial),
    (c"udp_connect", udp::connect),
    (c"udp_send", udp::send),
    (c"udp_address", udp::address),
];

/// `luaopen_skynet_socketdriver`: pushes the module's table.
///
/// # Safety
/// Called by Lua, in a state of a service.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive.
    unsafe {
        required(state);
        pool::open(state);
        buffer::open(state);
        ffi::lua_createtable(state, 0, FUNCTIONS.len() as c_int);
        for (name, function) in FUNCTIONS {
            ffi::lua_pushvalue(state, -2);
            ffi::lua_pushvalue(state, -4);
            ffi::lua_pushcclosure(state, function, 2);
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
    }
    1
}

/// Argument `index` as an id, cut to 32 bits as C does it.
///
/// # Safety
/// As [`crate::raw::raise`].
unsafe fn id(state: *mut lua_State, index: c_int) -> i32 {
    // SAFETY: by the caller's promise.
    unsafe { ffi::luaL_checkinteger(state, index) as i32 }
}

/// The network of the service whose function runs.
///
/// # Safety
/// As [`service`].
unsafe fn network<'a>(state: *mut lua_State) -> (&'a ServiceState, skein_runtime::socket::Network<'a>) {
    // SAFETY: by the caller's promise.
    let service = unsafe { service(state) };
    (service, service.ctx.node().network())
}
