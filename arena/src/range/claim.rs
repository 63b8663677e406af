//! Which heaps of the range this process uses, and for what.
//!
//! A heap number is a place in the range and can have one use: a private arena, our slot of a domain, or the view of a peer's
//! slot. Private arenas take number 0 first and then the highest that fit, since slots are taken from 1 upwards; should they
//! meet all the same, whoever comes second gets an error that says so.

use std::sync::PoisonError;

use super::{BASE, HEAP_BITS, HEAPS, ensure_reserved, heap_base};
use crate::{Error, sync::Mutex};

/// Whether each heap number is in use.
static CLAIMED: Mutex<[bool; HEAPS]> = Mutex::new([false; HEAPS]);

/// Bytes of the reserved range that belong to heap `index`: all of a heap's, or fewer at the end of a short range.
///
/// # Errors
/// The range cannot be reserved, or the heap does not lie in what could be.
pub(crate) fn room(index: usize) -> Result<usize, Error> {
    let reserved = ensure_reserved()?;
    let whole = 1 << HEAP_BITS;
    let room = (BASE + reserved).saturating_sub(heap_base(index)).min(whole);
    if index >= HEAPS || room == 0 {
        return Err(no_heap(reserved));
    }
    Ok(room)
}

fn no_heap(reserved: usize) -> Error {
    Error::NoHeap { heaps: reserved.div_ceil(1 << HEAP_BITS).min(HEAPS), reserved }
}

/// Takes heap number `index` for this process's use; whether it was free.
#[must_use]
pub(crate) fn claim(index: usize) -> bool {
    let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    !std::mem::replace(&mut claimed[index], true)
}

/// Takes a number for a private heap.
///
/// # Errors
/// As for [`room`]; no number is left.
pub(crate) fn claim_private() -> Result<usize, Error> {
    let reserved = ensure_reserved()?;
    let fit = reserved.div_ceil(1 << HEAP_BITS).min(HEAPS);
    std::iter::once(0).chain((1..fit).rev()).find(|&it| claim(it)).ok_or_else(|| no_heap(reserved))
}

/// Gives a number back. Its addresses are reserved and nothing else.
pub(crate) fn unclaim(index: usize) {
    CLAIMED.lock().unwrap_or_else(PoisonError::into_inner)[index] = false;
}
