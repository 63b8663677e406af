//! Where messages are written: one buffer for each thread, used like a stack.
//!
//! Encoding reads tables, which may run metamethods, which may encode something themselves. So a function begins where the one
//! around it has got to, and cuts the buffer back to there when it is done. Nothing yields in between. A function that raises cuts nothing
//! back; whoever comes next finds out from where it runs: the one it would be inside of is further up on this thread's stack, or it
//! is none that still runs.

use std::cell::{Cell, UnsafeCell};

/// A message may not be larger, before it is packed.
pub(super) const MOST: usize = 1 << 24;

/// A thread keeps a buffer up to this size.
const KEPT: usize = 1 << 20;

struct Desk {
    /// Address of the frame of the innermost function; 0 if there is none.
    frame: Cell<usize>,
    bytes: UnsafeCell<Vec<u8>>,
}

thread_local! {
    static DESK: Desk = const { Desk { frame: Cell::new(0), bytes: UnsafeCell::new(Vec::new()) } };
}

/// A place at the desk. Plain data: raising past it costs nothing but what is left in the buffer.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The frame of the function around this one.
    around: usize,
    base: usize,
    /// How much this function may write.
    most: usize,
    bytes: *mut Vec<u8>,
}

/// Why something was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Place {
    /// Takes a place, to write `most` bytes at most. `frame` is a variable of the function that does so.
    #[inline]
    pub(super) fn take(frame: &u8, most: usize) -> Place {
        let frame = std::ptr::from_ref(frame).addr();
        DESK.with(|desk| {
            let bytes = desk.bytes.get();
            let around = desk.frame.get();
            // Stacks grow downwards: what still runs around us is above. A frame of another thread's stack is only ever a stale one.
            let (around, base) = if around > frame {
                // SAFETY: the buffer belongs to this thread, and nobody holds a reference into it.
                (around, unsafe { (*bytes).len() })
            } else {
                (0, 0)
            };
            desk.frame.set(frame);
            let place = Place { around, base, most, bytes };
            place.truncate(base);
            place
        })
    }

    /// Whether no function of ours is under way around this one.
    #[inline]
    pub(super) fn is_outermost(self) -> bool {
        self.around == 0
    }

    /// Gives the place back.
    #[inline]
    pub(super) fn leave(self) {
        self.truncate(self.base);
        // SAFETY: as in `take`.
        unsafe {
            if self.around == 0 && (*self.bytes).capacity() > KEPT {
                *self.bytes = Vec::new();
            }
        }
        DESK.with(|desk| desk.frame.set(self.around));
    }

    /// The buffer, to append to; good until another function of the place is called.
    #[inline]
    pub(super) fn buffer<'a>(self) -> &'a mut Vec<u8> {
        // SAFETY: as in `take`; the caller drops it before.
        unsafe { &mut *self.bytes }
    }

    /// How much stands in the buffer, that of functions around this one included.
    #[inline]
    pub(super) fn len(self) -> usize {
        // SAFETY: as in `take`.
        unsafe { (*self.bytes).len() }
    }

    #[inline]
    pub(super) fn truncate(self, len: usize) {
        // SAFETY: as in `take`; bytes have no destructors.
        unsafe { (*self.bytes).truncate(len) }
    }

    /// Forgets all that this function has written.
    pub(super) fn clear(self) {
        self.truncate(self.base);
    }

    /// Makes room for `more` bytes.
    ///
    /// # Errors
    /// The message would be too large, or there is no memory.
    #[inline]
    pub(super) fn reserve(self, more: usize) -> Result<(), Full> {
        // SAFETY: as in `take`.
        let bytes = unsafe { &mut *self.bytes };
        if bytes.capacity() - bytes.len() >= more && bytes.len() + more - self.base <= self.most {
            return Ok(());
        }
        self.grow(more)
    }

    #[cold]
    fn grow(self, more: usize) -> Result<(), Full> {
        if (self.len() - self.base).checked_add(more).is_none_or(|all| all > self.most) {
            return Err(Full);
        }
        // SAFETY: as in `take`.
        unsafe { (*self.bytes).try_reserve(more) }.map_err(|_| Full)
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// As [`Place::reserve`].
    #[inline]
    pub(super) fn put(self, bytes: &[u8]) -> Result<(), Full> {
        self.reserve(bytes.len())?;
        // SAFETY: as in `take`.
        unsafe { (*self.bytes).extend_from_slice(bytes) };
        Ok(())
    }

    /// Appends `count` zeros.
    ///
    /// # Errors
    /// As [`Place::reserve`].
    #[inline]
    pub(super) fn put_zeros(self, count: usize) -> Result<(), Full> {
        self.reserve(count)?;
        // SAFETY: as in `take`.
        unsafe { (*self.bytes).resize(self.len() + count, 0) };
        Ok(())
    }

    /// What was written from `start` on, good until the next byte is.
    #[inline]
    pub(super) fn written<'a>(self, start: usize) -> &'a mut [u8] {
        // SAFETY: as in `take`; the caller drops it before it writes.
        unsafe { &mut (&mut *self.bytes)[start..] }
    }

    /// All that this function has written.
    #[inline]
    pub(super) fn message<'a>(self) -> &'a [u8] {
        self.written(self.base)
    }

    /// Writes a size of 4 bytes at `at`: of all that stands behind it.
    #[inline]
    pub(super) fn close(self, at: usize) {
        let size = (self.len() - at - 4) as u32;
        self.written(at)[..4].copy_from_slice(&size.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Place};

    #[test]
    fn a_function_inside_another_leaves_its_bytes_alone() {
        let outer = 0;
        let place = Place::take(&outer, MOST);
        place.put(b"abc").unwrap();
        #[inline(never)]
        fn inside() {
            let inner = 0;
            let place = Place::take(&inner, MOST);
            assert!(!place.is_outermost());
            place.put(b"xyz").unwrap();
            assert_eq!(place.message(), b"xyz");
            place.leave();
        }
        inside();
        place.put(b"d").unwrap();
        assert_eq!(place.message(), b"abcd");
        place.leave();
    }

    #[test]
    fn what_raised_is_forgotten_by_the_next() {
        #[inline(never)]
        fn raises() {
            let frame = 0;
            Place::take(&frame, MOST).put(b"left").unwrap();
        }
        raises();
        let frame = 0;
        let place = Place::take(&frame, MOST);
        assert!(place.is_outermost());
        assert_eq!(place.message(), b"");
        place.leave();
    }
}
