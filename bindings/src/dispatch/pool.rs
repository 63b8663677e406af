//! Coroutines: made, used again, and given up when a collection finds that they were not needed.
//!
//! A collectable object without references tells us of each collection (`collected`). Idle coroutines that were idle all
//! the time since the one before are given up then, so that a burst does not keep its memory.

use std::ffi::c_int;

use super::task::TaskId;
use super::{Dispatcher, at, attempt, desk};
use crate::raw::{ffi, guard, lua_State, raise};

impl Dispatcher {
    /// A coroutine without work, as a task.
    ///
    /// # Safety
    /// `state` runs a function of ours, or another where it may raise a memory error: nothing with a destructor may be
    /// alive. Three free slots.
    #[inline]
    pub(super) unsafe fn take(&self, state: *mut lua_State) -> (TaskId, *mut lua_State) {
        // SAFETY: by the caller's promise; `create` leaves the coroutine on the stack.
        unsafe {
            if let Some(found) = self.take_idle(state) {
                return found;
            }
            let found = self.make(state);
            ffi::lua_settop(state, -2);
            found
        }
    }

    /// An idle coroutine; none: there is none.
    ///
    /// # Safety
    /// `from` is a state of this service. Nothing raises.
    #[inline]
    pub(super) unsafe fn take_idle(&self, from: *mut lua_State) -> Option<(TaskId, *mut lua_State)> {
        loop {
            let (id, co) = {
                let mut book = self.book.borrow_mut();
                let id = book.take_idle()?;
                (id, book.tasks[id.slot as usize].co)
            };
            // SAFETY: the coroutine of a slot is anchored (D3).
            unsafe {
                if ffi::lua_gettop(co) == 1 && ffi::lua_status(co) == ffi::LUA_OK {
                    return Some((id, co));
                }
                if self.restore(co, from) {
                    return Some((id, co));
                }
            }
            // Somebody runs it by hand this moment: it is theirs.
            self.drop_task(id);
        }
    }

    /// Brings a coroutine that has no work back to what `create` made of it. Says whether that was possible.
    ///
    /// # Safety
    /// `co` is a coroutine of ours, and `from` another state of this service. To-be-closed variables run, protected.
    pub(super) unsafe fn restore(&self, co: *mut lua_State, from: *mut lua_State) -> bool {
        // SAFETY: by the caller's promise. A coroutine with running functions and status OK is on the way this moment.
        unsafe {
            let mut frame: ffi::lua_Debug = std::mem::zeroed();
            if ffi::lua_status(co) == ffi::LUA_OK && ffi::lua_getstack(co, 0, &mut frame) != 0 {
                return false;
            }
            ffi::lua_closethread(co, from);
            ffi::lua_settop(co, 0);
            ffi::lua_pushvalue(self.desk.get(), desk::SERVE);
            ffi::lua_xmove(self.desk.get(), co, 1);
            true
        }
    }

    /// Gives a task up, and lets go of its coroutine.
    pub(super) fn drop_task(&self, id: TaskId) {
        let known = {
            let mut book = self.book.borrow_mut();
            let known = book.task(id).is_some();
            book.discard(id);
            known
        };
        if known {
            self.drop_anchor(id.slot);
        }
    }

    fn drop_anchor(&self, slot: u32) {
        let desk = self.desk.get();
        // SAFETY: the desk has room; to set a field that exists to nil allocates nothing.
        unsafe {
            ffi::lua_pushnil(desk);
            ffi::lua_rawseti(desk, desk::ANCHORS, i64::from(slot) + 1);
        }
    }

    /// Makes a coroutine and leaves it on the stack.
    ///
    /// # Safety
    /// As [`Dispatcher::take`].
    unsafe fn make(&self, state: *mut lua_State) -> (TaskId, *mut lua_State) {
        let desk = self.desk.get();
        // SAFETY: by the caller's promise. The coroutine is on the stack until it is anchored (D3). What the collector runs
        // in `lua_newthread` may change the book, so the slot is chosen behind it.
        unsafe {
            let co = ffi::lua_newthread(state);
            self.watch(state);
            let slot = match guard(|| Ok(self.book.borrow().next_slot())) {
                Ok(slot) => slot,
                Err(error) => raise(state, error),
            };
            ffi::lua_pushvalue(desk, desk::ANCHORS);
            ffi::lua_xmove(desk, state, 1);
            ffi::lua_pushvalue(state, -2);
            ffi::lua_rawseti(state, -2, i64::from(slot) + 1);
            ffi::lua_settop(state, -2);
            ffi::lua_pushvalue(desk, desk::SERVE);
            ffi::lua_xmove(desk, co, 1);
            match guard(|| Ok(self.book.borrow_mut().enter(co))) {
                Ok(id) => (id, co),
                Err(error) => raise(state, error),
            }
        }
    }

    /// Sees to it that the next collection is noticed.
    ///
    /// # Safety
    /// As [`Dispatcher::take`].
    unsafe fn watch(&self, state: *mut lua_State) {
        if self.trimming.get() {
            return;
        }
        // SAFETY: by the caller's promise.
        unsafe {
            ffi::lua_newuserdatauv(state, 0, 0);
            ffi::lua_pushvalue(self.desk.get(), desk::WATCH);
            ffi::lua_xmove(self.desk.get(), state, 1);
            ffi::lua_setmetatable(state, -2);
            ffi::lua_settop(state, -2);
        }
        self.trimming.set(true);
    }
}

/// Makes a coroutine without work and puts it into the pool. For protected calls.
pub(super) unsafe extern "C-unwind" fn create(state: *mut lua_State) -> c_int {
    // SAFETY: called by Lua, and nothing with a destructor is alive.
    unsafe {
        let (_, dispatcher) = at(state);
        let (id, _) = dispatcher.make(state);
        match attempt(|| dispatcher.book.borrow_mut().release(id)) {
            Ok(()) => 0,
            Err(error) => raise(state, error),
        }
    }
}

/// `__gc` of what watches for collections.
pub(super) unsafe extern "C-unwind" fn collected(state: *mut lua_State) -> c_int {
    // SAFETY: as in `create`. A finalizer runs where Lua allocates, and there nobody borrows the book (D2) or uses the desk.
    unsafe {
        let (_, dispatcher) = at(state);
        dispatcher.trimming.set(false);
        let trimmed = guard(|| {
            let unused = dispatcher.book.borrow_mut().trim();
            for slot in unused {
                dispatcher.drop_anchor(slot);
            }
            let book = dispatcher.book.borrow();
            Ok(book.tasks.len() > book.free.len())
        });
        // Without a coroutine there is nothing to watch until the next one is made.
        if trimmed.unwrap_or(false) {
            dispatcher.watch(state);
        }
    }
    0
}
