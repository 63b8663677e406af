//! Segments without a virtual machine: words that follow from a mark.
#![allow(dead_code)] // Each test file uses some of it.

use std::path::Path;
use std::sync::{MutexGuard, PoisonError};

use skein_arena::DomainOptions;
use skein_arena::sync::{Arc, Mutex};
use skein_sharedata::segment::{Contents, HEADER};
use skein_sharedata::{Error, Segment, Tables};

/// What the segments are said to be made by.
pub(crate) const MACHINE: u64 = 0x1234;

/// A process is in one domain, whose addresses are the same as another's: one test at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn options(path: &Path) -> DomainOptions {
    DomainOptions::in_directory(path)
}

pub(crate) fn open(path: &Path) -> Arc<Tables> {
    Tables::open(&options(path), MACHINE).unwrap()
}

pub(crate) fn publish(tables: &Arc<Tables>, name: &str, mark: u64, used: usize) -> Arc<Segment> {
    try_publish(tables, name, mark, used).unwrap()
}

pub(crate) fn try_publish(
    tables: &Arc<Tables>,
    name: &str,
    mark: u64,
    used: usize,
) -> Result<Arc<Segment>, Error> {
    let used = used.next_multiple_of(16);
    let mut draft = tables.draft()?;
    if draft.room() < used {
        draft.grow(used - draft.room())?;
    }
    let words = draft.start().cast::<u64>();
    for at in 0..used / 8 {
        // SAFETY: the draft has the room, and is ours.
        unsafe { words.add(at).write(word(mark, at)) };
    }
    let contents = Contents { used, root: draft.start().addr(), tables: 1, strings: 0 };
    draft.publish(name, contents)
}

fn word(mark: u64, at: usize) -> u64 {
    if at == 0 { mark } else { (mark + at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) }
}

/// The mark, after all words were compared with it.
pub(crate) fn mark(segment: &Segment) -> u64 {
    let words = (segment.header().size as usize - HEADER) / 8;
    // SAFETY: the segment is mapped while it is borrowed, and never written.
    let words = unsafe { std::slice::from_raw_parts(segment.root_ptr().as_ptr().cast::<u64>(), words) };
    let mark = words[0];
    for (at, &found) in words.iter().enumerate() {
        assert_eq!(found, word(mark, at), "word {at} of {}", segment.name());
    }
    mark
}
