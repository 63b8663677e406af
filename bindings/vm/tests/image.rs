//! Copies of a state: they behave as the original did, are independent, and what cannot be copied is refused.

mod common;

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use common::{copy, image, mould, run, sure_image};
use skein_vm::ffi::{self, lua_State};
use skein_vm::image::{Image, Place};
use skein_vm::state::State;

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
    let image = sure_image(MADE);
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
    let image = sure_image("math.randomseed(1) kept = {} for i = 1, 50 do kept[i] = {} end");
    let state = copy(&image, &7);
    let used = state.memory().used();
    assert!(used > 6_000 && used <= image.size(), "{used} of {}", image.size());
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
    sure_image(random);
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

/// What a place held before it was false is still in its bits, and was another thing in each state.
#[test]
fn what_a_place_held_before_does_not_matter() {
    let code = "local other = tonumber((tostring {}):match '0x(%x+)', 16)\n\
        list, map = { other, other }, { a = other, b = other }\n\
        local up, nothing = other, other\n\
        function get() return up, nothing end\n\
        task = coroutine.wrap(function() local a, b = other, other a, b = false, nil coroutine.yield(1) return a, b end)\n\
        task()\n\
        list[1], list[2], map.a, map.b, up, nothing, other = false, nil, true, nil, false, nil, nil";
    let image = sure_image(code);
    run(
        &copy(&image, &7),
        "assert(list[1] == false and #list == 1 and map.a and get() == false and task() == false)",
    )
    .unwrap();
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
