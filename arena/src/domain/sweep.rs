//! Removing what the dead have left, and leaving.

use std::{fs::File, os::unix::fs::FileExt, os::unix::fs::MetadataExt, time::Duration};

use super::{
    ATTACHED, Access, Directory, DomainBlock, DomainError, LIFE, Part, Slot, is_locked,
    open::{DOORBELLS, Own, control_file},
    superblock::HeapBlock,
};
use crate::{Stats, map::Tables, step::step};

/// What a sweep found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Swept {
    /// Slots whose files were removed.
    pub removed: Vec<SweptSlot>,
    /// Slots of dead processes that living ones still map.
    pub held: Vec<Held>,
}

/// A slot that was freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweptSlot {
    /// Which slot.
    pub slot: Slot,
    /// Who had it; zero if it died before it could say.
    pub pid: u32,
    /// Blocks that had owners when it died.
    pub blocks: u64,
    /// Bytes of memory that its files took.
    pub bytes: u64,
}

/// A slot of a dead process that somebody living maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Held {
    /// Which slot.
    pub slot: Slot,
    /// The slot of the first process that maps it.
    pub by: Slot,
}

/// Removes the files of all slots whose processes are dead and that nobody living maps.
pub(super) fn sweep(directory: &Directory, patience: Duration) -> Result<Swept, DomainError> {
    let _lock = directory.lock(Access::Write, patience)?;
    let block = DomainBlock::read(directory, None)?;
    sweep_locked(directory, &block)
}

/// As `sweep`. The caller has the directory's lock, alone.
fn sweep_locked(directory: &Directory, block: &DomainBlock) -> Result<Swept, DomainError> {
    let mut swept = Swept::default();
    for slot in Slot::all() {
        if is_alive(directory, slot)? != Some(false) {
            continue;
        }
        if let Some(by) = holder(directory, slot)? {
            swept.held.push(Held { slot, by });
            continue;
        }
        let (pid, blocks) = what_died(directory, block, slot).unwrap_or_default();
        let bytes = Part::ALL.iter().map(|it| memory_of(directory, &it.of(slot))).sum();
        remove_slot(directory, slot)?;
        swept.removed.push(SweptSlot { slot, pid, blocks, bytes });
    }
    Ok(swept)
}

/// Whether somebody living maps the files of a dead slot. The caller has the directory's lock, alone.
pub(super) fn is_held(directory: &Directory, slot: Slot) -> Result<bool, DomainError> {
    Ok(holder(directory, slot)?.is_some())
}

/// Removes the files of a slot, its lock last (D4). The caller has the directory's lock, alone.
pub(super) fn remove_slot(directory: &Directory, slot: Slot) -> Result<(), DomainError> {
    for part in Part::ALL {
        directory.remove_file(&part.of(slot))?;
        step("sweep/removed");
    }
    Ok(())
}

/// See [`Domain::leave`](super::Domain::leave).
pub(super) fn leave(own: &Own) -> Result<bool, DomainError> {
    let directory = &own.directory;
    let _lock = directory.lock(Access::Write, own.patience)?;
    step("leave/locked");
    // The last one to leave has removed the directory.
    if !directory.is_there() {
        return Ok(true);
    }
    if holder_of(directory, own.slot, own.life)?.is_some() {
        return Ok(false);
    }
    // Taken and left before: what is there is somebody else's.
    if life_of(directory, own.slot)? == Some(own.life) {
        remove_slot(directory, own.slot)?;
    }
    step("leave/removed");
    // If nobody is left but the dead, nobody else will.
    sweep_locked(directory, &own.block)?;
    let nobody = |name: &String| name == DomainBlock::NAME || name == DOORBELLS;
    if directory.names()?.iter().all(nobody) {
        directory.remove_file(DomainBlock::NAME)?;
        step("leave/domain");
        directory.remove_file(DOORBELLS)?;
        directory.remove();
    }
    Ok(true)
}

/// Whether the process of a slot lives; none if nobody has the slot.
fn is_alive(directory: &Directory, slot: Slot) -> Result<Option<bool>, DomainError> {
    let name = Part::Lock.of(slot);
    let Some(lock) = directory.try_open_file(&name, Access::Read)? else { return Ok(None) };
    let failed = |source| DomainError::Io { action: "lock", path: directory.file(&name), source };
    is_locked(&lock).map(Some).map_err(failed)
}

/// The first living process that maps the files of a slot.
fn holder(directory: &Directory, slot: Slot) -> Result<Option<Slot>, DomainError> {
    match life_of(directory, slot)? {
        // Died before anybody could find it.
        None => Ok(None),
        Some(life) => holder_of(directory, slot, life),
    }
}

fn holder_of(directory: &Directory, slot: Slot, life: u64) -> Result<Option<Slot>, DomainError> {
    for other in Slot::all().filter(|&it| it != slot) {
        if is_alive(directory, other)? != Some(true) {
            continue;
        }
        let control = control_file(directory, other)?;
        if word(&control, ATTACHED + 8 * usize::from(slot.number())) == Some(life) {
            return Ok(Some(other));
        }
    }
    Ok(None)
}

/// Which life a slot's control file is of; none if it was not finished.
fn life_of(directory: &Directory, slot: Slot) -> Result<Option<u64>, DomainError> {
    let control = directory.try_open_file(&Part::Control.of(slot), Access::Read)?;
    Ok(control.and_then(|it| word(&it, LIFE)).filter(|&it| it != 0))
}

fn word(file: &File, offset: usize) -> Option<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, offset as u64).ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// Who died, and with how many blocks. Only for the report: tables that are not what they have to be tell nothing.
fn what_died(directory: &Directory, block: &DomainBlock, slot: Slot) -> Option<(u32, u64)> {
    let name = Part::Tables.of(slot);
    let file = directory.open_file(&name, Access::Read).ok()?;
    let heap = HeapBlock::read(&file, &directory.file(&name), slot, block).ok()?;
    let tables = Tables::of_peer(&file, heap.shape).ok()?;
    Some((heap.pid, Stats::of(&tables).live_blocks))
}

/// Bytes of memory behind a file.
fn memory_of(directory: &Directory, name: &str) -> u64 {
    let file = directory.try_open_file(name, Access::Read).ok().flatten();
    file.and_then(|it| it.metadata().ok()).map_or(0, |it| it.blocks() * 512)
}
