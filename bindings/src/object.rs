//! Rust values that Lua owns: a full userdata with a value inside, freed by the collector.
//!
//! The value lies in the userdata itself, behind a tag that only code of ours can have written there. So a userdata of
//! somebody else's is told from one of ours whatever metatable `debug.setmetatable` gave it.
//!
//! # Invariants
//! * **O1** The tag of a slot is made of its own address and of its type; it is written once, when the slot is made.
//! * **O2** A slot is empty before its value is put in and after it was taken out: both are ordinary states of it.

use std::cell::RefCell;
use std::ffi::{CStr, c_int};

use crate::raw::{ffi, lua_State};

/// A type whose values Lua may own.
pub(crate) trait Object: Sized + 'static {
    /// Name of its metatable in the registry, and what error texts call it.
    const NAME: &'static CStr;
    /// What can be called on it.
    const METHODS: &'static [(&'static CStr, ffi::lua_CFunction)] = &[];
    /// What calling it does.
    const CALL: Option<ffi::lua_CFunction> = None;
}

/// Where a value is.
#[repr(C)]
pub(crate) struct Slot<T> {
    tag: usize,
    /// The value, unless it was taken out.
    pub(crate) value: RefCell<Option<T>>,
}

impl<T: Object> Slot<T> {
    /// What the tag of a slot at `address` is.
    fn tag(address: usize) -> usize {
        // The finalizer's address is one for each type, and known to nobody outside.
        address.rotate_left(7) ^ (finalize::<T> as *const () as usize) ^ T::NAME.as_ptr().addr()
    }
}

/// Pushes an empty slot.
///
/// # Safety
/// `state` runs a C function and has three free slots. May raise a memory error: nothing with a destructor is alive.
pub(crate) unsafe fn push<'a, T: Object>(state: *mut lua_State) -> &'a Slot<T> {
    // SAFETY: by the caller's promise. The userdata is large enough and aligned for what its first words are; nothing raises
    // between the writing of the slot and its metatable but what leaves the slot empty.
    unsafe {
        let slot = ffi::lua_newuserdatauv(state, size_of::<Slot<T>>(), 1).cast::<Slot<T>>();
        slot.write(Slot { tag: Slot::<T>::tag(slot.addr()), value: RefCell::new(None) });
        if ffi::luaL_newmetatable(state, T::NAME.as_ptr()) != 0 {
            ffi::lua_pushcfunction(state, finalize::<T>);
            ffi::lua_setfield(state, -2, c"__gc".as_ptr());
            ffi::lua_createtable(state, 0, T::METHODS.len() as c_int);
            for &(name, function) in T::METHODS {
                ffi::lua_pushcfunction(state, function);
                ffi::lua_setfield(state, -2, name.as_ptr());
            }
            ffi::lua_setfield(state, -2, c"__index".as_ptr());
            if let Some(call) = T::CALL {
                ffi::lua_pushcfunction(state, call);
                ffi::lua_setfield(state, -2, c"__call".as_ptr());
            }
        }
        ffi::lua_setmetatable(state, -2);
        &*slot
    }
}

/// The slot at `index`, if it is one for values of this type.
///
/// # Safety
/// `index` is acceptable, and keeps its value while the slot is used.
pub(crate) unsafe fn get<'a, T: Object>(state: *mut lua_State, index: c_int) -> Option<&'a Slot<T>> {
    // SAFETY: by the caller's promise. Words are read only of a full userdata that has them.
    unsafe {
        if ffi::lua_type(state, index) != ffi::LUA_TUSERDATA
            || ffi::lua_rawlen(state, index) as usize != size_of::<Slot<T>>()
        {
            return None;
        }
        let slot = ffi::lua_touserdata(state, index).cast::<Slot<T>>();
        ((&raw const (*slot).tag).read() == Slot::<T>::tag(slot.addr())).then(|| &*slot)
    }
}

/// `__gc`: drops the value. A call by hand leaves an empty slot.
unsafe extern "C-unwind" fn finalize<T: Object>(state: *mut lua_State) -> c_int {
    // SAFETY: argument 1 keeps its value; dropping raises nothing, and a panic of it is not to cross Lua.
    if let Some(slot) = unsafe { get::<T>(state, 1) } {
        let _ = crate::raw::guard(|| {
            // In use only by a function that is running, and finalizers do not run inside of its work.
            let value = slot.value.try_borrow_mut().ok().and_then(|mut it| it.take());
            drop(value);
            Ok(())
        });
    }
    0
}
