//! From values to a document.
//!
//! Values are read where the machine has them (`skein_vm::walk`) and written into a vector that the thread keeps: nothing
//! is pushed, nothing raises, no Lua code runs. The first table with a metamethod, or document that is not simply one of ours, ends that: the
//! document is begun anew by [`careful`](super::careful).
//!
//! The bytes are copied into a userdata of their size in the end. Making that may collect garbage, whose finalizers may encode
//! as well; then the vector holds another document, and ours is written again.

use std::cell::Cell;
use std::ffi::{c_int, c_void};

use skein_vm::walk::{self, Table, Value};

use super::Kit;
use super::out::{DEPTH, Key, Out, hole, is_array, too_deep, ty};
use crate::raw::{Raise, ffi, guard, lua_State, raise, raise_bare};

/// A vector that has become larger is not kept.
const KEEP: usize = 1 << 20;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// Counts the documents that were written into it.
    static TURN: Cell<u64> = const { Cell::new(0) };
}

/// What a document is made of.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// The table in slot 1.
    Table,
    /// Keys, which are strings, and values in the slots `1..=last`.
    Pairs { last: c_int },
}

/// Why a walk ended early.
enum Stop {
    /// Something needs Lua's interface.
    Careful,
    Refused(Raise),
}

impl From<Raise> for Stop {
    #[cold]
    fn from(error: Raise) -> Self {
        Stop::Refused(error)
    }
}

