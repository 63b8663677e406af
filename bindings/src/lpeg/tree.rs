//! Patterns as trees: what the operators build, and what is compiled when a pattern is first used.
//!
//! A tree is a run of 32-bit words, its nodes in preorder. The first word of a node is its [`Tag`], with a number above; the words behind
//! it, before the first child, are:
//!
//! | node | words |
//! |---|---|
//! | `True`, `False` | – |
//! | `Any` | how many bytes |
//! | `Bytes` | length, then the bytes, filled up to a whole word |
//! | `Set` | 8 words, a bit for each byte |
//! | `Utf` | first and last code point |
//! | `Seq`, `Choice` | size; any number of children |
//! | `And`, `Not` | size; one child |
//! | `AtLeast`, `AtMost`, `Behind` | size, n; one child |
//! | `Call` | name, rule (or [`OPEN`] until the grammar is known) |
//! | `Grammar` | size, rules, fixed length; the rules |
//! | `Rule` | size, name, first byte may be missing, 8 words of first bytes; one child |
//! | `Capture`, `Runtime` | size, key; one child. The kind of a capture is the number beside its tag |
//!
//! A size counts all words of the node. Names and keys are places in the pattern's table of values, 0 for nil; of captures that are
//! numbers ([`Kind::is_number`]) they are that number.

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    True,
    False,
    Any,
    Bytes,
    Set,
    Utf,
    Seq,
    Choice,
    AtLeast,
    AtMost,
    And,
    Not,
    Behind,
    Call,
    Grammar,
    Rule,
    Capture,
    Runtime,
}

const TAGS: [Tag; 18] = [
    Tag::True,
    Tag::False,
    Tag::Any,
    Tag::Bytes,
    Tag::Set,
    Tag::Utf,
    Tag::Seq,
    Tag::Choice,
    Tag::AtLeast,
    Tag::AtMost,
    Tag::And,
    Tag::Not,
    Tag::Behind,
    Tag::Call,
    Tag::Grammar,
    Tag::Rule,
    Tag::Capture,
    Tag::Runtime,
];

/// What a capture makes of what it matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Simple,
    Position,
    Const,
    Arg,
    Back,
    String,
    Num,
    Query,
    Function,
    Fold,
    Table,
    Subst,
    Group,
    Accumulator,
    /// Values of a match-time capture, on Lua's stack already. Only in lists of captures.
    Runtime,
    /// The end of a capture. Only in lists of captures.
    Close,
}

const KINDS: [Kind; 16] = [
    Kind::Simple,
    Kind::Position,
    Kind::Const,
    Kind::Arg,
    Kind::Back,
    Kind::String,
    Kind::Num,
    Kind::Query,
    Kind::Function,
    Kind::Fold,
    Kind::Table,
    Kind::Subst,
    Kind::Group,
    Kind::Accumulator,
    Kind::Runtime,
    Kind::Close,
];

impl Kind {
    /// The kind of this number.
    #[inline]
    pub(super) fn from_bits(bits: u32) -> Kind {
        KINDS[bits as usize % KINDS.len()]
    }

    /// Whether its key is a number, and not a place in the table of values.
    pub(super) fn is_number(self) -> bool {
        matches!(self, Kind::Arg | Kind::Num)
    }
}

/// A call whose grammar is not known yet.
pub(super) const OPEN: u32 = u32::MAX;
/// A grammar that does not always match the same number of bytes.
pub(super) const VARIES: u32 = u32::MAX;

/// Words before the child of a rule, and of a grammar.
pub(super) const RULE: usize = 12;
pub(super) const GRAMMAR: usize = 4;

/// A set of bytes.
pub(super) type Set = [u32; 8];

pub(super) const FULL: Set = [u32::MAX; 8];
pub(super) const EMPTY: Set = [0; 8];

/// Adds a byte to a set.
pub(super) fn insert(set: &mut Set, byte: u8) {
    set[usize::from(byte >> 5)] |= 1 << (byte & 31);
}

/// The only byte of a set that has one.
#[inline]
pub(super) fn only(set: &Set) -> Option<u8> {
    (set.iter().map(|it| it.count_ones()).sum::<u32>() == 1).then(|| members(set).next()).flatten()
}

/// The bytes of a set, in order.
pub(super) fn members(set: &Set) -> impl Iterator<Item = u8> {
    set.iter().zip(0u32..).flat_map(|(&word, at)| {
        let mut left = word;
        std::iter::from_fn(move || {
            let bit = (left != 0).then(|| left.trailing_zeros())?;
            left &= left - 1;
            Some((at * 32 + bit) as u8)
        })
    })
}

/// A set made of each pair of words.
#[inline]
pub(super) fn combine(a: &Set, b: &Set, with: impl Fn(u32, u32) -> u32) -> Set {
    std::array::from_fn(|at| with(a[at], b[at]))
}

