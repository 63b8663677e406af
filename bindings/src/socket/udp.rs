//! `udp`, `udp_listen`, `udp_dial`, `udp_connect`, `udp_send`, `udp_address`: datagrams.

use std::ffi::c_int;

use skein_runtime::socket::address::{decode, encode};

use super::address::{host_and_port, port};
use super::control::answer_id;
use super::{data, id, network};
use crate::raw::{Raise, bytes, ffi, guard, lua_State, raise};

/// `driver.udp(address?, port?): integer`; without an address: of IPv4, and not bound.
pub(super) unsafe extern "C-unwind" fn udp(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive when these raise.
    unsafe {
        let at = match ffi::lua_type(state, 1) {
            ffi::LUA_TNIL | ffi::LUA_TNONE => None,
            _ => Some(host_and_port(state, 1)),
        };
        let (service, network) = network(state);
        let id = guard(|| {
            let refused = || Raise::new("udp init failed");
            let at = at.map(|(host, number)| port(number).map(|port| (host, port)).ok_or_else(refused));
            network.udp(service.ctx.handle(), at.transpose()?).map_err(|_| refused())
        });
        answer_id(state, id)
    }
}

/// `driver.udp_listen(address, port?): integer`.
pub(super) unsafe extern "C-unwind" fn listen(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (host, number) = host_and_port(state, 1);
        let (service, network) = network(state);
        let id = guard(|| {
            let refused = || Raise::new("udp listen host failed");
            let port = port(number).filter(|it| *it != 0).ok_or_else(refused)?;
            network.udp(service.ctx.handle(), Some((host, port))).map_err(|_| refused())
        });
        answer_id(state, id)
    }
}

/// `driver.udp_dial(address, port?): integer`, which sends to that address.
pub(super) unsafe extern "C-unwind" fn dial(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (host, number) = host_and_port(state, 1);
        let (service, network) = network(state);
        let id = guard(|| {
            let refused = || Raise::new("udp dial host failed");
            let port = port(number).ok_or_else(refused)?;
            network.udp_dial(service.ctx.handle(), host, port).map_err(|_| refused())
        });
        answer_id(state, id)
    }
}

/// `driver.udp_connect(id, address, port?)`: where the socket sends to from now on.
pub(super) unsafe extern "C-unwind" fn connect(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let id = id(state, 1);
        let (host, number) = host_and_port(state, 2);
        let (_, network) = network(state);
        let done = guard(|| {
            let refused = || Raise::new("udp connect failed");
            let port = port(number).ok_or_else(refused)?;
            network.udp_connect(id, host, port).map_err(|_| refused())
        });
        match done {
            Ok(()) => 0,
            Err(error) => raise(state, error),
        }
    }
}

/// `driver.udp_send(id, address: string, data, size?): boolean`.
pub(super) unsafe extern "C-unwind" fn send(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let id = id(state, 1);
        ffi::luaL_checklstring(state, 2, std::ptr::null_mut());
        let to = bytes(state, 2).unwrap_or_default();
        let given = data::given(state, 3);
        let (service, network) = network(state);
        let sent = guard(|| {
            // A block is taken whatever the address.
            let data = given.take(service)?;
            match decode(to) {
                Some(to) => Ok(network.send_to(id, to, data)?),
                None => Ok(false),
            }
        });
        match sent {
            Ok(sent) => ffi::lua_pushboolean(state, c_int::from(sent)),
            Err(error) => raise(state, error),
        }
    }
    1
}

/// `driver.udp_address(address: string): string, integer`, ip and port.
pub(super) unsafe extern "C-unwind" fn address(state: *mut lua_State) -> c_int {
    // SAFETY: as above; the text is on our stack.
    unsafe {
        ffi::luaL_checklstring(state, 1, std::ptr::null_mut());
        let address = bytes(state, 1).unwrap_or_default();
        // The length decides, as in skynet; the first byte only has to agree with it for us to have made it.
        let Some(found) = decode(address) else {
            raise(state, Raise::new("Invalid udp address"));
        };
        debug_assert_eq!(encode(found).1, address.len());
        let text = guard(|| {
            let mut text = ([0_u8; 48], 0);
            let ip = found.ip().to_string();
            text.0[..ip.len()].copy_from_slice(ip.as_bytes());
            text.1 = ip.len();
            Ok(text)
        });
        match text {
            Ok((text, len)) => ffi::lua_pushlstring(state, text.as_ptr().cast(), len),
            Err(error) => raise(state, error),
        };
        ffi::lua_pushinteger(state, i64::from(found.port()));
    }
    2
}
