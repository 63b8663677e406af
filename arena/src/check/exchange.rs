//! What processes have to do with each other, as their control files say: rings, holds, readers, reclamation.
//!
//! Only pages are touched that their owner has written: what it never used is no memory, and stays none.
//!
//! # What a death may leave
//! A sender stores an entry's stamp before the tail, so a receiver may be one entry ahead of the tail. All else agrees: a head lies
//! between start and tail, what lies between head and tail has its stamps, and what a living process holds is a block with owners
//! in the life that it holds.

use std::{
    fs::File,
    io,
    mem::{offset_of, size_of},
    os::unix::fs::FileExt,
    ptr::NonNull,
};

use memmap2::{Mmap, MmapOptions};

use super::{Problem, Report, SlotState};
use crate::{
    Header,
    domain::{Access, CONTROL_SIZE, Directory, Part, Slot, check_length, u32_at},
    sync::atomic::Ordering::*,
    transfer::{Consumer, Control, RING, TICKETS},
};

/// At most so many problems of a pair are told.
const MOST_PROBLEMS: usize = 10;

/// What one process has to do with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lane {
    /// The other one's slot.
    pub with: Slot,
    /// Messages and give-backs that were written for it.
    pub sent: u64,
    /// Those of them that it has not read yet.
    pub unread: u64,
    /// Blocks of its heap that are held.
    pub holds: usize,
}

/// What a process says of its readers, and of what it has retired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reclamation {
    /// Its threads that read others' memory at the moment.
    pub pinned: usize,
    /// Since when the first of them does, in nanoseconds since the system started.
    pub pinned_since: Option<u64>,
    /// Grace periods that have ended.
    pub periods: u64,
    /// Pieces that wait for readers.
    pub waiting: u64,
    /// Slot and process of the reader that is waited for, and since when it reads.
    pub stalled: Option<(Slot, u32, u64)>,
}

/// A control file in which something was written.
struct View {
    slot: Slot,
    life: u64,
    alive: bool,
    heap: File,
    map: Mmap,
}

impl View {
    fn open(directory: &Directory, slot: Slot, life: u64, alive: bool) -> Option<View> {
        let open = |part: Part| directory.try_open_file(&part.of(slot), Access::Read).ok().flatten();
        let (control, heap) = (open(Part::Control)?, open(Part::Heap)?);
        check_length(&control, &directory.file(&Part::Control.of(slot)), CONTROL_SIZE as u64).ok()?;
        if !is_used(&control).ok()? {
            return None;
        }
        // SAFETY: read through atomics only; that nobody truncates the file is a rule of the domain.
        let map = unsafe { MmapOptions::new().len(CONTROL_SIZE).map(&control) }.ok()?;
        Some(View { slot, life, alive, heap, map })
    }

    fn control(&self) -> &Control {
        let start = NonNull::new(self.map.as_ptr().cast_mut()).expect("a mapping is not at zero");
        // SAFETY: the mapping is as long as a `Control`, which is made of atomics, and lives as long as the borrow.
        unsafe { Control::at(NonNull::slice_from_raw_parts(start, CONTROL_SIZE)).as_ref() }
    }

    fn at(&self) -> usize {
        usize::from(self.slot.number())
    }

    /// How far `from` reads us, if it does: start, its head, tail.
    fn positions(&self, to: &View) -> Option<(u64, Option<u64>, u64)> {
        let sending = &self.control().sending[to.at()];
        let start = sending.start_for(to.life)?;
        // Before the tail: it only grows, so a head that is read first is not ahead by the reading.
        let head = to.control().receiving[self.at()].head_for(self.life).map(|it| it.load(Acquire));
        Some((start, head, sending.tail.load(Acquire)))
    }

    /// What there is to say of us and another.
    fn lane(&self, other: &View) -> Option<Lane> {
        let (mut sent, mut unread) = (0, 0);
        if let Some((start, head, tail)) = self.positions(other) {
            sent = tail.wrapping_sub(start);
            unread = tail.saturating_sub(head.unwrap_or(start));
        }
        // The ledger is memory only once there was something to read.
        let reads = self.control().receiving[other.at()].head_for(other.life).is_some();
        let holds = if reads { self.control().holds(other.slot.number()) } else { 0 };
        (sent > 0 || holds > 0).then_some(Lane { with: other.slot, sent, unread, holds })
    }

