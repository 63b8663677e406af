//! Breaking into running code: any code, once for each request, and nothing else changes.

mod common;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::{run, state, state_with};
use skein_vm::ffi;
use skein_vm::interrupt;
use skein_vm::state::{Memory, State};

/// Runs `code` in a thread and interrupts it once.
fn broken(code: &'static str) -> Result<String, String> {
    let memory = Memory::new(|_| {});
    let lua = state_with(Arc::clone(&memory));
    let running = thread::spawn(move || run(&lua, code));
    thread::sleep(Duration::from_millis(20));
    assert!(!running.is_finished(), "ended by itself: {code}");
    assert!(memory.interrupt());
    let began = Instant::now();
    while !running.is_finished() {
        assert!(began.elapsed() < Duration::from_secs(20), "still runs: {code}");
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!memory.is_interrupted());
    running.join().unwrap()
}

#[test]
fn any_loop_can_be_interrupted_from_another_thread() {
    for code in [
        "while true do end",
        "repeat until false",
        "for i = 1, math.huge do end",
        "for i = 1.0, math.huge do end",
        "for _ in function() return 1 end do end",
        "::top:: goto top",
        "local function f() return f() end return f()",
        "local t = setmetatable({}, { __index = function(t, k) return k end }) while true do local _ = t.x end",
        "while true do local s = 'a' .. 'b' end",
        "while true do collectgarbage 'step' end",
        "string.gsub(('x'):rep(1 << 20), 'x', function() for i = 1, 1 << 20 do end end)",
        "table.sort({ 3, 2, 1 }, function() while true do end end)",
        "local t = {} for i = 1, 1 << 16 do t[i] = i end while true do table.sort(t, function(a, b) return a > b end) end",
        "local t <close> = setmetatable({}, { __close = function() while true do end end })",
    ] {
        let error = broken(code).unwrap_err();
        assert!(error.starts_with("test:1: ") && error.ends_with("signal 0"), "{code}: {error}");
    }
}

#[test]
fn the_coroutine_that_runs_is_the_one_that_breaks() {
    for code in [
        // Its loop, however deep it is nested.
        "coroutine.wrap(function() while true do end end)()",
        "local ok, why = coroutine.resume(coroutine.create(function() while true do end end)) error(why, 0)",
        "local function nest(n) if n == 0 then while true do end end coroutine.wrap(nest)(n - 1) end nest(50)",
        "local co = coroutine.wrap(function() coroutine.wrap(pcall)(error) while true do end end) co()",
        // One that ended, failed or was closed before no longer counts.
        "coroutine.wrap(function() end)() while true do end",
        "coroutine.resume(coroutine.create(error)) while true do end",
        "local co = coroutine.create(coroutine.yield) coroutine.resume(co) coroutine.close(co) while true do end",
        "local co = coroutine.wrap(function() coroutine.close() end) co() while true do end",
        "pcall(coroutine.resume, coroutine.running()) while true do end",
        // It changes all the time.
        "local co = coroutine.wrap(function() while true do coroutine.yield() end end) while true do co() end",
        "while true do coroutine.wrap(function() pcall(coroutine.yield) end)() end",
        "while true do coroutine.resume(coroutine.create(error)) end",
        // Its variables are being closed.
        "local co = coroutine.create(function() \
            local t <close> = setmetatable({}, { __close = function() while true do end end }) coroutine.yield() end) \
            coroutine.resume(co) local _, why = coroutine.close(co) error(why, 0)",
    ] {
        let error = broken(code).map_or_else(|error| error, |value| format!("no error: {value}"));
        assert!(error.starts_with("test:1: ") && error.ends_with("signal 0"), "{code}: {error}");
    }
}

#[test]
fn a_loop_that_catches_errors_is_broken_once() {
    let code = "local caught = {}
        while #caught == 0 do
            local ok, why = pcall(function() local n = 0 while true do n = n + 1 end end)
            caught[#caught + 1] = why
        end
        for i = 1, 1000000 do if not pcall(math.abs, i) then return 'again' end end
        return table.concat(caught, ' ')";
    assert_eq!(broken(code).unwrap(), "test:3: signal 0");
    let code = "local n, co = 0, coroutine.wrap(function()
            while true do local ok, why = pcall(function() while true do end end) coroutine.yield(why) end
        end)
        return co()";
    assert_eq!(broken(code).unwrap(), "test:2: signal 0");
}

#[test]
fn one_request_breaks_once_and_waits_for_code_to_run() {
    let memory = Memory::new(|_| {});
    let lua = state_with(Arc::clone(&memory));
    assert!(memory.interrupt());
    assert!(!memory.interrupt());
    assert!(memory.is_interrupted());
    // Other states do not see it.
    assert_eq!(run(&state(), "for i = 1, 1000 do end return 'untouched'").unwrap(), "untouched");
    assert_eq!(run(&lua, "return 'the first instruction'").unwrap_err(), "test:1: signal 0");
    assert!(!memory.is_interrupted());
    assert_eq!(run(&lua, "for i = 1, 1000 do end return 'goes on'").unwrap(), "goes on");
}

#[test]
fn a_state_inside_of_another_breaks_by_itself() {
    let memories = [Memory::new(|_| {}), Memory::new(|_| {})];
    let [outer, inner] = [0, 1].map(|it| state_with(Arc::clone(&memories[it])));
    memories[0].interrupt();
    // SAFETY: both are ours.
    let running = unsafe { interrupt::enter(outer.as_ptr()) };
    assert_eq!(run(&inner, "return 'untouched'").unwrap(), "untouched");
    memories[1].interrupt();
    assert_eq!(run(&inner, "return 'broken'").unwrap_err(), "test:1: signal 0");
    assert_eq!(run(&inner, "return 'goes on'").unwrap(), "goes on");
    assert!(memories[0].is_interrupted());
    // The hook is back where it was, in the state that is left now.
    // SAFETY: a state of ours.
    assert_eq!(unsafe { ffi::lua_gethookmask(outer.as_ptr()) }, ffi::LUA_MASKCOUNT);
    drop(running);
    // SAFETY: as above.
    assert_eq!(unsafe { ffi::lua_gethookmask(outer.as_ptr()) }, 0);
    assert_eq!(run(&outer, "return 'broken'").unwrap_err(), "test:1: signal 0");
}

