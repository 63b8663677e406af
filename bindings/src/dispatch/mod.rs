//! The dispatcher: from a message to the task it concerns, and on until nothing is left to run.
//!
//! What `skynet.lua` does in Lua for every message, this does around one `lua_resume`. The module `skein.dispatch` has the
//! functions that the Lua library is made of; `dispatch.start()` puts [`Dispatcher::deliver`] in the place of a callback.
//! A callback in Lua that calls `dispatch.message(type, msg, size, session, source)` works as well: proxies and filters do.
//!
//! # Who runs where
//! * A *task* has a coroutine of its own, from a pool. Slot 1 of an idle one is the function [`serve`](serve::serve); a fork or a timer
//!   lies above it, function and arguments, until its turn. So every task that has not begun is "suspended" to Lua, too. Only a
//!   timer whose maker dropped the coroutine gets none before it is due, or somebody asks who waits (`book::Waiter::Timer`).
//! * The *floor* is the Lua thread below all tasks when the runtime calls: what may raise outside of a task (`create`,
//!   `explain`, handlers of unknown messages) is called protected on it. When a callback in Lua calls, its own thread
//!   stands in.
//! * The *desk* is a Lua thread that never runs anything: what we keep in Lua (message classes, anchors, handlers) lies in
//!   its first slots, and values pass over its top on their way to a coroutine. Only calls that neither allocate nor raise
//!   use it, so nothing ever finds it half full.
//!
//! # The suspend protocol
//! A task gives up control by yielding one word to whoever resumed it; coroutines in between pass it on.
//! * `"SUSPEND"`: waits for a message or a wake-up. The session that it waits for belongs to the task that runs, whichever
//!   coroutine called.
//! * `"QUIT"`: the service is gone; close me. `"USER"`: a `skynet.coroutine` yield that no resume caught; a mistake.
//! * nothing: parked by its own wish; nobody will resume it.
//!
//! It is resumed with `true, msg, size` when its message came, with `false` when it failed and with `false, "BREAK"` when
//! it was woken. What native functions need behind a yield is in those values, on the coroutine's own stack, and in a
//! session number; so it does no harm when somebody resumes a coroutine by hand.
//!
//! # Order
//! After each task that suspends or ends: all woken tokens, then one failed session, then woken tokens again, until both
//! are empty. After the message: the forks, each with the same draining. Errors are collected, and raised or logged as one
//! at the end, so that no fork is lost.
//!
//! # Errors and ends
//! A task that fails answers its request with an error and is closed: its to-be-closed variables run, and its coroutine
//! is not used again. `unpack` runs inside of the task, so what it raises is such a failure. When the service ends,
//! whatever ended it, every request on record gets an error: by `exit`, and by [`Drop`] for what is left.
//!
//! # Invariants
//! * **D1** Between `lua_resume`s no Lua call is made that can raise; what may, is called protected.
//! * **D2** No borrow of the [`Book`] lives across a Lua call that allocates: finalizers run there, and they are Lua code.
//! * **D3** A coroutine of the pool is anchored, under its slot, from `create` until its slot is free.
//! * **D4** A coroutine that is being resumed is neither resumed nor closed by anybody else (`Task::active`).
//!
//! # From skynet
//! skynet.lua: co_create → [`pool`], suspend, dispatch_wakeup, dispatch_error_queue, raw_dispatch_message,
//! skynet.dispatch_message → [`cycle`], [`run`] and [`serve`], yield_call, skynet.call → [`call`], skynet.ret, skynet.response → [`answer`],
//! skynet.sleep, wait, wakeup, fork, timeout → [`sleep`], skynet.exit, _error_dispatch, killthread → [`end`], tracing →
//! [`trace`], checksession → [`sessions`].

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use skein_runtime::{Handle, MessageType, ServiceContext};
use skein_vm::image::{Image, Place};
use skein_vm::owner;
use skein_vm::state::State;

use crate::core::{open_core, service};
use crate::profile::Meter;
use crate::raw::{Raise, ffi, guard, lua_State};
use crate::state::ServiceState;

mod answer;
mod book;
mod call;
mod cycle;
mod direct;
mod end;
mod late;
mod look;
mod mix;
mod pool;
mod run;
mod serve;
mod sessions;
mod sleep;
mod task;
mod token;
mod trace;
mod unknown;

use book::Book;
pub(crate) use cycle::failed_line;
use task::TaskId;

