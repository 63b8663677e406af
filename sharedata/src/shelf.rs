//! Who may map a segment's file, and who may remove it: the steps of both, whatever the files are.
//!
//! Processes share no memory for this: a reader *holds* a segment together with others, and who removes its file holds it alone. Holds are
//! the kernel's, which drops those of the dead; `loom-tests` plays the kernel, and runs these functions.
//!
//! # Invariants
//! * **L1** A file that somebody has mapped is there: its addresses are given to no other.
//! * **L2** Who reads waits for nobody: what cannot be held or is gone was replaced, and the reader asks for what is current.

/// A segment's file, as one process sees it.
pub trait Shelf {
    /// Why the system refused.
    type Error;
    /// What it is to have it mapped.
    type Mapped;

    /// Holds it, together with others of other processes. False: somebody has it alone.
    fn hold(&self) -> Result<bool, Self::Error>;
    /// Ends this process's hold.
    fn let_go(&self);
    /// Maps the file; none if it is gone.
    fn map(&self) -> Result<Option<Self::Mapped>, Self::Error>;
    /// Holds it alone. False: somebody else, or this process as a reader, holds it.
    fn hold_alone(&self) -> Result<bool, Self::Error>;
    /// Ends that.
    fn let_go_alone(&self) -> Result<(), Self::Error>;
    /// Removes the file.
    fn remove(&self) -> Result<(), Self::Error>;
}

/// Holds a segment and maps it. None if it is being removed, or was.
///
/// # Errors
/// The system refused; then it is not held.
pub fn open<S: Shelf>(shelf: &S) -> Result<Option<S::Mapped>, S::Error> {
    // First of all: what is mapped without a hold may be removed between the two (L1).
    if !shelf.hold()? {
        return Ok(None);
    }
    let mapped = shelf.map();
    if !matches!(mapped, Ok(Some(_))) {
        shelf.let_go();
    }
    mapped
}

/// Removes the file of a segment that is not current, unless somebody holds it. Whether nobody did.
///
/// # Errors
/// The system refused.
pub fn remove<S: Shelf>(shelf: &S) -> Result<bool, S::Error> {
    if !shelf.hold_alone()? {
        return Ok(false);
    }
    let removed = shelf.remove();
    // Who comes now finds no file; before, who came could not hold it.
    shelf.let_go_alone()?;
    removed.map(|()| true)
}
