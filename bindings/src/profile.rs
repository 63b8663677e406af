//! `skynet.profile`: CPU time of coroutines. Its `resume` and `wrap` stand in for those of `coroutine`.
//!
//! A measured coroutine has a record in a table with weak keys, kept by [`start`] until [`stop`]: the time its resumes
//! took, and since when the one in progress does. `resume` looks a coroutine up only while somebody measures; when
//! nobody does, it is `coroutine.resume` and one load.
//!
//! The clock is that of the thread that runs the service. A coroutine may go on in another thread, but one resume of it
//! never changes threads, so differences are taken within one thread; for the main coroutine of a service, which is
//! never resumed, they are not, and are cut off at zero.
//!
//! # From skynet
//! service_snlua.c: `luaB_coresume` → [`resume`], `luaB_cowrap`/`timing_wrap` → [`wrap`], `lstart` → [`start`],
//! `lstop` → [`stop`]. That signal 0 knows which coroutine runs is the machine's doing ([`skein_vm::interrupt`]).

use std::ffi::{CStr, c_int};
use std::ptr;

use skein_vm::ffi::{self, lua_CFunction, lua_State};
use skein_vm::owner;

use crate::raw::luaL_typeerror;

/// Upvalue of a function made by `wrap`: its coroutine.
const WRAPPED: c_int = 1;

/// Stack slots that a call needs beyond its arguments and results.
const SLOTS: c_int = 5;

/// Nanoseconds of CPU; a full userdata.
#[derive(Clone, Copy)]
#[repr(C)]
struct Record {
    /// What finished resumes took.
    total: u64,
    /// When the resume in progress began; 0 if there is none.
    since: u64,
}

/// Registry key, by address: the records by coroutine. How many were started and not stopped is [`owner::measured`].
static RECORDS: u8 = 0;

/// Measures coroutines for whoever resumes them without [`resume`].
#[derive(Clone, Copy)]
pub(crate) struct Meter {
    pub(crate) started: *const usize,
}

impl Meter {
    /// Measures nothing.
    pub(crate) const NONE: Meter = Meter { started: ptr::null() };

    /// The meter of a state. Pushes the table of records, or nil if the module was never opened.
    ///
    /// # Safety
    ///
    /// `state` is valid, with a free slot. The meter is good while the state lives.
    pub(crate) unsafe fn find(state: *mut lua_State) -> Meter {
        // SAFETY: promised by the caller.
        unsafe {
            ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, (&raw const RECORDS).cast());
            Meter { started: owner::measured(state) }
        }
    }

    /// Whether anybody is measured.
    #[inline]
    pub(crate) fn is_on(self) -> bool {
        // SAFETY: found by `find`, whose promise is that the state lives.
        !self.started.is_null() && unsafe { *self.started } > 0
    }

    /// The resume of `co` begins, or has ended. `records` is the slot of `desk` that has the table.
    ///
    /// # Safety
    ///
    /// Both are threads of one state, `desk` has a free slot, and no Lua runs on either.
    #[cold]
    pub(crate) unsafe fn mark(self, desk: *mut lua_State, records: c_int, co: *mut lua_State, begins: bool) {
        // SAFETY: promised by the caller; nothing here allocates. The table holds nothing but `Record`s.
        unsafe {
            owner::push_thread(desk, co);
            ffi::lua_rawget(desk, records);
            let record = ffi::lua_touserdata(desk, -1).cast::<Record>();
            ffi::lua_settop(desk, -2);
            if record.is_null() {
                return;
            }
            if begins {
                if (*record).since == 0 {
                    (*record).since = now();
                }
            } else if (*record).since != 0 {
                (*record).total += now().saturating_sub((*record).since);
                (*record).since = 0;
            }
        }
    }
}

const FUNCTIONS: [(&CStr, lua_CFunction); 4] =
    [(c"start", start), (c"stop", stop), (c"resume", resume), (c"wrap", wrap)];

