//! Small frames: arguments of the usual types, looked at in one call, and a string whose bytes are written where Lua has them. Whatever
//! is not as usual, errors too, is left to the general way.

use skein_vm::external;
use skein_vm::walk::{Slots, Value};

use super::next_session;
use super::wire::{self, RESPONSE, To, Want};
use crate::raw::{ffi, guard, lua_State};
use crate::state::ServiceState;

/// Larger payloads go the general way.
const LARGEST: usize = 1000;

/// Frames of a request and the next session: of `packrequest` and `packpush`. False: nothing was done, nothing is pushed.
///
/// # Safety
/// `state` runs a C function that was given those arguments; nothing with a destructor is alive.
#[inline(always)]
pub(super) unsafe fn push_request(state: *mut lua_State, service: &ServiceState, want: Want) -> bool {
    // SAFETY: by the caller's promise; arguments stay in their slots.
    unsafe {
        let slots = Slots::<4>::look(state, 1, 4);
        let to = match slots.value(0) {
            Value::Integer(number) => To::Number(number as u32),
            Value::String(name) if (1..=255).contains(&name.len()) => To::Name(name),
            _ => return false,
        };
        let (Value::Integer(session), Value::Pointer(address), Value::Integer(size)) =
            (slots.value(1), slots.value(2), slots.value(3))
        else {
            return false;
        };
        let session = session as i32;
        let head = wire::small_request_len(to);
        let len = match usize::try_from(size) {
            Ok(size) if size <= LARGEST && head + size > external::SHORT => head + size,
            _ => return false,
        };
        if session <= 0 {
            return false;
        }
        let (front, body) = external::push_blank(state, len).split_at_mut(head);
        let written = guard(|| {
            Ok(service.hand.spend(address, body.len(), |bytes| {
                wire::write_small_request(front, to, session as u32, want, body.len());
                body.write_copy_of_slice(bytes);
            }))
        });
        if !matches!(written, Ok(Some(()))) {
            ffi::lua_settop(state, -2);
            return false;
        }
        service.count_out(body.len());
        ffi::lua_pushinteger(state, i64::from(next_session(session as u32)));
        external::pay(state);
        true
    }
}

/// The frame of a response that went well: of `packresponse`. False: nothing was done, nothing is pushed.
///
/// # Safety
/// As for [`push_request`].
#[inline(always)]
pub(super) unsafe fn push_response(state: *mut lua_State, service: &ServiceState) -> bool {
    // SAFETY: by the caller's promise; the data stay in their slot.
    unsafe {
        let slots = Slots::<3>::look(state, 1, 3);
        let (Value::Integer(session), Value::String(data)) = (slots.value(0), slots.value(2)) else {
            return false;
        };
        let len = RESPONSE + data.len();
        let failed = matches!(slots.value(1), Value::Nil | Value::Boolean(false));
        if failed || data.len() > LARGEST || len <= external::SHORT {
            return false;
        }
        let (front, body) = external::push_blank(state, len).split_at_mut(RESPONSE);
        front.write_copy_of_slice(&wire::whole_response(session as u32, data.len()));
        body.write_copy_of_slice(data);
        service.count_out(data.len());
        external::pay(state);
        true
    }
}
