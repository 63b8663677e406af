//! The machine as a service finds it: Lua 5.5, one hash seed, counted memory.

mod common;

use std::sync::{Arc, Mutex};
use std::thread;

use common::{run, state, state_with};
use skein_vm::seed;
use skein_vm::state::{FIRST_WARNING, Memory, State};

#[test]
fn is_lua_5_5_without_deprecated_functions() {
    let lua = state();
    for (code, value) in [
        ("return _VERSION", "Lua 5.5"),
        ("local global = 1; global = global + 1; return global", "2"),
        ("return tostring(math.pow)", "nil"),
        ("return math.type(1 // 1) .. math.type(1 / 1)", "integerfloat"),
        ("return #table.create(4)", "0"),
        ("local t <close> = nil; return 'closed'", "closed"),
        ("return utf8.char(8364)", "€"),
        ("for i = 1, 2 do local n <const> = i end return 'attribs'", "attribs"),
    ] {
        assert_eq!(run(&lua, code).unwrap(), value, "{code}");
    }
}

#[test]
fn all_states_of_a_process_hash_alike() {
    let seed = seed::get();
    let _other = state();
    assert_eq!(seed::get(), seed);
    assert_eq!(seed::set(seed), Ok(()));
    assert_eq!(seed::set(seed ^ 1), Err(seed));
    // Keys of small tables come in the order of their hashes.
    let order = "local t, keys = {}, {} for i = 1, 200 do t['key' .. i] = i end
        for k in pairs(t) do keys[#keys + 1] = k end return table.concat(keys, ' ')";
    assert_eq!(run(&state(), order), run(&state(), order));
}

#[test]
fn memory_is_counted_and_given_back() {
    let memory = Memory::new(|_| {});
    let lua = state_with(Arc::clone(&memory));
    let before = memory.used();
    assert!(before > 5_000, "{before}");
    run(&lua, "big = string.rep('x', 1000000)").unwrap();
    assert!(memory.used() - before >= 1_000_000);
    run(&lua, "big = nil collectgarbage() collectgarbage()").unwrap();
    assert!(memory.used() < before + 10_000, "{} {before}", memory.used());
    drop(lua);
    assert_eq!(memory.used(), 0);
}

#[test]
fn a_limit_is_an_error_that_lua_can_catch() {
    let memory = Memory::new(|_| {});
    let lua = state_with(Arc::clone(&memory));
    memory.set_limit(memory.used() + (1 << 20));
    assert_eq!(run(&lua, "return string.rep('x', 1 << 21)").unwrap_err(), "not enough memory");
    let code = "local ok, why = pcall(function() local t = {} while true do t[#t + 1] = {} end end)
        return tostring(ok) .. why";
    assert_eq!(run(&lua, code).unwrap(), "falsenot enough memory");
    assert_eq!(run(&lua, "collectgarbage() return #string.rep('x', 1 << 18)").unwrap(), "262144");
    memory.set_limit(usize::MAX);
    assert_eq!(run(&lua, "return #string.rep('x', 1 << 21)").unwrap(), "2097152");
}

#[test]
fn a_warning_comes_at_each_doubling() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let lua = state_with(Memory::new(move |used| log.lock().unwrap().push(used)));
    let mib = FIRST_WARNING >> 20;
    run(&lua, &format!("a = string.rep('x', {} << 20)", mib - 1)).unwrap();
    assert!(seen.lock().unwrap().is_empty());
    run(&lua, "b = {} for i = 1, 40 do b[i] = string.rep('x', 1 << 20) .. i end").unwrap();
    let warned = seen.lock().unwrap().clone();
    assert_eq!(warned.len(), 2, "{warned:?}");
    assert!(warned[0] > FIRST_WARNING && warned[0] < FIRST_WARNING + (4 << 20), "{warned:?}");
    assert!(warned[1] > 2 * FIRST_WARNING, "{warned:?}");
}

#[test]
fn states_come_and_go_in_any_thread() {
    let threads: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(|| {
                let states: Vec<State> = (0..20).map(|_| state()).collect();
                for lua in &states {
                    assert_eq!(run(lua, "return ('x'):rep(3)").unwrap(), "xxx");
                }
                states
            })
        })
        .collect();
    for lua in threads.into_iter().flat_map(|it| it.join().unwrap()) {
        assert_eq!(run(&lua, "return 1").unwrap(), "1");
    }
}

#[test]
fn a_state_may_outgrow_its_own_pages_and_shrink_again() {
    let memory = Memory::new(|_| {});
    let lua = state_with(Arc::clone(&memory));
    let before = memory.used();
    // Far beyond the 256 KiB that a small state has for itself: blocks of both kinds live side by side, and change places.
    let code = "local t = {}
        for i = 1, 8000 do t[i] = {i, tostring(i) .. ('x'):rep(i % 300)} end
        for i = 1, 8000, 2 do t[i] = nil end
        collectgarbage()
        for i = 1, 8000, 2 do t[i] = {i, tostring(i) .. ('y'):rep(i % 200), i} end
        local sum = 0
        for i = 1, 8000 do
            local pad = i % 2 == 0 and ('x'):rep(i % 300) or ('y'):rep(i % 200)
            assert(t[i][1] == i and t[i][2] == i .. pad)
            sum = sum + #t[i]
        end
        return sum";
    assert_eq!(run(&lua, code).unwrap(), "20000");
    // The table of strings becomes half as large with each collection.
    run(&lua, "for i = 1, 12 do collectgarbage() end").unwrap();
    assert!(memory.used() < before + 20_000, "{} {before}", memory.used());
    drop(lua);
    assert_eq!(memory.used(), 0);
}

#[test]
fn finalizers_may_allocate_while_their_state_is_closed() {
    let memory = Memory::new(|_| {});
    let lua = state_with(Arc::clone(&memory));
    let code = "for i = 1, 100 do
            setmetatable({}, {__gc = function() local t = {} for n = 1, 50 do t[n] = {n .. ''} end last = t end})
        end";
    run(&lua, &format!("collectgarbage 'stop' {code}")).unwrap();
    drop(lua);
    assert_eq!(memory.used(), 0);
    // The memory is as good as new for another state.
    let lua = state_with(Arc::clone(&memory));
    assert_eq!(run(&lua, "return #('x'):rep(100)").unwrap(), "100");
}
