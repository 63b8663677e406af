//! Compiled chunks, kept for the whole process under the name of their file.
//!
//! A service is a state of its own, and all of them load the same files: each is read and compiled once. What is kept
//! is the machine's own binary form, debug information included; a state loads it *in place*, so code and long strings
//! exist once.
//!
//! # Invariants
//! * **C1** Bytes handed out are never freed or changed: functions of any state may point into them. [`clear`] forgets
//!   names, not bytes. [`Stats::forgotten`] says what that has cost.
//! * **C2** A name keeps its first chunk until [`clear`]; two states that compile at once both run, one is kept.
//!
//! # From skynet
//! lauxlib.c: `codecache`, `cache_key`/`load`/`save` → `chunk`, `keep`; `cache_mode` → [`Mode`].

use std::collections::HashMap;
use std::ffi::c_int;
use std::sync::RwLock;

use crate::ffi::lua_State;

/// What a state does with the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i32)]
pub enum Mode {
    /// Uses kept chunks, and keeps what it compiles.
    #[default]
    On = 0,
    /// Does without.
    Off = 1,
    /// Uses kept chunks, and never adds one.
    Exist = 2,
}

/// What the cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Chunks that can be found.
    pub chunks: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Bytes of chunks that were forgotten, and stay for the functions that point into them.
    pub forgotten: usize,
}

/// Sixteen bytes at a time: the machine finds code in place at its natural alignment.
type Line = u128;

#[derive(Clone, Copy)]
struct Chunk {
    lines: &'static [Line],
    size: usize,
}

#[derive(Default)]
struct Cache {
    chunks: HashMap<Box<[u8]>, Chunk>,
    bytes: usize,
    forgotten: usize,
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
    if let Some(cache) = cache.as_mut() {
        cache.forgotten += cache.bytes;
        cache.bytes = 0;
        cache.chunks.clear();
    }
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

/// The chunk kept for `name`.
pub(crate) fn chunk(name: &[u8]) -> Option<&'static [u8]> {
    let cache = CACHE.read().unwrap_or_else(|broken| broken.into_inner());
    let Chunk { lines, size } = *cache.as_ref()?.chunks.get(name)?;
    // SAFETY: `keep` put `size` bytes there, and nobody writes them again (C1).
    Some(unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), size) })
}

/// Keeps a copy of `bytes` for `name`, unless it has a chunk (C2).
pub(crate) fn keep(name: &[u8], bytes: &[u8]) {
    let mut cache = CACHE.write().unwrap_or_else(|broken| broken.into_inner());
    let cache = cache.get_or_insert_default();
    if cache.chunks.contains_key(name) {
        return;
    }
    let mut lines = vec![0; bytes.len().div_ceil(size_of::<Line>())];
    for (line, part) in lines.iter_mut().zip(bytes.chunks(size_of::<Line>())) {
        let mut whole = [0; size_of::<Line>()];
        whole[..part.len()].copy_from_slice(part);
        *line = Line::from_ne_bytes(whole);
    }
    cache.bytes += bytes.len();
    cache.chunks.insert(name.into(), Chunk { lines: Box::leak(lines.into_boxed_slice()), size: bytes.len() });
}
