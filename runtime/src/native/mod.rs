//! The native services that are ours; an application may have its own `logger` and `gate` (`Modules::set_loader`).

use std::sync::Arc;

use crate::Node;

mod gate;
pub(crate) mod harbor;
mod logger;

/// The log service that is ours.
pub(crate) const LOGGER: &str = "logger";

/// Makes our modules known to a node. `snlua` comes from `bindings`.
pub(crate) fn register(node: &Arc<Node>) {
    node.register(LOGGER, Arc::new(|_| Box::new(logger::Logger::default())));
    node.register("harbor", Arc::new(|_| Box::new(harbor::Harbor::default())));
    node.register("gate", Arc::new(|_| Box::new(gate::Gate::default())));
}
