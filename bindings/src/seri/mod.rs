//! skynet's serialisation: how Lua values travel between services.
//!
//! A stream is a sequence of values without a header; it ends where its bytes end. Every value begins with a type byte:
//! the type in the low three bits, a *cookie* in the other five.
//!
//! | type | | cookie | bytes that follow |
//! |---|---|---|---|
//! | 0 | nil, also the end of a table | ignored | – |
//! | 1 | boolean | 0 false, else true | – |
//! | 2 | number | 0 zero, 1 `u8`, 2 `u16`, 4 `i32`, 6 `i64`, 8 double | as many, little-endian |
//! | 3 | pointer | ignored | 8 |
//! | 4 | short string | its length | the string |
//! | 5 | long string | 2 `u16` length, 4 `u32` length | length, string |
//! | 6 | table | array items 0..=30, 31: a number follows | items, then keys and values, then nil |
//!
//! # Invariants
//! * **S1** Packing writes straight into the block that will travel. No Lua call that could raise is made while the
//!   block is being written, so a destructor is never jumped over: values are read in place ([`pack`]), and what may raise
//!   (`__pairs`, and `next` after it) runs protected ([`careful`]).
//! * **S2** Unpacking looks at a table twice. The first pass reads every byte, calls nothing, and proves the table whole; the
//!   second builds values and trusts it. A broken stream raises, so it leaves nothing behind.
//! * **S3** A pointer in the sender's hand that is packed belongs to the message from then on ([`carrier`]).
//!
//! # From skynet
//! lua-seri.c: luaseri_pack → [`pack::pack`], luaseri_unpack → [`unpack::unpack`], write_block → `BlockWriter` (no chain of
//! buffers, no copy at the end).

pub(crate) mod careful;
pub(crate) mod carrier;
pub(crate) mod flat;
pub(crate) mod out;
pub(crate) mod pack;
mod scan;
pub(crate) mod unpack;
pub(crate) mod value;
mod write;

const NIL: u8 = 0;
const BOOLEAN: u8 = 1;
const NUMBER: u8 = 2;
const POINTER: u8 = 3;
const SHORT_STRING: u8 = 4;
const LONG_STRING: u8 = 5;
const TABLE: u8 = 6;

/// Cookies of a number.
mod number {
    pub(super) const ZERO: u8 = 0;
    pub(super) const BYTE: u8 = 1;
    pub(super) const WORD: u8 = 2;
    pub(super) const DWORD: u8 = 4;
    pub(super) const QWORD: u8 = 6;
    pub(super) const REAL: u8 = 8;
}

/// The largest value of a cookie; in a table it says that the count follows.
const COOKIE_MAX: u8 = 31;

/// Values deeper than this are refused by the writer: a table inside 32 others must be empty.
const WRITE_DEPTH: u32 = 32;

/// Tables inside tables that the reader follows. Correct writers stay at 33.
const READ_DEPTH: u32 = 200;

const fn head(kind: u8, cookie: u8) -> u8 {
    kind | (cookie << 3)
}
