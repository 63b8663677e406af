//! How bytes come in: straight into blocks that are as large as what has come of late.
//!
//! A read has room in its block for what the ones before brought. While that grows there is a buffer of the thread behind it, so that
//! one call is enough whatever comes; what lands in the buffer is copied into a block of its own, once, since the next block will
//! be larger. Once a read has come back short the block alone will do: a call with one buffer costs less.

use std::io::{self, IoSliceMut};

use skein_arena::{Block, Error, Header, sync::atomic::Ordering::Relaxed};

use super::{
    EventKind, Network,
    address::encode,
    record::{Kind, Socket, State},
    table::Locked,
};

/// The smallest block of a read.
const LEAST: u32 = 128;
/// The largest.
const MOST: u32 = 256 << 10;
/// From this size on blocks are read into without the buffer behind.
const LARGE: u32 = 16 << 10;
/// What large blocks are made of.
const PAGE: usize = 4096;
/// What a block needs besides its payload: the header, and a NUL.
const BESIDE: usize = Header::SIZE + 1;
/// Size of that buffer; also the largest datagram.
pub(super) const SPILL: usize = 64 << 10;
/// So many lean reads make large blocks smaller.
const PATIENCE: u8 = 8;
/// What one socket may bring before others have their turn.
const TURN: usize = 1 << 20;

/// How a read went.
pub(super) enum Read {
    /// So many bytes, as blocks; `drained`: there is no more.
    Blocks { count: usize, drained: bool, first: Option<Block>, more: Option<Block> },
    /// Nothing more will come.
    End,
    /// Nothing is there now.
    Later,
    /// It failed.
    Failed(io::Error),
    /// The arena is full.
    NoRoom(Error),
}

/// How much room the next block of a socket has, from what came of late.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Of the next block.
    pub(super) next: u32,
    /// Bytes of the reads before, which left some behind.
    run: u32,
    /// Reads in a row that brought much less than there was room for.
    lean: u8,
    /// The last read brought all that there was.
    settled: bool,
}

impl Room {
    /// Of a socket that has brought nothing.
    pub(crate) const FIRST: Self = Self { next: LEAST, run: 0, lean: 0, settled: false };

    /// A read brought so many bytes; `drained`: all that there were.
    fn learn(&mut self, count: usize, drained: bool) {
        let room = self.next as usize;
        self.settled = drained;
        let doubled = |count: usize| count.saturating_mul(2).next_power_of_two().min(MOST as usize) as u32;
        if !drained {
            self.run = self.run.saturating_add(count as u32);
            self.next = self.next.max(doubled(count));
            return;
        }
        // What came in several blocks would have fit into one.
        let all = core::mem::take(&mut self.run) as usize + count;
        let small = all < LARGE as usize;
        let fits = if all >= room && small {
            doubled(all) as usize
        } else if small {
            (room / 2).max(all).max(LEAST as usize)
        } else {
            // Large blocks are pages. Who sends blocks of one size gets blocks of just so many, with room for a byte more: the read
            // comes back short then, the string shows the block, and the pages are found again when the next block is made.
            ((all + 1 + BESIDE).next_multiple_of(PAGE) - BESIDE).min(MOST as usize)
        };
        let too_large = if small { all < room / 2 } else { fits < room / 4 * 3 };
        // One part of a large block may come late; the next one comes in one piece again.
        let waits = room >= LARGE as usize && all == count && self.lean + 1 < PATIENCE;
        if all >= room || too_large && !waits {
            (self.next, self.lean) = (fits as u32, 0);
        } else {
            self.lean = if too_large { self.lean + 1 } else { 0 };
        }
    }
}

