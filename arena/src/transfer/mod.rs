//! Payloads that go from one process of a domain to another without a copy.

#[cfg(not(loom))]
mod control;
mod doorbell;
mod ledger;
mod ring;

#[cfg(not(loom))]
pub use control::{Control, Doorbells, Receiving, Reclaim, SLOTS, Sending};
#[cfg(not(loom))]
pub use doorbell::Kernel;
pub use doorbell::{Doorbell, Futex, LONGEST_SLEEP};
pub use ledger::{Hold, Ledger, TICKETS};
pub use ring::{BadHead, BadKind, Consumer, Entry, EntryKind, Producer, RING, Ring};
