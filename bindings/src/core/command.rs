//! `command`, `intcommand`, `addresscommand`: the runtime's text commands.

use std::ffi::{c_char, c_double, c_int, c_longlong};
use std::io::Write;
use std::ptr;

use skein_runtime::Handle;

use super::service;
use crate::raw::{Raise, check_text, ffi, guard, lua_State, raise};

unsafe extern "C" {
    // What skynet parses results with: bases, blanks and all.
    fn strtoll(text: *const c_char, end: *mut *mut c_char, base: c_int) -> c_longlong;
    fn strtod(text: *const c_char, end: *mut *mut c_char) -> c_double;
}

/// `core.command(name: string, parameter: string?): string?`, what the command answers.
pub(super) unsafe extern "C-unwind" fn command(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`. Argument slots keep their strings. The answer is
    // kept by the service while Lua copies it, for that may raise.
    unsafe {
        let service = service(state);
        let name = check_text(state, 1);
        let parameter = if ffi::lua_gettop(state) == 2 { check_text(state, 2) } else { b"" };
        match guard(|| Ok(service.ctx.command(name, parameter).map(|answer| service.keep_text(answer)))) {
            Ok(Some((at, len))) => {
                ffi::lua_pushlstring(state, at.cast(), len);
                1
            }
            Ok(None) => 0,
            Err(error) => raise(state, error),
        }
    }
}

/// `core.intcommand(name: string, parameter: string|number?): number?`, the answer as a number.
pub(super) unsafe extern "C-unwind" fn intcommand(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let service = service(state);
        let name = check_text(state, 1);
        let mut digits = [0u8; 12];
        let parameter = if ffi::lua_gettop(state) != 2 {
            b""
        } else if ffi::lua_isnumber(state, 2) != 0 {
            decimal(ffi::luaL_checkinteger(state, 2) as i32, &mut digits)
        } else {
            check_text(state, 2)
        };
        match guard(|| service.ctx.command(name, parameter).map(|answer| parse_number(&answer)).transpose()) {
            Ok(Some(Number::Integer(value))) => ffi::lua_pushinteger(state, value),
            Ok(Some(Number::Real(value))) => ffi::lua_pushnumber(state, value),
            Ok(None) => return 0,
            Err(error) => raise(state, error),
        }
    }
    1
}

/// `core.addresscommand(name: string, parameter: string?): integer?`, the answer as an address.
pub(super) unsafe extern "C-unwind" fn addresscommand(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let service = service(state);
        let name = check_text(state, 1);
        let parameter = if ffi::lua_gettop(state) == 2 { check_text(state, 2) } else { b"" };
        let answer = guard(|| {
            Ok(service.ctx.command(name, parameter).and_then(|answer| match answer.as_slice() {
                [b':', hex @ ..] => Some(Handle::parse_hex(hex).0),
                _ => None,
            }))
        });
        match answer {
            Ok(Some(address)) => ffi::lua_pushinteger(state, i64::from(address)),
            Ok(None) => return 0,
            Err(error) => raise(state, error),
        }
    }
    1
}

/// The digits of `value`: eleven bytes at most.
fn decimal(value: i32, digits: &mut [u8; 12]) -> &[u8] {
    let mut rest = &mut digits[..];
    // Twelve bytes hold every 32-bit number.
    let _ = write!(rest, "{value}");
    let left = rest.len();
    &digits[..digits.len() - left]
}

#[derive(Clone, Copy)]
enum Number {
    Integer(i64),
    Real(f64),
}

/// An answer as C reads numbers: an integer of base 8, 10 or 16 if that is all of it, else a real.
fn parse_number(answer: &[u8]) -> Result<Number, Raise> {
    let mut text = answer.to_vec();
    text.push(0);
    let first = text.as_ptr().cast::<c_char>();
    let mut end = ptr::null_mut();
    // SAFETY: `text` ends in a NUL, so both stop inside of it, and so does what they say the end is.
    unsafe {
        let integer = strtoll(first, &mut end, 0);
        if *end == 0 {
            return Ok(Number::Integer(integer));
        }
        let real = strtod(first, &mut end);
        if *end == 0 {
            return Ok(Number::Real(real));
        }
    }
    Err(Raise::new(format_args!("Invalid result {}", String::from_utf8_lossy(answer))))
}
