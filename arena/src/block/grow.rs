//! A block that grows: where it is, or by moving.
//!
//! A block has the room of its size class, or of its pages. When that is used up and the pages behind a large block are free, it
//! takes them and nothing moves; else its bytes move to a block of twice the size, with free pages behind it if there are any. What
//! grows by one long piece moves to pages that are as long as it needs, since it is not likely to grow much more.
//! Moved bytes are counted ([`Stats::moved`](crate::Stats::moved)).
//!
//! [`Block`] appends like a `Vec<u8>`: behind the bytes that it has. [`BlockWriter`](super::BlockWriter) is for many small
//! appends: it keeps the length out of the header until it is finished.

use std::{io, slice};

use bytes::{BufMut, buf::UninitSlice};

use super::{Block, Kind, MAX_PAYLOAD, body::behind};
use crate::{Error, alloc, copy, stats};

/// From here on blocks are pages of their own, roughly.
const LARGE: usize = 32 << 10;

/// What may be moved to make a long piece fit where others were.
const LITTLE: usize = 4 << 10;

/// Room behind a long piece for what follows, so that a few small values do not make it move.
const SLACK: usize = 64;

impl Block {
    /// Bytes that the body can have without moving, as far as its memory goes now.
    #[inline]
    pub fn capacity(&self) -> usize {
        match self.kind() {
            // SAFETY: we are an owner.
            Kind::Bytes => unsafe { alloc::room(self.header_ptr()) },
            Kind::Foreign | Kind::Forward | Kind::Remote | Kind::Empty => self.len(),
        }
    }

    /// Makes room for `more` bytes behind the body. A body that is not bytes of the arena becomes a copy that is.
    ///
    /// ```
    /// # use skein_arena::{Arena, Options};
    /// # let arena = Arena::private(&Options::default())?;
    /// let mut frame = arena.copy_from(b"length ")?;
    /// frame.try_reserve(3000)?;
    /// let at = frame.as_ptr();
    /// frame.try_append(&[7; 3000])?;
    /// assert_eq!((frame.len(), frame.as_ptr()), (3007, at));
    /// # Ok::<(), skein_arena::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Arena::alloc`](crate::Arena::alloc); the block stays as it is.
    pub fn try_reserve(&mut self, more: usize) -> Result<(), Error> {
        let need = self.len().saturating_add(more);
        make_room(self, self.len(), need)
    }

    /// Appends bytes to the body.
    ///
    /// # Errors
    /// As [`Arena::alloc`](crate::Arena::alloc); nothing is appended then.
    pub fn try_append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.try_reserve(bytes.len())?;
        let len = self.len();
        // SAFETY: there is room for so many bytes behind the body, and nobody else knows of it; they do not overlap, since a
        // `&[u8]` into the block would borrow it.
        unsafe {
            let end = behind(self.header_ptr()).byte_add(len);
            end.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            self.set_len(len + bytes.len());
        }
        Ok(())
    }

    /// Makes the body `len` bytes long without moving it; whether that could be. New bytes have some value or other.
    ///
    /// Fails for a body that is not bytes of the arena, and changes nothing then, or if `len` is not longer.
    pub fn grow_in_place(&mut self, len: usize) -> bool {
        if self.kind() != Kind::Bytes || len > MAX_PAYLOAD {
            return false;
        }
        // SAFETY: a `Block` is a sole owner, and there is the room.
        unsafe {
            let fits = alloc::extend(self.header_ptr(), len);
            if fits && len > self.len() {
                self.set_len(len);
            }
            fits
        }
    }

    /// # Safety
    /// The body is bytes of the arena, with room for `len` and a NUL.
    #[inline]
    pub(super) unsafe fn set_len(&mut self, len: usize) {
        // SAFETY: a `Block` is a sole owner, and the caller promises the rest.
        unsafe {
            self.header_ptr().as_ref().set_size(len as u32);
            behind(self.header_ptr()).byte_add(len).write(0);
        }
    }
}

