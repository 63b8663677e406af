//! Bodies as plain data: structures and slices whose every bit pattern is a value, in place.
//!
//! Which types these are, and that a reference to one may be made from bytes, is [`zerocopy`]'s business: its derives check a
//! structure field by field, it needs neither `Copy` nor `'static`, knows structures that end in a slice, and refuses cells, which
//! a payload that others read must not have. Size and alignment are checked here and now; payloads of the arena begin at
//! multiples of 16, foreign ones and parts of others where they begin.

use zerocopy::{ConvertError, FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Block, Payload};
use crate::{Arena, Error};

/// Why a body cannot be seen as a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// The body is shorter or longer than a value of the type, or than any of a slice.
    #[error("a body of {size} bytes is no value of the type")]
    Size {
        /// Bytes of the body.
        size: usize,
    },
    /// The body does not begin where a value of the type could.
    #[error("a body at {address:#x} is not aligned for the type")]
    Misaligned {
        /// Where the body begins.
        address: usize,
    },
    /// The body has other owners: it can be read, and not written.
    #[error("a body that has other owners cannot be written")]
    Shared,
}

/// Bytes as a value that fills them.
fn view<T: FromBytes + KnownLayout + Immutable + ?Sized>(body: &[u8]) -> Result<&T, ViewError> {
    T::ref_from_bytes(body).map_err(|error| match error {
        ConvertError::Alignment(_) => ViewError::Misaligned { address: body.as_ptr().addr() },
        ConvertError::Size(_) => ViewError::Size { size: body.len() },
    })
}

impl Arena {
    /// A block that begins as a copy of plain data: a structure, or a slice of some.
    ///
    /// # Errors
    /// As [`alloc`](Arena::alloc).
    pub fn copy_from_plain<T: IntoBytes + Immutable + ?Sized>(self, value: &T) -> Result<Block, Error> {
        self.copy_from(value.as_bytes())
    }
}

impl Block {
    /// The body as plain data of this type, all of it.
    ///
    /// ```
    /// use skein_arena::{Arena, Options, ViewError};
    /// use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
    ///
    /// #[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Debug, PartialEq)]
    /// #[repr(C)]
    /// struct Position {
    ///     x: f32,
    ///     y: f32,
    ///     tick: u64,
    /// }
    ///
    /// let arena = Arena::private(&Options::default())?;
    /// let mut block = arena.copy_from_plain(&Position { x: 1.0, y: 2.0, tick: 7 })?;
    /// block.view_mut::<Position>().unwrap().tick += 1;
    /// assert_eq!(block.view::<Position>(), Ok(&Position { x: 1.0, y: 2.0, tick: 8 }));
    ///
    /// // A slice takes as many as there are, and the wrong size is an error.
    /// assert_eq!(block.view::<[u32]>().unwrap().len(), 4);
    /// assert_eq!(block.view::<[u8; 15]>(), Err(ViewError::Size { size: 16 }));
    /// # Ok::<(), skein_arena::Error>(())
    /// ```
    ///
    /// # Errors
    /// The body has another size, or another alignment.
    pub fn view<T: FromBytes + KnownLayout + Immutable + ?Sized>(&self) -> Result<&T, ViewError> {
        view(self)
    }

    /// The body as plain data of this type, to write.
    ///
    /// # Errors
    /// As [`view`](Block::view); the body is of [`Kind::Forward`](super::Kind::Forward).
    pub fn view_mut<T: FromBytes + IntoBytes + KnownLayout + ?Sized>(&mut self) -> Result<&mut T, ViewError> {
        let body = self.bytes_mut().ok_or(ViewError::Shared)?;
        let (address, size) = (body.as_ptr().addr(), body.len());
        T::mut_from_bytes(body).map_err(|error| match error {
            ConvertError::Alignment(_) => ViewError::Misaligned { address },
            ConvertError::Size(_) => ViewError::Size { size },
        })
    }
}

impl Payload {
    /// The body as plain data of this type, for all owners to read.
    ///
    /// ```
    /// # use skein_arena::{Arena, Options};
    /// # let arena = Arena::private(&Options::default())?;
    /// let heights = arena.copy_from_plain(&[3_u32, 1, 4][..])?.share();
    /// let another = heights.clone();
    /// assert_eq!(another.view::<[u32]>().unwrap(), [3, 1, 4]);
    /// # Ok::<(), skein_arena::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Block::view`].
    pub fn view<T: FromBytes + KnownLayout + Immutable + ?Sized>(&self) -> Result<&T, ViewError> {
        view(self)
    }
}
