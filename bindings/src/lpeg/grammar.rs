//! Grammars: tables of rules become one tree, whose calls know their rules.
//!
//! What matching needs to know of a rule without looking into it is worked out here and written into its node: whether it may match
//! without going forward, what it begins with, how long it is. Each starts from what is safe to believe and is refined until nothing changes.

use std::ffi::c_int;

use super::analysis::{
    First, NEVER_FAILS, NULLABLE, Scope, calls_in_front, first, fixed_length, has_empty_loop, never_fails,
    nullable, rules,
};
use super::pattern::{self, append, check_count, push_values, set_values, top_mut};
use super::tree::{
    FULL, GRAMMAR, OPEN, RULE, Tag, VARIES, child, each, head, number, shift, size, tag, word,
};
use crate::raw::{Raise, bytes, ffi, guard, lua_State, raise, type_name};

/// Most rules of a grammar.
const MOST: usize = 1000;
/// Rounds in which beginnings of rules become more precise. They are right after each.
const ROUNDS: usize = 8;
/// In a walk along a left recursion, how far the rule is that an error names: where LPeg stops.
const FAR: usize = 1000;

/// What is wrong with a grammar, by the number of a rule.
#[derive(Clone, Copy)]
enum Fault {
    LeftRecursive(usize),
    EmptyLoop(usize),
}

/// Pushes what a place of the table of values at `index` has.
///
/// # Safety
/// As for [`raise`], with a free slot.
pub(super) unsafe fn push_name(state: *mut lua_State, index: c_int, key: u32) {
    // SAFETY: by the caller's promise.
    unsafe {
        if key != 0 && ffi::lua_type(state, index) == ffi::LUA_TTABLE {
            ffi::lua_rawgeti(state, index, i64::from(key));
        } else {
            ffi::lua_pushnil(state);
        }
    }
}

/// An error about the rule whose name is on top of the stack.
///
/// # Safety
/// As for [`raise`].
pub(super) unsafe fn about(state: *mut lua_State, what: impl FnOnce(&str) -> Raise) -> Raise {
    // SAFETY: by the caller's promise; the name is ours to change, so a number becomes a string.
    unsafe {
        match bytes(state, -1) {
            Some(name) => guard(|| Ok(what(&String::from_utf8_lossy(name)))).unwrap_or_else(|error| error),
            None => {
                let name = type_name(state, -1);
                guard(|| Ok(what(&format!("(a {name})")))).unwrap_or_else(|error| error)
            }
        }
    }
}

/// Pushes the pattern of the grammar at `index`, or raises.
///
/// # Safety
/// As for [`raise`], with ten free slots; `index` is positive.
pub(super) unsafe fn push(state: *mut lua_State, index: c_int) {
    // SAFETY: by the caller's promise. Patterns stay on the stack while their words are used.
    unsafe {
        // Slots: which number each name has, then name and pattern of each rule.
        ffi::lua_createtable(state, 0, 8);
        let numbers = ffi::lua_gettop(state);
        push_first_rule(state, index);
        note(state, numbers, 1);
        let mut count = 1;
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, index) != 0 {
            let is_first = ffi::lua_isinteger(state, -2) != 0
                && ffi::lua_tointegerx(state, -2, std::ptr::null_mut()) == 1
                || ffi::lua_rawequal(state, -2, numbers + 1) != 0;
            if is_first {
                ffi::lua_settop(state, -2);
                continue;
            }
            if pattern::get(state, -1).is_none() {
                ffi::lua_pushvalue(state, -2);
                let error = about(state, |name| Raise::new(format_args!("rule '{name}' is not a pattern")));
                raise(state, error);
            }
            count += 1;
            if count > MOST {
                raise(state, Raise::new("grammar has too many rules"));
            }
            ffi::luaL_checkstack(state, 10, c"grammar has too many rules".as_ptr());
            note(state, numbers, count as i64);
            // The key again, for the next one.
            ffi::lua_pushvalue(state, -2);
        }
        let (mut len, mut depth) = (GRAMMAR, 0);
        for rule in 0..count {
            let found = rule_at(state, numbers, rule);
            len += RULE + found.words.len();
            depth = depth.max(found.depth);
        }
        pattern::new(state, len, depth + 2, |out| {
            out[..GRAMMAR].copy_from_slice(&[word(Tag::Grammar, 0), len as u32, count as u32, VARIES]);
            let mut at = GRAMMAR;
            for rule in 0..count {
                let words = rule_at(state, numbers, rule).words;
                let end = at + RULE + words.len();
                out[at] = word(Tag::Rule, 0);
                out[at + 1] = (end - at) as u32;
                First::UNKNOWN.write(&mut out[at..]);
                out[at + RULE..end].copy_from_slice(words);
                at = end;
            }
        });
        take_values(state, numbers, count);
        know_calls(state, numbers);
        let words = top_mut(state);
        let fault = match guard(|| Ok(finish(words))) {
            Ok(fault) => fault,
            Err(error) => raise(state, error),
        };
        let (rule, what) = match fault {
            None => {
                ffi::lua_replace(state, numbers);
                ffi::lua_settop(state, numbers);
                return;
            }
            Some(Fault::LeftRecursive(rule)) => (rule, ["rule '", "' may be left recursive"]),
            Some(Fault::EmptyLoop(rule)) => (rule, ["empty loop in rule '", "'"]),
        };
        ffi::lua_pushvalue(state, numbers + 1 + 2 * rule as c_int);
        let error = about(state, |name| Raise::new(format_args!("{}{name}{}", what[0], what[1])));
        raise(state, error);
    }
}

