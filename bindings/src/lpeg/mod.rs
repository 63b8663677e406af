//! `lpeg`: patterns of parsing expression grammars, the interface of LPeg 1.1.
//!
//! Written from LPeg's reference manual and the paper behind it ([`code`]). Operators build [trees](tree) in userdata ([`pattern`]),
//! [`grammar`] closes those with rules, the first match [compiles](compile) them, [`machine`] runs the code, [`values`] makes Lua's values of
//! what was captured.

mod analysis;
mod code;
mod compile;
mod grammar;
mod machine;
mod matching;
mod operators;
mod pattern;
mod room;
mod tree;
mod values;

use std::ffi::{CStr, c_int};

use self::analysis::fixed_length;
use self::matching::{Limit, MAX_STACK, matching};
use self::pattern::{Pattern, add_value, check, copy, get, inherit, new, set_values, top_mut};
use self::tree::{EMPTY, Kind, OPEN, Set, Tag, has_captures, insert, word, write_set};
use crate::raw::{Raise, check_bytes, ffi, lua_State, luaL_typeerror, raise, raise_argument, set_functions};

const FUNCTIONS: [(&CStr, ffi::lua_CFunction); 20] = [
    (c"type", type_of),
    (c"locale", locale),
    (c"P", p),
    (c"S", s),
    (c"R", r),
    (c"utfR", utf_r),
    (c"B", b),
    (c"V", v),
    (c"C", c),
    (c"Carg", carg),
    (c"Cb", cb),
    (c"Cc", cc),
    (c"Cf", cf),
    (c"Cg", cg),
    (c"Cmt", cmt),
    (c"Cp", cp),
    (c"Cs", cs),
    (c"Ct", ct),
    (c"pcode", pcode),
    (c"ptree", ptree),
];

/// Functions whose upvalue is the limit of the stack.
const LIMITED: [(&CStr, ffi::lua_CFunction); 2] = [(c"match", matching), (c"setmaxstack", set_max_stack)];

const OPERATORS: [(&CStr, ffi::lua_CFunction); 8] = [
    (c"__mul", operators::mul),
    (c"__add", operators::add),
    (c"__sub", operators::sub),
    (c"__div", operators::div),
    (c"__mod", operators::accumulate),
    (c"__unm", operators::unm),
    (c"__len", operators::len),
    (c"__pow", operators::pow),
];

/// Longest pattern to look behind for.
const BEHIND: u32 = 255;
/// One more than the largest number of an extra argument, or of a capture.
const NUMBERS: i64 = 65535;
const LAST_POINT: u32 = 0x10_ffff;

/// Opens `lpeg`. Stack: 1 out.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` with 20 free slots; nothing with a destructor is alive.
    unsafe {
        let count = FUNCTIONS.len() + LIMITED.len() + 1;
        ffi::lua_createtable(state, 0, count as c_int);
        set_functions(state, &FUNCTIONS);
        ffi::lua_newuserdatauv(state, size_of::<Limit>(), 0).cast::<Limit>().write(Limit(MAX_STACK));
        for (name, function) in LIMITED {
            ffi::lua_pushvalue(state, -1);
            ffi::lua_pushcclosure(state, function, 1);
            ffi::lua_setfield(state, -3, name.as_ptr());
        }
        ffi::lua_settop(state, -2);
        ffi::lua_pushstring(state, c"LPeg 1.1.0".as_ptr());
        ffi::lua_setfield(state, -2, c"version".as_ptr());
        ffi::luaL_newmetatable(state, pattern::METATABLE.as_ptr());
        ffi::lua_pushstring(state, pattern::NAME.as_ptr());
        ffi::lua_setfield(state, -2, c"__name".as_ptr());
        set_functions(state, &OPERATORS);
        ffi::lua_pushvalue(state, -2);
        ffi::lua_setfield(state, -2, c"__index".as_ptr());
        ffi::lua_settop(state, -2);
    }
    1
}

