//! Tables that all processes of a domain read: published by one, found by name by the others, mapped and never copied.
//!
//! They lie in the folder `tables` of the domain's directory, and stay there whoever ends:
//!
//! * `segment.NUMBER.BASE.SIZE`: a segment that is complete, mode 0400; with `.new` behind it, one that somebody fills.
//! * `catalogue`: which segment is the current version of which name. A version becomes the current one by the renaming of a new
//!   catalogue, and by nothing else.
//! * `leases`: the next number and address to be handed out. Its bytes beyond any end are locks: byte `number << 24 | process` is
//!   held, together with others, by each process that maps a segment or fills it.
//!
//! # Who may do what
//! The folder is changed by who has its lock. Who reads takes no lock of the folder and waits for nobody: it holds a segment, then
//! opens it, and asks the catalogue again if the file is gone.
//!
//! # Invariants
//! * **T1** A number is given out once. The addresses in the name of a file belong to it for as long as the file is there.
//! * **T2** A file without `.new` is complete and not written again. One that the catalogue names is not removed.
//! * **T3** Who removes a segment's file holds the segment alone, so nobody has it mapped, and nobody is about to ([`crate::shelf`]).
//! * **T4** What a file says is compared with what it has to be, and its contents with their sum, before it is mapped.
//!
//! # When a process dies
//! The kernel drops what it held. Until the catalogue is renamed everybody reads the version before. What it has left, a `.new`
//! file, a complete segment that no catalogue names, a catalogue without its name, is removed by who next changes the folder.

mod catalogue;
mod look;
mod name;
mod open;
mod publish;

use std::ops::Range;
use std::path::Path;
use std::sync::PoisonError;
use std::time::{SystemTime, UNIX_EPOCH};

use skein_arena::domain::{Folder, FolderLock, Holds};
use skein_arena::sync::{Arc, Mutex, MutexGuard};
use skein_arena::{DomainOptions, step};

use crate::error::Error;
use crate::root::Root;
use crate::segment::{Header, Origin};
use crate::shelf::{self, Shelf};
use catalogue::Catalogue;
pub use look::{OldVersion, Table};
use name::FileName;
pub(crate) use publish::Reserved;

/// What the folder is called.
const FOLDER: &str = "tables";
/// Bits of a process's number.
const PROCESS_BITS: u32 = 24;

/// The tables of a domain.
#[derive(Debug)]
pub struct Tables {
    folder: Folder,
    origin: Origin,
    /// What this process maps and fills.
    holds: Holds,
    /// For asking about all processes, this one included. Used under the folder's lock, or to look only.
    others: Holds,
    /// As it was read last: who looks for a name waits for nobody.
    catalogue: Root<Catalogue>,
    /// See [`Tables::opening`].
    opening: Mutex<()>,
}

impl Tables {
    /// The tables of a domain, which is made if there is none. `machine` is the number of the build that reads and writes them.
    ///
    /// # Errors
    /// The domain's directory is not what it has to be, or the system refuses.
    pub fn open(options: &DomainOptions, machine: u64) -> Result<Arc<Tables>, Error> {
        Tables::over(Folder::open(options, FOLDER)?, machine)
    }

    /// As [`open`](Tables::open), and makes nothing: none if there is no such domain, or no table ever was in it.
    ///
    /// # Errors
    /// As for [`open`](Tables::open).
    pub fn find(options: &DomainOptions, machine: u64) -> Result<Option<Arc<Tables>>, Error> {
        Folder::find(options, FOLDER)?.map(|folder| Tables::over(folder, machine)).transpose()
    }

    fn over(folder: Folder, machine: u64) -> Result<Arc<Tables>, Error> {
        let origin = Origin { seed: folder.seed() as u32, machine };
        let (holds, others) = {
            let _lock = folder.lock()?;
            publish::make_leases(&folder)?;
            (Holds::over(publish::leases(&folder)?), Holds::over(publish::leases(&folder)?))
        };
        let catalogue = Root::new(Catalogue::default());
        Ok(Arc::new(Tables { folder, origin, holds, others, catalogue, opening: Mutex::new(()) }))
    }

    /// What its segments have to be made by.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A descriptor that can be read whenever a table was published or removed. It does not block.
    ///
    /// # Errors
    /// The system has no more of them.
    pub fn watch(&self) -> Result<std::os::fd::OwnedFd, Error> {
        Ok(self.folder.watch()?)
    }

    /// Takes a name out of the catalogue. Who reads the table keeps it. False if there is none of this name.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn remove(&self, name: &str) -> Result<bool, Error> {
        let lock = self.folder.lock()?;
        let mut catalogue = self.read_catalogue()?;
        let found = catalogue.take(name).is_some();
        if found {
            step("remove/taken");
            self.write_catalogue(&mut catalogue)?;
        }
        self.sweep_locked(&lock, &catalogue)?;
        Ok(found)
    }

    /// Removes what nobody reads and what the dead have left. How many files.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn sweep(&self) -> Result<usize, Error> {
        let lock = self.folder.lock()?;
        let catalogue = self.read_catalogue()?;
        self.sweep_locked(&lock, &catalogue)
    }

    fn sweep_locked(&self, _lock: &FolderLock<'_>, catalogue: &Catalogue) -> Result<usize, Error> {
        let mut removed = 0;
        for file in self.files()? {
            // A name that is in the catalogue is complete: what ends in `.new` is not that file.
            if file.finished && catalogue.has(file.number) {
                continue;
            }
            removed += usize::from(shelf::remove(&OneFile { tables: self, name: file })?);
        }
        Ok(removed)
    }

    /// The segments that have a file.
    fn files(&self) -> Result<Vec<FileName>, Error> {
        Ok(self.folder.names()?.iter().filter_map(|name| FileName::parse(name)).collect())
    }

    /// Held by who maps or unmaps segments of the domain. Nobody drops an `Arc` of a segment while they have it.
    fn opening(&self) -> MutexGuard<'_, ()> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// This process's right to map a segment.
