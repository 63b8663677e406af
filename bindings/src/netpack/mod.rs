//! `skynet.netpack`: packets with a length of two bytes in front, out of the messages of sockets.
//!
//! `filter` takes a socket's message and says what it amounts to; packets that came together wait in a queue object, which the
//! caller keeps and shows again each time. Packets are blocks in the service's hand, to be sent on or freed.
//!
//! # From skynet
//! lua-netpack.c: lfilter, lpop, lpack, lclear, ltostring → the functions here; the queue → `queue.rs`. `unpack` is ours.

use std::ffi::{CStr, c_int};
use std::slice;

use skein_arena::copy;
use skein_vm::external;

use crate::core::{Entry, make, service};
use crate::object::{self, Object, Slot};
use crate::raw::{Raise, bytes, ffi, guard, lua_State, raise, raise_argument};
use crate::state::ServiceState;

use self::event::{Event, Kind};
use self::queue::{Fed, HEADER, MOST, Queue};

mod event;
mod queue;

const FUNCTIONS: [Entry; 6] = [
    (c"filter", filter),
    (c"pop", pop),
    (c"pack", pack),
    (c"unpack", unpack),
    (c"clear", clear),
    (c"tostring", tostring),
];

impl Object for Queue {
    const NAME: &'static CStr = c"skynet.netpack.queue";
}

/// Opens `skynet.netpack`. Stack: 1 out. Raises in a state without a service.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive.
    unsafe { make(state, &FUNCTIONS) }
}

/// The queue in slot 1; none if there is nil or nothing. Raises for any other value.
///
/// # Safety
/// As [`raise_argument`].
unsafe fn queue<'a>(state: *mut lua_State) -> Option<&'a Slot<Queue>> {
    // SAFETY: by the caller's promise; the argument stays in its slot.
    unsafe {
        if ffi::lua_type(state, 1) <= ffi::LUA_TNIL {
            return None;
        }
        match object::get::<Queue>(state, 1) {
            Some(slot) => Some(slot),
            None => raise_argument(state, 1, Raise::new("queue of skynet.netpack expected")),
        }
    }
}

/// The address in slot `index`, 0 for what is no light userdata.
unsafe fn address(state: *mut lua_State, index: c_int) -> usize {
    // SAFETY: reads a slot of arguments.
    unsafe {
        match ffi::lua_type(state, index) {
            ffi::LUA_TLIGHTUSERDATA => ffi::lua_touserdata(state, index).addr(),
            _ => 0,
        }
    }
}

/// What `filter` found, as plain data.
#[derive(Clone, Copy)]
enum Found {
    Nothing,
    Packet(*const u8, usize),
    More,
    Event(Event),
}

/// `netpack.filter(queue?, message: lightuserdata, size: integer): queue?, kind?, ...`. Takes the payload of the message.
unsafe extern "C-unwind" fn filter(state: *mut lua_State) -> c_int {
    // Read. SAFETY: Lua gives us a valid `state`. Nothing with a destructor is alive when these
    // raise; the payload still belongs to the message.
    let (service, slot, event, message) = unsafe {
        let service = service(state);
        ffi::lua_settop(state, 3);
        let mut slot = queue(state);
        ffi::luaL_checktype(state, 2, ffi::LUA_TLIGHTUSERDATA);
        let (message, size) = (address(state, 2), ffi::luaL_checkinteger(state, 3));
        let looked = guard(|| {
            let event = Event::read(service, message, size)?;
            let whole = event.kind == Kind::Data && {
                offer(service, message, event);
                let (at, len) = service.hand.look(event.payload, i64::from(event.number))?;
                // SAFETY: the hand keeps the block, and nobody changes the hand in here.
                queue::is_one(slice::from_raw_parts(at, len))
            };
            Ok((event, whole))
        });
        let (event, whole) = match looked {
            Ok(found) => found,
            Err(error) => raise(state, error),
        };
        if slot.is_none() && event.kind == Kind::Data && !whole {
            slot = Some(object::push::<Queue>(state));
            ffi::lua_replace(state, 1);
        }
        (service, slot, event, message)
    };

    // Work.
    let found = guard(|| match event.kind {
        Kind::Data => {
            let block = service.hand.take(service.arena, event.payload, i64::from(event.number))?;
            let fed = match slot {
                None => Fed::One(queue::only(service.arena, block)?),
                Some(slot) => {
                    let mut queue = slot.value.borrow_mut();
                    queue.get_or_insert_default().feed(
                        service.arena,
                        event.id,
                        block,
                        &mut expecter(service),
                    )?
                }
            };
            Ok(match fed {
                Fed::Nothing => Found::Nothing,
                Fed::More => Found::More,
                Fed::One(packet) => {
                    let len = packet.len();
                    Found::Packet(service.hand.give(packet), len)
                }
            })
        }
        Kind::Udp => {
            // Packets are for streams. Nobody will ask for this payload.
            if event.payload != 0 {
                offer(service, message, event);
                service.hand.discard(event.payload)?;
            }
            Ok(Found::Nothing)
        }
        Kind::Close | Kind::Error => {
            if let Some(Some(queue)) = slot.map(|it| it.value.borrow_mut()).as_deref_mut() {
                queue.forget(event.id);
            }
            Ok(Found::Event(event))
        }
        Kind::Unknown => Ok(Found::Nothing),
        _ => Ok(Found::Event(event)),
    });

    // Answer. SAFETY: only plain data is left. The message is in the hand, so that its text is there until it has been pushed.
    unsafe {
        ffi::lua_settop(state, 1);
        match found {
            Err(error) => raise(state, error),
            Ok(Found::Nothing) => {}
            Ok(Found::More) => _ = ffi::lua_pushstring(state, c"more".as_ptr()),
            Ok(Found::Packet(at, len)) => {
                ffi::lua_pushstring(state, c"data".as_ptr());
                push_packet(state, event.id, at, len);
            }
            Ok(Found::Event(event)) => push_event(state, event),
        }
        ffi::lua_gettop(state)
    }
}

