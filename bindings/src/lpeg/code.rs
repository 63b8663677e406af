//! The instructions that a pattern is compiled to, and the list of captures that running them leaves.
//!
//! The machine is the backtracking one of Ierusalimschy, "A Text Pattern-Matching Tool based on Parsing Expression Grammars" (Software:
//! Practice and Experience 39, 2009), with instructions of our own for literals, sets of bytes and choices by the first byte. Code is a run
//! of 32-bit words: an instruction with a number above it, then its operands. Places are absolute.

use super::tree::Kind;

/// What an instruction does. Operands are written as `number` (above the instruction) and words behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Op {
    /// The whole match fails. Lies under every stack.
    GiveUp,
    /// The whole match succeeds.
    End,
    /// Goes back to the last choice.
    Fail,
    /// `n`: goes n bytes forward.
    Any,
    /// number: this byte.
    Byte,
    /// `len, bytes…`.
    Bytes,
    /// `8 words`: a byte of a set.
    Set,
    /// `8 words`: as many bytes of a set as there are.
    Span,
    /// `from, to`: the UTF-8 of a code point.
    Utf,
    /// `to`: goes to `to` at the end of the subject.
    TestAny,
    /// `to`, number: goes to `to` unless this byte is next.
    TestByte,
    /// `to, 8 words`: goes to `to` unless a byte of the set is next.
    TestSet,
    /// `none, 64 words of numbers of places, places…`: goes where the next byte says, to `none` at the end.
    Switch,
    /// `to`: what fails later goes on there, from here.
    Choice,
    /// `to`: takes the last choice back, and goes there.
    Commit,
    /// `to`: makes the last choice one from here on, and goes there.
    PartialCommit,
    /// `to`: takes the last choice back with what was matched since, and goes there.
    BackCommit,
    /// Takes the last choice back, and fails.
    FailTwice,
    /// `to`.
    Jump,
    /// `to`: the rule there, then on from here.
    Call,
    /// The end of a rule.
    Return,
    /// `n`: goes n bytes back, or fails.
    Behind,
    /// `key`, number = kind: a capture begins.
    Open,
    /// The last open capture ends.
    Close,
    /// `key, len`, number = kind: a capture of the last `len` bytes.
    Full,
    /// `key`: a match-time capture ends.
    CloseRuntime,
}

const OPS: [Op; 26] = [
    Op::GiveUp,
    Op::End,
    Op::Fail,
    Op::Any,
    Op::Byte,
    Op::Bytes,
    Op::Set,
    Op::Span,
    Op::Utf,
    Op::TestAny,
    Op::TestByte,
    Op::TestSet,
    Op::Switch,
    Op::Choice,
    Op::Commit,
    Op::PartialCommit,
    Op::BackCommit,
    Op::FailTwice,
    Op::Jump,
    Op::Call,
    Op::Return,
    Op::Behind,
    Op::Open,
    Op::Close,
    Op::Full,
    Op::CloseRuntime,
];

impl Op {
    /// An instruction's first word.
    pub(super) fn word(self, number: u32) -> u32 {
        self as u32 | number << 8
    }

    /// The instruction of a word.
    #[inline(always)]
    pub(super) fn of(word: u32) -> Op {
        OPS[(word & 31) as usize % OPS.len()]
    }
}

/// What a capture's length is while it is open.
pub(super) const OPEN: u32 = u32::MAX;

/// An entry of the list of captures: a whole one, the beginning of one, or an end.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Capture {
    /// Where it begins; of an end, where that is.
    pub(super) from: u32,
    /// Its length, or [`OPEN`] if its end has an entry of its own.
    pub(super) len: u32,
    /// See [`super::tree`]. Of [`Kind::Runtime`]: where its first value is on Lua's stack.
    pub(super) key: u32,
    /// A [`Kind`]; for `Runtime`, with the count of values above.
    pub(super) kind: u32,
}

impl Capture {
    /// What it is.
    #[inline]
    pub(super) fn kind(&self) -> Kind {
        Kind::from_bits(self.kind)
    }

    /// Whether its end comes later in the list.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.len == OPEN && self.kind() != Kind::Close
    }

    /// Values of a match-time capture.
    #[inline]
    pub(super) fn count(&self) -> u32 {
        self.kind >> 8
    }
}

/// An entry of the stack: a choice, or where a rule was called.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Entry {
    /// Where to go on.
    pub(super) pc: u32,
    /// From which place of the subject; [`CALL`] for a call.
    pub(super) at: u32,
    /// How many captures there were.
    pub(super) captures: u32,
}

/// The place of an entry that is a call.
pub(super) const CALL: u32 = u32::MAX;
