//! The bytes of the cluster protocol: what one node sends another, without Lua.
//!
//! Every unit is a frame: 2 bytes size, big-endian, and that many bytes of body; numbers inside the body are little-endian. A
//! request has a kind, an address (number or name), a session and its payload; one of [`MULTI`] bytes or more goes as a header
//! with the total size, and parts behind it. A response has a session, a kind and data. docs/cluster.md has the tables.
//!
//! # From skynet
//! lua-cluster.c: `packreq_number`, `packreq_string` → [`request`]; `packreq_multi` → [`part`]; `unpackreq_number`,
//! `unpackreq_string`, `unpackmreq_*` → [`read_request`]; `lpackresponse` → [`response`]; `lunpackresponse` → [`read_response`].

use std::mem::MaybeUninit;

/// Bytes of one part of a large message, and the size from which a request is large.
pub(super) const MULTI: usize = 0x8000;

/// The longest header of any unit, frame size included: a request by a name of 255 bytes.
pub(super) const LONGEST: usize = 2 + 2 + 255 + 4 + 4;

/// Whom a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To<'a> {
    Number(u32),
    Name(&'a [u8]),
}

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Answer,
    Nothing,
}

/// The first bytes of a unit, on the stack: `len` of them are written, or will be when it is finished.
pub(super) struct Head {
    bytes: [MaybeUninit<u8>; LONGEST],
    len: usize,
}

impl Head {
    #[inline(always)]
    fn new() -> Head {
        Head { bytes: [MaybeUninit::uninit(); LONGEST], len: 2 }
    }

    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].write_copy_of_slice(bytes);
        self.len += bytes.len();
    }

    /// Writes the frame's size: what was put, and `more` bytes that follow. In place: a head is too long to be moved for nothing.
    #[inline(always)]
    fn finish(&mut self, more: usize) {
        let size = u16::try_from(self.len - 2 + more).expect("a unit is a part at most, and its header");
        self.bytes[..2].write_copy_of_slice(&size.to_be_bytes());
    }

    #[inline(always)]
    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: `put` wrote what lies behind the size, and whoever makes a head ends with `finish`.
        unsafe { self.bytes[..self.len].assume_init_ref() }
    }
}

/// Bytes of the frame of a request in front of its payload, if that is smaller than [`MULTI`].
#[inline(always)]
pub(super) fn small_request_len(to: To<'_>) -> usize {
    match to {
        To::Number(_) => 2 + 1 + 4 + 4,
        To::Name(name) => 2 + 2 + name.len() + 4,
    }
}

/// Writes what [`request`] makes in front of a payload that is smaller than [`MULTI`]: `out` has room for just that.
#[inline(always)]
pub(super) fn write_small_request(
    out: &mut [MaybeUninit<u8>],
    to: To<'_>,
    session: u32,
    want: Want,
    size: usize,
) {
    let len = (out.len() - 2 + size) as u16;
    out[..2].write_copy_of_slice(&len.to_be_bytes());
    let session = if want == Want::Nothing { 0 } else { session };
    let end = out.len() - 4;
    out[end..].write_copy_of_slice(&session.to_le_bytes());
    let middle = &mut out[2..end];
    match to {
        To::Number(number) => {
            middle[0].write(0x00);
            middle[1..].write_copy_of_slice(&number.to_le_bytes());
        }
        To::Name(name) => {
            middle[0].write(0x80);
            middle[1].write(name.len() as u8);
            middle[2..].write_copy_of_slice(name);
        }
    }
}

/// Bytes of the frame of a response in front of its data.
pub(super) const RESPONSE: usize = 2 + 4 + 1;

/// What [`response`] makes in front of all of the data.
#[inline(always)]
pub(super) fn whole_response(session: u32, size: usize) -> [u8; RESPONSE] {
    let [high, low] = ((RESPONSE - 2 + size) as u16).to_be_bytes();
    let [a, b, c, d] = session.to_le_bytes();
    [high, low, a, b, c, d, Answer::Whole as u8]
}

/// How many parts a payload of `size` bytes has.
pub(super) fn parts(size: usize) -> usize {
    size.div_ceil(MULTI)
}

/// The first frame of a request, up to the payload: which belongs to it if it is smaller than [`MULTI`], and follows in parts
/// otherwise. A name has 1 to 255 bytes.
#[inline]
pub(super) fn request(to: To<'_>, session: u32, want: Want, size: u32) -> Head {
    let multi = size as usize >= MULTI;
    let kind = match (multi, want) {
        (false, _) => 0x00,
        (true, Want::Answer) => 0x01,
        (true, Want::Nothing) => 0x41,
    };
    let mut head = Head::new();
    match to {
        To::Number(number) => {
            head.put(&[kind]);
            head.put(&number.to_le_bytes());
        }
        To::Name(name) => {
            head.put(&[kind | 0x80, name.len() as u8]);
            head.put(name);
        }
    }
    // Of a large push the session only says which parts belong together.
    let session = if !multi && want == Want::Nothing { 0 } else { session };
    head.put(&session.to_le_bytes());
    if multi {
        head.put(&size.to_le_bytes());
    }
    head.finish(if multi { 0 } else { size as usize });
    head
}

