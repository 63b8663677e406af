//! What a Lua state of a service has beside Lua: its context, its hand, its callback.
//!
//! One [`ServiceState`] per Lua state, made before `skynet.core` is opened and freed after `lua_close`, so that finalizers
//! still find it. The registry holds its address under `skein_service`; our functions find it as the owner of the state
//! ([`skein_vm::owner`]).
//!
//! # Invariants
//! * **L1** Only the worker that runs the service touches the state, the Lua state and all that hangs off them.
//! * **L2** A callback's Lua thread is anchored in the registry from its installation until the first message goes to the
//!   next one, so that a handler may replace itself while it runs.
//! * **L3** Nothing in [`ServiceState::deliver`] raises outside of its protected call.
//!
//! # From skynet
//! struct snlua's context and the `callback_context` userdata of lua-skynet.c → [`ServiceState`]; _cb, forward_cb →
//! [`ServiceState::deliver`].

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Arc;

use skein_arena::{Arena, Block};
use skein_runtime::{Message, ServiceContext};
use skein_sharedata::Leases;

use crate::dispatch::{Dispatcher, failed_line};
use crate::hand::Hand;
use crate::raw::{bytes, ffi, interrupt, lua_State};
use crate::seri::out::Out;
use crate::seri::{carrier, flat, pack};
use crate::share::versions::Renewal;

/// Registry key under which a state keeps the address of its [`ServiceState`].
pub const SERVICE_KEY: &std::ffi::CStr = c"skein_service";

/// Registry key under which C modules look for the `struct skynet_context *` of skynet's interface for C.
pub(crate) const CONTEXT_KEY: &std::ffi::CStr = c"skynet_context";

/// The service behind a Lua state.
pub struct ServiceState {
    pub(crate) ctx: Arc<ServiceContext>,
    pub(crate) arena: Arena,
    pub(crate) hand: Hand,
    callback: Cell<Callback>,
    /// Where the machine has the string `__pairs`.
    pub(crate) pairs: Cell<*const c_void>,
    /// Messages go to the dispatcher, and not to the callback.
    native: Cell<bool>,
    /// How large the next packed message will probably be.
    hint: Cell<usize>,
    /// What a function is about to push: pushing may raise, and must not jump over the owner.
    kept: RefCell<Kept>,
    /// The shared tables that this state may read: they outlive it.
    pub(crate) leases: RefCell<Leases>,
    pub(crate) renewal: RefCell<Renewal>,
    /// In the end it answers what is open: the Lua state is closed by then, and its finalizers had their say.
    dispatcher: OnceCell<Box<Dispatcher>>,
}

#[derive(Clone, Copy)]
struct Callback {
    /// Slot 1: the traceback function. Slot 2: the callback.
    thread: *mut lua_State,
    /// The callback disposes of messages itself.
    forward: bool,
    /// No message has been given to it yet.
    fresh: bool,
}

#[derive(Default)]
struct Kept {
    text: Vec<u8>,
    block: Option<Block>,
}

/// Registry keys, by address.
static CURRENT: u8 = 0;
static PREVIOUS: u8 = 1;

/// Sizes that are guessed for a message with tables. Beyond, a block grows as it is written.
const LEAST_HINT: usize = 22;
const MOST_HINT: usize = 1 << 20;

impl ServiceState {
    /// The state of a service that has no callback yet.
    pub fn new(ctx: Arc<ServiceContext>) -> Box<ServiceState> {
        let arena = ctx.node().arena();
        let callback = Callback { thread: ptr::null_mut(), forward: false, fresh: false };
        let leases = Leases::new(ctx.handle().0);
        Box::new(ServiceState {
            ctx,
            arena,
            hand: Hand::new(),
            callback: Cell::new(callback),
            pairs: Cell::new(ptr::null()),
            native: Cell::new(false),
            hint: Cell::new(LEAST_HINT),
            kept: RefCell::default(),
            leases: RefCell::new(leases),
            renewal: RefCell::default(),
            dispatcher: OnceCell::new(),
        })
    }

    /// The native dispatcher, once `skein.dispatch` is open.
    #[inline]
    pub(crate) fn dispatcher(&self) -> Option<&Dispatcher> {
        self.dispatcher.get().map(|it| &**it)
    }

    /// Makes the native dispatcher; `None` if there is one.
    pub(crate) fn install_dispatcher(
        &self,
        make: impl FnOnce(Arc<ServiceContext>) -> Dispatcher,
    ) -> Option<&Dispatcher> {
        self.dispatcher.set(Box::new(make(Arc::clone(&self.ctx)))).ok()?;
        self.dispatcher()
    }

    /// From the next message on, messages go to the native dispatcher.
    pub(crate) fn dispatch_natively(&self) {
        self.native.set(true);
    }

