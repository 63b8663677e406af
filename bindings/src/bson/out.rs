//! A document while it is written: bytes, and the texts that may stand in them.
//!
//! The bytes lie in a [`Store`]: a vector of Rust's as long as no Lua code runs, a userdata of Lua's otherwise, which nobody
//! has to free when that code raises.

use std::ptr;

use crate::raw::Raise;

/// Types of values, as the format numbers them.
pub(super) mod ty {
    pub(in crate::bson) const REAL: u8 = 1;
    pub(in crate::bson) const STRING: u8 = 2;
    pub(in crate::bson) const DOCUMENT: u8 = 3;
    pub(in crate::bson) const ARRAY: u8 = 4;
    pub(in crate::bson) const BINARY: u8 = 5;
    pub(in crate::bson) const OBJECT_ID: u8 = 7;
    pub(in crate::bson) const BOOLEAN: u8 = 8;
    pub(in crate::bson) const DATE: u8 = 9;
    pub(in crate::bson) const NULL: u8 = 10;
    pub(in crate::bson) const REGEX: u8 = 11;
    pub(in crate::bson) const DB_POINTER: u8 = 12;
    pub(in crate::bson) const CODE: u8 = 13;
    pub(in crate::bson) const SYMBOL: u8 = 14;
    pub(in crate::bson) const CODE_WITH_SCOPE: u8 = 15;
    pub(in crate::bson) const INT32: u8 = 16;
    pub(in crate::bson) const TIMESTAMP: u8 = 17;
    pub(in crate::bson) const INT64: u8 = 18;
    pub(in crate::bson) const MAX_KEY: u8 = 127;
    pub(in crate::bson) const MIN_KEY: u8 = 255;
}

/// Tables nest at most this deep below the outermost one.
pub(super) const DEPTH: u32 = 128;

/// Bytes a document may have.
const LONGEST: usize = i32::MAX as usize;

/// Memory that can grow. The bytes in use keep their values.
pub(super) trait Store {
    /// Where its memory is to begin with, and how many bytes there are.
    #[inline(always)]
    fn ready(&mut self) -> (*mut u8, usize) {
        (ptr::null_mut(), 0)
    }

    /// Makes room for `needed` bytes in all, `used` of them being in use; says where, and how many there are.
    fn grow(&mut self, used: usize, needed: usize) -> Result<(*mut u8, usize), Raise>;
}

impl Store for Vec<u8> {
    #[inline(always)]
    fn ready(&mut self) -> (*mut u8, usize) {
        (self.as_mut_ptr(), self.capacity())
    }

    #[cold]
    fn grow(&mut self, used: usize, needed: usize) -> Result<(*mut u8, usize), Raise> {
        // SAFETY: the writer has set `used` bytes of the capacity.
        unsafe { self.set_len(used) };
        self.try_reserve(needed - used)?;
        Ok((self.as_mut_ptr(), self.capacity()))
    }
}

/// A key: a text, or the place in an array.
#[derive(Clone, Copy)]
pub(super) enum Key<'a> {
    Name(&'a [u8]),
    Place(i64),
}

/// A document that is being written.
pub(super) struct Out<S> {
    first: *mut u8,
    len: usize,
    room: usize,
    store: S,
}

impl<S: Store> Out<S> {
    pub(super) fn new(mut store: S) -> Out<S> {
        let (first, room) = store.ready();
        Out { first, len: 0, room, store }
    }

    /// The store, and how many bytes of it are the document.
    pub(super) fn finish(self) -> (S, usize) {
        (self.store, self.len)
    }

    #[inline(always)]
    fn reserve(&mut self, count: usize) -> Result<(), Raise> {
        if count <= self.room - self.len { Ok(()) } else { self.grow(count) }
    }

    #[cold]
    fn grow(&mut self, count: usize) -> Result<(), Raise> {
        let needed = self.len.saturating_add(count);
        if needed > LONGEST {
            return Err(Raise::new("a bson document of 2 GiB or more"));
        }
        (self.first, self.room) = self.store.grow(self.len, needed.max(self.room * 2).clamp(64, LONGEST))?;
        Ok(())
    }

