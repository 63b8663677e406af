//! Messages out of a service: send, call, and the requests of a select.
//!
//! A call packs its arguments straight into the block that travels, puts the running task on record under a new session,
//! and yields. Behind the yield its stack is: the address, the message class, and what it was resumed with.

use std::ffi::c_int;
use std::{fmt, ptr};

use skein_runtime::MessageType;
use skein_vm::owner;

use super::book::{Target, Waiter};
use super::{Dispatcher, at, attempt, desk, field, serve};
use crate::core::log::LIBRARY;
use crate::core::message::{Packed, explain};
use crate::core::send::{self as core_send, Sent, To, body, destination, post};
use crate::raw::{Raise, bytes, ffi, guard, lua_State, raise};
use crate::state::ServiceState;

/// How a packed message went.
#[derive(Clone, Copy)]
enum Done {
    Sent(Sent),
    /// The error is on top of the stack.
    Raised,
    Refused(Raise),
}

/// Whom a call is made to, as the caller named it.
///
/// # Safety
/// `index` is a slot with a string or a number.
#[inline]
unsafe fn target<'a>(state: *mut lua_State, index: c_int) -> Named<'a> {
    // SAFETY: by the caller's promise; a number is not converted in its slot.
    unsafe {
        if ffi::lua_type(state, index) == ffi::LUA_TSTRING {
            Named::Text(bytes(state, index).unwrap_or_default())
        } else {
            Named::Number(ffi::lua_tointegerx(state, index, ptr::null_mut()))
        }
    }
}

/// A [`Target`] that owns nothing yet.
#[derive(Clone, Copy)]
enum Named<'a> {
    Number(i64),
    Text(&'a [u8]),
}

impl Named<'_> {
    #[inline]
    fn keep(self) -> Target {
        match self {
            Named::Number(handle) => Target::Handle(handle),
            Named::Text(name) => Target::Name(name.into()),
        }
    }
}

/// Puts the class that slot `index` names there, and says its number.
///
/// # Safety
/// `state` runs a function of ours. Raises if nobody registered it: nothing with a destructor may be alive.
#[inline]
unsafe fn class(state: *mut lua_State, dispatcher: &Dispatcher, index: c_int) -> MessageType {
    // SAFETY: by the caller's promise; the desk has the table of classes.
    unsafe {
        ffi::lua_pushvalue(state, index);
        if owner::raw_get_from(state, dispatcher.desk.get(), desk::PROTO) != ffi::LUA_TTABLE {
            ffi::luaL_error(state, c"attempt to index a nil value (local 'p')".as_ptr());
        }
        ffi::lua_copy(state, -1, index);
        field(state, dispatcher, index, desk::ID);
        let id = ffi::lua_tointegerx(state, -1, ptr::null_mut());
        ffi::lua_settop(state, -3);
        MessageType(id as u8)
    }
}

/// Packs the values behind the class at `class`, and sends them.
///
/// # Safety
/// As [`class`]. The address is in the slot before.
unsafe fn pack_and_send(
    state: *mut lua_State,
    service: &ServiceState,
    dispatcher: &Dispatcher,
    class: c_int,
    ty: MessageType,
    wants_answer: bool,
) -> Sent {
    // SAFETY: by the caller's promise; argument slots keep their values, so the name stays put.
    unsafe {
        let to = destination(state, class - 1);
        if wants_answer && dispatcher.is_traced() {
            announce(state, service, dispatcher, to);
        }
        field(state, dispatcher, class, desk::PACK);
        if ffi::lua_topointer(state, -1) != dispatcher.known.get().pack {
            return pack_in_lua(state, service, dispatcher, class, ty, wants_answer, to);
        }
        ffi::lua_settop(state, -2);
        let last = ffi::lua_gettop(state);
        let done = guard(|| {
            let block = match service.pack(state, class + 1, last) {
                Ok(block) => block,
                Err(refused) => {
                    return Ok(match explain(state, refused) {
                        Packed::Refused(error) => Done::Refused(error),
                        _ => Done::Raised,
                    });
                }
            };
            let session = dispatcher.session_to_send(wants_answer);
            post(service, to, None, ty, session, Some(block)).map(Done::Sent)
        });
        match done {
            Ok(Done::Sent(sent)) => sent,
            Ok(Done::Raised) => {
                ffi::lua_error(state);
            }
            Ok(Done::Refused(error)) | Err(error) => raise(state, error),
        }
    }
}