/// Opens `skynet.profile`. Stack: 1 out.
///
/// # Safety
///
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` with 20 free slots; no destructor is pending when it raises.
    unsafe {
        ffi::lua_createtable(state, 0, FUNCTIONS.len() as c_int);
        ffi::lua_createtable(state, 0, 0);
        ffi::lua_createtable(state, 0, 1);
        ffi::lua_pushstring(state, c"k".as_ptr());
        ffi::lua_setfield(state, -2, c"__mode".as_ptr());
        ffi::lua_setmetatable(state, -2);
        ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, (&raw const RECORDS).cast());
        *owner::measured(state) = 0;
        for (name, function) in FUNCTIONS {
            ffi::lua_pushcfunction(state, function);
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
    }
    1
}

/// Puts `resume` and `wrap` of the module at the top of the stack in place of those of `coroutine`.
///
/// # Safety
///
/// `state` is a live state with the standard library open and three free slots, inside a protected call.
pub(crate) unsafe fn replace_coroutine(state: *mut lua_State) {
    // SAFETY: promised by the caller.
    unsafe {
        ffi::lua_getglobal(state, c"coroutine".as_ptr());
        for name in [c"resume", c"wrap"] {
            ffi::lua_getfield(state, -2, name.as_ptr());
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
        ffi::lua_settop(state, -2);
    }
}

/// CPU time of this thread, never 0.
fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64).max(1)
}

/// Pushes the table of records. Raises in a state that never had one, which has the function from a shared table.
///
/// # Safety
///
/// `state` runs a function of ours, with a free slot, and nothing with a destructor is alive.
unsafe fn push_records(state: *mut lua_State) {
    // SAFETY: promised by the caller.
    unsafe {
        if ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, (&raw const RECORDS).cast()) != ffi::LUA_TTABLE {
            ffi::luaL_error(state, c"skynet.profile is not open in this state".as_ptr());
        }
    }
}

/// The record of the coroutine at `index`, or null.
///
/// # Safety
///
/// As [`push_records`], with two free slots; `index` is not relative to the top. The pointer is good until Lua runs.
unsafe fn record(state: *mut lua_State, index: c_int) -> *mut Record {
    // SAFETY: the records are a table without `__index` that holds nothing but `Record`s, each kept by the table.
    unsafe {
        push_records(state);
        ffi::lua_pushvalue(state, index);
        ffi::lua_rawget(state, -2);
        let record = ffi::lua_touserdata(state, -1);
        ffi::lua_settop(state, -3);
        record.cast()
    }
}

/// Leaves one value on the stack: the coroutine that `start` and `stop` are about. Raises if an argument is none.
///
/// # Safety
///
/// As any Lua function before it made anything with a destructor.
unsafe fn subject(state: *mut lua_State) -> *mut lua_State {
    // SAFETY: `state` is valid.
    unsafe {
        if ffi::lua_gettop(state) > 0 {
            ffi::luaL_checktype(state, 1, ffi::LUA_TTHREAD);
            ffi::lua_settop(state, 1);
        } else {
            ffi::lua_pushthread(state);
        }
        ffi::lua_tothread(state, 1)
    }
}

/// Whether a coroutine is on the way right now: it runs, or waits for one that it resumed.
///
/// # Safety
///
/// `of` is a coroutine of a live state.
unsafe fn is_active(state: *mut lua_State, of: *mut lua_State) -> bool {
    // SAFETY: promised by the caller; `lua_getstack` only fills the record it is given.
    unsafe {
        let mut frame: ffi::lua_Debug = std::mem::zeroed();
        of == state || (ffi::lua_status(of) == ffi::LUA_OK && ffi::lua_getstack(of, 0, &mut frame) == 1)
    }
}

/// `profile.start(co?)`: measures a coroutine, the running one by default.
/// Raises if it is measured already.
unsafe extern "C-unwind" fn start(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; only `Copy` values live when a call raises.
    unsafe {
        let subject = subject(state);
        if !record(state, 1).is_null() {
            return ffi::luaL_error(
                state,
                c"Thread %p start profile more than once".as_ptr(),
                ffi::lua_topointer(state, 1),
            );
        }
        push_records(state);
        ffi::lua_pushvalue(state, 1);
        let fresh = ffi::lua_newuserdatauv(state, size_of::<Record>(), 0).cast::<Record>();
        fresh.write(Record { total: 0, since: if is_active(state, subject) { now() } else { 0 } });
        ffi::lua_rawset(state, -3);
        *owner::measured(state) += 1;
    }
    0
}

/// `profile.stop(co?): number`, the seconds that its resumes took since `start`.
/// Raises if it is not measured.
unsafe extern "C-unwind" fn stop(state: *mut lua_State) -> c_int {
    // SAFETY: as in `start`.
    unsafe {
        subject(state);
        let record = record(state, 1);
        if record.is_null() {
            return ffi::luaL_error(state, c"Call profile.start() before profile.stop()".as_ptr());
        }
        let Record { total, since } = *record;
        let running = if since == 0 { 0 } else { now().saturating_sub(since) };
        push_records(state);
        ffi::lua_pushvalue(state, 1);
        ffi::lua_pushnil(state);
        ffi::lua_rawset(state, -3);
        *owner::measured(state) -= 1;
        ffi::lua_pushnumber(state, (total + running) as f64 / 1e9);
    }
    1
}

/// Resumes the coroutine at `index` with the `arguments` values on top. Leaves its results, and their number; or its
/// error, and `None`.
///
/// # Safety
///
/// As any Lua function before it made anything with a destructor; `co` is the coroutine at `index`, which is not
/// relative to the top.
unsafe fn run(state: *mut lua_State, co: *mut lua_State, index: c_int, arguments: c_int) -> Option<c_int> {
    // SAFETY: promised by the caller. Results are moved where there is room for them.
    unsafe {
        ffi::luaL_checkstack(state, SLOTS, ptr::null());
        if ffi::lua_checkstack(co, arguments) == 0 {
            ffi::lua_settop(state, -arguments - 1);
            ffi::lua_pushstring(state, c"too many arguments to resume".as_ptr());
            return None;
        }
        if *owner::measured(state) > 0 {
            let record = record(state, index);
            // A coroutine that runs already cannot be resumed: its time goes on.
            if !record.is_null() && (*record).since == 0 {
                (*record).since = now();
            }
        }
        ffi::lua_xmove(state, co, arguments);
        let mut results = 0;
        let status = ffi::lua_resume(co, state, arguments, &mut results);
        let returned = status == ffi::LUA_OK || status == ffi::LUA_YIELD;
        let results = if returned { results } else { 1 };
        let fits = ffi::lua_checkstack(state, results.saturating_add(SLOTS)) != 0;
        if *owner::measured(state) > 0 && !is_active(state, co) {
            // The record may be another than before: it is looked up again.
            let record = record(state, index);
            if !record.is_null() && (*record).since != 0 {
                (*record).total += now().saturating_sub((*record).since);
                (*record).since = 0;
            }
        }
        if !fits {
            ffi::lua_settop(co, -results - 1);
            ffi::lua_pushstring(state, c"too many results to resume".as_ptr());
            return None;
        }
        ffi::lua_xmove(co, state, results);
        returned.then_some(results)
    }
}

/// `profile.resume(co, ...): boolean, ...`, as `coroutine.resume`.
unsafe extern "C-unwind" fn resume(state: *mut lua_State) -> c_int {
    // SAFETY: as in `start`.
    unsafe {
        let co = ffi::lua_tothread(state, 1);
        if co.is_null() {
            return luaL_typeerror(state, 1, c"thread".as_ptr());
        }
        let results = run(state, co, 1, ffi::lua_gettop(state) - 1);
        ffi::lua_pushboolean(state, c_int::from(results.is_some()));
        let results = results.unwrap_or(1);
        ffi::lua_insert(state, -results - 1);
        results + 1
    }
}

/// `profile.wrap(f): function`, as `coroutine.wrap`.
unsafe extern "C-unwind" fn wrap(state: *mut lua_State) -> c_int {
    // SAFETY: as in `start`.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TFUNCTION);
        let co = ffi::lua_newthread(state);
        ffi::lua_pushvalue(state, 1);
        ffi::lua_xmove(state, co, 1);
        ffi::lua_pushcclosure(state, wrapped, WRAPPED);
    }
    1
}

/// A function made by `wrap`. Errors go on to the caller, and close the coroutine; those that are strings say where.
unsafe extern "C-unwind" fn wrapped(state: *mut lua_State) -> c_int {
    // SAFETY: as in `start`; the upvalue is the coroutine that `wrap` made.
    unsafe {
        let index = ffi::lua_upvalueindex(WRAPPED);
        let co = ffi::lua_tothread(state, index);
        if let Some(results) = run(state, co, index, ffi::lua_gettop(state)) {
            return results;
        }
        let status = ffi::lua_status(co);
        let mut out_of_memory = status == ffi::LUA_ERRMEM;
        if status != ffi::LUA_OK && status != ffi::LUA_YIELD {
            // It died of the error: its pending variables are closed, which may change the error.
            out_of_memory = ffi::lua_closethread(co, state) == ffi::LUA_ERRMEM;
            ffi::lua_xmove(co, state, 1);
        }
        if !out_of_memory && ffi::lua_type(state, -1) == ffi::LUA_TSTRING {
            ffi::luaL_where(state, 1);
            ffi::lua_insert(state, -2);
            ffi::lua_concat(state, 2);
        }
        ffi::lua_error(state)
    }
}
