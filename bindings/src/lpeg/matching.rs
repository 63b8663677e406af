//! `lpeg.match`: runs the machine, makes room when it asks for some, calls the functions of match-time captures.
//!
//! Everything a match needs is plain data on the stack of this function or in userdata that Lua's stack keeps, so Lua may raise anywhere.
//! Slots: the arguments (at least three), then [`CODE`], [`VALUES`], the buffers, then values of match-time captures that are in
//! force.

use std::ffi::c_int;

use super::code::{Capture, Entry, OPEN};
use super::machine::{Machine, Stop};
use super::pattern::{check, push_code, push_values};
use super::room::{Ground, Room};
use super::tree::Kind;
use super::values::{Frame, Match};
use crate::raw::{Raise, check_bytes, ffi, guard, lua_State, raise};

/// Slots behind the arguments.
pub(super) const CODE: c_int = 1;
const VALUES: c_int = 2;
const STACK: c_int = 3;
const CAPTURES: c_int = 4;
const FRAMES: c_int = 5;
const BYTES: c_int = 6;
const SLOTS: c_int = 6;

/// Most values of one match-time capture.
const MOST_RESULTS: c_int = 32767;

/// The entry that gives up, which is at the beginning of all code.
const BOTTOM: Entry = Entry { pc: 0, at: 0, captures: 0 };

/// Limit of the stack; `setmaxstack` sets it for its Lua state. It is upvalue 1 of both.
#[repr(C)]
pub(super) struct Limit(pub(super) u32);

/// What it is at first. That much there always is, as in LPeg.
pub(super) const MAX_STACK: u32 = 400;

/// `lpeg.match(pattern, subject: string, init: integer?, ...): any...`.
pub(super) unsafe extern "C-unwind" fn matching(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; upvalue 1 is the limit. Nothing here has a destructor. Buffers and subject stay in their
    // slots; after Lua code ran that is looked at.
    unsafe {
        check(state, 1);
        let subject = check_bytes(state, 2);
        let init = ffi::luaL_optinteger(state, 3, 1);
        if subject.len() >= OPEN as usize {
            raise(state, Raise::new("subject too long"));
        }
        if ffi::lua_gettop(state) < 3 {
            ffi::lua_settop(state, 3);
        }
        let slots = ffi::lua_gettop(state);
        ffi::luaL_checkstack(state, 40, c"too many arguments".as_ptr());
        let code = push_code(state, 1);
        push_values(state, 1);
        ffi::lua_settop(state, slots + SLOTS);

        let limit = (*ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast::<Limit>()).0;
        let (mut stack, mut captures) = (Ground::<Entry, 64>::new(), Ground::<Capture, 32>::new());
        let (mut frames, mut bytes) = (Ground::<Frame, 16>::new(), Ground::<u8, 512>::new());
        let stack = Room::new(&mut stack, slots + STACK);
        let captures = Room::new(&mut captures, slots + CAPTURES);
        stack.first.write(BOTTOM);
        let mut machine = Machine {
            code: code.as_ptr(),
            subject: subject.as_ptr(),
            len: subject.len() as u32,
            at: start(init, subject.len()),
            pc: 1,
            stack: stack.first,
            depth: 1,
            room: stack.room,
            captures: captures.first,
            captured: 0,
            capture_room: captures.room,
            values: 0,
            runtime: 0,
        };
        let mut made = Match {
            state,
            subject,
            slots,
            values: slots + VALUES,
            code: ffi::lua_touserdata(state, slots + CODE),
            stack,
            captures,
            frames: Room::new(&mut frames, slots + FRAMES),
            bytes: Room::new(&mut bytes, slots + BYTES),
            depth: 0,
            written: 0,
        };
        loop {
            match guard(|| Ok(machine.run())) {
                Err(error) => raise(state, error),
                Ok(Stop::Failed) => {
                    ffi::lua_pushnil(state);
                    return 1;
                }
                Ok(Stop::Matched) => break,
                Ok(Stop::StackFull) => {
                    let most = limit.max(MAX_STACK);
                    if machine.room >= most {
                        let what = format_args!("backtrack stack overflow (current limit is {limit})");
                        raise(state, Raise::new(what));
                    }
                    let room = machine.room.saturating_mul(2).min(most);
                    made.stack.grow(state, machine.depth, room);
                    (machine.stack, machine.room) = (made.stack.first, room);
                }
                Ok(Stop::CapturesFull) => {
                    let Some(room) = machine.capture_room.checked_mul(2) else {
                        raise(state, Raise::new("too many captures"))
                    };
                    made.captures.grow(state, machine.captured, room);
                    (machine.captures, machine.capture_room) = (made.captures.first, room);
                }
                Ok(Stop::Runtime(function)) => runtime(&mut machine, &mut made, function),
            }
        }
        // Nothing reads these any more, unless a capture has them.
        ffi::lua_settop(state, slots + SLOTS + machine.values as c_int);
        if machine.captured == 0 {
            ffi::lua_pushinteger(state, i64::from(machine.at) + 1);
            return 1;
        }
        let count = made.produce(0, machine.captured);
        if count == 0 {
            ffi::lua_pushinteger(state, i64::from(machine.at) + 1);
            return 1;
        }
        count
    }
}