/// Pushes a pattern that matches any byte of a set.
///
/// # Safety
/// As for [`new`].
unsafe fn push_set(state: *mut lua_State, set: &Set) {
    // SAFETY: by the caller's promise.
    unsafe { new(state, 9, 1, |out| write_set(out, set)) }
}

/// Pushes a pattern that is a capture of the one at 1, with its values.
///
/// # Safety
/// As for [`new`], with five free slots.
unsafe fn push_capture(state: *mut lua_State, tag: Tag, kind: Kind, inner: Pattern<'_>) {
    // SAFETY: by the caller's promise.
    unsafe {
        let len = 3 + inner.words.len();
        new(state, len, inner.depth + 1, |out| {
            out[..3].copy_from_slice(&[word(tag, kind as u32), len as u32, 0]);
            copy(&mut out[3..], inner.words, 0);
        });
        inherit(state, 1);
    }
}

/// Pushes a capture of the pattern at 1 whose key is the value at `value`.
///
/// # Safety
/// As for [`push_capture`].
unsafe fn push_keyed(state: *mut lua_State, tag: Tag, kind: Kind, inner: Pattern<'_>, value: c_int) {
    // SAFETY: by the caller's promise.
    unsafe {
        push_capture(state, tag, kind, inner);
        let key = add_value(state, Some(1), value);
        top_mut(state)[2] = key;
    }
}

/// Pushes a capture of nothing with a number for a key.
///
/// # Safety
/// As for [`new`].
unsafe fn push_empty(state: *mut lua_State, kind: Kind, key: u32) {
    // SAFETY: by the caller's promise.
    unsafe {
        new(state, 4, 2, |out| {
            out.copy_from_slice(&[word(Tag::Capture, kind as u32), 4, key, word(Tag::True, 0)]);
        });
    }
}

/// `lpeg.type(value: any): "pattern" | nil`.
unsafe extern "C-unwind" fn type_of(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe {
        match get(state, 1) {
            Some(_) => drop(ffi::lua_pushstring(state, c"pattern".as_ptr())),
            None => ffi::lua_pushnil(state),
        }
    }
    1
}

/// `lpeg.P(value: any): pattern`.
unsafe extern "C-unwind" fn p(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        ffi::luaL_checkany(state, 1);
        check(state, 1);
        ffi::lua_settop(state, 1);
    }
    1
}

/// `lpeg.S(bytes: string): pattern`.
unsafe extern "C-unwind" fn s(state: *mut lua_State) -> c_int {
    // SAFETY: as above; the string stays in its slot.
    unsafe {
        let mut set = EMPTY;
        for &byte in check_bytes(state, 1) {
            insert(&mut set, byte);
        }
        push_set(state, &set);
    }
    1
}

/// `lpeg.R(range: string, ...): pattern`.
unsafe extern "C-unwind" fn r(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let mut set = EMPTY;
        for at in 1..=ffi::lua_gettop(state) {
            let &[from, to] = check_bytes(state, at) else {
                raise_argument(state, at, Raise::new("range must have two characters"))
            };
            for byte in from..=to {
                insert(&mut set, byte);
            }
        }
        ffi::lua_settop(state, 1);
        push_set(state, &set);
    }
    1
}

/// `lpeg.utfR(from: integer, to: integer): pattern`, code points in UTF-8.
unsafe extern "C-unwind" fn utf_r(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (from, to) = (ffi::luaL_checkinteger(state, 1) as u32, ffi::luaL_checkinteger(state, 2) as u32);
        let wrong = [
            (from > to, 2, "empty range"),
            (from > LAST_POINT, 1, "invalid code point"),
            (to > LAST_POINT, 2, "invalid code point"),
        ];
        if let Some((_, at, what)) = wrong.into_iter().find(|it| it.0) {
            raise_argument(state, at, Raise::new(what));
        }
        if to < 0x80 {
            let mut set = EMPTY;
            for byte in from as u8..=to as u8 {
                insert(&mut set, byte);
            }
            push_set(state, &set);
        } else {
            new(state, 3, 1, |out| out.copy_from_slice(&[word(Tag::Utf, 0), from, to]));
        }
    }
    1
}

