//! The directory of a domain, and how its files are opened, checked and locked.
//!
//! Nothing is opened by a path but the directory itself, and that one only if it is a directory, ours, and closed to others:
//! what lies in it was put there by processes of our own user. Links are not followed.

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, Stat, fchmod, flock, fstat, mkdirat},
    fs::{openat, renameat, unlinkat},
    io::Errno,
    process::geteuid,
};

use super::{DomainError, Slot};

/// Who may use the directory, and who its files: we.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Files that nobody writes any more.
const SEALED_MODE: u32 = 0o400;
/// How long we wait before we ask for a lock again.
const PAUSE: Duration = Duration::from_millis(2);

/// An open directory of a domain.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    fd: File,
}

/// Whether a file may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Held while slots are taken, swept or opened. The kernel drops it when the process dies.
#[must_use]
#[derive(Debug)]
pub(crate) struct DirectoryLock<'a>(&'a Directory);

impl Drop for DirectoryLock<'_> {
    fn drop(&mut self) {
        // It fails for a bad descriptor only.
        let _ = flock(&self.0.fd, FlockOperation::Unlock);
    }
}

/// The files of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Heap,
    Tables,
    Control,
    Lock,
}

impl Part {
    /// All of them, in the order in which they are removed: as long as the lock's file is there, so is the slot.
    pub(crate) const ALL: [Part; 4] = [Part::Heap, Part::Control, Part::Tables, Part::Lock];

    /// What the file of a slot is called.
    pub(crate) fn of(self, slot: Slot) -> String {
        let part = match self {
            Part::Heap => "heap",
            Part::Tables => "tables",
            Part::Control => "control",
            Part::Lock => "lock",
        };
        format!("{part}.{:03}", slot.number())
    }
}

impl Directory {
    /// Opens the directory at `path`; with `create`, makes it if there is none.
    pub(crate) fn open(path: &Path, create: bool) -> Result<Directory, DomainError> {
        let failed = |action| move |errno: Errno| io_error(action, path, errno);
        if create {
            match mkdirat(CWD, path, Mode::from_bits_truncate(DIRECTORY_MODE)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed("make")(errno)),
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match openat(CWD, path, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            // Not a directory, or a link: which, is a better answer than the number.
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let stat =
                    rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("look at"))?;
                let found = type_of(&stat);
                return Err(DomainError::FileType { path: path.to_owned(), found, expected: "directory" });
            }
            Err(errno) => return Err(failed("open")(errno)),
        };
        let stat = fstat(&fd).map_err(failed("look at"))?;
        check(&stat, path, FileType::Directory, "directory", DIRECTORY_MODE)?;
        Ok(Directory { path: path.to_owned(), fd })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of one of its files, for messages.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Locks the directory, alone (`Access::Write`) or together with others (`Access::Read`).
    ///
    /// # Errors
    /// [`DomainError::Busy`] after `patience`.
    pub(crate) fn lock(&self, access: Access, patience: Duration) -> Result<DirectoryLock<'_>, DomainError> {
        let operation = match access {
            Access::Read => FlockOperation::NonBlockingLockShared,
            Access::Write => FlockOperation::NonBlockingLockExclusive,
        };
        let began = Instant::now();
        loop {
            match flock(&self.fd, operation) {
                Ok(()) => return Ok(DirectoryLock(self)),
                Err(Errno::WOULDBLOCK) if began.elapsed() < patience => std::thread::sleep(PAUSE),
                Err(Errno::WOULDBLOCK) => {
                    return Err(DomainError::Busy { path: self.path.clone(), waited: patience });
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(io_error("lock", &self.path, errno)),
            }
        }
    }

    /// Opens one of its files, which has to be ours; none if there is none.
    pub(crate) fn try_open_file(&self, name: &str, access: Access) -> Result<Option<File>, DomainError> {
        self.open_with_mode(name, access, FILE_MODE)
    }

    /// Opens a file that was [sealed](Directory::seal_file), to read it; none if there is none.
    pub(super) fn open_sealed(&self, name: &str) -> Result<Option<File>, DomainError> {
        self.open_with_mode(name, Access::Read, SEALED_MODE)
    }

    /// Says that nobody writes a file any more.
    pub(super) fn seal_file(&self, name: &str, file: &File) -> Result<(), DomainError> {
        fchmod(file, Mode::from_bits_truncate(SEALED_MODE))
            .map_err(|errno| io_error("seal", &self.file(name), errno))
    }