/// The dispatcher of one service.
pub(crate) struct Dispatcher {
    ctx: Arc<ServiceContext>,
    desk: Cell<*mut lua_State>,
    floor: Cell<*mut lua_State>,
    known: Cell<Known>,
    meter: Cell<Meter>,
    running: Cell<TaskId>,
    /// `exit` was called: nothing new starts.
    leaving: Cell<bool>,
    /// Consoles ask this service by messages only.
    own_answers: Cell<bool>,
    /// The session counter is near its end, or has come round.
    careful: Cell<bool>,
    trace_timers: Cell<bool>,
    /// Somebody watches idle coroutines at collections.
    trimming: Cell<bool>,
    traces_begun: Cell<u64>,
    book: RefCell<Book>,
}

/// Where the objects of a dispatcher are, in every copy of an image.
pub(crate) struct Places {
    desk: Place,
    floor: Place,
    known: [Place; 4],
    meter: Place,
}

/// Objects that are recognised by their address.
#[derive(Clone, Copy)]
struct Known {
    suspend: *const u8,
    pack: *const c_void,
    unpack: *const c_void,
    on_error: *const c_void,
}

/// Slots of the desk.
mod desk {
    use std::ffi::c_int;

    /// Message classes by name and number: `skynet._proto`.
    pub(super) const PROTO: c_int = 1;
    /// Slot + 1 → coroutine.
    pub(super) const ANCHORS: c_int = 2;
    /// Tokens of wake-ups that outlive a sleep.
    pub(super) const TOKENS: c_int = 3;
    pub(super) const SERVE: c_int = 4;
    pub(super) const CREATE: c_int = 5;
    pub(super) const EXPLAIN: c_int = 6;
    pub(super) const TRACEBACK: c_int = 7;
    pub(super) const UNKNOWN_RESPONSE: c_int = 8;
    pub(super) const UNKNOWN_REQUEST: c_int = 9;
    /// What `skynet.profile` measures.
    pub(super) const RECORDS: c_int = 10;
    pub(super) const BREAK: c_int = 11;
    /// Names of the fields of a class.
    pub(super) const DISPATCH: c_int = 12;
    pub(super) const UNPACK: c_int = 13;
    pub(super) const TRACE: c_int = 14;
    pub(super) const NAME: c_int = 15;
    pub(super) const PACK: c_int = 16;
    pub(super) const ID: c_int = 17;
    /// The metatable of what watches collections.
    pub(super) const WATCH: c_int = 18;
    /// Place → function of a timer that has no coroutine yet.
    pub(super) const TIMERS: c_int = 19;
    /// The word of a task that waits.
    pub(super) const SUSPEND: c_int = 20;
    /// The name of another field of a class.
    pub(super) const DIRECT: c_int = 21;
    pub(super) const SLOTS: c_int = 21;
}

/// Registry keys, by address.
static DESK: u8 = 0;
static FLOOR: u8 = 1;

