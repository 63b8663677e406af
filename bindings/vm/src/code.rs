//! Memory of frozen code: one growing piece of the process's own, in the last part of the arena's range.
//!
//! Prototypes and their strings are laid down one behind the other and never move or go: functions of any state point
//! there. The pages are read-only but while something is added, so that a stray write faults instead of changing what
//! all services run; the page that holds the end of the last piece is opened again for the next one, which readers do
//! not notice. Two changes of rights a file are lost in the time it takes to compile it.
//!
//! # Invariants
//! * **F1** Bytes below `used` are complete and never written again. Whoever gets a pointer to them got it from under
//!   the lock, or from the table of names, which publishes (`csrc/names.c`).
//! * **F2** Only the owner of the lock makes pages writable, and they are read-only again before the lock is free.
//!
//! # From skynet
//! The shared prototypes of its patched Lua (`lua_clonefunction`, `luaS_shareexternal`, shared short strings).

use std::ffi::c_void;
use std::sync::Mutex;
use std::{ptr, slice};

use skein_arena::range;

use crate::ffi::lua_State;
use crate::shared::Target;

/// The whole part, when the range could be reserved as it is.
const ALL: usize = 1 << range::HEAP_BITS;
/// Under a limit on address space the range ends below [`range::CODE`], and so much is taken there.
const SOME: usize = 64 << 20;

// `csrc/shr.h` has this number again.
const _: () = assert!(range::CODE == range::BASE + (1 << range::BITS) - (1 << (range::BITS - 9)));

unsafe extern "C-unwind" {
    fn skein_code_size(prototype: *const c_void) -> usize;
    fn skein_code_freeze(prototype: *const c_void, target: *mut Target);
    fn skein_names_size(state: *mut lua_State) -> usize;
    fn skein_names_freeze(state: *mut lua_State, target: *mut Target);
}

#[derive(Default)]
struct Region {
    /// Bytes that may be used; zero before the first piece, or if there is no room at all.
    size: usize,
    used: usize,
    refused: bool,
}

/// What [`common`] laid down: addresses and sizes.
static COMMON: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

static REGION: Mutex<Region> = Mutex::new(Region { size: 0, used: 0, refused: false });

/// A frozen prototype, and what it took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frozen {
    /// Address of the prototype.
    pub root: usize,
    /// New bytes, strings included that nobody had before.
    pub bytes: usize,
}

/// Freezes a prototype of a state and all it reaches; `None` if there is no room.
///
/// # Safety
///
/// `prototype` belongs to a live state that nobody else runs now.
pub(crate) unsafe fn freeze(prototype: *const c_void) -> Option<Frozen> {
    // SAFETY: promised by the caller; reads only.
    let room = unsafe { skein_code_size(prototype) };
    // SAFETY: as above; the freezer does not raise, and takes at most the room that it asked for.
    add(room, |target| unsafe { skein_code_freeze(prototype, target) })
}

/// Freezes all short strings of a state, for states to come. The first one of the process has the names that all have.
///
/// # Safety
///
/// `state` is live, and nobody runs it now.
pub(crate) unsafe fn freeze_names(state: *mut lua_State) {
    // SAFETY: promised by the caller.
    let room = unsafe { skein_names_size(state) };
    // SAFETY: as in `freeze`.
    add(room, |target| unsafe { skein_names_freeze(state, target) });
}

/// Bytes that look the same to everybody: where they are. `None` if there is no room.
pub(crate) fn common(bytes: &[u8]) -> Option<*const c_void> {
    let mut known = COMMON.lock().unwrap_or_else(|broken| broken.into_inner());
    // SAFETY: places on the list are complete, and stay as they are (F1).
    let same = |&&(at, size): &&(usize, usize)| unsafe {
        slice::from_raw_parts(ptr::with_exposed_provenance::<u8>(at), size) == bytes
    };
    if let Some(&(at, _)) = known.iter().find(same) {
        return Some(ptr::with_exposed_provenance(at));
    }
    let room = bytes.len().next_multiple_of(16);
    let frozen = add(room, |target| {
        // SAFETY: `add` made so much room, for us alone.
        unsafe {
            let at = (*target).cur;
            at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            (*target).root = at.cast();
            (*target).cur = at.add(room);
        }
    })?;
    known.push((frozen.root, bytes.len()));
    Some(ptr::with_exposed_provenance(frozen.root))
}

/// Lets `fill` lay something down in at most `room` bytes.
fn add(room: usize, fill: impl FnOnce(*mut Target)) -> Option<Frozen> {
    let mut region = REGION.lock().unwrap_or_else(|broken| broken.into_inner());
    region.open();
    if room > region.size - region.used {
        return None;
    }
    let first = region.used & !(page_size() - 1);
    let size = (region.used + room).next_multiple_of(page_size()) - first;
    if !protect(first, size, libc::PROT_READ | libc::PROT_WRITE) {
        return None;
    }
    let cur = at(region.used);
    let mut target = Target::new(cur, at(region.used + room));
    fill(&raw mut target);
    region.used = target.cur.addr() - range::CODE;
    // Rights that cannot be taken back would only mean that a stray write is not caught.
    protect(first, size, libc::PROT_READ);
    Some(Frozen { root: target.root.addr(), bytes: target.cur.addr() - cur.addr() })
}

impl Region {
    /// Finds out once how much room there is.
    fn open(&mut self) {
        if self.size > 0 || self.refused {
            return;
        }
        match range::reserve() {
            Ok(reserved) if reserved == 1 << range::BITS => self.size = ALL,
            // The range ends below: these addresses are free, unless somebody was there before us.
            Ok(_) if map_some() => self.size = SOME,
            _ => self.refused = true,
        }
    }
}

fn map_some() -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: nothing is mapped over.
    let got = unsafe { libc::mmap(at(0).cast(), SOME, libc::PROT_NONE, flags, -1, 0) };
    got == at(0).cast()
}

fn at(offset: usize) -> *mut u8 {
    ptr::with_exposed_provenance_mut(range::CODE + offset)
}

fn protect(first: usize, size: usize, rights: i32) -> bool {
    // SAFETY: pages of the part that is ours alone; readers keep the right to read.
    unsafe { libc::mprotect(at(first).cast(), size, rights) == 0 }
}

fn page_size() -> usize {
    // SAFETY: no preconditions.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}
