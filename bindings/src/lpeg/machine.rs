//! The machine that runs code over a subject.
//!
//! It owns nothing and calls nothing: its buffers are lent to it, and when one is full, or a match-time capture has ended, it stops and
//! says so. Whoever runs it makes room, or calls the function, and runs it again. So nothing is lost when Lua raises in between.
//!
//! # Invariants
//! * **M1** Code was made by [`super::compile`]: every path ends in `End` or `GiveUp`, every place is the beginning of an instruction, and
//!   every taking back of a choice has one above the entry that gives up.
//! * **M2** `at <= len`, `depth <= room`, `captured <= capture_room`; the buffers have that much room.

use std::slice;

use super::code::{CALL, Capture, Entry, OPEN, Op};
use super::tree::Kind;

/// Why the machine stopped.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It matched, up to `at`.
    Matched,
    /// It did not.
    Failed,
    /// The stack is full. After making room, run again.
    StackFull,
    /// The list of captures is full. Likewise.
    CapturesFull,
    /// The match-time capture of this function ended at `at`. Decide, then run again.
    Runtime(u32),
}

/// See the module.
#[derive(Clone, Copy)]
pub(super) struct Machine {
    pub(super) code: *const u32,
    pub(super) subject: *const u8,
    pub(super) len: u32,
    /// How far it is in the subject.
    pub(super) at: u32,
    pub(super) pc: u32,
    pub(super) stack: *mut Entry,
    pub(super) depth: u32,
    pub(super) room: u32,
    pub(super) captures: *mut Capture,
    pub(super) captured: u32,
    pub(super) capture_room: u32,
    /// How many values of match-time captures are in use, and how many captures have some.
    pub(super) values: u32,
    pub(super) runtime: u32,
}

impl Machine {
    /// Forgets captures from `keep` on, and the values of those among them that have some.
    #[cold]
    fn forget(&mut self, keep: u32, until: u32) {
        for at in keep..until {
            // SAFETY: M2: these were written.
            let capture = unsafe { *self.captures.add(at as usize) };
            if capture.kind() == Kind::Runtime && !capture.is_open() {
                self.values -= capture.count();
                self.runtime -= 1;
            }
        }
    }

    /// Makes the last choice fail, as the function of a match-time capture says.
    pub(super) fn fail(&mut self) {
        // Such an instruction is never reached otherwise: it is not in the code, but runs like one.
        loop {
            // SAFETY: M1: the entry that gives up is below.
            let entry = unsafe { *self.stack.add(self.depth as usize - 1) };
            self.depth -= 1;
            if entry.at != CALL {
                if self.runtime > 0 && self.captured > entry.captures {
                    self.forget(entry.captures, self.captured);
                }
                (self.pc, self.at, self.captured) = (entry.pc, entry.at, entry.captures);
                return;
            }
        }
    }