/// `bson.encode(table): userdata`. What is no document is an error without a position, as in skynet.
pub(super) unsafe extern "C-unwind" fn encode(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`, and the function has the upvalue of the module; nothing with a destructor is alive.
    unsafe {
        ffi::lua_settop(state, 1);
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        push(state, Source::Table)
    }
}

/// `bson.encode_order(key, value, ...): userdata`.
pub(super) unsafe extern "C-unwind" fn encode_order(state: *mut lua_State) -> c_int {
    // SAFETY: as in `encode`.
    unsafe {
        let last = ffi::lua_gettop(state);
        if last % 2 != 0 {
            raise(state, Raise::new("Invalid ordered dict"));
        }
        for key in (1..=last).step_by(2) {
            if ffi::lua_isstring(state, key) == 0 {
                raise_bare(state, Raise::new(format_args!("Argument {key} need a string")));
            }
            // A number becomes its text in its slot.
            ffi::lua_tolstring(state, key, std::ptr::null_mut());
        }
        push(state, Source::Pairs { last })
    }
}

/// Pushes the document of `source`.
///
/// # Safety
/// `state` runs a function of the module; the slots are as `source` says, with nothing above them. Nothing with a destructor is alive.
unsafe fn push(state: *mut lua_State, source: Source) -> c_int {
    // SAFETY: by the caller's promise.
    unsafe {
        let kit = Kit::of(state);
        loop {
            match guard(|| write(state, kit, source)) {
                Ok(Written::Whole { first, len, turn }) => {
                    let document = super::document::push(state, kit, len);
                    if TURN.get() == turn {
                        document.copy_from_nonoverlapping(first, len);
                        return 1;
                    }
                    ffi::lua_settop(state, -2);
                }
                Ok(Written::Careful) => return super::careful::push(state, kit, source),
                Err(error) => raise_bare(state, error),
            }
        }
    }
}

/// How far writing came, as plain data.
#[derive(Clone, Copy)]
enum Written {
    /// The document is in the thread's vector, as long as nobody else writes to it.
    Whole {
        first: *const u8,
        len: usize,
        turn: u64,
    },
    Careful,
}

/// # Safety
/// As [`push`].
unsafe fn write(state: *mut lua_State, kit: &Kit, source: Source) -> Result<Written, Raise> {
    let mut out = Out::new(SPARE.take());
    // SAFETY: by the caller's promise. No Lua code runs during the walk, and it writes to no object.
    let written = unsafe {
        Walk { state, pairs: kit.pairs, len: kit.len, metatable: kit.metatable, out: &mut out }.source(source)
    };
    let (vector, len) = out.finish();
    let first = vector.as_ptr();
    let turn = TURN.get() + 1;
    TURN.set(turn);
    if vector.capacity() <= KEEP || written.is_ok() {
        SPARE.set(vector);
    }
    match written {
        Ok(()) => Ok(Written::Whole { first, len, turn }),
        Err(Stop::Careful) => Ok(Written::Careful),
        Err(Stop::Refused(error)) => Err(error),
    }
}

struct Walk<'a> {
    state: *mut lua_State,
    pairs: *const c_void,
    len: *const c_void,
    metatable: *const c_void,
    out: &'a mut Out<Vec<u8>>,
}

impl Walk<'_> {
    /// # Safety
    /// As [`push`].
    unsafe fn source(&mut self, source: Source) -> Result<(), Stop> {
        let at = self.out.begin()?;
        // SAFETY: by the caller's promise.
        unsafe {
            match source {
                Source::Table => {
                    let Value::Table(table) = walk::slot(self.state, 1) else { return Err(Stop::Careful) };
                    // The outermost table is a document, whatever its length.
                    table.border(self.state, self.pairs).ok_or(Stop::Careful)?;
                    self.fields(table, 0)?;
                }
                Source::Pairs { last } => {
                    for key in (1..=last).step_by(2) {
                        let Value::String(name) = walk::slot(self.state, key) else {
                            return Err(Stop::Careful);
                        };
                        self.value(Key::Name(name), walk::slot(self.state, key + 1), 0)?;
                    }
                }
            }
        }
        Ok(self.out.end(at)?)
    }

    /// # Safety
    /// `value` is good, as `skein_vm::walk` says. (So for tables below.)
    #[inline]
    unsafe fn value(&mut self, key: Key<'_>, value: Value<'_>, depth: u32) -> Result<(), Stop> {
        match value {
            Value::Nil => return Err(hole().into()),
            Value::Boolean(value) => self.out.boolean(key, value)?,
            Value::Integer(value) => self.out.integer(key, value)?,
            Value::Real(value) => self.out.real(key, value)?,
            Value::String(text) => self.out.string(key, text)?,
            // SAFETY: by the caller's promise.
            Value::Table(table) => unsafe { self.table(key, table, depth + 1)? },
            Value::Userdata(document, metatable) if metatable == self.metatable => {
                // SAFETY: a document has its size, and nobody writes to it during the walk.
                self.out.raw(ty::DOCUMENT, key, unsafe { &*document })?;
            }
            Value::Pointer(_) | Value::Userdata(..) | Value::Other(_) => return Err(Stop::Careful),
        }
        Ok(())
    }

    unsafe fn table(&mut self, key: Key<'_>, table: Table, depth: u32) -> Result<(), Stop> {
        if depth > DEPTH {
            return Err(too_deep().into());
        }
        // SAFETY: by the caller's promise; the strings are kept by the kit.
        unsafe {
            let border = table.border(self.state, self.len).ok_or(Stop::Careful)?;
            table.border(self.state, self.pairs).ok_or(Stop::Careful)?;
            match table.pair(0, 0) {
                Some((Value::Integer(first), _, _)) if is_array(first, border) => {
                    let at = self.out.begin_value(ty::ARRAY, key)?;
                    for place in 1..=border {
                        self.value(Key::Place(place - 1), table.item(place), depth)?;
                    }
                    Ok(self.out.end(at)?)
                }
                _ => {
                    let at = self.out.begin_value(ty::DOCUMENT, key)?;
                    self.fields(table, depth)?;
                    Ok(self.out.end(at)?)
                }
            }
        }
    }

    unsafe fn fields(&mut self, table: Table, depth: u32) -> Result<(), Stop> {
        let mut at = 0;
        // SAFETY: by the caller's promise.
        while let Some((key, value, next)) = unsafe { table.pair(at, 0) } {
            let Value::String(name) = key else { return Err(self.key_error(key)) };
            // SAFETY: as above.
            unsafe { self.value(Key::Name(name), value, depth)? };
            at = next;
        }
        Ok(())
    }

    #[cold]
    fn key_error(&self, key: Value<'_>) -> Stop {
        let ty = match key {
            Value::Integer(_) | Value::Real(_) => return number_key().into(),
            Value::Boolean(_) => ffi::LUA_TBOOLEAN,
            Value::Pointer(_) => ffi::LUA_TLIGHTUSERDATA,
            Value::Table(_) => ffi::LUA_TTABLE,
            Value::Userdata(..) => ffi::LUA_TUSERDATA,
            Value::Other(ty) => ty,
            Value::Nil | Value::String(_) => ffi::LUA_TNIL,
        };
        // SAFETY: names of types are static and end in a NUL.
        let name = unsafe { std::ffi::CStr::from_ptr(ffi::lua_typename(self.state, ty)) };
        Raise::new(format_args!("Invalid key type : {}", name.to_string_lossy())).into()
    }
}

pub(super) fn number_key() -> Raise {
    Raise::new("Bson dictionary's key can't be number")
}
