//! Packing a few values without a table among them: most messages.
//!
//! How long they will be is counted first, so the block has just that size from the beginning: nothing grows, nothing is cut off, and
//! every store is as wide as what it stores.

use std::ffi::c_int;

use skein_arena::{Arena, Block, Error, copy_raw};
use skein_vm::ffi::lua_State;
use skein_vm::walk::{Slots, Value};

use super::{BOOLEAN, LONG_STRING, NIL, NUMBER, SHORT_STRING, head, number};

/// More values than this are packed the general way.
const FEW: usize = 8;

/// A string's type byte, and how many bytes of its length stand behind that; none for one that does not travel.
#[inline(always)]
fn string(len: usize) -> Option<(u8, usize)> {
    match len {
        0..32 => Some((head(SHORT_STRING, len as u8), 0)),
        32..0x1_0000 => Some((head(LONG_STRING, 2), 2)),
        0x1_0000..0x8000_0000 => Some((head(LONG_STRING, 4), 4)),
        _ => None,
    }
}

/// An integer's type byte, and how many of its bytes stand behind that.
#[inline(always)]
fn integer(value: i64) -> (u8, usize) {
    let (cookie, width) = match value {
        0 => (number::ZERO, 0),
        1..=0xff => (number::BYTE, 1),
        0x100..=0xffff => (number::WORD, 2),
        -0x8000_0000..=0x7fff_ffff => (number::DWORD, 4),
        _ => (number::QWORD, 8),
    };
    (head(NUMBER, cookie), width)
}

/// Bytes of a value; none for one that is packed the general way, or not at all.
#[inline(always)]
fn size_of(value: Value<'_>) -> Option<usize> {
    Some(match value {
        Value::Nil | Value::Boolean(_) => 1,
        Value::Integer(value) => 1 + integer(value).1,
        Value::Real(_) => 9,
        Value::String(bytes) => 1 + string(bytes.len())?.1 + bytes.len(),
        Value::Pointer(_) | Value::Table(_) | Value::Userdata(..) | Value::Other(_) => return None,
    })
}

/// Stores a type byte and the lowest `width` bytes of `bits`, and says where the next value goes.
///
/// # Safety
/// There is room for them.
#[inline(always)]
unsafe fn put(at: *mut u8, tag: u8, bits: u64, width: usize) -> *mut u8 {
    // SAFETY: by the caller's promise.
    unsafe {
        at.write(tag);
        let behind = at.add(1);
        match width {
            0 => {}
            1 => behind.write(bits as u8),
            2 => behind.cast::<[u8; 2]>().write((bits as u16).to_le_bytes()),
            4 => behind.cast::<[u8; 4]>().write((bits as u32).to_le_bytes()),
            _ => behind.cast::<[u8; 8]>().write(bits.to_le_bytes()),
        }
        behind.add(width)
    }
}

/// Packs the slots `first..=last` into a block; none, and nothing was done, if they have to be packed the general way.
///
/// # Errors
/// The arena has no room.
///
/// # Safety
/// `state` is valid, and `first..=last` are slots of the running C function.
#[inline]
pub(crate) unsafe fn pack(
    state: *mut lua_State,
    first: c_int,
    last: c_int,
    arena: Arena,
) -> Result<Option<Block>, Error> {
    let count = (last + 1 - first).max(0) as usize;
    if count > FEW {
        return Ok(None);
    }
    // SAFETY: by the caller's promise. No Lua code runs while the values are used, and nothing is allocated in the state.
    let slots = unsafe { Slots::<FEW>::look(state, first, count) };
    let mut size = 0;
    for at in 0..count {
        // SAFETY: as above.
        match size_of(unsafe { slots.value(at) }) {
            Some(more) => size += more,
            None => return Ok(None),
        }
    }
    let mut block = arena.alloc(size)?;
    let room = block.bytes_mut().expect("a new block has bytes");
    let mut next = room.as_mut_ptr();
    for at in 0..count {
        // SAFETY: as above; the sizes that were counted are what is stored. Strings lie in Lua's heap, or in a block that is somebody's,
        // never in ours.
        unsafe {
            next = match slots.value(at) {
                Value::Boolean(value) => put(next, head(BOOLEAN, u8::from(value)), 0, 0),
                Value::Integer(value) => {
                    let (tag, width) = integer(value);
                    put(next, tag, value as u64, width)
                }
                Value::Real(value) => put(next, head(NUMBER, number::REAL), value.to_bits(), 8),
                Value::String(bytes) => {
                    let Some((tag, width)) = string(bytes.len()) else { unreachable!("it was counted") };
                    let behind = put(next, tag, bytes.len() as u64, width);
                    copy_raw(behind, bytes.as_ptr(), bytes.len());
                    behind.add(bytes.len())
                }
                _ => put(next, NIL, 0, 0),
            };
        }
    }
    debug_assert_eq!(next.addr(), room.as_ptr().addr() + size, "what was counted was stored");
    Ok(Some(block))
}
