//! A node: everything that services share, and its start and stop.
//!
//! # Start
//! [`Node::new`]: daemon mode (before any thread is made), then arena, clock, tables. Then modules are registered, and
//! [`Node::start`]: the log service and its name; if it is not our own, its first turns, so that it is ready for the lines and
//! requests of all others; the bootstrap service, and only then threads. What they logged comes out in order.
//!
//! # Stop
//! When no service is left, or after ABORT. Workers go home after their turn; the last lines of the log are written, because
//! the log service goes last and drains its mailbox.
//!
//! # From skynet
//! skynet_start.c: skynet_start → [`Node::start`] and [`Node::wait`]; struct skynet_node → [`Node`]; G_NODE.total → `live`.

use std::{
    sync::{Arc, OnceLock},
    thread::{Builder, JoinHandle},
};

use skein_arena::{
    Arena, Block, Options, epoch,
    sync::{
        Mutex, RwLock,
        atomic::{
            AtomicBool, AtomicU32, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use crate::{
    Counters, Factory, Handle, Message, MessageType, SendError, Session, Settings, LaunchError, StartError,
    counters::{Dropped, NodeCounters},
    daemon::PidFile,
    env::Env,
    handle::{names::Names, table::HandleTable},
    mailbox::Pushed,
    monitor::{self, MonitorRest, Watch},
    native::{self, harbor::Gateway},
    sched::{
        Scheduled, WorkerCounters,
        quiet::Quiet,
        threads::{self, Scheduler},
    },
    service::{ModuleLoader, Modules, ServiceContext},
    signal::Signals,
    socket::{Sockets, System},
    timer::{
        self, Timer,
        clock::{Clock, SystemClock},
    },
};

/// What a thread of a node does.
type ThreadMain = Box<dyn FnOnce(&Arc<Node>) + Send>;

/// How many turns a log service may take to get ready: far more than any needs that is not busy for ever.
const LOGGER_TURNS: usize = 1000;

/// Stack of a thread: what C code in a service expects of one, and only reserved.
const STACK: usize = 8 << 20;

/// One node. Services hold it, so it lives until the last of them is gone.
pub struct Node {
    settings: Settings,
    env: Env,
    arena: Arena,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) handles: HandleTable<ServiceContext>,
    pub(crate) names: Names,
    pub(crate) modules: Modules,
    pub(crate) scheduler: Scheduler,
    pub(crate) timer: Timer,
    pub(crate) sockets: Sockets,
    pub(crate) watches: Box<[Watch]>,
    pub(crate) monitor_rest: MonitorRest,
    pub(crate) counters: NodeCounters,
    pub(crate) quiet: Quiet,
    pub(crate) gateway: RwLock<Option<Arc<Gateway>>>,
    pub(crate) profile: bool,
    /// Whom to tell of deaths (MONITOR); 0 is nobody.
    pub(crate) exit_monitor: AtomicU32,
    /// Handle of the log service; 0 until somebody looked it up.
    pub(crate) logger: AtomicU32,
    /// Services whose last turn has not ended, the harbor service not counted.
    pub(crate) live: AtomicUsize,
    pub(crate) aborting: AtomicBool,
    /// Who is told that the process is asked to end; 0 for nobody.
    pub(crate) stopper: AtomicU32,
    harbor: i32,
    threads: Mutex<Vec<JoinHandle<()>>>,
    pub(crate) signals: OnceLock<Signals>,
    pid_file: Mutex<Option<PidFile>>,
}

impl Node {
    /// A node that does nothing yet, with our native modules. With `daemon` in the settings the process goes to the
    /// background here, so no thread may run yet.
    ///
    /// # Errors
    /// A setting is wrong, the process cannot become a daemon, or the arena cannot be mapped.
    pub fn new(mut settings: Settings) -> Result<Arc<Self>, StartError> {
        settings.fill_defaults();
        let pid_file = settings.daemon().map(PidFile::daemonize).transpose()?;
        let limit = settings.arena_limit()?;
        let arena = Arena::private(&Options { limit })?;
        let system = Sockets::of_kernel(settings.socket_silence()?).map_err(StartError::Sockets)?;
        let node = Self::assemble(settings, arena, Arc::new(SystemClock::start()), system)?;
        *node.pid_file.lock().unwrap_or_else(|it| it.into_inner()) = pid_file;
        Ok(node)
    }

    /// A node of these parts. The settings are complete.
    pub(crate) fn assemble(
        mut settings: Settings,
        arena: Arena,
        clock: Arc<dyn Clock>,
        system: Box<dyn System>,
    ) -> Result<Arc<Self>, StartError> {
        settings.resolve_limits()?;
        let limit = settings.socket_limit()?;
        let threads = settings.threads()?;
        let node = Arc::new(Self {
            env: Env::new(&settings),
            arena,
            handles: HandleTable::new(settings.harbor() as u8),
            names: Names::default(),
            modules: Modules::new(settings.cpath())?,
            scheduler: Scheduler::new(threads),
            timer: Timer::new(clock.nanos() / 1_000_000),
            sockets: Sockets::new(system, limit, threads),
            watches: (0..threads).map(|_| Watch::default()).collect(),
            monitor_rest: MonitorRest::default(),
            counters: NodeCounters::default(),
            quiet: Quiet::default(),
            gateway: RwLock::new(None),
            profile: settings.profile(),
            exit_monitor: AtomicU32::new(0),
            logger: AtomicU32::new(0),
            live: AtomicUsize::new(0),
            aborting: AtomicBool::new(false),
            stopper: AtomicU32::new(0),
            harbor: settings.harbor(),
            threads: Mutex::new(Vec::new()),
            signals: OnceLock::new(),
            pid_file: Mutex::new(None),
            clock,
            settings,
        });
        native::register(&node);
        Ok(node)
    }

    /// Adds a native module, or replaces one.
    pub fn register(&self, module: &str, factory: Factory) {
        self.modules.register(module, factory);
    }

    /// Sets what loads modules that nobody registered from the shared objects of `cpath`. The first one stays.
    pub fn set_module_loader(&self, loader: ModuleLoader) {
        self.modules.set_loader(loader);
    }

    /// Has `hook` called by each worker in a quiet moment after services ended: what their memory came from may keep it for
    /// the thread that asks. Only the first hook counts.
    pub fn on_quiet(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.quiet.set(Box::new(hook));
    }

    /// Starts the node and serves it to its end.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn run(self: &Arc<Self>) -> Result<(), StartError> {
        self.start()?;
        self.wait();
        Ok(())
    }

    /// Launches the log service and the bootstrap service, and starts the threads. An empty `bootstrap` launches none: a
    /// Rust program may launch what it likes, before or after.
    ///
    /// # Errors
    /// One of the two did not start (the log has been written by then), or a thread could not be made.
    pub fn start(self: &Arc<Self>) -> Result<(), StartError> {
        // Before anything takes time: a hangup must not end the process.
        let signals = Signals::install().map_err(StartError::Signal)?;
        let _ = self.signals.set(signals);
        self.launch_logger()?;
        // While the log service gets ready nothing else lives; its end is not the node's.
        self.live.fetch_add(1, SeqCst);
        self.await_logger();
        self.live.fetch_sub(1, SeqCst);
        if self.aborting.load(SeqCst) {
            self.end_logger();
        } else {
            self.launch_bootstrap()?;
        }
        self.start_threads()
    }

    /// Waits for the end: no service is left.
    pub fn wait(self: &Arc<Self>) {
        let threads = core::mem::take(&mut *self.threads.lock().unwrap_or_else(|it| it.into_inner()));
        for thread in threads {
            // A panic of ours in a thread has been printed; the others go on to their end.
            let _ = thread.join();
        }
        *self.pid_file.lock().unwrap_or_else(|it| it.into_inner()) = None;
    }

    fn launch_logger(self: &Arc<Self>) -> Result<(), StartError> {
        let module = self.settings.log_service();
        let logger = self.launch(&module, self.settings.logger());
        let logger = logger.map_err(|problem| {
            if let LaunchError::Init { source, .. } = problem {
                // The log cannot tell; skynet's own line, which follows, does not.
                eprintln!("{module}: {source}");
            }
            StartError::Logger(module)
        })?;
        self.names.bind(b"logger", logger);
        Ok(())
    }

    /// Lets a log service of the application's own get ready, on this thread, as no worker runs yet: what the services behind it
    /// say while they start finds its handlers.
    fn await_logger(self: &Arc<Self>) {
        if self.settings.log_service() != native::LOGGER {
            threads::drain(self, LOGGER_TURNS);
        }
    }

    fn launch_bootstrap(self: &Arc<Self>) -> Result<(), StartError> {
        let line = self.settings.bootstrap();
        let text = line.trim_start();
        if text.is_empty() {
            return Ok(());
        }
        let (module, args) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        if self.launch(module, Some(args.as_bytes())).is_err() {
            self.log(Handle::NONE, format!("Bootstrap error : {line}\n").as_bytes());
            // No thread runs yet: the log's last lines are written here.
            self.abort();
            threads::drain(self, usize::MAX);
            return Err(StartError::Bootstrap(line));
        }
        Ok(())
    }

    fn start_threads(self: &Arc<Self>) -> Result<(), StartError> {
        let mut threads = self.threads.lock().unwrap_or_else(|it| it.into_inner());
        let mut spawn = |name: String, run: ThreadMain| {
            let node = Arc::clone(self);
            let thread = Builder::new().name(name).stack_size(STACK).spawn(move || run(&node));
            thread.map(|it| threads.push(it)).map_err(StartError::Thread)
        };
        if let Some(signals) = self.signals.get().cloned() {
            spawn("skein-signal".to_owned(), Box::new(move |node| signals.run(node)))?;
        }
        spawn("skein-monitor".to_owned(), Box::new(monitor::run))?;
        self.timer.prepare().map_err(StartError::Thread)?;
        spawn("skein-timer".to_owned(), Box::new(timer::run))?;
        for index in 0..self.scheduler.workers() {
            spawn(format!("skein-w{index}"), Box::new(move |node| threads::run(node, index)))?;
        }
        drop(threads);
        if self.live.load(SeqCst) == 0 {
            self.stop();
        }
        Ok(())
    }

    /// A service is gone.
    pub(crate) fn one_less(self: &Arc<Self>) {
        let left = self.live.fetch_sub(1, SeqCst) - 1;
        self.end_logger();
        if left == 0 {
            self.stop();
        }
    }

    /// Sends all threads home.
    fn stop(&self) {
        self.scheduler.close();
        self.timer.close();
        // The one that waits for sockets is not in its bed.
        self.sockets.wake();
        self.monitor_rest.close();
        if let Some(signals) = self.signals.get() {
            signals.close();
        }
    }

    /// Sends to an address on this node or another. `body` `None` is the NULL message.
    pub(crate) fn deliver(
        self: &Arc<Self>,
        to: Handle,
        source: Handle,
        ty: MessageType,
        session: Session,
        body: Option<Block>,
    ) -> Result<(), SendError> {
        if self.is_remote(to) {
            return self.deliver_remote(to, source, ty, session, body);
        }
        let block = match body {
            Some(block) => block,
            None => self.arena.envelope()?,
        };
        self.post(to, Message::new(block, source, session, ty))
    }

    /// Puts a message into the mailbox of a service of this node.
    #[inline]
    pub(crate) fn post(self: &Arc<Self>, to: Handle, message: Message) -> Result<(), SendError> {
        let guard = epoch::pin();
        let Some(ctx) = self.handles.find(to, &guard) else {
            self.counters.dropped(Dropped::NoDestination);
            return Err(SendError::NoDestination);
        };
        if ctx.refuses(message.ty()) {
            self.refused(to, message.into_block());
            return Ok(());
        }
        // SAFETY: the message is ours, and the pin keeps the mailbox (T1).
        match unsafe { ctx.mailbox.push(message.into_block().into_raw()) } {
            // SAFETY: the hold is ours to pass on, and the table's count lasts until the last turn (C2).
            Pushed::Schedule => self.schedule(unsafe { Scheduled::new(ctx.as_ptr()) }),
            Pushed::Queued => {}
            Pushed::Retired => {
                // SAFETY: by this outcome the hold is ours.
                let held = unsafe { ctx.mailbox.hold() };
                held.die(|header| {
                    // SAFETY: the mailbox gave us the message.
                    self.undelivered(to, unsafe { Block::from_raw(header) });
                });
            }
        }
        Ok(())
    }

    /// Whether an address is another node's: it has harbor bits, and not ours.
    pub fn is_remote(&self, handle: Handle) -> bool {
        handle.harbor() != 0 && handle.harbor() != self.harbor as u8
    }

    /// The configuration.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The environment: the configuration, and what services added.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// Where messages are made.
    pub fn arena(&self) -> Arena {
        self.arena
    }

    /// Time since start in 1/100 s; see [`crate::timer::clock`].
    pub fn now(&self) -> u64 {
        self.clock.ticks()
    }

    /// The wall clock's second at start.
    pub fn starttime(&self) -> u32 {
        self.clock.started()
    }

    /// Nanoseconds of a monotonic clock, for measuring.
    pub fn hpc(&self) -> u64 {
        crate::sched::tsc::monotonic()
    }

    /// Who has a local name, given with its dot.
    pub fn query(&self, name: &[u8]) -> Option<Handle> {
        self.names.find(name.strip_prefix(b".")?)
    }

    /// Gives a service a local name, without its dot. `false`: it is taken.
    pub fn bind_name(&self, name: &[u8], handle: Handle) -> bool {
        self.names.bind(name, handle)
    }

    /// The id of this node, as configured.
    pub fn harbor(&self) -> i32 {
        self.harbor
    }

    /// Whether an address is somebody's now.
    pub fn is_alive(&self, handle: Handle) -> bool {
        self.handles.find(handle, &epoch::pin()).is_some()
    }

    /// Looks at a service, if it exists.
    pub fn with_service<R>(&self, handle: Handle, look: impl FnOnce(&ServiceContext) -> R) -> Option<R> {
        self.handles.find(handle, &epoch::pin()).map(|it| look(&it))
    }

    /// What each worker did.
    pub fn worker_counters(&self) -> Vec<WorkerCounters> {
        self.scheduler.counters()
    }

    /// Everything that is counted.
    pub fn counters(&self) -> Counters {
        let (live, looks) = (self.live.load(Relaxed), self.scheduler.looks());
        self.counters.snapshot(live, self.timer.pending(), looks, self.worker_counters())
    }
}
