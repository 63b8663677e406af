//! One message from its arrival until nothing is left to run.

use std::ffi::{c_int, c_void};

use skein_runtime::{Handle, Message, MessageType};

use super::book::{Arrived, Fork};
use super::run::Wake;
use super::task::TaskId;
use super::{Dispatcher, at, desk};
use crate::raw::{ffi, guard, interrupt, lua_State, raise};
use crate::state::ServiceState;

pub(super) const RESPONSE: u8 = 1;
pub(super) const ERROR: u8 = 7;
pub(super) const TRACE: u8 = 12;

/// A message as the dispatcher sees it.
#[derive(Clone, Copy)]
pub(super) struct Incoming {
    pub(super) ty: u8,
    pub(super) session: i32,
    pub(super) source: u32,
    pub(super) body: Body,
}

/// What a message consists of.
#[derive(Clone, Copy)]
pub(super) enum Body {
    /// A block in hand, most likely: whoever reads it asks the hand.
    Block {
        /// Where Lua believes it is.
        address: *mut c_void,
        /// How large Lua believes it is.
        size: i64,
    },
    /// Two values on the caller's stack, from this slot.
    Values(c_int),
}

/// What a message told of its class.
enum Class {
    /// Nobody registered this type.
    Unknown,
    /// It has no handler.
    Silent,
    /// It has one, which is on the desk, and `unpack` above it unless that is the built-in one.
    Ready { builtin: bool, trace: Option<bool>, on_error: bool },
}

impl Dispatcher {
    /// Handles one message of the runtime.
    ///
    /// # Safety
    /// As [`ServiceState::deliver`].
    pub(crate) unsafe fn deliver(&self, service: &ServiceState, message: Message) {
        let (ty, session, source) = (message.ty().0, message.session(), message.source().0);
        let size = message.len();
        let body = Body::Block { address: message.as_ptr().cast_mut().cast(), size: size as i64 };
        service.hand.begin_message(message.into_block());
        // SAFETY: no Lua runs, so the floor is idle; it was made with room for our calls.
        unsafe {
            let _running = interrupt::enter(self.floor.get());
            self.handle(service, self.floor.get(), Incoming { ty, session, source, body });
        }
        service.hand.end_message();
        self.tell();
        if self.book.borrow().has_errors {
            let text = self.take_errors();
            self.ctx.log(failed_line(self.ctx.handle(), source, session, size, &text));
        }
    }

    #[cold]
    fn take_errors(&self) -> Vec<u8> {
        let mut book = self.book.borrow_mut();
        book.has_errors = false;
        std::mem::take(&mut book.errors)
    }

    /// # Safety
    /// `from` is a state of this service with room for a call, that runs nothing, or a function of ours. (So for all that
    /// follows.) Nothing raises (D1).
    unsafe fn handle(&self, service: &ServiceState, from: *mut lua_State, message: Incoming) {
        // SAFETY: by the caller's promise.
        unsafe {
            if message.ty == RESPONSE {
                self.response(service, from, message);
            } else if self.leaving.get() {
                self.refuse_last(message);
            } else {
                self.request(service, from, message);
            }
            self.run_forks(service, from);
        }
    }

    #[inline]
    unsafe fn response(&self, service: &ServiceState, from: *mut lua_State, message: Incoming) {
        let arrived = self.book.borrow_mut().arrive(message.session);
        // SAFETY: by the caller's promise.
        unsafe {
            match arrived {
                Arrived::Task(task) => {
                    if self.resume(service, from, task, Wake::Message(message)) {
                        self.drain(service, from);
                    }
                }
                Arrived::Timer(place) => {
                    if self.run_timer(service, from, place, message) {
                        self.drain(service, from);
                    }
                }
                Arrived::Dropped => {}
                Arrived::Unknown => self.unknown(from, desk::UNKNOWN_RESPONSE, message, None),
            }
        }
    }

    /// Runs the function of a timer. True when the queues are to be drained now.
    #[inline]
    unsafe fn run_timer(
        &self,
        service: &ServiceState,
        from: *mut lua_State,
        place: i64,
        message: Incoming,
    ) -> bool {
        // SAFETY: by the caller's promise.
        unsafe {
            let found = self.take_idle(from).or_else(|| self.take_new(from));
            let Some((task, co)) = found else {
                self.drop_timer(place);
                self.refuse_for_want_of_memory(message);
                return true;
            };
            self.move_timer(place, co);
            self.run(service, from, task, co, 0)
        }
    }

