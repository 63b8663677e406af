//! What can be said of a tree without matching: needed to refuse patterns that would never end, and to leave out work.
//!
//! Nothing here follows a call into its rule: what is known of a rule stands in its node ([`super::grammar`] puts it there). So the work is
//! linear in the size of a tree, and its depth that of the tree, which is limited.

use super::tree::{
    EMPTY, FULL, RULE, Set, Tag, VARIES, as_set, child, children, combine, head, insert, number, set_of,
    size, tag,
};

/// What is known of a rule, and of a grammar's first one: numbers beside the tag.
pub(super) const NULLABLE: u32 = 1;
pub(super) const NEVER_FAILS: u32 = 2;

/// The grammar whose rules the calls of a tree mean.
#[derive(Clone, Copy, Default)]
pub(super) struct Scope<'a> {
    /// The words that the places are places in.
    words: &'a [u32],
    /// Where each rule begins.
    rules: &'a [u32],
}

impl<'a> Scope<'a> {
    pub(super) fn new(words: &'a [u32], rules: &'a [u32]) -> Scope<'a> {
        Scope { words, rules }
    }

    /// The rule of this number, unless it is one that is not known yet.
    fn rule(self, number: u32) -> Option<&'a [u32]> {
        self.rules.get(number as usize).map(|&at| &self.words[at as usize..])
    }
}

/// Where the rules of the grammar at `at` begin.
pub(super) fn rules(words: &[u32], at: usize) -> Vec<u32> {
    let mut places = Vec::new();
    let mut next = at + head(&words[at..]);
    while next < at + size(&words[at..]) {
        places.push(next as u32);
        next += size(&words[next..]);
    }
    places
}

/// Whether a pattern may match without going forward. A call of a rule that is not known says no.
pub(super) fn nullable(node: &[u32], scope: Scope<'_>) -> bool {
    match tag(node) {
        Tag::True | Tag::And | Tag::Not | Tag::Behind | Tag::AtMost => true,
        Tag::False | Tag::Any | Tag::Set | Tag::Utf => false,
        Tag::Bytes => node[1] == 0,
        Tag::Seq => children(node).all(|it| nullable(it, scope)),
        Tag::Choice => children(node).any(|it| nullable(it, scope)),
        Tag::AtLeast => node[2] == 0,
        Tag::Call => scope.rule(node[2]).is_some_and(|rule| number(rule) & NULLABLE != 0),
        Tag::Grammar => number(node) & NULLABLE != 0,
        Tag::Rule | Tag::Capture | Tag::Runtime => nullable(child(node), scope),
    }
}

/// Whether a pattern matches whatever there is. A call of a rule that is not known may fail.
pub(super) fn never_fails(node: &[u32], scope: Scope<'_>) -> bool {
    match tag(node) {
        Tag::True | Tag::AtMost => true,
        Tag::AtLeast => node[2] == 0,
        Tag::Bytes => node[1] == 0,
        Tag::Seq => children(node).all(|it| never_fails(it, scope)),
        Tag::Choice => children(node).any(|it| never_fails(it, scope)),
        Tag::Call => scope.rule(node[2]).is_some_and(|rule| number(rule) & NEVER_FAILS != 0),
        Tag::Grammar => number(node) & NEVER_FAILS != 0,
        Tag::And | Tag::Capture | Tag::Rule => never_fails(child(node), scope),
        _ => false,
    }
}

/// Whether a pattern whose first byte is one that it may begin with matches for certain.
pub(super) fn fails_at_first_byte(node: &[u32], scope: Scope<'_>) -> bool {
    match tag(node) {
        Tag::Set | Tag::False => true,
        Tag::Any | Tag::Bytes => node[1] == 1,
        Tag::Capture | Tag::And => fails_at_first_byte(child(node), scope),
        Tag::Choice => children(node).all(|it| fails_at_first_byte(it, scope)),
        Tag::Seq => {
            let mut parts = children(node);
            parts.next().is_some_and(|it| fails_at_first_byte(it, scope))
                && parts.all(|it| never_fails(it, scope))
        }
        _ => false,
    }
}

