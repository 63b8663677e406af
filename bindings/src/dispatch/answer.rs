//! Answers to the request that a task serves: now, later, or by somebody else.
//!
//! The session of a request is on record until it is answered, and taken away by whoever answers: `ret`, `ignoreret`,
//! `response` (whose closure has a record of its own), or a redirect. When an answer cannot be made (its values cannot be
//! packed, the arena is full) the record stays, so that the failing task still answers with an error.

use std::ffi::c_int;

use skein_arena::Block;
use skein_runtime::{Handle, MessageType};

use super::cycle::RESPONSE;
use super::trace::Event;
use super::{Dispatcher, at, attempt};
use crate::core::message::{Packed, explain};
use crate::core::send::{Body, Sent, To, body, deliver, post};
use crate::raw::{Raise, bytes, ffi, guard, lua_State, raise};
use crate::state::ServiceState;

/// Upvalues of a `response` closure: `pack` unless it is ours, its number, whether it was used.
const PACK: c_int = 1;
const NUMBER: c_int = 2;
const USED: c_int = 3;

/// What packing for an answer came to.
#[derive(Clone, Copy)]
enum Done {
    Delivered(bool),
    Raised,
    Refused(Raise),
}

impl Dispatcher {
    /// Session and source of the request of the running task.
    fn own_request(&self) -> (Option<i32>, Option<u32>) {
        let mut book = self.book.borrow_mut();
        book.task(self.running.get()).map_or((None, None), |it| (it.session, it.source))
    }

    /// Takes the session of the running task away.
    fn take_request(&self) {
        if let Some(it) = self.book.borrow_mut().task(self.running.get()) {
            it.session = None;
        }
    }

    /// The answer `block` to a request is sent; one that is too large becomes an error.
    fn answer(
        &self,
        service: &ServiceState,
        source: u32,
        session: i32,
        block: Option<Block>,
    ) -> Result<Sent, Raise> {
        post(service, To::Handle(source), None, MessageType(RESPONSE), Some(session), block)
    }
}

/// The request of the running task: session and source. Raises `text` if there is none.
unsafe fn open_request(state: *mut lua_State, dispatcher: &Dispatcher, text: &'static str) -> (i32, u32) {
    // SAFETY: called by functions of ours, where nothing with a destructor is alive.
    unsafe {
        match guard(|| Ok(dispatcher.own_request())) {
            Ok((Some(session), source)) => (session, source.unwrap_or(0)),
            Ok((None, _)) => raise(state, Raise::new(text)),
            Err(error) => raise(state, error),
        }
    }
}