    unsafe fn request(&self, service: &ServiceState, from: *mut lua_State, message: Incoming) {
        // SAFETY: by the caller's promise.
        if message.ty == MessageType::SOCKET.0 && unsafe { self.handle_directly(service, from, message) } {
            return;
        }
        let desk = self.desk.get();
        // SAFETY: by the caller's promise; the desk has room, and what lies on it here is cut before Lua runs.
        unsafe {
            let top = ffi::lua_gettop(desk);
            let Class::Ready { builtin, trace, on_error } = self.look_up(message.ty) else {
                let known = ffi::lua_gettop(desk) > top;
                return self.refuse(service, from, message, known);
            };
            if on_error {
                ffi::lua_settop(desk, top);
                self.on_error(message.session, message.source);
                return self.drain(service, from);
            }
            let Some((task, co)) = self.take_idle(from).or_else(|| self.take_new(from)) else {
                ffi::lua_settop(desk, top);
                return self.refuse_for_want_of_memory(message);
            };
            let traced = {
                let mut book = self.book.borrow_mut();
                let it = &mut book.tasks[task.slot as usize];
                it.session = Some(message.session);
                it.source = Some(message.source);
                trace.is_some() || !book.incoming_tags.is_empty()
            };
            if traced {
                let was = self.running.replace(task);
                self.trace_request(service, task, trace, message.source);
                self.running.set(was);
            }
            // serve(handler, handler, session, source, msg, size [, unpack]); the desk has the handler, and `unpack`.
            ffi::lua_pushvalue(co, 1);
            ffi::lua_pushvalue(desk, -2);
            ffi::lua_pushvalue(desk, -1);
            ffi::lua_xmove(desk, co, 2);
            ffi::lua_pushinteger(co, i64::from(message.session));
            ffi::lua_pushinteger(co, i64::from(message.source));
            push_body(from, co, message.body);
            let mut arguments = 6;
            if !builtin || matches!(message.body, Body::Values(_)) {
                ffi::lua_xmove(desk, co, 1);
                arguments = 7;
            }
            ffi::lua_settop(desk, top);
            if self.run(service, from, task, co, arguments) {
                self.drain(service, from);
            }
        }
    }

    /// Leaves on the desk: handler and `unpack` over the class if it is ready, the class if it has no handler.
    unsafe fn look_up(&self, ty: u8) -> Class {
        let desk = self.desk.get();
        let known = self.known.get();
        // SAFETY: the desk has room; raw accesses raise and allocate nothing.
        unsafe {
            if ffi::lua_rawgeti(desk, desk::PROTO, i64::from(ty)) != ffi::LUA_TTABLE {
                ffi::lua_settop(desk, -2);
                return Class::Unknown;
            }
            ffi::lua_pushvalue(desk, desk::TRACE);
            let trace = match ffi::lua_rawget(desk, -2) {
                ffi::LUA_TNIL => None,
                _ => Some(ffi::lua_toboolean(desk, -1) != 0),
            };
            ffi::lua_settop(desk, -2);
            ffi::lua_pushvalue(desk, desk::DISPATCH);
            let kind = ffi::lua_rawget(desk, -2);
            if kind == ffi::LUA_TNIL || (kind == ffi::LUA_TBOOLEAN && ffi::lua_toboolean(desk, -1) == 0) {
                ffi::lua_settop(desk, -2);
                return Class::Silent;
            }
            let on_error = ty == ERROR && ffi::lua_topointer(desk, -1) == known.on_error;
            ffi::lua_pushvalue(desk, desk::UNPACK);
            ffi::lua_rawget(desk, -3);
            let builtin = ffi::lua_topointer(desk, -1) == known.unpack;
            Class::Ready { builtin, trace, on_error }
        }
    }

    /// A new coroutine; none if there is no memory for it.
    #[cold]
    unsafe fn take_new(&self, from: *mut lua_State) -> Option<(TaskId, *mut lua_State)> {
        // SAFETY: by the caller's promise; `create` runs protected.
        unsafe {
            ffi::lua_pushvalue(self.desk.get(), desk::CREATE);
            ffi::lua_xmove(self.desk.get(), from, 1);
            if ffi::lua_pcall(from, 0, 0, 0) != ffi::LUA_OK {
                ffi::lua_settop(from, -2);
                return None;
            }
            self.take_idle(from)
        }
    }

    #[cold]
    fn refuse_for_want_of_memory(&self, message: Incoming) {
        if message.session != 0 && message.ty != ERROR && message.ty != RESPONSE {
            self.send_error(message.source, message.session);
        }
        self.book.borrow_mut().report(b"not enough memory");
    }

