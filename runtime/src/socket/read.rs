//! How bytes come in: straight into blocks that are as large as what has come of late.
//!
//! The first read of a burst has room in its block for what the last one brought, and a buffer of the thread behind it, so that
//! one call is enough whatever comes; what lands in the buffer is copied into a block of its own, once, since the next block will
//! be larger.

use std::io::{self, IoSliceMut};

use skein_arena::{Block, Error, Header, sync::atomic::Ordering::Relaxed};

use super::{
    EventKind, Network,
    address::encode,
    record::{Kind, Socket, State},
    table::Locked,
};

/// The smallest block of a read.
pub(super) const LEAST: u32 = 128;
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
/// What one socket may bring before others have their turn.
const TURN: usize = 1 << 20;

/// How a read went.
enum Read {
    /// So many bytes, as blocks.
    Blocks(usize, Block, Option<Block>),
    /// Nothing more will come.
    End,
    /// Nothing is there now.
    Later,
    /// It failed.
    Failed(io::Error),
    /// The arena is full.
    NoRoom(Error),
}

/// How much room the next block has, after a read of `count` bytes into one with `room`.
fn next_room(room: u32, count: usize) -> u32 {
    let grown = (count as u32).saturating_mul(2).next_power_of_two().min(MOST);
    if count >= room as usize {
        return grown;
    }
    if count < LARGE as usize {
        return if count < room as usize / 2 { (room / 2).max(LEAST) } else { room };
    }
    // Large blocks are pages. Who sends blocks of one size gets blocks of just so many, with room for a byte more: the read comes
    // back short then, the string shows the block, and the pages are found again when the next block is made.
    let tight = (count + 1 + BESIDE).next_multiple_of(PAGE) - BESIDE;
    if tight < room as usize / 4 * 3 { tight as u32 } else { room }
}

impl<'n> Network<'n> {
    /// There is something to read; `ends`: and nothing more behind it. `None`: the socket is no more.
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
            let room = socket.room as usize + if socket.room < LARGE { spill.len() } else { 0 };
            match self.read_once(socket, spill) {
                Read::Blocks(bytes, block, more) => {
                    taken += bytes;
                    self.came(socket, bytes);
                    for block in [Some(block), more].into_iter().flatten() {
                        let size = block.len() as i32;
                        self.send_event(socket.owner, EventKind::Data, socket.id, size, Some(block), b"");
                    }
                    // What comes from now on is told.
                    if bytes < room && !ends {
                        return Some(locked);
                    }
                }
                Read::End => return self.ended(locked),
                Read::Later => return Some(locked),
                Read::Failed(error) => {
                    self.tell_error(socket, &error);
                    self.ask_again(socket);
                    return Some(locked);
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
        let arena = self.node.arena();
        let room = socket.room;
        let mut block = match arena.alloc(room as usize) {
            Ok(block) => block,
            Err(error) => return Read::NoRoom(error),
        };
        let outcome = {
            let bytes = block.bytes_mut().expect("a new block has bytes");
            if room < LARGE {
                self.system().read(socket.fd, &mut [IoSliceMut::new(bytes), IoSliceMut::new(spill)])
            } else {
                self.system().read(socket.fd, &mut [IoSliceMut::new(bytes)])
            }
        };
        let count = match outcome {
            Ok(0) => return Read::End,
            Ok(count) => count,
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => return Read::Later,
                _ => return Read::Failed(error),
            },
        };
        socket.room = next_room(room, count);
        let spilled = count.saturating_sub(room as usize);
        if spilled == 0 {
            block.truncate(count);
            return Read::Blocks(count, block, None);
        }
        self.sockets().counters.copied.fetch_add(spilled as u64, Relaxed);
        match arena.copy_from(&spill[..spilled]) {
            Ok(more) => Read::Blocks(count, block, Some(more)),
            Err(error) => Read::NoRoom(error),
        }
    }

    fn came(self, socket: &mut Socket, bytes: usize) {
        socket.tally.read += bytes as u64;
        socket.tally.read_at = self.node.now();
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
        let mut room = LEAST;
        for count in [64, 64 << 10, 64 << 10, 64 << 10] {
            room = next_room(room, count);
        }
        assert!(room as usize > 64 << 10, "a byte more, so that the read comes back short");
        assert_eq!((room as usize + BESIDE) % PAGE, 0);
        assert_eq!((room as usize + BESIDE) / PAGE, ((64 << 10) + BESIDE).div_ceil(PAGE), "none is cut off");
        assert_eq!(next_room(room, 64 << 10), room);
        assert_eq!(next_room(room, room as usize), MOST, "what fills it may have more behind");
        assert_eq!(next_room(LEAST, 1), LEAST);
        assert_eq!(next_room(1024, 300), 512);
    }
}