    /// The service whose messages this state handles.
    pub fn context(&self) -> &Arc<ServiceContext> {
        &self.ctx
    }

    /// What this state may give away.
    #[inline]
    pub(crate) fn hand(&self) -> &Hand {
        &self.hand
    }

    /// Blocks that native functions gave to this state and that it has not given back.
    pub fn blocks_in_hand(&self) -> usize {
        self.hand.given()
    }

    /// Gives `message` to the callback, and drops it afterwards unless the callback took it or disposes of messages itself.
    /// Without a callback the message is dropped. A callback that raises is logged; no error goes back to the sender.
    ///
    /// # Safety
    /// Called by the worker that runs the service, with no Lua function of this state running.
    pub unsafe fn deliver(&self, message: Message) {
        if self.native.get()
            && let Some(dispatcher) = self.dispatcher()
        {
            // SAFETY: by the caller's promise.
            return unsafe { dispatcher.deliver(self, message) };
        }
        let Callback { thread, forward, fresh } = self.callback.get();
        if thread.is_null() {
            return;
        }
        let (ty, session, source) = (message.ty().0, message.session(), message.source().0);
        let (at, size) = (message.as_ptr(), message.len());
        let block = message.into_block();
        if forward {
            self.hand.give(block);
        } else {
            self.hand.begin_message(block);
        }
        // SAFETY: the thread is anchored (L2) and idle, and has the slots (checked at installation). Setting a field of the
        // registry that exists allocates nothing.
        let status = unsafe {
            let _running = interrupt::enter(thread);
            if fresh {
                self.callback.set(Callback { thread, forward, fresh: false });
                ffi::lua_pushnil(thread);
                ffi::lua_rawsetp(thread, ffi::LUA_REGISTRYINDEX, (&raw const PREVIOUS).cast());
            }
            ffi::lua_pushvalue(thread, 2);
            ffi::lua_pushinteger(thread, i64::from(ty));
            ffi::lua_pushlightuserdata(thread, at.cast_mut().cast());
            ffi::lua_pushinteger(thread, size as i64);
            ffi::lua_pushinteger(thread, i64::from(session));
            ffi::lua_pushinteger(thread, i64::from(source));
            ffi::lua_pcall(thread, 5, 0, 1)
        };
        self.hand.end_message();
        if status != ffi::LUA_OK {
            // SAFETY: the call left its error on the thread's stack.
            unsafe { self.failed(thread, status, source, session, size) };
        }
    }

    #[cold]
    unsafe fn failed(&self, thread: *mut lua_State, status: c_int, source: u32, session: i32, size: usize) {
        let own = self.ctx.handle().0;
        let line = match status {
            ffi::LUA_ERRRUN => {
                // SAFETY: the traceback function always answers a string, and it stays until the stack is cut.
                let text = unsafe { bytes(thread, -1) };
                failed_line(self.ctx.handle(), source, session, size, text.unwrap_or_default())
            }
            ffi::LUA_ERRMEM => {
                format!("lua memory error : [{source:x} to :{own:x} : {session}]").into_bytes()
            }
            _ => format!("lua error in error : [{source:x} to :{own:x} : {session}]").into_bytes(),
        };
        // SAFETY: slots 1 and 2 are ours and stay.
        unsafe { ffi::lua_settop(thread, 2) };
        self.ctx.log(&line);
    }