    /// What comes between `exit` and the end.
    #[cold]
    fn refuse_last(&self, message: Incoming) {
        if message.session != 0 && message.ty != ERROR {
            self.send_error(message.source, message.session);
        }
    }

    /// All woken tokens, then one failed session, then woken tokens again, until both are empty.
    pub(super) unsafe fn drain(&self, service: &ServiceState, from: *mut lua_State) {
        loop {
            let (task, wake) = {
                let mut book = self.book.borrow_mut();
                if let Some(woken) = book.woken.pop_front() {
                    let task = book.wake(woken);
                    if let Some(place) = woken.kept {
                        let desk = self.desk.get();
                        // SAFETY: the desk has room; to set a field that exists to nil allocates nothing.
                        unsafe {
                            ffi::lua_pushnil(desk);
                            ffi::lua_rawseti(desk, desk::TOKENS, place);
                        }
                    }
                    (task, Wake::Woken)
                } else if let Some(session) = book.failed.pop_front() {
                    (book.fail(session), Wake::Failed)
                } else {
                    return;
                }
            };
            if let Some(task) = task {
                // SAFETY: by the caller's promise.
                let goes_on = unsafe { self.resume(service, from, task, wake) };
                if !goes_on {
                    return;
                }
            }
        }
    }

    #[inline]
    unsafe fn run_forks(&self, service: &ServiceState, from: *mut lua_State) {
        loop {
            let Some(fork) = self.book.borrow_mut().forks.pop_front() else { return };
            // SAFETY: by the caller's promise.
            unsafe {
                let goes_on = match fork {
                    Fork::Task(task) => self.resume(service, from, task, Wake::Failed),
                    Fork::Drain => true,
                };
                if goes_on {
                    self.drain(service, from);
                }
            }
        }
    }
}

/// Pushes the two values of a body.
pub(super) unsafe fn push_body(from: *mut lua_State, to: *mut lua_State, body: Body) {
    // SAFETY: both states have room, and the slots of `from` are those of the running function.
    unsafe {
        match body {
            Body::Block { address, size } => {
                ffi::lua_pushlightuserdata(to, address);
                ffi::lua_pushinteger(to, size);
            }
            Body::Values(slot) => {
                ffi::lua_pushvalue(from, slot);
                ffi::lua_pushvalue(from, slot + 1);
                if from != to {
                    ffi::lua_xmove(from, to, 2);
                }
            }
        }
    }
}

/// What the log says of a message whose handling failed.
pub(crate) fn failed_line(own: Handle, source: u32, session: i32, size: usize, text: &[u8]) -> Vec<u8> {
    let mut line =
        format!("lua call [{source:x} to :{:x} : {session} msgsz = {size}] error : \x1b[31m", own.0)
            .into_bytes();
    line.extend_from_slice(text);
    line.extend_from_slice(b"\x1b[0m");
    line
}

/// `dispatch.message(type: integer, msg, size, session: integer, source: integer)`: what a callback does with a message.
/// Raises all errors of it as one.
pub(super) unsafe extern "C-unwind" fn message(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`. Nothing with a destructor is alive when a call
    // raises. The texts are kept by the service while Lua copies them.
    unsafe {
        let (service, dispatcher) = at(state);
        let ty = ffi::luaL_checkinteger(state, 1) as u8;
        let session = ffi::luaL_checkinteger(state, 4) as i32;
        let source = ffi::luaL_checkinteger(state, 5) as u32;
        ffi::lua_settop(state, 5);
        ffi::luaL_checkstack(state, ffi::LUA_MINSTACK, std::ptr::null());
        let mut whole = 0;
        let size = ffi::lua_tointegerx(state, 3, &mut whole);
        let body = if ffi::lua_type(state, 2) == ffi::LUA_TLIGHTUSERDATA && whole != 0 {
            Body::Block { address: ffi::lua_touserdata(state, 2), size }
        } else {
            Body::Values(2)
        };
        let handled = guard(|| {
            dispatcher.handle(service, state, Incoming { ty, session, source, body });
            if !dispatcher.book.borrow().has_errors {
                return Ok(None);
            }
            Ok(Some(service.keep_text(dispatcher.take_errors())))
        });
        match handled {
            Ok(None) => 0,
            Ok(Some((text, len))) => {
                ffi::lua_pushlstring(state, text.cast(), len);
                ffi::lua_error(state)
            }
            Err(error) => raise(state, error),
        }
    }
}

/// `dispatch.start()`: from the next message on, messages come here.
pub(super) unsafe extern "C-unwind" fn start(state: *mut lua_State) -> c_int {
    // SAFETY: called by Lua, as `at` asks.
    unsafe { at(state).0.dispatch_natively() };
    0
}
