//! From the list of captures to Lua's values.
//!
//! The list is walked once, with a frame for each capture that is open; nothing recurses, so nesting is bounded by memory alone. A frame's
//! values are what stands on Lua's stack above its base; when it ends they become its own values, for the frame around it.
//!
//! Nothing here owns anything: frames and bytes are in [`Room`]s. Functions of captures, metamethods and finalizers may run anywhere.

mod format;

use std::ffi::{c_int, c_void};

use crate::lpeg::code::{Capture, Entry};
use crate::lpeg::matching::CODE;
use crate::lpeg::room::Room;
use crate::lpeg::tree::Kind;
use crate::raw::{Raise, bytes, ffi, lua_State, raise, type_name};

/// Free slots that are made sure of before anything is pushed.
const SLOTS: c_int = 12;

/// A capture whose values are being made.
#[derive(Clone, Copy)]
pub(in crate::lpeg) struct Frame {
    sort: Sort,
    /// Where it begins in the list.
    begin: u32,
    /// Where to go on afterwards; 0 for what comes behind its end.
    back: u32,
    /// What was on Lua's stack before.
    base: c_int,
    /// `Table`: values so far. `Subst`: how far the subject is copied. `Fold`: whether there is a value. `String`: which of its captures is
    /// being made. `Accumulator`: the slot of the value before.
    n: u32,
    /// `Subst`: where its bytes begin.
    mark: u32,
}

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// All of the list.
    Top,
    /// A named group inside a table.
    Named,
    Of(Kind),
}

/// A match whose values are wanted.
pub(in crate::lpeg) struct Match<'a> {
    pub(in crate::lpeg) state: *mut lua_State,
    pub(in crate::lpeg) subject: &'a [u8],
    /// The last argument of `match`; the first extra one is the fourth.
    pub(in crate::lpeg) slots: c_int,
    /// The slot of the pattern's values.
    pub(in crate::lpeg) values: c_int,
    /// What is in the slot of the code.
    pub(in crate::lpeg) code: *const c_void,
    pub(in crate::lpeg) stack: Room<Entry>,
    pub(in crate::lpeg) captures: Room<Capture>,
    pub(in crate::lpeg) frames: Room<Frame>,
    pub(in crate::lpeg) bytes: Room<u8>,
    /// Frames and bytes in use.
    pub(in crate::lpeg) depth: u32,
    pub(in crate::lpeg) written: u32,
}