/// Where a match begins, as `init` says it.
fn start(init: i64, len: usize) -> u32 {
    let at = match init {
        1.. => (init as u64 - 1).min(len as u64),
        _ => (len as u64).saturating_sub(init.unsigned_abs()),
    };
    at as u32
}

/// A match-time capture ended: its function decides.
///
/// # Safety
/// As for [`raise`]; `machine` stopped at one.
unsafe fn runtime(machine: &mut Machine, made: &mut Match<'_>, function: u32) {
    let state = made.state;
    // SAFETY: by the caller's promise; an entry of its beginning is in the list.
    unsafe {
        let base = made.slots + SLOTS;
        ffi::lua_settop(state, base + machine.values as c_int);
        ffi::luaL_checkstack(state, 40, c"too many runtime captures".as_ptr());
        let begin = beginning(machine);
        let from = (*machine.captures.add(begin as usize)).from;
        // Values of captures inside: they are arguments now.
        let mut inside = 0;
        for at in begin + 1..machine.captured {
            let capture = *machine.captures.add(at as usize);
            if capture.kind() == Kind::Runtime {
                inside += capture.count();
                machine.runtime -= 1;
            }
        }
        let keep = machine.values - inside;
        super::grammar::push_name(state, made.values, function);
        ffi::lua_pushvalue(state, 2);
        ffi::lua_pushinteger(state, i64::from(machine.at) + 1);
        let count = made.produce(begin + 1, machine.captured);
        let called = base + machine.values as c_int + 1;
        let count = if count == 0 {
            made.push_text(from, machine.at);
            1
        } else {
            count
        };
        ffi::lua_call(state, count + 2, ffi::LUA_MULTRET);
        made.look();
        let results = ffi::lua_gettop(state) - called + 1;
        machine.captured = begin;
        machine.values = keep;
        let decided = match results {
            0 => None,
            _ if ffi::lua_toboolean(state, called) == 0 => None,
            _ if ffi::lua_type(state, called) == ffi::LUA_TBOOLEAN => Some(machine.at),
            _ => {
                let mut is_integer = 0;
                let to = ffi::lua_tointegerx(state, called, &mut is_integer);
                let valid = is_integer != 0 && to > i64::from(machine.at) && to <= i64::from(machine.len) + 1;
                if !valid {
                    raise(state, Raise::new("invalid position returned by match-time capture"));
                }
                Some(to as u32 - 1)
            }
        };
        let Some(at) = decided else {
            machine.fail();
            return;
        };
        machine.at = at;
        let count = results - 1;
        if count > MOST_RESULTS {
            raise(state, Raise::new("too many results in match-time capture"));
        }
        if count > 0 {
            // They go where the values of captures inside were.
            let first = base + keep as c_int + 1;
            ffi::lua_rotate(state, first, count);
            ffi::lua_settop(state, first + count - 1);
            *machine.captures.add(begin as usize) = Capture {
                from,
                len: at - from,
                key: first as u32,
                kind: Kind::Runtime as u32 | (count as u32) << 8,
            };
            machine.captured = begin + 1;
            machine.values += count as u32;
            machine.runtime += 1;
        }
    }
}

/// Where the innermost match-time capture that is open begins.
///
/// # Safety
/// The list of the machine has one.
unsafe fn beginning(machine: &Machine) -> u32 {
    let mut at = machine.captured;
    while at > 0 {
        at -= 1;
        // SAFETY: it is one of those in the list.
        let capture = unsafe { *machine.captures.add(at as usize) };
        if capture.is_open() && capture.kind() == Kind::Runtime {
            break;
        }
    }
    at
}