/// How many bytes a pattern matches, if that is always the same. `of_rule` answers for calls.
pub(super) fn fixed_length(node: &[u32], of_rule: &impl Fn(u32) -> Option<u32>) -> Option<u32> {
    match tag(node) {
        Tag::True | Tag::False | Tag::And | Tag::Not | Tag::Behind => {
            Some(u32::from(tag(node) == Tag::False))
        }
        Tag::Any | Tag::Bytes => Some(node[1]),
        Tag::Set => Some(1),
        Tag::Utf => {
            let len = |point: u32| char::from_u32(point).map_or(3, char::len_utf8) as u32;
            (len(node[1]) == len(node[2])).then(|| len(node[1]))
        }
        Tag::Seq => children(node)
            .try_fold(0, |sum: u32, it| sum.checked_add(fixed_length(it, of_rule)?))
            .filter(|&it| it != VARIES),
        Tag::Choice => {
            let mut parts = children(node).map(|it| fixed_length(it, of_rule));
            let first = parts.next()??;
            parts.all(|it| it == Some(first)).then_some(first)
        }
        Tag::AtLeast | Tag::Runtime => None,
        Tag::AtMost => fixed_length(child(node), of_rule).filter(|&it| it == 0),
        Tag::Call => of_rule(node[2]),
        Tag::Grammar => Some(node[3]).filter(|&it| it != VARIES),
        Tag::Rule | Tag::Capture => fixed_length(child(node), of_rule),
    }
}

/// What a match begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct First {
    /// The first byte is one of these, if there is one at all.
    pub(super) set: Set,
    /// There may be none: at the end of the subject it may match too.
    pub(super) may_be_missing: bool,
    /// Nothing is known, or a function has to be asked: not to be left out, whatever comes behind it.
    must_run: bool,
}

impl First {
    /// Nothing is known.
    pub(super) const UNKNOWN: First = First { set: FULL, may_be_missing: true, must_run: true };
    /// Nothing begins so.
    pub(super) const NONE: First = First { set: EMPTY, may_be_missing: false, must_run: false };

    fn of(set: Set) -> First {
        First { set, ..First::NONE }
    }

    /// What one of two begins with.
    pub(super) fn or(self, other: First) -> First {
        First {
            set: combine(&self.set, &other.set, |a, b| a | b),
            may_be_missing: self.may_be_missing || other.may_be_missing,
            must_run: self.must_run || other.must_run,
        }
    }

    /// What is written down in a rule.
    pub(super) fn of_rule(rule: &[u32]) -> First {
        First {
            set: std::array::from_fn(|at| rule[4 + at]),
            may_be_missing: rule[3] & 1 != 0,
            must_run: rule[3] & 2 != 0,
        }
    }

    /// Writes it down there.
    pub(super) fn write(self, rule: &mut [u32]) {
        rule[3] = u32::from(self.may_be_missing) | u32::from(self.must_run) << 1;
        rule[4..RULE].copy_from_slice(&self.set);
    }
}

/// Whether anything about a pattern depends on what comes behind it.
pub(super) fn asks_behind(node: &[u32]) -> bool {
    match tag(node) {
        Tag::False | Tag::Any | Tag::Set | Tag::Utf | Tag::Call | Tag::Grammar | Tag::Runtime => false,
        Tag::Bytes => node[1] == 0,
        _ => true,
    }
}

/// What matches of a pattern begin with, when what comes behind it begins with a byte of `follow`.
pub(super) fn first(node: &[u32], follow: &Set, scope: Scope<'_>) -> First {
    let behind = First { set: *follow, may_be_missing: true, must_run: false };
    match tag(node) {
        Tag::True | Tag::Behind => behind,
        Tag::False => First::of(EMPTY),
        Tag::Any => First::of(FULL),
        Tag::Set => First::of(set_of(node)),
        Tag::Bytes if node[1] == 0 => behind,
        Tag::Bytes => {
            let mut set = EMPTY;
            insert(&mut set, node[2] as u8);
            First::of(set)
        }
        Tag::Utf => First::of(leads(node[1], node[2])),
        Tag::Seq => first_of_all(node, follow, scope),
        Tag::Choice => children(node).map(|it| first(it, follow, scope)).fold(First::of(EMPTY), First::or),
        Tag::AtLeast => {
            let one = first(child(node), &FULL, scope);
            if node[2] == 0 { one.or(behind) } else { one }
        }
        Tag::AtMost => first(child(node), follow, scope).or(behind),
        Tag::And => {
            let inner = first(child(node), &FULL, scope);
            if inner.may_be_missing { First { must_run: inner.must_run, ..behind } } else { inner }
        }
        Tag::Not => match as_set(child(node)) {
            Some(set) => First { set: combine(follow, &set, |a, b| a & !b), ..behind },
            // A function that is to be asked is asked here too.
            None => First { must_run: first(child(node), &FULL, scope).must_run, ..behind },
        },
        Tag::Call => match scope.rule(node[2]).map(First::of_rule) {
            Some(known) if !known.may_be_missing => known,
            _ => First::UNKNOWN,
        },
        Tag::Grammar => {
            let known = First::of_rule(child(node));
            if known.may_be_missing { First::UNKNOWN } else { known }
        }
        Tag::Runtime => {
            // Its function is called wherever its pattern matches, and may go on from elsewhere.
            let inner = first(child(node), &FULL, scope);
            if inner.may_be_missing { First::UNKNOWN } else { inner }
        }
        Tag::Rule | Tag::Capture => first(child(node), follow, scope),
    }
}