/// The pattern of a rule.
///
/// # Safety
/// It is on the stack, and stays there.
unsafe fn rule_at<'a>(state: *mut lua_State, numbers: c_int, rule: usize) -> pattern::Pattern<'a> {
    const NONE: &[u32] = &[Tag::False as u32];
    // SAFETY: by the caller's promise.
    unsafe {
        pattern::get(state, numbers + 2 + 2 * rule as c_int)
            .unwrap_or(pattern::Pattern { words: NONE, depth: 1 })
    }
}

/// Pushes name and pattern of the first rule.
///
/// # Safety
/// As for [`push`].
unsafe fn push_first_rule(state: *mut lua_State, index: c_int) {
    // SAFETY: by the caller's promise.
    unsafe {
        ffi::lua_rawgeti(state, index, 1);
        if ffi::lua_isstring(state, -1) != 0 {
            ffi::lua_pushvalue(state, -1);
            ffi::lua_gettable(state, index);
        } else {
            ffi::lua_pushinteger(state, 1);
            ffi::lua_rotate(state, -2, 1);
        }
        if ffi::lua_isnoneornil(state, -1) != 0 {
            raise(state, Raise::new("grammar has no initial rule"));
        }
        if pattern::get(state, -1).is_none() {
            ffi::lua_pushvalue(state, -2);
            let error =
                about(state, |name| Raise::new(format_args!("initial rule '{name}' is not a pattern")));
            raise(state, error);
        }
    }
}

/// The name below the top of the stack has this number.
///
/// # Safety
/// As for [`raise`], with two free slots.
unsafe fn note(state: *mut lua_State, numbers: c_int, number: i64) {
    // SAFETY: by the caller's promise; a key of a table, or a string, can be one of another.
    unsafe {
        ffi::lua_pushvalue(state, -2);
        ffi::lua_pushinteger(state, number);
        ffi::lua_rawset(state, numbers);
    }
}

/// The grammar on top of the stack gets the values of its rules, and their names.
///
/// # Safety
/// As for [`raise`], with four free slots.
unsafe fn take_values(state: *mut lua_State, numbers: c_int, count: usize) {
    // SAFETY: by the caller's promise. The words are nobody else's yet.
    unsafe {
        let (mut at, mut used) = (GRAMMAR, 0u32);
        ffi::lua_createtable(state, 2 * count as c_int, 0);
        let table = ffi::lua_gettop(state);
        for rule in 0..count as c_int {
            let name = numbers + 1 + 2 * rule;
            let of_rule = push_values(state, name + 1);
            check_count(state, used.saturating_add(of_rule).saturating_add(1));
            ffi::lua_pushvalue(state, table);
            append(state, table + 1, of_rule, used);
            ffi::lua_pushvalue(state, name);
            ffi::lua_rawseti(state, -2, i64::from(used + of_rule) + 1);
            ffi::lua_settop(state, table);
            ffi::lua_pushvalue(state, -2);
            let words = top_mut(state);
            let end = at + words[at + 1] as usize;
            shift(&mut words[at + RULE..end], used);
            used += of_rule + 1;
            words[at + 2] = used;
            at = end;
            ffi::lua_settop(state, table);
        }
        set_values(state);
    }
}

/// Every call that is open yet gets the number of its rule.
///
/// # Safety
/// As for [`raise`], with four free slots. The grammar is on top of the stack.
unsafe fn know_calls(state: *mut lua_State, numbers: c_int) {
    // SAFETY: by the caller's promise. The words are nobody else's yet.
    unsafe {
        let words = top_mut(state);
        let grammar = ffi::lua_gettop(state);
        push_values(state, grammar);
        let mut at = 0;
        while at < words.len() {
            let node = &mut words[at..];
            if tag(node) == Tag::Call && node[2] == OPEN {
                push_name(state, grammar + 1, node[1]);
                ffi::lua_pushvalue(state, -1);
                if ffi::lua_isnil(state, -1) != 0 || ffi::lua_rawget(state, numbers) != ffi::LUA_TNUMBER {
                    ffi::lua_settop(state, grammar + 2);
                    let error = about(state, |name| {
                        Raise::new(format_args!("rule '{name}' undefined in given grammar"))
                    });
                    raise(state, error);
                }
                node[2] = ffi::lua_tointegerx(state, -1, std::ptr::null_mut()) as u32 - 1;
                ffi::lua_settop(state, grammar + 1);
            }
            at += head(&words[at..]);
        }
        ffi::lua_settop(state, grammar);
    }
}