#[derive(Debug)]
pub(crate) struct Lease {
    tables: Arc<Tables>,
    name: FileName,
}

impl Lease {
    /// Ends it, once `unmap` says that nothing of the segment is mapped any more. The last one takes the file along, unless that is
    /// the current version.
    pub(crate) fn end(&self, unmap: impl FnOnce() -> bool) {
        {
            // Nobody in this process may map it again between the two: our hold is the process's.
            let _one = self.tables.opening();
            if !unmap() {
                return;
            }
            self.tables.let_go(self.name.number);
        }
        // Whoever has the lock is changing the folder, and sweeps.
        let Ok(Some(_lock)) = self.tables.folder.try_lock() else { return };
        if let Ok(catalogue) = self.tables.read_catalogue()
            && !catalogue.has(self.name.number)
        {
            // What cannot be removed now is removed later.
            let _ = shelf::remove(&OneFile { tables: &self.tables, name: self.name });
        }
    }
}

/// The file of a segment, in the steps of [`shelf`]. Who removes has the folder's lock; who opens is alone in this process.
struct OneFile<'a> {
    tables: &'a Tables,
    name: FileName,
}

impl OneFile<'_> {
    fn failed(&self, source: std::io::Error) -> Error {
        Error::Io { action: "lock", path: self.tables.folder.file(publish::LEASES), source }
    }
}

impl Shelf for OneFile<'_> {
    type Error = Error;
    type Mapped = Header;

    fn hold(&self) -> Result<bool, Error> {
        let held = self.tables.hold(self.name.number);
        step("open/held");
        held
    }

    fn let_go(&self) {
        self.tables.let_go(self.name.number);
    }

    fn map(&self) -> Result<Option<Header>, Error> {
        let mapped = self.tables.map(&self.name);
        step("open/mapped");
        mapped
    }

    fn hold_alone(&self) -> Result<bool, Error> {
        let all = bytes_of(self.name.number);
        let alone = self.tables.others.hold_alone(all.start, all.end - all.start);
        step("sweep/alone");
        alone.map_err(|error| self.failed(error))
    }

    fn let_go_alone(&self) -> Result<(), Error> {
        let all = bytes_of(self.name.number);
        self.tables.others.let_go(all.start, all.end - all.start).map_err(|error| self.failed(error))
    }

    fn remove(&self) -> Result<(), Error> {
        let removed = self.tables.folder.remove(&self.name.to_string());
        step("sweep/removed");
        Ok(removed?)
    }
}

impl Tables {
    /// Says that this process maps a segment, or is about to. False: it is being removed.
    fn hold(&self, number: u64) -> Result<bool, Error> {
        let failed = |source| Error::Io { action: "lock", path: self.folder.file(publish::LEASES), source };
        self.holds.hold(byte_of(number), 1).map_err(failed)
    }

    fn let_go(&self, number: u64) {
        // It fails for a bad descriptor only.
        let _ = self.holds.let_go(byte_of(number), 1);
    }
}

/// The bytes of the file `leases` that stand for a segment.
fn bytes_of(number: u64) -> Range<u64> {
    number << PROCESS_BITS..(number + 1) << PROCESS_BITS
}

/// The one that stands for it and this process.
fn byte_of(number: u64) -> u64 {
    (number << PROCESS_BITS) | (u64::from(std::process::id()) % (1 << PROCESS_BITS))
}

/// The sum over the contents of a file: four lanes of eight bytes, little-endian, the last ones filled up with zeros.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    let mut sum = Sum::new();
    sum.add(bytes);
    sum.end()
}

/// A [`sum`] in the making.
pub(crate) struct Sum {
    lanes: [u64; 4],
    len: u64,
}

impl Sum {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    /// Bytes that are added at a time; only the last part may be no multiple.
    pub(crate) const STEP: usize = 32;

    pub(crate) fn new() -> Sum {
        Sum { lanes: [1, 2, 3, 4], len: 0 }
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let (steps, rest) = bytes.as_chunks::<{ Sum::STEP }>();
        steps.iter().for_each(|it| self.mix(it));
        if !rest.is_empty() {
            let mut last = [0; Sum::STEP];
            last[..rest.len()].copy_from_slice(rest);
            self.mix(&last);
        }
        self.len += bytes.len() as u64;
    }

    fn mix(&mut self, step: &[u8; Sum::STEP]) {
        let (words, _) = step.as_chunks::<8>();
        for (lane, word) in self.lanes.iter_mut().zip(words) {
            *lane = (*lane ^ u64::from_le_bytes(*word)).wrapping_mul(Sum::FACTOR).rotate_left(29);
        }
    }

    pub(crate) fn end(self) -> u64 {
        let all = self.lanes.into_iter().chain([self.len]);
        all.fold(0, |sum: u64, lane| (sum ^ lane).wrapping_mul(Sum::FACTOR).rotate_left(29))
    }
}

/// Nanoseconds since 1970.
fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_nanos() as u64)
}
