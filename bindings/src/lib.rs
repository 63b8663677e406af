//! Lua over the runtime: one state per service, and the native modules.

use std::ffi::CStr;
use std::path::Path;
use std::sync::Arc;

use skein_runtime::{Node, Settings, StartError};
use skein_vm::ffi::lua_CFunction;

pub mod config;
pub mod core;
pub mod host;
pub mod library;

mod alloc;
mod codecache;
mod hand;
mod memory;
mod profile;
mod raw;
mod seri;
mod state;

pub use config::ConfigError;
pub use state::{CONTEXT_KEY, ServiceState};

/// Native modules that every Lua service can `require`, whatever its `lua_cpath` says. `skynet.profile` and
/// `skynet.codecache` are loaded before the first line of Lua.
const PRELOADED: [(&CStr, lua_CFunction); 2] =
    [(c"skynet.core", core::open_core), (c"skynet.memory", memory::open)];

/// Why a node did not run. `Display` is one line.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The config file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The node did not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// A node that can run Lua services, not yet started.
///
/// # Errors
///
/// As [`Node::new`].
pub fn node(settings: Settings) -> Result<Arc<Node>, StartError> {
    let node = Node::new(settings)?;
    host::register(&node);
    Ok(node)
}

/// Runs the node of a config file to its end: the status the process should end with.
///
/// # Errors
///
/// The file cannot be used, or the node did not start and the log does not say so.
pub fn run(config: impl AsRef<Path>) -> Result<u8, RunError> {
    match node(config::read(config)?)?.run() {
        Ok(()) => Ok(0),
        Err(error) if error.is_logged() => Ok(1),
        Err(error) => Err(error.into()),
    }
}
