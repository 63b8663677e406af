//! A directory of the domain's that belongs to no process: what is in it outlives who made it.
//!
//! A process may use it without a slot. Its files are made, renamed and removed under the lock of the folder, which is the
//! kernel's as all locks here: nobody waits for the dead. What the files mean is the business of who asks for the folder.
//!
//! Whether somebody living uses a file is told by [`Holds`]: locks on bytes of one file, a byte for each thing that can be held and
//! each process. The kernel drops them at death.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{PoisonError, TryLockError},
    time::Duration,
};

use rustix::fs::inotify;

use super::{
    Access, Directory, DomainBlock, DomainError, DomainOptions,
    files::{DirectoryLock, first_locked, io_error, length, set_lock},
    open::make_or_read,
};
use crate::{
    Error, map,
    sync::{Mutex, MutexGuard},
};

/// Folders that may be in a domain.
const NAMES: [&str; 1] = ["tables"];

/// Whether a name in the directory of a domain is that of a folder.
pub(crate) fn is_folder(name: &str) -> bool {
    NAMES.contains(&name)
}

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    directory: Directory,
    block: DomainBlock,
    patience: Duration,
    /// Between the threads of this process, who are one to the kernel's lock.
    threads: Mutex<()>,
}

/// Held by who changes the folder.
#[must_use]
#[derive(Debug)]
pub struct FolderLock<'a> {
    _processes: DirectoryLock<'a>,
    _threads: MutexGuard<'a, ()>,
}

impl Folder {
    /// Opens the folder `name` of a domain, and makes both if they are not there. No slot is taken.
    ///
    /// # Errors
    /// As for [`Domain::open`](super::Domain::open).
    ///
    /// # Panics
    /// No domain has a folder of this name.
    pub fn open(options: &DomainOptions, name: &str) -> Result<Folder, DomainError> {
        assert!(is_folder(name), "no such folder: {name}");
        let path = options.path()?;
        loop {
            let above = Directory::open(&path, true)?;
            let _lock = above.lock(Access::Write, options.patience)?;
            // While we waited, the last one of it may have left and removed it.
            if !above.is_there() {
                continue;
            }
            let block = make_or_read(&above, map::build_of(options.build))?;
            let directory = Directory::open(&above.file(name), true)?;
            return Ok(Folder::of(directory, block, options));
        }
    }

