//! Payloads that go from one process of a domain to another without a copy.
//!
//! A message is an entry of a ring: where the payload lies in the sender's heap, and its envelope. The receiver reads the bytes where they
//! are, holds them through a block of its own ([`Kind::Remote`](crate::Kind::Remote)) whose count is its own, and gives them back
//! when the last of its owners goes. [`Exchange`] is the face; docs/transfer.md has an example.
//!
//! | memory | who writes it | what |
//! |---|---|---|
//! | the sender's control file | the sender | ring: entries, start, tail ([`Ring`]) |
//! | the receiver's control file | the receiver | head, and a ledger of what it holds ([`Ledger`]) |
//! | doorbells | everybody | who sleeps, who wants to be looked at ([`Doorbell`]) |
//! | the sender's own memory | the sender | what it has lent, by ticket ([`Book`]) |
//! | the receiver's own memory | the receiver | tickets that could not go back yet ([`GiveBacks`]) |
//!
//! # Invariants
//! * **T1** The count of a block is changed only by the process whose heap it lies in.
//! * **T2** From before an entry can be seen until its ticket came back, or its receiver is dead, the sender's book owns the block. So
//!   a ring entry is a hold, and so is what came of it, without anybody else's word.
//! * **T3** The receiver enters a block into its ledger before its head passes the entry, and clears it before the ticket goes
//!   back: whoever reads head and then ledger of a living process knows all that it can still read of a dead one.
//! * **T4** A ring is between two lives. Positions go on from one life of the receiver to the next, so that what was meant
//!   for the dead has stamps that the next one does not expect.
//! * **T5** Entries are taken in the order they were sent: a ticket comes back behind the last message that names it.
//! * **T6** Of another's memory each word is read once, and the copy is checked before it is used: kinds, tickets, heads;
//!   addresses against the heap's bounds and page table, size and generation against the header. Who writes nonsense is
//!   not heard any more ([`Closed`]); what it holds stays its own until it dies.
//!
//! # When a process dies
//! The names are those of the steps in the code, at each of which tests kill a process.
//!
//! | killed after | what the survivor sees, and does |
//! |---|---|
//! | `link/started` | no ring is meant for it: nothing |
//! | `link/open` | a ring that is meant for it, if it ever looks there: empty |
//! | `inbox/headed`, `inbox/open` | as sender: nobody reads; its blocks are free when the death is known |
//! | `send/booked`, `send/written` | as receiver: no entry; the block was lent to nobody |
//! | `send/published` | an entry: a message, found at the next look, at the end of a sleep at the latest |
//! | `recv/checked`, `recv/enveloped`, `recv/entered`, `recv/advanced` | as sender: the book frees the block, wherever the entry is |
//! | `give/cleared`, `give/listed` | as sender: no give-back arrives, the book frees the block |
//! | `give/published` | as sender: the give-back frees the block; the book does not have it twice |
//! | `take/seen`, `take/unbooked` | as receiver: the heap is dead; what is still held is read on |
//! | `return/cleared` | as owner: no message; the book frees the block |
//! | `return/published` | as owner: a message, with the block; the book does not have it twice |
//! | any, as sender | entries that can be seen are received, blocks stay readable; the slot is free when nobody maps it |
//! | any, as receiver | entries it has sent are received first, then all that is lent to it is free |

mod book;
#[cfg(not(loom))]
mod control;
mod doorbell;
mod ends;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod exchange;
mod give_back;
#[cfg(not(loom))]
mod inbox;
#[cfg(not(loom))]
mod lane;
mod ledger;
#[cfg(not(loom))]
mod link;
#[cfg(not(loom))]
mod reclaim;
mod ring;
mod spin;

pub use book::{Book, Tickets};

#[cfg(not(loom))]
pub use control::{Control, Doorbells, Reclaim, SLOTS};
#[cfg(not(loom))]
pub use doorbell::Kernel;
pub use doorbell::{Doorbell, Futex, LONGEST_SLEEP};
pub use ends::{Receiving, Sending};
#[cfg(not(loom))]
pub use error::{Closed, LinkError, Unsent, WhyUnsent};
#[cfg(not(loom))]
pub use exchange::{Exchange, ExchangeStats};
pub use give_back::GiveBacks;
#[cfg(not(loom))]
pub use inbox::{Arrival, Inbox};
pub use ledger::{Hold, Ledger, TICKETS};
#[cfg(not(loom))]
pub use link::{Link, SendError};
pub use ring::{BadHead, BadKind, Consumer, Entry, EntryKind, Producer, RING, Ring};
pub use spin::{SPIN, Spin};
