//! `connect`, `listen`, `start`, `pause`, `close`, `shutdown`, `bind`, `nodelay`.

use std::ffi::c_int;

use skein_runtime::Handle;
use skein_runtime::socket::Network;

use super::address::{host_and_port, port};
use super::{id, network};
use crate::raw::{Raise, ffi, guard, lua_State, raise};

/// Connections that may wait for a listener.
const BACKLOG: i64 = 32;

/// `driver.connect(address, port?): integer`, the id; -1 when none is free or the host is no name. Events tell the outcome.
pub(super) unsafe extern "C-unwind" fn connect(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive when these raise.
    unsafe {
        let (host, number) = host_and_port(state, 1);
        let unix = host.starts_with(skein_runtime::socket::address::UNIX);
        let Some(port) = port(number).filter(|it| *it != 0 || unix) else {
            raise(state, Raise::new("Invalid port"));
        };
        let (service, network) = network(state);
        let id = guard(|| Ok(network.connect(service.ctx.handle(), host, port).unwrap_or(-1)));
        answer_id(state, id)
    }
}

/// `driver.listen(address, port?, backlog = 32): integer`.
pub(super) unsafe extern "C-unwind" fn listen(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (host, number) = host_and_port(state, 1);
        let backlog = ffi::luaL_optinteger(state, 3, BACKLOG) as i32;
        let (service, network) = network(state);
        let id = guard(|| {
            let refused = || Raise::new("Listen error");
            let port = port(number).ok_or_else(refused)?;
            network.listen(service.ctx.handle(), host, port, backlog).map_err(|_| refused())
        });
        answer_id(state, id)
    }
}

/// Pushes an id.
///
/// # Safety
/// As [`raise`].
pub(super) unsafe fn answer_id(state: *mut lua_State, id: Result<i32, Raise>) -> c_int {
    // SAFETY: by the caller's promise.
    unsafe {
        match id {
            Ok(id) => ffi::lua_pushinteger(state, i64::from(id)),
            Err(error) => raise(state, error),
        }
    }
    1
}

/// What is done with an id, by a service.
type Control = fn(Network<'_>, Handle, i32);

/// Calls `control` with argument 1.
unsafe fn with_id(state: *mut lua_State, control: Control) -> c_int {
    // SAFETY: as above.
    unsafe {
        let id = id(state, 1);
        let (service, network) = network(state);
        let done = guard(|| {
            control(network, service.ctx.handle(), id);
            Ok(())
        });
        match done {
            Ok(()) => 0,
            Err(error) => raise(state, error),
        }
    }
}

/// `driver.start(id)`: takes a socket over, and begins or resumes reading or taking connections.
pub(super) unsafe extern "C-unwind" fn start(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { with_id(state, |network, service, id| network.start(service, id)) }
}

/// `driver.pause(id)`: stops reading.
pub(super) unsafe extern "C-unwind" fn pause(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { with_id(state, |network, _, id| network.pause(id)) }
}

/// `driver.close(id)`: what waits is still sent.
pub(super) unsafe extern "C-unwind" fn close(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { with_id(state, |network, _, id| network.close(id)) }
}

/// `driver.shutdown(id)`: what waits is dropped.
pub(super) unsafe extern "C-unwind" fn shutdown(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { with_id(state, |network, _, id| network.shutdown(id)) }
}

/// `driver.nodelay(id)`.
pub(super) unsafe extern "C-unwind" fn nodelay(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { with_id(state, |network, _, id| network.nodelay(id)) }
}

/// `driver.bind(fd: integer): integer`, the id of a descriptor of the process.
pub(super) unsafe extern "C-unwind" fn bind(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let fd = id(state, 1);
        let (service, network) = network(state);
        answer_id(state, guard(|| Ok(network.bind(service.ctx.handle(), fd).unwrap_or(-1))))
    }
}
