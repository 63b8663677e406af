//! From values on a Lua stack to bytes.
//!
//! Values are read where the machine has them (`skein_vm::walk`), and written straight into a block: one call and a few stores
//! per value, nothing pushed, nothing allocated, nothing that could raise (S1). The first table with a `__pairs` metamethod
//! ends that: the block is begun anew by [`careful`], which calls Lua code.

use std::ffi::{c_int, c_void};

use skein_vm::ffi::{self, lua_State};
use skein_vm::walk::{self, Table, Value};

use super::out::Out;
use super::write::Write;
use super::{WRITE_DEPTH, careful};

/// Why values cannot be packed.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Tables nest deeper than 33.
    TooDeep,
    /// The Lua type `.0` does not travel.
    Type(c_int),
    /// A string of two gigabytes or more.
    LongString,
    /// Lua's stack is at its limit.
    Stack,
    /// Lua code raised; what it raised is on top of the stack.
    Raised,
    /// The arena has no room.
    Arena(skein_arena::Error),
}

impl From<skein_arena::Error> for Refused {
    #[cold]
    fn from(error: skein_arena::Error) -> Self {
        Refused::Arena(error)
    }
}

/// Why a walk ended early.
enum Stop {
    /// A table wants `__pairs` to be called.
    Pairs,
    Refused(Refused),
}

impl From<Refused> for Stop {
    #[cold]
    fn from(refused: Refused) -> Self {
        Stop::Refused(refused)
    }
}

/// Packs the stack slots `first..=last` into `out`, and notes in `pointers` every light userdata that `owned` says
/// yes to. On a refusal `out` holds a part, and the stack may be higher than before.
///
/// # Safety
/// `state` is valid, `first..=last` are slots of the running C function, and `pairs` is what [`careful::open`] gave.
pub(crate) unsafe fn pack(
    state: *mut lua_State,
    first: c_int,
    last: c_int,
    pairs: *const c_void,
    out: &mut Out,
    pointers: &mut Vec<usize>,
    owned: &dyn Fn(usize) -> bool,
) -> Result<(), Refused> {
    let mut walk = Walk { state, pairs, write: Write { out, pointers, owned } };
    for index in first..=last {
        // SAFETY: by the caller's promise. No Lua code runs during the walk, and it writes to no object.
        match unsafe { walk.value(walk::slot(state, index), 0) } {
            Ok(()) => {}
            Err(Stop::Refused(refused)) => return Err(refused),
            Err(Stop::Pairs) => {
                walk.write.out.clear();
                walk.write.pointers.clear();
                // SAFETY: by the caller's promise.
                return unsafe { careful::pack(state, first, last, &mut walk.write) };
            }
        }
    }
    Ok(())
}

struct Walk<'a> {
    state: *mut lua_State,
    pairs: *const c_void,
    write: Write<'a>,
}

impl Walk<'_> {
    /// # Safety
    /// `value` is good, as `skein_vm::walk` says. (So for [`Walk::table`].)
    #[inline]
    unsafe fn value(&mut self, value: Value<'_>, depth: u32) -> Result<(), Stop> {
        if depth > WRITE_DEPTH {
            return Err(Refused::TooDeep.into());
        }
        match value {
            Value::Nil => self.write.nil()?,
            Value::Boolean(value) => self.write.boolean(value)?,
            Value::Integer(value) => self.write.integer(value)?,
            Value::Real(value) => self.write.real(value)?,
            Value::String(bytes) => self.write.string(bytes)?,
            Value::Pointer(address) => self.write.pointer(address)?,
            // SAFETY: by the caller's promise.
            Value::Table(table) => unsafe { self.table(table, depth + 1)? },
            Value::Userdata(..) => return Err(Refused::Type(ffi::LUA_TUSERDATA).into()),
            Value::Other(ty) => return Err(Refused::Type(ty).into()),
        }
        Ok(())
    }

    unsafe fn table(&mut self, table: Table, depth: u32) -> Result<(), Stop> {
        // SAFETY: by the caller's promise; `pairs` is kept by the registry.
        unsafe {
            let items = table.border(self.state, self.pairs).ok_or(Stop::Pairs)?;
            self.write.table(items)?;
            for index in 1..=items {
                self.value(table.item(index), depth)?;
            }
            let mut at = 0;
            while let Some((key, value, next)) = table.pair(at, items) {
                self.value(key, depth)?;
                self.value(value, depth)?;
                at = next;
            }
        }
        Ok(self.write.nil()?)
    }
}
