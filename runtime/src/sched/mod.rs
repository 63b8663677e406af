//! How a message finds a worker.
//!
//! A mailbox that gets its first message goes to the worker whose service sent it, into that worker's *next-slot*; a worker
//! serves one mailbox for a turn (`service/turn.rs`), then the one in its slot, then those in its deque. So a call and its
//! answer stay on one worker and cost no call to the kernel. Others (timers, sockets, a Rust program's threads) put mailboxes in
//! the *injector*, and wake a worker at once.
//!
//! * A chain of turns through the slot has one budget, of messages and of time. When it is spent while others wait, the slot's
//!   service goes behind them: a ping-pong starves nobody. The injector is looked at every so often, too.
//! * A worker without work *searches*: the injector, then the deques of others, if there is work for two; one searches at a time.
//! * When it finds nothing it sleeps. While some sleep and others run, the pool is *watched*: the timer's thread looks at it every
//!   200 µs (350 while nothing waits), and wakes a sleeper for what has become old: deques that never run empty, deques and slots of workers whose turn
//!   takes that long. Workers that are all busy look at long turns of others themselves. While all are idle nobody keeps watch: a
//!   node with nothing to do takes no CPU time.
//! * Who makes work wakes a sleeper only for work in the injector, or for a deque with enough work in it to be worth that
//!   (`idle`).
//!
//! # The parts
//! [`Pool`] is what all workers share, a [`Worker`] is what one decides. Neither has a thread, a clock or a sleep of its own:
//! [`Worker::step`] is told the time and says what to do next, and what makes work says whom to [`Wake`]. `threads` plays
//! workers on threads; a simulation plays them in any order it likes, on a clock of its own:
//!
//! ```
//! use core::ptr::NonNull;
//! use skein_runtime::sched::{Next, Pool, Scheduled, Wake};
//!
//! let (pool, workers) = Pool::new(2);
//! // What is scheduled is a word that the pool does not look behind.
//! assert_eq!(pool.inject(Scheduled::from_raw(NonNull::dangling())), Wake::NOBODY, "all run until they step");
//! let step = workers[0].step(0);
//! let Next::Run(service) = step.next else { panic!() };
//! // A turn: what the service wakes, then, at its end, `again` if its budget (`spend`, once per message) was spent.
//! assert_eq!(workers[0].wake(service), Wake::NOBODY);
//! assert!(matches!(workers[0].step(1_000).next, Next::Run(_)), "from the slot");
//! let step = workers[0].step(2_000);
//! assert_eq!(step.next, Next::Park);
//! assert!(step.wake.watch, "the other one runs, for all we know: somebody is to look, in 200 µs");
//! assert_eq!(workers[1].step(2_000).next, Next::Park);
//! assert_eq!(pool.look(202_000).again, None, "all are idle");
//! // Whom a push from outside wakes; that one steps.
//! let wake = pool.inject(Scheduled::from_raw(NonNull::dangling()));
//! assert_eq!(wake, Wake { worker: Some(1), watch: true });
//! assert!(matches!(workers[1].step(300_000).next, Next::Run(_)));
//! ```
//!
//! # From skynet
//! skynet_mq.c: the global queue → [`Pool`]; skynet_start.c: thread_worker → `threads`; the timer's wake-ups → `idle`;
//! weights → the budget of a chain.

mod bed;
mod counts;
#[cfg(not(loom))]
pub(crate) mod cpu;
mod deque;
mod desk;
mod idle;
pub mod policy;
mod pool;
#[cfg(not(loom))]
pub(crate) mod quiet;
mod scheduled;
mod slot;
#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(not(loom))]
pub(crate) mod threads;
#[cfg(not(loom))]
pub(crate) mod tsc;
mod worker;

pub use bed::Bed;
pub use counts::WorkerCounters;
pub use idle::Wake;
pub use pool::{Look, Pool};
pub use scheduled::Scheduled;
pub use slot::Slot;
pub use worker::{Next, Step, Worker};
