//! Patterns as Lua sees them: userdata whose memory is the tree, with two user values.
//!
//! The tree lies in the userdata itself, so it counts in the service's memory and needs no finalizer. The first user value is the table of
//! values that the tree's keys are places in, or nil; the second the code, once the pattern was used. Neither is trusted: `debug` reaches
//! them. A pattern never changes, so patterns share tables of values.
//!
//! # Invariants
//! * **P1** The tag of a pattern is made of its own address; it is written when the words behind it are all set.

use std::ffi::{CStr, c_int};
use std::slice;

use super::compile;
use super::grammar;
use super::tree::{OPEN, Tag, each, shift, tag, word, write_literal};
use crate::raw::{Raise, bytes, ffi, guard, lua_State, luaL_typeerror, raise};

/// What error texts call a pattern.
pub(super) const NAME: &CStr = c"lpeg-pattern";
/// Name of the metatable in the registry. Not LPeg's: its C module may be loaded as well, and would take our patterns for its own.
pub(super) const METATABLE: &CStr = c"skein.lpeg.pattern";

/// Deepest tree. Whoever walks one does so by recursion.
const DEEPEST: u32 = 500;
/// Most values of a pattern.
const VALUES_MOST: u32 = 65535;
/// Largest tree, in words: as many as code has at most. Patterns double with each step of a program of few steps.
const LARGEST: usize = compile::MOST;

const VALUES: c_int = 1;
const CODE: c_int = 2;

/// The beginning of a userdata of ours: a pattern or its code.
#[repr(C)]
struct Head {
    tag: usize,
    len: u32,
    depth: u32,
}

/// What a userdata is.
#[derive(Clone, Copy)]
enum Sort {
    Pattern,
    Code,
}

static MARKS: [u8; 2] = [0; 2];

impl Sort {
    fn tag(self, address: usize) -> usize {
        address.rotate_left(7) ^ (&raw const MARKS[self as usize]).addr()
    }
}

/// A pattern in a slot of Lua's stack.
#[derive(Clone, Copy)]
pub(super) struct Pattern<'a> {
    /// Its tree.
    pub(super) words: &'a [u32],
    /// How deep that is.
    pub(super) depth: u32,
}

impl Pattern<'_> {
    /// Its words as part of a sequence or choice, and how deep that gets.
    pub(super) fn spread(&self, into: Tag) -> (&[u32], u32) {
        if tag(self.words) == into { (&self.words[2..], self.depth) } else { (self.words, self.depth + 1) }
    }
}

/// # Safety
/// `index` is acceptable and keeps its value while the words are used.
#[inline]
unsafe fn read<'a>(state: *mut lua_State, index: c_int, sort: Sort) -> Option<(&'a [u32], u32)> {
    // SAFETY: by the caller's promise. The head is read only of a full userdata that has one; the words are there (P1).
    unsafe {
        if ffi::lua_type(state, index) != ffi::LUA_TUSERDATA
            || (ffi::lua_rawlen(state, index) as usize) < size_of::<Head>()
        {
            return None;
        }
        let head = ffi::lua_touserdata(state, index).cast::<Head>();
        if (*head).tag != sort.tag(head.addr()) {
            return None;
        }
        Some((slice::from_raw_parts(head.add(1).cast(), (*head).len as usize), (*head).depth))
    }
}

/// Pushes a userdata of `len` words, which `fill` writes.
///
/// # Safety
/// As for [`raise`], with a free slot; `fill` owns nothing.
unsafe fn push(state: *mut lua_State, len: usize, depth: u32, sort: Sort, fill: impl FnOnce(&mut [u32])) {
    // SAFETY: by the caller's promise; the userdata is as large as the head and its words.
    unsafe {
        if len > LARGEST {
            raise(state, Raise::new(compile::TooBig));
        }
        let head = ffi::lua_newuserdatauv(state, size_of::<Head>() + len * 4, 2).cast::<Head>();
        head.write(Head { tag: 0, len: len as u32, depth });
        let words = head.add(1).cast::<u32>();
        words.write_bytes(0, len);
        let filled = guard(|| {
            fill(slice::from_raw_parts_mut(words, len));
            Ok(())
        });
        if let Err(error) = filled {
            raise(state, error);
        }
        (*head).tag = sort.tag(head.addr());
    }
}

/// The pattern at `index`, if it is one.
///
/// # Safety
/// `index` is acceptable and keeps its value while the pattern is used.
#[inline]
pub(super) unsafe fn get<'a>(state: *mut lua_State, index: c_int) -> Option<Pattern<'a>> {
    // SAFETY: by the caller's promise.
    unsafe { read(state, index, Sort::Pattern) }.map(|(words, depth)| Pattern { words, depth })
}

