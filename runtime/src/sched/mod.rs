//! How a message finds a worker.
//!
//! A mailbox that gets its first message goes into the run queue, and a worker that sleeps is woken at once. A worker serves
//! it for a turn (`service/turn.rs`), and puts it behind the others if it is not done. No worker polls: a node with
//! nothing to do takes no CPU time.
//!
//! # From skynet
//! skynet_mq.c: the global queue → [`RunQueue`]; skynet_start.c: thread_worker → `worker`; the timer's wake-ups → [`Park`];
//! weights → the budget of a turn.

#[cfg(not(loom))]
pub(crate) mod cpu;
pub mod park;
#[cfg(not(loom))]
mod run_queue;
#[cfg(not(loom))]
pub(crate) mod worker;

pub use park::Park;
#[cfg(not(loom))]
pub(crate) use run_queue::{RunQueue, Scheduled};
