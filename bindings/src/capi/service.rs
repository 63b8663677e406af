//! A shared object of `cpath` as a service.
//!
//! `NAME.so` has the functions `NAME_create` (optional), `NAME_init`, `NAME_release` (optional) and `NAME_signal` (optional);
//! of a name with dots the part behind the last one counts. An object is loaded once and stays.
//!
//! # Invariants
//! * **C1** The instance is used by the worker that runs the service; `NAME_signal` may be called by any thread, and not
//!   once `NAME_release` has begun.
//!
//! # From skynet
//! skynet_module.c: struct skynet_module → [`Module`]; skynet_context's `instance`, `cb` and `cb_ud` → [`CService`].

use std::cell::{Cell, RefCell};
use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;
use std::sync::{Arc, PoisonError, RwLock};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};
use skein_arena::Block;
use skein_runtime::{Factory, InitError, Message, MessageType, Service, ServiceContext, Signaller};

use super::running::{Call, Scope};
use super::{held, socket};

type Create = unsafe extern "C" fn() -> *mut c_void;
type Init = unsafe extern "C" fn(*mut c_void, *const ServiceContext, *const c_char) -> c_int;
type Release = unsafe extern "C" fn(*mut c_void);
type Signal = unsafe extern "C" fn(*mut c_void, c_int);

/// `skynet_cb`: (context, ud, type, session, source, msg, sz); 0 frees the message, anything else keeps it.
pub(super) type CallbackFn = unsafe extern "C" fn(
    *const ServiceContext,
    *mut c_void,
    c_int,
    c_int,
    u32,
    *const c_void,
    usize,
) -> c_int;

/// What `skynet_callback` was given.
#[derive(Clone, Copy)]
pub(super) struct Callback {
    pub(super) function: Option<CallbackFn>,
    pub(super) ud: *mut c_void,
}

/// A loaded object.
struct Module {
    name: String,
    create: Option<Create>,
    init: Init,
    release: Option<Release>,
    signal: Option<Signal>,
    /// The functions are in it.
    _library: Library,
}

/// What a module without `create` has for an instance, as in skynet: not NULL.
const NO_INSTANCE: *mut c_void = ptr::without_provenance_mut(usize::MAX);

/// An instance, until its release.
struct Instance(RwLock<Option<*mut c_void>>);

// SAFETY: C1; what `NAME_signal` does with it from other threads is the module's part of the bargain.
unsafe impl Send for Instance {}
// SAFETY: as above.
unsafe impl Sync for Instance {}

/// One service.
struct CService {
    module: Arc<Module>,
    instance: Arc<Instance>,
    callback: Cell<Callback>,
    drains: bool,
}

// SAFETY: the callback and its `ud` are used by the worker that runs the service (C1).
unsafe impl Send for CService {}

/// Loads the module `name` from `path`.
///
/// # Errors
/// What the system's loader says, or which function is missing.
pub(super) fn load(path: &Path, name: &str) -> Result<Factory, String> {
    // SAFETY: the object's constructors run. Whoever puts it on `cpath` wants that.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }.map_err(|it| reason(&it))?;
    let short = name.rsplit('.').next().unwrap_or(name);
    // SAFETY: the types are those of skynet's interface.
    let module = unsafe {
        Module {
            name: name.to_owned(),
            create: function(&library, short, "create"),
            init: function(&library, short, "init")
                .ok_or_else(|| format!("{}: there is no function {short}_init", path.display()))?,
            release: function(&library, short, "release"),
            signal: function(&library, short, "signal"),
            _library: library,
        }
    };
    let module = Arc::new(module);
    Ok(Arc::new(move |node| {
        // SAFETY: as above.
        let instance = module.create.map_or(NO_INSTANCE, |create| unsafe { create() });
        Box::new(CService {
            module: Arc::clone(&module),
            instance: Arc::new(Instance(RwLock::new((!instance.is_null()).then_some(instance)))),
            callback: Cell::new(Callback { function: None, ud: ptr::null_mut() }),
            drains: node.settings().log_service() == module.name,
        })
    }))
}

/// What `dlerror` said.
fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// # Safety
/// `F` is the type of the function.
unsafe fn function<F: Copy>(library: &Library, module: &str, name: &str) -> Option<F> {
    // SAFETY: by the caller's promise.
    let symbol: Symbol<F> = unsafe { library.get(format!("{module}_{name}\0").as_bytes()) }.ok()?;
    Some(*symbol)
}

impl Service for CService {
    fn init(&mut self, ctx: &Arc<ServiceContext>, args: Option<&[u8]>) -> Result<(), InitError> {
        let name = &self.module.name;
        let Some(instance) = self.instance.get() else {
            return Err(format!("{name}: create gave no instance").into());
        };
        let args = args.map(CString::new).transpose();
        let args = args.map_err(|it| format!("{name}: the arguments have a NUL: {it}"))?;
        let text = args.as_ref().map_or(ptr::null(), |it| it.as_ptr());
        let call = self.call(ctx, None);
        let _scope = Scope::native(&call);
        // SAFETY: the function has this type, the context lives, and the text ends in a NUL.
        match unsafe { (self.module.init)(instance, Arc::as_ptr(ctx), text) } {
            0 => Ok(()),
            status => Err(format!("{name}: init answered {status}").into()),
        }
    }

    fn dispatch(&mut self, ctx: &Arc<ServiceContext>, message: Message) {
        let Callback { function: Some(function), ud } = self.callback.get() else { return };
        let (ty, session, source) = (message.ty().0, message.session(), message.source().0);
        let (at, size) = (message.as_ptr(), message.len());
        let mut block = message.into_block();
        if ty == MessageType::SOCKET.0 {
            socket::adopt(&mut block);
        }
        let call = self.call(ctx, Some(block));
        let scope = Scope::native(&call);
        // SAFETY: who installed the callback promised that it may be called so. The bytes stay until it gives them away.
        let kept =
            unsafe { function(Arc::as_ptr(ctx), ud, c_int::from(ty), session, source, at.cast(), size) };
        drop(scope);
        match (call.message.into_inner(), kept) {
            (Some(block), 0) => drop(block),
            (Some(block), _) => held::keep(block),
            (None, 0) if !at.is_null() => ctx.log(format!(
                "error: {}: the callback gave its message (type {ty}, {size} bytes) away and answered 0; it should answer 1",
                self.module.name
            )),
            (None, _) => {}
        }
    }

    fn release(&mut self, ctx: &Arc<ServiceContext>) {
        let instance = self.instance.0.write().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(instance), Some(release)) = (instance, self.module.release) {
            let call = self.call(ctx, None);
            let _scope = Scope::native(&call);
            // SAFETY: nobody has the instance any more (C1).
            unsafe { release(instance) };
        }
    }

    fn signaller(&self) -> Option<Signaller> {
        let signal = self.module.signal?;
        let instance = Arc::clone(&self.instance);
        Some(Arc::new(move |number| {
            let instance = instance.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(instance) = *instance {
                // SAFETY: the module takes signals from any thread, and its instance stays while we hold the lock (C1).
                unsafe { signal(instance, number) };
            }
        }))
    }

    fn drains(&self) -> bool {
        self.drains
    }
}

impl CService {
    fn call(&self, ctx: &Arc<ServiceContext>, message: Option<Block>) -> Call {
        Call { context: Arc::as_ptr(ctx), callback: &raw const self.callback, message: RefCell::new(message) }
    }
}

impl Instance {
    fn get(&self) -> Option<*mut c_void> {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}
