//! Copies of a state: they behave as the original did, are independent, and what cannot be copied is refused.

use std::ffi::{CString, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use skein_vm::ffi::{self, lua_State};
use skein_vm::image::{Image, Place};
use skein_vm::state::{Memory, State};

/// Runs a chunk in a state.
fn run(state: &State, code: &str) -> Result<(), String> {
    let code = CString::new(code).unwrap();
    // SAFETY: the state is ours; what raises is protected.
    unsafe {
        let state = state.as_ptr();
        let failed = ffi::luaL_loadstring(state, code.as_ptr()) != ffi::LUA_OK
            || ffi::lua_pcall(state, 0, 0, 0) != ffi::LUA_OK;
        let error = failed.then(|| {
            let text = ffi::luaL_tolstring(state, -1, ptr::null_mut());
            std::ffi::CStr::from_ptr(text).to_string_lossy().into_owned()
        });
        ffi::lua_settop(state, 0);
        error.map_or(Ok(()), Err)
    }
}

unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: called by Lua.
    unsafe { ffi::luaL_openlibs(state) };
    0
}

/// Answers the integer behind its upvalue.
unsafe extern "C-unwind" fn outside(state: *mut lua_State) -> c_int {
    // SAFETY: the upvalue is the address of an integer that outlives the state.
    unsafe {
        let at = ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast::<i64>();
        ffi::lua_pushinteger(state, *at);
    }
    1
}

/// A state that ran `code`, with a function `outside` that knows `own`.
fn mould(code: &str, own: &i64) -> State {
    let state = State::new(Memory::for_image().unwrap()).unwrap();
    // SAFETY: a fresh state with 20 free slots; with the collector stopped and no limit none of these raises.
    unsafe {
        let lua = state.as_ptr();
        ffi::lua_gc(lua, ffi::LUA_GCSTOP);
        ffi::lua_gc(lua, ffi::LUA_GCGEN);
        ffi::lua_pushcfunction(lua, open);
        assert_eq!(ffi::lua_pcall(lua, 0, 0, 0), ffi::LUA_OK);
        ffi::lua_pushlightuserdata(lua, ptr::from_ref(own).cast_mut().cast());
        ffi::lua_pushcclosure(lua, outside, 1);
        ffi::lua_setglobal(lua, c"outside".as_ptr());
    }
    run(&state, code).unwrap();
    // SAFETY: as above.
    unsafe { ffi::lua_gc(state.as_ptr(), ffi::LUA_GCCOLLECT) };
    state
}

/// The image of states that ran `code`, if they have one. The first time some names are not yet where they will be.
fn image(code: &str) -> Option<Image> {
    let (a, b) = (1, 2);
    drop(mould(code, &a));
    let (first, second) = (mould(code, &a), mould(code, &b));
    // SAFETY: nobody runs them.
    unsafe { Image::of(&first, &second, &[(ptr::from_ref(&a).addr(), ptr::from_ref(&b).addr())]) }
}

fn copy(image: &Image, own: &'static i64) -> State {
    // SAFETY: the memory is new, and `outside` may read the integer.
    let state =
        unsafe { image.state(Memory::new(|_| {}), &[ptr::from_ref(own).expose_provenance()]) }.unwrap();
    // SAFETY: ours, with free slots.
    unsafe { ffi::lua_gc(state.as_ptr(), ffi::LUA_GCRESTART) };
    state
}

const MADE: &str = r#"
    math.randomseed(1)
    list, map, deep = {}, {}, {}
    for i = 1, 100 do
        list[i] = i * 1.5
        map["key" .. i] = ("long "):rep(i)
        deep = { deep, i }
    end
    local count = 0
    function counter() count = count + 1; return count end
    task = coroutine.create(function(a) local b = coroutine.yield(a + 1); return a + b end)
    _, first = coroutine.resume(task, 10)
    weak = setmetatable({ {}, list }, { __mode = "v" })
    finished = 0
    finalized = setmetatable({}, { __gc = function() finished = finished + 1 end })
    path = package.path:rep(10)
    only = { [counter] = "by address" }
"#;

