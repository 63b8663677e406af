//! skynet's interface for C: what C services and C modules of Lua services find in the binary.
//!
//! A C module or C service built for skynet is a shared object with undefined symbols (`skynet_send`, `lua_pushinteger`, …)
//! which the program that loads it resolves. The names and shapes here are therefore a binary interface and cannot be chosen;
//! `include/skein.h` declares them.
//!
//! * [`service`]: a shared object of `cpath` as a service;
//! * [`exports`]: the functions; [`socket`]: those for sockets;
//! * [`running`]: who runs on this thread, and what it may give away;
//! * [`held`]: blocks that C code keeps;
//! * [`malloc`]: the process's `malloc` family; [`foreign`]: memory of it that Lua sends.
//!
//! # Trust
//! C code is trusted as in skynet: it runs in the process, and a wild pointer of it is a wild pointer. What can be checked
//! without its help is: an address that was given away twice, or is nobody's, gives a line in the log, not a broken heap.

mod exports;
pub(crate) mod foreign;
mod held;
mod malloc;
pub(crate) mod running;
mod service;
mod socket;

use std::sync::{Arc, Mutex, Weak};

use skein_runtime::Node;

/// The node that functions without a context mean: the last one that was made.
static NODE: Mutex<Weak<Node>> = Mutex::new(Weak::new());

/// Lets a node find C services, and C code find the node.
pub(crate) fn register(node: &Arc<Node>) {
    exports::keep();
    malloc::keep();
    socket::keep();
    foreign::begin();
    node.on_quiet(malloc::give_back);
    *NODE.lock().unwrap_or_else(|it| it.into_inner()) = Arc::downgrade(node);
    node.set_module_loader(Arc::new(service::load));
}

fn node() -> Option<Arc<Node>> {
    NODE.lock().unwrap_or_else(|it| it.into_inner()).upgrade()
}
