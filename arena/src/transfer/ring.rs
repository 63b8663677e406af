//! A ring of entries from one process to another.
//!
//! The cells lie in the sender's control memory, how far they have been read in the receiver's. The last word that is written
//! of a cell carries a *stamp*, so that an arrival costs the receiver one cache line: it looks at the cell itself, and not at
//! a tail first.
//!
//! # Invariants
//! * **R1** Position `p` lies in cell `p % RING`. Its stamp is `p + 1`, modulo 2³², which no earlier lap has put there, and
//!   neither have zeros.
//! * **R2** The stamp is stored last: whoever sees it sees the other words.
//! * **R3** A cell is written again only when the receiver's head says that its position has been read.
//! * **R4** Each side keeps its own position to itself and only publishes it. What it reads of the other side's is checked: a
//!   head that went back, or passed what was written, is [`BadHead`].
//!
//! # When a process dies
//! Killed before the stamp, the sender has sent nothing: the half-written cell is never read. Killed behind it, the entry counts.

use crate::sync::atomic::{AtomicU64, Ordering::*};

/// Entries of a ring.
pub const RING: usize = if cfg!(loom) { 2 } else { 512 };

/// What an entry says. See [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// A block of the sender's heap: the receiver holds it under the ticket from now on.
    Block = 1,
    /// A message without a body.
    Empty = 2,
    /// A block of the receiver's own heap that the sender holds under the ticket, and goes on to hold.
    Yours = 3,
    /// The same; the sender's hold has come back with it.
    Returned = 4,
    /// No message: the sender does not hold the ticket's block any more.
    GiveBack = 5,
}

/// One message between two processes, as its words say. Nothing of it has been checked but the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the rest means.
    pub kind: EntryKind,
    /// Message type.
    pub ty: u8,
    /// Which hold this is about: an index of the book of whoever owns the block's heap.
    pub ticket: u16,
    /// Where the payload begins: units of 16 bytes from the beginning of the heap.
    pub unit: u32,
    /// Bytes of the payload.
    pub len: u32,
    /// Which life of its memory the block is.
    pub generation: u32,
    /// Handle of the receiver.
    pub to: u32,
    /// Handle of the sender.
    pub source: u32,
    /// Number that pairs a request with its response.
    pub session: i32,
}

impl Entry {
    /// A message without a body or addresses.
    pub const fn of(kind: EntryKind, ticket: u16) -> Entry {
        Entry { kind, ty: 0, ticket, unit: 0, len: 0, generation: 0, to: 0, source: 0, session: 0 }
    }

    fn to_words(self, position: u64) -> [u64; 4] {
        let stamp = u64::from(stamp(position)) << 32;
        [
            stamp | u64::from(self.ticket) << 16 | u64::from(self.kind as u8) << 8 | u64::from(self.ty),
            u64::from(self.unit) << 32 | u64::from(self.len),
            u64::from(self.generation) << 32 | u64::from(self.to),
            u64::from(self.source) << 32 | u64::from(self.session as u32),
        ]
    }

    fn from_words(words: [u64; 4]) -> Result<Entry, BadKind> {
        let kind = match (words[0] >> 8) as u8 {
            1 => EntryKind::Block,
            2 => EntryKind::Empty,
            3 => EntryKind::Yours,
            4 => EntryKind::Returned,
            5 => EntryKind::GiveBack,
            other => return Err(BadKind(other)),
        };
        Ok(Entry {
            kind,
            ty: words[0] as u8,
            ticket: (words[0] >> 16) as u16,
            unit: (words[1] >> 32) as u32,
            len: words[1] as u32,
            generation: (words[2] >> 32) as u32,
            to: words[2] as u32,
            source: (words[3] >> 32) as u32,
            session: words[3] as i32,
        })
    }
}

/// A kind that there is none of: the sender wrote nonsense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadKind(pub u8);

/// A head outside of what was sent: the receiver wrote nonsense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHead {
    /// The head that was found.
    pub found: u64,
    /// The least that it could be.
    pub least: u64,
    /// The most that it could be.
    pub most: u64,
}

