//! What many read and one replaces: versions that are published at once and freed when the last reader is done.
//!
//! A [`Segment`] is a run of frozen objects at a fixed address, read by every Lua state that has a lease on it ([`Leases`]). What the
//! objects are is the virtual machine's business. [`Tables`] are those that all processes of a [domain](skein_arena::domain) read.
//!
//! A [`Root`] names the current version of a value. Readers borrow it under an epoch pin, or take a [`Lease`] that keeps
//! their version alive for as long as they like; a publisher swaps in the next version with one atomic step and never
//! waits for readers. A process knows the catalogue of its domain by one.
//!
//! ```
//! use skein_sharedata::Root;
//!
//! let prices = Root::new(vec![1, 2, 3]);
//! let before = prices.lease();
//! prices.publish(vec![4, 5, 6]);
//! assert_eq!(before[0], 1, "a lease keeps its version");
//! assert_eq!(prices.read(|now| now[0]), 4);
//! ```

#[cfg(not(loom))]
pub mod domain;
#[cfg(not(loom))]
mod draft;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod lease;
mod root;
#[cfg(not(loom))]
pub mod segment;
pub mod shelf;
#[cfg(not(loom))]
mod space;

#[cfg(not(loom))]
pub use domain::Tables;
#[cfg(not(loom))]
pub use draft::Draft;
#[cfg(not(loom))]
pub use error::Error;
#[cfg(not(loom))]
pub use lease::Leases;
pub use root::{Lease, Root};
#[cfg(not(loom))]
pub use segment::Segment;
