//! `send`, `redirect`, `genid`, `harbor`.
//!
//! A string is copied once, into the block that travels; one that shows a block itself travels as a reference to that. A light userdata moves: the block leaves our hand, and nothing is
//! copied, also when it is the message being handled. It is gone then, whether or not it could be delivered.

use std::ffi::c_int;
use std::ptr::NonNull;

use skein_arena::{Block, Header};
use skein_runtime::{Handle, MessageType, SendError};
use skein_vm::external;

use super::service;
use crate::raw::{Raise, bytes, ffi, guard, lua_State, raise, type_name};
use crate::state::ServiceState;

/// Flag in a message type: allocate a session.
const ALLOCATE_SESSION: i32 = 0x2_0000;
/// Address and global-name limits of skynet's text forms.
const GLOBAL_NAME: usize = 16;

/// `core.send(address, type: integer, session: integer?, message, size: integer?): integer | false | nothing`.
pub(super) unsafe extern "C-unwind" fn send(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe { send_from(state, None, 2) }
}

/// `core.redirect(address, source: integer, type, session, message, size)`: as `send`, for somebody else.
pub(super) unsafe extern "C-unwind" fn redirect(state: *mut lua_State) -> c_int {
    // SAFETY: as above; nothing with a destructor is alive.
    unsafe {
        let source = Handle(ffi::luaL_checkinteger(state, 2) as u32);
        send_from(state, (source.0 != 0).then_some(source), 3)
    }
}

