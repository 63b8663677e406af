//! The message of a socket, as the poll thread sends it: a C struct, with the address of the payload or a text behind it.
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | i32 | kind |
//! | 4 | i32 | socket |
//! | 8 | i32 | a number: bytes of the payload, port, new socket, KiB |
//! | 16 | pointer | the payload's block, or NULL |
//! | 24 | bytes | a text, if there is no payload |

use crate::hand::Refused;
use crate::state::ServiceState;

const SIZE: usize = 24;

/// What happened to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Connect,
    Close,
    Accept,
    Error,
    Udp,
    Warning,
    Unknown,
}

/// One message of a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    /// What happened.
    pub(crate) kind: Kind,
    /// The socket.
    pub(crate) id: i32,
    /// See the table.
    pub(crate) number: i32,
    /// Address of the payload, 0 without one.
    pub(crate) payload: usize,
    /// Where the text is, and its length.
    pub(crate) text: (*const u8, usize),
}

impl Event {
    /// The message at `address`, which is in the hand of `service` and stays there.
    ///
    /// # Errors
    /// It is not in the hand, or shorter than it says or than the struct.
    pub(crate) fn read(service: &ServiceState, address: usize, size: i64) -> Result<Event, Refused> {
        let (at, len) = service.hand.look(address, size)?;
        if len < SIZE {
            return Err(Refused::Size { address, size, len });
        }
        // SAFETY: the hand keeps the block, which has `len` bytes; the message stays in it.
        let bytes = unsafe { std::slice::from_raw_parts(at, len) };
        let int = |at: usize| i32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let payload = usize::from_ne_bytes(bytes[16..SIZE].try_into().expect("eight bytes"));
        let kind = match int(0) {
            1 => Kind::Data,
            2 => Kind::Connect,
            3 => Kind::Close,
            4 => Kind::Accept,
            5 => Kind::Error,
            6 => Kind::Udp,
            7 => Kind::Warning,
            _ => Kind::Unknown,
        };
        // From now on the payload is in the hand as well.
        crate::socket::event::claim(service, address);
        let text = if payload == 0 { (bytes[SIZE..].as_ptr(), len - SIZE) } else { (at, 0) };
        Ok(Event { kind, id: int(4), number: int(8), payload, text })
    }
}
