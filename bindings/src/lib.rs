//! Lua over the runtime: one state per service, and the native modules.

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skein_runtime::{Node, Settings, StartError};
use skein_vm::ffi::lua_CFunction;

pub mod arena_cli;
pub mod check;
pub mod config;
pub mod core;
pub mod dispatch;
pub mod host;
pub mod library;
pub mod stubs;

mod alloc;
mod bson;
mod capi;
mod client_socket;
mod cluster;
mod codecache;
mod crypt;
mod datasheet;
mod debugchannel;
mod ground;
mod hand;
mod http;
mod lpeg;
mod md5;
mod memory;
mod mongo;
mod multicast;
mod netpack;
mod object;
mod profile;
mod raw;
mod resp;
mod search;
mod seri;
mod share;
mod socket;
mod sproto;
mod state;
mod stm;
mod tls;

/// Packed Lua values, for services in Rust.
pub mod values {
    pub use crate::seri::value::{PackError, Table, UnpackError, Value, pack, unpack};
}

pub use config::ConfigError;
pub use share::cli as share_cli;
pub use state::{SERVICE_KEY, ServiceState};

/// Native modules that every Lua service can `require`, whatever its `lua_cpath` says. `skynet.profile` and
/// `skynet.codecache` are loaded before the first line of Lua.
pub const PRELOADED: &[(&CStr, lua_CFunction)] = &[
    (c"bson", bson::open),
    (c"client.crypt", crypt::open_client),
    (c"client.socket", client_socket::open),
    (c"lpeg", lpeg::open),
    (c"ltls.c", tls::open),
    (c"ltls.init.c", tls::open_init),
    (c"md5.core", md5::open),
    (c"skein.cluster", cluster::link::open),
    (c"skein.crypt", crypt::secure::open),
    (c"skein.dispatch", dispatch::open),
    (c"skein.http", http::open),
    (c"skein.multicast", multicast::open_delivery),
    (c"skein.resp", resp::open),
    (c"skein.share", share::open_share),
    (c"skynet.cluster.core", cluster::open),
    (c"skynet.core", core::open_core),
    (c"skynet.crypt", crypt::open),
    (c"skynet.debugchannel", debugchannel::open),
    (c"skynet.datasheet.core", datasheet::open),
    (c"skynet.memory", memory::open),
    (c"skynet.mongo.driver", mongo::open),
    (c"skynet.multicast.core", multicast::open),
    (c"skynet.netpack", netpack::open),
    (c"skynet.sharedata.core", share::data::open),
    (c"skynet.sharetable.core", share::open_core),
    (c"skynet.socketdriver", socket::open),
    (c"skynet.stm", stm::open),
    (c"sproto.core", sproto::open),
];

/// Why a node did not run. `Display` is one line.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The config file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A value in it is.
    #[error("{}: {source}", .file.display())]
    Setting {
        /// The config file.
        file: PathBuf,
        /// Which key, and what was expected.
        source: StartError,
    },
    /// The node did not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl RunError {
    /// Whether the log has it already, and nothing should be printed.
    pub fn is_logged(&self) -> bool {
        matches!(self, Self::Start(error) if error.is_logged())
    }
}

/// A node that can run Lua services, not yet started. With `domain` in the settings, the process joins that domain: no Lua state may
/// have been made in it before.
///
/// # Errors
///
/// As [`Node::new`]; the domain cannot be joined.
pub fn node(settings: Settings) -> Result<Arc<Node>, StartError> {
    let domain = settings.text("domain");
    // First, since it may leave this process for a daemon's.
    let node = Node::new(settings)?;
    if let Some(domain) = domain {
        share::domain::join(&domain).map_err(StartError::Domain)?;
    }
    host::register(&node);
    Ok(node)
}

/// Runs the node of a config file to its end.
///
/// # Errors
///
/// The file cannot be used, or the node did not start. A process that runs a node ends with status 1 then.
pub fn run(config: impl AsRef<Path>) -> Result<(), RunError> {
    let file = config.as_ref();
    let node = node(config::read(file)?).map_err(|problem| match problem {
        source @ (StartError::Setting { .. } | StartError::Domain(_)) => {
            RunError::Setting { file: file.to_owned(), source }
        }
        other => RunError::Start(other),
    })?;
    Ok(node.run()?)
}