/// Pushes a pattern whose tree `fill` writes. It has no values.
///
/// # Safety
/// As for [`raise`], with three free slots; `fill` owns nothing.
pub(super) unsafe fn new(state: *mut lua_State, len: usize, depth: u32, fill: impl FnOnce(&mut [u32])) {
    // SAFETY: by the caller's promise.
    unsafe {
        if depth > DEEPEST {
            raise(state, Raise::new(format_args!("pattern nested too deeply (limit is {DEEPEST})")));
        }
        push(state, len, depth, Sort::Pattern, fill);
        ffi::luaL_setmetatable(state, METATABLE.as_ptr());
    }
}

/// The words of the pattern on top of the stack, to be finished before anybody else sees it.
///
/// # Safety
/// There is one, and nobody else looks at it while the words are used.
pub(super) unsafe fn top_mut<'a>(state: *mut lua_State) -> &'a mut [u32] {
    // SAFETY: by the caller's promise.
    unsafe {
        let head = ffi::lua_touserdata(state, -1).cast::<Head>();
        slice::from_raw_parts_mut(head.add(1).cast(), (*head).len as usize)
    }
}

/// Pushes the table of values of the pattern at `index`, or something else that is none; answers how many it has.
///
/// # Safety
/// As for [`raise`], with a free slot. There is a pattern.
pub(super) unsafe fn push_values(state: *mut lua_State, index: c_int) -> u32 {
    // SAFETY: by the caller's promise.
    unsafe {
        if ffi::lua_getiuservalue(state, index, VALUES) == ffi::LUA_TTABLE {
            ffi::lua_rawlen(state, -1) as u32
        } else {
            0
        }
    }
}

/// Makes the table on top of the stack the one of the pattern below it.
///
/// # Safety
/// They are there.
pub(super) unsafe fn set_values(state: *mut lua_State) {
    // SAFETY: by the caller's promise.
    unsafe { ffi::lua_setiuservalue(state, -2, VALUES) };
}

/// Raises unless a pattern may have this many values.
///
/// # Safety
/// As for [`raise`].
pub(super) unsafe fn check_count(state: *mut lua_State, count: u32) {
    if count > VALUES_MOST {
        // SAFETY: by the caller's promise.
        unsafe { raise(state, Raise::new("too many Lua values in pattern")) }
    }
}

/// Copies `count` values of the table at `from` behind the `behind` ones of the table on top of the stack.
///
/// # Safety
/// They are there; as for [`raise`], with a free slot.
pub(super) unsafe fn append(state: *mut lua_State, from: c_int, count: u32, behind: u32) {
    for at in 1..=count {
        // SAFETY: by the caller's promise.
        unsafe {
            ffi::lua_rawgeti(state, from, i64::from(at));
            ffi::lua_rawseti(state, -2, i64::from(behind + at));
        }
    }
}

/// The pattern on top of the stack has the values of the one at `index`.
///
/// # Safety
/// As for [`raise`], with a free slot.
pub(super) unsafe fn inherit(state: *mut lua_State, index: c_int) {
    // SAFETY: by the caller's promise.
    unsafe {
        push_values(state, index);
        set_values(state);
    }
}

/// The pattern on top of the stack, made of those at 1 and 2, gets the values of both. Answers how far the keys of the one at
/// `second` are to be shifted; the other's stay.
///
/// # Safety
/// As for [`raise`], with four free slots.
pub(super) unsafe fn join(state: *mut lua_State, first: c_int, second: c_int) -> u32 {
    // SAFETY: by the caller's promise.
    unsafe {
        let of_first = push_values(state, first);
        let of_second = push_values(state, second);
        if of_second == 0 || ffi::lua_rawequal(state, -1, -2) != 0 {
            ffi::lua_settop(state, -2);
            set_values(state);
            return 0;
        }
        if of_first == 0 {
            ffi::lua_remove(state, -2);
            set_values(state);
            return 0;
        }
        check_count(state, of_first.saturating_add(of_second));
        let (left, right) = (ffi::lua_gettop(state) - 1, ffi::lua_gettop(state));
        ffi::lua_createtable(state, (of_first + of_second) as c_int, 0);
        append(state, left, of_first, 0);
        append(state, right, of_second, of_first);
        ffi::lua_replace(state, left);
        ffi::lua_settop(state, left);
        set_values(state);
        of_first
    }
}

/// The pattern on top of the stack, made of the one at `inner` if there is one, gets the value at `value` too. Answers its key.
///
/// # Safety
/// As for [`raise`], with four free slots. The places are absolute.
pub(super) unsafe fn add_value(state: *mut lua_State, inner: Option<c_int>, value: c_int) -> u32 {
    // SAFETY: by the caller's promise.
    unsafe {
        let had = match inner {
            Some(inner) => push_values(state, inner),
            None => {
                ffi::lua_pushnil(state);
                0
            }
        };
        if ffi::lua_isnoneornil(state, value) != 0 {
            set_values(state);
            return 0;
        }
        check_count(state, had.saturating_add(1));
        let old = ffi::lua_gettop(state);
        ffi::lua_createtable(state, had as c_int + 1, 0);
        append(state, old, had, 0);
        ffi::lua_pushvalue(state, value);
        ffi::lua_rawseti(state, -2, i64::from(had) + 1);
        ffi::lua_replace(state, old);
        set_values(state);
        had + 1
    }
}

