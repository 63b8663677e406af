//! What a service is: state that receives one message at a time.
//!
//! A module is a name and a [`Factory`]; LAUNCH makes an instance, gives it an address, and calls [`Service::init`] on
//! the launching thread, before any message. From then on a worker calls [`Service::dispatch`], never two at once. When
//! the service was retired, the last worker that held it calls [`Service::release`] and drops the instance.
//!
//! # From skynet
//! struct skynet_module (create, init, release, signal) → [`Factory`] and [`Service`]; struct skynet_context →
//! [`ServiceContext`]; the callback set by skynet_callback → [`Service::dispatch`].

use std::sync::Arc;

use crate::{InitError, Message, Node};

mod context;
mod exit;
mod launch;
mod turn;

pub use context::{ServiceContext, ServiceCounters};
pub use launch::{ModuleLoader, Modules};
pub(crate) use turn::{After, Turn};

/// State that receives one message at a time.
pub trait Service: Send {
    /// Called once on the launching thread, before any message. `args` is `None` when the launch named none.
    ///
    /// # Errors
    /// The launch fails; the caller logs `error: launch … FAILED`.
    fn init(&mut self, ctx: &Arc<ServiceContext>, args: Option<&[u8]>) -> Result<(), InitError>;

    /// Handles one message. A panic is logged, and whoever waits for an answer gets an error.
    fn dispatch(&mut self, ctx: &Arc<ServiceContext>, message: Message);

    /// The end. The address is gone by now; sends from here still work.
    fn release(&mut self, ctx: &Arc<ServiceContext>) {
        let _ = ctx;
    }

    /// What SIGNAL calls, from any thread. Asked for once, after `init`.
    fn signaller(&self) -> Option<Signaller> {
        None
    }

    /// Whether messages that are queued when the service is retired are still dispatched before its release. The logger
    /// wants its last lines.
    fn drains(&self) -> bool {
        false
    }
}

/// See [`Service::signaller`].
pub type Signaller = Arc<dyn Fn(i32) + Send + Sync>;

/// Makes the instances of a module.
pub type Factory = Arc<dyn Fn(&Arc<Node>) -> Box<dyn Service> + Send + Sync>;
