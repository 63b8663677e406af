//! From a table to the bytes of a message, over Lua's interface: for what [`walk`](super::walk) cannot read in place.
//!
//! A struct is written in one go: room for its words first, then the data; when fewer words were needed, the data moves up. Values are
//! read from the table with its metamethods, in the order of their tags. Nothing here has a destructor, so whatever raises may.
//!
//! # From skynet
//! lsproto.c: `encode`, `lencode` → [`message`]; sproto.c: `sproto_encode` → [`Encoder::fields`], `encode_array` →
//! [`Encoder::array`].

use std::ffi::{CStr, c_int};

use super::desk::{Full, MOST, Place};
use super::schema::{Field, Kind, Schema, Shape, Type};
use crate::raw::{Raise, bytes, ffi, lua_State, raise};

/// Structs inside structs.
pub(super) const DEPTH: u32 = 64;

/// Slots that one level uses.
const SLOTS: c_int = 10;

/// What goes through the levels: all plain.
#[derive(Clone, Copy)]
struct Encoder<'a> {
    state: *mut lua_State,
    schema: &'a Schema,
    out: Place,
    /// Slot of the list of field names.
    names: c_int,
}

/// Writes the table in slot `table` as a message of type `ty` at the end of `out`. `names` is the slot of the schema's field names.
///
/// # Safety
/// As for [`raise`].
pub(super) unsafe fn message(
    state: *mut lua_State,
    schema: &Schema,
    ty: &Type,
    (names, table): (c_int, c_int),
    out: Place,
) {
    let encoder = Encoder { state, schema, out, names };
    // SAFETY: by the caller's promise.
    unsafe { encoder.fields(ty, table, 0) }
}

/// The words of a struct that is being written.
struct Words {
    out: Place,
    /// Where the struct begins.
    start: usize,
    /// Bytes that were set aside for the count and the words.
    room: usize,
    count: usize,
    /// The tag that a further word would stand for.
    next: u32,
}

impl Words {
    /// Sets room aside for the words of `ty`.
    #[inline]
    fn begin(out: Place, ty: &Type) -> Result<Words, Full> {
        let (start, room) = (out.len(), 2 + 2 * ty.most_words);
        out.put_zeros(room)?;
        Ok(Words { out, start, room, count: 0, next: 0 })
    }

    /// The word of `tag`, after one for the tags that are missing in between.
    #[inline]
    fn push(&mut self, tag: u16, word: u16) {
        let missing = u32::from(tag) - self.next;
        if missing > 0 {
            self.write(((missing - 1) * 2 + 1) as u16);
        }
        self.write(word);
        self.next = u32::from(tag) + 1;
    }

    #[inline]
    fn write(&mut self, word: u16) {
        let at = 2 + 2 * self.count;
        self.out.written(self.start)[at..at + 2].copy_from_slice(&word.to_le_bytes());
        self.count += 1;
    }

    /// Writes the count, and closes the gap between the words and the data.
    #[inline]
    fn finish(self) {
        let all = self.out.written(self.start);
        all[..2].copy_from_slice(&(self.count as u16).to_le_bytes());
        let used = 2 + 2 * self.count;
        if used < self.room {
            all.copy_within(self.room.., used);
            self.out.truncate(self.out.len() - (self.room - used));
        }
    }
}

/// A word behind a field that is there.
#[inline]
pub(super) fn inline_word(value: u64) -> u16 {
    (value as u16 + 1) * 2
}

/// A whole number as an integer; what is none, or too large, as the least there is, as the processor does for skynet.
pub(super) fn to_integer(whole: f64) -> i64 {
    const END: f64 = (1u64 << 63) as f64;
    if (-END..END).contains(&whole) { whole as i64 } else { i64::MIN }
}

/// Which of a field's values is being written, for error texts: 0 for its only one.
type Index = c_int;

