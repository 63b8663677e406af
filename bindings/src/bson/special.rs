//! Values that Lua has no type for: strings of a NUL, a type and a payload.

use std::ffi::c_int;
use std::time::{SystemTime, UNIX_EPOCH};

use skein_arena::sync::atomic::{AtomicU32, Ordering};

use super::out::ty;
use crate::crypt::text::write_hex;
use crate::raw::{Raise, check_bytes, ffi, guard, lua_State, push_bytes, push_filled, raise, type_name};

/// Bytes of an object id, and those of its string.
const ID: usize = 12;
const TAGGED: usize = 2;

/// `bson.date(seconds: integer): string`.
pub(super) unsafe extern "C-unwind" fn date(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; only plain data lives when something raises. (So for all that follow.)
    unsafe {
        let seconds = ffi::luaL_checkinteger(state, 1) as u32;
        let [a, b, c, d] = seconds.to_le_bytes();
        push_bytes(state, Ok([0, ty::DATE, a, b, c, d]))
    }
}

/// `bson.timestamp(seconds: integer, increment: integer?): string`. Increments of a process count up.
pub(super) unsafe extern "C-unwind" fn timestamp(state: *mut lua_State) -> c_int {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // SAFETY: as in `date`.
    unsafe {
        let seconds = ffi::luaL_checkinteger(state, 1) as u32;
        let increment = if ffi::lua_isnoneornil(state, 2) != 0 {
            NEXT.fetch_add(1, Ordering::Relaxed)
        } else {
            ffi::luaL_checkinteger(state, 2) as u32
        };
        let mut stamp = [0; TAGGED + 8];
        stamp[1] = ty::TIMESTAMP;
        stamp[2..6].copy_from_slice(&increment.to_le_bytes());
        stamp[6..].copy_from_slice(&seconds.to_le_bytes());
        push_bytes(state, Ok(stamp))
    }
}

/// `bson.int64(n: integer): string`.
pub(super) unsafe extern "C-unwind" fn int64(state: *mut lua_State) -> c_int {
    // SAFETY: as in `date`.
    unsafe {
        let value = ffi::luaL_checkinteger(state, 1);
        let mut tagged = [0; TAGGED + 8];
        tagged[1] = ty::INT64;
        tagged[2..].copy_from_slice(&value.to_le_bytes());
        push_bytes(state, Ok(tagged))
    }
}

/// `bson.regex(pattern: string, options: string?): string`.
pub(super) unsafe extern "C-unwind" fn regex_of(state: *mut lua_State) -> c_int {
    // SAFETY: as in `date`.
    unsafe {
        let pattern = check_bytes(state, 1);
        let options = if ffi::lua_isnoneornil(state, 2) != 0 { &[] } else { check_bytes(state, 2) };
        if pattern.contains(&0) || options.contains(&0) {
            raise(state, Raise::new("Invalid regex"));
        }
        push_filled(state, TAGGED + pattern.len() + options.len() + 2, |text| {
            text[1] = ty::REGEX;
            text[TAGGED..][..pattern.len()].copy_from_slice(pattern);
            text[TAGGED + pattern.len() + 1..][..options.len()].copy_from_slice(options);
            Ok(text.len())
        })
    }
}

/// `bson.binary(bytes: string): string`, of subtype 0.
pub(super) unsafe extern "C-unwind" fn binary(state: *mut lua_State) -> c_int {
    // SAFETY: as in `date`.
    unsafe {
        let bytes = check_bytes(state, 1);
        push_filled(state, TAGGED + 1 + bytes.len(), |text| {
            text[1] = ty::BINARY;
            text[TAGGED + 1..].copy_from_slice(bytes);
            Ok(text.len())
        })
    }
}

/// `bson.objectid(hex: string?): string`: a new one, or the one that 24 digits spell.
pub(super) unsafe extern "C-unwind" fn objectid(state: *mut lua_State) -> c_int {
    // SAFETY: as in `date`.
    unsafe {
        if ffi::lua_isnoneornil(state, 1) != 0 {
            return push_bytes(state, guard(|| Ok(new_id())));
        }
        let text = check_bytes(state, 1);
        push_bytes(state, guard(|| parse_id(text)))
    }
}

/// Seconds, host, process, and a number that counts up.
fn new_id() -> [u8; TAGGED + ID] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let host = rustix::system::uname();
    // FNV-1a.
    let host = host
        .nodename()
        .to_bytes()
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let mut id = [0; TAGGED + ID];
    id[1] = ty::OBJECT_ID;
    id[2..6].copy_from_slice(&(now as u32).to_be_bytes());
    id[6..9].copy_from_slice(&host.to_le_bytes()[..3]);
    id[9..11].copy_from_slice(&(std::process::id() as u16).to_le_bytes());
    id[11..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes()[1..]);
    id
}

