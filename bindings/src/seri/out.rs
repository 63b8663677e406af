//! A cursor over a [`BlockWriter`], for the many small stores of packing.
//!
//! The writer is told how far we got only when it has to grow and at the end, so that a store of a number is a compare
//! and two moves.

use skein_arena::{Arena, Block, BlockWriter, Error, copy_raw};

/// Longest scalar: a type byte and eight bytes.
const SCALAR: usize = 9;

/// How many times too large a block may stay, and the size below which that does not matter.
const WASTE: usize = 4;
const LEAST: usize = 32;

/// A block that is being written.
pub(crate) struct Out {
    writer: BlockWriter,
    /// Where the writer believes the next byte goes.
    synced: *mut u8,
    at: *mut u8,
    end: *mut u8,
}

impl Out {
    /// Starts a block in `arena`, with room for `hint` bytes.
    ///
    /// # Errors
    /// The arena has no room.
    #[inline]
    pub(crate) fn new(arena: Arena, hint: usize) -> Result<Out, Error> {
        // Every store reserves for the longest scalar, the last one too.
        let mut writer = arena.writer(hint + SCALAR)?;
        let spare = writer.spare_mut().as_mut_ptr_range();
        Ok(Out { writer, synced: spare.start, at: spare.start, end: spare.end })
    }

    #[inline(always)]
    fn room(&self) -> usize {
        self.end as usize - self.at as usize
    }

    #[inline(always)]
    fn reserve(&mut self, count: usize) -> Result<(), Error> {
        if count <= self.room() { Ok(()) } else { self.grow(count) }
    }

    #[inline]
    fn sync(&mut self) {
        self.writer.advance(self.at as usize - self.synced as usize);
        self.synced = self.at;
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, count: usize) -> Result<(), Error> {
        self.sync();
        self.writer.try_reserve(count)?;
        let spare = self.writer.spare_mut().as_mut_ptr_range();
        (self.synced, self.at, self.end) = (spare.start, spare.start, spare.end);
        Ok(())
    }

    /// Appends a type byte and the low bytes of `value`: `width` bytes in all, at most nine.
    #[inline(always)]
    pub(crate) fn scalar(&mut self, tag: u8, value: u64, width: usize) -> Result<(), Error> {
        debug_assert!(width <= SCALAR);
        self.reserve(SCALAR)?;
        // SAFETY: nine bytes are reserved, and both stores stay inside of them. `at` moves behind the first `width`.
        unsafe {
            self.at.write(tag);
            self.at.add(1).cast::<u64>().write_unaligned(value.to_le());
            self.at = self.at.add(width);
        }
        Ok(())
    }

    /// Appends a type byte, the low bytes of the length (`width` with the type byte), and the bytes.
    #[inline(always)]
    pub(crate) fn text(&mut self, tag: u8, width: usize, bytes: &[u8]) -> Result<(), Error> {
        self.reserve(SCALAR + bytes.len())?;
        // SAFETY: as much is reserved; the bytes overwrite what of the eight-byte store was not length. They lie in Lua's
        // heap, or in a block that is somebody's, never in ours.
        unsafe {
            self.at.write(tag);
            self.at.add(1).cast::<u64>().write_unaligned((bytes.len() as u64).to_le());
            copy_raw(self.at.add(width), bytes.as_ptr(), bytes.len());
            self.at = self.at.add(width + bytes.len());
        }
        Ok(())
    }

    /// Forgets what was written.
    pub(crate) fn clear(&mut self) {
        self.sync();
        self.writer.truncate(0);
        let spare = self.writer.spare_mut().as_mut_ptr_range();
        (self.synced, self.at, self.end) = (spare.start, spare.start, spare.end);
    }

    /// Bytes written so far.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.writer.len() + (self.at as usize - self.synced as usize)
    }

    /// The block, as long as what was written.
    ///
    /// A guess that was much too large is corrected: a block of a fitting class takes the bytes over, so that a queue of
    /// small messages does not keep the memory of large ones.
    ///
    /// # Errors
    /// The arena has no room for that.
    #[inline]
    pub(crate) fn finish(mut self, arena: Arena) -> Result<Block, Error> {
        self.sync();
        if self.writer.capacity() / WASTE > self.writer.len().max(LEAST) {
            return self.settle(arena);
        }
        Ok(self.writer.finish())
    }

    #[cold]
    fn settle(self, arena: Arena) -> Result<Block, Error> {
        let mut fitting = arena.writer(self.writer.len())?;
        fitting.put_slice(self.writer.written())?;
        Ok(fitting.finish())
    }

    /// The writer, to append what is not a value.
    pub(crate) fn into_writer(mut self) -> BlockWriter {
        self.sync();
        self.writer
    }
}
