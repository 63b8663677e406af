//! `skein.resp`: the bytes of Redis' protocol, version 2 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).
//!
//! A request is `*n\r\n` and n times `$length\r\nbytes\r\n`. A reply is a line that begins with its type: `+text`, `-text` (an error),
//! `:integer`, `$length` with as many bytes and `\r\n` behind it, `*count` with as many replies behind it; a length or count of -1
//! is null.
//!
//! Functions over strings, without a state: where the next reply begins is an argument and a result, so a connection is a text and
//! a position (`lualib/skynet/db/redis.lua`).

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;

use crate::raw::{
    Raise, bytes, check_bytes, ffi, lua_State, raise, raise_argument, set_functions, type_name,
};

/// Most digits of a number in a reply, with its sign.
const DIGITS: usize = 20;
/// The longest line that is searched for its end: what is longer is no reply.
const LINE: usize = 64 << 10;
/// The largest string of Redis.
const LARGEST: i64 = 512 << 20;
/// The most room that is made for commands that may be as long as the first of them.
const GUESSED: usize = 1 << 20;
/// More elements than any reply has.
const MOST: i64 = i32::MAX as i64;

const FUNCTIONS: [(&CStr, ffi::lua_CFunction); 4] =
    [(c"command", command), (c"commands", commands), (c"fill", fill), (c"read", read)];

/// `luaopen_skein_resp`: pushes the module's table.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` with 20 free slots; nothing with a destructor is alive.
    unsafe {
        ffi::lua_createtable(state, 0, FUNCTIONS.len() as c_int);
        set_functions(state, &FUNCTIONS);
    }
    1
}

// ------------------------------------------------------------------------------------------------------------------------ requests

/// A request as it grows, in Lua's own memory.
struct Request {
    state: *mut lua_State,
    buffer: MaybeUninit<ffi::luaL_Buffer>,
    /// The slot that keeps the value which is being added.
    slot: c_int,
}

impl Request {
    /// Begins a request in place; it may not be moved afterwards.
    ///
    /// # Safety
    /// As [`raise`], with ten free slots. Until [`Request::answer`] the stack's top belongs to the buffer.
    unsafe fn begin(&mut self, room: usize) {
        // SAFETY: by the caller's promise.
        unsafe {
            ffi::lua_pushnil(self.state);
            self.slot = ffi::lua_gettop(self.state);
            ffi::luaL_buffinitsize(self.state, self.buffer.as_mut_ptr(), room);
        }
    }

    fn new(state: *mut lua_State) -> Request {
        Request { state, buffer: MaybeUninit::uninit(), slot: 0 }
    }

    /// # Safety
    /// As [`Request::begin`], which came before.
    unsafe fn add(&mut self, part: &[u8]) {
        // SAFETY: by the caller's promise; `part` is no part of the buffer.
        unsafe { ffi::luaL_addlstring(self.buffer.as_mut_ptr(), part.as_ptr().cast(), part.len()) }
    }

