//! Why a service, a message or a node could not be served.

use std::{io, path::PathBuf};

use crate::Handle;

/// Why a message was not sent. Its body is dropped by then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Nobody has this address, or this local name.
    #[error("no such destination")]
    NoDestination,
    /// Address 0 names nobody. Logged already, with skynet's text.
    #[error("the destination address can't be 0")]
    ZeroDestination,
    /// The body is larger than a block can be.
    #[error("a body of {size} bytes is too large")]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// The arena has no room for the message.
    #[error(transparent)]
    Arena(#[from] skein_arena::Error),
    /// The destination is on another node, and no harbor service runs that could take it there.
    #[error("no harbor service for remote address {to}")]
    NoHarbor {
        /// The remote address; `:00000000` when a global name was given.
        to: Handle,
    },
    /// A name for the harbor service has 1 to 15 bytes.
    #[error("a global name has 1 to 15 bytes, not {len}")]
    GlobalName {
        /// The length of the name given.
        len: usize,
    },
}

/// Why a service was not launched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// No module of this name. stderr has the paths tried.
    #[error("no service module {module}")]
    NoModule {
        /// The module asked for.
        module: String,
    },
    /// Its `init` said no. Logged as `error: launch … FAILED`.
    #[error("service {module} failed to start")]
    Init {
        /// The module.
        module: String,
        /// What it said.
        source: InitError,
    },
    /// All local ids are taken.
    #[error("all {0} addresses are in use")]
    NoHandle(u32),
}

/// Why the `init` of a service refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InitError(pub String);

impl From<String> for InitError {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for InitError {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<skein_arena::Error> for InitError {
    fn from(error: skein_arena::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<SendError> for InitError {
    fn from(error: SendError) -> Self {
        Self(error.to_string())
    }
}

/// Why a node did not start. `Display` is the line that skynet prints, and then ends with status 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// `thread` is out of range, or not a number.
    #[error("Invalid thread {0} , should be in [1,{max}]", max = crate::config::MAX_THREADS)]
    Threads(i64),
    /// A value of skein's own keys cannot be read.
    #[error("key {key}: expected {expected}, found {found:?}")]
    Setting {
        /// Which key.
        key: &'static str,
        /// What would be right.
        expected: &'static str,
        /// What was there.
        found: String,
    },
    /// The domain cannot be joined.
    #[error("key domain: {0}")]
    Domain(String),
    /// A pattern of `cpath` has no `?`.
    #[error("Invalid C service path")]
    ServicePath,
    /// The log service did not start.
    #[error("Can't launch {0} service")]
    Logger(String),
    /// The bootstrap service did not start. The log says so: there is nothing to print.
    #[error("Bootstrap error : {0}")]
    Bootstrap(String),
    /// The arena could not be mapped.
    #[error(transparent)]
    Arena(#[from] skein_arena::Error),
    /// A thread could not be made.
    #[error("Create thread failed")]
    Thread(#[source] io::Error),
    /// Signals could not be taken over.
    #[error("can't install the signal handlers")]
    Signal(#[source] io::Error),
    /// The process has no descriptors left.
    #[error("can't wait for sockets: {0}")]
    Sockets(#[source] io::Error),
    /// Another process of this configuration is alive.
    #[error("Skynet is already running, pid = {0}.")]
    AlreadyRunning(i32),
    /// The lock of the pid file is taken by a process that we know of.
    #[error("Can't lock pidfile, lock is held by pid {0}.")]
    PidLocked(i32),
    /// The lock of the pid file is taken, and the file tells nothing.
    #[error("Can't lock and read pidfile.")]
    PidUnreadable,
    /// The pid file cannot be made.
    #[error("Can't create pidfile [{}].", .0.display())]
    PidCreate(PathBuf, #[source] io::Error),
    /// The pid cannot be written.
    #[error("Can't write pid.")]
    PidWrite(#[source] io::Error),
    /// The process could not go to the background.
    #[error("Can't daemonize.")]
    Daemonize(#[source] io::Error),
    /// `/dev/null` cannot be opened.
    #[error("Unable to open /dev/null: ")]
    DevNull(#[source] io::Error),
    /// The standard streams cannot be redirected.
    #[error("Unable to dup2 /dev/null")]
    Dup(#[source] io::Error),
}

impl StartError {
    /// Whether the user has been told already, through the log.
    pub fn is_logged(&self) -> bool {
        matches!(self, Self::Bootstrap(_))
    }
}
