//! String captures: `%0` to `%9` stand for what captures inside matched or made.

use std::ffi::c_int;

use super::{Frame, Match};
use crate::lpeg::tree::Kind;
use crate::raw::{Raise, bytes, ffi, raise, type_name};

impl Match<'_> {
    /// The capture inside the string capture at `begin` that `%n` means. A simple one counts, and then those inside of it.
    fn nth(&self, begin: u32, n: u32) -> Option<u32> {
        let mut at = begin + 1;
        let mut seen = 0;
        // How many simple captures are open.
        let mut open = 0u32;
        if !self.capture(begin).is_open() {
            return None;
        }
        loop {
            let capture = self.capture(at);
            if capture.kind() == Kind::Close {
                if open == 0 {
                    return None;
                }
                open -= 1;
                at += 1;
                continue;
            }
            seen += 1;
            if seen == n {
                return Some(at);
            }
            at = match (capture.is_open(), capture.kind()) {
                (false, _) => at + 1,
                (true, Kind::Simple) => {
                    open += 1;
                    at + 1
                }
                (true, _) => self.end_of(at) + 1,
            };
        }
    }

    /// Where the next `%n` of the innermost frame is that is to be made; when there is none, its end. Values stand above the format, in order.
    ///
    /// # Safety
    /// As for [`raise`], with free slots.
    pub(super) unsafe fn next_of_string(&mut self) -> u32 {
        let mut frame = self.top_frame();
        let (state, base) = (self.state, frame.base);
        // SAFETY: by the caller's promise; the format stays in its slot.
        unsafe {
            // The value of the last one is alone, or missing.
            if frame.n > 0 {
                let values = base + 1 + self.made_before(frame) as c_int;
                if self.top() == values {
                    let n = frame.n;
                    raise(state, Raise::new(format_args!("no values in capture index {n}")));
                }
                self.settop(values + 1);
                if ffi::lua_isstring(state, values + 1) == 0 {
                    let what = type_name(state, values + 1);
                    raise(state, Raise::new(format_args!("invalid capture value (a {what})")));
                }
            }
            for n in frame.n + 1..=9 {
                if !self.is_used(frame, n) {
                    continue;
                }
                let Some(at) = self.nth(frame.begin, n) else {
                    raise(state, Raise::new(format_args!("invalid capture index ({n})")))
                };
                if self.capture(at).kind() != Kind::Simple {
                    frame.n = n;
                    self.set_top_frame(frame);
                    return at;
                }
            }
            frame.n = 10;
            self.set_top_frame(frame);
            // One that has nothing inside goes on by itself.
            if self.capture(frame.begin).is_open() { self.end_of(frame.begin) } else { frame.begin }
        }
    }

    /// The format of a string capture; none for what `debug` put there.
    ///
    /// # Safety
    /// It stays in its slot.
    unsafe fn format<'f>(&self, frame: Frame) -> &'f [u8] {
        // SAFETY: by the caller's promise.
        unsafe {
            match ffi::lua_type(self.state, frame.base + 1) {
                ffi::LUA_TSTRING => bytes(self.state, frame.base + 1).unwrap_or_default(),
                _ => &[],
            }
        }
    }

    /// Whether `%n` occurs.
    ///
    /// # Safety
    /// As for [`Match::format`].
    unsafe fn is_used(&self, frame: Frame, n: u32) -> bool {
        // SAFETY: by the caller's promise.
        let format = unsafe { self.format(frame) };
        Pieces(format).any(|piece| matches!(piece, Piece::Capture(it) if u32::from(it) == n))
    }

    /// How many values of captures there are before the one that is being made.
    ///
    /// # Safety
    /// As for [`Match::format`].
    unsafe fn made_before(&self, frame: Frame) -> u32 {
        // SAFETY: by the caller's promise.
        unsafe { (1..frame.n.min(10)).filter(|&n| self.is_value(frame, n)).count() as u32 }
    }

    /// Whether `%n` has a value on the stack.
    ///
    /// # Safety
    /// As for [`Match::format`].
    unsafe fn is_value(&self, frame: Frame, n: u32) -> bool {
        // SAFETY: by the caller's promise.
        let used = unsafe { self.is_used(frame, n) };
        used && self.nth(frame.begin, n).is_some_and(|at| self.capture(at).kind() != Kind::Simple)
    }

    /// Makes the string.
    ///
    /// # Safety
    /// As for [`raise`], with free slots. All values are there.
    pub(super) unsafe fn finish_string(&mut self, frame: Frame, to: u32) {
        let mark = self.written;
        // SAFETY: by the caller's promise.
        unsafe {
            for piece in Pieces(self.format(frame)) {
                match piece {
                    Piece::Text(text) => self.write(text),
                    Piece::Capture(0) => self.write_text(self.capture(frame.begin).from, to),
                    Piece::Capture(n) => {
                        let n = u32::from(n);
                        let Some(at) = self.nth(frame.begin, n) else { continue };
                        let capture = self.capture(at);
                        if capture.kind() == Kind::Simple {
                            let to = if capture.is_open() {
                                self.capture(self.end_of(at)).from
                            } else {
                                capture.from + capture.len
                            };
                            self.write_text(capture.from, to);
                        } else {
                            let before = self.made_before(Frame { n, ..frame });
                            let slot = frame.base + 2 + before as c_int;
                            let value = bytes(self.state, slot).unwrap_or_default();
                            self.write(value);
                        }
                    }
                }
            }
            self.settop(frame.base);
            let len = (self.written - mark) as usize;
            ffi::lua_pushlstring(self.state, self.bytes.first.add(mark as usize).cast(), len);
        }
        self.written = mark;
    }
}

/// A format in pieces.
struct Pieces<'a>(&'a [u8]);

enum Piece<'a> {
    Text(&'a [u8]),
    Capture(u8),
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let format = self.0;
        let len = format.iter().position(|&byte| byte == b'%').unwrap_or(format.len());
        if len > 0 {
            self.0 = &format[len..];
            return Some(Piece::Text(&format[..len]));
        }
        match format {
            [] => None,
            [_, digit @ b'0'..=b'9', rest @ ..] => {
                self.0 = rest;
                Some(Piece::Capture(digit - b'0'))
            }
            [_, rest @ ..] => {
                let (text, rest) = rest.split_at(rest.len().min(1));
                self.0 = rest;
                // What is behind the last `%` is the end of a C string.
                Some(Piece::Text(if text.is_empty() { &[0] } else { text }))
            }
        }
    }
}
