//! Trace tags: log lines that follow one request through several services.
//!
//! A traced task sends its tag (a message of type TRACE) just before each call; the callee keeps it under the source until
//! that source's next request arrives, and continues it there.

use std::ffi::c_int;

use skein_runtime::MessageType;

use super::cycle::TRACE;
use super::task::{Tag, TaskId};
use super::{Dispatcher, at};
use crate::core::log::write_trace;
use crate::core::send::{To, post};
use crate::raw::{Raise, bytes, ffi, guard, lua_State, raise};
use crate::state::ServiceState;

/// What happens to a traced task.
#[derive(Clone, Copy)]
pub(super) enum Event {
    Resume,
    Response,
    Error,
    End,
}

impl Event {
    fn text(self) -> &'static [u8] {
        match self {
            Event::Resume => b"resume",
            Event::Response => b"response",
            Event::Error => b"error",
            Event::End => b"end",
        }
    }
}

impl Dispatcher {
    /// The tag of a task that is traced.
    pub(super) fn tag_of(&self, task: TaskId) -> Option<Box<[u8]>> {
        match self.book.borrow_mut().task(task) {
            Some(it) => match &it.tag {
                Tag::On(tag) => Some(tag.clone()),
                _ => None,
            },
            None => None,
        }
    }

    /// Whether the running task is traced.
    #[inline]
    pub(super) fn is_traced(&self) -> bool {
        let task = self.running.get();
        self.book.borrow_mut().task(task).is_some_and(|it| matches!(it.tag, Tag::On(_)))
    }

    /// A line for `task`, if it is traced.
    #[cold]
    pub(super) fn trace(&self, service: &ServiceState, task: TaskId, event: Event) {
        if let Some(tag) = self.tag_of(task) {
            // SAFETY: no state is looked at.
            unsafe { write_trace(service, &tag, event.text(), None, false) };
        }
    }

    /// Decides whether a request that has arrived is traced. `class`: what its class says.
    #[cold]
    pub(super) fn trace_request(
        &self,
        service: &ServiceState,
        task: TaskId,
        class: Option<bool>,
        source: u32,
    ) {
        let incoming = self.book.borrow_mut().incoming_tags.remove(&source);
        match (class, incoming) {
            (Some(false), _) => self.set_tag(task, Tag::Off),
            (_, Some(tag)) => {
                // SAFETY: no state is looked at.
                unsafe { write_trace(service, &tag, b"request", None, false) };
                self.set_tag(task, Tag::On(tag));
            }
            (Some(true), None) => self.begin_trace(service, task, b"trace"),
            (None, None) => {}
        }
    }

    fn set_tag(&self, task: TaskId, tag: Tag) {
        if let Some(it) = self.book.borrow_mut().task(task) {
            it.tag = tag;
        }
    }

    fn begin_trace(&self, service: &ServiceState, task: TaskId, user: &[u8]) {
        let mut line = b"TRACE ".to_vec();
        let off = {
            let mut book = self.book.borrow_mut();
            match book.task(task).map(|it| &it.tag) {
                None | Some(Tag::None) => line.extend_from_slice(b"nil"),
                Some(Tag::Off) => line.extend_from_slice(b"false"),
                Some(Tag::On(tag)) => line.extend_from_slice(tag),
            }
            matches!(book.task(task).map(|it| &it.tag), Some(Tag::Off))
        };
        self.ctx.log(&line);
        if off {
            return;
        }
        let begun = self.traces_begun.get() + 1;
        self.traces_begun.set(begun);
        let tag = format!(":{:08x}-{begun}", self.ctx.handle().0).into_bytes().into_boxed_slice();
        // SAFETY: no state is looked at.
        unsafe { write_trace(service, &tag, user, None, false) };
        self.set_tag(task, Tag::On(tag));
    }

    /// Tells the peer of a call the tag that it is to go on with.
    ///
    /// # Safety
    /// `state` runs the function that calls.
    #[cold]
    pub(super) unsafe fn announce(
        &self,
        service: &ServiceState,
        state: *mut lua_State,
        to: To<'_>,
    ) -> Result<(), Raise> {
        let Some(tag) = self.tag_of(self.running.get()) else { return Ok(()) };
        // SAFETY: by the caller's promise.
        unsafe { write_trace(service, &tag, b"call", Some((state, 1)), false) };
        let block = service.arena.copy_from(&tag)?;
        post(service, to, None, MessageType(TRACE), Some(0), Some(block)).map(|_| ())
    }

    /// The running task goes to sleep. Positions as skynet shows them: a line of the library first.
    ///
    /// # Safety
    /// As [`Dispatcher::announce`].
    #[cold]
    pub(super) unsafe fn trace_sleep(&self, service: &ServiceState, state: *mut lua_State) {
        if let Some(tag) = self.tag_of(self.running.get()) {
            // SAFETY: by the caller's promise.
            unsafe { write_trace(service, &tag, b"sleep", Some((state, 1)), true) };
        }
    }
}

/// `skynet.trace(info: string?)`: starts to trace the running task.
pub(super) unsafe extern "C-unwind" fn begin(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`. Nothing with a destructor is alive when a call
    // raises; the text stays in its slot.
    unsafe {
        let (service, dispatcher) = at(state);
        let info = match ffi::lua_type(state, 1) {
            ffi::LUA_TNIL | ffi::LUA_TNONE => None,
            _ => {
                ffi::luaL_checklstring(state, 1, std::ptr::null_mut());
                bytes(state, 1)
            }
        };
        let begun = guard(|| {
            let user = match info {
                Some(info) => [b"trace ", info].concat(),
                None => b"trace".to_vec(),
            };
            dispatcher.begin_trace(service, dispatcher.running.get(), &user);
            Ok(())
        });
        match begun {
            Ok(()) => 0,
            Err(error) => raise(state, error),
        }
    }
}

/// `skynet.tracetag(): string|false|nil`: the tag of the running task; false when its class is never traced.
pub(super) unsafe extern "C-unwind" fn tag(state: *mut lua_State) -> c_int {
    // SAFETY: as in `begin`. The tag is kept by the service while Lua copies it.
    unsafe {
        let (service, dispatcher) = at(state);
        let found = guard(|| {
            let task = dispatcher.running.get();
            if let Some(tag) = dispatcher.tag_of(task) {
                return Ok(Some(service.keep_text(tag.into_vec())));
            }
            let mut book = dispatcher.book.borrow_mut();
            Ok(book.task(task).filter(|it| matches!(it.tag, Tag::Off)).map(|_| (std::ptr::null(), 0)))
        });
        match found {
            Ok(None) => ffi::lua_pushnil(state),
            Ok(Some((text, _))) if text.is_null() => ffi::lua_pushboolean(state, 0),
            Ok(Some((text, len))) => {
                ffi::lua_pushlstring(state, text.cast(), len);
            }
            Err(error) => raise(state, error),
        }
    }
    1
}
