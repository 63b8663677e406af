//! Opening a domain: its own files, and ours in it.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    ptr::NonNull,
    sync::PoisonError,
    time::Duration,
};

use memmap2::{MmapMut, MmapOptions};
use rustix::process::getpid;

use super::{
    ATTACHED, Access, CONTROL_SIZE, DOORBELLS_SIZE, Directory, DomainBlock, DomainError, LIFE, Part, Peer,
    Slot,
    files::{io_error, is_locked, length, lock_alive},
    path_of,
    superblock::{now_ns, random},
    sweep,
};
use crate::{
    Arena, Error,
    alloc::{Heap, check_limit},
    map::{Data, Identity, Tables, build_of, grow_to, promise},
    range,
    step::step,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::*},
    },
};

/// What the file that all may write is called.
pub(crate) const DOORBELLS: &str = "doorbells";
/// What `domain` is called until it is complete.
const UNFINISHED: &str = "domain.new";

/// How to open a domain.
#[derive(Clone, Debug)]
pub struct DomainOptions {
    place: Place,
    limit: Option<u64>,
    pub(super) build: u64,
    pub(super) patience: Duration,
}

#[derive(Clone, Debug)]
enum Place {
    Name(String),
    Directory(PathBuf),
}

impl DomainOptions {
    /// The domain of this name, in `/dev/shm/skein-<uid>-<name>`.
    pub fn named(name: impl Into<String>) -> DomainOptions {
        DomainOptions::at(Place::Name(name.into()))
    }

    /// The domain in this directory, which is made if it is not there; not its parents. The file system has to be one in
    /// memory, or every block is written to a disk sooner or later.
    pub fn in_directory(path: impl Into<PathBuf>) -> DomainOptions {
        DomainOptions::at(Place::Directory(path.into()))
    }

    fn at(place: Place) -> DomainOptions {
        DomainOptions { place, limit: None, build: 0, patience: Duration::from_secs(10) }
    }

    /// At most this many bytes in spans and large blocks of our own heap. See [`Options`](crate::Options).
    pub fn limit(mut self, bytes: u64) -> DomainOptions {
        self.limit = Some(bytes);
        self
    }

    /// A number that all processes of the domain have to agree on, beside those of this crate: what the embedder was built from.
    pub fn build(mut self, hash: u64) -> DomainOptions {
        self.build = hash;
        self
    }

    /// How long to wait for others that open or sweep the domain at the moment; 10 s if not told.
    pub fn patience(mut self, patience: Duration) -> DomainOptions {
        self.patience = patience;
        self
    }

    /// Where the domain is.
    pub(super) fn path(&self) -> Result<PathBuf, DomainError> {
        match &self.place {
            Place::Name(name) => path_of(name),
            Place::Directory(path) => Ok(path.clone()),
        }
    }
}

/// What this process has of its domain. It lives as long as the process.
pub(super) struct Own {
    pub(super) directory: Directory,
    pub(super) block: DomainBlock,
    pub(super) slot: Slot,
    pub(super) life: u64,
    pub(super) arena: Arena,
    pub(super) control: Area,
    pub(super) doorbells: Area,
    pub(super) patience: Duration,
    /// The slots of others that are mapped here.
    pub(super) peers: Mutex<BTreeMap<Slot, Peer>>,
    /// Its lock says that we live.
    _lock: File,
}

impl Own {
    /// Says that the memory of this life of `slot` is mapped here, or is no more (D1).
    pub(super) fn attach(&self, slot: Slot, life: u64) {
        let at = ATTACHED + 8 * usize::from(slot.number());
        // SAFETY: it lies inside of the control file's first page, which is promised; everybody uses it as an atomic.
        let attached = unsafe { self.control.start.byte_add(at).cast::<AtomicU64>().as_ref() };
        // The lock of the directory orders this against whoever sweeps; letting go needs no order but to come last.
        attached.store(life, SeqCst);
    }
}

/// A file, all of it mapped for as long as the process runs.
pub(super) struct Area {
    start: NonNull<u8>,
    size: usize,
    file: File,
}