/// `skynet.ret(message, size): boolean`.
pub(super) unsafe extern "C-unwind" fn ret(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`. Nothing with a destructor is alive when a call
    // raises; the bytes of a string stay in its slot.
    unsafe {
        let (service, dispatcher) = at(state);
        ffi::lua_settop(state, 2);
        let body = match ffi::lua_type(state, 1) {
            ffi::LUA_TNIL => Body::Text(b""),
            _ => body(state, 1),
        };
        let (session, source) = open_request(state, dispatcher, "No session");
        let done = guard(|| {
            if dispatcher.is_traced() {
                dispatcher.trace(service, dispatcher.running.get(), Event::Response);
            }
            if session == 0 {
                dispatcher.take_request();
                if let Body::Pointer { address, .. } = body
                    && address != 0
                {
                    service.hand.discard(address)?;
                }
                return Ok(false);
            }
            let ty = MessageType(RESPONSE);
            let sent = deliver(service, To::Handle(source), None, ty, Some(session), body)?;
            dispatcher.take_request();
            Ok(finish(dispatcher, sent, source, session))
        });
        match done {
            Ok(delivered) => ffi::lua_pushboolean(state, c_int::from(delivered)),
            Err(error) => raise(state, error),
        }
    }
    1
}

/// Whether an answer arrived. One that was too large is an error for whoever waits.
fn finish(dispatcher: &Dispatcher, sent: Sent, source: u32, session: i32) -> bool {
    match sent {
        Sent::Session(_) => true,
        Sent::TooLarge => {
            dispatcher.send_error(source, session);
            false
        }
        Sent::Nowhere => false,
    }
}

/// `skynet.retpack(...): boolean`: packs straight into the answer.
pub(super) unsafe extern "C-unwind" fn retpack(state: *mut lua_State) -> c_int {
    // SAFETY: as in `ret`.
    unsafe {
        let (service, dispatcher) = at(state);
        let last = ffi::lua_gettop(state);
        let done = guard(|| {
            let block = match service.pack(state, 1, last) {
                Ok(block) => block,
                Err(refused) => {
                    return Ok(match explain(state, refused) {
                        Packed::Refused(error) => Done::Refused(error),
                        _ => Done::Raised,
                    });
                }
            };
            let (Some(session), source) = dispatcher.own_request() else {
                return Ok(Done::Refused(Raise::new("No session")));
            };
            if dispatcher.is_traced() {
                dispatcher.trace(service, dispatcher.running.get(), Event::Response);
            }
            if session == 0 {
                dispatcher.take_request();
                return Ok(Done::Delivered(false));
            }
            let source = source.unwrap_or(0);
            let sent = dispatcher.answer(service, source, session, Some(block))?;
            dispatcher.take_request();
            Ok(Done::Delivered(finish(dispatcher, sent, source, session)))
        });
        match done {
            Ok(Done::Delivered(delivered)) => ffi::lua_pushboolean(state, c_int::from(delivered)),
            Ok(Done::Raised) => ffi::lua_error(state),
            Ok(Done::Refused(error)) | Err(error) => raise(state, error),
        }
    }
    1
}

/// `skynet.context(): integer?, integer?`: session and source of the request that the running task serves.
pub(super) unsafe extern "C-unwind" fn context(state: *mut lua_State) -> c_int {
    // SAFETY: as in `ret`.
    unsafe {
        let (_, dispatcher) = at(state);
        match guard(|| Ok(dispatcher.own_request())) {
            Ok((session, source)) => {
                match session {
                    Some(session) => ffi::lua_pushinteger(state, i64::from(session)),
                    None => ffi::lua_pushnil(state),
                }
                match source {
                    Some(source) => ffi::lua_pushinteger(state, i64::from(source)),
                    None => ffi::lua_pushnil(state),
                }
            }
            Err(error) => raise(state, error),
        }
    }
    2
}

/// `skynet.ignoreret()`: the request of the running task will not be answered.
pub(super) unsafe extern "C-unwind" fn ignoreret(state: *mut lua_State) -> c_int {
    // SAFETY: as in `ret`.
    unsafe {
        let (_, dispatcher) = at(state);
        let _ = attempt(|| dispatcher.take_request());
    }
    0
}

/// `dispatch.handed_on(source: integer, session: integer)`: whoever got the request of the running task, if it is that one,
/// answers it now.
pub(super) unsafe extern "C-unwind" fn handed_on(state: *mut lua_State) -> c_int {
    // SAFETY: as in `ret`.
    unsafe {
        let (_, dispatcher) = at(state);
        let source = ffi::luaL_checkinteger(state, 1) as u32;
        let session = ffi::luaL_checkinteger(state, 2) as i32;
        let _ = guard(|| {
            if dispatcher.own_request() == (Some(session), Some(source)) {
                dispatcher.take_request();
            }
            Ok(())
        });
    }
    0
}

/// `dispatch.answered(source: integer, session: integer)`: a request that was given up on was answered by hand.
pub(super) unsafe extern "C-unwind" fn answered(state: *mut lua_State) -> c_int {
    // SAFETY: as in `ret`.
    unsafe {
        let (_, dispatcher) = at(state);
        let source = ffi::lua_tointegerx(state, 1, std::ptr::null_mut()) as u32;
        let session = ffi::luaL_checkinteger(state, 2) as i32;
        let _ = guard(|| {
            let mut book = dispatcher.book.borrow_mut();
            if !book.forgotten.is_empty() {
                book.forgotten.retain(|&it| it != (source, session));
            }
            Ok(())
        });
    }
    0
}

/// `skynet.response(pack: function?): function`: takes the answer out of the task.
pub(super) unsafe extern "C-unwind" fn response(state: *mut lua_State) -> c_int {
    // SAFETY: as in `ret`. What may raise comes before the record is made.
    unsafe {
        let (_, dispatcher) = at(state);
        ffi::lua_settop(state, 1);
        let (session, source) = open_request(state, dispatcher, "no session");
        if session == 0 {
            let _ = attempt(|| dispatcher.take_request());
            ffi::lua_pushcfunction(state, nobody_waits);
            return 1;
        }
        if ffi::lua_toboolean(state, 1) == 0 || ffi::lua_topointer(state, 1) == dispatcher.known.get().pack {
            ffi::lua_pushnil(state);
            ffi::lua_copy(state, -1, 1);
            ffi::lua_settop(state, 1);
        }
        ffi::lua_pushvalue(state, 1);
        ffi::lua_pushinteger(state, 0);
        ffi::lua_pushboolean(state, 0);
        ffi::lua_pushcclosure(state, reply, USED);
        let number = guard(|| {
            dispatcher.take_request();
            Ok(dispatcher.book.borrow_mut().detach(source, session))
        });
        match number {
            Ok(number) => {
                ffi::lua_pushinteger(state, number as i64);
                ffi::lua_setupvalue(state, -2, NUMBER);
            }
            Err(error) => raise(state, error),
        }
    }
    1
}

/// The answer to a request that wants none.
unsafe extern "C-unwind" fn nobody_waits(_: *mut lua_State) -> c_int {
    0
}

/// What `response` returns: `reply(ok: boolean | "TEST", ...): boolean`.
unsafe extern "C-unwind" fn reply(state: *mut lua_State) -> c_int {
    // SAFETY: as in `ret`; the upvalues are those that `response` made.
    unsafe {
        let (service, dispatcher) = at(state);
        let number = ffi::lua_tointegerx(state, ffi::lua_upvalueindex(NUMBER), std::ptr::null_mut()) as u64;
        let waits = match guard(|| Ok(dispatcher.book.borrow().closures.get(&number).copied())) {
            Ok(waits) => waits,
            Err(error) => raise(state, error),
        };
        if ffi::lua_type(state, 1) == ffi::LUA_TSTRING && bytes(state, 1) == Some(b"TEST") {
            ffi::lua_pushboolean(state, c_int::from(waits.is_some()));
            return 1;
        }
        if ffi::lua_toboolean(state, ffi::lua_upvalueindex(USED)) != 0 {
            return ffi::luaL_error(state, c"Can't response more than once".as_ptr());
        }
        let Some((source, session)) = waits else {
            return used(state, dispatcher, number, false);
        };
        if ffi::lua_toboolean(state, 1) == 0 {
            let sent = guard(|| {
                Ok(service.ctx.send(Handle(source), None, MessageType::ERROR, Some(session), None).is_ok())
            });
            return used(state, dispatcher, number, sent.unwrap_or(false));
        }
        let sent = if ffi::lua_type(state, ffi::lua_upvalueindex(PACK)) == ffi::LUA_TNIL {
            let last = ffi::lua_gettop(state);
            let packed = guard(|| {
                let block = match service.pack(state, 2, last) {
                    Ok(block) => block,
                    Err(refused) => {
                        return Ok(match explain(state, refused) {
                            Packed::Refused(error) => Done::Refused(error),
                            _ => Done::Raised,
                        });
                    }
                };
                let sent = dispatcher.answer(service, source, session, Some(block))?;
                Ok(Done::Delivered(settled(dispatcher, sent, source, session)))
            });
            match packed {
                Ok(Done::Delivered(sent)) => sent,
                Ok(Done::Raised) => ffi::lua_error(state),
                Ok(Done::Refused(error)) | Err(error) => raise(state, error),
            }
        } else {
            ffi::lua_pushvalue(state, ffi::lua_upvalueindex(PACK));
            ffi::lua_rotate(state, 2, 1);
            ffi::lua_callk(state, ffi::lua_gettop(state) - 2, 2, 0, None);
            let body = body(state, 2);
            let sent = guard(|| {
                let ty = MessageType(RESPONSE);
                let sent = deliver(service, To::Handle(source), None, ty, Some(session), body)?;
                Ok(settled(dispatcher, sent, source, session))
            });
            match sent {
                Ok(sent) => sent,
                Err(error) => raise(state, error),
            }
        };
        used(state, dispatcher, number, sent)
    }
}

/// As [`finish`], for a closure: what is too large was delivered, as an error.
fn settled(dispatcher: &Dispatcher, sent: Sent, source: u32, session: i32) -> bool {
    matches!(sent, Sent::TooLarge) | finish(dispatcher, sent, source, session)
}

/// The closure is used up.
unsafe fn used(state: *mut lua_State, dispatcher: &Dispatcher, number: u64, delivered: bool) -> c_int {
    // SAFETY: called by `reply`.
    unsafe {
        let _ = guard(|| {
            dispatcher.book.borrow_mut().closures.remove(&number);
            Ok(())
        });
        ffi::lua_pushboolean(state, 1);
        ffi::lua_copy(state, -1, ffi::lua_upvalueindex(USED));
        ffi::lua_pushboolean(state, c_int::from(delivered));
    }
    1
}