/// `core.genid(): integer`, the next session of this service.
pub(super) unsafe extern "C-unwind" fn genid(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`, and a C function has free slots.
    unsafe { ffi::lua_pushinteger(state, i64::from(service(state).ctx.new_session())) };
    1
}

/// `core.harbor(handle: integer): integer, boolean`, the node of an address, and whether that is another one.
pub(super) unsafe extern "C-unwind" fn harbor(state: *mut lua_State) -> c_int {
    // SAFETY: as above; nothing with a destructor is alive.
    unsafe {
        let handle = Handle(ffi::luaL_checkinteger(state, 1) as u32);
        ffi::lua_pushinteger(state, i64::from(handle.harbor()));
        ffi::lua_pushboolean(state, c_int::from(service(state).ctx.node().is_remote(handle)));
    }
    2
}

/// Where a message goes.
#[derive(Clone, Copy)]
pub(crate) enum To<'a> {
    /// A service.
    Handle(u32),
    /// A name, as `:hex`, `.local` or global.
    Name(&'a [u8]),
}

/// What a message consists of.
#[derive(Clone, Copy)]
pub(crate) enum Body<'a> {
    /// Bytes to be copied.
    Text(&'a [u8]),
    /// The bytes of a string that shows a block; it owns a reference as long as the bytes are good.
    Shown {
        /// The bytes.
        text: &'a [u8],
        /// The block.
        owner: NonNull<Header>,
    },
    /// A block in hand.
    Pointer {
        /// Its address.
        address: usize,
        /// How much of it.
        size: i64,
    },
}

/// What Lua hears of it.
#[derive(Clone, Copy)]
pub(crate) enum Sent {
    /// It is on its way, with this session.
    Session(i32),
    /// No message can be so large.
    TooLarge,
    /// Nobody is there.
    Nowhere,
}

/// The whole of `send`, with the message type at `index` and session, message and size behind it.
unsafe fn send_from(state: *mut lua_State, source: Option<Handle>, index: c_int) -> c_int {
    // Read. SAFETY: any of these may raise, and nothing with a destructor is alive; argument slots keep their values, so
    // the bytes of strings stay put until we return.
    let (service, to, ty, session, body) = unsafe {
        let to = destination(state, 1);
        let ty = ffi::luaL_checkinteger(state, index) as i32;
        let session = if ffi::lua_type(state, index + 1) == ffi::LUA_TNIL {
            None
        } else {
            Some(ffi::luaL_checkinteger(state, index + 1) as i32)
        };
        let body = body(state, index + 2);
        (service(state), to, ty, session, body)
    };

    // Work.
    let sent = guard(|| {
        let session = match session {
            Some(0) if ty & ALLOCATE_SESSION != 0 => None,
            Some(given) if ty & ALLOCATE_SESSION != 0 => {
                return Err(Raise::new(format_args!("session must be 0 to allocate one, not {given}")));
            }
            other => other,
        };
        deliver(service, to, source, MessageType(ty as u8), session, body)
    });

    // Answer. SAFETY: only plain data is left, and a C function has free slots.
    unsafe {
        match sent {
            Ok(Sent::Session(session)) => ffi::lua_pushinteger(state, i64::from(session)),
            Ok(Sent::TooLarge) => ffi::lua_pushboolean(state, 0),
            Ok(Sent::Nowhere) => return 0,
            Err(error) => raise(state, error),
        }
    }
    1
}

/// Arguments `index` and after it as a message: a string, or a pointer and a size.
///
/// # Safety
/// As for [`raise`]; the bytes are good while the slot keeps its value.
pub(crate) unsafe fn body<'a>(state: *mut lua_State, index: c_int) -> Body<'a> {
    // SAFETY: by the caller's promise.
    unsafe {
        match ffi::lua_type(state, index) {
            ffi::LUA_TSTRING => {
                let text = bytes(state, index).unwrap_or_default();
                match external::owner(state, index) {
                    Some(owner) => Body::Shown { text, owner },
                    None => Body::Text(text),
                }
            }
            ffi::LUA_TLIGHTUSERDATA => Body::Pointer {
                address: ffi::lua_touserdata(state, index).addr(),
                size: ffi::luaL_checkinteger(state, index + 1),
            },
            _ => raise(state, Raise::new(format_args!("invalid param {}", type_name(state, index)))),
        }
    }
}

/// Argument `index` as skynet reads an address: what converts to an integer is a handle, other strings are names.
///
/// # Safety
/// As for [`raise`].
pub(crate) unsafe fn destination<'a>(state: *mut lua_State, index: c_int) -> To<'a> {
    // SAFETY: by the caller's promise; nothing here converts the value in its slot.
    unsafe {
        let handle = ffi::lua_tointegerx(state, index, std::ptr::null_mut()) as u32;
        if handle != 0 {
            return To::Handle(handle);
        }
        match ffi::lua_type(state, index) {
            ffi::LUA_TNUMBER => raise(state, Raise::new("Invalid service address 0")),
            ffi::LUA_TSTRING => {
                let name = bytes(state, index).unwrap_or_default();
                // Names are C strings there.
                To::Name(name.split(|&byte| byte == 0).next().unwrap_or_default())
            }
            _ => {
                let what = type_name(state, index);
                raise(
                    state,
                    Raise::new(format_args!("dest address type ({what}) must be a string or number.")),
                )
            }
        }
    }
}

/// Makes the block of a message, and sends it.
///
/// # Errors
/// The pointer is no good, the arena is full, or the runtime refuses.
pub(crate) fn deliver(
    service: &ServiceState,
    to: To<'_>,
    source: Option<Handle>,
    ty: MessageType,
    session: Option<i32>,
    body: Body<'_>,
) -> Result<Sent, Raise> {
    let block = match body {
        Body::Text([]) | Body::Pointer { address: 0, size: 0 } => None,
        Body::Text(text) if text.len() > skein_arena::MAX_PAYLOAD => return Ok(too_large(service, to)),
        Body::Text(text) => {
            let block = service.arena.copy_from(text)?;
            service.ctx.add_copied_in(text.len());
            Some(block)
        }
        Body::Shown { text, owner } => {
            // SAFETY: the string keeps its reference while its bytes are good.
            let payload = unsafe { external::payload(owner) };
            let start = text.as_ptr().addr() - payload.as_ptr().addr();
            Some(service.arena.forward_part(payload, start, text.len())?)
        }
        Body::Pointer { address: 0, size } => {
            return Err(Raise::new(format_args!("a null pointer has no {size} bytes to send")));
        }
        // skynet takes a negative size for a huge one, and frees the message.
        Body::Pointer { address, size } if size < 0 => {
            service.hand.discard(address)?;
            return Ok(too_large(service, to));
        }
        Body::Pointer { address, size } => Some(service.hand.take(service.arena, address, size)?),
    };
    post(service, to, source, ty, session, block)
}

/// Sends a block.
///
/// # Errors
/// The runtime refuses.
#[inline]
pub(crate) fn post(
    service: &ServiceState,
    to: To<'_>,
    source: Option<Handle>,
    ty: MessageType,
    session: Option<i32>,
    block: Option<Block>,
) -> Result<Sent, Raise> {
    let sent = match to {
        To::Handle(handle) => service.ctx.send(Handle(handle), source, ty, session, block),
        To::Name(name) => {
            let name = match name {
                [b':' | b'.', ..] => name,
                global => &global[..global.len().min(GLOBAL_NAME)],
            };
            service.ctx.send_name(name, source, ty, session, block)
        }
    };
    match sent {
        Ok(session) => Ok(Sent::Session(session)),
        Err(SendError::NoDestination | SendError::ZeroDestination) => Ok(Sent::Nowhere),
        Err(SendError::TooLarge { .. }) => Ok(too_large(service, to)),
        Err(error) => Err(error.into()),
    }
}

/// Logs as skynet does that a message is too large.
#[cold]
fn too_large(service: &ServiceState, to: To<'_>) -> Sent {
    let node = service.ctx.node();
    let handle = match to {
        To::Handle(handle) => Some(handle),
        To::Name([b':', hex @ ..]) => Some(Handle::parse_hex(hex).0),
        To::Name(name @ [b'.', ..]) => match node.query(name) {
            Some(handle) => Some(handle.0),
            None => return Sent::Nowhere,
        },
        To::Name(_) => None,
    };
    match (handle, to) {
        (Some(handle), _) => {
            service.ctx.log(format!("error: The message to {handle:x} is too large").as_bytes())
        }
        (None, To::Name(name)) => {
            let line = [b"error: The message to ".as_slice(), name, b" is too large"].concat();
            service.ctx.log(&line);
        }
        (None, To::Handle(_)) => {}
    }
    Sent::TooLarge
}