/// A function and its name in the module.
type Entry = (&'static CStr, ffi::lua_CFunction);

const FUNCTIONS: [Entry; 41] = [
    (c"send", call::send),
    (c"call", call::call),
    (c"rawcall", call::rawcall),
    (c"silentcall", call::silentcall),
    (c"ask", call::ask),
    (c"sleep", sleep::sleep),
    (c"wait", sleep::wait),
    (c"yield", sleep::yield_now),
    (c"proto", proto),
    (c"message", cycle::message),
    (c"start", cycle::start),
    (c"unknown_request", unknown::unknown_request),
    (c"unknown_response", unknown::unknown_response),
    (c"ret", answer::ret),
    (c"retpack", answer::retpack),
    (c"response", answer::response),
    (c"context", answer::context),
    (c"ignoreret", answer::ignoreret),
    (c"handed_on", answer::handed_on),
    (c"answered", answer::answered),
    (c"wakeup", sleep::wakeup),
    (c"fork", sleep::fork),
    (c"timeout", sleep::timeout),
    (c"arm", sleep::arm),
    (c"trace_timeout", sleep::trace_timeout),
    (c"give_up", end::give_up),
    (c"late", late::late),
    (c"on_error", end::on_error),
    (c"term", end::term),
    (c"leave", end::leave),
    (c"finish", end::finish),
    (c"forks", end::forks),
    (c"unfork", end::unfork),
    (c"waiting", end::waiting),
    (c"count", end::count),
    (c"look", look::look),
    (c"own_answers", look::own_answers),
    (c"open_requests", end::open_requests),
    (c"kill", end::kill),
    (c"trace", trace::begin),
    (c"tracetag", trace::tag),
];

impl Dispatcher {
    fn new(ctx: Arc<ServiceContext>) -> Dispatcher {
        Dispatcher {
            ctx,
            desk: Cell::new(ptr::null_mut()),
            floor: Cell::new(ptr::null_mut()),
            known: Cell::new(Known {
                suspend: ptr::null(),
                pack: ptr::null(),
                unpack: ptr::null(),
                on_error: ptr::null(),
            }),
            meter: Cell::new(Meter::NONE),
            running: Cell::new(TaskId::NONE),
            leaving: Cell::new(false),
            own_answers: Cell::new(false),
            careful: Cell::new(false),
            trace_timers: Cell::new(false),
            trimming: Cell::new(false),
            traces_begun: Cell::new(0),
            book: RefCell::default(),
        }
    }

    /// Where its objects are in every copy of an image.
    pub(crate) fn places(&self, image: &Image) -> Places {
        let place = |at: *const c_void| image.place(at.addr());
        let known = self.known.get();
        Places {
            desk: place(self.desk.get().cast()),
            floor: place(self.floor.get().cast()),
            known: [known.suspend.cast(), known.pack, known.unpack, known.on_error].map(place),
            meter: place(self.meter.get().started.cast()),
        }
    }

    /// The dispatcher of a copy.
    pub(crate) fn copied(ctx: Arc<ServiceContext>, places: &Places, state: &State) -> Dispatcher {
        let dispatcher = Self::new(ctx);
        let [suspend, pack, unpack, on_error] = places.known;
        dispatcher.desk.set(places.desk.of(state));
        dispatcher.floor.set(places.floor.of(state));
        dispatcher.known.set(Known {
            suspend: suspend.of::<u8>(state),
            pack: pack.of::<c_void>(state),
            unpack: unpack.of::<c_void>(state),
            on_error: on_error.of::<c_void>(state),
        });
        dispatcher.meter.set(Meter { started: places.meter.of::<usize>(state) });
        dispatcher
    }

    /// Tells `to` that its request `session` failed. A peer that is gone needs no answer.
    fn send_error(&self, to: u32, session: i32) {
        if to != 0 {
            let _ = self.ctx.send(Handle(to), None, MessageType::ERROR, Some(session), None);
        }
    }

    /// Answers all requests on record with errors, those of closures too.
    fn fail_all(&self) {
        let open = {
            let mut book = self.book.borrow_mut();
            let mut open = book.take_requests();
            open.extend(std::mem::take(&mut book.closures).into_values());
            open
        };
        for (source, session) in open {
            self.send_error(source, session);
        }
    }
}

impl Drop for Dispatcher {
    /// The service is gone, and so is its Lua state: whoever still waits hears of it. When even the launcher is gone the
    /// whole node goes down, and nobody needs to know.
    fn drop(&mut self) {
        if self.ctx.node().query(b".launcher").is_some() {
            self.fail_all();
        }
    }
}

/// Work of a raw function that has no result.
#[inline]
fn attempt(work: impl FnOnce()) -> Result<(), Raise> {
    guard(|| {
        work();
        Ok(())
    })
}

/// The service in whose state a function runs, and its dispatcher. Raises where there is none, or is not yet.
///
/// # Safety
/// `state` runs a function of ours, and nothing with a destructor is alive.
#[inline(always)]
unsafe fn at<'a>(state: *mut lua_State) -> (&'a ServiceState, &'a Dispatcher) {
    // SAFETY: by the caller's promise.
    unsafe {
        let service = service(state);
        match service.dispatcher() {
            Some(dispatcher) if !dispatcher.desk.get().is_null() => (service, dispatcher),
            _ => not_open(state),
        }
    }
}

/// # Safety
/// As [`at`].
#[cold]
unsafe fn not_open(state: *mut lua_State) -> ! {
    // SAFETY: by the caller's promise.
    unsafe { ffi::luaL_error(state, c"skein.dispatch is not open in this service".as_ptr()) };
    unreachable!("luaL_error came back");
}

/// `dispatch.proto(): table`, the message classes by name and number.
unsafe extern "C-unwind" fn proto(state: *mut lua_State) -> c_int {
    // SAFETY: called by Lua; nothing with a destructor is alive.
    unsafe {
        let (_, dispatcher) = at(state);
        owner::push_from(state, dispatcher.desk.get(), desk::PROTO);
    }
    1
}