#[repr(C, align(32))]
struct Cell {
    words: [AtomicU64; 4],
}

/// The cells. Zeros are a ring that nothing was ever written to.
#[repr(C)]
#[cfg_attr(not(loom), repr(align(4096)))] // Models have small stacks.
pub struct Ring {
    cells: [Cell; RING],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Ring>() == RING * 32 && RING.is_power_of_two());

/// The stamp of a position (R1).
const fn stamp(position: u64) -> u32 {
    position.wrapping_add(1) as u32
}

impl Default for Ring {
    fn default() -> Ring {
        Ring { cells: std::array::from_fn(|_| Cell { words: std::array::from_fn(|_| AtomicU64::new(0)) }) }
    }
}

/// The sender's side of a ring: where it writes next.
#[derive(Debug)]
pub struct Producer {
    tail: u64,
    /// The head as it was last read: all before it may be written again.
    free: u64,
}

impl Producer {
    /// Begins to write at `start`, where the receiver begins to read.
    pub fn at(start: u64) -> Producer {
        Producer { tail: start, free: start }
    }

    /// The position that is written next.
    #[inline]
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// How many entries there is room for, as far as is known without asking.
    #[inline]
    pub fn room(&self) -> usize {
        RING - (self.tail - self.free) as usize
    }

    /// Asks how far the receiver has read; how many entries there is room for now.
    ///
    /// # Errors
    /// [`BadHead`].
    pub fn refresh(&mut self, head: &AtomicU64) -> Result<usize, BadHead> {
        // Acquire pairs with the Release in `Consumer::advance`: what the receiver read of the cells, it has read (R3).
        let found = head.load(Acquire);
        if found < self.free || found > self.tail {
            return Err(BadHead { found, least: self.free, most: self.tail });
        }
        self.free = found;
        Ok(self.room())
    }

    /// Writes an entry and makes it visible. There must be room. `before` runs when all but the stamp is written.
    #[inline]
    pub fn publish(&mut self, ring: &Ring, entry: Entry, before: impl FnOnce()) {
        assert!(self.room() > 0, "a ring was written that is full (R3)");
        let cell = &ring.cells[self.tail as usize % RING];
        let words = entry.to_words(self.tail);
        for (word, value) in cell.words.iter().zip(words).skip(1) {
            word.store(value, Relaxed);
        }
        before();
        // Release pairs with the Acquire in `Consumer::peek` (R2); the block's bytes and the book's hold come along.
        cell.words[0].store(words[0], Release);
        self.tail += 1;
    }
}

/// The receiver's side of a ring: what it reads next.
#[derive(Debug)]
pub struct Consumer {
    head: u64,
}

impl Consumer {
    /// Begins to read at `start`, where the sender begins to write.
    pub fn at(start: u64) -> Consumer {
        Consumer { head: start }
    }

    /// The position that is read next.
    #[inline]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The next entry, if it is there.
    ///
    /// # Errors
    /// [`BadKind`].
    #[inline]
    pub fn peek(&self, ring: &Ring) -> Result<Option<Entry>, BadKind> {
        let cell = &ring.cells[self.head as usize % RING];
        // Acquire pairs with the Release in `Producer::publish` (R2).
        let first = cell.words[0].load(Acquire);
        if (first >> 32) as u32 != stamp(self.head) {
            return Ok(None);
        }
        // Each word is read once: what is checked afterwards is the copy.
        let rest = [1, 2, 3].map(|at: usize| cell.words[at].load(Relaxed));
        Entry::from_words([first, rest[0], rest[1], rest[2]]).map(Some)
    }