// SAFETY: an address to compute with, and a file; who uses the bytes is decided by whoever asks for them.
unsafe impl Send for Area {}
// SAFETY: as above.
unsafe impl Sync for Area {}

impl Area {
    /// Maps the first `size` bytes of a file that is so long.
    fn map(file: File, size: usize) -> Result<Area, Error> {
        let refused = |source| Error::Map { size, source };
        // SAFETY: the bytes are used through atomics only; that nobody truncates the file is a rule of the domain.
        let map: MmapMut = unsafe { MmapOptions::new().len(size).map_mut(&file) }.map_err(refused)?;
        let start = NonNull::new(Box::leak(Box::new(map)).as_mut_ptr()).expect("a mapping is not at zero");
        Ok(Area { start, size, file })
    }

    pub(super) fn bytes(&self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.start, self.size)
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

/// The domain of this process.
static CURRENT: Mutex<Option<&'static Own>> = Mutex::new(None);

pub(super) fn current() -> Option<&'static Own> {
    *CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn open(options: &DomainOptions) -> Result<&'static Own, DomainError> {
    let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(own) = *current {
        return Err(DomainError::AlreadyOpen { path: own.directory.path().to_owned() });
    }
    check_limit(options.limit)?;
    let path = options.path()?;
    loop {
        let directory = Directory::open(&path, true)?;
        let lock = directory.lock(Access::Write, options.patience)?;
        // While we waited, the last one of it may have left and removed it.
        if !directory.is_there() {
            continue;
        }
        step("open/locked");
        let block = make_or_read(&directory, build_of(options.build))?;
        let doorbells = open_doorbells(&directory)?;
        let (slot, lock_file) = take_slot(&directory)?;
        let own = match make_slot(&directory, &block, slot, options.limit) {
            Ok(own) => own,
            Err(error) => {
                range::unclaim(slot.heap());
                sweep::remove_slot(&directory, slot)?;
                return Err(error);
            }
        };
        step("open/ready");
        drop(lock);
        let own = Box::leak(Box::new(Own {
            directory,
            block,
            slot,
            life: own.life,
            arena: own.arena,
            control: own.control,
            doorbells,
            patience: options.patience,
            peers: Mutex::new(BTreeMap::new()),
            _lock: lock_file,
        }));
        *current = Some(own);
        return Ok(own);
    }
}

/// What `domain` says, written now if it is not there (D2). The caller has the directory's lock, alone.
pub(super) fn make_or_read(directory: &Directory, build: u64) -> Result<DomainBlock, DomainError> {
    if directory.try_open_file(DomainBlock::NAME, Access::Read)?.is_some() {
        return DomainBlock::read(directory, Some(build));
    }
    // Whatever somebody began who died over it.
    directory.remove_file(UNFINISHED)?;
    directory.remove_file(DOORBELLS)?;
    let bells = directory.create_file(DOORBELLS)?;
    grow_to(&bells, DOORBELLS_SIZE as u64)?;
    promise(&bells, 0, DOORBELLS_SIZE)?;
    step("make/doorbells");
    let block = DomainBlock::draw(directory.path(), build)?;
    let file = directory.create_file(UNFINISHED)?;
    let bytes = block.to_bytes();
    promise(&file, 0, bytes.len())?;
    let written = std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0);
    written.map_err(|source| DomainError::Io {
        action: "write",
        path: directory.file(UNFINISHED),
        source,
    })?;
    step("make/written");
    directory.rename_file(UNFINISHED, DomainBlock::NAME)?;
    step("make/renamed");
    Ok(block)
}

fn open_doorbells(directory: &Directory) -> Result<Area, DomainError> {
    let path = directory.file(DOORBELLS);
    let file = directory.open_file(DOORBELLS, Access::Write)?;
    let (found, expected) = (length(&file, &path)?, DOORBELLS_SIZE as u64);
    if found < expected {
        return Err(DomainError::Length { file: path, found, expected });
    }
    // Somebody may have punched holes into it.
    promise(&file, 0, DOORBELLS_SIZE)?;
    Ok(Area::map(file, DOORBELLS_SIZE)?)
}

