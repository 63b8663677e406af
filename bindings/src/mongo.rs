//! `skynet.mongo.driver`: the framing of MongoDB's wire protocol, of which only `OP_MSG` is left.
//!
//! A message is `length: i32, request: i32, response to: i32, 2013: i32, flags: u32, 0: u8, document`, little-endian; the length
//! counts itself. A reply has one document and no checksum.
//!
//! # From skynet
//! lua-mongo.c: `op_msg`, `op_reply`, `reply_length` → the functions here.

use std::ffi::{CStr, c_int};
use std::slice;

use crate::bson::{self, Kit, document};
use crate::raw::{Raise, check_bytes, ffi, lua_State, push_filled, raise, raise_argument};

const OP_MSG: i32 = 2013;
/// Bytes in front of the document; in a reply that was cut off its length, four fewer.
const HEAD: usize = 21;

const CHECKSUM_PRESENT: u32 = 1;
const MORE_TO_COME: u32 = 2;

const FUNCTIONS: [(&CStr, ffi::lua_CFunction); 3] =
    [(c"op_msg", op_msg), (c"reply", reply), (c"length", length)];

/// `luaopen_skynet_mongo_driver`: pushes the module's table.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` with 20 free slots; nothing with a destructor is alive.
    unsafe {
        bson::push_kit(state);
        ffi::lua_createtable(state, 0, FUNCTIONS.len() as c_int);
        bson::register(state, -2, &FUNCTIONS);
    }
    1
}

/// `driver.op_msg(request: integer, flags: integer, document: userdata): string`.
unsafe extern "C-unwind" fn op_msg(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`, and the function has the kit as upvalue; only plain data lives when something raises.
    unsafe {
        let request = ffi::luaL_checkinteger(state, 1) as i32;
        let flags = ffi::luaL_checkinteger(state, 2) as u32;
        ffi::lua_settop(state, 3);
        if ffi::lua_touserdata(state, 3).is_null() {
            return ffi::luaL_error(state, c"opmsg require cmd document".as_ptr());
        }
        let kit = Kit::of(state);
        // The string is made before the reading ends: making room may run finalizers.
        let reading = kit.begin_reading();
        let (first, len) = match document::whole(state, kit, 3) {
            Ok(found) => found,
            Err(error) => raise(state, error),
        };
        let answers = push_filled(state, HEAD + len, |message| {
            let document = slice::from_raw_parts(first, len);
            let (head, body) = message.split_at_mut(HEAD);
            let total = i32::try_from(HEAD + len).map_err(|_| Raise::new("a message of 2 GiB or more"))?;
            head[..4].copy_from_slice(&total.to_le_bytes());
            head[4..8].copy_from_slice(&request.to_le_bytes());
            head[12..16].copy_from_slice(&OP_MSG.to_le_bytes());
            head[16..20].copy_from_slice(&flags.to_le_bytes());
            body.copy_from_slice(document);
            Ok(HEAD + len)
        });
        kit.end_reading(reading);
        answers
    }
}

/// `driver.length(head: string): integer`: how many bytes follow these four.
unsafe extern "C-unwind" fn length(state: *mut lua_State) -> c_int {
    // SAFETY: as in `op_msg`.
    unsafe {
        match check_bytes(state, 1).first_chunk() {
            Some(head) => ffi::lua_pushinteger(state, i64::from(i32::from_le_bytes(*head)) - 4),
            None => raise_argument(state, 1, Raise::new("4 bytes expected")),
        }
    }
    1
}

/// `driver.reply(message: string): boolean, integer, userdata`: whether it is one, which request it answers, and its document,
/// which keeps the string.
unsafe extern "C-unwind" fn reply(state: *mut lua_State) -> c_int {
    // SAFETY: as in `op_msg`; the string is in slot 1.
    unsafe {
        let message = check_bytes(state, 1);
        let word = |at: usize| {
            message.get(at..).and_then(|rest| rest.first_chunk()).map(|it| i32::from_le_bytes(*it))
        };
        let (Some(response_to), Some(opcode), Some(flags)) = (word(4), word(8), word(12)) else {
            ffi::lua_pushboolean(state, 0);
            return 1;
        };
        if opcode != OP_MSG {
            raise(state, Raise::new(format_args!("Unsupported opcode:{opcode}")));
        }
        match flags as u32 {
            0 | MORE_TO_COME => {}
            flags if flags & CHECKSUM_PRESENT != 0 => {
                raise(state, Raise::new("Unsupported OP_MSG flag checksumPresent"))
            }
            flags => raise(state, Raise::new(format_args!("Unsupported OP_MSG flag:{flags}"))),
        }
        let offset = HEAD - 4;
        match message.get(offset - 1) {
            Some(0) => {}
            Some(kind) => raise(state, Raise::new(format_args!("Unsupported OP_MSG payload type: {kind}"))),
            None => raise(state, Raise::new("Unsupported OP_MSG reply: no section")),
        }
        let len = message.len() - offset;
        if word(offset).map(i64::from) != Some(len as i64) {
            raise(state, Raise::new("Unsupported OP_MSG reply: >1 section"));
        }
        ffi::lua_settop(state, 1);
        ffi::lua_pushboolean(state, 1);
        ffi::lua_pushinteger(state, i64::from(response_to));
        document::push_view(state, Kit::of(state), 1, offset, len);
    }
    3
}
