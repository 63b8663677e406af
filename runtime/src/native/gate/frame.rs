//! Packets with their length in front, out of the blocks that a stream brings.
//!
//! A packet that came whole is a part of its block, and is not copied. One that came in pieces is put together in a block that grows
//! with what has come, so that a length costs nothing before its bytes are there. Of a large one that has hardly begun the socket is asked
//! for the rest: then its body comes as one block that was read into where it is.

use skein_arena::{Arena, Block, Error};

/// Packets this large and larger are refused.
pub(super) const MOST: usize = 1 << 24;
/// Room that a packet in pieces has to begin with.
const FIRST_ROOM: usize = 64 << 10;
/// A body of so many bytes is worth asking the socket for.
const WORTH_ASKING: usize = 16 << 10;

/// Asks the socket for a block of a body: how many bytes it has brought, the size of the body, and what is there of it. Whether the block
/// will come.
pub(super) type Expect<'a> = dyn FnMut(u64, usize, &[u8]) -> bool + 'a;

/// How many bytes the length has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// 2, big-endian.
    Short = 2,
    /// 4, big-endian.
    Long = 4,
}

/// Why a stream makes no sense, or has to wait.
#[derive(Debug)]
pub(super) enum Broken {
    /// A packet of [`MOST`] bytes or more was announced.
    TooLarge,
    /// The arena is full.
    Arena(Error),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Arena(error)
    }
}

/// The packet that is not whole yet.
#[derive(Default)]
pub(super) struct Framer {
    length: [u8; 4],
    /// Bytes of the length that are there.
    known: usize,
    /// The body so far, and how long it will be.
    body: Option<(Block, usize)>,
    /// Bytes of the stream, without those that will come again: the same that the socket layer counts.
    taken: u64,
    /// So many bytes come in one block.
    whole: Option<usize>,
}

impl Framer {
    /// Takes what came, and gives each packet that is whole to `packet`. Empty ones are skipped.
    ///
    /// # Errors
    /// The stream cannot go on; packets before were given.
    pub(super) fn feed(
        &mut self,
        arena: Arena,
        header: Header,
        data: Block,
        expect: &mut Expect<'_>,
        mut packet: impl FnMut(Block),
    ) -> Result<(), Broken> {
        self.taken += data.len() as u64;
        if let Some(len) = self.whole.take() {
            if data.len() == len {
                packet(data);
                return Ok(());
            }
            // The socket gave up waiting for all of it.
            self.begin(arena, len)?;
        }
        let data = data.share();
        let mut at = 0;
        while at < data.len() {
            if let Some((body, need)) = &mut self.body {
                let part = (*need - body.len()).min(data.len() - at);
                body.try_append(&data[at..at + part])?;
                at += part;
                if body.len() == *need {
                    self.body.take().into_iter().for_each(|(body, _)| packet(body));
                }
                continue;
            }
            let part = (header as usize - self.known).min(data.len() - at);
            self.length[self.known..self.known + part].copy_from_slice(&data[at..at + part]);
            self.known += part;
            at += part;
            if self.known < header as usize {
                break;
            }
            self.known = 0;
            let len =
                self.length[..header as usize].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            if len >= MOST {
                return Err(Broken::TooLarge);
            }
            if len > 0 && len <= data.len() - at {
                packet(arena.forward_part(data.clone(), at, len)?);
                at += len;
            } else if len > 0 {
                let begun = &data[at..];
                // With most of it here, to put it together later is as cheap.
                if len >= WORTH_ASKING && begun.len() <= len / 2 && expect(self.taken, len, begun) {
                    self.taken -= begun.len() as u64;
                    self.whole = Some(len);
                    break;
                }
                self.begin(arena, len)?;
            }
        }
        Ok(())
    }

    /// A body of `len` bytes, of which there are none.
    fn begin(&mut self, arena: Arena, len: usize) -> Result<(), Error> {
        let mut body = arena.alloc(len.min(FIRST_ROOM))?;
        body.truncate(0);
        self.body = Some((body, len));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use skein_arena::Options;

    use super::*;

    /// The packets of a stream that comes `step` bytes at a time.
    fn packets(header: Header, stream: &[u8], step: usize) -> Result<Vec<Vec<u8>>, Broken> {
        let arena = Arena::private(&Options::default()).unwrap();
        let (mut framer, mut all) = (Framer::default(), Vec::new());
        for part in stream.chunks(step) {
            let part = arena.copy_from(part).unwrap();
            framer.feed(arena, header, part, &mut |_, _, _| false, |it| all.push(it.to_vec()))?;
        }
        Ok(all)
    }

    #[test]
    fn packets_are_the_same_however_they_come() {
        let mut stream = Vec::new();
        let expected: Vec<Vec<u8>> = [1, 5, 0, 700, 2].map(|len| vec![len as u8; len]).into();
        for packet in &expected {
            stream.extend_from_slice(&(packet.len() as u16).to_be_bytes());
            stream.extend_from_slice(packet);
        }
        let expected: Vec<_> = expected.into_iter().filter(|it| !it.is_empty()).collect();
        for step in (1..20).chain([stream.len()]) {
            assert_eq!(packets(Header::Short, &stream, step).unwrap(), expected, "{step} bytes at a time");
        }
    }

    #[test]
    fn a_length_of_sixteen_mib_is_refused_as_soon_as_it_is_known() {
        assert!(matches!(packets(Header::Long, &[1, 0, 0, 0], 1), Err(Broken::TooLarge)));
        assert!(matches!(packets(Header::Long, &[0xff; 4], 4), Err(Broken::TooLarge)));
        assert_eq!(packets(Header::Long, &[0, 0xff, 0xff, 0xff, 1], 2).unwrap(), Vec::<Vec<u8>>::new());
    }
}