    /// As [`open`](Folder::open), and makes nothing: none if there is no such domain, or no such folder in it. Who made the domain
    /// does not matter.
    ///
    /// # Errors
    /// As for [`open`](Folder::open).
    pub fn find(options: &DomainOptions, name: &str) -> Result<Option<Folder>, DomainError> {
        let path = options.path()?;
        let none = |error: &DomainError| matches!(error, DomainError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound);
        let found = || {
            let above = Directory::open(&path, false)?;
            let block = DomainBlock::read(&above, None)?;
            let directory = Directory::open(&above.file(name), false)?;
            Ok(Folder::of(directory, block, options))
        };
        match found() {
            Ok(folder) => Ok(Some(folder)),
            Err(error) if none(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The path of one of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.file(name)
    }

    /// Which domain this is: a random number, drawn when it was made.
    pub fn id(&self) -> u64 {
        self.block.id
    }

    /// The number that all processes of the domain seed their hashes with.
    pub fn seed(&self) -> u64 {
        self.block.seed
    }

    fn of(directory: Directory, block: DomainBlock, options: &DomainOptions) -> Folder {
        Folder { directory, block, patience: options.patience, threads: Mutex::new(()) }
    }

    /// Locks the folder for the one that changes it.
    ///
    /// # Errors
    /// [`DomainError::Busy`].
    pub fn lock(&self) -> Result<FolderLock<'_>, DomainError> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(FolderLock { _processes: self.directory.lock(Access::Write, self.patience)?, _threads: threads })
    }

    /// As [`lock`](Folder::lock), and does not wait for long: none if somebody else has it.
    ///
    /// # Errors
    /// The system refuses.
    pub fn try_lock(&self) -> Result<Option<FolderLock<'_>>, DomainError> {
        /// Locks are held for less than a millisecond, unless their holder was stopped.
        const SOON: Duration = Duration::from_millis(50);
        let threads = match self.threads.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(broken)) => broken.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        match self.directory.lock(Access::Write, SOON) {
            Ok(processes) => Ok(Some(FolderLock { _processes: processes, _threads: threads })),
            Err(DomainError::Busy { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names of its files, sorted.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn names(&self) -> Result<Vec<String>, DomainError> {
        self.directory.names()
    }

    /// Makes a file that is not there yet.
    ///
    /// # Errors
    /// It is there; the system refuses.
    pub fn create(&self, name: &str) -> Result<File, DomainError> {
        self.directory.create_file(name)
    }

    /// Opens a file to read and write it; none if there is none.
    ///
    /// # Errors
    /// It is no plain file, another user's, or others may use it.
    pub fn open_file(&self, name: &str) -> Result<Option<File>, DomainError> {
        self.directory.try_open_file(name, Access::Write)
    }

    /// Opens a file that was [sealed](Folder::seal), to read it; none if there is none.
    ///
    /// # Errors
    /// As for [`open_file`](Folder::open_file); somebody could write it.
    pub fn open_sealed(&self, name: &str) -> Result<Option<File>, DomainError> {
        self.directory.open_sealed(name)
    }

    /// Says that nobody writes a file any more.
    ///
    /// # Errors
    /// The system refuses.
    pub fn seal(&self, name: &str, file: &File) -> Result<(), DomainError> {
        self.directory.seal_file(name, file)
    }

    /// Gives a file another name; a file that had that name is gone.
    ///
    /// # Errors
    /// The system refuses.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), DomainError> {
        self.directory.rename_file(from, to)
    }

    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// The system refuses.
    pub fn remove(&self, name: &str) -> Result<(), DomainError> {
        self.directory.remove_file(name)
    }

    /// Bytes of a file of the folder.
    ///
    /// # Errors
    /// The system refuses.
    pub fn length(&self, name: &str, file: &File) -> Result<u64, DomainError> {
        length(file, &self.file(name))
    }

    /// A descriptor that can be read each time a file of the folder gets its final name. It does not block.
    ///
    /// # Errors
    /// The system has no more of them.
    pub fn watch(&self) -> Result<OwnedFd, DomainError> {
        let failed = |errno| io_error("watch", self.path(), errno);
        let fd =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(failed)?;
        let _ = inotify::add_watch(&fd, self.path(), inotify::WatchFlags::MOVED_TO).map_err(failed)?;
        Ok(fd)
    }
}

/// Has the file system promise memory for some bytes of a file, and makes the file so long.
///
/// # Errors
/// [`Error::SharedFull`].
pub fn promise(file: &File, offset: u64, size: usize) -> Result<(), Error> {
    map::promise(file, offset, size)
}

/// Who holds what: locks on bytes of a file, which the kernel drops when this process dies.
#[derive(Debug)]
pub struct Holds(File);

impl Holds {
    /// Over a file. What this process holds through another of these is another's.
    pub fn over(file: File) -> Holds {
        Holds(file)
    }

    /// Holds bytes together with others. False: somebody has them alone.
    ///
    /// # Errors
    /// The system refuses.
    pub fn hold(&self, first: u64, len: u64) -> io::Result<bool> {
        set_lock(&self.0, libc::F_RDLCK, first, len)
    }

    /// Holds bytes alone. False: somebody else holds some of them.
    ///
    /// # Errors
    /// The system refuses.
    pub fn hold_alone(&self, first: u64, len: u64) -> io::Result<bool> {
        set_lock(&self.0, libc::F_WRLCK, first, len)
    }

    /// Lets go.
    ///
    /// # Errors
    /// The system refuses.
    pub fn let_go(&self, first: u64, len: u64) -> io::Result<()> {
        set_lock(&self.0, libc::F_UNLCK, first, len).map(drop)
    }

    /// The first of these bytes that somebody else holds.
    ///
    /// # Errors
    /// The system refuses.
    pub fn first_held(&self, first: u64, len: u64) -> io::Result<Option<u64>> {
        first_locked(&self.0, first, len)
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.0
    }
}
