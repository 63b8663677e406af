//! Payload blocks in mapped memory: who may use which bytes, until when.

pub mod block;
pub mod epoch;
pub mod range;
pub mod scratch;
pub mod sync;

mod alloc;
mod arena;
mod error;
#[cfg(not(loom))]
mod layout;
#[cfg(not(loom))]
mod map;
mod stats;

pub use arena::{Arena, Found, Options};
pub use block::{Block, BlockWriter, Envelope, Header, Kind, Left, MAX_PAYLOAD, Payload};
pub use error::Error;
pub use scratch::Scratch;
pub use stats::{ClassStats, Stats, count_copied_in, count_copied_out};

/// The example in docs/epochs.md.
#[cfg(doctest)]
#[doc = include_str!("../../docs/epochs.md")]
struct EpochsExample;