/// The pattern at `index`, made of what stands there if that is something a pattern can be made of; raises otherwise.
///
/// # Safety
/// As for [`raise`], with ten free slots; `index` is positive.
#[inline]
pub(super) unsafe fn check<'a>(state: *mut lua_State, index: c_int) -> Pattern<'a> {
    // SAFETY: by the caller's promise.
    unsafe {
        match get(state, index) {
            Some(found) => found,
            None => make(state, index),
        }
    }
}

/// # Safety
/// As for [`check`].
#[cold]
unsafe fn make<'a>(state: *mut lua_State, index: c_int) -> Pattern<'a> {
    // SAFETY: by the caller's promise; what is written has the length that was asked for.
    unsafe {
        match ffi::lua_type(state, index) {
            ffi::LUA_TSTRING => {
                let text = bytes(state, index).unwrap_or_default();
                match text.len() {
                    0 => new(state, 1, 1, |out| out[0] = word(Tag::True, 0)),
                    len => new(state, 2 + len.div_ceil(4), 1, |out| write_literal(out, text)),
                }
            }
            ffi::LUA_TNUMBER => match ffi::lua_tointegerx(state, index, std::ptr::null_mut()) as i32 {
                0 => new(state, 1, 1, |out| out[0] = word(Tag::True, 0)),
                n @ 1.. => new(state, 2, 1, |out| {
                    out.copy_from_slice(&[word(Tag::Any, 0), n.unsigned_abs()]);
                }),
                n => new(state, 4, 2, |out| {
                    out.copy_from_slice(&[word(Tag::Not, 0), 4, word(Tag::Any, 0), n.unsigned_abs()]);
                }),
            },
            ffi::LUA_TBOOLEAN => {
                let tag = if ffi::lua_toboolean(state, index) != 0 { Tag::True } else { Tag::False };
                new(state, 1, 1, |out| out[0] = word(tag, 0));
            }
            ffi::LUA_TTABLE => grammar::push(state, index),
            ffi::LUA_TFUNCTION => {
                new(state, 4, 2, |out| {
                    out.copy_from_slice(&[word(Tag::Runtime, 0), 4, 0, word(Tag::True, 0)]);
                });
                let key = add_value(state, None, index);
                top_mut(state)[2] = key;
            }
            _ => {
                luaL_typeerror(state, index, NAME.as_ptr());
            }
        }
        ffi::lua_replace(state, index);
        match get(state, index) {
            Some(made) => made,
            None => raise(state, Raise::new("not a pattern")),
        }
    }
}

/// Pushes the code of the pattern at `index`, compiling it when this is its first use.
///
/// # Safety
/// As for [`raise`], with three free slots; there is a pattern. The code stays where it is while it is on the stack.
#[inline]
pub(super) unsafe fn push_code<'a>(state: *mut lua_State, index: c_int) -> &'a [u32] {
    // SAFETY: by the caller's promise.
    unsafe {
        ffi::lua_getiuservalue(state, index, CODE);
        match read(state, -1, Sort::Code) {
            Some((code, _)) => code,
            None => {
                ffi::lua_settop(state, -2);
                push_new_code(state, index)
            }
        }
    }
}

/// # Safety
/// As for [`push_code`].
#[cold]
unsafe fn push_new_code<'a>(state: *mut lua_State, index: c_int) -> &'a [u32] {
    // SAFETY: by the caller's promise.
    unsafe {
        let Some(pattern) = get(state, index) else { raise(state, Raise::new("not a pattern")) };
        let mut open = None;
        each(pattern.words, |_, node| {
            if tag(node) == Tag::Call && node[2] == OPEN {
                open = open.or(Some(node[1]));
            }
        });
        if let Some(name) = open {
            push_values(state, index);
            grammar::push_name(state, -1, name);
            let error = grammar::about(state, |name| {
                Raise::new(format_args!("rule '{name}' used outside a grammar"))
            });
            raise(state, error);
        }
        // Twice: what owns memory is gone when Lua's memory is asked for, and a collection may compile something else meanwhile.
        let len = match guard(|| {
            let mut code = Vec::new();
            compile::compile(pattern.words, &mut code)?;
            Ok(code.len())
        }) {
            Ok(len) => len,
            Err(error) => raise(state, error),
        };
        push(state, len, 0, Sort::Code, |out| {
            let mut code = Vec::with_capacity(len);
            if compile::compile(pattern.words, &mut code).is_ok() {
                out.copy_from_slice(&code);
            }
        });
        ffi::lua_pushvalue(state, -1);
        ffi::lua_setiuservalue(state, index, CODE);
        match read(state, -1, Sort::Code) {
            Some((code, _)) => code,
            None => raise(state, Raise::new("not a pattern")),
        }
    }
}

/// Writes a copy of a tree whose keys are `by` further on.
pub(super) fn copy(out: &mut [u32], words: &[u32], by: u32) {
    out.copy_from_slice(words);
    shift(out, by);
}