    fn open_with_mode(
        &self,
        name: &str,
        access: Access,
        file_mode: u32,
    ) -> Result<Option<File>, DomainError> {
        let path = self.file(name);
        let mode = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
        };
        // A fifo must not hold us up.
        let flags = mode | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => {
                return Err(DomainError::FileType { path, found: "symbolic link", expected: "file" });
            }
            Err(errno) => return Err(io_error("open", &path, errno)),
        };
        let stat = fstat(&file).map_err(|errno| io_error("look at", &path, errno))?;
        check(&stat, &path, FileType::RegularFile, "file", file_mode)?;
        Ok(Some(file))
    }

    /// As [`try_open_file`](Directory::try_open_file); a file that is not there is an error.
    pub(crate) fn open_file(&self, name: &str, access: Access) -> Result<File, DomainError> {
        self.try_open_file(name, access)?.ok_or_else(|| io_error("open", &self.file(name), Errno::NOENT))
    }

    /// Makes a file that is not there yet.
    pub(crate) fn create_file(&self, name: &str) -> Result<File, DomainError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_bits_truncate(FILE_MODE);
        let failed = |errno| io_error("make", &self.file(name), errno);
        let file = openat(&self.fd, name, flags, mode).map_err(failed)?;
        // The mask of the process may have taken something away.
        fchmod(&file, mode).map_err(failed)?;
        Ok(File::from(file))
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove_file(&self, name: &str) -> Result<(), DomainError> {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(io_error("remove", &self.file(name), errno)),
        }
    }

    /// Gives a file its final name.
    pub(crate) fn rename_file(&self, from: &str, to: &str) -> Result<(), DomainError> {
        renameat(&self.fd, from, &self.fd, to).map_err(|errno| io_error("rename", &self.file(from), errno))
    }

    /// Removes the directory itself, if it is empty. Whether it was.
    pub(crate) fn remove(&self) -> bool {
        unlinkat(CWD, &self.path, AtFlags::REMOVEDIR).is_ok()
    }

    /// Whether the path still leads to this directory: the last one to leave removes it.
    pub(crate) fn is_there(&self) -> bool {
        let ours = fstat(&self.fd);
        let there = rustix::fs::statat(CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW);
        matches!((ours, there), (Ok(ours), Ok(there)) if (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino))
    }

    /// The names in the directory, sorted.
    pub(crate) fn names(&self) -> Result<Vec<String>, DomainError> {
        let failed = |errno| io_error("list", &self.path, errno);
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy();
            if name != "." && name != ".." {
                names.push(name.into_owned());
            }
        }
        names.sort();
        Ok(names)
    }
}

/// Bytes of a file.
pub(crate) fn length(file: &File, path: &Path) -> Result<u64, DomainError> {
    Ok(fstat(file).map_err(|errno| io_error("look at", path, errno))?.st_size as u64)
}

pub(crate) fn io_error(action: &'static str, path: &Path, errno: Errno) -> DomainError {
    DomainError::Io { action, path: path.to_owned(), source: errno.into() }
}

fn type_of(stat: &Stat) -> &'static str {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symbolic link",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        _ => "device",
    }
}

fn check(
    stat: &Stat,
    path: &Path,
    ty: FileType,
    expected: &'static str,
    mode: u32,
) -> Result<(), DomainError> {
    let path = || path.to_owned();
    if FileType::from_raw_mode(stat.st_mode) != ty {
        return Err(DomainError::FileType { path: path(), found: type_of(stat), expected });
    }
    let us = geteuid().as_raw();
    if stat.st_uid != us {
        return Err(DomainError::Owner { path: path(), found: stat.st_uid, expected: us });
    }
    let found = stat.st_mode & 0o7777;
    if found != mode {
        return Err(DomainError::Mode { path: path(), found, expected: mode });
    }
    Ok(())
}

/// Locks a file for as long as it is open, unless somebody has done so; whether we have it.
///
/// These are locks of the open file and not of the process (`F_OFD_SETLK`): the kernel drops them when the last descriptor of
/// it goes, which is when the process dies, and closing another descriptor of the same file changes nothing.
pub(crate) fn lock_alive(file: &File) -> io::Result<bool> {
    set_lock(file, libc::F_WRLCK, 0, 0)
}

/// Locks bytes of a file for as long as it is open, or lets go of them; whether nobody stands against it. `len` 0 is all behind `first`.
pub(super) fn set_lock(file: &File, kind: libc::c_int, first: u64, len: u64) -> io::Result<bool> {
    match fcntl(file, libc::F_OFD_SETLK, kind, first, len) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The first byte of some that another open file has locked.
pub(super) fn first_locked(file: &File, first: u64, len: u64) -> io::Result<Option<u64>> {
    let found = fcntl(file, libc::F_OFD_GETLK, libc::F_WRLCK, first, len)?;
    // A lock that begins before them has the first of them.
    let at = (found.l_start as u64).max(first);
    Ok((found.l_type != libc::F_UNLCK as libc::c_short).then_some(at))
}

/// Whether somebody else holds that lock. Asking changes nothing, so nobody who takes the lock meets a process that asks.
pub(crate) fn is_locked(file: &File) -> io::Result<bool> {
    Ok(first_locked(file, 0, 0)?.is_some())
}

/// One of the commands for locks of open files.
fn fcntl(
    file: &File,
    command: libc::c_int,
    kind: libc::c_int,
    first: u64,
    len: u64,
) -> io::Result<libc::flock> {
    let mut lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: first as libc::off_t,
        l_len: len as libc::off_t,
        l_pid: 0,
    };
    loop {
        // SAFETY: the descriptor is open, and `lock` is what both commands take.
        if unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) } != -1 {
            return Ok(lock);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