impl<'n> Network<'n> {
    /// There is something to read; `ends`: and nothing more behind it. `None`: the socket is no more, or has failed, which is told once
    /// and not again for what waits to be written.
    pub(super) fn readable(self, locked: Locked<'n>, ends: bool, spill: &mut [u8]) -> Option<Locked<'n>> {
        match locked.kind {
            Kind::Datagram { .. } => self.read_datagrams(locked, spill),
            Kind::Stream | Kind::Foreign(_) => self.read_stream(locked, ends, spill),
        }
    }

    fn read_stream(self, mut locked: Locked<'n>, ends: bool, spill: &mut [u8]) -> Option<Locked<'n>> {
        let mut taken = 0;
        while taken < TURN {
            let socket = &mut *locked;
            match self.read_once(socket, spill) {
                Read::Blocks { count, drained, first, more } => {
                    taken += count;
                    self.came(socket, count);
                    for block in [first, more].into_iter().flatten() {
                        self.tell_data(socket, block);
                    }
                    // What comes from now on is told.
                    if drained && !ends {
                        return Some(locked);
                    }
                }
                Read::End => return self.ended(locked),
                Read::Later => return Some(locked),
                Read::Failed(error) => {
                    self.tell_error(socket, &error);
                    self.ask_again(socket);
                    return None;
                }
                Read::NoRoom(error) => {
                    self.log(format!(
                        "socket {}: closed, since what it sent found no room: {error}",
                        socket.id
                    ));
                    self.tell_close(socket);
                    self.destroy(locked);
                    return None;
                }
            }
        }
        self.ask_again(&locked);
        Some(locked)
    }

    fn read_once(self, socket: &mut Socket, spill: &mut [u8]) -> Read {
        if let Some(whole) = socket.whole.take() {
            return self.read_whole(socket, whole, spill);
        }
        let room = socket.room.next;
        let mut block = match self.node.arena().alloc(room as usize) {
            Ok(block) => block,
            Err(error) => return Read::NoRoom(error),
        };
        let behind = if room < LARGE && !socket.room.settled { &mut *spill } else { &mut [] };
        let carrier = socket.carrier();
        let asked = room as usize + behind.len();
        let outcome = {
            let bytes = block.bytes_mut().expect("a new block has bytes");
            if behind.is_empty() {
                self.system().read(socket.fd, carrier, &mut [IoSliceMut::new(bytes)])
            } else {
                self.system().read(socket.fd, carrier, &mut [IoSliceMut::new(bytes), IoSliceMut::new(behind)])
            }
        };
        let count = match outcome {
            Ok(0) => return Read::End,
            Ok(count) => count,
            Err(error) => return Read::of(error),
        };
        socket.room.learn(count, count < asked);
        block.truncate(count.min(room as usize));
        match self.spilled(&spill[..count.saturating_sub(room as usize)]) {
            Ok(more) => Read::Blocks { count, drained: count < asked, first: Some(block), more },
            Err(error) => Read::NoRoom(error),
        }
    }

    /// A block of what landed in the buffer of the thread, if anything did.
    pub(super) fn spilled(self, bytes: &[u8]) -> Result<Option<Block>, Error> {
        if bytes.is_empty() {
            return Ok(None);
        }
        self.sockets().counters.copied.fetch_add(bytes.len() as u64, Relaxed);
        self.node.arena().copy_from(bytes).map(Some)
    }

    fn came(self, socket: &mut Socket, bytes: usize) {
        socket.tally.read += bytes as u64;
        socket.tally.read_at = self.node.clock.stamp();
        self.sockets().counters.read.fetch_add(bytes as u64, Relaxed);
    }

    /// The peer has nothing more to say.
    fn ended(self, mut locked: Locked<'n>) -> Option<Locked<'n>> {
        let socket = &mut *locked;
        if socket.state == State::HalfWrite {
            self.tell_close(socket);
            self.destroy(locked);
            return None;
        }
        self.stop_reading(socket);
        if socket.state != State::Bound {
            self.system().shut_read(socket.fd);
        }
        socket.state = State::HalfRead;
        self.tell_close(socket);
        Some(locked)
    }

    fn read_datagrams(self, mut locked: Locked<'n>, spill: &mut [u8]) -> Option<Locked<'n>> {
        let mut taken = 0;
        while taken < TURN {
            let socket = &mut *locked;
            match self.system().receive(socket.fd, spill) {
                Ok((count, from)) => {
                    taken += count.max(64);
                    self.came(socket, count);
                    // A sender without an address is none of our family.
                    let Some(from) = from else { continue };
                    let (address, len) = encode(from);
                    self.sockets().counters.copied.fetch_add(count as u64, Relaxed);
                    let block = self.node.arena().alloc(count + len);
                    // Without room the datagram is lost, as datagrams may be.
                    let Ok(mut block) = block else { continue };
                    let bytes = block.bytes_mut().expect("a new block has bytes");
                    bytes[..count].copy_from_slice(&spill[..count]);
                    bytes[count..].copy_from_slice(&address[..len]);
                    self.send_event(socket.owner, EventKind::Udp, socket.id, count as i32, Some(block), b"");
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Some(locked),
                    io::ErrorKind::Interrupted => {}
                    _ => {
                        self.tell_error(socket, &error);
                        self.destroy(locked);
                        return None;
                    }
                },
            }
        }
        self.ask_again(&locked);
        Some(locked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_one_size_are_read_into_blocks_that_fit() {
        let mut room = Room::FIRST;
        for count in [64, 64 << 10, 64 << 10] {
            room.learn(count, true);
        }
        let fits = room.next as usize;
        assert!(fits > 64 << 10, "a byte more, so that the read comes back short");
        assert_eq!((fits + BESIDE) % PAGE, 0);
        assert_eq!((fits + BESIDE) / PAGE, ((64 << 10) + BESIDE).div_ceil(PAGE), "none is cut off");
        room.learn(64 << 10, true);
        assert_eq!(room.next as usize, fits);
        room.learn(fits, false);
        assert!(room.next > fits as u32, "what fills it may have more behind");
    }

    /// A block that came in two parts made the room so small that no later one came in a single part again.
    #[test]
    fn a_large_block_that_came_in_parts_leaves_room_for_the_next_one() {
        let mut room = Room::FIRST;
        for (part, drained) in [(2176, false), (10240, false), (32768, false), (4820, true)] {
            room.learn(part, drained);
        }
        assert!(room.next > 50_004, "{room:?}");
        // Whatever the next ones are cut into, there is room for all of the one after them.
        for parts in [&[50_004][..], &[32_768, 17_236], &[17_236, 32_768], &[40_000, 10_004]] {
            parts.iter().for_each(|it| room.learn(*it, true));
            assert!(room.next > 50_004, "{room:?}");
        }
    }

    #[test]
    fn room_that_is_not_needed_is_given_up() {
        let mut room = Room { next: 1024, ..Room::FIRST };
        room.learn(300, true);
        assert_eq!(room.next, 1024 / 2);
        for _ in 0..4 {
            room.learn(1, true);
        }
        assert_eq!(room.next, LEAST);
        let mut room = Room { next: MOST, ..Room::FIRST };
        for _ in 0..20 {
            room.learn(40_000, true);
        }
        assert!(room.next < 50_000, "{room:?}");
        for _ in 0..100 {
            room.learn(100, true);
        }
        assert!(room.next <= 256, "{room:?}");
    }
}