impl Match<'_> {
    /// An entry of the list.
    fn capture(&self, at: u32) -> Capture {
        // SAFETY: whoever walks the list stays between its ends.
        unsafe { *self.captures.first.add(at as usize) }
    }

    fn frame(&self, at: u32) -> Frame {
        // SAFETY: there are `depth` frames, and `at` is below.
        unsafe { *self.frames.first.add(at as usize) }
    }

    fn top_frame(&self) -> Frame {
        self.frame(self.depth - 1)
    }

    fn set_top_frame(&mut self, frame: Frame) {
        // SAFETY: as in `frame`.
        unsafe { *self.frames.first.add(self.depth as usize - 1) = frame };
    }

    fn top(&self) -> c_int {
        // SAFETY: the state is valid.
        unsafe { ffi::lua_gettop(self.state) }
    }

    fn settop(&self, top: c_int) {
        // SAFETY: there are no variables to be closed on the stack, so nothing runs.
        unsafe { ffi::lua_settop(self.state, top) };
    }

    /// Whether Lua code that ran left what is used here in its place.
    ///
    /// # Safety
    /// As for [`raise`].
    pub(in crate::lpeg) unsafe fn look(&self) {
        // SAFETY: by the caller's promise; only compares.
        unsafe {
            let state = self.state;
            let same = ffi::lua_type(state, 2) == ffi::LUA_TSTRING
                && bytes(state, 2).is_some_and(|it| std::ptr::eq(it, self.subject))
                && ffi::lua_touserdata(state, self.slots + CODE).cast_const() == self.code
                && self.stack.is_there(state)
                && self.captures.is_there(state)
                && self.frames.is_there(state)
                && self.bytes.is_there(state);
            if !same {
                raise(state, Raise::new("the stack of a match was changed from outside"));
            }
        }
    }

    /// Pushes bytes of the subject.
    ///
    /// # Safety
    /// As for [`raise`], with a free slot. `from <= to <= len`.
    #[inline]
    pub(in crate::lpeg) unsafe fn push_text(&self, from: u32, to: u32) {
        let text = &self.subject[from as usize..to as usize];
        // SAFETY: by the caller's promise.
        unsafe { ffi::lua_pushlstring(self.state, text.as_ptr().cast(), text.len()) };
    }

    /// Pushes the value of a key.
    ///
    /// # Safety
    /// As for [`raise`], with a free slot.
    #[inline]
    unsafe fn push_value(&self, key: u32) {
        // SAFETY: by the caller's promise.
        unsafe { crate::lpeg::grammar::push_name(self.state, self.values, key) }
    }

    /// # Safety
    /// As for [`raise`].
    unsafe fn push_frame(&mut self, frame: Frame) {
        // SAFETY: by the caller's promise; the frames in use were written.
        unsafe {
            if self.depth == self.frames.room {
                let Some(room) = self.depth.checked_mul(2) else {
                    raise(self.state, Raise::new("too many captures"))
                };
                self.frames.grow(self.state, self.depth, room);
            }
            self.frames.first.add(self.depth as usize).write(frame);
        }
        self.depth += 1;
    }

    /// Pushes the values of the captures from one place of the list to another; answers how many.
    ///
    /// # Safety
    /// As for [`raise`]. These are whole captures.
    pub(in crate::lpeg) unsafe fn produce(&mut self, from: u32, to: u32) -> c_int {
        let around = self.depth;
        let base = self.top();
        // SAFETY: by the caller's promise. Each round begins with free slots.
        unsafe {
            self.push_frame(Frame { sort: Sort::Top, begin: from, back: 0, base, n: 0, mark: 0 });
            let mut at = from;
            let mut sure = base;
            loop {
                if self.top() + SLOTS > sure {
                    ffi::luaL_checkstack(self.state, 3 * SLOTS, c"too many captures".as_ptr());
                    sure = self.top() + 3 * SLOTS;
                }
                if at == to && self.depth == around + 1 {
                    break;
                }
                at = if self.capture(at).kind() == Kind::Close { self.end(at) } else { self.begin(at) };
            }
        }
        self.depth = around;
        self.top() - base
    }

    /// The capture at `at` begins. Answers where to go on.
    ///
    /// # Safety
    /// As for [`raise`], with free slots.
    unsafe fn begin(&mut self, at: u32) -> u32 {
        let capture = self.capture(at);
        let state = self.state;
        let base = self.top();
        let kind = capture.kind();
        // SAFETY: by the caller's promise.
        unsafe {
            let mut frame = Frame { sort: Sort::Of(kind), begin: at, back: 0, base, n: 0, mark: 0 };
            match kind {
                Kind::Simple | Kind::Position | Kind::Const | Kind::Arg | Kind::Runtime
                    if !capture.is_open() =>
                {
                    self.push_leaf(capture);
                    return self.done(at + 1, capture.from, capture.from + capture.len);
                }
                Kind::Num if capture.key == 0 => return self.skip(at),
                Kind::Position | Kind::Const | Kind::Arg | Kind::Runtime | Kind::Close | Kind::Num => {}
                // Its value comes before those inside.
                Kind::Simple => ffi::lua_pushnil(state),
                Kind::Back => return self.back(at, capture),
                Kind::String | Kind::Function => self.push_value(capture.key),
                Kind::Query | Kind::Fold => {}
                Kind::Table => ffi::lua_createtable(state, 0, 0),
                Kind::Subst => (frame.n, frame.mark) = (capture.from, self.written),
                Kind::Group if capture.key == 0 => {}
                // Of its values nobody sees any, but a table that is around it, or a back capture.
                Kind::Group if self.top_frame().sort != Sort::Of(Kind::Table) => return self.skip(at),
                Kind::Group => frame.sort = Sort::Named,
                Kind::Accumulator => {
                    let before = self.value_before();
                    frame.n = before as u32;
                    self.push_value(capture.key);
                    ffi::lua_pushvalue(state, before);
                }
            }
            self.push_frame(frame);
            if kind == Kind::String {
                let next = self.next_of_string();
                if capture.is_open() {
                    return next;
                }
            }
            if capture.is_open() { at + 1 } else { self.finish(capture.from + capture.len, at + 1) }
        }
    }

    /// Goes past a capture without making its values.
    ///
    /// # Safety
    /// As for [`raise`], with free slots.
    unsafe fn skip(&mut self, at: u32) -> u32 {
        let capture = self.capture(at);
        let end = self.end_of(at);
        let to = if capture.is_open() { self.capture(end).from } else { capture.from + capture.len };
        // SAFETY: by the caller's promise.
        unsafe { self.done(end + 1, capture.from, to) }
    }

    /// Pushes the values of a capture that has nothing inside.
    ///
    /// # Safety
    /// As for [`raise`], with free slots.
    #[inline]
    unsafe fn push_leaf(&mut self, capture: Capture) {
        let state = self.state;
        // SAFETY: by the caller's promise.
        unsafe {
            match capture.kind() {
                Kind::Position => ffi::lua_pushinteger(state, i64::from(capture.from) + 1),
                Kind::Const => self.push_value(capture.key),
                Kind::Arg => {
                    if i64::from(capture.key) > i64::from(self.slots) - 3 {
                        let n = capture.key;
                        raise(state, Raise::new(format_args!("reference to absent extra argument #{n}")));
                    }
                    ffi::lua_pushvalue(state, 3 + capture.key as c_int);
                }
                Kind::Runtime => {
                    let count = capture.count() as c_int;
                    ffi::luaL_checkstack(state, count + SLOTS, c"too many captures".as_ptr());
                    for at in 0..count {
                        ffi::lua_pushvalue(state, capture.key as c_int + at);
                    }
                }
                _ => self.push_text(capture.from, capture.from + capture.len),
            }
        }
    }

    /// The end of the innermost capture, at `at` of the list. Answers where to go on.
    ///
    /// # Safety
    /// As for [`raise`], with free slots.
    unsafe fn end(&mut self, at: u32) -> u32 {
        // SAFETY: by the caller's promise.
        unsafe { self.finish(self.capture(at).from, at + 1) }
    }

    /// Makes the values of the innermost frame, whose match ended at `to`, and takes it off.
    ///
    /// # Safety
    /// As for [`raise`], with free slots.
    unsafe fn finish(&mut self, to: u32, next: u32) -> u32 {
        let frame = self.top_frame();
        let capture = self.capture(frame.begin);
        let (state, base) = (self.state, frame.base);
        let from = capture.from;
        let count = self.top() - base;
        // SAFETY: by the caller's promise. Calls leave what is used here in its place, or `look` raises.
        unsafe {
            match frame.sort {
                Sort::Top => {}
                Sort::Named => {
                    if count == 0 {
                        self.push_text(from, to);
                    }
                    self.settop(base + 1);
                    self.push_value(capture.key);
                    ffi::lua_rotate(state, -2, 1);
                    self.check_table(base);
                    ffi::lua_rawset(state, base);
                }
                Sort::Of(Kind::Simple) => {
                    self.push_text(from, to);
                    ffi::lua_replace(state, base + 1);
                }
                Sort::Of(Kind::Group) => {
                    if count == 0 {
                        self.push_text(from, to);
                    }
                }
                Sort::Of(Kind::Function) => {
                    if count == 1 {
                        self.push_text(from, to);
                    }
                    ffi::lua_call(state, self.top() - base - 1, ffi::LUA_MULTRET);
                    self.look();
                    ffi::luaL_checkstack(state, SLOTS, c"too many captures".as_ptr());
                }
                Sort::Of(Kind::Accumulator) => {
                    if count == 2 {
                        self.push_text(from, to);
                    }
                    ffi::lua_call(state, self.top() - base - 1, 1);
                    self.look();
                    ffi::lua_replace(state, frame.n as c_int);
                }
                Sort::Of(Kind::Query) => {
                    if count == 0 {
                        self.push_text(from, to);
                    }
                    self.settop(base + 1);
                    self.push_value(capture.key);
                    ffi::lua_rotate(state, -2, 1);
                    if ffi::lua_gettable(state, -2) == ffi::LUA_TNIL {
                        self.settop(base);
                    } else {
                        ffi::lua_remove(state, -2);
                    }
                    self.look();
                }
                Sort::Of(Kind::Num) => {
                    if count == 0 && capture.key > 0 {
                        self.push_text(from, to);
                    }
                    let wanted = capture.key as c_int;
                    if wanted > (self.top() - base) {
                        raise(state, Raise::new(format_args!("no capture '{wanted}'")));
                    }
                    if wanted > 0 {
                        ffi::lua_pushvalue(state, base + wanted);
                        ffi::lua_replace(state, base + 1);
                    }
                    self.settop(base + wanted.min(1));
                }
                Sort::Of(Kind::Fold) => {
                    if frame.n == 0 {
                        raise(state, Raise::new("no initial value for fold capture"));
                    }
                }
                Sort::Of(Kind::Subst) => {
                    self.write_text(frame.n, to);
                    let len = (self.written - frame.mark) as usize;
                    let first = self.bytes.first.add(frame.mark as usize);
                    ffi::lua_pushlstring(state, first.cast(), len);
                    self.written = frame.mark;
                }
                Sort::Of(Kind::String) => self.finish_string(frame, to),
                Sort::Of(_) => {}
            }
            self.depth -= 1;
            let (next, from, to) = match frame.back {
                0 => (next, from, to),
                // The values belong to the back capture.
                back => (back, self.capture(back - 1).from, self.capture(back - 1).from),
            };
            self.done(next, from, to)
        }
    }

    /// A capture inside the innermost frame is done: its values are on top. Answers where to go on, usually `next`.
    ///
    /// # Safety
    /// As for [`raise`], with free slots.
    #[inline]
    unsafe fn done(&mut self, next: u32, from: u32, to: u32) -> u32 {
        let mut frame = self.top_frame();
        let (state, base) = (self.state, frame.base);
        // SAFETY: by the caller's promise.
        unsafe {
            match frame.sort {
                Sort::Of(Kind::Table) => {
                    let count = self.top() - base - 1;
                    if count > 0 {
                        self.check_table(base + 1);
                        for at in (1..=count).rev() {
                            ffi::lua_rawseti(state, base + 1, i64::from(frame.n) + i64::from(at));
                        }
                        frame.n += count as u32;
                        self.set_top_frame(frame);
                    }
                }
                Sort::Of(Kind::Subst) if self.top() > base => {
                    self.replace(base, frame.n, from);
                    frame.n = to;
                    self.set_top_frame(frame);
                }
                Sort::Of(Kind::Fold) if frame.n == 0 => {
                    if self.top() == base {
                        raise(state, Raise::new("no initial value for fold capture"));
                    }
                    self.settop(base + 1);
                    frame.n = 1;
                    self.set_top_frame(frame);
                }
                Sort::Of(Kind::Fold) => {
                    self.push_value(self.capture(frame.begin).key);
                    ffi::lua_rotate(state, base + 1, 1);
                    ffi::lua_call(state, self.top() - base - 1, 1);
                    self.look();
                }
                Sort::Of(Kind::String) => return self.next_of_string(),
                _ => {}
            }
        }
        next
    }

    /// # Safety
    /// As for [`raise`].
    unsafe fn check_table(&self, slot: c_int) {
        // SAFETY: by the caller's promise.
        unsafe {
            if ffi::lua_type(self.state, slot) != ffi::LUA_TTABLE {
                raise(self.state, Raise::new("invalid context for an accumulator capture"));
            }
        }
    }

    /// A substitution goes on from `copied`: the subject up to `from`, then the value at `base + 1`.
    ///
    /// # Safety
    /// As for [`raise`], with free slots.
    unsafe fn replace(&mut self, base: c_int, copied: u32, from: u32) {
        // SAFETY: by the caller's promise; the value stays in its slot while its bytes are copied.
        unsafe {
            if ffi::lua_isstring(self.state, base + 1) == 0 {
                let what = type_name(self.state, base + 1);
                raise(self.state, Raise::new(format_args!("invalid replacement value (a {what})")));
            }
            self.write_text(copied, from);
            let value = bytes(self.state, base + 1).unwrap_or_default();
            self.write(value);
        }
        self.settop(base);
    }

    /// Writes bytes of the subject.
    ///
    /// # Safety
    /// As for [`raise`].
    unsafe fn write_text(&mut self, from: u32, to: u32) {
        let subject = self.subject;
        // A capture before another may end behind its beginning: a back capture has no length.
        // SAFETY: by the caller's promise.
        unsafe { self.write(subject.get(from as usize..to as usize).unwrap_or_default()) }
    }

    /// # Safety
    /// As for [`raise`]. The bytes are Lua's, in a slot.
    unsafe fn write(&mut self, text: &[u8]) {
        let needed = self.written as usize + text.len();
        // SAFETY: by the caller's promise; there is room then.
        unsafe {
            if needed > self.bytes.room as usize {
                let Ok(room) = u32::try_from(needed.max(2 * self.bytes.room as usize)) else {
                    raise(self.state, Raise::new("string too long"))
                };
                self.bytes.grow(self.state, self.written, room);
            }
            let to = self.bytes.first.add(self.written as usize);
            to.copy_from_nonoverlapping(text.as_ptr(), text.len());
        }
        self.written = needed as u32;
    }

    /// The end of the capture that begins at `at`.
    fn end_of(&self, at: u32) -> u32 {
        let mut open = 0u32;
        let mut at = at;
        loop {
            let capture = self.capture(at);
            if capture.kind() == Kind::Close {
                open -= 1;
            } else if capture.is_open() {
                open += 1;
            }
            if open == 0 {
                return at;
            }
            at += 1;
        }
    }

    /// A back capture: the values of the last group with its key.
    ///
    /// # Safety
    /// As for [`raise`], with free slots.
    unsafe fn back(&mut self, at: u32, capture: Capture) -> u32 {
        let state = self.state;
        // SAFETY: by the caller's promise.
        unsafe {
            self.push_value(capture.key);
            let mut group = at;
            // Ends whose beginning was not met yet: what is in between is inside of another capture.
            let mut inside = 0u32;
            loop {
                if group == 0 {
                    let name = bytes(state, -1);
                    let name = name.map_or("(null)".into(), String::from_utf8_lossy);
                    let error = Raise::new(format_args!("back reference '{name}' not found"));
                    drop(name);
                    raise(state, error);
                }
                group -= 1;
                let before = self.capture(group);
                if before.kind() == Kind::Close {
                    inside += 1;
                    continue;
                }
                let whole = !before.is_open();
                if !whole {
                    if inside == 0 {
                        // It is around us.
                        continue;
                    }
                    inside -= 1;
                }
                if inside == 0 && before.kind() == Kind::Group {
                    self.push_value(before.key);
                    let same = ffi::lua_rawequal(state, -1, -2) != 0;
                    self.settop(self.top() - 1);
                    if same {
                        break;
                    }
                }
            }
            self.settop(self.top() - 1);
            let base = self.top();
            let found = self.capture(group);
            let sort = Sort::Of(Kind::Group);
            self.push_frame(Frame { sort, begin: group, back: at + 1, base, n: 0, mark: 0 });
            if found.is_open() { group + 1 } else { self.finish(found.from + found.len, 0) }
        }
    }

    /// The slot of the value that an accumulator capture goes on from.
    ///
    /// # Safety
    /// As for [`raise`].
    unsafe fn value_before(&self) -> c_int {
        let mut top = self.top();
        let mut at = self.depth;
        while at > 0 {
            at -= 1;
            let frame = self.frame(at);
            // Slots of the frame's own, below its values.
            let own = match frame.sort {
                Sort::Top | Sort::Named | Sort::Of(Kind::Group | Kind::Num | Kind::Query) => 0,
                Sort::Of(Kind::Fold) => 0,
                Sort::Of(Kind::Simple | Kind::Function) => 1,
                Sort::Of(Kind::Accumulator) => 2,
                // It has no values: they are in the table.
                Sort::Of(Kind::Table) => return frame.base + 1,
                Sort::Of(_) => {
                    let error = Raise::new("invalid context for an accumulator capture");
                    // SAFETY: by the caller's promise.
                    unsafe { raise(self.state, error) }
                }
            };
            if top > frame.base + own {
                return top;
            }
            let passes = matches!(frame.sort, Sort::Of(Kind::Simple | Kind::Group | Kind::Num));
            if !passes {
                break;
            }
            top = frame.base;
        }
        // SAFETY: by the caller's promise.
        unsafe { raise(self.state, Raise::new("no previous value for accumulator capture")) }
    }
}