    /// Installs the function in slot 1 of `state` as callback.
    ///
    /// # Safety
    /// `state` runs a C function with a Lua function in slot 1. May raise a memory error, and then nothing has changed:
    /// nothing with a destructor may be alive.
    pub(crate) unsafe fn install_callback(&self, state: *mut lua_State, forward: bool) {
        let before = self.callback.get();
        // SAFETY: by the caller's promise; a C function has twenty slots.
        unsafe {
            let thread = ffi::lua_newthread(state);
            ffi::lua_pushcfunction(thread, traceback);
            ffi::lua_pushvalue(state, 1);
            ffi::lua_xmove(state, thread, 1);
            ffi::luaL_checkstack(thread, 16, ptr::null());
            if !before.thread.is_null() && !before.fresh {
                ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, (&raw const CURRENT).cast());
            } else {
                // A callback that never saw a message needs no anchor; the one before it may be running, and keeps its own.
                ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, (&raw const PREVIOUS).cast());
            }
            ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, (&raw const PREVIOUS).cast());
            ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, (&raw const CURRENT).cast());
            self.callback.set(Callback { thread, forward, fresh: true });
            self.native.set(false);
            self.ctx.tell_waiting(None);
        }
    }

    /// Packs the slots `first..=last` into a block, which is in nobody's hand yet. Pointers to blocks in our hand give
    /// those blocks away.
    ///
    /// # Errors
    /// As [`pack::pack`]. Everything is where it was, but for what Lua code did that ran meanwhile.
    ///
    /// # Safety
    /// `state` runs a C function that has those slots.
    pub(crate) unsafe fn pack(
        &self,
        state: *mut lua_State,
        first: c_int,
        last: c_int,
    ) -> Result<Block, pack::Refused> {
        // SAFETY: by the caller's promise.
        if let Some(block) = unsafe { flat::pack(state, first, last, self.arena)? } {
            self.count_in(block.len());
            return Ok(block);
        }
        // SAFETY: by the caller's promise.
        unsafe { self.pack_walking(state, first, last) }
    }

    /// [`ServiceState::pack`], of any values.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Safety
    /// As there.
    unsafe fn pack_walking(
        &self,
        state: *mut lua_State,
        first: c_int,
        last: c_int,
    ) -> Result<Block, pack::Refused> {
        let mut out = Out::new(self.arena, self.hint.get())?;
        let mut pointers = Vec::new();
        // SAFETY: by the caller's promise.
        unsafe {
            pack::pack(state, first, last, self.pairs.get(), &mut out, &mut pointers, &|it| {
                self.hand.is_own(it)
            })?
        };
        let len = out.len();
        self.learn(len);
        self.count_in(len);
        if pointers.is_empty() {
            return Ok(out.finish(self.arena)?);
        }
        // A finalizer or a `__pairs` may have given some away meanwhile; those travel as plain numbers.
        let claims: Vec<Block> =
            pointers.into_iter().filter_map(|it| self.hand.take_packed(self.arena, it)).collect();
        match carrier::seal(self.arena, out, claims) {
            Ok(block) => Ok(block),
            Err((error, claims)) => {
                for block in claims {
                    self.hand.give(block);
                }
                Err(error.into())
            }
        }
    }

    /// Packs into a block that only serves to make a string of it: nothing is given away, and nothing counts as payload.
    ///
    /// # Errors
    /// As [`ServiceState::pack`].
    ///
    /// # Safety
    /// As [`ServiceState::pack`].
    pub(crate) unsafe fn pack_text(
        &self,
        state: *mut lua_State,
        first: c_int,
        last: c_int,
    ) -> Result<Block, pack::Refused> {
        // SAFETY: by the caller's promise.
        if let Some(block) = unsafe { flat::pack(state, first, last, self.arena)? } {
            return Ok(block);
        }
        let mut out = Out::new(self.arena, self.hint.get())?;
        // SAFETY: by the caller's promise.
        unsafe { pack::pack(state, first, last, self.pairs.get(), &mut out, &mut Vec::new(), &|_| false)? };
        self.learn(out.len());
        Ok(out.into_writer().finish())
    }

    /// Follows growth at once, and what shrinks in a few steps.
    #[inline]
    fn learn(&self, len: usize) {
        let hint = self.hint.get();
        let next = if len >= hint { len } else { len + (hint - len) / 4 };
        self.hint.set(next.clamp(LEAST_HINT, MOST_HINT));
    }

    /// Counts payload bytes that came out of Lua.
    #[inline]
    pub(crate) fn count_in(&self, bytes: usize) {
        self.ctx.add_copied_in(bytes);
        skein_arena::count_copied_in(bytes);
    }

    /// Counts payload bytes that went into Lua.
    #[inline]
    pub(crate) fn count_out(&self, bytes: usize) {
        self.ctx.add_copied_out(bytes);
        skein_arena::count_copied_out(bytes);
    }

    /// Keeps a text while it is being pushed. Good until the next one.
    pub(crate) fn keep_text(&self, text: Vec<u8>) -> (*const u8, usize) {
        let kept = &mut self.kept.borrow_mut().text;
        *kept = text;
        (kept.as_ptr(), kept.len())
    }

    /// Keeps a block while its bytes are being pushed. Good until the next one.
    pub(crate) fn keep_block(&self, block: Block) -> (*const u8, usize) {
        let at = (block.as_ptr(), block.len());
        self.kept.borrow_mut().block = Some(block);
        at
    }

    /// Drops the block that was kept.
    pub(crate) fn drop_kept_block(&self) {
        self.kept.borrow_mut().block = None;
    }
}

/// Message handler of callbacks: the error with a traceback.
unsafe extern "C-unwind" fn traceback(state: *mut lua_State) -> c_int {
    // SAFETY: called by Lua with the error in slot 1; nothing with a destructor is alive.
    unsafe {
        let text = ffi::lua_tolstring(state, 1, ptr::null_mut());
        if text.is_null() {
            ffi::lua_pushstring(state, c"(no error message)".as_ptr());
        } else {
            ffi::luaL_traceback(state, state, text, 1);
        }
    }
    1
}