    /// # Safety
    /// There is room.
    #[inline(always)]
    unsafe fn put(&mut self, bytes: &[u8]) {
        // SAFETY: by the caller's promise; nobody else has the store's memory.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.first.add(self.len), bytes.len()) };
        self.len += bytes.len();
    }

    /// Appends bytes.
    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Raise> {
        self.reserve(bytes.len())?;
        // SAFETY: reserved.
        unsafe { self.put(bytes) };
        Ok(())
    }

    /// Appends type and key, and makes room for `more` bytes.
    #[inline]
    fn head(&mut self, ty: u8, key: Key<'_>, more: usize) -> Result<(), Raise> {
        match key {
            Key::Name(name) => {
                check_utf8(name)?;
                self.reserve(name.len().saturating_add(2 + more))?;
                // SAFETY: reserved.
                unsafe {
                    self.put(&[ty]);
                    self.put(name);
                    self.put(&[0]);
                }
            }
            Key::Place(place) => {
                const DIGITS: usize = 20;
                let (mut text, mut at, mut rest) = ([0; DIGITS + 1], DIGITS, place.unsigned_abs());
                while {
                    at -= 1;
                    text[at] = b'0' + (rest % 10) as u8;
                    rest /= 10;
                    rest > 0
                } {}
                self.reserve(2 + DIGITS + more)?;
                // SAFETY: reserved; the last byte of the text is the NUL.
                unsafe {
                    self.put(&[ty]);
                    self.put(&text[at..]);
                }
            }
        }
        Ok(())
    }

    /// Appends a value of these bytes.
    #[inline]
    pub(super) fn plain<const N: usize>(
        &mut self,
        ty: u8,
        key: Key<'_>,
        value: [u8; N],
    ) -> Result<(), Raise> {
        self.head(ty, key, N)?;
        // SAFETY: `head` has made room.
        unsafe { self.put(&value) };
        Ok(())
    }

    /// Appends a value of these bytes, as many as there are.
    pub(super) fn raw(&mut self, ty: u8, key: Key<'_>, value: &[u8]) -> Result<(), Raise> {
        self.head(ty, key, 0)?;
        self.bytes(value)
    }

    /// Appends an integer, as short as it can be.
    #[inline]
    pub(super) fn integer(&mut self, key: Key<'_>, value: i64) -> Result<(), Raise> {
        match i32::try_from(value) {
            Ok(value) => self.plain(ty::INT32, key, value.to_le_bytes()),
            Err(_) => self.plain(ty::INT64, key, value.to_le_bytes()),
        }
    }

    #[inline]
    pub(super) fn real(&mut self, key: Key<'_>, value: f64) -> Result<(), Raise> {
        self.plain(ty::REAL, key, value.to_le_bytes())
    }

    #[inline]
    pub(super) fn boolean(&mut self, key: Key<'_>, value: bool) -> Result<(), Raise> {
        self.plain(ty::BOOLEAN, key, [u8::from(value)])
    }

    /// Appends a string, which may be a special value.
    #[inline]
    pub(super) fn string(&mut self, key: Key<'_>, text: &[u8]) -> Result<(), Raise> {
        if let [0, kind, rest @ ..] = text {
            return self.special(key, *kind, rest);
        }
        check_utf8(text)?;
        let len = i32::try_from(text.len() + 1).map_err(|_| Raise::new("a bson string of 2 GiB or more"))?;
        self.head(ty::STRING, key, text.len() + 5)?;
        // SAFETY: `head` has made room.
        unsafe {
            self.put(&len.to_le_bytes());
            self.put(text);
            self.put(&[0]);
        }
        Ok(())
    }

