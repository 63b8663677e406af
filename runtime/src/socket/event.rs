//! What happened on a socket, as the message that its owner gets.
//!
//! The body has skynet's layout, because C services and C modules read it:
//!
//! ```text
//! 0 type i32 · 4 id i32 · 8 ud i32 · 12 owned u32 · 16 buffer pointer · 24 text, only without a buffer
//! ```
//!
//! `owned` lies in what C has as padding: 1 while the message owns the block that `buffer` points into. Who claims the block
//! clears it; a message that is dropped unclaimed frees its block.
//!
//! # Invariants
//! * **V1** A body that [`free`] frees was made by [`message`]; nothing else passes that function to the arena.
//! * **V2** `owned` and `buffer` are touched by the sole owner of the message only.
//!
//! # From skynet
//! struct skynet_socket_message → [`Body`]; the buffer that the receiver has to free → [`SocketEvent::data`].

use std::{
    alloc::{self, Layout},
    mem::offset_of,
    ptr::{self, NonNull},
};

use skein_arena::{Arena, Block, Error, Header};

use crate::Message;

/// Bytes of a body without a text.
pub const HEAD: usize = size_of::<Body>();
/// Longest text of a body. What is longer is cut.
pub const LONGEST_TEXT: usize = 128;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum EventKind {
    /// Bytes came; `ud` says how many.
    Data = 1,
    /// The socket is ready: connected, listening, taken over.
    Connect = 2,
    /// The peer has closed, or the socket is gone.
    Close = 3,
    /// A listener has a new connection, `ud` is its id.
    Accept = 4,
    /// Something failed; the text says what.
    Error = 5,
    /// A datagram came: `ud` bytes, and behind them the address of the sender.
    Udp = 6,
    /// `ud` KiB wait to be sent; 0: nothing does any more.
    Warning = 7,
}

impl EventKind {
    fn from_number(number: i32) -> Option<Self> {
        let all =
            [Self::Data, Self::Connect, Self::Close, Self::Accept, Self::Error, Self::Udp, Self::Warning];
        all.into_iter().find(|it| *it as i32 == number)
    }
}

/// The fixed part of a body.
#[repr(C)]
struct Body {
    kind: i32,
    id: i32,
    ud: i32,
    owned: u32,
    buffer: *mut u8,
}

const _: () = assert!(size_of::<Body>() == 24 && offset_of!(Body, buffer) == 16);

/// What a body says. Numbers are as they were found: the body may be anybody's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// An [`EventKind`], if the runtime made it.
    pub kind: i32,
    /// The socket.
    pub id: i32,
    /// See [`EventKind`].
    pub ud: i32,
    /// Where the buffer is; 0 if there is none.
    pub buffer: usize,
}

impl Head {
    /// Reads the fixed part of a body; what follows it is the text if `buffer` is 0.
    pub fn read(body: &[u8]) -> Option<(Self, &[u8])> {
        let (head, text) = body.split_at_checked(HEAD)?;
        let number = |at: usize| i32::from_ne_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let buffer = usize::from_ne_bytes(head[16..].try_into().expect("eight bytes"));
        Some((Self { kind: number(0), id: number(4), ud: number(8), buffer }, text))
    }
}

/// An event in the hands of a service in Rust.
#[derive(Debug)]
pub struct SocketEvent {
    /// What happened.
    pub kind: EventKind,
    /// To which socket.
    pub id: i32,
    /// See [`EventKind`].
    pub ud: i32,
    /// The bytes that came.
    pub data: Option<Block>,
    /// Says more about events without bytes.
    pub text: Box<[u8]>,
}

impl SocketEvent {
    /// Takes a message of type [`SOCKET`](crate::MessageType::SOCKET) apart. `None`: the runtime did not make it.
    pub fn from_message(message: Message) -> Option<Self> {
        let mut block = message.into_block();
        if !is_event(&block) {
            return None;
        }
        let data = claim(&mut block);
        let (head, text) = Head::read(&block)?;
        let text = if data.is_some() { &[] } else { text };
        let kind = EventKind::from_number(head.kind)?;
        Some(Self { kind, id: head.id, ud: head.ud, data, text: text.into() })
    }
}