/// Whether two sets have no byte in common.
#[inline]
pub(super) fn disjoint(a: &Set, b: &Set) -> bool {
    combine(a, b, |a, b| a & b) == EMPTY
}

/// The first word of a node.
pub(super) fn word(tag: Tag, number: u32) -> u32 {
    tag as u32 | number << 8
}

/// The tag of a node.
#[inline]
pub(super) fn tag(node: &[u32]) -> Tag {
    TAGS[(node[0] & 0xff) as usize]
}

/// The number beside a tag.
#[inline]
pub(super) fn number(node: &[u32]) -> u32 {
    node[0] >> 8
}

/// The kind of a capture's node.
pub(super) fn kind(node: &[u32]) -> Kind {
    Kind::from_bits(number(node))
}

/// Words of a node before its first child; all of them when it has none.
#[inline]
pub(super) fn head(node: &[u32]) -> usize {
    match tag(node) {
        Tag::True | Tag::False => 1,
        Tag::Any | Tag::Seq | Tag::Choice | Tag::And | Tag::Not => 2,
        Tag::Bytes => 2 + (node[1] as usize).div_ceil(4),
        Tag::Set => 9,
        Tag::Utf | Tag::Call | Tag::AtLeast | Tag::AtMost | Tag::Behind | Tag::Capture | Tag::Runtime => 3,
        Tag::Grammar => GRAMMAR,
        Tag::Rule => RULE,
    }
}

/// Words of a node, children and all.
#[inline]
pub(super) fn size(node: &[u32]) -> usize {
    match tag(node) {
        Tag::True | Tag::False | Tag::Any | Tag::Bytes | Tag::Set | Tag::Utf | Tag::Call => head(node),
        _ => node[1] as usize,
    }
}

/// The children of a node, in order.
#[inline]
pub(super) fn children(node: &[u32]) -> Children<'_> {
    Children { rest: &node[head(node)..size(node)] }
}

/// The only child of a node that has one.
#[inline]
pub(super) fn child(node: &[u32]) -> &[u32] {
    &node[head(node)..size(node)]
}

/// See [`children`].
#[derive(Clone)]
pub(super) struct Children<'a> {
    rest: &'a [u32],
}

impl<'a> Iterator for Children<'a> {
    type Item = &'a [u32];

    #[inline]
    fn next(&mut self) -> Option<&'a [u32]> {
        if self.rest.is_empty() {
            return None;
        }
        let (node, rest) = self.rest.split_at(size(self.rest));
        self.rest = rest;
        Some(node)
    }
}

/// Writes a `Bytes` node.
pub(super) fn write_literal(out: &mut [u32], bytes: &[u8]) {
    out[0] = word(Tag::Bytes, 0);
    out[1] = bytes.len() as u32;
    for (word, bytes) in out[2..].iter_mut().zip(bytes.chunks(4)) {
        let mut four = [0; 4];
        four[..bytes.len()].copy_from_slice(bytes);
        *word = u32::from_le_bytes(four);
    }
}

/// Writes a `Set` node.
pub(super) fn write_set(out: &mut [u32], set: &Set) {
    out[0] = word(Tag::Set, 0);
    out[1..9].copy_from_slice(set);
}

/// The set of a `Set` node.
#[inline]
pub(super) fn set_of(node: &[u32]) -> Set {
    std::array::from_fn(|at| node[1 + at])
}

/// The bytes that a pattern matches, if it is one that matches any one byte of a set.
#[inline]
pub(super) fn as_set(node: &[u32]) -> Option<Set> {
    match tag(node) {
        Tag::Set => Some(set_of(node)),
        Tag::Any if node[1] == 1 => Some(FULL),
        Tag::False => Some(EMPTY),
        Tag::Bytes if node[1] == 1 => {
            let mut set = EMPTY;
            insert(&mut set, node[2] as u8);
            Some(set)
        }
        _ => None,
    }
}

/// Every node of a run of words, parents before children, each with its place.
pub(super) fn each(words: &[u32], mut visit: impl FnMut(usize, &[u32])) {
    let mut at = 0;
    while at < words.len() {
        visit(at, &words[at..]);
        at += head(&words[at..]);
    }
}

/// Adds `shift` to every place in the table of values.
pub(super) fn shift(words: &mut [u32], shift: u32) {
    let mut at = 0;
    while shift != 0 && at < words.len() {
        let key = match tag(&words[at..]) {
            Tag::Call => 1,
            Tag::Rule | Tag::Runtime => 2,
            Tag::Capture if !kind(&words[at..]).is_number() => 2,
            _ => 0,
        };
        if key != 0 && words[at + key] != 0 {
            words[at + key] += shift;
        }
        at += head(&words[at..]);
    }
}

/// Whether a pattern has captures.
pub(super) fn has_captures(words: &[u32]) -> bool {
    let mut found = false;
    each(words, |_, node| found |= matches!(tag(node), Tag::Capture | Tag::Runtime));
    found
}
