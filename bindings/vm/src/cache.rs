//! Code of files, compiled once and frozen for the whole process under the name of the file.
//!
//! A service is a state of its own, and all of them load the same files. The first load compiles the file in a state
//! made for that, and freezes the prototypes (`code.rs`); each load, the first one too, is a closure over them.
//! Where there is no room to freeze, a state compiles for itself.
//!
//! # Invariants
//! * **C1** Frozen code is never freed or changed: functions of any state point into it. [`clear`] forgets names, not
//!   code. [`Stats::forgotten`] says what that has cost.
//! * **C2** A name keeps its first code until [`clear`]; of two states that compile at once, both run what came first.
//!
//! # From skynet
//! lauxlib.c: `codecache`, `cache_key`/`load`/`save` → `code`, `keep`; `cache_mode` → [`Mode`].

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::RwLock;

use crate::code::{self, Frozen};
use crate::ffi::lua_State;

/// What a state does with the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i32)]
pub enum Mode {
    /// Uses kept code, and keeps what it compiles.
    #[default]
    On = 0,
    /// Does without.
    Off = 1,
    /// Uses kept code, and never adds any.
    Exist = 2,
}

/// What the cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Files whose code can be found.
    pub chunks: usize,
    /// What their code takes, without the strings that other code had before.
    pub bytes: usize,
    /// Bytes of code that was forgotten, and stays for the functions that point into it.
    pub forgotten: usize,
}

#[derive(Default)]
struct Cache {
    chunks: HashMap<Box<[u8]>, usize>,
    bytes: usize,
    forgotten: usize,
    clears: usize,
}

static CACHE: RwLock<Option<Cache>> = RwLock::new(None);

unsafe extern "C-unwind" {
    fn skein_cachemode(state: *mut lua_State) -> c_int;
    fn skein_setcachemode(state: *mut lua_State, mode: c_int);
}

/// The mode of a state.
///
/// # Safety
///
/// `state` is a live state with a free stack slot.
pub unsafe fn mode(state: *mut lua_State) -> Mode {
    // SAFETY: promised by the caller.
    match unsafe { skein_cachemode(state) } {
        1 => Mode::Off,
        2 => Mode::Exist,
        _ => Mode::On,
    }
}

/// Changes the mode of a state.
///
/// # Safety
///
/// `state` is a live state with two free stack slots. Lua's memory error may be raised: no destructor may be pending.
pub unsafe fn set_mode(state: *mut lua_State, mode: Mode) {
    // SAFETY: promised by the caller.
    unsafe { skein_setcachemode(state, mode as c_int) }
}

/// Forgets all names: the next load of a file reads it again.
pub fn clear() {
    let mut cache = CACHE.write().unwrap_or_else(|broken| broken.into_inner());
    let cache = cache.get_or_insert_default();
    cache.forgotten += cache.bytes;
    cache.bytes = 0;
    cache.chunks.clear();
    cache.clears += 1;
}

/// How often names were forgotten.
pub fn clears() -> usize {
    let cache = CACHE.read().unwrap_or_else(|broken| broken.into_inner());
    cache.as_ref().map_or(0, |cache| cache.clears)
}

/// What the cache holds now.
pub fn stats() -> Stats {
    let cache = CACHE.read().unwrap_or_else(|broken| broken.into_inner());
    cache.as_ref().map_or_else(Stats::default, |cache| Stats {
        chunks: cache.chunks.len(),
        bytes: cache.bytes,
        forgotten: cache.forgotten,
    })
}

/// The prototype kept for `name`.
pub(crate) fn code(name: &[u8]) -> Option<*const c_void> {
    let cache = CACHE.read().unwrap_or_else(|broken| broken.into_inner());
    cache.as_ref()?.chunks.get(name).map(|root| ptr::with_exposed_provenance(*root))
}

/// Freezes a prototype and keeps it for `name`, unless it has code (C2): what is kept then.
///
/// # Safety
///
/// `prototype` belongs to a live state that nobody else runs now.
pub(crate) unsafe fn keep(name: &[u8], prototype: *const c_void) -> Option<*const c_void> {
    let mut cache = CACHE.write().unwrap_or_else(|broken| broken.into_inner());
    let cache = cache.get_or_insert_default();
    if let Some(root) = cache.chunks.get(name) {
        return Some(ptr::with_exposed_provenance(*root));
    }
    // SAFETY: promised by the caller.
    let Frozen { root, bytes } = unsafe { code::freeze(prototype) }?;
    cache.bytes += bytes;
    cache.chunks.insert(name.into(), root);
    Some(ptr::with_exposed_provenance(root))
}
