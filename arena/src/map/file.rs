//! Files that grow without surprises.

use std::{fs::File, io};

use rustix::{
    fs::{FallocateFlags, fallocate, ftruncate},
    io::Errno,
    process::{Resource, getrlimit},
};

use crate::Error;

/// Makes a file at least `size` bytes long, without memory for them.
///
/// # Errors
/// [`Error::SharedFull`] at the process's limit on the size of files, [`Error::Map`] for what else the system says.
pub(crate) fn grow_to(file: &File, size: u64) -> Result<(), Error> {
    within_limit(size)?;
    ftruncate(file, size).map_err(|errno| refused(errno, size as usize))
}

/// Has the file system promise memory for some bytes of a file: touching them is safe afterwards.
///
/// # Errors
/// [`Error::SharedFull`] if it has not got that much; then nothing has changed.
pub(crate) fn promise(file: &File, offset: u64, size: usize) -> Result<(), Error> {
    if size == 0 {
        return Ok(());
    }
    within_limit(offset + size as u64)?;
    loop {
        match fallocate(file, FallocateFlags::empty(), offset, size as u64) {
            // A signal came; the system has taken back what it had done.
            Err(Errno::INTR) => {}
            other => return other.map_err(|errno| refused(errno, size)),
        }
    }
}

/// Over the limit on the size of files (`ulimit -f`) the system does not refuse: it kills, unless SIGXFSZ is ignored.
fn within_limit(size: u64) -> Result<(), Error> {
    match getrlimit(Resource::Fsize).current {
        Some(limit) if limit < size => Err(refused(Errno::FBIG, size as usize)),
        _ => Ok(()),
    }
}

fn refused(errno: Errno, size: usize) -> Error {
    let source = io::Error::from(errno);
    match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Error::SharedFull { size, source },
        _ => Error::Map { size, source },
    }
}