/// Gives a block room for `need` bytes, of which it keeps the first `keep`.
pub(super) fn make_room(block: &mut Block, keep: usize, need: usize) -> Result<(), Error> {
    let max = MAX_PAYLOAD;
    if need > max {
        return Err(Error::TooLarge { size: need, max });
    }
    let room = block.capacity();
    let header = block.header_ptr();
    let twice = room.saturating_mul(2).min(max).max(need);
    // One long piece, which is most of the body: pages just long enough have been used before, and their memory is there.
    let long = need >= LARGE && need / 2 > room && keep <= LITTLE;
    if block.kind() == Kind::Bytes {
        // SAFETY: a `Block` is a sole owner.
        if need <= room || !long && unsafe { alloc::extend(header, twice) || alloc::extend(header, need) } {
            return Ok(());
        }
    }
    // Else twice as much keeps the number of moves small. Under a limit, what is needed will do.
    let wanted = if long { need.saturating_add(SLACK).min(max) } else { twice };
    let fresh = match alloc::beside(header, wanted, !long) {
        Err(Error::Full { .. } | Error::SharedFull { .. }) if need < wanted => {
            alloc::beside(header, need, !long)?
        }
        other => other?,
    };
    let mut next = Block::of_bytes(fresh, keep as u32);
    copy(next.bytes_mut().expect("new blocks have bytes"), &block[..keep]);
    next.set_envelope(block.envelope());
    stats::count_moved(keep);
    *block = next;
    Ok(())
}

/// Appends, and grows as it needs to.
///
/// ```
/// # use std::io::Write;
/// # use skein_arena::{Arena, Options};
/// # let arena = Arena::private(&Options::default())?;
/// let mut block = arena.alloc(0)?;
/// write!(block, "move {} {}", 3, 4).unwrap();
/// assert_eq!(&block[..], b"move 3 4");
/// # Ok::<(), skein_arena::Error>(())
/// ```
///
/// An arena that is full is an error of kind `OutOfMemory`, with the [`Error`] inside.
impl io::Write for Block {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.try_append(bytes).map_err(out_of_memory)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends, and grows as it needs to.
///
/// ```
/// # use bytes::BufMut;
/// # use skein_arena::{Arena, Options};
/// # let arena = Arena::private(&Options::default())?;
/// let mut block = arena.alloc(0)?;
/// block.put_u16(5);
/// block.put_slice(b"hello");
/// assert_eq!(&block[..], b"\0\x05hello");
/// # Ok::<(), skein_arena::Error>(())
/// ```
///
/// As the trait has no errors, a full arena panics; [`Block::try_append`] and [`io::Write`] say so instead. Bytes that were
/// written into [`chunk_mut`](BufMut::chunk_mut) and not advanced over may leave the body without its NUL until it changes again.
// SAFETY: `chunk_mut` is memory behind the body that is the block's own, and `advance_mut` refuses to go beyond it.
unsafe impl BufMut for Block {
    fn remaining_mut(&self) -> usize {
        MAX_PAYLOAD - self.len()
    }

    unsafe fn advance_mut(&mut self, count: usize) {
        let len = self.len() + count;
        assert!(self.kind() == Kind::Bytes && len <= self.capacity(), "advanced past the room of a block");
        // SAFETY: there is the room.
        unsafe { self.set_len(len) }
    }

    fn chunk_mut(&mut self) -> &mut UninitSlice {
        if self.kind() != Kind::Bytes || self.capacity() == self.len() {
            self.try_reserve(64).unwrap_or_else(|error| panic!("{error}"));
        }
        let (len, room) = (self.len(), self.capacity());
        // SAFETY: so many bytes behind the body are the block's, and borrowed with it.
        unsafe {
            let first = behind(self.header_ptr()).byte_add(len);
            UninitSlice::uninit(slice::from_raw_parts_mut(first.as_ptr().cast(), room - len))
        }
    }

    fn put_slice(&mut self, bytes: &[u8]) {
        self.try_append(bytes).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// What `io` calls an arena that is full.
pub(super) fn out_of_memory(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, error)
}
