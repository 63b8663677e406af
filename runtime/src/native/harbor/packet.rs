//! What travels between two nodes: messages, one after the other.
//!
//! ```text
//! 0 size n u32 · 4 body (n - 12 bytes) · source u32 · destination u32, its top byte the message's type · session u32
//! ```
//!
//! All numbers are big-endian. The top byte of the size is 0. What comes may be anybody's bytes: [`Reader`] takes memory for what has
//! arrived, not for what a size promises.

use crate::{Handle, MessageType, Session};

/// Bytes behind a body.
pub(super) const TAIL: usize = 12;
/// The largest body.
pub(super) const MOST: usize = (1 << 24) - 1 - TAIL;
/// Bytes of a local address.
const LOCAL: u32 = 0x00ff_ffff;

/// A message without its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) source: Handle,
    /// Without the number of its node.
    pub(super) destination: u32,
    pub(super) ty: MessageType,
    pub(super) session: Session,
}

/// Why a peer cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// The top byte of a size is not 0.
    TooLong,
    /// A size has no room for what follows the body.
    TooShort(u32),
}

impl Head {
    /// What goes before and behind a body of `len` bytes, [`MOST`] at most.
    pub(super) fn encode(self, len: usize) -> ([u8; 4], [u8; TAIL]) {
        let size = (len + TAIL) as u32;
        let destination = u32::from(self.ty.0) << 24 | self.destination & LOCAL;
        let mut tail = [0; TAIL];
        tail[..4].copy_from_slice(&self.source.0.to_be_bytes());
        tail[4..8].copy_from_slice(&destination.to_be_bytes());
        tail[8..].copy_from_slice(&self.session.to_be_bytes());
        (size.to_be_bytes(), tail)
    }

    fn decode(tail: [u8; TAIL]) -> Head {
        let word = |at: usize| u32::from_be_bytes([tail[at], tail[at + 1], tail[at + 2], tail[at + 3]]);
        Head {
            source: Handle(word(0)),
            destination: word(4) & LOCAL,
            ty: MessageType((word(4) >> 24) as u8),
            session: word(8) as Session,
        }
    }
}

/// Cuts a stream into messages.
#[derive(Debug, Default)]
pub(super) struct Reader {
    bytes: Vec<u8>,
}

impl Reader {
    /// Takes what has arrived, and calls `each` with every message that is complete.
    ///
    /// # Errors
    /// The stream is no stream of messages; what came before has been given to `each`.
    pub(super) fn push(&mut self, arrived: &[u8], mut each: impl FnMut(Head, &[u8])) -> Result<(), Malformed> {
        // Mostly nothing waits, and nothing is copied.
        if self.bytes.is_empty() {
            let used = cut(arrived, &mut each)?;
            self.bytes.extend_from_slice(&arrived[used..]);
            return Ok(());
        }
        self.bytes.extend_from_slice(arrived);
        let used = cut(&self.bytes, &mut each)?;
        self.bytes.drain(..used);
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        Ok(())
    }
}

/// The messages at the beginning of `bytes`; answers how many bytes they have.
fn cut(bytes: &[u8], each: &mut impl FnMut(Head, &[u8])) -> Result<usize, Malformed> {
    let mut rest = bytes;
    while let Some((size, behind)) = rest.split_first_chunk::<4>() {
        if size[0] != 0 {
            return Err(Malformed::TooLong);
        }
        let size = u32::from_be_bytes(*size);
        let Some((packet, next)) = behind.split_at_checked(size as usize) else {
            if (size as usize) < TAIL {
                return Err(Malformed::TooShort(size));
            }
            break;
        };
        let Some((body, tail)) = packet.split_last_chunk::<TAIL>() else { return Err(Malformed::TooShort(size)) };
        each(Head::decode(*tail), body);
        rest = next;
    }
    Ok(bytes.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request that skynet sent: "ping" from :01000009 to local id 0x55, type 10, session 3.
    const REQUEST: [u8; 21] = [
        0, 0, 0, 0x11, 0x24, b'p', b'i', b'n', b'g', 1, 0, 0, 9, 10, 0, 0, 0x55, 0, 0, 0, 3,
    ];
    const HEAD: Head =
        Head { source: Handle(0x0100_0009), destination: 0x55, ty: MessageType::LUA, session: 3 };

    #[test]
    fn a_request_of_skynets_is_written_and_read() {
        let (size, tail) = HEAD.encode(5);
        assert_eq!([&size[..], b"\x24ping", &tail].concat(), REQUEST);
        let error = Head { source: Handle(0x0100_0777), destination: 0x10, ty: MessageType::ERROR, session: 8 };
        let (size, tail) = error.encode(0);
        assert_eq!([&size[..], &tail].concat(), [0, 0, 0, 12, 1, 0, 7, 0x77, 7, 0, 0, 0x10, 0, 0, 0, 8]);
    }

    #[test]
    fn messages_come_whole_however_the_stream_is_cut() {
        let stream = [REQUEST, REQUEST, REQUEST].concat();
        for piece in 1..stream.len() {
            let (mut reader, mut count) = (Reader::default(), 0);
            for part in stream.chunks(piece) {
                reader
                    .push(part, |head, body| {
                        assert_eq!((head, body), (HEAD, &b"\x24ping"[..]));
                        count += 1;
                    })
                    .unwrap();
            }
            assert_eq!(count, 3, "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_stream_of_messages_is_refused() {
        let none = |_: Head, _: &[u8]| panic!("no message");
        assert_eq!(Reader::default().push(&[1, 0, 0, 0], none), Err(Malformed::TooLong));
        assert_eq!(Reader::default().push(&[0, 0, 0, 11], none), Err(Malformed::TooShort(11)));
        assert_eq!(Reader::default().push(&[0, 0, 0, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], none), Err(Malformed::TooShort(11)));
        let mut reader = Reader::default();
        reader.push(&[0, 0xff, 0xff, 0xff, 1], none).unwrap();
        assert!(reader.bytes.capacity() < 100, "a size takes no memory");
    }
}
