//! What every Lua service stands on when its loader begins: the libraries, the native modules, and the modules behind
//! `require "skynet"`. Made once, and copied for each service ([`skein_vm::image`]).
//!
//! The image has the modules of `lualib/skein/ready.lua` in `package.loaded`, if all of them are the built-in ones; a file of the
//! application's that stands before one of them is seen when the image is made, at the first launch and at the first one after
//! `codecache.clear()`. Without an image each state is set up by itself, to the same effect.
//!
//! # From skynet
//! service_snlua.c: `init_cb`, up to where it loads the loader → [`Ground::set_up`].

use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr;
use std::sync::{Arc, Mutex};

use skein_runtime::ServiceContext;
use skein_vm::ffi::{self, lua_State};
use skein_vm::image::{Image, Place, share_names};
use skein_vm::state::{Memory, State};
use skein_vm::{cache, interrupt};

use crate::capi::running::Scope;
use crate::dispatch::{Dispatcher, Places};
use crate::host::{protected, text};
use crate::library::Paths;
use crate::state::{CONTEXT_KEY, SERVICE_KEY, ServiceState};
use crate::{PRELOADED, codecache, profile, raw, search};

/// What makes the rest of the image, in Lua.
const READY: &CStr = c"skein:/lualib/skein/ready.lua";

/// Images that are kept: a process has one set of paths, tests have several.
const KEPT: usize = 4;

/// How often two states are made that turn out to be unlike.
const TRIES: usize = 12;