impl Encoder<'_> {
    /// Ends with the error that a message is too large.
    ///
    /// # Safety
    /// As for [`raise`].
    #[inline]
    unsafe fn check<T>(&self, written: Result<T, Full>) -> T {
        match written {
            Ok(done) => done,
            // SAFETY: by the caller's promise.
            Err(Full) => unsafe {
                raise(self.state, Raise::new(format_args!("object is too large (>{MOST})")))
            },
        }
    }

    /// Writes the struct in slot `table`.
    ///
    /// # Safety
    /// As for [`raise`].
    unsafe fn fields(&self, ty: &Type, table: c_int, depth: u32) {
        let state = self.state;
        // SAFETY: by the caller's promise.
        unsafe {
            if depth >= DEPTH {
                ffi::luaL_error(state, c"The table is too deep".as_ptr());
            }
            if depth > 0 {
                ffi::luaL_checkstack(state, SLOTS, std::ptr::null());
            }
            let mut words = self.check(Words::begin(self.out, ty));
            for (at, field) in ty.fields.iter().enumerate() {
                ffi::lua_rawgeti(state, self.names, i64::from(ty.first_name) + at as i64 + 1);
                if ffi::lua_gettable(state, table) != ffi::LUA_TNIL {
                    words.push(field.tag, self.value(ty, field, depth));
                }
                ffi::lua_settop(state, -2);
            }
            words.finish();
        }
    }

    /// Writes the value on top of the stack, and says which word stands for it.
    ///
    /// # Safety
    /// As for [`raise`].
    #[inline]
    unsafe fn value(&self, ty: &Type, field: &Field, depth: u32) -> u16 {
        // SAFETY: by the caller's promise.
        unsafe {
            if field.shape == Shape::One {
                return self.one(ty, field, depth);
            }
            self.many(ty, field, depth);
        }
        0
    }

    /// Writes the value on top of the stack, the only one of its field, and says which word stands for it.
    ///
    /// # Safety
    /// As for [`raise`].
    #[inline]
    unsafe fn one(&self, ty: &Type, field: &Field, depth: u32) -> u16 {
        // SAFETY: by the caller's promise.
        unsafe {
            match field.kind {
                Kind::Integer | Kind::Decimal(_) => {
                    let value = self.integer(ty, field, 0);
                    if (0..0x7fff).contains(&value) {
                        return inline_word(value as u64);
                    }
                    match i32::try_from(value) {
                        Ok(small) => self.block(&small.to_le_bytes()),
                        Err(_) => self.block(&value.to_le_bytes()),
                    }
                }
                Kind::Boolean => return inline_word(self.boolean(ty, field, 0).into()),
                Kind::Double => self.block(&ffi::lua_tonumber(self.state, -1).to_le_bytes()),
                Kind::String | Kind::Binary => self.block(self.text(ty, field, 0)),
                Kind::Struct(index) => self.nested(index, depth),
            }
        }
        0
    }

    /// Writes a size and bytes.
    ///
    /// # Safety
    /// As for [`raise`].
    #[inline]
    unsafe fn block(&self, bytes: &[u8]) {
        // SAFETY: by the caller's promise. Longer than `MOST` is refused before its size is cut.
        unsafe {
            self.check(self.out.reserve(bytes.len().saturating_add(4)));
            self.check(self.out.put(&(bytes.len() as u32).to_le_bytes()).and_then(|()| self.out.put(bytes)));
        }
    }

    /// Writes the struct on top of the stack with its size.
    ///
    /// # Safety
    /// As for [`raise`].
    unsafe fn nested(&self, index: u16, depth: u32) {
        let at = self.out.len();
        // SAFETY: by the caller's promise.
        unsafe {
            self.check(self.out.put(&[0; 4]));
            self.fields(&self.schema.types[usize::from(index)], ffi::lua_gettop(self.state), depth + 1);
        }
        self.out.close(at);
    }

    /// Raises that the value on top of the stack is not what it should be.
    ///
    /// # Safety
    /// As for [`raise`].
    #[cold]
    unsafe fn is_not(&self, what: &CStr, ty: &Type, field: &Field, index: Index) -> ! {
        // SAFETY: by the caller's promise; all texts end in a NUL.
        unsafe {
            let kind = ffi::lua_typename(self.state, ffi::lua_type(self.state, -1));
            let (ty, name) = (ty.name.as_ptr(), field.name.as_ptr());
            ffi::luaL_error(
                self.state,
                c"%s.%s[%d] is not %s (Is a %s)".as_ptr(),
                ty,
                name,
                index,
                what.as_ptr(),
                kind,
            );
        }
        unreachable!("luaL_error came back")
    }

    /// # Safety
    /// As for [`raise`].
    #[inline]
    unsafe fn integer(&self, ty: &Type, field: &Field, index: Index) -> i64 {
        // SAFETY: by the caller's promise; nothing is converted in its slot.
        unsafe {
            if let Kind::Decimal(digits) = field.kind {
                let value = ffi::lua_tonumber(self.state, -1);
                return to_integer((value * 10f64.powi(digits as i32)).round());
            }
            let mut is_number = 0;
            let value = ffi::lua_tointegerx(self.state, -1, &mut is_number);
            if is_number == 0 {
                self.is_not(c"an integer", ty, field, index);
            }
            value
        }
    }

    /// # Safety
    /// As for [`raise`].
    unsafe fn boolean(&self, ty: &Type, field: &Field, index: Index) -> bool {
        // SAFETY: by the caller's promise.
        unsafe {
            if ffi::lua_type(self.state, -1) != ffi::LUA_TBOOLEAN {
                self.is_not(c"a boolean", ty, field, index);
            }
            ffi::lua_toboolean(self.state, -1) != 0
        }
    }

    /// # Safety
    /// As for [`raise`]; the bytes are good while the value is on the stack.
    #[inline]
    unsafe fn text<'a>(&self, ty: &Type, field: &Field, index: Index) -> &'a [u8] {
        // SAFETY: by the caller's promise.
        unsafe {
            if ffi::lua_type(self.state, -1) != ffi::LUA_TSTRING {
                self.is_not(c"a string", ty, field, index);
            }
            bytes(self.state, -1).unwrap_or_default()
        }
    }

    /// Raises that the value on top of the stack contains nothing.
    ///
    /// # Safety
    /// As for [`raise`].
    #[cold]
    unsafe fn is_no_table(&self, ty: &Type, field: &Field) -> ! {
        // SAFETY: by the caller's promise; all texts end in a NUL.
        unsafe {
            let kind = ffi::lua_typename(self.state, ffi::lua_type(self.state, -1));
            let (ty, name) = (ty.name.as_ptr(), field.name.as_ptr());
            let text = c"%s.%s(%d) should be a table or an userdata with metamethods (Is a %s)";
            ffi::luaL_error(self.state, text.as_ptr(), ty, name, 1 as Index, kind);
        }
        unreachable!("luaL_error came back")
    }

    /// Writes the values of the container on top of the stack, with their size in front.
    ///
    /// # Safety
    /// As for [`raise`].
    unsafe fn many(&self, ty: &Type, field: &Field, depth: u32) {
        let state = self.state;
        // SAFETY: by the caller's promise.
        unsafe {
            let container = ffi::lua_gettop(state);
            let kind = ffi::lua_type(state, container);
            let usable = kind == ffi::LUA_TTABLE
                || ffi::luaL_getmetafield(state, container, c"__pairs".as_ptr()) != ffi::LUA_TNIL;
            if !usable {
                self.is_no_table(ty, field);
            }
            ffi::lua_settop(state, container);
            let at = self.out.len();
            self.check(self.out.put(&[0; 4]));
            match field.shape {
                Shape::One | Shape::Array => self.array(ty, field, container, depth),
                Shape::Indexed(_) | Shape::Map(..) => self.pairs(ty, field, container, depth),
            }
            ffi::lua_settop(state, container);
            self.out.close(at);
        }
    }

    /// Values under 1, 2, 3 …
    ///
    /// # Safety
    /// As for [`raise`].
    unsafe fn array(&self, ty: &Type, field: &Field, container: c_int, depth: u32) {
        let (state, start) = (self.state, self.out.len());
        // Bytes of an integer: as few as do for all.
        let mut width = 4;
        // SAFETY: by the caller's promise.
        unsafe {
            for index in 1.. {
                if ffi::lua_geti(state, container, index) == ffi::LUA_TNIL {
                    return;
                }
                let which = index as Index;
                match field.kind {
                    Kind::Integer | Kind::Decimal(_) => {
                        let value = self.integer(ty, field, which);
                        if index == 1 {
                            self.check(self.out.put(&[4]));
                        }
                        match i32::try_from(value) {
                            Ok(small) if width == 4 => self.check(self.out.put(&small.to_le_bytes())),
                            _ => {
                                if width == 4 {
                                    width = 8;
                                    self.widen(start);
                                }
                                self.check(self.out.put(&value.to_le_bytes()));
                            }
                        }
                    }
                    Kind::Double => {
                        if index == 1 {
                            self.check(self.out.put(&[8]));
                        }
                        self.check(self.out.put(&ffi::lua_tonumber(state, -1).to_le_bytes()));
                    }
                    Kind::Boolean => self.check(self.out.put(&[self.boolean(ty, field, which).into()])),
                    Kind::String | Kind::Binary => self.block(self.text(ty, field, which)),
                    Kind::Struct(it) => self.nested(it, depth),
                }
                ffi::lua_settop(state, container);
            }
        }
    }

    /// Makes the integers behind the byte at `start` 8 bytes wide.
    ///
    /// # Safety
    /// As for [`raise`].
    #[cold]
    unsafe fn widen(&self, start: usize) {
        let narrow = (self.out.len() - start - 1) / 4;
        // SAFETY: by the caller's promise.
        unsafe { self.check(self.out.put_zeros(4 * narrow)) };
        let all = self.out.written(start);
        all[0] = 8;
        for index in (0..narrow).rev() {
            let value = i32::from_le_bytes(all[1 + 4 * index..][..4].try_into().expect("four bytes"));
            all[1 + 8 * index..][..8].copy_from_slice(&i64::from(value).to_le_bytes());
        }
    }

    /// Structs under keys of any kind.
    ///
    /// # Safety
    /// As for [`raise`].
    unsafe fn pairs(&self, ty: &Type, field: &Field, container: c_int, depth: u32) {
        let state = self.state;
        // SAFETY: by the caller's promise. The key stays as it is: nothing here converts it.
        unsafe {
            if ffi::luaL_getmetafield(state, container, c"__pairs".as_ptr()) == ffi::LUA_TNIL {
                if ffi::lua_type(state, container) != ffi::LUA_TTABLE {
                    self.is_no_table(ty, field);
                }
                ffi::lua_pushnil(state);
                while ffi::lua_next(state, container) != 0 {
                    self.pair(field, container + 1, depth);
                    ffi::lua_settop(state, container + 1);
                }
                return;
            }
            ffi::lua_pushvalue(state, container);
            ffi::lua_call(state, 1, 3);
            // Function, what it walks, key.
            loop {
                ffi::lua_pushvalue(state, container + 1);
                ffi::lua_pushvalue(state, container + 2);
                ffi::lua_pushvalue(state, container + 3);
                ffi::lua_call(state, 2, 2);
                if ffi::lua_type(state, -2) == ffi::LUA_TNIL {
                    return;
                }
                self.pair(field, container + 4, depth);
                ffi::lua_settop(state, container + 4);
                ffi::lua_replace(state, container + 3);
            }
        }
    }

    /// One pair, the key in slot `key` and the value behind it, on top.
    ///
    /// # Safety
    /// As for [`raise`].
    unsafe fn pair(&self, field: &Field, key: c_int, depth: u32) {
        let Kind::Struct(index) = field.kind else { return };
        let Shape::Map(key_at, _) = field.shape else {
            // SAFETY: by the caller's promise.
            return unsafe { self.nested(index, depth) };
        };
        let ty = &self.schema.types[usize::from(index)];
        let (state, start) = (self.state, self.out.len());
        // SAFETY: by the caller's promise.
        unsafe {
            if depth + 1 >= DEPTH {
                ffi::luaL_error(state, c"The table is too deep".as_ptr());
            }
            ffi::luaL_checkstack(state, SLOTS, std::ptr::null());
            self.check(self.out.put(&[0; 4]));
            let mut words = self.check(Words::begin(self.out, ty));
            for (at, field) in ty.fields.iter().enumerate() {
                ffi::lua_pushvalue(state, if at == usize::from(key_at) { key } else { key + 1 });
                words.push(field.tag, self.value(ty, field, depth + 1));
                ffi::lua_settop(state, key + 1);
            }
            words.finish();
            self.out.close(start);
        }
    }
}
