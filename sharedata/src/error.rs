//! Why a segment could not be made or opened.

use std::{io, path::PathBuf};

use skein_arena::DomainError;

/// Why a segment could not be made, or not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address range has no place for segments: the process runs under a limit on address space (`ulimit -v`).
    #[error("no address space for shared tables: the limit on address space leaves none")]
    NoSpace,
    /// All addresses for segments are in use. Let states drop versions that are no longer current.
    #[error("no free addresses for a shared table of {size} bytes")]
    Full {
        /// Bytes asked for.
        size: usize,
    },
    /// The system refused memory, or the range.
    #[error(transparent)]
    Arena(#[from] skein_arena::Error),
    /// The domain cannot be used.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// What was to be frozen cannot be.
    #[error("{0}")]
    Refused(String),
    /// In a domain names have 1 to 127 bytes, none of them zero.
    #[error("a shared table of a domain cannot be called {name:?}: 1 to 127 bytes, none of them zero")]
    Name {
        /// The name asked for.
        name: String,
    },
    /// A file was made by another build of the program: stop its processes, and publish the table again.
    #[error("{file} was made by another build: {what} is {found:#x} there and {expected:#x} here", file = file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
        /// What differs.
        what: &'static str,
        /// What it says.
        found: u64,
        /// What this process would have written.
        expected: u64,
    },
    /// A file is not what its publisher wrote: somebody changed or cut it off. Publish the table again.
    #[error("{file} is damaged: {what}", file = file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Something else of this process lies where a segment has to be.
    #[error("the addresses of {file} are in use in this process", file = file.display())]
    AddressesInUse {
        /// The segment's file.
        file: PathBuf,
    },
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