    /// Appends what a string of a NUL, a type and its payload stands for.
    #[cold]
    fn special(&mut self, key: Key<'_>, kind: u8, payload: &[u8]) -> Result<(), Raise> {
        match kind {
            ty::BINARY => {
                let (subtype, data) = payload.split_first().ok_or_else(|| Raise::new("Invalid binary"))?;
                let len =
                    i32::try_from(data.len()).map_err(|_| Raise::new("a bson binary of 2 GiB or more"))?;
                self.raw(kind, key, &len.to_le_bytes())?;
                self.bytes(&[*subtype])?;
                self.bytes(data)
            }
            ty::OBJECT_ID => match <[u8; 12]>::try_from(payload) {
                Ok(id) => self.plain(kind, key, id),
                Err(_) => Err(Raise::new(format_args!(
                    "Invalid object id {}",
                    String::from_utf8_lossy(&payload[..payload.len().min(64)])
                ))),
            },
            ty::DATE => match payload.try_into().map(u32::from_le_bytes) {
                Ok(seconds) => self.plain(kind, key, (u64::from(seconds) * 1000).to_le_bytes()),
                Err(_) => Err(Raise::new("Invalid date")),
            },
            ty::TIMESTAMP => match <[u8; 8]>::try_from(payload) {
                Ok(stamp) => self.plain(kind, key, stamp),
                Err(_) => Err(Raise::new("Invalid timestamp")),
            },
            ty::INT64 => match <[u8; 8]>::try_from(payload) {
                Ok(value) => self.plain(kind, key, value),
                Err(_) => Err(Raise::new("Invalid int64")),
            },
            ty::REGEX => {
                super::special::regex(payload).ok_or_else(|| Raise::new("Invalid regex"))?;
                check_utf8(payload)?;
                self.raw(kind, key, payload)
            }
            ty::NULL | ty::MIN_KEY | ty::MAX_KEY => self.plain(kind, key, []),
            ty::DB_POINTER | ty::CODE | ty::SYMBOL | ty::CODE_WITH_SCOPE => self.raw(kind, key, payload),
            other => Err(Raise::new(format_args!("Invalid subtype {other}"))),
        }
    }

    /// Begins the outermost document; [`Out::end`] takes what this answers.
    pub(super) fn begin(&mut self) -> Result<usize, Raise> {
        let at = self.len;
        self.bytes(&[0; 4])?;
        Ok(at)
    }

    /// Begins a document or an array that is a value.
    pub(super) fn begin_value(&mut self, ty: u8, key: Key<'_>) -> Result<usize, Raise> {
        self.head(ty, key, 4)?;
        self.begin()
    }

    /// Ends what began at `at`.
    pub(super) fn end(&mut self, at: usize) -> Result<(), Raise> {
        self.bytes(&[0])?;
        // Never more than `LONGEST`.
        let size = (self.len - at) as i32;
        // SAFETY: the four bytes at `at` are in use.
        unsafe { self.first.add(at).cast::<[u8; 4]>().write_unaligned(size.to_le_bytes()) };
        Ok(())
    }
}

/// Whether a table with this first key is an array.
pub(super) fn is_array(first: i64, border: i64) -> bool {
    first == 1 || (1 < first && first <= border)
}

pub(super) fn hole() -> Raise {
    Raise::new("Bson array has a hole (nil), Use bson.null instead")
}

pub(super) fn too_deep() -> Raise {
    Raise::new("Too depth while encoding bson")
}

/// Refuses what is no UTF-8. Surrogates pass.
#[inline]
fn check_utf8(text: &[u8]) -> Result<(), Raise> {
    if text.is_ascii() { Ok(()) } else { check_long_utf8(text) }
}

fn check_long_utf8(mut text: &[u8]) -> Result<(), Raise> {
    while let Err(error) = std::str::from_utf8(text) {
        text = match &text[error.valid_up_to()..] {
            [0xed, 0xa0..=0xbf, 0x80..=0xbf, rest @ ..] => rest,
            _ => return Err(Raise::new("Invalid utf8 string")),
        };
    }
    Ok(())
}