/// Looks at a whole grammar, and writes down what there is to know.
fn finish(words: &mut [u32]) -> Option<Fault> {
    let places = rules(words, 0);
    let at = |rule: usize| places[rule] as usize;
    loop {
        let mut changed = false;
        for rule in 0..places.len() {
            let scope = Scope::new(words, &places);
            let inner = child(&words[at(rule)..]);
            let known = if nullable(inner, scope) { NULLABLE } else { 0 }
                | if never_fails(inner, scope) { NEVER_FAILS } else { 0 };
            changed |= known != number(&words[at(rule)..]);
            words[at(rule)] = word(Tag::Rule, known);
        }
        if !changed {
            break;
        }
    }
    let scope = Scope::new(words, &places);
    let calls: Vec<Vec<u32>> = (0..places.len())
        .map(|rule| {
            let mut calls = Vec::new();
            calls_in_front(&words[at(rule)..], scope, &mut calls);
            calls
        })
        .collect();
    if let Some(rule) = left_recursive(&calls) {
        return Some(Fault::LeftRecursive(rule));
    }
    // A rule that nobody calls is never run.
    let mut called = vec![false; places.len()];
    called[0] = true;
    let mut node = GRAMMAR;
    while node < words.len() {
        if tag(&words[node..]) == Tag::Call {
            called[words[node + 2] as usize] = true;
        }
        // Calls in a grammar inside are calls of its own rules.
        node += if tag(&words[node..]) == Tag::Grammar { size(&words[node..]) } else { head(&words[node..]) };
    }
    let loops = |rule: &usize| called[*rule] && has_empty_loop(&words[at(*rule)..], scope);
    if let Some(rule) = (0..places.len()).find(loops) {
        return Some(Fault::EmptyLoop(rule));
    }
    for _ in 0..ROUNDS {
        let scope = Scope::new(words, &places);
        let firsts: Vec<First> =
            (0..places.len()).map(|rule| first(child(&words[at(rule)..]), &FULL, scope)).collect();
        let mut changed = false;
        for (rule, first) in firsts.into_iter().enumerate() {
            changed |= first != First::of_rule(&words[at(rule)..]);
            first.write(&mut words[at(rule)..]);
        }
        if !changed {
            break;
        }
    }
    words[0] = word(Tag::Grammar, number(&words[at(0)..]));
    words[3] = first_length(words, &places).unwrap_or(VARIES);
    None
}

/// How many bytes the first rule matches, if that is always the same.
fn first_length(words: &[u32], places: &[u32]) -> Option<u32> {
    let mut calls = 0;
    each(words, |_, node| calls += usize::from(tag(node) == Tag::Call));
    let mut lengths: Vec<Option<u32>> = vec![None; places.len()];
    for _ in 0..=calls.min(ROUNDS) {
        for (rule, &at) in places.iter().enumerate() {
            let of_rule = |rule: u32| lengths.get(rule as usize).copied().flatten();
            lengths[rule] = fixed_length(child(&words[at as usize..]), &of_rule);
        }
    }
    lengths[0]
}

/// A rule of a left recursion, if there is one: `calls` are the calls of each rule that it may make before going forward.
fn left_recursive(calls: &[Vec<u32>]) -> Option<usize> {
    let mut done = vec![false; calls.len()];
    for start in 0..calls.len() {
        // The rules that are being looked at, and which of their calls comes next.
        let mut path = vec![(start, 0)];
        let mut on_path = vec![false; calls.len()];
        on_path[start] = true;
        while let Some((rule, next)) = path.last_mut() {
            let Some(&called) = calls[*rule].get(*next).filter(|_| !done[*rule]) else {
                done[*rule] = true;
                on_path[*rule] = false;
                path.pop();
                continue;
            };
            *next += 1;
            let called = called as usize;
            if on_path[called] {
                let back = path.iter().position(|it| it.0 == called).unwrap_or(0);
                let far = if FAR < back { FAR } else { back + (FAR - back) % (path.len() - back) };
                return Some(path[far].0);
            }
            if !done[called] {
                on_path[called] = true;
                path.push((called, 0));
            }
        }
    }
    None
}