const USED: &str = r##"
    assert(outside() == 7)
    for round = 1, 3 do
        for i = 1, 100 do
            assert(list[i] == i * 1.5)
            assert(map["key" .. i] == ("long "):rep(i))
        end
        collectgarbage(round == 2 and "step" or "collect")
        local garbage = {}
        for i = 1, 200 do garbage[i] = { tostring(i):rep(round * 9) } end
    end
    local at, n = deep, 0
    while at[2] do at, n = at[1], n + 1 end
    assert(n == 100)
    assert(counter() == 1 and counter() == 2, "others counted, too")
    assert(first == 11)
    local ok, sum = coroutine.resume(task, 5)
    assert(ok and sum == 15)
    assert(weak[1] == nil and weak[2] == list)
    assert(only[counter] == "by address" and path == package.path:rep(10))
    list = nil
    collectgarbage()
    assert(weak[2] == nil)
    finalized = nil
    collectgarbage()
    assert(finished == 1)
    collectgarbage("incremental")
    collectgarbage()
    local s = string.format("%5.1f|%q", 1 / 3, "text")
    assert(select("#", s:byte(1, -1)) == #s and s:find("text", 1, true))
    for name, value in pairs(_G) do local _ = name .. tostring(value) end
    assert(load("return function(x) return x * 2 end")()(21) == 42)
"##;

#[test]
fn a_copy_behaves_as_the_original_and_knows_nothing_of_the_others() {
    // The compiler has a table with an address among its keys: now and then that makes it grow sooner, and others lie elsewhere.
    let image = (0..20).find_map(|_| image(MADE)).expect("nothing in there depends on addresses");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let states: Vec<State> = (0..10).map(|_| copy(&image, &7)).collect();
                for state in &states {
                    run(state, USED).unwrap();
                }
            });
        }
    });
}

#[test]
fn a_copy_counts_what_it_has_and_its_limit_holds() {
    let image = image("math.randomseed(1) kept = {} for i = 1, 50 do kept[i] = {} end").unwrap();
    let state = copy(&image, &7);
    let used = state.memory().used();
    assert!(used > 10_000 && used <= image.size(), "{used} of {}", image.size());
    state.memory().set_limit(used + 20_000);
    let error = run(&state, "for i = 1, 10000 do kept[i] = {} end").unwrap_err();
    assert!(error.contains("not enough memory"), "{error}");
    state.memory().set_limit(usize::MAX);
    run(&state, "kept = nil collectgarbage()").unwrap();
    assert!(state.memory().used() < used);
}

#[test]
fn a_place_is_the_same_object_in_every_copy() {
    let own = 1;
    let code = "math.randomseed(1) anchor = setmetatable({}, {})";
    drop(mould(code, &own));
    let (first, second) = (mould(code, &own), mould(code, &own));
    let anchor = |state: *mut lua_State| {
        // SAFETY: the state is at rest; the global is there.
        unsafe {
            ffi::lua_getglobal(state, c"anchor".as_ptr());
            let at = ffi::lua_topointer(state, -1);
            ffi::lua_settop(state, 0);
            at
        }
    };
    let address = ptr::from_ref(&own).addr();
    // SAFETY: nobody runs them.
    let image = unsafe { Image::of(&first, &second, &[(address, address)]) }.unwrap();
    let place = image.place(anchor(first.as_ptr()).addr());
    drop((first, second));
    for _ in 0..3 {
        let state = copy(&image, &7);
        assert_eq!(place.of::<c_void>(&state).cast_const(), anchor(state.as_ptr()));
    }
    assert_eq!(image.place(address), Place::Outside(address));
}

#[test]
fn what_depends_on_addresses_has_no_image() {
    let random = "math.randomseed(1)";
    assert!(image(random).is_some());
    for code in [
        "t = { [print] = 1, [function() end] = 2, [{}] = 3 }",
        "t = { a = 1, [coroutine.create(print)] = 2 }",
        "s = tostring({})",
        "for i = 1, 100000 do t = { t } end",
        "big = ('x'):rep(100000) .. 'y'",
    ] {
        assert!(image(&format!("{random} {code}")).is_none(), "{code}");
    }
}

#[test]
fn originals_go_on() {
    let own = 7;
    let states = [mould(MADE, &own), mould(MADE, &own)];
    let address = ptr::from_ref(&own).addr();
    // SAFETY: nobody runs them.
    let _ = unsafe { Image::of(&states[0], &states[1], &[(address, address)]) };
    for state in &states {
        assert!(Arc::strong_count(state.memory()) == 1);
        run(state, USED).unwrap();
    }
}
