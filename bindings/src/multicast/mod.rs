//! `skynet.multicast.core`: one block for all subscribers of a channel. And `skein.multicast`, by which our own `multicastd` gives it
//! to them.
//!
//! skynet sends each subscriber a message of 8 bytes, the address of a counted package, and each closes it once; what a dead
//! subscriber had in its queue is never closed. That form works here too, for programs that bring skynet's own Lua files: the 8
//! bytes are a number that [`package`] knows. Our `multicastd` sends the bytes themselves instead: an envelope for each receiver
//! around one payload ([`deliver`]), which is dropped like any message. [`unpack`] understands both, so either side may be skynet's.
//!
//! # From skynet
//! lua-multicast.c: `pack` → [`pack`], `mc_packremote` → [`packremote`], `mc_unpacklocal` → [`unpack`], `mc_bindrefer` → [`bind`],
//! `mc_closelocal` → [`close`], `mc_remote` → [`remote`], `mc_nextid` → [`nextid`].

pub(crate) mod package;

use std::ffi::{CStr, c_int};
use std::slice;

use skein_runtime::{Handle, MessageType};

use self::package::{POINTER, Package, Refused};
use crate::core::send::{Sent, To, post};
use crate::core::{make, service};
use crate::raw::{Raise, ffi, guard, lua_State, raise};
use crate::state::ServiceState;

const FUNCTIONS: [(&CStr, ffi::lua_CFunction); 7] = [
    (c"pack", pack),
    (c"packremote", packremote),
    (c"unpack", unpack),
    (c"bind", bind),
    (c"close", close),
    (c"remote", remote),
    (c"nextid", nextid),
];

/// Opens `skynet.multicast.core`. Stack: 1 out. Raises in a state without a service.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive.
    unsafe { make(state, &FUNCTIONS) }
}

/// Opens `skein.multicast`. Stack: 1 out. Raises in a state without a service.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open_delivery(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { make(state, &[(c"deliver", deliver)]) }
}

/// Arguments 1 and 2: a pointer and a size.
///
/// # Safety
/// As for [`raise`].
unsafe fn pointer_and_size(state: *mut lua_State) -> (usize, i64) {
    // SAFETY: by the caller's promise.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TLIGHTUSERDATA);
        (ffi::lua_touserdata(state, 1).addr(), ffi::luaL_checkinteger(state, 2))
    }
}

/// Pushes a package pointer for what `make` makes of a block.
///
/// # Safety
/// As for [`raise`]; upvalue 1 is the service.
unsafe fn answer_pointer(
    state: *mut lua_State,
    make: impl FnOnce(&ServiceState) -> Result<Package, Raise>,
) -> c_int {
    // SAFETY: by the caller's promise.
    let service = unsafe { service(state) };
    let made = guard(|| {
        let package = make(service)?;
        Ok(service.hand.give(package::pointer(service.arena, package)?))
    });
    // SAFETY: only plain data is left.
    unsafe {
        match made {
            Ok(at) => {
                ffi::lua_pushlightuserdata(state, at.cast_mut().cast());
                ffi::lua_pushinteger(state, POINTER as i64);
                2
            }
            Err(error) => raise(state, error),
        }
    }
}

fn check_size(size: i64) -> Result<(), Raise> {
    match u32::try_from(size) {
        Ok(_) => Ok(()),
        Err(_) => Err(Raise::new("Size should be 32bit integer")),
    }
}

