//! A block that grows while it is written.
//!
//! Packing does not know its size before it is done. A writer starts from a hint, grows when it runs out
//! ([in place](super::grow) if it can), and gives back what it did not need when it [finishes](BlockWriter::finish). Bytes that
//! had to move are counted apart from what was copied in: a good hint makes them nought.

use std::{fmt, io};

use bytes::{BufMut, buf::UninitSlice};

use super::{
    Block, MAX_PAYLOAD,
    grow::{make_room, out_of_memory},
};
use crate::{Arena, Error, copy};

/// Appends bytes to a block of its own. See [`Arena::writer`].
pub struct BlockWriter {
    /// Its `len` is the capacity, so that writing is bounded by an ordinary slice.
    block: Block,
    len: usize,
}

impl BlockWriter {
    pub(crate) fn new(arena: Arena, hint: usize) -> Result<BlockWriter, Error> {
        let mut block = arena.alloc(hint)?;
        block.take_room();
        Ok(BlockWriter { block, len: 0 })
    }

    /// Bytes written so far.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that fit without a move.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.block.len()
    }

    /// What has been written.
    #[inline]
    pub fn written(&self) -> &[u8] {
        &self.block[..self.len]
    }

    /// What has been written, to patch it.
    #[inline]
    pub fn written_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        &mut self.room()[..len]
    }

    /// The room behind what has been written, to fill it; [`advance`](BlockWriter::advance) says how much was.
    ///
    /// Its bytes have some value or other.
    #[inline]
    pub fn spare_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        &mut self.room()[len..]
    }

    /// Counts `n` bytes of [`spare_mut`](BlockWriter::spare_mut) as written.
    ///
    /// # Panics
    /// If there is less room.
    #[inline]
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.capacity() - self.len, "advanced past the room of a writer");
        self.len += n;
    }

    /// Forgets what was written behind `len`.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Makes room for `n` more bytes.
    ///
    /// # Errors
    /// As [`Arena::alloc`]; what has been written stays.
    #[inline]
    pub fn try_reserve(&mut self, n: usize) -> Result<(), Error> {
        if n <= self.capacity() - self.len { Ok(()) } else { self.grow(n) }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// As [`Arena::alloc`]; nothing is appended then.
    #[inline]
    pub fn put_slice(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.try_reserve(bytes.len())?;
        copy(&mut self.spare_mut()[..bytes.len()], bytes);
        self.len += bytes.len();
        Ok(())
    }

    /// Appends one byte.
    ///
    /// # Errors
    /// As [`Arena::alloc`].
    #[inline]
    pub fn put_u8(&mut self, byte: u8) -> Result<(), Error> {
        self.put_slice(&[byte])
    }

    /// Appends a number, low byte first.
    ///
    /// # Errors
    /// As [`Arena::alloc`].
    #[inline]
    pub fn put_u16_le(&mut self, value: u16) -> Result<(), Error> {
        self.put_slice(&value.to_le_bytes())
    }

    /// Appends a number, low byte first.
    ///
    /// # Errors
    /// As [`Arena::alloc`].
    #[inline]
    pub fn put_u32_le(&mut self, value: u32) -> Result<(), Error> {
        self.put_slice(&value.to_le_bytes())
    }

    /// Appends a number, low byte first.
    ///
    /// # Errors
    /// As [`Arena::alloc`].
    #[inline]
    pub fn put_u64_le(&mut self, value: u64) -> Result<(), Error> {
        self.put_slice(&value.to_le_bytes())
    }

    /// Appends a number, low byte first.
    ///
    /// # Errors
    /// As [`Arena::alloc`].
    #[inline]
    pub fn put_f64_le(&mut self, value: f64) -> Result<(), Error> {
        self.put_slice(&value.to_le_bytes())
    }

    /// The block, as long as what was written.
    pub fn finish(self) -> Block {
        let BlockWriter { mut block, len, .. } = self;
        block.truncate(len);
        block
    }

    fn room(&mut self) -> &mut [u8] {
        self.block.bytes_mut().expect("a writer's block has bytes of its own")
    }

    #[cold]
    fn grow(&mut self, n: usize) -> Result<(), Error> {
        make_room(&mut self.block, self.len, self.len.saturating_add(n))?;
        self.block.take_room();
        Ok(())
    }
}

impl Block {
    /// Makes the body, which is bytes of the arena, as long as its room, so that nothing of it is out of a writer's reach.
    #[inline]
    fn take_room(&mut self) {
        // SAFETY: there is that much room.
        unsafe { self.set_len(self.capacity()) }
    }
}

impl io::Write for BlockWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put_slice(bytes).map_err(out_of_memory)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As for a [`Block`]: a full arena panics, which [`BlockWriter::try_reserve`] and the methods without the trait do not.
// SAFETY: `chunk_mut` is the room behind what was written, and `advance_mut` refuses to go beyond it.
unsafe impl BufMut for BlockWriter {
    fn remaining_mut(&self) -> usize {
        MAX_PAYLOAD - self.len
    }

    unsafe fn advance_mut(&mut self, count: usize) {
        self.advance(count);
    }

    fn chunk_mut(&mut self) -> &mut UninitSlice {
        if self.capacity() == self.len {
            self.grow(64).unwrap_or_else(|error| panic!("{error}"));
        }
        UninitSlice::new(self.spare_mut())
    }

    fn put_slice(&mut self, bytes: &[u8]) {
        BlockWriter::put_slice(self, bytes).unwrap_or_else(|error| panic!("{error}"));
    }
}

impl fmt::Debug for BlockWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockWriter({} of {} bytes)", self.len, self.capacity())
    }
}
