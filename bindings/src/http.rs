//! `skein.http`: the head of an HTTP/1.1 request, taken apart in one pass (RFC 9112, sections 3 and 5).
//!
//! A head is a line for the request, lines for its fields, and an empty line; each ends in CR LF. What could be read in two ways is
//! refused, for the sake of who stands in front of us: lone line ends, NULs, a blank in front of a colon. A line that begins with a
//! tab belongs to the one before, but not where that decides how the message is read. `http.internal.parseheader` is the same in Lua,
//! for heads that come as lines; a test compares the two.

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;

use memchr::{memchr_iter, memchr3};

use crate::raw::{check_bytes, ffi, lua_State, set_functions};

/// Fields that stand in one line each.
const FRAMING: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"host"];
/// Names up to this length are turned into lower case without a buffer of Lua's.
const USUAL: usize = 64;

/// Slots of [`head`].
const HEADER: c_int = 2;
const NAME: c_int = 3;
const VALUE: c_int = 4;

const FUNCTIONS: [(&CStr, ffi::lua_CFunction); 1] = [(c"head", head)];

/// `luaopen_skein_http`: pushes the module's table.
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

/// What Lua's `%s` is.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// What is between the spaces and tabs at both ends. Other blanks belong to the value (RFC 9110 §5.6.3): who stands in front of us takes them
/// for a part of it as well.
fn trimmed(text: &[u8]) -> &[u8] {
    let is_padding = |it: &u8| matches!(it, b' ' | b'\t');
    let from = text.iter().position(|it| !is_padding(it)).unwrap_or(text.len());
    let to = text.iter().rposition(|it| !is_padding(it)).map_or(from, |it| it + 1);
    &text[from..to]
}

/// Where `what`, which begins with a CR, first stands.
fn first(text: &[u8], what: &[u8]) -> Option<usize> {
    memchr_iter(b'\r', text).find(|at| text[*at..].starts_with(what))
}

/// Cuts the first line off.
fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = first(text, b"\r\n")?;
    Some((&text[..at], &text[at + 2..]))
}

/// Method, URL and version of a request line as everybody writes it.
fn plain(line: &[u8]) -> Option<(&[u8], &[u8], f64)> {
    let (rest, version) = match line.strip_suffix(b" HTTP/1.1") {
        Some(rest) => (rest, 1.1),
        None => (line.strip_suffix(b" HTTP/1.0")?, 1.0),
    };
    let end = rest.iter().position(|it| *it == b' ')?;
    let (method, url) = (&rest[..end], &rest[end + 1..]);
    let is_method = !method.is_empty() && method.iter().all(u8::is_ascii_alphabetic);
    let is_url = !url.is_empty() && !url.iter().any(|it| is_blank(*it) || *it == 0);
    (is_method && is_url).then_some((method, url, version))
}