/// `lpeg.B(pattern: any): pattern`, which looks behind.
unsafe extern "C-unwind" fn b(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let inner = check(state, 1);
        let Some(n) = fixed_length(inner.words, &|_| None) else {
            raise_argument(state, 1, Raise::new("pattern may not have fixed length"))
        };
        if has_captures(inner.words) {
            raise_argument(state, 1, Raise::new("pattern have captures"));
        }
        if n > BEHIND {
            raise_argument(state, 1, Raise::new("pattern too long to look behind"));
        }
        let len = 3 + inner.words.len();
        new(state, len, inner.depth + 1, |out| {
            out[..3].copy_from_slice(&[word(Tag::Behind, 0), len as u32, n]);
            copy(&mut out[3..], inner.words, 0);
        });
        inherit(state, 1);
    }
    1
}

/// `lpeg.V(name: any): pattern`, a rule of the grammar to come.
unsafe extern "C-unwind" fn v(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        if ffi::lua_isnil(state, 1) != 0 {
            raise_argument(state, 1, Raise::new("non-nil value expected"));
        }
        new(state, 3, 1, |out| out.copy_from_slice(&[word(Tag::Call, 0), 0, OPEN]));
        let key = add_value(state, None, 1);
        top_mut(state)[1] = key;
    }
    1
}

/// `lpeg.C(pattern: any): pattern`, the text matched.
unsafe extern "C-unwind" fn c(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { push_capture(state, Tag::Capture, Kind::Simple, check(state, 1)) };
    1
}

/// `lpeg.Carg(n: integer): pattern`, the n-th extra argument.
unsafe extern "C-unwind" fn carg(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let n = ffi::luaL_checkinteger(state, 1);
        if !(1..NUMBERS).contains(&n) {
            raise_argument(state, 1, Raise::new("invalid argument index"));
        }
        push_empty(state, Kind::Arg, n as u32);
    }
    1
}

/// `lpeg.Cb(key: any): pattern`, the values of a group.
unsafe extern "C-unwind" fn cb(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        ffi::luaL_checkany(state, 1);
        push_empty(state, Kind::Back, 0);
        let key = add_value(state, None, 1);
        top_mut(state)[2] = key;
    }
    1
}

/// `lpeg.Cc(...): pattern`, these values.
unsafe extern "C-unwind" fn cc(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let count = ffi::lua_gettop(state);
        ffi::luaL_checkstack(state, 8, c"too many values".as_ptr());
        if count == 0 {
            new(state, 1, 1, |out| out[0] = word(Tag::True, 0));
            return 1;
        }
        // Several are a group, one capture to those around it.
        pattern::check_count(state, count as u32);
        let around = if count > 1 { 5 } else { 0 };
        let len = around + 4 * count as usize;
        new(state, len, 4, |out| {
            if around > 0 {
                out[..3].copy_from_slice(&[word(Tag::Capture, Kind::Group as u32), len as u32, 0]);
                out[3..5].copy_from_slice(&[word(Tag::Seq, 0), len as u32 - 3]);
            }
            for four in out[around..].chunks_exact_mut(4) {
                four.copy_from_slice(&[word(Tag::Capture, Kind::Const as u32), 4, 0, word(Tag::True, 0)]);
            }
        });
        ffi::lua_createtable(state, count, 0);
        let mut key = 0;
        for at in 0..count {
            if ffi::lua_isnil(state, at + 1) != 0 {
                continue;
            }
            key += 1;
            ffi::lua_pushvalue(state, at + 1);
            ffi::lua_rawseti(state, -2, i64::from(key));
            ffi::lua_pushvalue(state, -2);
            top_mut(state)[around + 4 * at as usize + 2] = key;
            ffi::lua_settop(state, -2);
        }
        set_values(state);
    }
    1
}

/// `lpeg.Cf(pattern: any, f: function): pattern`, a fold.
unsafe extern "C-unwind" fn cf(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { push_function(state, Tag::Capture, Kind::Fold) };
    1
}

