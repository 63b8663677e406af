//! From the bytes of sockets to packets: two bytes of length, high one first, and so many bytes.
//!
//! A packet that ends the block it came in, or that is a good part of it, is handed on as a view of that block; a small one
//! beside others is copied, so that it does not pin what it was read with. A packet in pieces is put together as its bytes
//! come: a length that was announced costs nothing until then. Of a large one that has hardly begun the socket is asked for the rest
//! ([`Expect`]): then its body comes as one block that was read into where it is.
//!
//! # Invariants
//! * **K1** Packets of one socket leave in the order of their bytes.
//! * **K2** A stream that lost bytes, because the arena was full, yields nothing more until the socket is closed.
//! * **K3** `taken` counts what a socket has brought since it was first seen here. It is what the socket layer counts, or the socket is asked
//!   for nothing.
//!
//! # From skynet
//! lua-netpack.c: struct queue → [`Queue`], struct uncomplete → [`Partial`], push_more → [`Queue::feed`] (a loop, not a
//! recursion).

use std::collections::{HashMap, VecDeque};

use skein_arena::{Arena, Block, BlockWriter, Error, Payload};

/// Bytes in front of a packet.
pub(crate) const HEADER: usize = 2;
/// The longest packet.
pub(crate) const MOST: usize = 0xffff;

/// A shorter packet is copied rather than shown as a part of its block.
const WORTH_SHARING: usize = 256;
/// Room a packet in pieces gets at once, however long it says it is.
const FIRST_ROOM: usize = 4096;

/// A body of so many bytes is worth asking the socket for.
const WORTH_ASKING: usize = 16 << 10;

/// Asks a socket for a block of a body: the socket, how many bytes it has brought, the size of the body, and what is there of it. Whether the
/// block will come.
pub(crate) type Expect<'a> = dyn FnMut(i32, u64, usize, &[u8]) -> bool + 'a;

/// Packets that wait, and what came of those that are not complete.
#[derive(Default)]
pub(crate) struct Queue {
    ready: VecDeque<(i32, Block)>,
    streams: HashMap<i32, Stream>,
}

/// What a socket has brought.
#[derive(Default)]
struct Stream {
    /// Bytes, without those that will come again (K3).
    taken: u64,
    partial: Partial,
}

/// What a socket's last bytes began.
#[derive(Default)]
enum Partial {
    /// Nothing.
    #[default]
    None,
    /// The first byte of the length.
    Length(u8),
    /// A body that lacks `missing` bytes.
    Body { body: BlockWriter, missing: usize },
    /// A body of so many bytes, of which none was kept: it comes in one block.
    Whole(usize),
    /// Bytes were lost.
    Lost,
}

/// What bytes of a socket amount to.
pub(crate) enum Fed {
    /// Nothing yet.
    Nothing,
    /// Exactly one packet.
    One(Block),
    /// Packets wait in the queue.
    More,
}

/// Why bytes became no packets.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// There is no room for a packet. The stream is lost.
    #[error("no room for a packet of socket {id}: {source}")]
    Arena {
        /// The socket.
        id: i32,
        /// What the arena says.
        source: Error,
    },
    /// Bytes were lost before.
    #[error("the packets of socket {id} were lost when the arena was full")]
    Lost {
        /// The socket.
        id: i32,
    },
}

/// Whether the block is one packet, no more and no less.
pub(crate) fn is_one(bytes: &[u8]) -> bool {
    split_length(bytes).is_some_and(|(len, rest)| rest.len() == len)
}

fn split_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    Some((usize::from(u16::from_be_bytes(*header)), rest))
}

/// The only packet of a block, whole.
pub(crate) fn only(arena: Arena, block: Block) -> Result<Block, Error> {
    let len = block.len() - HEADER;
    Source::new(arena, block).packet(HEADER, len)
}

impl Queue {
    /// Takes the bytes that socket `id` sent.
    ///
    /// # Errors
    /// Packets before the one that failed wait in the queue.
    pub(crate) fn feed(
        &mut self,
        arena: Arena,
        id: i32,
        block: Block,
        expect: &mut Expect<'_>,
    ) -> Result<Fed, Failed> {
        let before = self.ready.len();
        let stream = self.streams.entry(id).or_default();
        stream.taken += block.len() as u64;
        if let Err(failed) = stream.take(arena, id, block, &mut self.ready, expect) {
            stream.partial = Partial::Lost;
            return Err(failed);
        }
        let alone = self.ready.len() == before + 1 && matches!(stream.partial, Partial::None);
        if alone && let Some((_, packet)) = self.ready.pop_back() {
            return Ok(Fed::One(packet));
        }
        Ok(if self.ready.len() > before { Fed::More } else { Fed::Nothing })
    }

    /// The packet that waits longest, and its socket.
    pub(crate) fn pop(&mut self) -> Option<(i32, Block)> {
        self.ready.pop_front()
    }

    /// Forgets what is not complete of a socket that is gone.
    pub(crate) fn forget(&mut self, id: i32) {
        self.streams.remove(&id);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Queue::default();
    }
}