#[test]
fn hooks_of_the_application_come_back() {
    let memory = Memory::new(|_| {});
    let lua = state_with(Arc::clone(&memory));
    run(&lua, "calls = 0 function hook() calls = calls + 1 end debug.sethook(hook, 'c', 1000)").unwrap();
    let gone = "local f, mask, count = debug.gethook() return tostring(f == hook) .. mask .. count";
    assert_eq!(run(&lua, gone).unwrap(), "truec1000");
    for _ in 0..10 {
        memory.interrupt();
        run(&lua, "return 1").unwrap_err();
        assert_eq!(run(&lua, gone).unwrap(), "truec1000");
    }
    let before: u32 = run(&lua, "return calls").unwrap().parse().unwrap();
    run(&lua, "for i = 1, 10000 do math.abs(i) end").unwrap();
    let after: u32 = run(&lua, "return calls").unwrap().parse().unwrap();
    assert!(after >= before + 10_000, "{before} {after}");

    // One that is set while ours waits.
    // SAFETY: a state of ours.
    unsafe {
        let _running = interrupt::enter(lua.as_ptr());
        memory.interrupt();
        ffi::lua_sethook(lua.as_ptr(), None, 0, 0);
    }
    assert_eq!(run(&lua, "return 1").unwrap_err(), "test:1: signal 0");
    assert_eq!(run(&lua, "return tostring(debug.gethook())").unwrap(), "nil");
}

#[test]
fn coroutines_made_while_a_request_waits_do_not_keep_the_hook() {
    let memory = Memory::new(|_| {});
    let lua = state_with(Arc::clone(&memory));
    // SAFETY: a state of ours, with a free slot; the coroutine is anchored on its stack.
    let made = unsafe {
        let _running = interrupt::enter(lua.as_ptr());
        memory.interrupt();
        ffi::lua_newthread(lua.as_ptr())
    };
    assert_eq!(run(&lua, "return 1").unwrap_err(), "test:1: signal 0");
    // SAFETY: as above; the chunk is loaded and called without an error.
    unsafe {
        let code = c"for i = 1, 100 do end return 'fine'";
        let _running = interrupt::enter(made);
        assert_eq!(ffi::luaL_loadstring(made, code.as_ptr()), ffi::LUA_OK);
        assert_eq!(ffi::lua_pcall(made, 0, 1, 0), ffi::LUA_OK);
        assert_eq!(ffi::lua_gethookmask(made), 0);
    }
}

#[test]
fn values_survive_interruptions_at_any_moment() {
    const WORK: &str = "kept = {}
        function work()
            for i = 1, 50 do kept[i] = { i, i .. '' } end
            local echo = coroutine.wrap(function(a) return coroutine.yield(a) end)
            assert(echo(1) == 1 and echo(2) == 2)
            table.sort(kept, function(a, b) return a[1] < b[1] end)
            local text = ('x'):rep(100):gsub('x', function(x) return #x .. '' end)
            assert(text == ('1'):rep(100))
        end
        function forever()
            local safely = coroutine.wrap(function() while true do
                local ok, why = pcall(work)
                if not ok then assert(why:find 'signal 0', why) end
                coroutine.yield()
            end end)
            while true do safely() end
        end";
    const CHECK: &str = "work() collectgarbage()
        for i = 1, 50 do assert(kept[i][1] == i and kept[i][2] == tostring(i)) end";
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let memory = Memory::new(|_| {});
            let lua = state_with(Arc::clone(&memory));
            run(&lua, WORK).unwrap();
            let running = thread::spawn(move || {
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_secs(3) {
                    // Broken where nothing protects it, sooner or later.
                    let error = run(&lua, "forever()").unwrap_err();
                    assert!(error.contains("signal 0"), "{error}");
                }
                lua
            });
            (memory, running)
        })
        .collect();
    let mut asked = 0;
    while threads.iter().any(|(_, it)| !it.is_finished()) {
        for (memory, _) in &threads {
            asked += u32::from(memory.interrupt());
        }
        thread::sleep(Duration::from_micros(50));
    }
    assert!(asked > 1000, "{asked}");
    for (memory, running) in threads {
        let lua = running.join().unwrap();
        if memory.is_interrupted() {
            run(&lua, CHECK).unwrap_err();
        }
        run(&lua, CHECK).unwrap();
    }
}

#[test]
fn states_that_go_from_thread_to_thread_are_found() {
    let memory = Memory::new(|_| {});
    let mut lua: State = state_with(Arc::clone(&memory));
    for _ in 0..200 {
        let running = thread::spawn(move || {
            let error = run(&lua, "while true do end").unwrap_err();
            (lua, error)
        });
        memory.interrupt();
        let error;
        (lua, error) = running.join().unwrap();
        assert_eq!(error, "test:1: signal 0");
        assert!(!memory.is_interrupted());
    }
}

#[test]
fn a_closed_state_takes_no_request_with_it() {
    let memory = Memory::new(|_| {});
    let lua = state_with(Arc::clone(&memory));
    memory.interrupt();
    drop(lua);
    assert!(!memory.is_interrupted());
    assert!(!memory.interrupt());
}
