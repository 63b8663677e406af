//! `skynet.debugchannel`: bytes between a debugger and a service that it stopped, and hooks that may suspend.
//!
//! `create()` makes a queue inside the process, whose other end `connect(pointer)` takes; `create(host, port)` connects to a
//! debugger elsewhere. Reading blocks the worker: a stopped service has nothing else to do.
//!
//! # From skynet
//! lua-debugchannel.c: `lcreate`, `lconnect`, `lwrite`, `lread`, `lrelease` → the functions here; `lsethook`, `hookf` → [`hook`].

mod channel;
mod hook;

use std::ffi::{CStr, c_int};
use std::io;
use std::ptr;

use self::channel::{Channel, Refused};
use crate::raw::{Raise, check_bytes, check_text, ffi, guard, lua_State, raise, raise_argument};

const TYPE: &CStr = c"debugchannel";

const FUNCTIONS: [(&CStr, ffi::lua_CFunction); 4] =
    [(c"create", create), (c"connect", connect), (c"release", release), (c"sethook", hook::sethook)];

const METHODS: [(&CStr, ffi::lua_CFunction); 3] = [(c"write", write), (c"read", read), (c"close", release)];

/// What a channel's userdata is.
#[derive(Default)]
struct Slot {
    /// None once it was released.
    channel: Option<Channel>,
    /// What is about to be pushed: pushing may raise, and must not jump over the owner.
    kept: Vec<u8>,
}

/// `luaopen_skynet_debugchannel`: pushes the module's table.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` with 20 free slots; nothing with a destructor is alive.
    unsafe {
        if ffi::luaL_newmetatable(state, TYPE.as_ptr()) != 0 {
            ffi::lua_createtable(state, 0, METHODS.len() as c_int);
            set_all(state, &METHODS);
            ffi::lua_setfield(state, -2, c"__index".as_ptr());
            set_all(state, &[(c"__gc", release), (c"__close", release)]);
        }
        ffi::lua_createtable(state, 0, FUNCTIONS.len() as c_int);
        set_all(state, &FUNCTIONS);
    }
    1
}

/// # Safety
/// A table is on top of the stack, with a free slot above.
unsafe fn set_all(state: *mut lua_State, functions: &[(&CStr, ffi::lua_CFunction)]) {
    for (name, function) in functions {
        // SAFETY: by the caller's promise.
        unsafe {
            ffi::lua_pushcclosure(state, *function, 0);
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
    }
}

/// Pushes a fresh channel's userdata, closed as yet.
///
/// # Safety
/// `state` runs a C function; nothing with a destructor is alive.
unsafe fn push_slot(state: *mut lua_State) -> *mut Slot {
    // SAFETY: the memory is Lua's, as large as asked for and aligned for anything; from the metatable on `release` drops it.
    unsafe {
        let slot = ffi::lua_newuserdatauv(state, size_of::<Slot>(), 0).cast::<Slot>();
        slot.write(Slot::default());
        ffi::luaL_setmetatable(state, TYPE.as_ptr());
        slot
    }
}

/// `debugchannel.create(): channel, lightuserdata`; `debugchannel.create(host: string, port: integer): channel?`.
unsafe extern "C-unwind" fn create(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; only plain data lives when something raises. The slot is on the stack while used.
    unsafe {
        if ffi::lua_type(state, 1) <= ffi::LUA_TNIL {
            let slot = push_slot(state);
            let made = guard(|| {
                let (channel, number) = Channel::create();
                (*slot).channel = Some(channel);
                Ok(number)
            });
            match made {
                Ok(number) => ffi::lua_pushlightuserdata(state, ptr::without_provenance_mut(number)),
                Err(error) => raise(state, error),
            }
            return 2;
        }
        let host = check_text(state, 1);
        let port = ffi::luaL_checkinteger(state, 2);
        let slot = push_slot(state);
        let made = guard(|| {
            let port = u16::try_from(port).map_err(|_| Raise::new(format_args!("Invalid port {port}")))?;
            (*slot).channel = std::str::from_utf8(host).ok().and_then(|host| Channel::dial(host, port).ok());
            Ok((*slot).channel.is_some())
        });
        match made {
            Ok(true) => {}
            Ok(false) => ffi::lua_pushnil(state),
            Err(error) => raise(state, error),
        }
    }
    1
}

/// `debugchannel.connect(pointer: lightuserdata): channel`, the other end of a queue. There is one.
unsafe extern "C-unwind" fn connect(state: *mut lua_State) -> c_int {
    // SAFETY: as in `create`. Numbers of queues are looked up, never followed.
    unsafe {
        let number = ffi::lua_touserdata(state, 1).addr();
        let slot = push_slot(state);
        let made = guard(|| {
            (*slot).channel = Some(Channel::connect(number).map_err(|why: Refused| Raise::new(why))?);
            Ok(())
        });
        if let Err(error) = made {
            raise(state, error);
        }
    }
    1
}

/// The channel of argument 1; raises unless it is one, and open.
///
/// # Safety
/// As for [`raise`]. The slot is good while the argument stays.
unsafe fn checked(state: *mut lua_State) -> *mut Slot {
    // SAFETY: by the caller's promise; the metatable says what the userdata is.
    unsafe {
        let slot = ffi::luaL_checkudata(state, 1, TYPE.as_ptr()).cast::<Slot>();
        if (*slot).channel.is_none() {
            raise_argument(state, 1, Raise::new("the channel was released"));
        }
        slot
    }
}

fn failed(error: &io::Error) -> Raise {
    Raise::new(format_args!("the debugger's connection: {error}"))
}

/// `channel:write(bytes: string)`.
unsafe extern "C-unwind" fn write(state: *mut lua_State) -> c_int {
    // SAFETY: as in `create`; the string stays in its slot.
    unsafe {
        let slot = checked(state);
        let bytes = check_bytes(state, 2);
        let done = guard(|| match &mut (*slot).channel {
            Some(channel) => channel.write(bytes).map_err(|it| failed(&it)),
            None => Ok(()),
        });
        if let Err(error) = done {
            raise(state, error);
        }
    }
    0
}

/// `channel:read(timeout: number?): string?`; blocks for `timeout` tenths of a second at most.
unsafe extern "C-unwind" fn read(state: *mut lua_State) -> c_int {
    // SAFETY: as in `create`. The slot keeps the bytes while Lua copies them.
    unsafe {
        let slot = checked(state);
        let tenths = ffi::luaL_optnumber(state, 2, 0.0);
        let read = guard(|| {
            let Some(channel) = &mut (*slot).channel else { return Ok(None) };
            let bytes = channel.read(tenths).map_err(|it| failed(&it))?;
            Ok(bytes.map(|bytes| {
                (*slot).kept = bytes;
                ((*slot).kept.as_ptr(), (*slot).kept.len())
            }))
        });
        match read {
            Ok(Some((at, len))) => {
                ffi::lua_pushlstring(state, at.cast(), len);
                (*slot).kept = Vec::new();
                1
            }
            Ok(None) => 0,
            Err(error) => raise(state, error),
        }
    }
}

/// `debugchannel.release(channel)`, `channel:close()`, and what the collector calls. More than once is no harm.
unsafe extern "C-unwind" fn release(state: *mut lua_State) -> c_int {
    // SAFETY: as in `create`. What stays behind owns nothing.
    unsafe {
        let slot = ffi::luaL_checkudata(state, 1, TYPE.as_ptr()).cast::<Slot>();
        let _ = guard(|| {
            *slot = Slot::default();
            Ok(())
        });
    }
    0
}