/// Settings that a state is set up with.
pub(crate) struct Ground {
    globals: [(&'static CStr, Option<CString>); 4],
}

/// A set-up state that can be had again.
struct Copies {
    /// What it was made from; the names of code that the process had forgotten by then.
    globals: [Option<CString>; 4],
    clears: usize,
    /// Nothing if there can be none.
    of: Option<Arc<Original>>,
}

struct Original {
    image: Image,
    pairs: Place,
    dispatcher: Option<Places>,
}

static COPIES: Mutex<Vec<Copies>> = Mutex::new(Vec::new());

/// A state that an image is made from. In this order: the Lua state goes before what its functions use.
struct Mould {
    lua: State,
    service: Box<ServiceState>,
}

impl Ground {
    /// The ground for services with these paths.
    ///
    /// # Errors
    ///
    /// The line for the log: one of the settings cannot be a Lua global.
    pub(crate) fn new(paths: &Paths, preload: Option<String>) -> Result<Self, Vec<u8>> {
        Ok(Self {
            globals: [
                (c"LUA_PATH", Some(text(&paths.lua_path)?)),
                (c"LUA_CPATH", Some(text(&paths.lua_cpath)?)),
                (c"LUA_SERVICE", Some(text(&paths.services)?)),
                (c"LUA_PRELOAD", preload.map(|it| text(&it)).transpose()?),
            ],
        })
    }

    /// A state that is set up, its collector stopped. `None`: there is no image, or no room.
    pub(crate) fn state(
        &self,
        ctx: &Arc<ServiceContext>,
        memory: &Arc<Memory>,
        service: &ServiceState,
    ) -> Option<State> {
        let original = self.original(ctx)?;
        let outside = [ptr::from_ref(service).expose_provenance(), Arc::as_ptr(ctx).expose_provenance()];
        // SAFETY: the functions in the image take these addresses for those of a service and its context, and they are.
        let lua = unsafe { original.image.state(Arc::clone(memory), &outside) }?;
        service.pairs.set(original.pairs.of::<c_void>(&lua));
        if let Some(places) = &original.dispatcher {
            service.install_dispatcher(|ctx| Dispatcher::copied(ctx, places, &lua));
        }
        Some(lua)
    }

    /// The image for these settings, made if there is none.
    fn original(&self, ctx: &Arc<ServiceContext>) -> Option<Arc<Original>> {
        // A panic while it was held would have been while an image was made: those that are there are whole.
        let mut copies = COPIES.lock().unwrap_or_else(|broken| broken.into_inner());
        let clears = cache::clears();
        copies.retain(|it| it.clears == clears);
        let same = |it: &&Copies| it.globals.iter().eq(self.globals.iter().map(|(_, value)| value));
        if let Some(found) = copies.iter().find(same) {
            return found.of.clone();
        }
        let of = self.make(ctx).map(Arc::new);
        copies.truncate(KEPT - 1);
        let globals = self.globals.each_ref().map(|(_, value)| value.clone());
        copies.insert(0, Copies { globals, clears, of: of.clone() });
        of
    }

    /// Sets up two states and compares them. One before them has the code frozen, and its names
    /// shared, so that all strings are where they will stay.
    fn make(&self, ctx: &Arc<ServiceContext>) -> Option<Original> {
        let mould = self.mould(ctx)?;
        // SAFETY: we alone have it, and do not run it.
        unsafe { share_names(&mould.lua) };
        drop(mould);
        (0..TRIES).find_map(|_| self.compare(ctx))
    }

    fn compare(&self, ctx: &Arc<ServiceContext>) -> Option<Original> {
        let (first, second) = (self.mould(ctx)?, self.mould(ctx)?);
        let service = |it: &Mould| ptr::from_ref(&*it.service).addr();
        let context = Arc::as_ptr(ctx).addr();
        let outside = [(service(&first), service(&second)), (context, context)];
        // SAFETY: we alone have them, and run neither.
        let image = unsafe { Image::of(&first.lua, &second.lua, &outside) }?;
        Some(Original {
            pairs: image.place(first.service.pairs.get().addr()),
            dispatcher: first.service.dispatcher().map(|it| it.places(&image)),
            image,
        })
    }

    fn mould(&self, ctx: &Arc<ServiceContext>) -> Option<Mould> {
        let service = ServiceState::new(Arc::clone(ctx));
        let mould = Mould { lua: State::new(Memory::for_image()?)?, service };
        let state = mould.lua.as_ptr();
        // SAFETY: a fresh state of ours with 20 free slots; none of these calls raises.
        unsafe {
            let _running = interrupt::enter(state);
            let _scope = Scope::lua(&mould.service);
            self.set_up(state, &mould.service).ok()?;
            protected(state, ready, ptr::null_mut(), 0).ok()?;
            ffi::lua_gc(state, ffi::LUA_GCCOLLECT);
            ffi::lua_settop(state, 0);
        }
        Some(mould)
    }

    /// Makes a fresh state what a loader expects, its collector stopped.
    ///
    /// # Errors
    ///
    /// What Lua raised.
    ///
    /// # Safety
    ///
    /// `state` is a fresh state of ours, for `service`, which outlives it.
    pub(crate) unsafe fn set_up(&self, state: *mut lua_State, service: &ServiceState) -> Result<(), Vec<u8>> {
        let start = (self, service);
        // SAFETY: promised by the caller; `start` outlives the call.
        unsafe {
            ffi::lua_gc(state, ffi::LUA_GCSTOP);
            protected(state, open_all, (&raw const start).cast_mut().cast(), 0)
        }
    }
}

/// Everything a Lua service finds before its loader runs. Argument: a ground and the service.
unsafe extern "C-unwind" fn open_all(state: *mut lua_State) -> c_int {
    // SAFETY: `set_up` passes what lives until we return. We only borrow from it: raising skips nothing.
    unsafe {
        let (ground, service) = *ffi::lua_touserdata(state, 1).cast::<(&Ground, &ServiceState)>();
        // LUA_PATH and its kin of the environment are not for services.
        ffi::lua_pushboolean(state, 1);
        ffi::lua_setfield(state, ffi::LUA_REGISTRYINDEX, c"LUA_NOENV".as_ptr());
        // The change goes over all there is: as long as that is nothing, it costs nothing.
        ffi::lua_gc(state, ffi::LUA_GCGEN);
        ffi::luaL_openlibs(state);
        search::install(state);
        ffi::luaL_requiref(state, c"skynet.profile".as_ptr(), profile::open, 0);
        profile::replace_coroutine(state);
        ffi::lua_settop(state, 1);
        ffi::lua_pushlightuserdata(state, ptr::from_ref(service).cast_mut().cast());
        ffi::lua_setfield(state, ffi::LUA_REGISTRYINDEX, SERVICE_KEY.as_ptr());
        ffi::lua_pushlightuserdata(state, Arc::as_ptr(service.context()).cast_mut().cast());
        ffi::lua_setfield(state, ffi::LUA_REGISTRYINDEX, CONTEXT_KEY.as_ptr());
        ffi::luaL_requiref(state, c"skynet.codecache".as_ptr(), codecache::open, 0);
        ffi::luaL_getsubtable(state, ffi::LUA_REGISTRYINDEX, c"_PRELOAD".as_ptr());
        // Names and places of dozens of modules would cost each service more than those that it uses.
        ffi::lua_createtable(state, 0, 1);
        ffi::lua_pushcfunction(state, preloaded);
        ffi::lua_setfield(state, -2, c"__index".as_ptr());
        ffi::lua_setmetatable(state, -2);
        for (name, value) in &ground.globals {
            if let Some(value) = value {
                ffi::lua_pushstring(state, value.as_ptr());
                ffi::lua_setglobal(state, name.as_ptr());
            }
        }
    }
    0
}

/// What `package.preload` has for a name that is not in it: the opener of a native module.
unsafe extern "C-unwind" fn preloaded(state: *mut lua_State) -> c_int {
    // SAFETY: called by Lua, with the table and the key; nothing with a destructor is alive.
    unsafe {
        let name = match ffi::lua_type(state, 2) {
            ffi::LUA_TSTRING => raw::bytes(state, 2).unwrap_or_default(),
            _ => b"",
        };
        match PRELOADED.iter().find(|(it, _)| it.to_bytes() == name) {
            Some(&(_, open)) => ffi::lua_pushcfunction(state, open),
            None => ffi::lua_pushnil(state),
        }
    }
    1
}

/// Runs [`READY`]. The argument is not used.
unsafe extern "C-unwind" fn ready(state: *mut lua_State) -> c_int {
    // SAFETY: called by Lua; nothing with a destructor is alive when it raises.
    unsafe {
        if ffi::luaL_loadfile(state, READY.as_ptr()) != ffi::LUA_OK {
            ffi::lua_error(state);
        }
        ffi::lua_call(state, 0, 0);
    }
    0
}
