//! Heaps that the processes of one host share: each writes its own, and reads those of all others.
//!
//! A domain is a directory, by default under `/dev/shm`. Each process of it has a *slot*: a number from 1 to 254, which is its heap in
//! the range ([`crate::range`]), and four files that it alone writes (docs/arena-layout.md). Others map these read-only, the heap
//! at the same addresses, so that a pointer means the same everywhere.
//!
//! ```
//! use skein_arena::{Domain, DomainOptions};
//!
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("game");
//! let domain = Domain::open(&DomainOptions::in_directory(path))?;
//! let block = domain.arena().copy_from(b"move 3 4")?;
//! // Any process of the domain finds the block at this address.
//! assert!(skein_arena::range::contains(block.as_ptr()));
//! # domain.leave()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Who may do what
//! * `domain` is written once, by whoever makes the domain. `doorbells` is written by all ([`Domain::doorbells_area`]).
//! * `lock.NNN` is locked by the owner of slot `NNN` for as long as it lives; the kernel lets go of it at death, whatever the
//!   death was. Nothing else says who is alive.
//! * Slots are taken, swept and opened under a lock of the directory: alone by who takes or sweeps, together by those who only
//!   open a peer's files. It is the kernel's too, so nobody waits for the dead.
//!
//! # Invariants
//! * **D1** A slot's files are removed or replaced only when its owner is dead, or leaves by itself, and no living process has said that it maps
//!   them ([`ATTACHED`]). Who maps them has said so before, under the lock of the directory.
//! * **D2** `domain` is complete as soon as it has its name, and so is `doorbells` by then.
//! * **D3** Nothing that a file says is used before it was compared with what it has to be, or with the file's length.
//! * **D4** `lock.NNN` is the first file of a slot to come and the last to go: a slot without it has no files.
//! * **D5** Each taking of a slot has a *life*, a random number that is in the tables and in the control file.
//!
//! # When a process dies
//! Its files stay and can be read. The next process that opens the domain, or anybody's [`Domain::sweep`], removes them once
//! nobody maps them. Whatever step the process died at, what is left is one of: no slot; a lock file nobody holds, with some
//! of the other files. Sweeping, killed half-way, leaves the same.

#[cfg(test)]
mod documented;
mod error;
mod field;
mod files;
mod folder;
// The golden files are of the large range.
#[cfg(all(test, not(skein_tsan)))]
mod golden;
mod open;
mod peer;
mod superblock;
mod sweep;

use std::{fmt, mem::offset_of, path::Path, path::PathBuf, ptr::NonNull, time::Duration};

pub use error::{DomainError, Field};
pub(crate) use folder::is_folder;
pub use folder::{Folder, FolderLock, Holds, promise as promise_file};
pub use open::DomainOptions;
pub use peer::{Living, Peer};
pub use sweep::{Held, Swept, SweptSlot};

pub(crate) use field::{u32_at, u64_at};
pub(crate) use files::{Access, Directory, Part, is_locked};
pub(crate) use open::{DOORBELLS, check_length};
pub(crate) use superblock::{DomainBlock, HeapBlock};

use crate::{
    Arena, Error,
    map::promise,
    transfer::{Control, Doorbells},
};
use open::Own;

/// The number of a process in its domain, and of its heap in the range: 1 to 254.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u8);

impl Slot {
    /// The largest.
    pub const MOST: u8 = 254;

