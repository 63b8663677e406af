//! Services, mailboxes, workers and timers, without Lua.
//!
//! A [`Node`] runs [`Service`]s: each has an address ([`Handle`]), a mailbox, and handles one [`Message`] at a time.
//!
//! # The life of a message
//! 1. A service writes a body into a block of the node's arena and calls [`ServiceContext::send`]. The envelope goes into the
//!    block's header: nothing else is allocated.
//! 2. The handle table finds the receiver's mailbox under an epoch pin (`handle/table.rs`). The message is pushed with one
//!    swap and one addition (`mailbox/`).
//! 3. If the mailbox was idle it goes into the run queue, and a sleeping worker is woken (`sched/`).
//! 4. A worker takes it for a turn (`service/turn.rs`) and calls [`Service::dispatch`], which owns the message.
//! 5. When the receiver is gone, the request's own block becomes the error reply to its sender (`service/exit.rs`).
//!
//! ```
//! use std::sync::Arc;
//!
//! use skein_runtime::{InitError, Message, Node, Service, ServiceContext, Settings};
//!
//! struct Hello;
//!
//! impl Service for Hello {
//!     fn init(&mut self, ctx: &Arc<ServiceContext>, args: Option<&[u8]>) -> Result<(), InitError> {
//!         ctx.log([b"hello, ", args.unwrap_or(b"nobody")].concat());
//!         ctx.timeout(0)?;
//!         Ok(())
//!     }
//!
//!     fn dispatch(&mut self, ctx: &Arc<ServiceContext>, _: Message) {
//!         ctx.command("ABORT", b"");
//!     }
//! }
//!
//! let mut settings = Settings::new();
//! settings.set("bootstrap", "hello world").set("thread", "2");
//! let node = Node::new(settings)?;
//! node.register("hello", Arc::new(|_| Box::new(Hello)));
//! node.run()?;
//! # Ok::<(), skein_runtime::StartError>(())
//! ```
//!
//! Under `cfg(loom)` only the protocols exist: `handle`, `mailbox`, the decisions of `sched`.

pub mod handle;
pub mod mailbox;
pub mod sched;

pub use handle::Handle;

macro_rules! not_loom {
    ($($item:item)*) => { $(#[cfg(not(loom))] $item)* };
}

not_loom! {
    pub mod config;
    pub mod env;
    pub mod service;
    pub mod sim;
    pub mod socket;
    pub mod timer;

    mod command;
    mod counters;
    mod daemon;
    mod error;
    mod log;
    mod message;
    mod monitor;
    mod native;
    mod node;
    mod signal;

    pub use config::Settings;
    pub use counters::Counters;
    pub use error::{InitError, LaunchError, SendError, StartError};
    pub use message::{Message, MessageType, Session};
    pub use node::Node;
    pub use service::{Factory, ModuleLoader, Service, ServiceContext, ServiceCounters, Signaller};
}
