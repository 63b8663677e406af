//! Reclamation of what is read without owning it (docs/epochs.md).
//!
//! A payload is reached only through an owner, so its count says when to free it. Some tables are read by whoever comes
//! along: the handle table, names, the current version of a root, a mailbox that a sender has just found. Their writers take
//! a piece out of reach first and *retire* it; it is freed once every reader that might have seen it has gone.
//!
//! Within a process this is crossbeam-epoch ([`pin`], [`Guard`]). Its types are re-exported, so that one crate decides which version
//! of it all others speak. Across the processes of a domain it is a table of readers ([`Reader`]) and the lists of what each owner
//! has retired ([`Retired`]), since there is no memory that all of them may write.
//!
//! # Rules
//! * **E1** A [`Guard`] lives inside one native call. It is never held while Lua runs, nor while waiting for a lock or for
//!   the system: an endless loop in a script must not stop reclamation for everybody.
//! * **E2** Retire after unlinking, never before: a reader that pins afterwards must not find the piece.
//! * **E3** What is retired only frees memory. It may run on any thread that pins, in the middle of its work; it never closes
//!   a Lua state, sends a message, or takes a lock.

mod grace;
mod guard;
mod reader;

pub use crossbeam_epoch::{Atomic, Owned, Pointable, Pointer, Shared};
pub use grace::{Collected, Others, Retired, Stalled};
pub use guard::{Guard, is_pinned, pin, unprotected};
#[cfg(not(loom))]
pub use reader::now;
pub use reader::{Expelled, Expulsions, Pinned, READERS, Reader, Readers, Records};