    /// The slot with this number, if there is one.
    pub const fn new(number: u8) -> Option<Slot> {
        if 1 <= number && number <= Slot::MOST { Some(Slot(number)) } else { None }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// All slots.
    pub(crate) fn all() -> impl Iterator<Item = Slot> {
        (1..=Slot::MOST).map(Slot)
    }

    /// Its heap in the range.
    pub(crate) fn heap(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Bytes of a control file. It has memory only where something was written.
pub const CONTROL_SIZE: usize = 32 << 20;
/// Bytes of the doorbells: a line for each number that a byte can name.
pub const DOORBELLS_SIZE: usize = size_of::<Doorbells>();
/// Where in a control file the life of its process stands, in eight bytes.
pub const LIFE: usize = offset_of!(Control, life);
/// Where in a control file, by slot, the life stands that its process has mapped, in eight bytes each.
pub const ATTACHED: usize = offset_of!(Control, attached);

/// This process's place in a domain, for as long as it runs. It is a handle: copying it copies a pointer.
#[derive(Clone, Copy)]
pub struct Domain(&'static Own);

impl Domain {
    /// Opens the domain, and makes it if there is none; takes a slot in it. What dead processes have left is swept on the way.
    ///
    /// # Errors
    /// The directory or a file in it is not what it has to be: then nothing has been changed. No slot is left, the file system
    /// is full, or the process is in a domain already: then nothing of ours is left.
    pub fn open(options: &DomainOptions) -> Result<Domain, DomainError> {
        open::open(options).map(Domain)
    }

    /// The domain that this process has opened.
    pub fn current() -> Option<Domain> {
        open::current().map(Domain)
    }

    /// Our slot.
    pub fn slot(self) -> Slot {
        self.0.slot
    }

    /// The directory.
    pub fn path(self) -> &'static Path {
        self.0.directory.path()
    }

    /// The arena that others can read.
    pub fn arena(self) -> Arena {
        self.0.arena
    }

    /// The number that all processes of the domain seed their hashes with.
    pub fn seed(self) -> u64 {
        self.0.block.seed
    }

    /// Which domain this is: a random number, drawn when it was made.
    pub fn id(self) -> u64 {
        self.0.block.id
    }

    /// Which taking of our slot this is. Never zero.
    pub fn life(self) -> u64 {
        self.0.life
    }

    /// The bytes of our control file, zeros at first, which we alone write and all others read. Only those that were
    /// [promised](Domain::promise_control) may be touched; the first page is.
    pub(crate) fn control_area(self) -> NonNull<[u8]> {
        self.0.control.bytes()
    }

    /// Makes some bytes of our control file safe to touch.
    ///
    /// # Errors
    /// [`Error::SharedFull`].
    pub(crate) fn promise_control(self, offset: usize, size: usize) -> Result<(), Error> {
        assert!(offset + size <= CONTROL_SIZE, "beyond the control file");
        promise(self.0.control.file(), offset as u64, size)
    }

    /// The bytes that all processes of the domain write, zeros at first.
    pub(crate) fn doorbells_area(self) -> NonNull<[u8]> {
        self.0.doorbells.bytes()
    }

    /// The process in a slot, alive or dead, its files mapped read-only.
    ///
    /// # Errors
    /// [`DomainError::NoPeer`]; the files are not what they have to be; their addresses are in use.
    pub fn peer(self, slot: Slot) -> Result<Peer, DomainError> {
        peer::open(self.0, slot)
    }

    /// The living processes of the domain, this one included, by slot.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn peers(self) -> Result<Vec<Living>, DomainError> {
        peer::living(&self.0.directory)
    }

    /// Lets go of peers that are dead and that nobody here uses any more, and removes the files of the dead that no living
    /// process maps.
    ///
    /// # Errors
    /// [`DomainError::Busy`]; the directory cannot be read or written.
    pub fn sweep(self) -> Result<Swept, DomainError> {
        peer::let_go(self.0);
        sweep::sweep(&self.0.directory, self.0.patience)
    }

    /// Leaves: removes the files of our slot, if nobody maps them, and those of the domain when nobody is left. For the end
    /// of a process; the arena works until then, but nobody else will find it. Whether the files are gone; if not, the next
    /// sweep after our end removes them.
    ///
    /// # Errors
    /// As for [`sweep`](Domain::sweep).
    pub fn leave(self) -> Result<bool, DomainError> {
        sweep::leave(self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Domain")
            .field("path", &self.path())
            .field("slot", &self.slot())
            .finish_non_exhaustive()
    }
}

/// Removes what dead processes have left in a domain that this process is not part of.
///
/// # Errors
/// As for [`Domain::open`] and [`Domain::sweep`]; there is no such domain.
pub fn sweep(path: &Path, patience: Duration) -> Result<Swept, DomainError> {
    let directory = Directory::open(path, false)?;
    sweep::sweep(&directory, patience)
}

/// Where the domain of this name is: `/dev/shm/skein-<uid>-<name>`.
///
/// # Errors
/// [`DomainError::Name`].
pub fn path_of(name: &str) -> Result<PathBuf, DomainError> {
    let plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(plain) {
        return Err(DomainError::Name { name: name.to_owned() });
    }
    let uid = rustix::process::geteuid().as_raw();
    Ok(PathBuf::from(format!("/dev/shm/skein-{uid}-{name}")))
}