/// `lpeg.Cmt(pattern: any, f: function): pattern`, which calls `f` while matching.
unsafe extern "C-unwind" fn cmt(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { push_function(state, Tag::Runtime, Kind::Simple) };
    1
}

/// # Safety
/// As for [`push_capture`].
unsafe fn push_function(state: *mut lua_State, tag: Tag, kind: Kind) {
    // SAFETY: by the caller's promise.
    unsafe {
        ffi::luaL_checktype(state, 2, ffi::LUA_TFUNCTION);
        push_keyed(state, tag, kind, check(state, 1), 2);
    }
}

/// `lpeg.Cg(pattern: any, key: any?): pattern`, a group.
unsafe extern "C-unwind" fn cg(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let inner = check(state, 1);
        if ffi::lua_isnoneornil(state, 2) != 0 {
            push_capture(state, Tag::Capture, Kind::Group, inner);
        } else {
            push_keyed(state, Tag::Capture, Kind::Group, inner, 2);
        }
    }
    1
}

/// `lpeg.Cp(): pattern`, the position.
unsafe extern "C-unwind" fn cp(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { push_empty(state, Kind::Position, 0) };
    1
}

/// `lpeg.Cs(pattern: any): pattern`, the text with values in place of what they matched.
unsafe extern "C-unwind" fn cs(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { push_capture(state, Tag::Capture, Kind::Subst, check(state, 1)) };
    1
}

/// `lpeg.Ct(pattern: any): pattern`, a table of values.
unsafe extern "C-unwind" fn ct(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { push_capture(state, Tag::Capture, Kind::Table, check(state, 1)) };
    1
}

/// `lpeg.setmaxstack(n: integer)`, for this Lua state.
unsafe extern "C-unwind" fn set_max_stack(state: *mut lua_State) -> c_int {
    // SAFETY: as above; upvalue 1 is the limit.
    unsafe {
        let n = ffi::luaL_checkinteger(state, 1);
        let Some(limit) = i32::try_from(n).ok().filter(|&it| it > 0) else {
            raise_argument(state, 1, Raise::new("out of range"))
        };
        ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast::<Limit>().write(Limit(limit as u32));
    }
    0
}

/// `lpeg.pcode(pattern)`, which LPeg has only when it was built for its own debugging.
unsafe extern "C-unwind" fn pcode(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        if get(state, 1).is_none() {
            return luaL_typeerror(state, 1, pattern::NAME.as_ptr());
        }
        raise(state, Raise::new("function only implemented in debug mode"))
    }
}

/// `lpeg.ptree(pattern)`, likewise.
unsafe extern "C-unwind" fn ptree(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        check(state, 1);
        raise(state, Raise::new("function only implemented in debug mode"))
    }
}

/// `lpeg.locale(into: table?): table`, patterns of the classes of C's locale.
unsafe extern "C-unwind" fn locale(state: *mut lua_State) -> c_int {
    type Class = unsafe extern "C" fn(c_int) -> c_int;
    const CLASSES: [(&CStr, Class); 11] = [
        (c"alnum", libc::isalnum),
        (c"alpha", libc::isalpha),
        (c"cntrl", libc::iscntrl),
        (c"digit", libc::isdigit),
        (c"graph", libc::isgraph),
        (c"lower", libc::islower),
        (c"print", libc::isprint),
        (c"punct", libc::ispunct),
        (c"space", libc::isspace),
        (c"upper", libc::isupper),
        (c"xdigit", libc::isxdigit),
    ];
    // SAFETY: as above; the classes take any byte.
    unsafe {
        if ffi::lua_isnoneornil(state, 1) != 0 {
            ffi::lua_settop(state, 0);
            ffi::lua_createtable(state, 0, CLASSES.len() as c_int);
        } else {
            ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
            ffi::lua_settop(state, 1);
        }
        for (name, class) in CLASSES {
            let mut set = EMPTY;
            for byte in 0..=255 {
                if class(c_int::from(byte)) != 0 {
                    insert(&mut set, byte);
                }
            }
            push_set(state, &set);
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
    }
    1
}
