//! What the machine asks of Rust: the other side of `csrc/host.h`.
//!
//! Called from C frames in the middle of Lua calls: nothing here calls Lua, and no panic leaves.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{ptr, slice};

use skein_arena::copy_raw;

use crate::ffi::lua_State;
use crate::{cache, code, embedded, seed};

/// Hands `found` out through the two places, and says whether there was something.
///
/// # Safety
///
/// `data` and `size` may be written.
unsafe fn answer(found: Option<&'static [u8]>, data: *mut *const c_char, size: *mut usize) -> c_int {
    let Some(bytes) = found else { return 0 };
    // SAFETY: promised by the caller.
    unsafe {
        data.write(bytes.as_ptr().cast());
        size.write(bytes.len());
    }
    1
}

#[unsafe(no_mangle)]
extern "C" fn skein_vm_seed() -> c_uint {
    // An abort is right if there are no random numbers: no state could be made.
    seed::get()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn skein_vm_embedded(
    name: *const c_char,
    data: *mut *const c_char,
    size: *mut usize,
) -> c_int {
    // SAFETY: the machine hands us a terminated name, which stays put until we return.
    let name = unsafe { CStr::from_ptr(name) };
    let found = catch_unwind(|| embedded::find(name.to_bytes())).unwrap_or(None);
    // SAFETY: two locals of the C function that called.
    unsafe { answer(found, data, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn skein_vm_code(name: *const c_char) -> *const c_void {
    // SAFETY: as in `skein_vm_embedded`.
    let name = unsafe { CStr::from_ptr(name) };
    catch_unwind(|| cache::code(name.to_bytes())).unwrap_or(None).unwrap_or(ptr::null())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn skein_vm_keep(name: *const c_char, prototype: *const c_void) -> *const c_void {
    // SAFETY: as in `skein_vm_embedded`.
    let name = unsafe { CStr::from_ptr(name) };
    // SAFETY: the prototype of a function on the stack of the state that called.
    let kept = catch_unwind(AssertUnwindSafe(|| unsafe { cache::keep(name.to_bytes(), prototype) }));
    // Code that is not kept is compiled again.
    kept.unwrap_or(None).unwrap_or(ptr::null())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn skein_vm_common(bytes: *const c_void, size: usize) -> *const c_void {
    // SAFETY: the machine hands us so many bytes of its own, which stay put until we return.
    let bytes = unsafe { slice::from_raw_parts(bytes.cast::<u8>(), size) };
    catch_unwind(|| code::common(bytes)).unwrap_or(None).unwrap_or(ptr::null())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn skein_vm_prime(state: *mut lua_State) {
    // SAFETY: the machine makes this state before any other, and waits for us.
    let _ = catch_unwind(AssertUnwindSafe(|| unsafe { code::freeze_names(state) }));
}

#[unsafe(no_mangle)]
unsafe extern "C" fn skein_vm_copy(to: *mut c_void, from: *const c_void, size: usize) {
    // SAFETY: as for `memcpy`, which the machine would have called.
    unsafe { copy_raw(to.cast(), from.cast(), size) };
}
