//! Strings whose bytes lie in blocks: what they count for, and when their references go.

mod common;

use std::ffi::{c_int, c_void};
use std::ptr;

use common::{run, state, state_with};
use skein_arena::{Arena, Options, Payload};
use skein_vm::external;
use skein_vm::ffi::{self, lua_State};
use skein_vm::state::{Memory, State};

/// Lua function `(light userdata to a Payload)`: its bytes as a string.
unsafe extern "C-unwind" fn show(lua: *mut lua_State) -> c_int {
    // SAFETY: tests pass a payload that they keep; a borrow has no destructor.
    unsafe {
        let payload = &*ffi::lua_touserdata(lua, 1).cast::<Payload>();
        external::push(lua, payload.as_raw(), payload.as_ptr(), payload.len());
    }
    1
}

/// Gives a state `show` and `payload`.
fn offer(lua: &State, payload: &Payload) {
    // SAFETY: the state is ours, and has room.
    unsafe {
        ffi::lua_pushcfunction(lua.as_ptr(), show);
        ffi::lua_setglobal(lua.as_ptr(), c"show".as_ptr());
        ffi::lua_pushlightuserdata(lua.as_ptr(), ptr::from_ref(payload).cast_mut().cast::<c_void>());
        ffi::lua_setglobal(lua.as_ptr(), c"payload".as_ptr());
    }
}

fn payload(len: usize) -> Payload {
    let arena = Arena::private(&Options::default()).unwrap();
    arena.copy_from(&vec![b'x'; len]).unwrap().share()
}

#[test]
fn a_string_in_a_block_counts_as_one_of_its_own_and_paces_the_collector_by_its_share() {
    let payload = payload(1 << 20);
    for mode in ["generational", "incremental"] {
        let memory = Memory::new(|_| {});
        let lua = state_with(memory.clone());
        offer(&lua, &payload);
        run(&lua, &format!("collectgarbage '{mode}' collectgarbage() base = collectgarbage 'count'"))
            .unwrap();
        let used = memory.used();
        let grown = "return ('%.1f'):format((collectgarbage 'count' - base) / 1024)";
        run(&lua, "collectgarbage 'stop' kept = {} for i = 1, 5 do kept[i] = show(payload) end").unwrap();
        // 1, a half, a third and so on: so many owners were there when each was made.
        assert_eq!(run(&lua, grown).unwrap(), "2.3", "{mode}");
        assert_eq!((memory.used() - used) >> 20, 5, "{mode}");
        assert_eq!(payload.owners(), 6);
        run(&lua, "collectgarbage 'restart' kept = nil collectgarbage() collectgarbage()").unwrap();
        assert_eq!(run(&lua, grown).unwrap(), "0.0", "{mode}");
        assert_eq!(((memory.used() - used) >> 12, payload.owners()), (0, 1), "{mode}");
    }
}

#[test]
fn over_the_limit_there_is_a_collection_and_then_an_error() {
    let payload = payload(1 << 20);
    let memory = Memory::new(|_| {});
    let lua = state_with(memory.clone());
    offer(&lua, &payload);
    memory.set_limit(memory.used() + (3 << 20) + (1 << 19));
    // Garbage makes room.
    run(&lua, "collectgarbage 'stop' for _ = 1, 50 do local _ = show(payload) end").unwrap();
    run(&lua, "kept = { show(payload), show(payload), show(payload) }").unwrap();
    assert_eq!(payload.owners(), 4);
    assert_eq!(run(&lua, "return show(payload)").unwrap_err(), "not enough memory");
    assert_eq!(payload.owners(), 4, "a string that was refused owns nothing");
    assert_eq!(run(&lua, "kept[1] = nil return tostring(#show(payload))").unwrap(), "1048576");
    memory.set_limit(usize::MAX);
    drop(lua);
    assert_eq!((payload.owners(), memory.used()), (1, 0));
}

#[test]
fn garbage_is_collected_at_the_pace_of_its_bytes() {
    let payload = payload(1 << 20);
    let lua = state();
    offer(&lua, &payload);
    run(&lua, "collectgarbage 'generational'").unwrap();
    for _ in 0..200 {
        run(&lua, "local _ = show(payload)").unwrap();
        assert!(payload.owners() < 8, "{} strings were kept", payload.owners());
    }
}

#[test]
fn libraries_see_an_ordinary_string() {
    let payload = payload(5000);
    let lua = state();
    offer(&lua, &payload);
    let code = "local s, t = show(payload), ('x'):rep(5000)
        assert(s == t and t == s and #s == 5000 and s .. 'y' == t .. 'y' and s:sub(2, 3) == 'xx')
        local keys = { [s] = 1 }
        assert(keys[t] == 1 and next(keys) == t and not (s < t) and s <= t and s:find('y') == nil)
        assert(load('return ' .. ('%q'):format(s))() == t and string.pack('z', s) == t .. '\\0')
        return s:upper():sub(-1) .. select('#', s:byte(1, 100))";
    assert_eq!(run(&lua, code).unwrap(), "X100");
    // SAFETY: slot 1 is free for a string of Lua's own.
    unsafe {
        ffi::lua_pushstring(lua.as_ptr(), c"a string of its own, longer than forty bytes".as_ptr());
        assert!(external::owner(lua.as_ptr(), -1).is_none());
        ffi::lua_pushcfunction(lua.as_ptr(), show);
        ffi::lua_pushlightuserdata(lua.as_ptr(), ptr::from_ref(&payload).cast_mut().cast::<c_void>());
        ffi::lua_call(lua.as_ptr(), 1, 1);
        let owner = external::owner(lua.as_ptr(), -1).unwrap();
        assert_eq!(owner, payload.as_raw());
        assert_eq!(&external::payload(owner)[..3], b"xxx");
    }
}

/// The payload's owners after `code`, which leaves strings in globals.
fn owners_after(payload: &Payload, code: &str) -> u32 {
    let lua = state();
    offer(&lua, payload);
    run(&lua, code).unwrap();
    let owners = payload.owners();
    drop(lua);
    assert_eq!(payload.owners(), 1, "{code}");
    owners
}

#[test]
fn the_end_of_a_string_in_a_block_shows_the_block_too() {
    let payload = payload(5000);
    let others = [
        ("s = show(payload) t = s:sub(3)", 4998),
        ("s = show(payload) t = s:sub(-2600)", 2600),
        ("s = show(payload) t = s:match '^xx(.*)$'", 4998),
        ("s = show(payload) t = string.unpack('c4992', s, 9)", 4992),
        // The end of an end.
        ("s = nil t = show(payload):sub(3):sub(3) collectgarbage() u = t:sub(2)", 4996),
    ];
    for (code, len) in others {
        assert_eq!(owners_after(&payload, &format!("{code} assert(t == ('x'):rep({len}))")), 3, "{code}");
    }
}

#[test]
fn what_is_short_or_not_the_end_of_a_block_is_copied() {
    let payload = payload(5000);
    for code in [
        // Nothing behind it that ends it.
        "t = show(payload):sub(1, -2) assert(#t == 4999)",
        "t = show(payload):match '^(.*)x$' assert(#t == 4999)",
        // Much less than what it would keep alive.
        "t = show(payload):sub(-2000) assert(#t == 2000)",
        "t = show(payload):sub(-1023)",
        // Another string.
        "local own = ('x'):rep(5000) t = own:sub(3) show(payload):find(own, 1, true)",
        "t = string.pack('z', show(payload)):sub(3)",
    ] {
        assert_eq!(owners_after(&payload, &format!("{code} collectgarbage()")), 1, "{code}");
    }
}
