//! Daemon mode: the process goes to the background, and a pid file says which it is.
//!
//! The file is locked for the life of the process, so a stale one is told from a living one by the kernel. Forking is libc's
//! `daemon`, one call that keeps the working directory and the descriptors: the standard library has no fork, and it is
//! sound only while there is one thread, which is why this comes first of all.
//!
//! # From skynet
//! skynet_daemon.c: daemon_init, daemon_exit → [`PidFile`]; check_pid, write_pid, redirect_fds → its steps.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, getpid, test_kill_process},
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
};

use crate::StartError;

/// The locked pid file of this process. Dropping it removes it.
pub(crate) struct PidFile {
    path: PathBuf,
    /// Open for its lock.
    _file: File,
}

impl PidFile {
    /// Goes to the background: the caller's process ends, and its child returns from here.
    ///
    /// # Errors
    /// Another process of this pid file is alive (said by the caller's process); anything else is said by the child.
    pub(crate) fn daemonize(path: PathBuf) -> Result<Self, StartError> {
        if let Some(pid) = living_owner(&path) {
            return Err(StartError::AlreadyRunning(pid));
        }
        // SAFETY: the caller of `Node::new` promises that no other thread runs. Keep the directory, keep the descriptors.
        if unsafe { libc::daemon(1, 1) } != 0 {
            return Err(StartError::Daemonize(io::Error::last_os_error()));
        }
        let file = write_pid(&path)?;
        redirect()?;
        Ok(Self { path, _file: file })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The pid in the file, if it is a living process other than us.
fn living_owner(path: &Path) -> Option<i32> {
    let pid = Pid::from_raw(read_pid(&mut File::open(path).ok()?)?)?;
    let lives = pid != getpid() && test_kill_process(pid) != Err(rustix::io::Errno::SRCH);
    lives.then(|| pid.as_raw_nonzero().get())
}

fn read_pid(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok().filter(|pid| *pid > 0)
}

fn write_pid(path: &Path) -> Result<File, StartError> {
    let create = |error| StartError::PidCreate(path.to_owned(), error);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(path);
    let mut file = file.map_err(create)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(read_pid(&mut file).map_or(StartError::PidUnreadable, StartError::PidLocked));
    }
    let written = file.set_len(0).and_then(|()| file.rewind());
    let written = written.and_then(|()| writeln!(file, "{}", getpid().as_raw_nonzero()));
    written.map_err(StartError::PidWrite)?;
    Ok(file)
}

fn redirect() -> Result<(), StartError> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").map_err(StartError::DevNull)?;
    let dup = |error: rustix::io::Errno| StartError::Dup(error.into());
    dup2_stdin(&null).map_err(dup)?;
    dup2_stdout(&null).map_err(dup)?;
    dup2_stderr(&null).map_err(dup)
}