impl Stream {
    /// Cuts packets out of a block.
    fn take(
        &mut self,
        arena: Arena,
        id: i32,
        block: Block,
        ready: &mut VecDeque<(i32, Block)>,
        expect: &mut Expect<'_>,
    ) -> Result<(), Failed> {
        let full = |source| Failed::Arena { id, source };
        let mut at = 0;
        let mut first = None;
        let partial = std::mem::take(&mut self.partial);
        if let Partial::Whole(len) = partial
            && len == block.len()
        {
            ready.push_back((id, block));
            return Ok(());
        }
        let mut source = Source::new(arena, block);
        match partial {
            Partial::None => {}
            Partial::Lost => return Err(Failed::Lost { id }),
            // The socket gave up waiting for all of it.
            Partial::Whole(len) => first = Some(len),
            Partial::Length(high) => match source.bytes().first() {
                Some(&low) => {
                    at = 1;
                    first = Some(usize::from(u16::from_be_bytes([high, low])));
                }
                None => self.partial = Partial::Length(high),
            },
            Partial::Body { mut body, missing } => {
                at = missing.min(source.bytes().len());
                append(&mut body, &source.bytes()[..at], missing).map_err(full)?;
                if at < missing {
                    self.partial = Partial::Body { body, missing: missing - at };
                } else {
                    ready.push_back((id, body.finish()));
                }
            }
        }
        loop {
            let rest = &source.bytes()[at..];
            let len = match (first.take(), rest) {
                (Some(len), _) => len,
                (None, []) => return Ok(()),
                (None, &[high]) => {
                    self.partial = Partial::Length(high);
                    return Ok(());
                }
                (None, &[high, low, ..]) => {
                    at += HEADER;
                    usize::from(u16::from_be_bytes([high, low]))
                }
            };
            let rest = &source.bytes()[at..];
            if rest.len() < len {
                self.partial = self.begin(arena, id, len, rest, expect).map_err(full)?;
                return Ok(());
            }
            let packet = source.packet(at, len).map_err(full)?;
            ready.push_back((id, packet));
            at += len;
        }
    }

    /// A body of `len` bytes, of which there are `begun`.
    fn begin(
        &mut self,
        arena: Arena,
        id: i32,
        len: usize,
        begun: &[u8],
        expect: &mut Expect<'_>,
    ) -> Result<Partial, Error> {
        // Most of it is here: to put it together later is as cheap.
        if len >= WORTH_ASKING && begun.len() <= len / 2 && expect(id, self.taken, len, begun) {
            self.taken -= begun.len() as u64;
            return Ok(Partial::Whole(len));
        }
        let mut body = arena.writer(len.min(FIRST_ROOM.max(begun.len())))?;
        body.put_slice(begun)?;
        Ok(Partial::Body { body, missing: len - begun.len() })
    }
}

/// Appends to a body of which `missing` bytes lack, with no more room than it will need.
fn append(body: &mut BlockWriter, bytes: &[u8], missing: usize) -> Result<(), Error> {
    if body.capacity() - body.len() < bytes.len() {
        // Twice as much as there is, so that a body in many pieces is moved a few times only.
        body.try_reserve(missing.min(bytes.len().max(body.len())))?;
    }
    body.put_slice(bytes)
}

/// A block of a socket, of which packets are cut.
struct Source {
    arena: Arena,
    bytes: Owned,
}

enum Owned {
    Sole(Block),
    Shared(Payload),
    /// Only while one becomes the other.
    Moving,
}

