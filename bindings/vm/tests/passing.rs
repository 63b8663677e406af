//! States that build one thing and end with their memory: what is frozen of them is the same, and nothing that has to happen at their
//! end is left out.

mod common;

use std::ffi::CStr;
use std::ptr;
use std::sync::Arc;

use common::{run, state_with};
use skein_arena::{Arena, range};
use skein_vm::external;
use skein_vm::ffi;
use skein_vm::shared::{self, Allowed};
use skein_vm::state::{Memory, State};

/// Shared strings, circles, long strings, arrays that grew, garbage; no keys whose hash is an address.
const BUILD: &CStr = c"
    local items = { list = {}, empty = {}, [1.5] = true, [false] = 'no' }
    for i = 1, 5000 do
        items.list[i] = { id = i, name = 'item' .. i % 100, items = i % 3 == 0 and items or nil, ('x'):rep(i % 50) }
    end
    items.long = { ('l'):rep(100000), ('l'):rep(100000) }
    items.same = { items.long, items.long }
    return items";

/// Room for what that becomes.
const ROOM: usize = 16 << 20;

/// Addresses in the range, of no segment.
fn room() -> *mut u8 {
    range::reserve().unwrap();
    let at = ptr::with_exposed_provenance_mut(range::SEGMENTS);
    // SAFETY: nobody else has segments in this process.
    unsafe { range::commit(at, ROOM).unwrap() };
    at
}

/// Runs `BUILD`; its table is on the stack.
fn built(memory: Arc<Memory>) -> State {
    let state = state_with(memory);
    let lua = state.as_ptr();
    // SAFETY: our state, with protected calls.
    unsafe {
        assert_eq!(ffi::luaL_loadstring(lua, BUILD.as_ptr()), ffi::LUA_OK);
        assert_eq!(ffi::lua_pcall(lua, 0, 1, 0), ffi::LUA_OK);
    }
    state
}

/// The bytes of the table at the top of the stack when it is frozen at `at`.
fn frozen(state: &State, at: *mut u8, spent: bool) -> Vec<u8> {
    // SAFETY: the room is ours; nothing runs in the state, and who says that it is spent drops it.
    unsafe {
        at.write_bytes(0, ROOM);
        let allowed = Allowed { spent, ..Allowed::default() };
        let found = shared::freeze(state.as_ptr(), -1, c"t", allowed, (at, at.add(ROOM)), |_| None).unwrap();
        assert_eq!(found.root, at.addr());
        std::slice::from_raw_parts(at, found.used).to_vec()
    }
}

#[test]
fn a_spent_state_freezes_to_the_same_bytes() {
    let at = room();
    let kept = built(Memory::new(|_| {}));
    let before = frozen(&kept, at, false);
    assert!(before.len() > 1 << 19, "{}", before.len());
    let mut spent = built(Memory::passing());
    let lua = spent.as_ptr();
    // SAFETY: our state; nothing runs in it.
    unsafe {
        let root = ffi::lua_topointer(lua, -1);
        assert!(spent.settle());
        assert_eq!(ffi::lua_gettop(lua), 0);
        shared::push(lua, root);
    }
    assert!(frozen(&spent, at, true) == before, "other bytes");
    drop(spent);
    // The other one was only read.
    assert!(frozen(&kept, at, false) == before);
}

#[test]
fn finalizers_of_a_settled_state_run_once_and_may_do_as_they_like() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let memory = Memory::passing();
    let mut state = state_with(Arc::clone(&memory));
    let code = format!(
        "local file = io.open({:?}, 'w')
        file:write 'buffered '
        first = setmetatable({{}}, {{ __gc = function() file:write 'twice? ' error 'ignored' end }})
        last = setmetatable({{}}, {{ __gc = function() local t = {{}} for i = 1, 1000 do t[i] = {{}} end file:write 'late ' end }})
        return 'built'",
        file.path()
    );
    assert_eq!(run(&state, &code).unwrap(), "built");
    // SAFETY: nothing runs in the state.
    assert!(unsafe { state.settle() && state.settle() });
    // The file was closed by a finalizer, after those of the program.
    assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "buffered late twice? ");
    drop(state);
    assert_eq!(Arc::strong_count(&memory), 1);
}

/// What only closing frees is freed.
#[test]
fn a_state_with_a_string_that_shows_a_block_is_closed() {
    let arena = Arena::private(&Default::default()).unwrap();
    let payload = arena.copy_from(&[b'x'; 5000]).unwrap().share();
    let mut state = state_with(Memory::passing());
    // SAFETY: our state; the payload outlives the call, and the bytes end it.
    unsafe { external::push(state.as_ptr(), payload.as_raw(), payload.as_ptr(), payload.len()) };
    assert_eq!(payload.owners(), 2);
    // SAFETY: nothing runs in the state.
    assert!(unsafe { !state.settle() });
    drop(state);
    assert_eq!(payload.owners(), 1);
    // Nor is one that is of the usual kind.
    // SAFETY: as above.
    assert!(unsafe { !state_with(Memory::new(|_| {})).settle() });
}