/// Asks a socket of the service for a body in one block. Should there be no room, it comes in pieces.
fn expecter(service: &ServiceState) -> impl FnMut(i32, u64, usize, &[u8]) -> bool {
    let owner = service.ctx.handle();
    move |id, taken, size, begun| {
        let copy = |into: &mut [u8]| into.copy_from_slice(begun);
        let network = service.ctx.node().network();
        network.expect(owner, id, taken, size, begun.len(), copy).unwrap_or(false)
    }
}

/// Lets the service take the payload that travels with a message.
fn offer(service: &ServiceState, message: usize, event: Event) {
    if service.hand.is_carrier(message) {
        service.hand.claim(message, event.payload);
    }
}

/// Pushes what an event is to a server of packets.
///
/// # Safety
/// `state` has free slots, and the text of the event is there. May raise a memory error.
unsafe fn push_event(state: *mut lua_State, event: Event) {
    let name = match event.kind {
        Kind::Connect => c"init",
        Kind::Close => c"close",
        Kind::Accept => c"open",
        Kind::Error => c"error",
        Kind::Warning => c"warning",
        Kind::Data | Kind::Udp | Kind::Unknown => return,
    };
    let (text, len) = event.text;
    // SAFETY: by the caller's promise.
    unsafe {
        ffi::lua_pushstring(state, name.as_ptr());
        let id = if event.kind == Kind::Accept { event.number } else { event.id };
        ffi::lua_pushinteger(state, i64::from(id));
        match event.kind {
            Kind::Close => {}
            Kind::Warning => ffi::lua_pushinteger(state, i64::from(event.number)),
            _ => _ = ffi::lua_pushlstring(state, text.cast(), len),
        }
        if event.kind == Kind::Connect {
            ffi::lua_pushinteger(state, i64::from(event.number));
        }
    }
}

/// Pushes a packet in hand: socket, pointer, size.
unsafe fn push_packet(state: *mut lua_State, id: i32, at: *const u8, len: usize) {
    // SAFETY: three slots are free; none of these allocates.
    unsafe {
        ffi::lua_pushinteger(state, i64::from(id));
        ffi::lua_pushlightuserdata(state, at.cast_mut().cast());
        ffi::lua_pushinteger(state, len as i64);
    }
}

/// `netpack.pop(queue?): integer, lightuserdata, integer | nothing`, the packet that waits longest.
unsafe extern "C-unwind" fn pop(state: *mut lua_State) -> c_int {
    // SAFETY: as in `filter`.
    unsafe {
        let service = service(state);
        let slot = queue(state);
        let popped = guard(|| {
            let packet = slot.and_then(|it| it.value.borrow_mut().as_mut()?.pop());
            Ok(packet.map(|(id, block)| {
                let len = block.len();
                (id, service.hand.give(block), len)
            }))
        });
        match popped {
            Ok(Some((id, at, len))) => {
                push_packet(state, id, at, len);
                3
            }
            Ok(None) => 0,
            Err(error) => raise(state, error),
        }
    }
}

