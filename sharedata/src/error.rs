//! Why a segment could not be made or opened.

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
    /// What was to be frozen cannot be.
    #[error("{0}")]
    Refused(String),
}
