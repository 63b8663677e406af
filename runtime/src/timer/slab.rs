//! Room for the entries of a wheel: found by number, given back to the system when a burst is over.
//!
//! Entries lie in chunks, and never move. A chunk whose entries are all free goes back to the allocator when the next one becomes
//! so: a timeout set and expired over and over allocates nothing, and a million once do not keep their room for ever.
//!
//! # Invariants
//! * **S1** `with_room` has the number of each chunk that is not full, once; chunks that went back too.
//! * **S2** The free entries of a chunk are a list through `next`, which begins at `free`.

use super::wheel::NIL;

/// Entries of a chunk: 8 KiB of them.
const CHUNK: u32 = 256;

/// Entries by number.
pub(super) struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    with_room: Vec<u32>,
    /// The last chunk that became empty; it may be in use again.
    spare: u32,
    /// Entries ever taken, to tell their lives apart.
    lives: u32,
}

struct Chunk<T> {
    /// Grows to `CHUNK` entries; no memory while none is in use.
    entries: Vec<Entry<T>>,
    free: u32,
    used: u32,
}

/// A value, its time and its place in a list.
pub(super) struct Entry<T> {
    /// The expiry, and on top of it in which level's list it is: see `wheel`.
    pub(super) when: u64,
    pub(super) next: u32,
    pub(super) before: u32,
    /// Which use of this entry it is: a key of an earlier one cancels nothing.
    pub(super) life: u32,
    pub(super) value: Option<T>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), with_room: Vec::new(), spare: NIL, lives: 0 }
    }

    /// A free entry, with this value in it and in no list.
    #[inline]
    pub(super) fn take(&mut self, when: u64, value: T) -> u32 {
        self.lives = self.lives.wrapping_add(1);
        let entry = Entry { when, next: NIL, before: NIL, life: self.lives, value: Some(value) };
        let number = self.with_room.last().copied().unwrap_or_else(|| self.grow());
        let chunk = &mut self.chunks[number as usize];
        let index = match chunk.free {
            NIL => {
                if chunk.entries.is_empty() {
                    chunk.entries.reserve_exact(CHUNK as usize);
                }
                chunk.entries.push(entry);
                chunk.entries.len() as u32 - 1
            }
            free => {
                let place = &mut chunk.entries[free as usize];
                chunk.free = place.next;
                *place = entry;
                free
            }
        };
        chunk.used += 1;
        if chunk.used == CHUNK {
            self.with_room.pop();
        }
        number * CHUNK + index
    }

    /// Empties an entry.
    ///
    /// # Panics
    /// If it is empty.
    #[inline]
    pub(super) fn give_back(&mut self, index: u32) -> T {
        let number = index / CHUNK;
        let chunk = &mut self.chunks[number as usize];
        let entry = &mut chunk.entries[(index % CHUNK) as usize];
        let value = entry.value.take().expect("an entry in a list has a value");
        entry.next = core::mem::replace(&mut chunk.free, index % CHUNK);
        chunk.used -= 1;
        if chunk.used + 1 == CHUNK {
            self.with_room.push(number);
        }
        if chunk.used == 0 && self.spare != number {
            let before = core::mem::replace(&mut self.spare, number);
            if let Some(before) = self.chunks.get_mut(before as usize).filter(|it| it.used == 0) {
                *before = Chunk::EMPTY;
            }
        }
        value
    }

    /// The entry of that number, if it exists and was taken for this life.
    pub(super) fn find(&self, index: u32, life: u32) -> Option<&Entry<T>> {
        let chunk = self.chunks.get((index / CHUNK) as usize)?;
        chunk.entries.get((index % CHUNK) as usize).filter(|it| it.life == life && it.value.is_some())
    }

    #[cold]
    fn grow(&mut self) -> u32 {
        let number = self.chunks.len() as u32;
        assert!(number < NIL / CHUNK, "2^32 timeouts are pending");
        self.chunks.push(Chunk::EMPTY);
        self.with_room.push(number);
        number
    }

    /// Chunks that have memory.
    #[cfg(test)]
    pub(super) fn resident(&self) -> usize {
        self.chunks.iter().filter(|it| it.entries.capacity() != 0).count()
    }
}

impl<T> Chunk<T> {
    const EMPTY: Self = Self { entries: Vec::new(), free: NIL, used: 0 };
}

impl<T> core::ops::Index<u32> for Slab<T> {
    type Output = Entry<T>;

    #[inline]
    fn index(&self, index: u32) -> &Entry<T> {
        &self.chunks[(index / CHUNK) as usize].entries[(index % CHUNK) as usize]
    }
}

impl<T> core::ops::IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Entry<T> {
        &mut self.chunks[(index / CHUNK) as usize].entries[(index % CHUNK) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_a_timeout_takes_half_a_cache_line() {
        assert_eq!(size_of::<Entry<core::ptr::NonNull<u8>>>(), 32);
    }

    #[test]
    fn a_burst_gives_its_room_back_but_for_one_chunk() {
        let mut slab = Slab::new();
        let keep = slab.take(0, 0);
        let taken: Vec<_> = (1..=100 * CHUNK).map(|n| slab.take(0, n)).collect();
        assert_eq!(slab.resident(), 101);
        for (n, index) in taken.into_iter().enumerate() {
            assert_eq!(slab.give_back(index), n as u32 + 1);
        }
        assert_eq!(slab.resident(), 2, "the one in use, and a spare one");
        assert_eq!(slab.give_back(keep), 0);
        assert_eq!(slab.resident(), 1);
        // And again, in the numbers that were there before.
        let again: Vec<_> = (0..=100 * CHUNK).map(|n| slab.take(0, n)).collect();
        assert!(again.iter().all(|it| *it < 101 * CHUNK));
        assert_eq!(again.iter().collect::<std::collections::HashSet<_>>().len(), again.len());
    }

    #[test]
    fn one_entry_over_and_over_keeps_its_chunk() {
        let mut slab = Slab::new();
        for n in 0..1000 {
            let index = slab.take(0, n);
            assert_eq!((index, slab.resident()), (0, 1));
            slab.give_back(index);
        }
        assert_eq!(slab.resident(), 1);
    }
}