impl Source {
    fn new(arena: Arena, block: Block) -> Source {
        Source { arena, bytes: Owned::Sole(block) }
    }

    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Owned::Sole(block) => block,
            Owned::Shared(payload) => payload,
            Owned::Moving => &[],
        }
    }

    fn footprint(&self) -> usize {
        match &self.bytes {
            Owned::Sole(block) => block.footprint(),
            Owned::Shared(payload) => payload.footprint(),
            Owned::Moving => 0,
        }
    }

    /// The `len` bytes at `at` as a block of their own.
    fn packet(&mut self, at: usize, len: usize) -> Result<Block, Error> {
        if len < WORTH_SHARING || len < self.footprint() / 4 {
            let mut copy = self.arena.alloc(len)?;
            skein_arena::copy(copy.bytes_mut().expect("a new block has bytes"), &self.bytes()[at..at + len]);
            return Ok(copy);
        }
        let payload = match std::mem::replace(&mut self.bytes, Owned::Moving) {
            Owned::Sole(block) => block.share(),
            Owned::Shared(payload) => payload,
            Owned::Moving => unreachable!("nobody else sees a block that is moving"),
        };
        self.bytes = Owned::Shared(payload.clone());
        self.arena.forward_part(payload, at, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_arena::Options;

    fn arena() -> Arena {
        static ONE: std::sync::OnceLock<Arena> = std::sync::OnceLock::new();
        *ONE.get_or_init(|| Arena::private(&Options::default()).unwrap())
    }

    /// A socket that is asked for nothing.
    fn nothing() -> impl FnMut(i32, u64, usize, &[u8]) -> bool {
        |_, _, _, _| false
    }

    fn framed(packets: &[Vec<u8>]) -> Vec<u8> {
        let frame = |it: &Vec<u8>| [&(it.len() as u16).to_be_bytes()[..], it].concat();
        packets.iter().flat_map(frame).collect()
    }

    fn all(queue: &mut Queue, stream: &[u8], cut: impl Fn(usize) -> usize) -> Vec<Vec<u8>> {
        let mut got = Vec::new();
        let mut rest = stream;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(cut(rest.len()).clamp(1, rest.len()));
            rest = behind;
            match queue.feed(arena(), 3, arena().copy_from(piece).unwrap(), &mut nothing()).unwrap() {
                Fed::Nothing => {}
                Fed::One(packet) => got.push(packet.to_vec()),
                Fed::More => got.extend(std::iter::from_fn(|| queue.pop()).map(|(_, it)| it.to_vec())),
            }
        }
        got
    }

    #[test]
    fn packets_are_the_same_wherever_the_stream_is_cut() {
        let packets: Vec<Vec<u8>> = [0, 1, 2, 3, 255, 256, 300, 5000, 65535, 0, 0, 7]
            .iter()
            .map(|&len| (0..len).map(|at| (at % 251) as u8).collect())
            .collect();
        let stream = framed(&packets);
        for size in [1, 2, 3, 7, 64, 257, 1000, 4096, 40_000, stream.len()] {
            assert_eq!(all(&mut Queue::default(), &stream, |_| size), packets, "in pieces of {size}");
        }
    }

    #[test]
    fn an_announced_length_takes_no_room_before_its_bytes_come() {
        let mut queue = Queue::default();
        let before = arena().stats().live_bytes;
        for id in 0..100 {
            let header = arena().copy_from(b"\xff\xff").unwrap();
            let fed = queue.feed(arena(), id, header, &mut nothing()).unwrap();
            assert!(matches!(fed, Fed::Nothing));
        }
        assert!(arena().stats().live_bytes - before < 100 * 8192);
        queue.clear();
    }

    #[test]
    fn a_large_packet_is_a_view_of_the_block_it_came_in() {
        let stream = framed(&[vec![7; 5000]]);
        let block = arena().copy_from(&stream).unwrap();
        let address = block.as_ptr().addr();
        let Fed::One(packet) = Queue::default().feed(arena(), 1, block, &mut nothing()).unwrap() else {
            panic!()
        };
        assert_eq!(packet.as_ptr().addr(), address + HEADER);
        // A small one of many does not pin its block.
        let stream = framed(&[vec![7; 300], vec![8; 60_000]]);
        let block = arena().copy_from(&stream).unwrap();
        let range = block.as_ptr().addr()..block.as_ptr().addr() + stream.len();
        let mut queue = Queue::default();
        assert!(matches!(queue.feed(arena(), 1, block, &mut nothing()).unwrap(), Fed::More));
        assert!(!range.contains(&queue.pop().unwrap().1.as_ptr().addr()));
        assert!(range.contains(&queue.pop().unwrap().1.as_ptr().addr()));
    }

    #[test]
    fn a_body_that_was_asked_for_is_the_block_that_comes_and_may_come_in_parts_all_the_same() {
        let body: Vec<u8> = (0..50_000_u32).map(|at| (at % 251) as u8).collect();
        let packet = framed(std::slice::from_ref(&body));
        for parts in [&[50_000][..], &[20_000, 30_000], &[1, 2, 49_997]] {
            let mut queue = Queue::default();
            let mut asked = Vec::new();
            let mut ask = |id, taken, len, begun: &[u8]| {
                asked.push((id, taken, len, begun.len()));
                asked.len() == 1
            };
            let before = arena().copy_from(&framed(&[b"before".to_vec()])).unwrap();
            assert!(matches!(queue.feed(arena(), 7, before, &mut ask).unwrap(), Fed::One(_)));
            let begun = arena().copy_from(&packet[..HEADER + 10]).unwrap();
            assert!(matches!(queue.feed(arena(), 7, begun, &mut ask).unwrap(), Fed::Nothing));
            let mut rest = &body[..];
            let mut got = None;
            for part in parts {
                let (now, later) = rest.split_at(*part);
                rest = later;
                let block = arena().copy_from(now).unwrap();
                let address = block.as_ptr();
                if let Fed::One(packet) = queue.feed(arena(), 7, block, &mut ask).unwrap() {
                    assert_eq!(packet.as_ptr() == address, parts.len() == 1);
                    got = Some(packet.to_vec());
                }
            }
            assert!(got.as_deref() == Some(&body[..]), "{parts:?}");
            assert_eq!(asked[0], (7, 8 + 12, 50_000, 10));
            // What comes again is not counted twice.
            assert!(asked[1..].iter().all(|it| it.1 == 8 + 2 + parts[0] as u64), "{asked:?}");
        }
    }
}
