//! The operators of patterns.

use std::ffi::c_int;

use super::analysis::{Scope, never_fails, nullable};
use super::pattern::{Pattern, check, copy, inherit, join, new, top_mut};
use super::tree::{self, Kind, Tag, as_set, combine, tag, word};
use super::{NUMBERS, push_capture, push_keyed, push_set};
use crate::raw::{Raise, ffi, lua_State, raise, raise_argument, type_name};

/// Answers the pattern at `slot` as it is.
///
/// # Safety
/// There is one.
unsafe fn answer(state: *mut lua_State, slot: c_int) -> c_int {
    // SAFETY: by the caller's promise.
    unsafe { ffi::lua_pushvalue(state, slot) };
    1
}

/// Pushes the patterns at 1 and 2 as parts of one node.
///
/// # Safety
/// As for [`new`], with five free slots.
unsafe fn push_both(state: *mut lua_State, tag: Tag, first: Pattern<'_>, second: Pattern<'_>) {
    // SAFETY: by the caller's promise. Nobody looks at the new pattern before its keys are right.
    unsafe {
        let ((left, depth), (right, other)) = (first.spread(tag), second.spread(tag));
        let len = 2 + left.len() + right.len();
        new(state, len, depth.max(other), |out| {
            out[..2].copy_from_slice(&[word(tag, 0), len as u32]);
            out[2..2 + left.len()].copy_from_slice(left);
            out[2 + left.len()..].copy_from_slice(right);
        });
        let by = join(state, 1, 2);
        tree::shift(&mut top_mut(state)[2 + left.len()..], by);
    }
}

/// `a * b`: one after the other.
pub(super) unsafe extern "C-unwind" fn mul(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (first, second) = (check(state, 1), check(state, 2));
        match (tag(first.words), tag(second.words)) {
            (Tag::False, _) | (_, Tag::True) => return answer(state, 1),
            (Tag::True, _) => return answer(state, 2),
            _ => push_both(state, Tag::Seq, first, second),
        }
    }
    1
}

/// `a + b`: the first that matches.
pub(super) unsafe extern "C-unwind" fn add(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (first, second) = (check(state, 1), check(state, 2));
        if let (Some(a), Some(b)) = (as_set(first.words), as_set(second.words)) {
            push_set(state, &combine(&a, &b, |a, b| a | b));
            return 1;
        }
        match (tag(first.words), tag(second.words)) {
            (_, Tag::False) => return answer(state, 1),
            (Tag::False, _) => return answer(state, 2),
            _ if never_fails(first.words, Scope::default()) => return answer(state, 1),
            _ => push_both(state, Tag::Choice, first, second),
        }
    }
    1
}

/// `a - b`: `a` where `b` does not match.
pub(super) unsafe extern "C-unwind" fn sub(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (first, second) = (check(state, 1), check(state, 2));
        if let (Some(a), Some(b)) = (as_set(first.words), as_set(second.words)) {
            push_set(state, &combine(&a, &b, |a, b| a & !b));
            return 1;
        }
        let (right, depth) = first.spread(Tag::Seq);
        let not = 2 + second.words.len();
        let len = 2 + not + right.len();
        new(state, len, depth.max(second.depth + 2), |out| {
            out[..4].copy_from_slice(&[word(Tag::Seq, 0), len as u32, word(Tag::Not, 0), not as u32]);
            out[4..2 + not].copy_from_slice(second.words);
            out[2 + not..].copy_from_slice(right);
        });
        let by = join(state, 1, 2);
        tree::shift(&mut top_mut(state)[4..2 + not], by);
    }
    1
}

/// `-a`: nothing, where `a` does not match.
pub(super) unsafe extern "C-unwind" fn unm(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { push_predicate(state, Tag::Not) };
    1
}

/// `#a`: nothing, where `a` matches.
pub(super) unsafe extern "C-unwind" fn len(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { push_predicate(state, Tag::And) };
    1
}

/// # Safety
/// As for [`push_capture`].
unsafe fn push_predicate(state: *mut lua_State, tag: Tag) {
    // SAFETY: by the caller's promise.
    unsafe {
        let inner = check(state, 1);
        let len = 2 + inner.words.len();
        new(state, len, inner.depth + 1, |out| {
            out[..2].copy_from_slice(&[word(tag, 0), len as u32]);
            copy(&mut out[2..], inner.words, 0);
        });
        inherit(state, 1);
    }
}

/// `a ^ n`: at least n times, or at most -n times.
pub(super) unsafe extern "C-unwind" fn pow(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let inner = check(state, 1);
        let n = ffi::luaL_checkinteger(state, 2) as i32;
        let tag = if n < 0 { Tag::AtMost } else { Tag::AtLeast };
        if tag == Tag::AtLeast && nullable(inner.words, Scope::default()) {
            raise(state, Raise::new("loop body may accept empty string"));
        }
        let len = 3 + inner.words.len();
        new(state, len, inner.depth + 1, |out| {
            out[..3].copy_from_slice(&[word(tag, 0), len as u32, n.unsigned_abs()]);
            copy(&mut out[3..], inner.words, 0);
        });
        inherit(state, 1);
    }
    1
}

/// `a / value`: what a string, number, table or function makes of the captures of `a`.
pub(super) unsafe extern "C-unwind" fn div(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let kind = match ffi::lua_type(state, 2) {
            ffi::LUA_TFUNCTION => Kind::Function,
            ffi::LUA_TTABLE => Kind::Query,
            ffi::LUA_TSTRING => Kind::String,
            ffi::LUA_TNUMBER => {
                let n = ffi::lua_tointegerx(state, 2, std::ptr::null_mut());
                let inner = check(state, 1);
                if !(0..NUMBERS).contains(&n) {
                    raise_argument(state, 1, Raise::new("invalid number"));
                }
                push_capture(state, Tag::Capture, Kind::Num, inner);
                top_mut(state)[2] = n as u32;
                return 1;
            }
            _ => {
                let found = type_name(state, 2);
                raise(state, Raise::new(format_args!("unexpected {found} as 2nd operand to LPeg '/'")));
            }
        };
        push_keyed(state, Tag::Capture, kind, check(state, 1), 2);
    }
    1
}

/// `a % f`: `f` makes a new value of the last one and of the captures of `a`.
pub(super) unsafe extern "C-unwind" fn accumulate(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { push_keyed(state, Tag::Capture, Kind::Accumulator, check(state, 1), 2) };
    1
}
