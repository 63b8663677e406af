//! Memory that C modules made and Lua gives on: a pointer and a size that no message of ours has.
//!
//! In skynet that is any pointer at all. Here it is accepted only when an object of somebody else was loaded, and when it is
//! the beginning of a large enough piece of memory that our `malloc` family gave out and that no message holds already.
//! A program without C modules has no such pointers: for it every one that is not in hand is an error, as before.

use std::collections::HashSet;
use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::{Mutex, MutexGuard, OnceLock};

use skein_arena::{Arena, Block, range};

use super::malloc;

/// Memory that messages hold, by address.
static TAKEN: Mutex<Option<HashSet<usize>>> = Mutex::new(None);

/// How many objects had been loaded when the first node was made.
static BEFORE: OnceLock<u64> = OnceLock::new();

unsafe extern "C" {
    fn free(memory: *mut c_void);
}

/// Whether `size` bytes at `address` may be memory of a C module.
pub(crate) fn is_foreign(address: usize, size: usize) -> bool {
    !range::contains(ptr::without_provenance(address))
        && objects_loaded() > *BEFORE.get().unwrap_or(&u64::MAX)
        && malloc::is_allocated(address, size)
        && !taken().get_or_insert_default().contains(&address)
}

/// A message out of memory of a C module. `None`: it is none, or the arena has no room.
pub(crate) fn take(arena: Arena, address: usize, size: usize) -> Option<Block> {
    let at = NonNull::new(ptr::with_exposed_provenance_mut::<u8>(address))?;
    if !is_foreign(address, size) {
        return None;
    }
    // SAFETY: as far as anybody can tell it is memory of our family that nobody else gives away. Its bytes are C's to have
    // initialised.
    let block = unsafe { arena.foreign(at, size, give_up) }.ok()?;
    taken().get_or_insert_default().insert(address);
    Some(block)
}

/// Frees memory of a C module. Whether it was.
pub(crate) fn discard(address: usize) -> bool {
    let foreign = is_foreign(address, 0);
    if foreign {
        // SAFETY: as in `take`.
        unsafe { free(ptr::with_exposed_provenance_mut(address)) };
    }
    foreign
}

/// Takes note of what is loaded before anybody's C modules are.
pub(super) fn begin() {
    BEFORE.get_or_init(objects_loaded);
}

/// # Safety
/// As `free`.
unsafe fn give_up(at: NonNull<u8>, _: usize) {
    taken().get_or_insert_default().remove(&at.addr().get());
    // SAFETY: by the caller's promise.
    unsafe { free(at.as_ptr().cast()) }
}

/// How many objects this process has loaded in its life.
fn objects_loaded() -> u64 {
    unsafe extern "C" fn first(info: *mut libc::dl_phdr_info, _: usize, count: *mut c_void) -> c_int {
        // SAFETY: the loader gives us its record, and below we give our counter.
        unsafe { *count.cast::<u64>() = (*info).dlpi_adds };
        1
    }
    let mut count = 0u64;
    // SAFETY: the function has the type, and its argument lives.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut count).cast()) };
    count
}

fn taken() -> MutexGuard<'static, Option<HashSet<usize>>> {
    // Nothing between lock and unlock can leave the set half changed.
    TAKEN.lock().unwrap_or_else(|it| it.into_inner())
}