/// `http.head(text: string, header: table): integer | false | nil, string?, string?, number?`: puts the fields of the head that `text`
/// begins with into `header`, by name in lower case; a name that comes again has an array of values. Where what is behind begins: nil
/// if the head is not whole, false if it is malformed. Then method, URL and version; nil and the line if that is not plainly so.
unsafe extern "C-unwind" fn head(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` with 20 free slots; the text stays in its slot; only plain data lives when something
    // raises.
    unsafe {
        let text = check_bytes(state, 1);
        ffi::luaL_checktype(state, HEADER, ffi::LUA_TTABLE);
        ffi::lua_settop(state, HEADER);
        if text.starts_with(b"\r\n") {
            ffi::lua_pushinteger(state, 3);
            return 1;
        }
        let Some(end) = first(text, b"\r\n\r\n") else { return 0 };
        // With the line end of the last line.
        let Some((request, mut fields)) = line(&text[..end + 2]) else { return 0 };
        ffi::lua_pushnil(state);
        ffi::lua_pushnil(state);
        let mut good = true;
        let mut framing = true;
        while good && let Some((one, rest)) = line(fields) {
            good = match one.split_first() {
                _ if memchr3(b'\r', b'\n', 0, one).is_some() => false,
                Some((b'\t', more)) => !framing && continues(state, more),
                _ => match one.iter().position(|it| *it == b':' || is_blank(*it)) {
                    Some(at) if at > 0 && one[at] == b':' => {
                        framing = FRAMING.iter().any(|it| it.eq_ignore_ascii_case(&one[..at]));
                        add(state, &one[..at], trimmed(&one[at + 1..]));
                        true
                    }
                    _ => false,
                },
            };
            fields = rest;
        }
        if good {
            ffi::lua_pushinteger(state, end as i64 + 5);
        } else {
            ffi::lua_pushboolean(state, 0);
        }
        match plain(request) {
            Some((method, url, version)) => {
                push(state, method);
                push(state, url);
                ffi::lua_pushnumber(state, version);
                4
            }
            None => {
                ffi::lua_pushnil(state);
                push(state, request);
                3
            }
        }
    }
}

/// # Safety
/// As [`crate::raw::raise`], with a free slot.
unsafe fn push(state: *mut lua_State, text: &[u8]) {
    // SAFETY: by the caller's promise; Lua copies the bytes.
    unsafe { ffi::lua_pushlstring(state, text.as_ptr().cast(), text.len()) };
}

/// Leaves name and value of a field in their slots, and puts them into the header.
///
/// # Safety
/// As [`head`], where this is called from.
unsafe fn add(state: *mut lua_State, name: &[u8], value: &[u8]) {
    // SAFETY: by the caller's promise; the table is a program's, so it is read and written as Lua does.
    unsafe {
        push_lower(state, name);
        ffi::lua_replace(state, NAME);
        push(state, value);
        ffi::lua_replace(state, VALUE);
        ffi::lua_pushvalue(state, NAME);
        match ffi::lua_gettable(state, HEADER) {
            ffi::LUA_TNIL => {
                ffi::lua_pushvalue(state, NAME);
                ffi::lua_pushvalue(state, VALUE);
                ffi::lua_settable(state, HEADER);
            }
            ffi::LUA_TTABLE => {
                ffi::lua_pushvalue(state, VALUE);
                ffi::lua_rawseti(state, -2, ffi::lua_rawlen(state, -2) as i64 + 1);
            }
            _ => {
                ffi::lua_createtable(state, 2, 0);
                ffi::lua_pushvalue(state, -2);
                ffi::lua_rawseti(state, -2, 1);
                ffi::lua_pushvalue(state, VALUE);
                ffi::lua_rawseti(state, -2, 2);
                ffi::lua_pushvalue(state, NAME);
                ffi::lua_pushvalue(state, -2);
                ffi::lua_settable(state, HEADER);
            }
        }
        ffi::lua_settop(state, VALUE);
    }
}

/// Appends to the value of the last field. `true`.
///
/// # Safety
/// As [`add`], which came before.
unsafe fn continues(state: *mut lua_State, more: &[u8]) -> bool {
    // SAFETY: by the caller's promise.
    unsafe {
        ffi::lua_pushvalue(state, VALUE);
        push(state, more);
        ffi::lua_concat(state, 2);
        ffi::lua_replace(state, VALUE);
        ffi::lua_pushvalue(state, NAME);
        if ffi::lua_gettable(state, HEADER) == ffi::LUA_TTABLE {
            ffi::lua_pushvalue(state, VALUE);
            ffi::lua_rawseti(state, -2, ffi::lua_rawlen(state, -2) as i64);
        } else {
            ffi::lua_pushvalue(state, NAME);
            ffi::lua_pushvalue(state, VALUE);
            ffi::lua_settable(state, HEADER);
        }
        ffi::lua_settop(state, VALUE);
    }
    true
}

/// # Safety
/// As [`push`].
unsafe fn push_lower(state: *mut lua_State, name: &[u8]) {
    let mut short = [0; USUAL];
    // SAFETY: by the caller's promise; the buffer stays where it is, and has so much room.
    unsafe {
        if let Some(lower) = short.get_mut(..name.len()) {
            lower.copy_from_slice(name);
            lower.make_ascii_lowercase();
            return push(state, lower);
        }
        let mut buffer = MaybeUninit::<ffi::luaL_Buffer>::uninit();
        let at = ffi::luaL_buffinitsize(state, buffer.as_mut_ptr(), name.len());
        at.cast::<u8>().copy_from_nonoverlapping(name.as_ptr(), name.len());
        std::slice::from_raw_parts_mut(at.cast::<u8>(), name.len()).make_ascii_lowercase();
        ffi::luaL_pushresultsize(buffer.as_mut_ptr(), name.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_is_plain_or_left_to_others() {
        assert_eq!(plain(b"GET / HTTP/1.1"), Some((&b"GET"[..], &b"/"[..], 1.1)));
        assert_eq!(plain(b"POST /a?b HTTP/1.0"), Some((&b"POST"[..], &b"/a?b"[..], 1.0)));
        for other in
            ["GET  / HTTP/1.1", "GET /a b HTTP/1.1", "GET / HTTP/1.2", "G3T / HTTP/1.1", " HTTP/1.1", ""]
        {
            assert_eq!(plain(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_value_has_no_blanks_around_it() {
        for (text, value) in
            [("  a b\t", "a b"), ("", ""), (" \t ", ""), ("x", "x"), (" \x0bx\x0c", "\x0bx\x0c")]
        {
            assert_eq!(trimmed(text.as_bytes()), value.as_bytes());
        }
    }
}
