//! Why a domain, or a file of it, could not be used.

use std::{fmt, io, path::PathBuf, time::Duration};

use super::Slot;
use crate::Error;

/// What a domain can refuse. Whatever it says about a file, the file is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DomainError {
    /// A name becomes part of a path: letters, digits, `-`, `_` and `.`, the first of them no dot.
    #[error("a domain cannot be called {name:?}: 1 to 64 of A-Z a-z 0-9 - _ . and no leading dot")]
    Name {
        /// The name asked for.
        name: String,
    },
    /// There is something at a domain's path, or a file's, that is not what it has to be.
    #[error("{path} is a {found}, not a {expected}", path = path.display())]
    FileType {
        /// What was looked at.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// The directory or a file of it belongs to another user.
    #[error("{path} belongs to user {found}, not to {expected}", path = path.display())]
    Owner {
        /// What was looked at.
        path: PathBuf,
        /// Whose it is.
        found: u32,
        /// Whose it has to be: this process's.
        expected: u32,
    },
    /// The directory or a file of it could be used by others: `chmod` it, or find out who did.
    #[error("{path} has mode {found:04o}, not {expected:04o}", path = path.display())]
    Mode {
        /// What was looked at.
        path: PathBuf,
        /// Its permissions.
        found: u32,
        /// What they have to be.
        expected: u32,
    },
    /// A file is shorter than what it has to hold.
    #[error("{file} has {found} bytes, not the {expected} that it has to have", file = file.display())]
    Length {
        /// The file.
        file: PathBuf,
        /// Its length in bytes.
        found: u64,
        /// How long it has to be, at least.
        expected: u64,
    },
    /// A file says something else than this process does. With [`Field::Version`] or [`Field::Build`] the domain was made by
    /// another version of the program: stop every process of it, and remove the directory.
    #[error("{file} is not ours to use: {field} is {found:#x}, not {expected:#x}", file = file.display())]
    Mismatch {
        /// The file.
        file: PathBuf,
        /// Which part of it.
        field: Field,
        /// What stands there.
        found: u64,
        /// What has to stand there.
        expected: u64,
    },
    /// This process is in a domain already; there is one for each process.
    #[error("this process is in the domain {path} already", path = path.display())]
    AlreadyOpen {
        /// The directory of the domain that is open.
        path: PathBuf,
    },
    /// Somebody has been opening or sweeping the domain for longer than we wait; perhaps it is stopped.
    #[error("the lock of {path} was not let go for {waited:?}", path = path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
        /// How long we waited.
        waited: Duration,
    },
    /// All slots are taken, by living processes or by dead ones whose blocks are still held.
    #[error("no slot is left in {path}: {alive} are alive, {held} dead and held", path = path.display())]
    NoSlot {
        /// The directory.
        path: PathBuf,
        /// Slots of living processes.
        alive: usize,
        /// Slots of dead ones that living ones read.
        held: usize,
    },
    /// Nobody has this slot.
    #[error("nobody has slot {slot} of {path}", path = path.display())]
    NoPeer {
        /// The directory.
        path: PathBuf,
        /// The slot asked for.
        slot: Slot,
    },
    /// The addresses of that slot's heap are used for something else in this process: a private arena, or a view of the slot's
    /// former owner that somebody keeps.
    #[error("the addresses of slot {slot} are in use in this process")]
    AddressesInUse {
        /// The slot.
        slot: Slot,
    },
    /// An address that a peer sent is not that of a live block of its heap.
    #[error("slot {slot} has no block at {at:#x}: {why}")]
    NoBlock {
        /// The slot.
        slot: Slot,
        /// The address of the payload, as it was told.
        at: u64,
        /// What was found instead.
        why: &'static str,
    },
    /// The heap could not be opened or grown.
    #[error(transparent)]
    Arena(#[from] Error),
    /// The system refused something else.
    #[error("could not {action} {path}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DomainError {
    /// Whether a file is not what it has to be: who wrote it is at fault, and the error lasts.
    pub(crate) fn is_of_file(&self) -> bool {
        use DomainError::{FileType, Length, Mismatch, Mode, Owner};
        matches!(self, FileType { .. } | Owner { .. } | Mode { .. } | Length { .. } | Mismatch { .. })
    }
}

/// Part of a file's superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// The first eight bytes.
    Magic,
    /// The layout's version.
    Version,
    /// Which heap or slot it is.
    Heap,
    /// Where the range, or the heap in it, begins.
    Base,
    /// How many bits an address in the range, and one in a heap have.
    Bits,
    /// How many pages the heap may have.
    Pages,
    /// How many spans the heap may have.
    Spans,
    /// Where the page table begins.
    PageTable,
    /// Where the span table begins.
    SpanTable,
    /// Where the magazine table begins.
    MagazineTable,
    /// How many magazines there can be.
    Magazines,
    /// What the processes were built from.
    Build,
    /// Which domain it belongs to.
    Domain,
    /// How many slots there are.
    Slots,
    /// Bytes of a control file.
    Control,
    /// Whether it was completed.
    State,
    /// How many pages are usable.
    Committed,
    /// How many size classes there are.
    Classes,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Field::Magic => "the magic",
            Field::Version => "the layout version",
            Field::Heap => "the heap",
            Field::Base => "the base address",
            Field::Bits => "the address bits",
            Field::Pages => "the number of pages",
            Field::Spans => "the number of spans",
            Field::PageTable => "the place of the page table",
            Field::SpanTable => "the place of the span table",
            Field::MagazineTable => "the place of the magazine table",
            Field::Magazines => "the number of magazines",
            Field::Build => "the build hash",
            Field::Domain => "the domain's id",
            Field::Slots => "the number of slots",
            Field::Control => "the size of a control file",
            Field::State => "the state",
            Field::Committed => "the number of usable pages",
            Field::Classes => "the number of size classes",
        })
    }
}