    /// Adds `kind number \r\n`.
    ///
    /// # Safety
    /// As [`Request::add`].
    unsafe fn add_number(&mut self, kind: u8, number: usize) {
        let mut line = [0; DIGITS + 3];
        let [.., cr, lf] = &mut line;
        (*cr, *lf) = (b'\r', b'\n');
        let (mut at, mut left) = (line.len() - 2, number);
        loop {
            at -= 1;
            line[at] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        line[at - 1] = kind;
        // SAFETY: by the caller's promise.
        unsafe { self.add(&line[at - 1..]) }
    }

    /// Adds the value on the top of the stack as an argument, and takes it off; what is no string is turned into one as `tostring`
    /// does, and nil is null.
    ///
    /// # Safety
    /// As [`Request::add`], with that value above the buffer's own.
    unsafe fn add_top(&mut self) {
        let state = self.state;
        // SAFETY: by the caller's promise. The value stays in its slot while its bytes are used.
        unsafe {
            match ffi::lua_type(state, -1) {
                ffi::LUA_TNIL => {
                    ffi::lua_settop(state, -2);
                    return self.add(b"$-1\r\n");
                }
                ffi::LUA_TSTRING => {}
                _ => {
                    ffi::luaL_tolstring(state, -1, std::ptr::null_mut());
                    ffi::lua_replace(state, -2);
                }
            }
            ffi::lua_replace(state, self.slot);
            let value = bytes(state, self.slot).unwrap_or_default();
            self.add_number(b'$', value.len());
            self.add(value);
            self.add(b"\r\n");
        }
    }

    /// Pushes the request as a string.
    ///
    /// # Safety
    /// As [`Request::add`].
    unsafe fn answer(&mut self) -> c_int {
        // SAFETY: by the caller's promise.
        unsafe { ffi::luaL_pushresult(self.buffer.as_mut_ptr()) };
        1
    }
}

/// How many elements the table at `index` has: its `n`, if that is a count, or its length.
///
/// # Safety
/// As [`raise`], with a free slot, a table at `index`, and the string `n` at `name`.
unsafe fn count(state: *mut lua_State, index: c_int, name: c_int) -> i64 {
    // SAFETY: by the caller's promise.
    unsafe {
        ffi::lua_pushvalue(state, name);
        ffi::lua_rawget(state, index);
        let n = if ffi::lua_isinteger(state, -1) != 0 {
            ffi::lua_tointegerx(state, -1, std::ptr::null_mut())
        } else {
            -1
        };
        ffi::lua_settop(state, -2);
        let n = if n >= 0 { n } else { ffi::lua_rawlen(state, index) as i64 };
        if n > MOST {
            raise(state, Raise::new(format_args!("a command of {n} arguments")));
        }
        n
    }
}

/// Bytes that the strings among elements `1..=n` of the table at `index` will take: a guess that saves growing.
///
/// # Safety
/// As [`count`].
unsafe fn guess(state: *mut lua_State, index: c_int, n: i64) -> usize {
    let mut room = 64_usize;
    for i in 1..=n {
        // SAFETY: by the caller's promise.
        unsafe {
            ffi::lua_rawgeti(state, index, i);
            room = room.saturating_add(32);
            if ffi::lua_type(state, -1) == ffi::LUA_TSTRING {
                room = room.saturating_add(ffi::lua_rawlen(state, -1) as usize);
            }
            ffi::lua_settop(state, -2);
        }
    }
    room.min(1 << 30)
}

/// `resp.command(name: string, ...): string`, a request. The arguments are the rest, up to nothing if the first is nil, or the
/// elements of the first if it is a table.
unsafe extern "C-unwind" fn command(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; only plain data lives when something raises.
    unsafe {
        let name = check_bytes(state, 1);
        let top = ffi::lua_gettop(state);
        ffi::luaL_checkstack(state, 10, c"too many arguments".as_ptr());
        let mut request = Request::new(state);
        if top >= 2 && ffi::lua_type(state, 2) == ffi::LUA_TTABLE {
            ffi::lua_pushstring(state, c"n".as_ptr());
            let n = count(state, 2, top + 1);
            let room = guess(state, 2, n);
            request.begin(room + name.len());
            request.add_number(b'*', n as usize + 1);
            add_name(&mut request, name);
            for i in 1..=n {
                ffi::lua_rawgeti(state, 2, i);
                request.add_top();
            }
        } else {
            let last = if top >= 2 && ffi::lua_type(state, 2) == ffi::LUA_TNIL { 1 } else { top };
            let mut room = 64 + name.len();
            for i in 2..=last {
                let is_string = ffi::lua_type(state, i) == ffi::LUA_TSTRING;
                room += 32 + if is_string { ffi::lua_rawlen(state, i) as usize } else { 0 };
            }
            request.begin(room);
            request.add_number(b'*', last as usize);
            add_name(&mut request, name);
            for i in 2..=last {
                ffi::lua_pushvalue(state, i);
                request.add_top();
            }
        }
        request.answer()
    }
}

/// # Safety
/// As [`Request::add`].
unsafe fn add_name(request: &mut Request, name: &[u8]) {
    // SAFETY: by the caller's promise.
    unsafe {
        request.add_number(b'$', name.len());
        request.add(name);
        request.add(b"\r\n");
    }
}

/// `resp.commands(list: any[][]): string`, one request after the other, each an array that begins with its name.
unsafe extern "C-unwind" fn commands(state: *mut lua_State) -> c_int {
    // SAFETY: as in `command`; slot 2 keeps the command that is being added, slot 3 the name of its length.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        ffi::lua_settop(state, 1);
        ffi::lua_pushnil(state);
        ffi::lua_pushstring(state, c"n".as_ptr());
        let n = ffi::lua_rawlen(state, 1) as i64;
        let mut request = Request::new(state);
        // As if all were like the first.
        let mut room = 0;
        if ffi::lua_rawgeti(state, 1, 1) == ffi::LUA_TTABLE {
            ffi::lua_replace(state, 2);
            room = guess(state, 2, count(state, 2, 3)).saturating_mul(n as usize).min(GUESSED);
        } else {
            ffi::lua_settop(state, 3);
        }
        request.begin(room);
        for i in 1..=n {
            ffi::lua_rawgeti(state, 1, i);
            if ffi::lua_type(state, -1) != ffi::LUA_TTABLE {
                let kind = type_name(state, -1);
                raise_argument(state, 1, Raise::new(format_args!("command {i} is a {kind}, not a table")));
            }
            ffi::lua_replace(state, 2);
            let its = count(state, 2, 3);
            request.add_number(b'*', its as usize);
            for at in 1..=its {
                ffi::lua_rawgeti(state, 2, at);
                request.add_top();
            }
        }
        request.answer()
    }
}