    /// Runs until it stops.
    ///
    /// # Safety
    /// M1 and M2 hold, of a subject of `len` bytes.
    pub(super) unsafe fn run(&mut self) -> Stop {
        let code = self.code;
        let subject = self.subject;
        let len = self.len;
        let (mut at, mut pc, mut depth, mut captured) = (self.at, self.pc, self.depth, self.captured);

        macro_rules! stop {
            ($why:expr) => {{
                (self.at, self.pc, self.depth, self.captured) = (at, pc, depth, captured);
                return $why;
            }};
        }
        // SAFETY (all blocks below): M1 for code, M2 for the rest; what is compared with `len` before is inside the subject.
        macro_rules! operand {
            ($n:expr) => {
                // SAFETY: see above.
                unsafe { *code.add(pc as usize + $n) }
            };
        }
        macro_rules! byte {
            () => {
                // SAFETY: see above; only used where `at < len`.
                unsafe { *subject.add(at as usize) }
            };
        }
        macro_rules! in_set {
            ($first:expr, $byte:expr) => {{
                let byte = $byte;
                operand!($first + usize::from(byte >> 5)) >> (byte & 31) & 1 != 0
            }};
        }
        macro_rules! push {
            ($pc:expr, $at:expr) => {{
                if depth == self.room {
                    stop!(Stop::StackFull);
                }
                let entry = Entry { pc: $pc, at: $at, captures: captured };
                // SAFETY: see above.
                unsafe { *self.stack.add(depth as usize) = entry };
                depth += 1;
            }};
        }
        macro_rules! capture {
            ($from:expr, $len:expr, $key:expr, $kind:expr) => {{
                if captured == self.capture_room {
                    stop!(Stop::CapturesFull);
                }
                let entry = Capture { from: $from, len: $len, key: $key, kind: $kind };
                // SAFETY: see above.
                unsafe { *self.captures.add(captured as usize) = entry };
                captured += 1;
            }};
        }

        loop {
            let word = operand!(0);
            match Op::of(word) {
                Op::Any => {
                    let n = operand!(1);
                    if len - at >= n {
                        at += n;
                        pc += 2;
                        continue;
                    }
                }
                Op::Byte => {
                    if at < len && u32::from(byte!()) == word >> 8 {
                        at += 1;
                        pc += 1;
                        continue;
                    }
                }
                Op::Bytes => {
                    let n = operand!(1);
                    if len - at >= n {
                        // SAFETY: see above.
                        let (there, wanted) = unsafe {
                            let there = slice::from_raw_parts(subject.add(at as usize), n as usize);
                            (there, slice::from_raw_parts(code.add(pc as usize + 2).cast::<u8>(), n as usize))
                        };
                        if there == wanted {
                            at += n;
                            pc += 2 + n.div_ceil(4);
                            continue;
                        }
                    }
                }
                Op::Set => {
                    if at < len && in_set!(1, byte!()) {
                        at += 1;
                        pc += 9;
                        continue;
                    }
                }
                Op::Span => {
                    while at < len && in_set!(1, byte!()) {
                        at += 1;
                    }
                    pc += 9;
                    continue;
                }
                Op::Utf => {
                    // SAFETY: see above.
                    let rest =
                        unsafe { slice::from_raw_parts(subject.add(at as usize), (len - at) as usize) };
                    if let Some((point, n)) = decode(rest)
                        && (operand!(1)..=operand!(2)).contains(&point)
                    {
                        at += n;
                        pc += 3;
                        continue;
                    }
                }
                Op::TestAny => {
                    pc = if at < len { pc + 2 } else { operand!(1) };
                    continue;
                }
                Op::TestByte => {
                    let hit = at < len && u32::from(byte!()) == word >> 8;
                    pc = if hit { pc + 2 } else { operand!(1) };
                    continue;
                }
                Op::TestSet => {
                    let hit = at < len && in_set!(2, byte!());
                    pc = if hit { pc + 10 } else { operand!(1) };
                    continue;
                }
                Op::Switch => {
                    pc = if at < len {
                        let byte = usize::from(byte!());
                        let which = operand!(2 + byte / 4).to_le_bytes()[byte % 4];
                        operand!(66 + usize::from(which))
                    } else {
                        operand!(1)
                    };
                    continue;
                }
                Op::Choice => {
                    push!(operand!(1), at);
                    pc += 2;
                    continue;
                }
                Op::Call => {
                    push!(pc + 2, CALL);
                    pc = operand!(1);
                    continue;
                }
                Op::Jump => {
                    pc = operand!(1);
                    continue;
                }
                Op::Return => {
                    depth -= 1;
                    // SAFETY: see above.
                    pc = unsafe { (*self.stack.add(depth as usize)).pc };
                    continue;
                }
                Op::Commit => {
                    depth -= 1;
                    pc = operand!(1);
                    continue;
                }
                Op::PartialCommit => {
                    // SAFETY: see above.
                    let entry = unsafe { &mut *self.stack.add(depth as usize - 1) };
                    (entry.at, entry.captures) = (at, captured);
                    pc = operand!(1);
                    continue;
                }
                Op::BackCommit => {
                    depth -= 1;
                    // SAFETY: see above.
                    let entry = unsafe { *self.stack.add(depth as usize) };
                    if self.runtime > 0 && captured > entry.captures {
                        self.forget(entry.captures, captured);
                    }
                    (at, captured) = (entry.at, entry.captures);
                    pc = operand!(1);
                    continue;
                }
                Op::FailTwice => depth -= 1,
                Op::Behind => {
                    let n = operand!(1);
                    if at >= n {
                        at -= n;
                        pc += 2;
                        continue;
                    }
                }
                Op::Full => {
                    let n = operand!(2);
                    capture!(at - n, n, operand!(1), word >> 8);
                    pc += 3;
                    continue;
                }
                Op::Open => {
                    capture!(at, OPEN, operand!(1), word >> 8);
                    pc += 2;
                    continue;
                }
                Op::Close => {
                    // SAFETY: M1: a capture is open, so there is one at least.
                    let before = unsafe { &mut *self.captures.add(captured as usize - 1) };
                    if before.is_open() {
                        // Nothing came in between: one entry says all.
                        before.len = at - before.from;
                    } else {
                        capture!(at, 0, 0, Kind::Close as u32);
                    }
                    pc += 1;
                    continue;
                }
                Op::CloseRuntime => {
                    let function = operand!(1);
                    pc += 2;
                    stop!(Stop::Runtime(function));
                }
                Op::End => stop!(Stop::Matched),
                Op::GiveUp => stop!(Stop::Failed),
                Op::Fail => {}
            }
            // What got here failed.
            loop {
                depth -= 1;
                // SAFETY: M1: the entry that gives up is no call.
                let entry = unsafe { *self.stack.add(depth as usize) };
                if entry.at != CALL {
                    if self.runtime > 0 && captured > entry.captures {
                        self.forget(entry.captures, captured);
                    }
                    (pc, at, captured) = (entry.pc, entry.at, entry.captures);
                    break;
                }
            }
        }
    }
}

/// The code point that bytes begin with in UTF-8, surrogates too, and its length.
fn decode(bytes: &[u8]) -> Option<(u32, u32)> {
    let &lead = bytes.first()?;
    let (len, least, bits) = match lead {
        ..0x80 => return Some((u32::from(lead), 1)),
        0xc0..0xe0 => (2, 0x80, lead & 0x1f),
        0xe0..0xf0 => (3, 0x800, lead & 0x0f),
        0xf0..0xf8 => (4, 0x1_0000, lead & 0x07),
        _ => return None,
    };
    let mut point = u32::from(bits);
    for &byte in bytes.get(1..len)? {
        if byte & 0xc0 != 0x80 {
            return None;
        }
        point = point << 6 | u32::from(byte & 0x3f);
    }
    (least..=0x10_ffff).contains(&point).then_some((point, len as u32))
}
