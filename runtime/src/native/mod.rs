//! The native services that are ours: their names always are, whatever `cpath` holds.

use std::sync::Arc;

use crate::{InitError, Message, Node, Service, ServiceContext};

pub(crate) mod harbor;
mod logger;

/// Makes our modules known to a node. `snlua` comes from `bindings`.
pub(crate) fn register(node: &Arc<Node>) {
    node.register("logger", Arc::new(|_| Box::new(logger::Logger::default())));
    node.register("harbor", Arc::new(|_| Box::new(harbor::Harbor::default())));
    node.register("gate", Arc::new(|_| Box::new(Gate)));
}

/// The gate in C comes with the sockets; until then its launch fails, and says why.
struct Gate;

impl Service for Gate {
    fn init(&mut self, ctx: &Arc<ServiceContext>, _: Option<&[u8]>) -> Result<(), InitError> {
        let text = "the native gate is not supported yet";
        ctx.log(text);
        Err(text.into())
    }

    fn dispatch(&mut self, _: &Arc<ServiceContext>, _: Message) {}
}
