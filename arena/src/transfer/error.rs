//! Why something could not be sent, or a peer is heard no more.

use super::BadHead;
use crate::{Block, DomainError, Error};

/// Why a link could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// There is no such peer, or its files are not what they have to be.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// The file system has no room for the ring.
    #[error(transparent)]
    Arena(#[from] Error),
    /// The peer is gone, or wrote nonsense.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// There is one exchange per process, and one inbox and one link per peer of it.
    #[error("there is one already")]
    Taken,
}

/// Why a peer is heard no more. Nothing else happens to us by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Closed {
    /// The process is dead. All that it had sent has arrived, and what it held of ours is free.
    #[error("the process is dead")]
    Died,
    /// It wrote an entry of a kind that there is none of.
    #[error("an entry is of kind {0}")]
    Kind(u8),
    /// It wrote a block that it does not have.
    #[error("ticket {ticket} names {why}")]
    Block {
        /// The ticket.
        ticket: u16,
        /// What is there.
        why: String,
    },
    /// It gave back what it was not lent.
    #[error("ticket {0} came back and was not lent")]
    Ticket(u16),
    /// It says that it has read what was not sent.
    #[error("it has read up to {found}, of {least} to {most}", found = .0.found, least = .0.least, most = .0.most)]
    Head(BadHead),
}

/// A block that was not sent, and why.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Unsent {
    /// The block, as it was.
    pub block: Block,
    /// What was in the way.
    pub why: WhyUnsent,
}

/// What is in the way of a block.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WhyUnsent {
    /// The ring is full: the peer reads slower than we write. Try again when it has read.
    #[error("the ring is full")]
    Full,
    /// The peer holds as many of our blocks as there are tickets.
    #[error("the peer holds {0} blocks, and gives none back")]
    Held(usize),
    /// A copy was needed, and there was no room for it.
    #[error(transparent)]
    Copy(Error),
    /// The peer is gone.
    #[error(transparent)]
    Closed(Closed),
}