/// Pushes the field of the class at `index` whose name is in the slot `name` of the desk.
///
/// # Safety
/// `state` runs a function of ours that has the class in that slot. Metamethods of the class may raise.
#[inline]
unsafe fn field(state: *mut lua_State, dispatcher: &Dispatcher, index: c_int, name: c_int) -> c_int {
    let desk = dispatcher.desk.get();
    // SAFETY: by the caller's promise; the desk has room.
    unsafe {
        owner::push_from(state, desk, name);
        ffi::lua_gettable(state, index)
    }
}

/// Opens `skein.dispatch`. Stack: 1 out. Raises in a state without a service, and when it is open already.
///
/// # Safety
/// Called by Lua.
pub unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` with free slots; nothing with a destructor is alive when a call raises.
    unsafe {
        let service = crate::core::required(state);
        let dispatcher = match service.install_dispatcher(Dispatcher::new) {
            Some(dispatcher) => dispatcher,
            None => return ffi::luaL_error(state, c"skein.dispatch is open already".as_ptr()),
        };
        ffi::lua_settop(state, 0);
        ffi::luaL_checkstack(state, desk::SLOTS + ffi::LUA_MINSTACK, ptr::null());
        ffi::lua_createtable(state, 0, FUNCTIONS.len() as c_int);
        ffi::lua_createtable(state, 0, 16);
        ffi::luaL_requiref(state, c"skynet.core".as_ptr(), open_core, 0);
        // 1: the module, 2: the classes, 3: skynet.core, 4: the word, 5 and 6: desk and floor.
        ffi::lua_pushstring(state, c"SUSPEND".as_ptr());
        let word = ffi::lua_tolstring(state, 4, ptr::null_mut()).cast();
        // A new thread has twice the slots of a C function, less one: that is what a call on the floor needs.
        let desk = thread(state, &DESK, desk::SLOTS + ffi::LUA_MINSTACK - 1);
        let floor = thread(state, &FLOOR, 2 * ffi::LUA_MINSTACK - 1);
        for (name, function) in FUNCTIONS {
            ffi::lua_pushcfunction(state, function);
            ffi::lua_setfield(state, 1, name.as_ptr());
        }

        ffi::lua_getfield(state, 3, c"pack".as_ptr());
        ffi::lua_getfield(state, 3, c"unpack".as_ptr());
        ffi::lua_getfield(state, 1, c"on_error".as_ptr());
        let known = Known {
            suspend: word,
            pack: ffi::lua_topointer(state, -3),
            unpack: ffi::lua_topointer(state, -2),
            on_error: ffi::lua_topointer(state, -1),
        };
        ffi::lua_settop(state, -4);

        // The desk, slot by slot.
        let top = ffi::lua_gettop(state);
        ffi::lua_pushvalue(state, 2);
        ffi::lua_createtable(state, 8, 0);
        ffi::lua_createtable(state, 0, 0);
        ffi::lua_pushcfunction(state, serve::serve);
        ffi::lua_pushcfunction(state, pool::create);
        ffi::lua_pushcfunction(state, run::explain);
        ffi::lua_pushcfunction(state, unknown::traceback);
        ffi::lua_pushcfunction(state, unknown::log_response);
        ffi::lua_pushcfunction(state, unknown::log_request);
        let meter = Meter::find(state);
        ffi::lua_pushstring(state, c"BREAK".as_ptr());
        for name in [c"dispatch", c"unpack", c"trace", c"name", c"pack", c"id"] {
            ffi::lua_pushstring(state, name.as_ptr());
        }
        ffi::lua_createtable(state, 0, 1);
        ffi::lua_pushcfunction(state, pool::collected);
        ffi::lua_setfield(state, -2, c"__gc".as_ptr());
        ffi::lua_createtable(state, 0, 0);
        ffi::lua_pushvalue(state, 4);
        ffi::lua_pushstring(state, c"direct".as_ptr());
        debug_assert_eq!(ffi::lua_gettop(state) - top, desk::SLOTS);
        ffi::lua_xmove(state, desk, desk::SLOTS);

        dispatcher.known.set(known);
        dispatcher.meter.set(meter);
        dispatcher.desk.set(desk);
        dispatcher.floor.set(floor);
        ffi::lua_settop(state, 1);
    }
    1
}

/// Pushes a Lua thread that stays, with room for `slots` values.
unsafe fn thread(state: *mut lua_State, key: &'static u8, slots: c_int) -> *mut lua_State {
    // SAFETY: called by `open`.
    unsafe {
        let thread = ffi::lua_newthread(state);
        ffi::luaL_checkstack(thread, slots, ptr::null());
        ffi::lua_pushvalue(state, -1);
        ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, (&raw const *key).cast());
        thread
    }
}