#[cold]
unsafe fn announce(state: *mut lua_State, service: &ServiceState, dispatcher: &Dispatcher, to: To<'_>) {
    // SAFETY: called by functions of ours, where nothing with a destructor is alive.
    unsafe {
        if let Err(error) = guard(|| dispatcher.announce(service, state, to)) {
            raise(state, error);
        }
    }
}

/// As [`pack_and_send`], for a class whose `pack`, on top of the stack, is not ours.
unsafe fn pack_in_lua(
    state: *mut lua_State,
    service: &ServiceState,
    dispatcher: &Dispatcher,
    class: c_int,
    ty: MessageType,
    wants_answer: bool,
    to: To<'_>,
) -> Sent {
    // SAFETY: as the caller. `pack` may not yield, as anywhere below native code.
    unsafe {
        ffi::lua_rotate(state, class + 1, 1);
        let arguments = ffi::lua_gettop(state) - class - 1;
        ffi::lua_callk(state, arguments, 2, 0, None);
        send_body(state, service, dispatcher, class + 1, ty, wants_answer, to)
    }
}

/// Sends the message at `index`, a string or a pointer and a size.
unsafe fn send_body(
    state: *mut lua_State,
    service: &ServiceState,
    dispatcher: &Dispatcher,
    index: c_int,
    ty: MessageType,
    wants_answer: bool,
    to: To<'_>,
) -> Sent {
    // SAFETY: as the caller.
    unsafe {
        let body = body(state, index);
        let sent = guard(|| {
            let session = dispatcher.session_to_send(wants_answer);
            core_send::deliver(service, to, None, ty, session, body)
        });
        match sent {
            Ok(sent) => sent,
            Err(error) => raise(state, error),
        }
    }
}

