//! Nodes and services for tests: a service is a closure, a log is a file that can be read.
#![allow(dead_code, reason = "every test file uses its part of it")]

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use skein_arena::Block;
use skein_runtime::{Handle, InitError, Message, MessageType, Node, Service, ServiceContext, Settings};
use tempfile::TempDir;

pub(crate) type Context = Arc<ServiceContext>;

/// A running node whose log is a file. Dropping it ends the node.
pub(crate) struct World {
    pub(crate) node: Arc<Node>,
    pub(crate) dir: TempDir,
    /// Held from the making of a module to its launch: threads of a test may launch under one name.
    launching: Mutex<()>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_, _| {})
    }

    /// A node with two workers and no bootstrap service; `change` may say otherwise.
    pub(crate) fn with(change: impl FnOnce(&mut Settings, &TempDir)) -> Self {
        let world = Self::idle(change);
        world.node.start().unwrap();
        world
    }

    /// The same before its start.
    pub(crate) fn idle(change: impl FnOnce(&mut Settings, &TempDir)) -> Self {
        let dir = TempDir::new().unwrap();
        let mut settings = Settings::new();
        settings.set("thread", "2").set("bootstrap", "").set("harbor", "0");
        settings.set("logger", dir.path().join("log").as_os_str().as_encoded_bytes());
        change(&mut settings, &dir);
        Self { node: Node::new(settings).unwrap(), dir, launching: Mutex::new(()) }
    }

    /// Launches a service that handles its messages with `dispatch`.
    pub(crate) fn service(
        &self,
        name: &str,
        dispatch: impl FnMut(&Context, Message) + Send + 'static,
    ) -> Handle {
        self.launch(name, None, Closure { dispatch: Box::new(dispatch), release: None })
    }

    /// Launches a service that is made already.
    pub(crate) fn launch(&self, name: &str, args: Option<&[u8]>, service: impl Service + 'static) -> Handle {
        let _launching = self.launching.lock().unwrap();
        once(&self.node, name, service);
        self.node.launch(name, args).unwrap()
    }

    /// The context of a service that handles nothing: from here a test sends and commands.
    pub(crate) fn puppet(&self) -> Context {
        let (give, take) = mpsc::channel();
        self.launch("puppet", None, Puppet(give));
        take.recv().unwrap()
    }

    /// A puppet whose messages come out of a channel.
    pub(crate) fn ear(&self) -> (Context, mpsc::Receiver<Heard>) {
        let (hear, heard) = mpsc::channel();
        let (give, take) = mpsc::channel();
        self.launch("ear", None, Ear { give, hear });
        (take.recv().unwrap(), heard)
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// The lines of the log without their time, once it has a line that ends so.
    pub(crate) fn log_until(&self, end: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let found = eventually(|| {
            lines = self.log();
            lines.iter().any(|line| line.ends_with(end))
        });
        assert!(found, "no line ends with {end:?}: {lines:#?}");
        lines
    }

    /// The lines of the log without their time.
    pub(crate) fn log(&self) -> Vec<String> {
        let text = fs::read(self.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().map(|line| line.get(21..).unwrap_or(line).to_owned()).collect()
    }

    pub(crate) fn block(&self, bytes: &[u8]) -> Option<Block> {
        Some(self.node.arena().copy_from(bytes).unwrap())
    }

    /// Ends the node, and gives back its last log.
    pub(crate) fn end(self) -> Vec<String> {
        self.node.abort();
        self.node.wait();
        self.log()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.node.abort();
        self.node.wait();
    }
}

/// What an [`World::ear`] heard: source, type, session, bytes (`None` without a body).
#[derive(Debug, PartialEq)]
pub(crate) struct Heard {
    pub(crate) source: Handle,
    pub(crate) ty: MessageType,
    pub(crate) session: i32,
    pub(crate) body: Option<Vec<u8>>,
}

impl Heard {
    pub(crate) fn of(message: &Message) -> Self {
        let body = message.has_body().then(|| message.to_vec());
        Self { source: message.source(), ty: message.ty(), session: message.session(), body }
    }
}

/// The next message, or a failure that names the test.
#[track_caller]
pub(crate) fn hear(heard: &mpsc::Receiver<Heard>) -> Heard {
    heard.recv_timeout(Duration::from_secs(10)).expect("a message within 10 s")
}

/// Waits for a condition that other threads bring about.
pub(crate) fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        if Instant::now() > until {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Registers a module whose first instance is this service.
pub(crate) fn once(node: &Arc<Node>, name: &str, service: impl Service + 'static) {
    let slot = Mutex::new(Some(service));
    let factory = move |_: &Arc<Node>| -> Box<dyn Service> {
        Box::new(slot.lock().unwrap().take().expect("launched once"))
    };
    node.register(name, Arc::new(factory));
}

type Release = Box<dyn FnOnce(&Context) + Send>;
type Dispatch = Box<dyn FnMut(&Context, Message) + Send>;

/// A service of closures.
pub(crate) struct Closure {
    pub(crate) dispatch: Dispatch,
    pub(crate) release: Option<Release>,
}

impl Service for Closure {
    fn init(&mut self, _: &Context, _: Option<&[u8]>) -> Result<(), InitError> {
        Ok(())
    }

    fn dispatch(&mut self, ctx: &Context, message: Message) {
        (self.dispatch)(ctx, message);
    }

    fn release(&mut self, ctx: &Context) {
        if let Some(release) = self.release.take() {
            release(ctx);
        }
    }
}

struct Puppet(mpsc::Sender<Context>);

impl Service for Puppet {
    fn init(&mut self, ctx: &Context, _: Option<&[u8]>) -> Result<(), InitError> {
        self.0.send(Arc::clone(ctx)).unwrap();
        Ok(())
    }

    fn dispatch(&mut self, _: &Context, _: Message) {}
}

struct Ear {
    give: mpsc::Sender<Context>,
    hear: mpsc::Sender<Heard>,
}

impl Service for Ear {
    fn init(&mut self, ctx: &Context, _: Option<&[u8]>) -> Result<(), InitError> {
        self.give.send(Arc::clone(ctx)).unwrap();
        Ok(())
    }

    fn dispatch(&mut self, _: &Context, message: Message) {
        let _ = self.hear.send(Heard::of(&message));
    }
}