/// A sequence: from its end, since a part that may match nothing begins with what is behind it.
fn first_of_all(node: &[u32], follow: &Set, scope: Scope<'_>) -> First {
    // What is behind a part that always takes a byte does not matter. Only where that is seen at once, so that each is looked at once.
    let takes = |it: &&[u32]| {
        matches!(tag(it), Tag::Any | Tag::Set | Tag::Utf) || tag(it) == Tag::Bytes && it[1] != 0
    };
    if let Some(part) = children(node).next().filter(takes) {
        return first(part, follow, scope);
    }
    let parts: Vec<&[u32]> = children(node).collect();
    let last = parts.iter().position(takes).map_or(parts.len(), |at| at + 1);
    let end = First { set: *follow, may_be_missing: true, must_run: false };
    parts[..last].iter().rev().fold(end, |behind, part| {
        let found = first(part, &behind.set, scope);
        let must_run = found.must_run || found.may_be_missing && behind.must_run;
        let may_be_missing = must_run || found.may_be_missing && behind.may_be_missing;
        First { set: found.set, may_be_missing, must_run }
    })
}

/// First bytes of the UTF-8 of code points from one to another.
fn leads(from: u32, to: u32) -> Set {
    let mut set = EMPTY;
    for byte in lead(from)..=lead(to) {
        insert(&mut set, byte);
    }
    set
}

/// The first byte of the UTF-8 of a code point, surrogates too.
fn lead(point: u32) -> u8 {
    match point {
        ..0x80 => point as u8,
        0x80..0x800 => 0xc0 | (point >> 6) as u8,
        0x800..0x1_0000 => 0xe0 | (point >> 12) as u8,
        _ => 0xf0 | (point >> 18) as u8,
    }
}

/// Adds to `calls` the rules that may be called before a pattern has gone forward; answers whether it may match without.
pub(super) fn calls_in_front(node: &[u32], scope: Scope<'_>, calls: &mut Vec<u32>) -> bool {
    match tag(node) {
        Tag::Seq => children(node).all(|it| calls_in_front(it, scope, calls)),
        Tag::Choice => {
            let mut any = false;
            for part in children(node) {
                any |= calls_in_front(part, scope, calls);
            }
            any
        }
        Tag::AtMost | Tag::And | Tag::Not => {
            calls_in_front(child(node), scope, calls);
            true
        }
        Tag::AtLeast => calls_in_front(child(node), scope, calls) || node[2] == 0,
        Tag::Rule | Tag::Capture | Tag::Runtime => calls_in_front(child(node), scope, calls),
        Tag::Call => {
            calls.push(node[2]);
            nullable(node, scope)
        }
        _ => nullable(node, scope),
    }
}

/// Whether a rule has a loop whose body may match without going forward. Loops of grammars inside of it were looked at before.
pub(super) fn has_empty_loop(rule: &[u32], scope: Scope<'_>) -> bool {
    let mut at = 0;
    let end = size(rule);
    while at < end {
        let node = &rule[at..];
        if tag(node) == Tag::AtLeast && nullable(child(node), scope) {
            return true;
        }
        at += if tag(node) == Tag::Grammar { size(node) } else { head(node) };
    }
    false
}