    /// Gives the cell of the entry that `peek` found back to the sender.
    #[inline]
    pub fn advance(&mut self, head: &AtomicU64) {
        // Where it began was told by the sender, so it may be any number.
        self.head = self.head.wrapping_add(1);
        // Release pairs with the Acquire in `Producer::refresh`: we have read the cell (R3). And with the one in
        // `Ledger::holds`: what the entry named is in the ledger by now.
        head.store(self.head, Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn numbered(number: u32) -> Entry {
        Entry { session: number as i32, len: number, ..Entry::of(EntryKind::Block, number as u16) }
    }

    #[test]
    fn entries_arrive_as_they_were_sent() {
        let entry = Entry {
            kind: EntryKind::Yours,
            ty: 0xfe,
            ticket: 0xfffe,
            unit: u32::MAX - 1,
            len: 7,
            generation: u32::MAX,
            to: 0x0100_000a,
            source: 0xff00_0001,
            session: -1,
        };
        for position in [0, 1, u64::from(u32::MAX) - 1, u64::from(u32::MAX), 1 << 32] {
            assert_eq!(Entry::from_words(entry.to_words(position)), Ok(entry));
        }
        assert_eq!(Entry::from_words([0x0600, 0, 0, 0]), Err(BadKind(6)));
        // As docs/arena-layout.md has it.
        let words =
            [0x0000_0006_fffe_03fe, 0xffff_fffe_0000_0007, 0xffff_ffff_0100_000a, 0xff00_0001_ffff_ffff];
        assert_eq!(entry.to_words(5), words);
    }

    #[test]
    fn a_full_ring_takes_no_more_until_its_head_moves() {
        // Across the place where stamps begin again at zero.
        let start = (1 << 32) - 700;
        let (ring, head) = (Ring::default(), AtomicU64::new(start));
        let (mut producer, mut consumer) = (Producer::at(start), Consumer::at(start));
        let (mut sent, mut got) = (0, 0);
        for _ in 0..5 {
            while producer.room() > 0 {
                producer.publish(&ring, numbered(sent), || {});
                sent += 1;
            }
            assert_eq!(producer.refresh(&head), Ok(0));
            while let Some(entry) = consumer.peek(&ring).unwrap() {
                assert_eq!(entry, numbered(got));
                consumer.advance(&head);
                got += 1;
            }
            assert_eq!((producer.refresh(&head), got), (Ok(RING), sent));
        }
    }

    #[test]
    fn a_cell_of_the_lap_before_is_no_entry() {
        let (ring, head) = (Ring::default(), AtomicU64::new(0));
        let (mut producer, mut consumer) = (Producer::at(0), Consumer::at(0));
        for number in 0..RING as u32 {
            producer.publish(&ring, numbered(number), || {});
            assert_eq!(consumer.peek(&ring), Ok(Some(numbered(number))));
            consumer.advance(&head);
        }
        assert_eq!(consumer.peek(&ring), Ok(None));
    }

    #[test]
    fn a_start_that_lies_is_as_good_as_any_other() {
        let (ring, head) = (Ring::default(), AtomicU64::new(0));
        let mut consumer = Consumer::at(u64::MAX);
        let words = numbered(7).to_words(u64::MAX);
        ring.cells[RING - 1].words.iter().zip(words).for_each(|(word, value)| word.store(value, Relaxed));
        // Its stamp is that of a cell that was never written.
        assert_eq!(consumer.peek(&ring), Ok(Some(numbered(7))));
        consumer.advance(&head);
        assert_eq!((consumer.head(), consumer.peek(&ring)), (0, Ok(None)));
    }

    #[test]
    fn a_head_that_lies_is_found_out() {
        let (ring, head) = (Ring::default(), AtomicU64::new(0));
        let mut producer = Producer::at(0);
        producer.publish(&ring, numbered(0), || {});
        head.store(2, Relaxed);
        assert_eq!(producer.refresh(&head), Err(BadHead { found: 2, least: 0, most: 1 }));
        head.store(1, Relaxed);
        assert_eq!(producer.refresh(&head), Ok(RING));
        head.store(0, Relaxed);
        assert_eq!(producer.refresh(&head), Err(BadHead { found: 0, least: 1, most: 1 }));
    }
}