/// `multicast.pack(data: lightuserdata, size: integer): lightuserdata, integer`, a package pointer. Takes the data.
unsafe extern "C-unwind" fn pack(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`. Nothing with a destructor is alive when these raise.
    unsafe {
        let (address, size) = pointer_and_size(state);
        answer_pointer(state, |service| {
            check_size(size)?;
            Ok(Package::new(service.hand.take(service.arena, address, size)?))
        })
    }
}

/// `multicast.packremote(data: lightuserdata, size: integer): lightuserdata, integer`: of a copy.
unsafe extern "C-unwind" fn packremote(state: *mut lua_State) -> c_int {
    // SAFETY: as above. The hand keeps the block while it is copied: no Lua runs.
    unsafe {
        let (address, size) = pointer_and_size(state);
        answer_pointer(state, |service| {
            check_size(size)?;
            let (at, len) = service.hand.look(address, size)?;
            Ok(Package::new(service.arena.copy_from(slice::from_raw_parts(at, len))?))
        })
    }
}

/// `multicast.unpack(message: lightuserdata, size: integer): lightuserdata, lightuserdata, integer`: the package, its data, their size.
/// The data stays in hand until the package is closed.
unsafe extern "C-unwind" fn unpack(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (address, size) = pointer_and_size(state);
        let service = service(state);
        let found = guard(|| {
            // Sent by `deliver`: the message is the data.
            if service.hand.is_forward(address) {
                let (at, len) = service.hand.look(address, size)?;
                return Ok((address as u64, at, len));
            }
            if size != POINTER as i64 {
                return Err(Refused::Size(size).into());
            }
            let (at, len) = service.hand.look(address, size)?;
            let number = package::number(slice::from_raw_parts(at, len))?;
            let package = package::find(number)?;
            let len = package.len();
            Ok((number, service.hand.give(package.envelope(service.arena)?), len))
        });
        match found {
            Ok((package, at, len)) => {
                ffi::lua_pushlightuserdata(state, (package as usize) as *mut _);
                ffi::lua_pushlightuserdata(state, at.cast_mut().cast());
                ffi::lua_pushinteger(state, len as i64);
                3
            }
            Err(error) => raise(state, error),
        }
    }
}

/// `multicast.bind(pointer: lightuserdata, times: integer): lightuserdata`, the package, which is to be closed that often. Takes
/// the pointer.
unsafe extern "C-unwind" fn bind(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (address, times) = pointer_and_size(state);
        let service = service(state);
        let bound = guard(|| {
            let (at, len) = service.hand.look(address, POINTER as i64)?;
            let number = package::number(slice::from_raw_parts(at, len))?;
            package::bind(number, times as i32)?;
            service.hand.discard(address)?;
            Ok(number)
        });
        match bound {
            Ok(number) => ffi::lua_pushlightuserdata(state, (number as usize) as *mut _),
            Err(error) => raise(state, error),
        }
    }
    1
}

/// `multicast.close(package: lightuserdata)`: one delivery is over. The last one frees the data.
unsafe extern "C-unwind" fn close(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TLIGHTUSERDATA);
        let package = ffi::lua_touserdata(state, 1).addr();
        let service = service(state);
        let closed = guard(|| {
            // A message that is the data itself is dropped when it has been handled.
            if service.hand.is_forward(package) {
                return Ok(());
            }
            let at = package::close(package as u64)?;
            // What `unpack` gave us of it; gone already if Lua sent it on.
            let _ = service.hand.discard(at.addr());
            Ok(())
        });
        if let Err(error) = closed {
            raise(state, error);
        }
    }
    0
}

/// `multicast.remote(pointer: lightuserdata): lightuserdata, integer`: the data, to be sent to another node. Takes pointer and package.
unsafe extern "C-unwind" fn remote(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TLIGHTUSERDATA);
        let address = ffi::lua_touserdata(state, 1).addr();
        let service = service(state);
        let taken = guard(|| {
            let block = take(service, address)?.into_block(service.arena)?;
            let len = block.len();
            Ok((service.hand.give(block), len))
        });
        match taken {
            Ok((at, len)) => {
                ffi::lua_pushlightuserdata(state, at.cast_mut().cast());
                ffi::lua_pushinteger(state, len as i64);
                2
            }
            Err(error) => raise(state, error),
        }
    }
}

/// The package of a package pointer in hand; both are taken.
fn take(service: &ServiceState, address: usize) -> Result<Package, Raise> {
    let (at, len) = service.hand.look(address, POINTER as i64)?;
    // SAFETY: the hand keeps the block while we look: no Lua runs.
    let number = package::number(unsafe { slice::from_raw_parts(at, len) })?;
    let package = package::take(number)?;
    service.hand.discard(address)?;
    Ok(package)
}

/// `multicast.nextid(id: integer): integer`, the next channel of the same node.
unsafe extern "C-unwind" fn nextid(state: *mut lua_State) -> c_int {
    // SAFETY: as above; a C function has free slots.
    unsafe {
        let id = ffi::luaL_checkinteger(state, 1) as u32;
        ffi::lua_pushinteger(state, i64::from(id.wrapping_add(256) & 0x7fff_ffff));
    }
    1
}

/// `deliver(pointer: lightuserdata, size: integer, channel: integer, source: integer, subscribers: table)`: sends the package to each
/// key of `subscribers`. Takes pointer and package. Who is not there any more gets nothing.
unsafe extern "C-unwind" fn deliver(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    let (service, address, channel, source) = unsafe {
        let (address, size) = pointer_and_size(state);
        if size != POINTER as i64 {
            raise(state, Raise::new(Refused::Size(size)));
        }
        let channel = ffi::luaL_checkinteger(state, 3) as i32;
        let source = Handle(ffi::luaL_checkinteger(state, 4) as u32);
        ffi::luaL_checktype(state, 5, ffi::LUA_TTABLE);
        ffi::lua_settop(state, 5);
        (service(state), address, channel, source)
    };
    // In a box without an owner, since a table is walked meanwhile; walking from its first key on raises nothing.
    let package = guard(|| take(service, address).map(|it| Box::into_raw(Box::new(it))));
    let outcome = package.and_then(|package| {
        // SAFETY: the table is in slot 5; nobody changes it, for no Lua runs.
        let outcome = unsafe { deliver_to_keys(state, service, &*package, channel, source) };
        let dropped = guard(|| {
            // SAFETY: made above, and used up.
            drop(unsafe { Box::from_raw(package) });
            Ok(())
        });
        dropped.and(outcome)
    });
    match outcome {
        Ok(()) => 0,
        // SAFETY: only plain data is left.
        Err(error) => unsafe { raise(state, error) },
    }
}

/// Sends `package` to each key of the table in slot 5.
///
/// # Errors
/// The arena is full, or a key leads to another node; the others got theirs up to there.
///
/// # Safety
/// Slot 5 is a table that nobody changes, and two slots are free.
unsafe fn deliver_to_keys(
    state: *mut lua_State,
    service: &ServiceState,
    package: &Package,
    channel: i32,
    source: Handle,
) -> Result<(), Raise> {
    let mut outcome = Ok(());
    // SAFETY: by the caller's promise.
    unsafe {
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, 5) != 0 {
            ffi::lua_settop(state, -2);
            let handle = if ffi::lua_isinteger(state, -1) != 0 { ffi::lua_tointeger(state, -1) } else { 0 };
            let sent = guard(|| {
                let envelope = package.envelope(service.arena)?;
                let source = (source.0 != 0).then_some(source);
                let to = To::Handle(handle as u32);
                match post(service, to, source, MessageType::MULTICAST, Some(channel), Some(envelope))? {
                    Sent::Session(_) | Sent::TooLarge | Sent::Nowhere => Ok(()),
                }
            });
            // One receiver out of reach takes nothing from the others.
            outcome = outcome.and(sent);
        }
    }
    outcome
}
