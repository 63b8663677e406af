//! From a document to values.
//!
//! The bytes may come from anybody. [`Reader`] checks each step against the end of its document, in 64 bits; what it hands on
//! are addresses, for while values are made the collector may run Lua code, and that may set fields of the same document. Each
//! document is looked at twice: the first pass counts the fields, so that its table is made in its final size.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::slice;

use skein_vm::fields;

use super::Kit;
use super::out::ty;
use crate::raw::{Raise, ffi, lua_State, raise};

/// The lowest bit of each byte.
const LOW_BITS: u64 = u64::from_ne_bytes([1; 8]);

/// Documents nest at most this deep. Ours and those of servers stay below.
const DEPTH: u32 = 256;

/// `bson.decode(document: userdata): table | nothing`.
pub(super) unsafe extern "C-unwind" fn decode(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`, and the function has the upvalue of the module; only plain data lives when something
    // raises. What is found stays alive: it is on the stack, or held by the reading.
    unsafe {
        if ffi::lua_isuserdata(state, 1) == 0 {
            return 0;
        }
        ffi::lua_settop(state, 1);
        let kit = Kit::of(state);
        let before = kit.begin_reading();
        let decoded = match super::document::find(state, kit, 1) {
            Ok((first, len)) => {
                let mut keys = Keys::new();
                let done =
                    Reader::document(first, len).and_then(|it| it.push_table(state, &mut keys, false, 0));
                if done.is_ok()
                    && let Some(service) = kit.service()
                    && ffi::lua_islightuserdata(state, 1) != 0
                {
                    service.count_out(len);
                }
                done
            }
            Err(error) => Err(error),
        };
        kit.end_reading(before);
        match decoded {
            Ok(()) => 1,
            Err(error) => raise(state, error),
        }
    }
}

/// A text without its NUL.
#[derive(Clone, Copy)]
pub(super) struct Text {
    first: *const u8,
    len: usize,
}

impl Text {
    /// # Safety
    /// The bytes are still there, and the stack has a free slot.
    #[inline]
    pub(super) unsafe fn push(self, state: *mut lua_State) {
        // SAFETY: by the caller's promise.
        unsafe { ffi::lua_pushlstring(state, self.first.cast(), self.len) };
    }

    /// # Safety
    /// The bytes are still there.
    #[inline]
    unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: by the caller's promise.
        unsafe { slice::from_raw_parts(self.first, self.len) }
    }

    /// The number that the text begins with; 0 if it begins with something else.
    ///
    /// # Safety
    /// The bytes are still there.
    unsafe fn number(self) -> i64 {
        // SAFETY: by the caller's promise.
        let text = unsafe { self.bytes() };
        text.iter().map_while(|byte| char::from(*byte).to_digit(10)).fold(0_i64, |number, digit| {
            number.saturating_mul(10).saturating_add(i64::from(digit)).min(i64::from(i32::MAX))
        })
    }
}

/// How many keys are kept.
const KEYS: usize = 16;

/// Keys that documents of an array are likely to have: those of the ones before, in their order. Lua has them on its stack, where they
/// need not be looked up again by their bytes.
struct Keys {
    /// The slot in front of the first.
    base: c_int,
    texts: [MaybeUninit<Text>; KEYS],
    count: usize,
    /// Which one is expected next.
    at: usize,
    /// Whether an array is being read.
    active: bool,
}

impl Keys {
    fn new() -> Keys {
        Keys { base: 0, texts: [const { MaybeUninit::uninit() }; KEYS], count: 0, at: 0, active: false }
    }

    /// Begins the outermost array: takes slots.
    ///
    /// # Safety
    /// As [`Reader::push_table`].
    unsafe fn begin(&mut self, state: *mut lua_State) -> Result<(), Raise> {
        // SAFETY: by the caller's promise.
        unsafe {
            if ffi::lua_checkstack(state, KEYS as c_int + 8) == 0 {
                return Err(Raise::new("stack overflow"));
            }
            self.base = ffi::lua_gettop(state);
            (self.count, self.active) = (0, true);
            ffi::lua_settop(state, self.base + KEYS as c_int);
        }
        Ok(())
    }

    /// Ends it: leaves the array, which is on top, instead of the slots.
    ///
    /// # Safety
    /// As [`Reader::push_table`], after [`Keys::begin`].
    unsafe fn end(&mut self, state: *mut lua_State) {
        self.active = false;
        // SAFETY: by the caller's promise.
        unsafe {
            ffi::lua_replace(state, self.base + 1);
            ffi::lua_settop(state, self.base + 1);
        }
    }

    /// Pushes a key of a document in an array.
    ///
    /// # Safety
    /// As [`Reader::push_table`].
    #[inline]
    unsafe fn push(&mut self, state: *mut lua_State, key: Text) {
        // SAFETY: by the caller's promise. Keys lie in the document, where nothing ever writes to them.
        unsafe {
            let at = self.at;
            self.at += 1;
            // The first `count` texts are there.
            if at < self.count && self.texts[at].assume_init().bytes() == key.bytes() {
                return ffi::lua_pushvalue(state, self.base + 1 + at as c_int);
            }
            key.push(state);
            if at == self.count && at < KEYS {
                ffi::lua_copy(state, -1, self.base + 1 + at as c_int);
                self.texts[at].write(key);
                self.count += 1;
            }
        }
    }
}

/// One field of a document, and where its value is.
pub(super) struct Element {
    pub(super) ty: u8,
    pub(super) key: Text,
    pub(super) value: *const u8,
}

/// The fields of a document that were not read yet.
#[derive(Clone, Copy)]
pub(super) struct Reader {
    at: *const u8,
    /// How many bytes are left. The NUL at the end of the document is not among them.
    left: i64,
}

fn short(left: i64, needed: i64) -> Raise {
    Raise::new(format_args!("Invalid bson block ({left}:{needed})"))
}

impl Reader {
    /// The fields of the document at `first`, which has at most `len` bytes.
    ///
    /// # Errors
    /// It has more, or no end.
    ///
    /// # Safety
    /// There are `len` bytes, and they stay as long as the reader is used. (So for all that it answers.)
    pub(super) unsafe fn document(first: *const u8, len: usize) -> Result<Reader, Raise> {
        let mut whole = Reader { at: first, left: len as i64 };
        // SAFETY: by the caller's promise.
        let size = unsafe { i64::from(whole.int32()?) };
        if size < 5 {
            return Err(short(size - 5, 1));
        }
        // SAFETY: as above.
        unsafe { whole.body(size) }
    }

    /// The rest of a document of `size` bytes, whose length was read.
    unsafe fn body(&mut self, size: i64) -> Result<Reader, Raise> {
        let fields = size - 5;
        if fields < 0 || self.left <= fields {
            return Err(short(self.left, fields));
        }
        let document = Reader { at: self.at, left: fields };
        // SAFETY: the byte behind the fields is one of those left.
        unsafe {
            if *self.at.add(fields as usize) != 0 {
                return Err(Raise::new("Invalid document end"));
            }
        }
        self.skip(fields + 1)?;
        Ok(document)
    }

    #[inline(always)]
    fn skip(&mut self, count: i64) -> Result<*const u8, Raise> {
        if count > self.left || count < 0 {
            return Err(short(self.left, count));
        }
        let at = self.at;
        self.left -= count;
        // SAFETY: that many bytes are left.
        self.at = unsafe { at.add(count as usize) };
        Ok(at)
    }

    #[inline(always)]
    unsafe fn take<const N: usize>(&mut self) -> Result<[u8; N], Raise> {
        let at = self.skip(N as i64)?;
        // SAFETY: they were left, and no alignment is asked for.
        Ok(unsafe { at.cast::<[u8; N]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn int32(&mut self) -> Result<i32, Raise> {
        // SAFETY: by the promise of `document`.
        Ok(i32::from_le_bytes(unsafe { self.take()? }))
    }

    #[inline]
    unsafe fn cstring(&mut self) -> Result<Text, Raise> {
        // SAFETY: `left` bytes are there.
        let rest = unsafe { slice::from_raw_parts(self.at, self.left as usize) };
        // Most keys have less than eight bytes: without a loop there is no end of it to be guessed.
        if let Some(eight) = rest.first_chunk() {
            let eight = u64::from_le_bytes(*eight);
            // The lowest of these bits is that of the first byte that is 0.
            let zeros = eight.wrapping_sub(LOW_BITS) & !eight & (LOW_BITS << 7);
            if zeros != 0 {
                let len = zeros.trailing_zeros() as usize / 8;
                return Ok(Text { first: self.skip(len as i64 + 1)?, len });
            }
        }
        match rest.iter().position(|byte| *byte == 0) {
            Some(len) => Ok(Text { first: self.skip(len as i64 + 1)?, len }),
            None => Err(Raise::new("Invalid bson block : cstring")),
        }
    }

    /// A length, and that many bytes.
    unsafe fn sized(&mut self) -> Result<(*const u8, i64), Raise> {
        // SAFETY: by the promise of `document`.
        let len = i64::from(unsafe { self.int32()? });
        Ok((self.skip(len)?, len))
    }

    unsafe fn string(&mut self) -> Result<Text, Raise> {
        // SAFETY: by the promise of `document`.
        let len = i64::from(unsafe { self.int32()? });
        if len <= 0 {
            return Err(Raise::new(format_args!("Invalid bson string , length = {len}")));
        }
        Ok(Text { first: self.skip(len)?, len: len as usize - 1 })
    }

    /// Type and key of the next field; none at the end.
    #[inline]
    unsafe fn head(&mut self) -> Result<Option<(u8, Text)>, Raise> {
        if self.left == 0 {
            return Ok(None);
        }
        // SAFETY: by the promise of `document`.
        unsafe {
            let [ty] = self.take()?;
            Ok(Some((ty, self.cstring()?)))
        }
    }

    /// The next field, passed over.
    #[inline]
    pub(super) fn element(&mut self) -> Result<Option<Element>, Raise> {
        // SAFETY: by the promise of `document`.
        unsafe {
            let Some((ty, key)) = self.head()? else { return Ok(None) };
            let value = self.at;
            self.skip_value(ty)?;
            Ok(Some(Element { ty, key, value }))
        }
    }

    #[inline]
    unsafe fn skip_value(&mut self, ty: u8) -> Result<(), Raise> {
        // SAFETY: by the promise of `document`.
        unsafe {
            match ty {
                ty::NULL | ty::MIN_KEY | ty::MAX_KEY => {}
                ty::BOOLEAN => _ = self.skip(1)?,
                ty::INT32 => _ = self.skip(4)?,
                ty::REAL | ty::DATE | ty::TIMESTAMP | ty::INT64 => _ = self.skip(8)?,
                ty::OBJECT_ID => _ = self.skip(12)?,
                ty::STRING => _ = self.string()?,
                ty::DOCUMENT | ty::ARRAY => {
                    let size = i64::from(self.int32()?);
                    self.body(size)?;
                }
                ty::BINARY => {
                    self.binary()?;
                }
                ty::REGEX => {
                    self.cstring()?;
                    self.cstring()?;
                }
                ty::DB_POINTER => {
                    self.sized()?;
                    self.skip(12)?;
                }
                ty::CODE | ty::SYMBOL => _ = self.sized()?,
                ty::CODE_WITH_SCOPE => _ = self.code_with_scope()?,
                other => return Err(Raise::new(format_args!("Invalid bson type : {other}"))),
            }
        }
        Ok(())
    }

    /// Subtype and bytes.
    unsafe fn binary(&mut self) -> Result<(u8, Text), Raise> {
        // SAFETY: by the promise of `document`.
        unsafe {
            let len = i64::from(self.int32()?);
            if len < 0 {
                return Err(Raise::new("resulting string too large"));
            }
            let [subtype] = self.take()?;
            Ok((subtype, Text { first: self.skip(len)?, len: len as usize }))
        }
    }

    /// The whole value, its length included.
    unsafe fn code_with_scope(&mut self) -> Result<Text, Raise> {
        let first = self.at;
        // SAFETY: by the promise of `document`.
        let len = i64::from(unsafe { self.int32()? });
        self.skip(len - 4)?;
        Ok(Text { first, len: len as usize })
    }

    /// Pushes a table of all fields.
    ///
    /// # Safety
    /// As [`Reader::document`]. May raise a memory error: nothing with a destructor is alive.
    unsafe fn push_table(
        mut self,
        state: *mut lua_State,
        keys: &mut Keys,
        is_array: bool,
        depth: u32,
    ) -> Result<(), Raise> {
        if depth > DEPTH {
            return Err(Raise::new("Too depth while decoding bson"));
        }
        // SAFETY: by the caller's promise; the stack has room for table, key, value, and what a special value takes.
        unsafe {
            if ffi::lua_checkstack(state, 8) == 0 {
                return Err(Raise::new("stack overflow"));
            }
            let mut fields: c_int = 0;
            let mut count = self;
            while count.element()?.is_some() {
                fields = fields.saturating_add(1);
            }
            if is_array {
                let is_outermost = !keys.active;
                if is_outermost {
                    keys.begin(state)?;
                }
                let first = if is_outermost { 0 } else { keys.at };
                ffi::lua_createtable(state, fields, 0);
                while let Some((ty, key)) = self.head()? {
                    keys.at = first;
                    self.push_value(state, keys, ty, depth)?;
                    ffi::lua_rawseti(state, -2, key.number() + 1);
                }
                if is_outermost {
                    keys.end(state);
                }
            } else {
                ffi::lua_createtable(state, 0, fields);
                while let Some((ty, key)) = self.head()? {
                    if keys.active {
                        keys.push(state, key);
                        self.push_value(state, keys, ty, depth)?;
                        fields::set_pair(state);
                    } else {
                        self.push_value(state, keys, ty, depth)?;
                        fields::set_named(state, key.bytes());
                    }
                }
            }
        }
        Ok(())
    }

    /// # Safety
    /// As [`Reader::push_table`].
    #[inline]
    unsafe fn push_value(
        &mut self,
        state: *mut lua_State,
        keys: &mut Keys,
        ty: u8,
        depth: u32,
    ) -> Result<(), Raise> {
        // SAFETY: by the caller's promise.
        unsafe {
            match ty {
                ty::REAL => ffi::lua_pushnumber(state, f64::from_le_bytes(self.take()?)),
                ty::BOOLEAN => {
                    let [value] = self.take()?;
                    ffi::lua_pushboolean(state, c_int::from(value != 0));
                }
                ty::INT32 => ffi::lua_pushinteger(state, i64::from(self.int32()?)),
                ty::INT64 => ffi::lua_pushinteger(state, i64::from_le_bytes(self.take()?)),
                ty::STRING => self.string()?.push(state),
                ty::DOCUMENT | ty::ARRAY => {
                    let size = i64::from(self.int32()?);
                    self.body(size)?.push_table(state, keys, ty == ty::ARRAY, depth + 1)?;
                }
                ty::DATE => {
                    let seconds = (i64::from_le_bytes(self.take()?) / 1000) as u32;
                    push_special(state, ty, &seconds.to_le_bytes());
                }
                ty::TIMESTAMP => push_special(state, ty, &self.take::<8>()?),
                ty::OBJECT_ID => push_special(state, ty, &self.take::<12>()?),
                ty::NULL | ty::MIN_KEY | ty::MAX_KEY => push_special(state, ty, &[]),
                ty::BINARY => {
                    let (subtype, text) = self.binary()?;
                    push_joined(state, &[0, ty, subtype], text);
                }
                ty::REGEX => {
                    let first = self.cstring()?;
                    let second = self.cstring()?;
                    push_joined(
                        state,
                        &[0, ty],
                        Text { first: first.first, len: first.len + second.len + 2 },
                    );
                }
                ty::CODE_WITH_SCOPE => {
                    let text = self.code_with_scope()?;
                    push_joined(state, &[0, ty], text);
                }
                ty::CODE | ty::SYMBOL => {
                    let first = self.at;
                    let (_, len) = self.sized()?;
                    push_joined(state, &[0, ty], Text { first, len: len as usize + 4 });
                }
                ty::DB_POINTER => {
                    let first = self.at;
                    let (_, len) = self.sized()?;
                    self.skip(12)?;
                    push_joined(state, &[0, ty], Text { first, len: len as usize + 16 });
                }
                other => return Err(Raise::new(format_args!("Invalid bson type : {other}"))),
            }
        }
        Ok(())
    }
}

/// Pushes a special value with a payload of at most 12 bytes.
///
/// # Safety
/// As [`Reader::push_table`].
unsafe fn push_special(state: *mut lua_State, ty: u8, payload: &[u8]) {
    let mut tagged = [0; 14];
    tagged[1] = ty;
    tagged[2..][..payload.len()].copy_from_slice(payload);
    // SAFETY: by the caller's promise.
    unsafe { ffi::lua_pushlstring(state, tagged.as_ptr().cast(), 2 + payload.len()) };
}

/// Pushes a special value of any size.
///
/// # Safety
/// As [`Reader::push_table`]; the text is there.
unsafe fn push_joined(state: *mut lua_State, head: &[u8], text: Text) {
    // SAFETY: by the caller's promise. `lua_concat` makes one string of both.
    unsafe {
        ffi::lua_pushlstring(state, head.as_ptr().cast(), head.len());
        text.push(state);
        ffi::lua_concat(state, 2);
    }
}