/// Makes the message of an event. A `data` block goes with it, otherwise `text` does.
///
/// # Errors
/// The arena has no room, not even in what it keeps for envelopes; `data` is dropped.
pub(crate) fn message(
    arena: Arena,
    kind: EventKind,
    id: i32,
    ud: i32,
    data: Option<Block>,
    text: &[u8],
) -> Result<Block, Error> {
    let text = if data.is_some() { &[] } else { &text[..text.len().min(LONGEST_TEXT)] };
    let len = HEAD + text.len();
    let layout = layout_of(len);
    // SAFETY: the layout is not empty.
    let Some(at) = NonNull::new(unsafe { alloc::alloc(layout) }) else { alloc::handle_alloc_error(layout) };
    // Below this, an empty block is a buffer as well: its address is not null.
    let owned = u32::from(data.is_some());
    let buffer = data.as_ref().map_or(ptr::null_mut(), |it| it.as_ptr().cast_mut());
    let body = Body { kind: kind as i32, id, ud, owned, buffer };
    // SAFETY: there is room for the body and the text behind it, aligned, and nobody else's.
    unsafe {
        at.cast::<Body>().write(body);
        at.add(HEAD).copy_from_nonoverlapping(NonNull::from(text).cast(), text.len());
    }
    // SAFETY: `at` is ours for `len` bytes, and `free` takes it on any thread.
    match unsafe { arena.foreign(at, len, free) } {
        Ok(block) => {
            // From here on the message owns it, through `buffer`.
            let _ = data.map(Block::into_raw);
            Ok(block)
        }
        Err(error) => {
            // SAFETY: allocated above with this layout; `data` still is its own owner.
            unsafe { alloc::dealloc(at.as_ptr(), layout) };
            Err(error)
        }
    }
}

/// Whether the runtime made this message out of an event.
pub fn is_event(block: &Block) -> bool {
    block.frees_with(free)
}

/// Takes the block of bytes out of a message; the `buffer` of its body stays as it was. `None`: it has none, or not any more,
/// or the message is no event.
pub fn claim(message: &mut Block) -> Option<Block> {
    if !is_event(message) {
        return None;
    }
    let body = message.as_ptr().cast_mut().cast::<Body>();
    // SAFETY: V1, and V2: a `Block` is the sole owner. While `owned` is set, `buffer` is the body of a block that is ours.
    unsafe {
        if (*body).owned == 0 {
            return None;
        }
        (*body).owned = 0;
        Some(own((*body).buffer))
    }
}

fn layout_of(len: usize) -> Layout {
    Layout::from_size_align(len, align_of::<Body>()).expect("a body is small")
}

/// # Safety
/// `buffer` is the payload of a block of bytes that the caller owns, and gives up.
unsafe fn own(buffer: *mut u8) -> Block {
    // SAFETY: by the caller's promise; the header is right before the payload.
    unsafe { Block::from_raw(NonNull::new_unchecked(buffer.byte_sub(Header::SIZE).cast())) }
}

/// What a message does with its body in the end.
///
/// # Safety
/// As [`Arena::foreign`] says; `at` and `len` come from [`message`].
#[inline(never)]
unsafe fn free(at: NonNull<u8>, len: usize) {
    // SAFETY: V1; nobody reads it any more.
    unsafe {
        let body = at.cast::<Body>().as_ref();
        if body.owned != 0 {
            drop(own(body.buffer));
        }
        alloc::dealloc(at.as_ptr(), layout_of(len));
    }
}

#[cfg(test)]
mod tests {
    use skein_arena::Options;

    use super::*;

    #[test]
    fn a_body_has_skynets_layout() {
        let arena = Arena::private(&Options::default()).unwrap();
        let block = message(arena, EventKind::Accept, 5, 9, None, b"1.2.3.4:5").unwrap();
        let mut expected = Vec::new();
        for number in [4_i32, 5, 9, 0, 0, 0] {
            expected.extend_from_slice(&number.to_ne_bytes());
        }
        expected.extend_from_slice(b"1.2.3.4:5");
        assert_eq!(&block[..], expected);
    }

    #[test]
    fn a_buffer_is_claimed_once_and_freed_with_its_message_otherwise() {
        let arena = Arena::private(&Options::default()).unwrap();
        let live = || arena.stats().live_blocks;
        let before = live();
        let data = arena.copy_from(b"hello").unwrap();
        let mut block = message(arena, EventKind::Data, 1, 5, Some(data), b"").unwrap();
        let data = claim(&mut block).unwrap();
        assert_eq!(&data[..], b"hello");
        assert!(claim(&mut block).is_none());
        drop((block, data));
        let data = arena.copy_from(b"hello").unwrap();
        drop(message(arena, EventKind::Data, 1, 5, Some(data), b"").unwrap());
        assert_eq!(live(), before);
        assert!(claim(&mut arena.copy_from(&[0; HEAD]).unwrap()).is_none());
    }

    #[test]
    fn a_long_text_is_cut() {
        let arena = Arena::private(&Options::default()).unwrap();
        let block = message(arena, EventKind::Error, 1, 0, None, &[b'x'; 300]).unwrap();
        assert_eq!(block.len(), HEAD + LONGEST_TEXT);
    }
}