    /// What must not be in our ring to another.
    fn ring_problems(&self, to: &View) -> Vec<String> {
        let Some((start, head, tail)) = self.positions(to) else { return Vec::new() };
        let to_slot = to.slot;
        let read = head.unwrap_or(start);
        if start > tail || read < start || read > tail.saturating_add(1) {
            return vec![format!(
                "the ring to slot {to_slot} goes from {start} to {tail}, and is read up to {read}"
            )];
        }
        let unread = tail.saturating_sub(read);
        if unread > RING as u64 {
            return vec![format!("{unread} entries to slot {to_slot} are not read, and {RING} fit")];
        }
        let ring = &self.control().rings[to.at()];
        let wrong = |position| match Consumer::at(position).peek(ring) {
            Ok(Some(entry)) if usize::from(entry.ticket) < TICKETS => None,
            Ok(Some(entry)) => {
                Some(format!("entry {position} to slot {to_slot} has ticket {}", entry.ticket))
            }
            Ok(None) => Some(format!("entry {position} to slot {to_slot} has not its stamp")),
            Err(bad) => Some(format!("entry {position} to slot {to_slot} is of kind {}", bad.0)),
        };
        (read..tail).filter_map(wrong).take(MOST_PROBLEMS).collect()
    }

    /// What must not be in our ledger of an owner's blocks.
    fn hold_problems(&self, owner: &View) -> Vec<String> {
        let control = self.control();
        // What a dead process held is free.
        if !self.alive || control.receiving[owner.at()].head_for(owner.life).is_none() {
            return Vec::new();
        }
        let wrong = |(ticket, hold): (u16, crate::transfer::Hold)| {
            let mut header = [0; Header::SIZE];
            let at = (u64::from(hold.unit) * 16).checked_sub(Header::SIZE as u64);
            let read = at.is_some_and(|at| owner.heap.read_exact_at(&mut header, at).is_ok());
            let (owners, generation) = (u32_at(&header, 0), u32_at(&header, 4));
            let is_there = read && owners > 0 && generation == hold.generation;
            (!is_there).then(|| {
                let (slot, life) = (owner.slot, hold.generation);
                format!("ticket {ticket} holds a block of slot {slot} in life {life}, which is in {generation} with {owners} owners")
            })
        };
        control.ledgers[owner.at()].holds().filter_map(wrong).take(MOST_PROBLEMS).collect()
    }

    fn reclamation(&self) -> Reclamation {
        let control = self.control();
        let (pinned, pinned_since) = control.records.summary();
        let reclaim = &control.reclaim;
        let slot = u8::try_from(reclaim.stalled_slot.load(Relaxed)).ok().and_then(Slot::new);
        let about = |slot| (slot, reclaim.stalled_process.load(Relaxed), reclaim.stalled_since.load(Relaxed));
        Reclamation {
            pinned,
            pinned_since,
            periods: reclaim.periods.load(Relaxed),
            waiting: reclaim.waiting.load(Relaxed),
            stalled: slot.map(about),
        }
    }
}

/// Whether something was ever read or sent: the pages of readers and positions are not zeros.
fn is_used(control: &File) -> io::Result<bool> {
    let first = offset_of!(Control, records);
    let mut bytes = vec![0; offset_of!(Control, rings) - first];
    control.read_exact_at(&mut bytes, first as u64)?;
    let mut reclaim = [0; size_of::<crate::transfer::Reclaim>()];
    control.read_exact_at(&mut reclaim, offset_of!(Control, reclaim) as u64)?;
    Ok(bytes.iter().chain(&reclaim).any(|&it| it != 0))
}

/// Adds to the report what the control files say; with `thorough`, what must not be in them.
pub(super) fn look(report: &mut Report, directory: &Directory, lives: &[(Slot, u64)], thorough: bool) {
    let views: Vec<View> = report
        .slots
        .iter()
        .filter(|it| it.state != SlotState::Unfinished)
        .filter_map(|it| {
            let life = lives.iter().find(|known| known.0 == it.slot)?.1;
            View::open(directory, it.slot, life, it.state == SlotState::Alive)
        })
        .collect();
    for view in &views {
        let slot = report.slots.iter_mut().find(|it| it.slot == view.slot).expect("it is of the report");
        let others = || views.iter().filter(|it| it.slot != view.slot);
        slot.lanes = others().filter_map(|it| view.lane(it)).collect();
        slot.reclamation = view.reclamation();
        if !thorough {
            continue;
        }
        let file = directory.file(&Part::Control.of(view.slot));
        for other in others() {
            let both = || [view.ring_problems(other), view.hold_problems(other)].concat();
            let mut problems = both();
            super::again(view.alive || other.alive, &mut problems, both);
            report.problems.extend(problems.into_iter().map(|what| Problem { file: file.clone(), what }));
        }
    }
}