/// Takes the first slot that nobody has, and claims its addresses: the slot, and its locked file.
fn take_slot(directory: &Directory) -> Result<(Slot, File), DomainError> {
    let (mut alive, mut held) = (0, 0);
    for slot in Slot::all() {
        if let Some(lock) = directory.try_open_file(&Part::Lock.of(slot), Access::Read)? {
            if is_locked(&lock).map_err(|source| lock_error(directory, slot, source))? {
                alive += 1;
                continue;
            }
            if sweep::is_held(directory, slot)? {
                held += 1;
                continue;
            }
            sweep::remove_slot(directory, slot)?;
        }
        // Beyond a short range there are no addresses, and a private arena may have these.
        if range::room(slot.heap()).is_err() || !range::claim(slot.heap()) {
            continue;
        }
        let take = || {
            // What lies there without a lock file is of no slot (D4).
            sweep::remove_slot(directory, slot)?;
            let lock = directory.create_file(&Part::Lock.of(slot))?;
            step("open/lock-file");
            match lock_alive(&lock) {
                Ok(true) => Ok(lock),
                Ok(false) => {
                    Err(io_error("lock", &directory.file(&Part::Lock.of(slot)), rustix::io::Errno::AGAIN))
                }
                Err(source) => Err(lock_error(directory, slot, source)),
            }
        };
        let lock = take().inspect_err(|_| range::unclaim(slot.heap()))?;
        step("open/lock-taken");
        return Ok((slot, lock));
    }
    Err(DomainError::NoSlot { path: directory.path().to_owned(), alive, held })
}

fn lock_error(directory: &Directory, slot: Slot, source: std::io::Error) -> DomainError {
    DomainError::Io { action: "lock", path: directory.file(&Part::Lock.of(slot)), source }
}

/// What belongs to a slot.
struct Made {
    life: u64,
    arena: Arena,
    control: Area,
}

/// Makes the other files of a slot that we have locked. The tables are complete last.
fn make_slot(
    directory: &Directory,
    block: &DomainBlock,
    slot: Slot,
    limit: Option<u64>,
) -> Result<Made, DomainError> {
    let life = random(directory.path())?;
    let pid = getpid().as_raw_nonzero().get().cast_unsigned();
    let control = make_control(directory, slot)?;
    step("open/control");
    let heap_file = directory.create_file(&Part::Heap.of(slot))?;
    step("open/heap");
    let tables_file = directory.create_file(&Part::Tables.of(slot))?;
    step("open/tables");
    let again = tables_file.try_clone().map_err(|source| DomainError::Io {
        action: "open",
        path: directory.file(&Part::Tables.of(slot)),
        source,
    })?;
    let data = Data::shared(slot.heap(), heap_file, again)?;
    let identity =
        Identity { build: block.build, domain: block.id, incarnation: life, taken_ns: now_ns(), pid };
    // SAFETY: the first page of the control file is promised, and nobody else knows the process yet.
    unsafe { control.start.byte_add(LIFE).cast::<AtomicU64>().as_ref() }.store(life, SeqCst);
    let tables = Tables::create(&tables_file, slot.heap(), data.capacity(), identity)?;
    let arena = Arena::of_heap(Heap::over(slot.heap(), data, tables, limit));
    Ok(Made { life, arena, control })
}

fn make_control(directory: &Directory, slot: Slot) -> Result<Area, DomainError> {
    let file = directory.create_file(&Part::Control.of(slot))?;
    grow_to(&file, CONTROL_SIZE as u64)?;
    promise(&file, 0, crate::layout::PAGE)?;
    Ok(Area::map(file, CONTROL_SIZE)?)
}

/// The control file of a slot, to read what it says of others (D3).
pub(super) fn control_file(directory: &Directory, slot: Slot) -> Result<File, DomainError> {
    let name = Part::Control.of(slot);
    let file = directory.open_file(&name, Access::Read)?;
    check_length(&file, &directory.file(&name), CONTROL_SIZE as u64)?;
    Ok(file)
}

/// A file has to be so long, at least.
pub(crate) fn check_length(file: &File, path: &Path, expected: u64) -> Result<(), DomainError> {
    let found = length(file, path)?;
    if found < expected {
        return Err(DomainError::Length { file: path.to_owned(), found, expected });
    }
    Ok(())
}
