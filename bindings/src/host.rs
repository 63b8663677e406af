//! `snlua`: the service that runs Lua, one state for each.
//!
//! # Life
//! `init` makes no Lua state: it sends the argument text to the service itself. When a worker takes that message the
//! state is made, set up, and the loader is called; from then on messages go to the callback that `skynet.core`
//! installed. The state is closed in `release`, when the address is gone but sends still work, so that finalizers can
//! send. If anything before the first callback fails, the service says so in the log, tells `.launcher`, and exits.
//!
//! # Invariants
//! * **S1** Only the worker that runs the service touches its Lua state. Others reach its [`Memory`] only.
//! * **S2** The [`ServiceState`] that native functions find through the registry outlives the Lua state.
//! * **S3** What may allocate in Lua runs inside a protected call; outside of one are only calls that cannot raise.
//!
//! # From skynet
//! service_snlua.c: `snlua_init` → `Snlua::init`, `launch_cb` and `init_cb` → `Snlua::launch` and [`crate::ground`],
//! `report_launcher_error` → `Snlua::fail`, `snlua_signal` → `Snlua::signaller`, `snlua_release` →
//! `Snlua::release`.

use std::ffi::{CString, c_int, c_void};
use std::slice;
use std::sync::Arc;

use skein_runtime::{InitError, Message, MessageType, Node, Service, ServiceContext};
use skein_vm::ffi::{self, lua_State};
use skein_vm::interrupt;
use skein_vm::state::{Memory, State};

use crate::capi::running::Scope;
use crate::ground::Ground;
use crate::library::{self, Paths};
use crate::state::ServiceState;
use crate::{alloc, capi};

/// The module's name.
pub const MODULE: &str = "snlua";

const MIB: f64 = 1048576.0;

/// Makes `snlua` known to a node.
pub fn register(node: &Arc<Node>) {
    library::install();
    capi::register(node);
    node.register(MODULE, Arc::new(|_| Box::new(Snlua::default())));
}

/// One Lua service.
#[derive(Default)]
struct Snlua {
    // In this order: the Lua state goes before what its functions use (S2).
    lua: Option<State>,
    service: Option<Box<ServiceState>>,
    memory: Option<Arc<Memory>>,
    signaller: Option<Arc<dyn Fn(i32) + Send + Sync>>,
    started: bool,
}

// SAFETY: `service` holds pointers into the Lua state, and cells; both are used by the worker that runs the service
// only (S1), and a service goes from worker to worker with the hand-over of its mailbox.
unsafe impl Send for Snlua {}

impl Service for Snlua {
    fn init(&mut self, ctx: &Arc<ServiceContext>, args: Option<&[u8]>) -> Result<(), InitError> {
        let memory = alloc::memory_of(ctx);
        self.signaller = Some(signaller(ctx, &memory));
        self.memory = Some(memory);
        let text = ctx.node().arena().copy_from(args.unwrap_or_default())?;
        ctx.send(ctx.handle(), None, MessageType::TEXT, Some(0), Some(text))?;
        Ok(())
    }

    fn dispatch(&mut self, ctx: &Arc<ServiceContext>, message: Message) {
        if let (true, Some(service)) = (self.started, &self.service) {
            let _scope = Scope::lua(service);
            // SAFETY: the runtime runs one message of a service at a time, and no Lua function is left running.
            unsafe { service.deliver(message) };
        } else if !self.started && message.source() == ctx.handle() && message.session() == 0 {
            self.started = true;
            if let Err(line) = self.launch(ctx, &message) {
                self.fail(ctx, &line);
            }
        }
    }

    fn release(&mut self, ctx: &Arc<ServiceContext>) {
        // Finalizers run, and may call C code.
        let scope = self.service.as_deref().map(Scope::lua);
        self.lua = None;
        drop(scope);
        self.service = None;
        alloc::forget(ctx);
    }

    fn signaller(&self) -> Option<Arc<dyn Fn(i32) + Send + Sync>> {
        self.signaller.clone()
    }
}

/// What SIGNAL calls, from any thread: 0 breaks into running code, 1 tells the memory.
fn signaller(ctx: &Arc<ServiceContext>, memory: &Arc<Memory>) -> Arc<dyn Fn(i32) + Send + Sync> {
    let (ctx, memory) = (Arc::downgrade(ctx), Arc::clone(memory));
    Arc::new(move |signal| {
        let Some(ctx) = ctx.upgrade() else { return };
        ctx.log(format!("recv a signal {signal}"));
        match signal {
            0 => {
                memory.interrupt();
            }
            1 => ctx.log(format!("Current Memory {:.3}K", memory.used() as f64 / 1024.0)),
            _ => {}
        }
    })
}