// ------------------------------------------------------------------------------------------------------------------------- replies

/// What stands at the beginning of some bytes, and how many bytes it takes.
#[derive(Clone, Copy)]
enum Reply<'a> {
    /// The text is good, or an error's.
    Text(&'a [u8], bool),
    Integer(i64),
    Null,
    /// So many replies come behind it.
    Array(i64),
}

/// What parsing came to.
#[derive(Clone, Copy)]
enum Parsed<'a> {
    Whole(Reply<'a>, usize),
    /// At least so many bytes are missing.
    Missing(usize),
}

/// The number that all of `digits` spell.
fn number(digits: &[u8]) -> Option<i64> {
    let (negative, digits) = match digits {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, digits),
    };
    if digits.is_empty() || digits.len() >= DIGITS {
        return None;
    }
    let mut value = 0_i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        // Downwards: the least number has no opposite.
        value = value.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// The reply at the beginning of `input`; of an array its head.
fn parse(input: &[u8]) -> Result<Parsed<'_>, Raise> {
    let Some(&kind) = input.first() else { return Ok(Parsed::Missing(1)) };
    if !matches!(kind, b'+' | b'-' | b':' | b'$' | b'*') {
        return Err(Raise::new(format_args!("no reply of Redis begins with byte {kind}")));
    }
    let line = &input[1..];
    let end = line.windows(2).take(LINE).position(|it| it == b"\r\n");
    let Some(end) = end else {
        return if line.len() > LINE {
            Err(Raise::new("a reply of Redis has a line without an end"))
        } else {
            Ok(Parsed::Missing(1))
        };
    };
    let line = &line[..end];
    let after = end + 3;
    let no_number =
        || Raise::new(format_args!("a reply of Redis says '{}' for a number", line.escape_ascii()));
    match kind {
        b'+' => Ok(Parsed::Whole(Reply::Text(line, true), after)),
        b'-' => Ok(Parsed::Whole(Reply::Text(line, false), after)),
        b':' => Ok(Parsed::Whole(Reply::Integer(number(line).ok_or_else(no_number)?), after)),
        b'*' => match number(line).ok_or_else(no_number)? {
            -1 => Ok(Parsed::Whole(Reply::Null, after)),
            count @ 0..=MOST => Ok(Parsed::Whole(Reply::Array(count), after)),
            _ => Err(no_number()),
        },
        _ => match number(line).ok_or_else(no_number)? {
            -1 => Ok(Parsed::Whole(Reply::Null, after)),
            len @ 0..=LARGEST => {
                let len = len as usize;
                match input.get(after..after + len + 2) {
                    Some(body) if body.ends_with(b"\r\n") => {
                        Ok(Parsed::Whole(Reply::Text(&body[..len], true), after + len + 2))
                    }
                    Some(_) => Err(Raise::new("a string of Redis is longer than it says")),
                    None => Ok(Parsed::Missing(after + len + 2 - input.len())),
                }
            }
            _ => Err(no_number()),
        },
    }
}

/// The string in argument 1 from the position in argument 2 on, and that position, counted from 0.
///
/// # Safety
/// As [`check_bytes`] and [`raise`].
unsafe fn input<'a>(state: *mut lua_State) -> (&'a [u8], usize) {
    // SAFETY: by the caller's promise.
    unsafe {
        let text = check_bytes(state, 1);
        let at = ffi::luaL_checkinteger(state, 2);
        match usize::try_from(at)
            .ok()
            .and_then(|at| at.checked_sub(1))
            .and_then(|at| Some((text.get(at..)?, at)))
        {
            Some(found) => found,
            None => {
                raise_argument(state, 2, Raise::new(format_args!("position {at} of {} bytes", text.len())))
            }
        }
    }
}

