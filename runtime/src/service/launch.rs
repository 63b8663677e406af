//! The beginning of a service: from a module's name to an instance that has an address.
//!
//! The address exists before `init` runs, so the service can use it; messages that reach it wait until `init` succeeded.
//!
//! # From skynet
//! skynet_module.c: struct modules → [`Modules`]; skynet_context_new → [`Node::launch`].

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use skein_arena::sync::{Mutex, atomic::Ordering::SeqCst};

use super::{Factory, ServiceContext, turn};
use crate::{Handle, InitError, LaunchError, Node, StartError, sched::Scheduled};

/// Loads a module from a shared object: its path and the module's name in, or why not.
pub type ModuleLoader = Arc<dyn Fn(&Path, &str) -> Result<Factory, String> + Send + Sync>;

/// The modules of ours that an application may have its own of.
const REPLACEABLE: [&str; 2] = ["logger", "gate"];

/// The native modules of a node, by name.
pub struct Modules {
    factories: Mutex<HashMap<String, Factory>>,
    /// skynet's patterns of where other modules are.
    cpath: String,
    loader: OnceLock<ModuleLoader>,
}

impl Modules {
    /// No modules.
    ///
    /// # Errors
    /// A pattern of `cpath` has no `?`.
    pub(crate) fn new(cpath: String) -> Result<Self, StartError> {
        if cpath.split(';').any(|it| !it.is_empty() && !it.contains('?')) {
            return Err(StartError::ServicePath);
        }
        Ok(Self { factories: Mutex::new(HashMap::new()), cpath, loader: OnceLock::new() })
    }

    /// Adds a module, or replaces one.
    pub(crate) fn register(&self, name: &str, factory: Factory) {
        self.factories.lock().unwrap_or_else(|it| it.into_inner()).insert(name.to_owned(), factory);
    }

    /// Sets what loads modules that nobody registered, and lets the application's own take the place of ours. The first one stays.
    pub(crate) fn set_loader(&self, loader: ModuleLoader) {
        if self.loader.set(Arc::clone(&loader)).is_err() {
            return;
        }
        for name in REPLACEABLE {
            match self.own(name).map(|path| loader(&path, name)) {
                Some(Ok(factory)) => self.register(name, factory),
                Some(Err(why)) => eprintln!("try open {name} failed : {why}; the built-in one runs"),
                None => {}
            }
        }
    }

    /// The module, if need be from a shared object, which is kept then.
    ///
    /// # Errors
    /// Why the last place of `cpath` has none.
    fn find(&self, name: &str) -> Result<Factory, String> {
        // Loading runs the object's own code, which may ask for modules: the lock is not held meanwhile.
        let factories = || self.factories.lock().unwrap_or_else(|it| it.into_inner());
        if let Some(factory) = factories().get(name) {
            return Ok(Arc::clone(factory));
        }
        let mut why = String::new();
        for path in self.places(name) {
            let loaded = match self.loader.get() {
                Some(load) => load(&path, name),
                None => Err(format!("{}: this program loads no shared objects", path.display())),
            };
            match loaded {
                Ok(factory) => return Ok(Arc::clone(factories().entry(name.to_owned()).or_insert(factory))),
                Err(reason) => why = reason,
            }
        }
        Err(why)
    }

    /// The application's own module of a replaceable name: what `cpath` finds first, unless it is skynet's, which has a `snlua.so`
    /// beside it.
    fn own(&self, name: &str) -> Option<PathBuf> {
        let first = self.places(name).find(|it| it.is_file())?;
        (!first.with_file_name("snlua.so").is_file()).then_some(first)
    }

    /// Where the shared object of a module may be, in the order of `cpath`.
    fn places(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        let patterns = self.cpath.split(';').filter(|it| !it.is_empty());
        patterns.map(move |it| PathBuf::from(it.replace('?', name)))
    }
}

impl Node {
    /// Starts a service. `init` runs here; what it is sent runs on the workers.
    ///
    /// # Errors
    /// No such module (stderr says where it was looked for); `init` refused (the log says so).
    pub fn launch(self: &Arc<Self>, module: &str, args: Option<&[u8]>) -> Result<Handle, LaunchError> {
        let factory = self.modules.find(module).map_err(|why| {
            eprintln!("try open {module} failed : {why}");
            LaunchError::NoModule { module: module.to_owned() }
        })?;
        let mut instance = factory(self);
        let text = String::from_utf8_lossy(args.unwrap_or_default());
        let name = format!("{module} {text}");

        self.live.fetch_add(1, SeqCst);
        let registered = self
            .handles
            .register(|handle| Arc::new(ServiceContext::new(handle, Arc::clone(self), name.as_str().into())));
        let ctx = match registered {
            Ok(ctx) => ctx,
            Err(full) => {
                self.one_less();
                return Err(LaunchError::NoHandle(full.0));
            }
        };

        let init = catch_unwind(AssertUnwindSafe(|| instance.init(&ctx, args)))
            .unwrap_or_else(|panic| Err(InitError(turn::panic_text(&*panic))));
        if let Some(signaller) = instance.signaller() {
            let _ = ctx.signaller.set(signaller);
        }
        // SAFETY: the mailbox begins in our hold.
        unsafe { *ctx.instance() = Some(instance) };
        let handle = ctx.handle();
        match init {
            Ok(()) => {
                let mut line = format!("LAUNCH {module} ").into_bytes();
                line.extend_from_slice(args.unwrap_or_default());
                self.log(handle, &line);
                // The hold goes to a worker. SAFETY: C2, the table counts it.
                self.schedule(unsafe { Scheduled::new(Arc::as_ptr(&ctx)) });
                if self.aborting.load(SeqCst) {
                    // It came to life while the others were being retired.
                    self.retire(handle);
                }
                Ok(handle)
            }
            Err(source) => {
                self.log(handle, format!("error: launch {module} FAILED").as_bytes());
                self.retire(handle);
                // The last turn is ours: nobody else ever held it.
                // SAFETY: the hold is ours, and the service is retired: by us, or by its own `init`.
                unsafe { turn::end(&ctx) };
                Err(LaunchError::Init { module: module.to_owned(), source })
            }
        }
    }
}