/// `skynet.send(address, class: string, ...): integer | false | nothing`.
pub(super) unsafe extern "C-unwind" fn send(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`. Nothing with a destructor is alive.
    unsafe {
        let (service, dispatcher) = at(state);
        at_least(state, 2);
        let ty = class(state, dispatcher, 2);
        match pack_and_send(state, service, dispatcher, 2, ty, false) {
            Sent::Session(session) => ffi::lua_pushinteger(state, i64::from(session)),
            Sent::TooLarge => ffi::lua_pushboolean(state, 0),
            Sent::Nowhere => return 0,
        }
    }
    1
}

#[inline]
unsafe fn at_least(state: *mut lua_State, slots: c_int) {
    // SAFETY: a C function has free slots.
    unsafe {
        if ffi::lua_gettop(state) < slots {
            ffi::lua_settop(state, slots);
        }
    }
}

/// `skynet.call(address, class: string, ...): ...`
pub(super) unsafe extern "C-unwind" fn call(state: *mut lua_State) -> c_int {
    // SAFETY: as in `send`.
    unsafe {
        let (service, dispatcher) = at(state);
        at_least(state, 2);
        check_yieldable(state);
        let ty = class(state, dispatcher, 2);
        let sent = pack_and_send(state, service, dispatcher, 2, ty, true);
        wait_for_answer(state, dispatcher, sent, true, called)
    }
}

/// `skynet.rawcall(address, class: string, message, size): lightuserdata, integer`.
pub(super) unsafe extern "C-unwind" fn rawcall(state: *mut lua_State) -> c_int {
    // SAFETY: as in `send`.
    unsafe { raw_call(state, true) }
}

/// `rawcall` that sends no trace tag.
pub(super) unsafe extern "C-unwind" fn silentcall(state: *mut lua_State) -> c_int {
    // SAFETY: as in `send`.
    unsafe { raw_call(state, false) }
}

unsafe fn raw_call(state: *mut lua_State, traced: bool) -> c_int {
    // SAFETY: as in `send`.
    unsafe {
        let (service, dispatcher) = at(state);
        ffi::lua_settop(state, 4);
        check_yieldable(state);
        let to = destination(state, 1);
        let ty = class(state, dispatcher, 2);
        if traced && dispatcher.is_traced() {
            announce(state, service, dispatcher, to);
        }
        let sent = send_body(state, service, dispatcher, 3, ty, true, to);
        wait_for_answer(state, dispatcher, sent, false, raw_called)
    }
}

/// The part of a call behind its sending: address and class are in slots 1 and 2. `named`: whether the error text of an
/// address that is no good says which.
#[inline]
unsafe fn wait_for_answer(
    state: *mut lua_State,
    dispatcher: &Dispatcher,
    sent: Sent,
    named: bool,
    behind: ffi::lua_KFunction,
) -> c_int {
    // SAFETY: as in `send`. A yield jumps: only plain data is alive.
    unsafe {
        let session = match sent {
            Sent::Session(session) => session,
            Sent::TooLarge => raise_call(state, "call of a message that is too large"),
            Sent::Nowhere if named => unreachable_address(state),
            Sent::Nowhere => raise_call(state, "call to invalid address"),
        };
        let target = target(state, 1);
        dispatcher.seen(session);
        if let Err(error) = attempt(|| dispatcher.wait_for(session, target.keep(), true)) {
            raise(state, error);
        }
        ffi::lua_settop(state, 2);
        owner::push_from(state, dispatcher.desk.get(), desk::SUSPEND);
        ffi::lua_yieldk(state, 1, session as isize, Some(behind))
    }
}

/// Behind the yield: address, class, and then `true, message, size` or `false`.
unsafe extern "C-unwind" fn called(state: *mut lua_State, _status: c_int, session: isize) -> c_int {
    // SAFETY: as in `send`.
    unsafe {
        let (service, dispatcher) = at(state);
        answered(state, dispatcher, session);
        ffi::lua_settop(state, 5);
        field(state, dispatcher, 2, desk::UNPACK);
        if ffi::lua_topointer(state, -1) == dispatcher.known.get().unpack
            && ffi::lua_type(state, 4) == ffi::LUA_TLIGHTUSERDATA
        {
            let size = ffi::lua_tointegerx(state, 5, ptr::null_mut());
            if size == 0 {
                return 0;
            }
            return serve::unpack(state, service, ffi::lua_touserdata(state, 4).addr(), size);
        }
        ffi::lua_pushvalue(state, 4);
        ffi::lua_pushvalue(state, 5);
        ffi::lua_callk(state, 2, ffi::LUA_MULTRET, session, Some(call_unpacked));
        call_unpacked(state, ffi::LUA_OK, session)
    }
}

/// What another `unpack` gave lies over five slots.
unsafe extern "C-unwind" fn call_unpacked(state: *mut lua_State, _status: c_int, _session: isize) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe { ffi::lua_gettop(state) - 5 }
}

/// As [`called`], without unpacking.
unsafe extern "C-unwind" fn raw_called(state: *mut lua_State, _status: c_int, session: isize) -> c_int {
    // SAFETY: as in `send`.
    unsafe {
        let (_, dispatcher) = at(state);
        answered(state, dispatcher, session);
        ffi::lua_settop(state, 5);
    }
    2
}

/// Raises `call failed` unless slot 3 says that all is well.
#[inline]
unsafe fn answered(state: *mut lua_State, dispatcher: &Dispatcher, session: isize) {
    // SAFETY: as in `send`.
    unsafe {
        if ffi::lua_toboolean(state, 3) == 0 {
            let _ = attempt(|| dispatcher.book.borrow_mut().drop_target(session as i32));
            raise_call(state, "call failed");
        }
    }
}

/// `dispatch.ask(collector: function, address, class: string, ...): integer | false | nothing`: sends a request whose answer,
/// `true, message, size` or `false`, goes to `collector` in a task of its own. Answers the session.
pub(super) unsafe extern "C-unwind" fn ask(state: *mut lua_State) -> c_int {
    // SAFETY: as in `send`.
    unsafe {
        let (service, dispatcher) = at(state);
        at_least(state, 3);
        // There is a coroutine for the answer before the request is on its way.
        let (spare, _) = dispatcher.take(state);
        let _ = attempt(|| dispatcher.book.borrow_mut().release(spare));
        let ty = class(state, dispatcher, 3);
        let session = match pack_and_send(state, service, dispatcher, 3, ty, true) {
            Sent::Session(session) => session,
            Sent::TooLarge => {
                ffi::lua_pushboolean(state, 0);
                return 1;
            }
            Sent::Nowhere => return 0,
        };
        dispatcher.seen(session);
        let (task, co) = dispatcher.take(state);
        ffi::lua_pushvalue(state, 1);
        ffi::lua_xmove(state, co, 1);
        let target = target(state, 2);
        let kept = guard(|| {
            let mut book = dispatcher.book.borrow_mut();
            if let Some(it) = book.task(task) {
                it.wants_message = true;
            }
            book.waiting.insert(session, Waiter::Task { task, target: target.keep(), ticks: true });
            Ok(())
        });
        if let Err(error) = kept {
            raise(state, error);
        }
        ffi::lua_pushinteger(state, i64::from(session));
    }
    1
}

/// Raises unless the running coroutine may yield.
///
/// # Safety
/// As for [`raise`].
#[inline]
pub(super) unsafe fn check_yieldable(state: *mut lua_State) {
    // SAFETY: by the caller's promise.
    unsafe {
        if ffi::lua_isyieldable(state) == 0 {
            let main = ffi::lua_pushthread(state) != 0;
            ffi::lua_settop(state, -2);
            let text = if main {
                c"attempt to yield from outside a coroutine"
            } else {
                c"attempt to yield across a C-call boundary"
            };
            ffi::luaL_error(state, text.as_ptr());
        }
    }
}

/// Raises at the line that called the running function; without such a line (`pcall(skynet.call, …)`) at one of the
/// library, so that the text always begins with a position, which programs strip.
#[cold]
unsafe fn raise_call(state: *mut lua_State, what: impl fmt::Display) -> ! {
    // SAFETY: as for `raise`; what is shown owns nothing.
    unsafe {
        ffi::luaL_where(state, 1);
        let mut len = 0;
        ffi::lua_tolstring(state, -1, &mut len);
        ffi::lua_settop(state, -2);
        let error = if len > 0 {
            Raise::new(what)
        } else {
            Raise::new(format_args!("{}:1: {what}", LIBRARY.trim_start_matches('@')))
        };
        raise(state, error)
    }
}

/// `call to invalid address …`, with the address in slot 1 as `skynet.address` shows it.
#[cold]
unsafe fn unreachable_address(state: *mut lua_State) -> ! {
    // SAFETY: as for `raise`; the slot holds a string or a number, and keeps it.
    unsafe {
        match target(state, 1) {
            Named::Number(handle) => raise_call(state, format_args!("call to invalid address :{handle:08x}")),
            Named::Text(name) => raise_call(state, format_args!("call to invalid address {}", Shown(name))),
        }
    }
}

/// Bytes as text, without owning any.
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_str("\u{fffd}")?;
            }
        }
        Ok(())
    }
}