/// `resp.read(text: string, at: integer): integer, boolean?, any`: where the next reply begins, whether this one is no error, and its
/// value; of an array nil and how many replies follow. An unfinished one: false, and how many bytes are missing at least.
unsafe extern "C-unwind" fn read(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; the text stays in its slot; only plain data lives when something raises.
    unsafe {
        let (rest, at) = input(state);
        match parse(rest) {
            Err(error) => raise(state, error),
            Ok(Parsed::Missing(len)) => {
                ffi::lua_pushboolean(state, 0);
                ffi::lua_pushinteger(state, len as i64);
                2
            }
            Ok(Parsed::Whole(reply, len)) => {
                ffi::lua_pushinteger(state, (at + len + 1) as i64);
                match reply {
                    Reply::Text(_, fine) => ffi::lua_pushboolean(state, c_int::from(fine)),
                    Reply::Integer(_) | Reply::Null => ffi::lua_pushboolean(state, 1),
                    Reply::Array(_) => ffi::lua_pushnil(state),
                }
                push(state, reply);
                3
            }
        }
    }
}

/// Pushes the value of a reply; of an array the count.
///
/// # Safety
/// As [`raise`], with a free slot.
unsafe fn push(state: *mut lua_State, reply: Reply<'_>) {
    // SAFETY: by the caller's promise; Lua copies the bytes.
    unsafe {
        match reply {
            Reply::Text(text, _) => _ = ffi::lua_pushlstring(state, text.as_ptr().cast(), text.len()),
            Reply::Integer(value) | Reply::Array(value) => ffi::lua_pushinteger(state, value),
            Reply::Null => ffi::lua_pushnil(state),
        }
    }
}

/// `resp.fill(text, at, values: table, first: integer, last: integer, both: boolean?): integer, integer, boolean, boolean, integer`:
/// stores replies as elements `first` to `last`, with `both` as `{ ok =, out = }`, until an array begins or bytes are missing. Answers
/// where it stopped in the text and in the table, whether there was no error among them, whether an array begins, and its count or how
/// many bytes are missing at least.
unsafe extern "C-unwind" fn fill(state: *mut lua_State) -> c_int {
    // SAFETY: as in `read`; the table is in slot 3, and the names of what stands in an element are in slots 7 and 8.
    unsafe {
        let (mut rest, mut at) = input(state);
        ffi::luaL_checktype(state, 3, ffi::LUA_TTABLE);
        let first = ffi::luaL_checkinteger(state, 4);
        let last = ffi::luaL_checkinteger(state, 5);
        if first < 1 || last > MOST {
            raise_argument(state, 4, Raise::new(format_args!("elements {first} to {last}")));
        }
        let both = ffi::lua_toboolean(state, 6) != 0;
        ffi::lua_settop(state, 6);
        ffi::lua_pushstring(state, c"ok".as_ptr());
        ffi::lua_pushstring(state, c"out".as_ptr());
        let mut index = first;
        let mut fine = true;
        let mut stopped = (false, 0);
        while index <= last {
            match parse(rest) {
                Err(error) => raise(state, error),
                Ok(Parsed::Missing(len)) => {
                    stopped = (false, len as i64);
                    break;
                }
                Ok(Parsed::Whole(reply, len)) => {
                    at += len;
                    rest = &rest[len..];
                    if let Reply::Array(count) = reply {
                        stopped = (true, count);
                        break;
                    }
                    let no_error = !matches!(reply, Reply::Text(_, false));
                    fine &= no_error;
                    if both {
                        ffi::lua_createtable(state, 0, 2);
                        ffi::lua_pushvalue(state, 7);
                        ffi::lua_pushboolean(state, c_int::from(no_error));
                        ffi::lua_rawset(state, -3);
                        ffi::lua_pushvalue(state, 8);
                        push(state, reply);
                        ffi::lua_rawset(state, -3);
                        ffi::lua_rawseti(state, 3, index);
                    } else if !matches!(reply, Reply::Null) {
                        push(state, reply);
                        ffi::lua_rawseti(state, 3, index);
                    }
                    index += 1;
                }
            }
        }
        ffi::lua_pushinteger(state, (at + 1) as i64);
        ffi::lua_pushinteger(state, index);
        ffi::lua_pushboolean(state, c_int::from(fine));
        ffi::lua_pushboolean(state, c_int::from(stopped.0));
        ffi::lua_pushinteger(state, stopped.1);
    }
    5
}