fn parse_id(text: &[u8]) -> Result<[u8; TAGGED + ID], Raise> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|it| it as u8);
    let mut id = [0; TAGGED + ID];
    id[1] = ty::OBJECT_ID;
    let parsed = text.len() == 2 * ID
        && id[TAGGED..].iter_mut().zip(text.chunks_exact(2)).all(|(byte, pair)| {
            let (high, low) = (digit(pair[0]), digit(pair[1]));
            *byte = high.unwrap_or(0) << 4 | low.unwrap_or(0);
            high.is_some() && low.is_some()
        });
    if parsed {
        return Ok(id);
    }
    let shown = String::from_utf8_lossy(&text[..text.len().min(64)]);
    Err(Raise::new(format_args!("Invalid objectid {shown}")))
}

/// Pattern and options of a regex: both end in a NUL, and there is no other.
pub(super) fn regex(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = payload.split(|byte| *byte == 0);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(pattern), Some(options), Some([]), None) => Some((pattern, options)),
        _ => None,
    }
}

/// `bson.type(value): string, ...`: the name of a type, and what there is to know of the value.
pub(super) unsafe extern "C-unwind" fn type_of(state: *mut lua_State) -> c_int {
    // SAFETY: as in `date`. Pushed bytes are those of the argument, which stays in its slot.
    unsafe {
        let name = match ffi::lua_type(state, 1) {
            ffi::LUA_TNIL => {
                ffi::lua_pushstring(state, c"nil".as_ptr());
                return 1;
            }
            ffi::LUA_TSTRING => return string_type(state, check_bytes(state, 1)),
            ffi::LUA_TNUMBER => c"number",
            ffi::LUA_TBOOLEAN => c"boolean",
            ffi::LUA_TTABLE => c"table",
            _ => raise(state, Raise::new(format_args!("Invalid type {}", type_name(state, 1)))),
        };
        ffi::lua_pushstring(state, name.as_ptr());
        ffi::lua_pushvalue(state, 1);
    }
    2
}

/// What kind of value a string is.
///
/// # Safety
/// `text` is that of argument 1.
unsafe fn string_type(state: *mut lua_State, text: &[u8]) -> c_int {
    let [0, kind, payload @ ..] = text else {
        // SAFETY: there are free slots.
        unsafe {
            ffi::lua_pushstring(state, c"string".as_ptr());
            ffi::lua_pushvalue(state, 1);
        }
        return 2;
    };
    // SAFETY: as in `type_of`.
    unsafe {
        let name = |name: &std::ffi::CStr| {
            ffi::lua_pushstring(state, name.as_ptr());
        };
        let push = |bytes: &[u8]| {
            ffi::lua_pushlstring(state, bytes.as_ptr().cast(), bytes.len());
        };
        let four =
            |at: usize| payload.get(at..at + 4).and_then(|it| it.try_into().ok()).map(u32::from_le_bytes);
        match (*kind, payload.len()) {
            (ty::BINARY, 1..) => {
                name(c"binary");
                push(&payload[1..]);
                ffi::lua_pushinteger(state, i64::from(payload[0]));
                return 3;
            }
            (ty::BINARY, _) => raise(state, Raise::new("Invalid binary")),
            (ty::OBJECT_ID, ID) => {
                name(c"objectid");
                return 1 + push_filled(state, 2 * ID, |text| {
                    write_hex(payload, text);
                    Ok(text.len())
                });
            }
            (ty::OBJECT_ID, _) => raise(state, Raise::new("Invalid object id")),
            (ty::DATE, 4) => {
                name(c"date");
                ffi::lua_pushinteger(state, i64::from(four(0).unwrap_or(0) as i32));
            }
            (ty::DATE, _) => raise(state, Raise::new("Invalid date")),
            (ty::NULL, _) => {
                name(c"nil");
                return 1;
            }
            (ty::REGEX, _) => {
                let Some((pattern, options)) = regex(payload) else {
                    raise(state, Raise::new("Invalid regex"))
                };
                name(c"regex");
                push(pattern);
                push(options);
                return 3;
            }
            (ty::TIMESTAMP, 8) => {
                name(c"timestamp");
                ffi::lua_pushinteger(state, i64::from(four(4).unwrap_or(0)));
                ffi::lua_pushinteger(state, i64::from(four(0).unwrap_or(0)));
                return 3;
            }
            (ty::TIMESTAMP, _) => raise(state, Raise::new("Invalid timestamp")),
            (ty::INT64, 8) => {
                name(c"int64");
                ffi::lua_pushinteger(state, payload.try_into().map_or(0, i64::from_le_bytes));
            }
            (ty::INT64, _) => raise(state, Raise::new("Invalid int64")),
            (ty::MIN_KEY, _) => {
                name(c"minkey");
                return 1;
            }
            (ty::MAX_KEY, _) => {
                name(c"maxkey");
                return 1;
            }
            (ty::DB_POINTER | ty::CODE | ty::SYMBOL | ty::CODE_WITH_SCOPE, _) => {
                name(c"unsupported");
                push(payload);
            }
            (other, _) => raise(state, Raise::new(format_args!("Invalid subtype {other}"))),
        }
    }
    2
}