/// `netpack.clear(queue?)`: forgets all that waits, and all that is not complete.
unsafe extern "C-unwind" fn clear(state: *mut lua_State) -> c_int {
    // SAFETY: as in `filter`.
    unsafe {
        let slot = queue(state);
        let cleared = guard(|| {
            if let Some(queue) = slot.map(|it| it.value.borrow_mut()).as_deref_mut().and_then(Option::as_mut)
            {
                queue.clear();
            }
            Ok(())
        });
        if let Err(error) = cleared {
            raise(state, error);
        }
    }
    0
}

/// `netpack.pack(body: string | lightuserdata, size: integer?): lightuserdata, integer`, a packet; takes nothing.
unsafe extern "C-unwind" fn pack(state: *mut lua_State) -> c_int {
    // SAFETY: as in `filter`. A string stays in its slot, a block in the hand, while it is copied.
    unsafe {
        let service = service(state);
        let source = if ffi::lua_type(state, 1) == ffi::LUA_TLIGHTUSERDATA {
            let (at, size) = (address(state, 1), ffi::luaL_checkinteger(state, 2));
            guard(|| Ok(service.hand.look(at, size)?))
        } else {
            ffi::luaL_checklstring(state, 1, std::ptr::null_mut());
            let text = bytes(state, 1).unwrap_or_default();
            Ok((text.as_ptr(), text.len()))
        };
        let packed = source.and_then(|(at, len)| {
            guard(|| {
                if len > MOST {
                    return Err(Raise::new(format_args!("Invalid size (too long) of data : {len}")));
                }
                let body = slice::from_raw_parts(at, len);
                let mut block = service.arena.alloc(HEADER + len)?;
                let room = block.bytes_mut().expect("a new block has bytes");
                room[..HEADER].copy_from_slice(&(len as u16).to_be_bytes());
                copy(&mut room[HEADER..], body);
                service.count_in(len);
                Ok((service.hand.give(block), HEADER + len))
            })
        });
        match packed {
            Ok((at, len)) => {
                ffi::lua_pushlightuserdata(state, at.cast_mut().cast());
                ffi::lua_pushinteger(state, len as i64);
                2
            }
            Err(error) => raise(state, error),
        }
    }
}

/// `netpack.unpack(packets: lightuserdata?, size: integer): string, integer?`: the body of the first packet of a block, and
/// how many bytes are behind it. Takes nothing. Without a block: an empty string.
unsafe extern "C-unwind" fn unpack(state: *mut lua_State) -> c_int {
    // SAFETY: as in `filter`. Lua copies the bytes before it collects garbage, so the block need not be held.
    unsafe {
        let service = service(state);
        let (at, size) = (address(state, 1), ffi::luaL_checkinteger(state, 2));
        if at == 0 {
            ffi::lua_pushstring(state, c"".as_ptr());
            return 1;
        }
        let found = guard(|| {
            if size <= 0 {
                return Err(Raise::new(format_args!("Invalid size {size}")));
            }
            let (at, size) = service.hand.look(at, size)?;
            let bytes = slice::from_raw_parts(at, size);
            let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
                return Err(Raise::new(format_args!("Invalid size {size}")));
            };
            let len = usize::from(u16::from_be_bytes(*header));
            if len > rest.len() {
                return Err(Raise::new(format_args!("Invalid package size {len}")));
            }
            Ok((rest.as_ptr(), len, rest.len() - len))
        });
        match found {
            Ok((at, len, left)) => {
                ffi::lua_pushlstring(state, at.cast(), len);
                ffi::lua_pushinteger(state, left as i64);
                service.count_out(len);
                2
            }
            Err(error) => raise(state, error),
        }
    }
}

/// `netpack.tostring(block: lightuserdata?, size: integer): string`. Takes the block; a large one is not copied.
unsafe extern "C-unwind" fn tostring(state: *mut lua_State) -> c_int {
    // SAFETY: as in `filter`. Should a push raise, the block stays in the hand.
    unsafe {
        let service = service(state);
        let address = address(state, 1);
        if address == 0 {
            ffi::lua_pushstring(state, c"".as_ptr());
            return 1;
        }
        let size = ffi::luaL_checkinteger(state, 2);
        let found = guard(|| {
            let (at, len) = service.hand.look(address, size)?;
            Ok((at, len, service.hand.lend(address, at, len)))
        });
        match found {
            Ok((at, len, Some(owner))) => external::push(state, owner, at, len),
            Ok((at, len, None)) => {
                ffi::lua_pushlstring(state, at.cast(), len);
                service.count_out(len);
            }
            Err(error) => raise(state, error),
        }
        // A finalizer may have been faster; the string is good all the same.
        let _ = guard(|| Ok(service.hand.discard(address).is_ok()));
    }
    1
}
