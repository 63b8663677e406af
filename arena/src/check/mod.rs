//! Whether the files of a domain agree with themselves and with each other, and what is in them.
//!
//! The checker changes nothing and believes nothing. It looks at a heap's data by reading the file, so whatever its tables say, the
//! worst that happens is a line in the report. It is for tests that kill processes, and for `skein arena check`.
//!
//! # What a death may leave
//! A process can be killed between any two instructions. The order in which the allocator writes makes some differences
//! possible, and those are no problems but *unfinished*: a block or a run of pages that is counted and in no list, a span whose
//! pages are not all in the page table, a count that is behind by one batch. Impossible are: a block in two places, an entry that
//! names what is not there, a free block with owners, a count of pages that is too low. Those are problems.
//!
//! # While the owner lives
//! Nothing stands still, and a difference means nothing unless it lasts: a heap in use is looked at three times, and a problem
//! is one that was seen each time.

mod blocks;
mod exchange;
mod heap;

use std::{
    fmt,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::{
    Stats,
    domain::{
        ATTACHED, Access, CONTROL_SIZE, DOORBELLS, DOORBELLS_SIZE, Directory, DomainBlock, DomainError,
        HeapBlock, LIFE, Part, Slot, check_length, is_folder, is_locked,
    },
    map::Tables,
};
pub use exchange::{Lane, Reclamation};
use heap::Heap;

/// How long others may be opening or sweeping the domain before we give up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a heap in use is looked at, and how long we wait in between.
const LOOKS: usize = 3;
const PAUSE: Duration = Duration::from_millis(20);

/// What is in a domain.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// Its directory.
    pub path: PathBuf,
    /// Which domain it is.
    pub id: u64,
    /// Who made it.
    pub pid: u32,
    /// When it was made, in nanoseconds since 1970.
    pub made_ns: u64,
    /// The slots that somebody has or had, in order.
    pub slots: Vec<SlotReport>,
    /// What must not be.
    pub problems: Vec<Problem>,
}

/// What is in a slot.
#[derive(Debug)]
#[non_exhaustive]
pub struct SlotReport {
    /// Which slot.
    pub slot: Slot,
    /// How it is.
    pub state: SlotState,
    /// Who has or had it; zero if it died before it could say.
    pub pid: u32,
    /// When it was taken, in nanoseconds since 1970.
    pub taken_ns: u64,
    /// Slots of living processes that map it.
    pub mapped_by: Vec<Slot>,
    /// What its counters say.
    pub stats: Stats,
    /// Blocks with owners, counted one by one by [`check`]; [`look`] does not count.
    pub blocks: u64,
    /// What it has sent to and holds of each other process of the domain, if anything.
    pub lanes: Vec<Lane>,
    /// Its readers, and what it has retired.
    pub reclamation: Reclamation,
    /// Differences that a death in the middle of something leaves, and that are no problem.
    pub unfinished: u64,
}

/// How a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Its process lives.
    Alive,
    /// Its process died.
    Dead,
    /// Its process died before it had made all files, or somebody died who removed them.
    Unfinished,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// In which file, or in which directory if `what` names the file.
    pub file: PathBuf,
    /// What.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.what)
    }
}

/// Who has which slot, and what the counters say.
///
/// # Errors
/// The directory or `domain` is not what it has to be. What is wrong with a slot is a problem of the report.
pub fn look(path: &Path) -> Result<Report, DomainError> {
    report(path, false)
}

/// As [`look`], and compares everything with everything else.
///
/// # Errors
/// As for [`look`].
pub fn check(path: &Path) -> Result<Report, DomainError> {
    report(path, true)
}

fn report(path: &Path, thorough: bool) -> Result<Report, DomainError> {
    let directory = Directory::open(path, false)?;
    let _lock = directory.lock(Access::Read, PATIENCE)?;
    let block = DomainBlock::read(&directory, None)?;
    let DomainBlock { id, pid, made_ns, .. } = block;
    let mut report =
        Report { path: path.to_owned(), id, pid, made_ns, slots: Vec::new(), problems: Vec::new() };
    report.names(&directory)?;
    for slot in Slot::all() {
        match look_at_slot(&directory, &block, slot, thorough, &mut report.problems) {
            Ok(found) => report.slots.extend(found),
            Err(error) => report.problems.push(Problem::of(&directory, &error)),
        }
    }
    report.mapped_by(&directory);
    let control = |slot| directory.try_open_file(&Part::Control.of(slot), Access::Read).ok().flatten();
    let life = |it: &SlotReport| Some((it.slot, word(&control(it.slot)?, LIFE)?));
    let lives: Vec<(Slot, u64)> = report.slots.iter().filter_map(life).collect();
    exchange::look(&mut report, &directory, &lives, thorough);
    Ok(report)
}

impl Problem {
    fn of(directory: &Directory, error: &DomainError) -> Problem {
        Problem { file: directory.path().to_owned(), what: error.to_string() }
    }
}

