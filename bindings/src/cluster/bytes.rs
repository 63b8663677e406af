//! Bytes that a cluster function was given, and strings and blocks made of them.
//!
//! They come as a Lua string or as a block in hand. While strings are made Lua may run finalizers, which are Lua code; so a block is
//! read under [`Hand::begin_reading`](crate::hand::Hand::begin_reading), and stays.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::slice;

use skein_arena::{Block, Header, copy};
use skein_vm::external;
use skein_vm::walk::{self, Value};

use super::wire::{Head, LONGEST};
use crate::raw::{Raise, check_bytes, ffi, guard, lua_State, raise};
use crate::state::ServiceState;

/// Frames up to this size are put together on the stack and copied by Lua. Larger ones are blocks, and strings that show them.
const SMALL: usize = 1024;

/// From this size on a block is referred to instead of copied.
const WORTHWHILE: usize = 1024;

/// Bytes that a function was given.
#[derive(Clone, Copy)]
pub(super) struct Given {
    first: *const u8,
    len: usize,
    from: From,
}

#[derive(Clone, Copy)]
enum From {
    /// A string in an argument slot; the header of the block that it shows, if it does.
    Text(Option<NonNull<Header>>),
    /// A block in hand.
    Hand { address: usize, before: u32 },
}

impl Given {
    /// Arguments `index` and the one behind it: a string, or a pointer and a size. [`Given::done`] ends it.
    ///
    /// # Safety
    /// As for [`raise`]. The bytes are good while the argument keeps its slot.
    pub(super) unsafe fn check(state: *mut lua_State, service: &ServiceState, index: c_int) -> Given {
        // SAFETY: by the caller's promise; a number becomes a string in its slot.
        unsafe {
            let text = match walk::slot(state, index) {
                Value::Pointer(address) => {
                    let size = ffi::luaL_checkinteger(state, index + 1);
                    return Given::hold(state, service, address, size);
                }
                Value::String(text) => text,
                _ => check_bytes(state, index),
            };
            // Of a short one nobody asks.
            let owner = if text.len() < WORTHWHILE { None } else { external::owner(state, index) };
            Given { first: text.as_ptr(), len: text.len(), from: From::Text(owner) }
        }
    }

    /// The block at `address` in hand.
    ///
    /// # Safety
    /// As for [`raise`].
    pub(super) unsafe fn hold(
        state: *mut lua_State,
        service: &ServiceState,
        address: usize,
        size: i64,
    ) -> Given {
        match guard(|| Ok(service.hand.look(address, size)?)) {
            Ok((first, len)) => {
                let before = service.hand.begin_reading();
                Given { first, len, from: From::Hand { address, before } }
            }
            // SAFETY: by the caller's promise.
            Err(error) => unsafe { raise(state, error) },
        }
    }

    /// The bytes.
    ///
    /// # Safety
    /// They are still given: the argument is in its slot, and [`Given::done`] was not called.
    pub(super) unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: a string keeps its bytes, the hand its block.
        unsafe { slice::from_raw_parts(self.first, self.len) }
    }

    /// How many they are.
    pub(super) fn len(self) -> usize {
        self.len
    }

    /// They are not looked at any more.
    pub(super) fn done(self, service: &ServiceState) {
        if let From::Hand { before, .. } = self.from {
            service.hand.end_reading(before);
        }
    }

    /// A block of some of the bytes: a reference to theirs if they end a block, or a copy.
    ///
    /// # Errors
    /// The arena is full.
    ///
    /// # Safety
    /// `part` lies in the bytes, which are still given.
    pub(super) unsafe fn block(self, service: &ServiceState, part: &[u8]) -> Result<Block, Raise> {
        let owner = match self.from {
            _ if part.len() < WORTHWHILE => None,
            From::Text(owner) => owner,
            From::Hand { address, .. } => service.hand.lend(address, part.as_ptr(), part.len()),
        };
        let Some(owner) = owner else {
            if matches!(self.from, From::Text(_)) {
                service.ctx.add_copied_in(part.len());
            }
            return Ok(service.arena.copy_from(part)?);
        };
        // SAFETY: the string, or the hand, is an owner.
        let payload = unsafe { external::payload(owner) };
        let start = part.as_ptr().addr() - payload.as_ptr().addr();
        Ok(service.arena.forward_part(payload, start, part.len())?)
    }
}

