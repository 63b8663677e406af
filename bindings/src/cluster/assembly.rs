//! A large message while it comes, part by part: one block that grows.
//!
//! How large it will be was said by another node. Up to [`AT_ONCE`] bytes are believed; beyond that the block grows as bytes come.

use std::ffi::{CStr, c_int};

use skein_arena::BlockWriter;

use super::link::push_made;
use crate::core::service;
use crate::object::{self, Object, Slot};
use crate::raw::{Raise, ffi, guard, lua_State, raise, raise_argument};

/// A block of so many bytes is made at once.
const AT_ONCE: usize = 1 << 20;

/// What came so far, and how much is to come.
struct Assembly {
    writer: BlockWriter,
    left: usize,
}

impl Object for Assembly {
    const NAME: &'static CStr = c"skein.cluster.assembly";
}

/// `cluster.assembly(total: integer): userdata`: room for a message. With `add` and `finish` as fields of the module.
pub(super) unsafe extern "C-unwind" fn new(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`, and upvalue 1 is our service. Nothing with a destructor is alive when these raise.
    unsafe {
        let service = service(state);
        let total = ffi::luaL_checkinteger(state, 1);
        let Some(total) = u32::try_from(total).ok().map(|it| it as usize) else {
            raise(state, Raise::new(format_args!("{total} is no size of a message")));
        };
        let slot = object::push::<Assembly>(state);
        let made = guard(|| {
            let writer = service.arena.writer(total.min(AT_ONCE))?;
            *slot.value.borrow_mut() = Some(Assembly { writer, left: total });
            Ok(())
        });
        if let Err(error) = made {
            raise(state, error);
        }
    }
    1
}

/// Argument 1.
///
/// # Safety
/// As for [`raise`]; the argument keeps its slot.
unsafe fn argument<'a>(state: *mut lua_State) -> &'a Slot<Assembly> {
    // SAFETY: by the caller's promise.
    unsafe {
        match object::get::<Assembly>(state, 1) {
            Some(slot) => slot,
            None => raise_argument(state, 1, Raise::new("assembly of skein.cluster expected")),
        }
    }
}

/// `cluster.add(assembly: userdata, part: lightuserdata, size: integer): boolean`: appends a part, which is taken. False: there are more
/// bytes than were announced, and the message will not be whole.
pub(super) unsafe extern "C-unwind" fn add(state: *mut lua_State) -> c_int {
    // SAFETY: as above. A block that is held does not move while its bytes are copied; nothing of Lua runs in between.
    unsafe {
        let service = service(state);
        let slot = argument(state);
        ffi::luaL_checktype(state, 2, ffi::LUA_TLIGHTUSERDATA);
        let address = ffi::lua_touserdata(state, 2).addr();
        let size = ffi::luaL_checkinteger(state, 3);
        let added = guard(|| {
            let (at, len) = service.hand.look(address, size)?;
            let bytes = std::slice::from_raw_parts(at, len);
            let mut value = slot.value.borrow_mut();
            let fits = match value.as_mut() {
                Some(assembly) if len <= assembly.left => {
                    assembly.writer.put_slice(bytes)?;
                    assembly.left -= len;
                    true
                }
                // What does not fit ends it.
                _ => {
                    *value = None;
                    false
                }
            };
            service.hand.discard(address)?;
            Ok(fits)
        });
        match added {
            Ok(fits) => ffi::lua_pushboolean(state, c_int::from(fits)),
            Err(error) => raise(state, error),
        }
    }
    1
}

/// `cluster.finish(assembly: userdata): lightuserdata?, integer?`: the message, if all of it came. The assembly is empty then.
pub(super) unsafe extern "C-unwind" fn finish(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let service = service(state);
        let slot = argument(state);
        let made = guard(|| {
            let whole = slot.value.borrow_mut().take().filter(|it| it.left == 0);
            Ok(whole.map(|it| {
                let block = it.writer.finish();
                let len = block.len();
                (service.hand.give(block), len)
            }))
        });
        match made {
            Ok(Some(made)) => push_made(state, Ok(made)),
            Ok(None) => 0,
            Err(error) => raise(state, error),
        }
    }
}