/// The head of one part of a request.
#[inline]
pub(super) fn part(session: u32, last: bool, size: usize) -> Head {
    let mut head = Head::new();
    head.put(&[if last { 0x03 } else { 0x02 }]);
    head.put(&session.to_le_bytes());
    head.finish(size);
    head
}

/// The head of a trace tag's frame.
pub(super) fn trace(size: usize) -> Head {
    let mut head = Head::new();
    head.put(&[0x04]);
    head.finish(size);
    head
}

/// What a unit of a response holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Answer {
    Failed = 0,
    Whole = 1,
    Begin = 2,
    Part = 3,
    End = 4,
}

/// The head of a response's unit with `size` bytes of data.
#[inline]
pub(super) fn response(session: u32, kind: Answer, size: usize) -> Head {
    let mut head = Head::new();
    head.put(&session.to_le_bytes());
    head.put(&[kind as u8]);
    head.finish(size);
    head
}

/// A unit of a request, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    /// All of it. Session 0: nobody waits for an answer.
    Whole { to: To<'a>, session: u32, payload: &'a [u8] },
    /// `total` bytes follow in parts.
    Large { to: To<'a>, session: u32, total: u32, want: Want },
    /// A part of a large one.
    Part { session: u32, payload: &'a [u8], last: bool },
    /// The tag of the request behind it.
    Trace(&'a [u8]),
}

/// Why bytes are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("Invalid req package. size == 0")]
    Empty,
    #[error("Invalid cluster message (size={0})")]
    Short(usize),
    #[error("Invalid cluster message size {0} (multi req must be 13)")]
    NotThirteen(usize),
    #[error("Invalid cluster multi part message")]
    ShortPart,
    #[error("Invalid req package type {0}")]
    Kind(i8),
}

/// Reads little-endian numbers from where it is known that they are.
fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"))
}

/// Takes the body of a frame apart.
///
/// # Errors
/// [`Malformed`].
#[inline]
pub(super) fn read_request(body: &[u8]) -> Result<Request<'_>, Malformed> {
    let (&kind, rest) = body.split_first().ok_or(Malformed::Empty)?;
    match kind {
        0x00 => {
            if rest.len() < 8 {
                return Err(Malformed::Short(body.len()));
            }
            let to = To::Number(number(rest));
            Ok(Request::Whole { to, session: number(&rest[4..]), payload: &rest[8..] })
        }
        0x01 | 0x41 => {
            if body.len() != 13 {
                return Err(Malformed::NotThirteen(body.len()));
            }
            let (session, total) = (number(&rest[4..]), number(&rest[8..]));
            Ok(Request::Large { to: To::Number(number(rest)), session, total, want: want(kind) })
        }
        0x02 | 0x03 => {
            if rest.len() < 4 {
                return Err(Malformed::ShortPart);
            }
            Ok(Request::Part { session: number(rest), payload: &rest[4..], last: kind == 0x03 })
        }
        0x04 => Ok(Request::Trace(rest)),
        0x80 | 0x81 | 0xc1 => {
            let short = Malformed::Short(body.len());
            let (&len, rest) = rest.split_first().ok_or(short)?;
            let (name, rest) = rest.split_at_checked(usize::from(len)).ok_or(short)?;
            let (session, rest) = rest.split_at_checked(4).ok_or(short)?;
            let (to, session) = (To::Name(name), number(session));
            if kind == 0x80 {
                return Ok(Request::Whole { to, session, payload: rest });
            }
            let total = number(rest.get(..4).ok_or(short)?);
            Ok(Request::Large { to, session, total, want: want(kind) })
        }
        other => Err(Malformed::Kind(other as i8)),
    }
}

fn want(kind: u8) -> Want {
    if kind & 0x40 == 0 { Want::Answer } else { Want::Nothing }
}

/// A unit of a response, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Response<'a> {
    Failed {
        session: u32,
        text: &'a [u8],
    },
    /// The whole, or the end of a large one.
    Done {
        session: u32,
        data: &'a [u8],
    },
    Begin {
        session: u32,
        total: u32,
    },
    Part {
        session: u32,
        data: &'a [u8],
    },
}

/// Takes the body of a frame apart; none if it is no response.
#[inline]
pub(super) fn read_response(body: &[u8]) -> Option<Response<'_>> {
    let (head, data) = body.split_at_checked(5)?;
    let session = number(head);
    match head[4] {
        0 => Some(Response::Failed { session, text: data }),
        1 | 4 => Some(Response::Done { session, data }),
        2 if data.len() == 4 => Some(Response::Begin { session, total: number(data) }),
        3 => Some(Response::Part { session, data }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_frame_has_the_same_head_wherever_it_is_written() {
        for to in [To::Number(0x0102_0304), To::Name(b"@name"), To::Name(&[b'n'; 255])] {
            for want in [Want::Answer, Want::Nothing] {
                let mut out = [MaybeUninit::new(0xaa); LONGEST];
                let out = &mut out[..small_request_len(to)];
                write_small_request(out, to, 0x7fff_fffe, want, 700);
                // SAFETY: each was set above.
                let out = unsafe { out.assume_init_ref() };
                assert_eq!(out, request(to, 0x7fff_fffe, want, 700).as_slice(), "{to:?} {want:?}");
            }
        }
        assert_eq!(whole_response(7, 700), response(7, Answer::Whole, 700).as_slice());
    }
}
