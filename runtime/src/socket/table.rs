//! Ids of sockets, and the way from an id to its socket.
//!
//! Ids count up from 1 in 31 bits; the slot is the id modulo 65536. An id whose slot is taken is skipped. Each slot has a lock
//! of its own, which whoever works on that socket holds, on any thread; nobody holds two.
//!
//! # From skynet
//! struct socket_server's slot array → [`Table`]; reserve_id → [`Table::reserve`].

use std::{
    ops::{Deref, DerefMut},
    sync::OnceLock,
};

use skein_arena::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use super::record::Socket;

/// How many sockets there can be.
pub(super) const MOST: usize = 1 << 16;
/// Slots that are made at once, when the first of them is needed.
const CHUNK: usize = 256;

type Slot = Mutex<Option<Box<Socket>>>;

/// All slots.
pub(crate) struct Table {
    chunks: Box<[OnceLock<Box<[Slot]>>]>,
    last: AtomicU32,
}

/// A socket that the caller alone works on.
pub(crate) struct Locked<'a>(MutexGuard<'a, Option<Box<Socket>>>);

impl Deref for Locked<'_> {
    type Target = Socket;

    fn deref(&self) -> &Socket {
        self.0.as_deref().expect("a locked socket is there")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Socket {
        self.0.as_deref_mut().expect("a locked socket is there")
    }
}

impl Locked<'_> {
    /// Frees the id.
    pub(crate) fn remove(mut self) -> Box<Socket> {
        self.0.take().expect("a locked socket is there")
    }
}

impl Table {
    pub(crate) fn new() -> Self {
        Self { chunks: (0..MOST / CHUNK).map(|_| OnceLock::new()).collect(), last: AtomicU32::new(0) }
    }

    fn slot(&self, id: i32) -> &Slot {
        let at = id as usize % MOST;
        &self.chunks[at / CHUNK].get_or_init(|| (0..CHUNK).map(|_| Slot::default()).collect())[at % CHUNK]
    }

    /// Gives a new socket an id, locked. `None`: all are taken.
    pub(crate) fn reserve(&self, make: impl FnOnce(i32) -> Socket) -> Option<Locked<'_>> {
        for _ in 0..MOST {
            let id = (self.last.fetch_add(1, Relaxed).wrapping_add(1) & i32::MAX as u32) as i32;
            if id == 0 {
                continue;
            }
            // Who holds the lock of a slot holds a socket.
            let Ok(mut slot) = self.slot(id).try_lock() else { continue };
            if slot.is_none() {
                *slot = Some(Box::new(make(id)));
                return Some(Locked(slot));
            }
        }
        None
    }

    /// The socket of that id.
    pub(crate) fn lock(&self, id: i32) -> Option<Locked<'_>> {
        if id <= 0 {
            return None;
        }
        let chunk = self.chunks[id as usize % MOST / CHUNK].get()?;
        let slot = chunk[id as usize % CHUNK].lock().unwrap_or_else(|it| it.into_inner());
        slot.as_ref().is_some_and(|it| it.id == id).then_some(Locked(slot))
    }

    /// Ids of the slots in use, the last slot first.
    pub(crate) fn ids(&self) -> Vec<i32> {
        let made = self.chunks.iter().rev().filter_map(OnceLock::get);
        let slots = made.flat_map(|chunk| chunk.iter().rev());
        slots
            .filter_map(|it| it.lock().unwrap_or_else(|it| it.into_inner()).as_ref().map(|it| it.id))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Kind, State};
    use super::*;
    use crate::Handle;

    fn take(table: &Table) -> Option<i32> {
        let made = table.reserve(|id| Socket::new(id, -1, Handle::NONE, State::Connected, Kind::Stream));
        made.map(|it| it.id)
    }

    #[test]
    fn ids_count_up_skip_those_in_use_and_are_never_nought() {
        let table = Table::new();
        assert_eq!([take(&table), take(&table)], [Some(1), Some(2)]);
        drop(table.lock(1).unwrap().remove());
        assert_eq!(take(&table), Some(3), "an id that is free again is not given at once");
        // At the end of 31 bits: not 0, and slots 2 and 3 are taken.
        table.last.store(i32::MAX as u32 - 1, Relaxed);
        assert_eq!([take(&table), take(&table), take(&table)], [Some(i32::MAX), Some(1), Some(4)]);
        assert!(table.lock(i32::MAX).is_some() && table.lock(MOST as i32 - 1).is_none());
    }

    #[test]
    fn when_all_ids_are_in_use_there_is_none() {
        let table = Table::new();
        assert!((0..MOST).all(|_| take(&table).is_some()));
        assert_eq!(take(&table), None);
        drop(table.lock(77).unwrap().remove());
        assert_eq!(take(&table).map(|it| it as usize % MOST), Some(77));
    }
}