impl Snlua {
    /// Makes the state and runs the loader. The error is the line for the log.
    fn launch(&mut self, ctx: &Arc<ServiceContext>, args: &[u8]) -> Result<(), Vec<u8>> {
        let memory = self.memory.clone().ok_or("snlua: no memory")?;
        let env = |key: &str| {
            let value = ctx.command("GETENV", key.as_bytes())?;
            Some(String::from_utf8_lossy(&value).into_owned())
        };
        let paths = Paths::new(env);
        if let Some(line) = library::notice(&paths) {
            ctx.log(line);
        }
        let ground = Ground::new(&paths, env("preload"))?;
        let service = self.service.insert(ServiceState::new(Arc::clone(ctx)));
        let copy = ground.state(ctx, &memory, service);
        let is_copy = copy.is_some();
        let lua = copy.or_else(|| State::new(Arc::clone(&memory)));
        let state = self.lua.insert(lua.ok_or("lua loader error : not enough memory")?).as_ptr();
        let start = Start { args, loader: text(&paths.loader)? };
        // SAFETY: a fresh state of ours with 20 free slots; none of these calls raises (S3). `start` outlives them.
        unsafe {
            let at = (&raw const start).cast_mut().cast::<c_void>();
            let _running = interrupt::enter(state);
            let _scope = Scope::lua(service);
            if !is_copy {
                ground.set_up(state, service).map_err(|error| line("lua loader error : ", &error))?;
            }
            ffi::lua_pushcfunction(state, traceback);
            protected(state, load, at, 2)
                .map_err(|error| line(&format!("Can't load {} : ", paths.loader), &error))?;
            if ffi::lua_pcall(state, 1, 0, 1) != ffi::LUA_OK {
                return Err(line("lua loader error : ", &top(state)));
            }
            ffi::lua_settop(state, 0);
            let mut limit = 0.0;
            protected(state, take_limit, (&raw mut limit).cast(), 0)
                .map_err(|error| line("lua loader error : ", &error))?;
            if limit > 0.0 {
                memory.set_limit(limit as usize);
                ctx.log(format!("Set memory limit to {:.2} M", limit / MIB));
            }
            ffi::lua_gc(state, ffi::LUA_GCRESTART);
        }
        Ok(())
    }

    /// The end of a service that did not start.
    fn fail(&self, ctx: &Arc<ServiceContext>, line: &[u8]) {
        ctx.log(line);
        // Without a launcher, or without room for five bytes, nobody is told: the log has it.
        if let Ok(text) = ctx.node().arena().copy_from(b"ERROR") {
            let _ = ctx.send_name(b".launcher", None, MessageType::TEXT, Some(0), Some(text));
        }
        ctx.command("EXIT", b"");
    }
}

/// What the protected steps of a launch need; they see it through a light userdata.
struct Start<'a> {
    args: &'a [u8],
    loader: CString,
}

pub(crate) fn text(value: &str) -> Result<CString, Vec<u8>> {
    CString::new(value)
        .map_err(|_| format!("lua loader error : a path has a zero byte: {value:?}").into_bytes())
}

fn line(what: &str, error: &[u8]) -> Vec<u8> {
    [what.as_bytes(), error].concat()
}

/// Calls `step` with one light userdata. Its results stay on the stack; an error does not.
///
/// # Safety
///
/// `state` is a state of ours with two free slots, and `step` may be called with `data`.
pub(crate) unsafe fn protected(
    state: *mut lua_State,
    step: ffi::lua_CFunction,
    data: *mut c_void,
    results: c_int,
) -> Result<(), Vec<u8>> {
    // SAFETY: promised by the caller; neither push allocates.
    unsafe {
        ffi::lua_pushcfunction(state, step);
        ffi::lua_pushlightuserdata(state, data);
        if ffi::lua_pcall(state, 1, results, 0) == ffi::LUA_OK { Ok(()) } else { Err(top(state)) }
    }
}

/// Takes the error off the top of the stack.
///
/// # Safety
///
/// `state` is a state of ours with a value on it.
unsafe fn top(state: *mut lua_State) -> Vec<u8> {
    // SAFETY: a string is not converted, so nothing allocates; it stays on the stack while it is copied.
    unsafe {
        let mut error = b"(error object is not a string)".to_vec();
        if ffi::lua_type(state, -1) == ffi::LUA_TSTRING {
            let mut len = 0;
            let at = ffi::lua_tolstring(state, -1, &mut len);
            error = slice::from_raw_parts(at.cast::<u8>(), len).to_vec();
        }
        ffi::lua_settop(state, -2);
        error
    }
}

/// Loads the loader, and leaves it and its argument. Argument: a [`Start`].
unsafe extern "C-unwind" fn load(state: *mut lua_State) -> c_int {
    // SAFETY: `launch` passes its `Start`, which lives until we return. We only borrow from it: raising skips nothing.
    unsafe {
        let start = &*ffi::lua_touserdata(state, 1).cast::<Start<'_>>();
        if ffi::luaL_loadfile(state, start.loader.as_ptr()) != ffi::LUA_OK {
            ffi::lua_error(state);
        }
        ffi::lua_pushlstring(state, start.args.as_ptr().cast(), start.args.len());
    }
    2
}

/// Takes what `skynet.memlimit` left in the registry. Argument: an `f64`.
unsafe extern "C-unwind" fn take_limit(state: *mut lua_State) -> c_int {
    // SAFETY: `launch` passes a number of its own.
    unsafe {
        let limit = ffi::lua_touserdata(state, 1).cast::<f64>();
        if ffi::lua_getfield(state, ffi::LUA_REGISTRYINDEX, c"memlimit".as_ptr()) == ffi::LUA_TNUMBER {
            *limit = ffi::lua_tonumber(state, -1);
        }
        ffi::lua_pushnil(state);
        ffi::lua_setfield(state, ffi::LUA_REGISTRYINDEX, c"memlimit".as_ptr());
    }
    0
}

/// Message handler of the loader: the error with a traceback. As in skynet, what is no string is not shown.
unsafe extern "C-unwind" fn traceback(state: *mut lua_State) -> c_int {
    // SAFETY: called by Lua with the error in slot 1; nothing with a destructor is alive.
    unsafe {
        let text = ffi::lua_tolstring(state, 1, std::ptr::null_mut());
        if text.is_null() {
            ffi::lua_pushstring(state, c"(no error message)".as_ptr());
        } else {
            ffi::luaL_traceback(state, state, text, 1);
        }
    }
    1
}
