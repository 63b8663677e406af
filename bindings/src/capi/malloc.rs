//! One allocator on both sides: the `malloc` family of the process, for C objects and ourselves.
//!
//! skynet's macros (`skynet_malloc`, `skynet_free`) are plain `malloc` and `free`, and objects built for it free with them what
//! the host gives them. So the process's family is ours: mimalloc's, and a `free` that knows the bodies of messages, which
//! lie in the arena's range. In skynet too the family is one of its own.
//!
//! Nothing here may allocate by itself, but on the path where somebody is wrong.
//!
//! # From skynet
//! malloc_hook.c: the functions of the same names.

use std::ffi::{c_int, c_void};
use std::ptr;

use libmimalloc_sys as mi;
use skein_arena::{Arena, range};

use super::{node, running};

/// The size that `valloc` and `pvalloc` align to.
const PAGE: usize = 4096;
const EINVAL: c_int = 22;
const ENOMEM: c_int = 12;

/// Whether memory of C objects may be at `address`, `size` bytes of it: it is in a heap of ours, begins where blocks begin, and
/// is as large. That it is still theirs nobody can tell.
pub(super) fn is_allocated(address: usize, size: usize) -> bool {
    let at = ptr::with_exposed_provenance::<c_void>(address);
    // SAFETY: the first accepts any address; the second those of its heaps.
    address.is_multiple_of(size_of::<usize>())
        && unsafe { mi::mi_is_in_heap_region(at) && mi::mi_usable_size(at) >= size.max(1) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    // SAFETY: any size is fine.
    unsafe { mi::mi_malloc(size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    // SAFETY: any sizes are fine: their product is checked.
    unsafe { mi::mi_calloc(count, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn free(memory: *mut c_void) {
    if range::contains(memory.cast()) {
        return free_body(memory);
    }
    // SAFETY: what is not the arena's came from this family, by C's contract.
    unsafe { mi::mi_free(memory) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cfree(memory: *mut c_void) {
    // SAFETY: as `free`.
    unsafe { free(memory) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(memory: *mut c_void, size: usize) -> *mut c_void {
    if range::contains(memory.cast()) {
        // SAFETY: a body, by C's contract.
        return unsafe { move_body(memory, size) };
    }
    // SAFETY: as `free`.
    unsafe { mi::mi_realloc(memory, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn reallocarray(memory: *mut c_void, count: usize, size: usize) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: as `free`.
        Some(bytes) => unsafe { realloc(memory, bytes) },
        None => ptr::null_mut(),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(memory: *mut *mut c_void, align: usize, size: usize) -> c_int {
    if !align.is_power_of_two() || !align.is_multiple_of(size_of::<*mut c_void>()) {
        return EINVAL;
    }
    // SAFETY: the alignment is a power of two, and the caller's pointer may be written.
    unsafe {
        let at = mi::mi_malloc_aligned(size, align);
        if at.is_null() {
            return ENOMEM;
        }
        *memory = at;
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    if !align.is_power_of_two() {
        return ptr::null_mut();
    }
    // SAFETY: the alignment is a power of two.
    unsafe { mi::mi_malloc_aligned(size, align) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memalign(align: usize, size: usize) -> *mut c_void {
    // SAFETY: as there.
    unsafe { aligned_alloc(align, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn valloc(size: usize) -> *mut c_void {
    // SAFETY: as there.
    unsafe { aligned_alloc(PAGE, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pvalloc(size: usize) -> *mut c_void {
    match size.checked_next_multiple_of(PAGE) {
        // SAFETY: as there.
        Some(size) => unsafe { aligned_alloc(PAGE, size) },
        None => ptr::null_mut(),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn malloc_usable_size(memory: *mut c_void) -> usize {
    if range::contains(memory.cast()) {
        return Arena::find(memory.cast()).map_or(0, |found| found.size);
    }
    // SAFETY: as `free`.
    unsafe { mi::mi_usable_size(memory) }
}

/// Gives back the free memory that mimalloc keeps for the calling thread.
///
/// It gives pages back by itself, some milliseconds after they became free, but only when it is used again, and each thread its
/// own only: without this, workers that went to sleep kept what killed services had held.
pub(super) fn give_back() {
    // SAFETY: may be called at any time.
    unsafe { mi::mi_collect(true) }
}

/// Frees the body of a message.
#[cold]
fn free_body(memory: *mut c_void) {
    if !running::discard(memory.addr())
        && let Some(node) = node()
    {
        let line = format!(
            "error: free({memory:p}): nobody here holds a message there: it was sent or freed before"
        );
        node.log(skein_runtime::Handle(super::exports::skynet_current_handle()), line.as_bytes());
    }
}

/// A body as memory of the family, of `size` bytes; the body is freed.
///
/// # Safety
/// `memory` is one that this thread's service or C code holds.
#[cold]
unsafe fn move_body(memory: *mut c_void, size: usize) -> *mut c_void {
    let Some(found) = Arena::find(memory.cast()) else {
        free_body(memory);
        return ptr::null_mut();
    };
    if size == 0 {
        free_body(memory);
        return ptr::null_mut();
    }
    // SAFETY: the new memory has `size` bytes, the body as many as its header says, by the caller's promise.
    unsafe {
        let copy = mi::mi_malloc(size);
        if !copy.is_null() {
            ptr::copy_nonoverlapping(memory.cast::<u8>(), copy.cast(), size.min(found.size));
            free_body(memory);
        }
        copy
    }
}

/// Makes the linker keep the family.
pub(super) fn keep() {
    let functions: [*const (); 12] = [
        malloc as _,
        calloc as _,
        free as _,
        cfree as _,
        realloc as _,
        reallocarray as _,
        posix_memalign as _,
        aligned_alloc as _,
        memalign as _,
        valloc as _,
        pvalloc as _,
        malloc_usable_size as _,
    ];
    std::hint::black_box(functions);
}