impl Report {
    /// Looks for what does not belong here, and at the file that all may write.
    fn names(&mut self, directory: &Directory) -> Result<(), DomainError> {
        let names = directory.names()?;
        for name in &names {
            let slot = Slot::all().find(|&slot| Part::ALL.iter().any(|it| it.of(slot) == *name));
            let what = match slot {
                Some(slot) if !names.contains(&Part::Lock.of(slot)) => "belongs to a slot that nobody took",
                Some(_) => continue,
                None if [DomainBlock::NAME, DOORBELLS].contains(&name.as_str()) => continue,
                None if is_folder(name) => continue,
                None => "is no file of a domain",
            };
            self.problems.push(Problem { file: directory.file(name), what: what.to_owned() });
        }
        let bells = directory.open_file(DOORBELLS, Access::Read);
        let long = |it: File| check_length(&it, &directory.file(DOORBELLS), DOORBELLS_SIZE as u64);
        self.problems.extend(bells.and_then(long).err().map(|it| Problem::of(directory, &it)));
        Ok(())
    }

    /// Finds out who maps whom.
    fn mapped_by(&mut self, directory: &Directory) {
        let control = |slot| directory.try_open_file(&Part::Control.of(slot), Access::Read).ok().flatten();
        let living: Vec<(Slot, File)> = self
            .slots
            .iter()
            .filter(|it| it.state == SlotState::Alive)
            .filter_map(|it| Some((it.slot, control(it.slot)?)))
            .collect();
        for slot in &mut self.slots {
            let Some(life) = control(slot.slot).and_then(|it| word(&it, LIFE)) else { continue };
            let attached = ATTACHED + 8 * usize::from(slot.slot.number());
            let maps = |(by, file): &(Slot, File)| *by != slot.slot && word(file, attached) == Some(life);
            slot.mapped_by = living.iter().filter(|it| maps(it)).map(|it| it.0).collect();
        }
    }
}

/// Eight bytes of a control file, if they are there and not zero.
fn word(file: &File, offset: usize) -> Option<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, offset as u64).ok()?;
    Some(u64::from_le_bytes(bytes)).filter(|&it| it != 0)
}

/// Keeps the problems that are seen at every look: of what is in use a difference means nothing unless it lasts.
fn again<T: PartialEq>(in_use: bool, problems: &mut Vec<T>, mut look: impl FnMut() -> Vec<T>) {
    for _ in 1..LOOKS {
        if !in_use || problems.is_empty() {
            break;
        }
        thread::sleep(PAUSE);
        let seen = look();
        problems.retain(|it| seen.contains(it));
    }
}

/// What is in a slot; none if nobody has or had it.
fn look_at_slot(
    directory: &Directory,
    block: &DomainBlock,
    slot: Slot,
    thorough: bool,
    problems: &mut Vec<Problem>,
) -> Result<Option<SlotReport>, DomainError> {
    let path = |part: Part| directory.file(&part.of(slot));
    let open = |part: Part| directory.try_open_file(&part.of(slot), Access::Read);
    let failed = |action, part| move |source| DomainError::Io { action, path: path(part), source };
    let Some(lock) = open(Part::Lock)? else { return Ok(None) };
    let alive = is_locked(&lock).map_err(failed("lock", Part::Lock))?;
    let mut found = SlotReport {
        slot,
        state: if alive { SlotState::Alive } else { SlotState::Dead },
        pid: 0,
        taken_ns: 0,
        mapped_by: Vec::new(),
        stats: Stats::default(),
        blocks: 0,
        lanes: Vec::new(),
        reclamation: Reclamation::default(),
        unfinished: 0,
    };
    let (Some(control), Some(data), Some(tables_file)) =
        (open(Part::Control)?, open(Part::Heap)?, open(Part::Tables)?)
    else {
        // A slot is made and removed file by file. Of a living process all are there: we hold the directory's lock.
        if alive {
            let what = "its process is alive, and files of the slot are missing".to_owned();
            problems.push(Problem { file: path(Part::Lock), what });
        } else {
            found.state = SlotState::Unfinished;
        }
        return Ok(Some(found));
    };
    if !alive && HeapBlock::is_unfinished(&tables_file) {
        found.state = SlotState::Unfinished;
        return Ok(Some(found));
    }
    let heap = HeapBlock::read(&tables_file, &path(Part::Tables), slot, block)?;
    (found.pid, found.taken_ns) = (heap.pid, heap.taken_ns);
    check_length(&control, &path(Part::Control), CONTROL_SIZE as u64)?;
    let life = word(&control, LIFE).unwrap_or(0);
    if life != heap.life {
        let what = format!("the life is {life:#x}, and {:#x} in the tables", heap.life);
        problems.push(Problem { file: path(Part::Control), what });
    }
    let tables = Tables::of_peer(&tables_file, heap.shape).map_err(failed("map", Part::Tables))?;
    found.stats = Stats::of(&tables);
    if thorough {
        let heap = Heap {
            slot,
            tables: &tables,
            tables_path: path(Part::Tables),
            data: &data,
            data_path: path(Part::Heap),
        };
        let mut seen = heap.check(alive);
        again(alive, &mut seen.problems, || heap.check(alive).problems);
        (found.blocks, found.unfinished) = (seen.blocks, seen.unfinished);
        problems.append(&mut seen.problems);
    }
    Ok(Some(found))
}