/// Pushes a block that was just made as a string: it shows the block if that is worth it.
///
/// # Safety
/// As for [`raise`], with two free slots. `made` is plain when this is called: the block is in hand.
unsafe fn push_given(state: *mut lua_State, service: &ServiceState, at: *const u8, len: usize) {
    // Lending can't fail: at worst the bytes are copied.
    let owner = guard(|| Ok(service.hand.lend(at.addr(), at, len))).ok().flatten();
    // SAFETY: the hand is an owner until we discard the block, and nobody else knows its address. If the push raises, it is freed with the
    // state.
    unsafe {
        match owner {
            Some(owner) => external::push(state, owner, at, len),
            None => _ = ffi::lua_pushlstring(state, at.cast(), len),
        }
    }
    let _ = guard(|| Ok(service.hand.discard(at.addr())?));
}

/// Pushes the string of `head` and `body`.
///
/// # Safety
/// As for [`raise`], with two free slots; `body` stays while Lua runs finalizers.
pub(super) unsafe fn push_frame(state: *mut lua_State, service: &ServiceState, head: &Head, body: &[u8]) {
    let head = head.as_slice();
    let len = head.len() + body.len();
    service.count_out(body.len());
    if len <= SMALL {
        let mut frame = [MaybeUninit::<u8>::uninit(); SMALL];
        frame[..head.len()].write_copy_of_slice(head);
        frame[head.len()..len].write_copy_of_slice(body);
        // SAFETY: `len` bytes were written; Lua copies them.
        unsafe { ffi::lua_pushlstring(state, frame.as_ptr().cast(), len) };
        return;
    }
    let made = guard(|| {
        let mut block = service.arena.alloc(len)?;
        let bytes = block.bytes_mut().expect("a new block has bytes");
        bytes[..head.len()].copy_from_slice(head);
        copy(&mut bytes[head.len()..], body);
        Ok(service.hand.give(block))
    });
    // SAFETY: only plain data is left.
    unsafe {
        match made {
            Ok(at) => push_given(state, service, at, len),
            Err(error) => raise(state, error),
        }
    }
}

/// Pushes some bytes of a string as a string.
///
/// # Safety
/// As for [`raise`], with two free slots; `part` lies in the string at `index`, which stays there.
pub(super) unsafe fn push_part(state: *mut lua_State, service: &ServiceState, index: c_int, part: &[u8]) {
    // SAFETY: by the caller's promise.
    unsafe {
        if part.len() >= WORTHWHILE
            && let Some(owner) = external::owner(state, index)
        {
            let whole = guard(|| {
                let payload = external::payload(owner);
                let end = payload.as_ptr().addr() + payload.len();
                Ok(end == part.as_ptr().addr() + part.len() && external::is_worth(&payload, part.len()))
            });
            if matches!(whole, Ok(true)) {
                return external::push(state, owner, part.as_ptr(), part.len());
            }
        }
        external::push_copy(state, part);
    }
    service.count_out(part.len());
}

/// Pushes the block at `address` in hand, cut to `size` bytes, as a string, and frees it.
///
/// # Safety
/// As for [`raise`], with two free slots.
pub(super) unsafe fn push_taken(state: *mut lua_State, service: &ServiceState, address: usize, size: i64) {
    // SAFETY: by the caller's promise.
    unsafe {
        let given = Given::hold(state, service, address, size);
        let bytes = given.bytes();
        let owner = guard(|| Ok(service.hand.lend(address, bytes.as_ptr(), bytes.len()))).ok().flatten();
        match owner {
            Some(owner) => external::push(state, owner, bytes.as_ptr(), bytes.len()),
            None => {
                ffi::lua_pushlstring(state, bytes.as_ptr().cast(), bytes.len());
                service.count_out(bytes.len());
            }
        }
        given.done(service);
        // A finalizer may have been faster.
        let _ = guard(|| Ok(service.hand.discard(address)?));
    }
}

const _: () = assert!(LONGEST < SMALL);
