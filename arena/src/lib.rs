//! Payload blocks in mapped memory: who may use which bytes, until when.
//!
//! An [`Arena`] is a heap at a fixed address. From it come [`Block`]s: a header, a payload, and a count of owners. A block has
//! one owner and may be written; shared, it becomes a [`Payload`], which many own and all only read, and which turns into
//! [`bytes::Bytes`] without a copy. The header also carries a message's [`Envelope`] and the link of the queue it waits in,
//! so that sending a block allocates nothing.
//!
//! * [`block`]: the header's protocol, and owners as types. A block that grows: [`BlockWriter`].
//! * [`domain`]: heaps in files, which other processes read.
//! * [`check`]: whether the files of a domain agree with themselves.
//! * [`transfer`]: messages between those processes, without a copy.
//! * [`range`]: the addresses, and whether one of them is ours. [`Arena::find`]: whether it is a live block.
//! * [`epoch`]: when to free what is read without owning it. [`scratch`]: memory for one dispatch.
//! * [`sync`]: the door through which all crates take atomics, cells and locks, so that loom can watch them.
//!
//! docs/arena-layout.md has the layout, docs/epochs.md the reclamation, docs/transfer.md how processes pass blocks.

pub mod block;
#[cfg(not(loom))]
pub mod check;
#[cfg(not(loom))]
pub mod domain;
pub mod epoch;
pub mod range;
pub mod scratch;
pub mod sync;
pub mod transfer;

mod alloc;
mod arena;
mod copy;
mod error;
#[cfg_attr(loom, allow(dead_code))] // Models use the half of it that lies in tables.
mod layout;
#[cfg(not(loom))]
mod map;
mod stats;
mod step;

#[cfg(loom)]
pub use alloc::model::{Hand, ModelHeap};
pub use arena::{Arena, Found, Options};
pub use block::{Block, BlockWriter, Envelope, Header, Kind, Left, MAX_PAYLOAD, Payload, ViewError};
pub use copy::{copy, copy_raw};
#[cfg(not(loom))]
pub use domain::{Domain, DomainError, DomainOptions, Peer, Slot};
pub use error::Error;
pub use scratch::Scratch;
pub use stats::{ClassStats, Stats, count_copied_in, count_copied_out};
#[doc(hidden)]
pub use step::step;

/// The example in the crate's README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;

/// The example in docs/epochs.md.
#[cfg(doctest)]
#[doc = include_str!("../../docs/epochs.md")]
struct EpochsExample;

/// The example in docs/transfer.md.
#[cfg(doctest)]
#[doc = include_str!("../../docs/transfer.md")]
struct TransferExample;
