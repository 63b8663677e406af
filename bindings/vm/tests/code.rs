//! Frozen code: it cannot be told from a state's own, whoever had its strings first, and whatever the collector does.

mod common;

use std::fs;
use std::path::Path;
use std::thread;

use common::{run, state};
use skein_vm::cache::{self, Mode};
use skein_vm::shared;
use skein_vm::state::State;

/// A program with errors, names and lines of all kinds.
const PROGRAM: &str = include_str!("code/program.lua");
/// Tells everything that can be told of the program at `NAME`.
const TELL: &str = include_str!("code/tell.lua");

fn with(dir: &Path, mode: Mode) -> State {
    let lua = state();
    run(&lua, &format!("DIR = '{}/' NAME = DIR .. 'program.lua'", dir.display())).unwrap();
    // SAFETY: our own state, with room on its stack and no limit on its memory.
    unsafe { cache::set_mode(lua.as_ptr(), mode) };
    lua
}

#[test]
fn debug_information_errors_and_dumps_are_those_of_own_code() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("program.lua"), PROGRAM).unwrap();
    let own = run(&with(dir.path(), Mode::Off), TELL).unwrap();
    assert!(own.lines().count() > 50 && own.contains("program.lua:"), "{own}");
    for _ in 0..2 {
        assert_eq!(run(&with(dir.path(), Mode::On), TELL).unwrap(), own);
    }
}

#[test]
fn equal_strings_of_different_owners_are_one_key() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("keys.lua"),
        "return { get = function(t) return t.own_before_frozen end,
        set = function(t, v) t.own_before_frozen = v end, word = 'own_before_frozen',
        fresh = function() return { own_before_frozen = 1, other = 2, ['end'] = 3, global = 4 } end }",
    )
    .unwrap();
    let lua = with(dir.path(), Mode::On);
    // This state has the string before anybody freezes it, and goes on with its own.
    run(&lua, "word = ('own_before_'):rep(1) .. 'frozen' t = { [word] = 5, another = 6 }").unwrap();
    let other = with(dir.path(), Mode::On);
    run(&other, "keys = loadfile(DIR .. 'keys.lua')()").unwrap();
    run(&lua, "keys = loadfile(DIR .. 'keys.lua')()").unwrap();
    let code = "assert(keys.word == word and keys.get(t) == 5)
        keys.set(t, 7) assert(t[word] == 7 and keys.get(t) == 7)
        local n = 0 for k in pairs(t) do n = n + 1 end assert(n == 2)
        -- 'next' by the one key and the other
        assert(next(t, keys.word) == next(t, word))
        local f = keys.fresh() assert(f[word] == 1 and next(f, word) == next(f, keys.word))
        -- removed while it is walked, with collections in between
        for k in pairs(f) do f[k] = nil collectgarbage() end assert(next(f) == nil)
        keys.set(t, nil) assert(t[word] == nil and next(t) == 'another')
        local weak = setmetatable({ [keys.word] = {}, [word] = {} }, { __mode = 'v' })
        collectgarbage() assert(next(weak) == nil)
        -- the parser goes by address
        local all = load('local own_before_frozen <const> = 1; local _ENV = {}; return own_before_frozen')
        assert(all() == 1)
        assert(load('global = 1; local global = global; return global')() == 1)
        for _, it in ipairs { 'and', 'end', 'nil', 'function', 'while' } do
            assert(not load(it .. ' = 1') and load('return {' .. it .. '}') == nil or it == 'nil')
        end
        f = keys.fresh() assert(f['end'] == 3 and f.global == 4 and type(print) == 'function')
        return 'fine'";
    assert_eq!(run(&lua, code).unwrap(), "fine");
    run(&other, "word = 'own_before_' .. 'frozen' t = { [word] = 5, another = 6 }").unwrap();
    assert_eq!(run(&other, code).unwrap(), "fine");
}

#[test]
fn the_first_state_runs_the_frozen_version_too() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("big.lua"), format!("return {{ {} }}", "'a constant string', ".repeat(2000)))
        .unwrap();
    let sizes = [(); 3].map(|()| {
        let lua = with(dir.path(), Mode::On);
        run(
            &lua,
            "collectgarbage() before = collectgarbage 'count' it = loadfile(DIR .. 'big.lua')
            collectgarbage() return collectgarbage 'count' - before",
        )
        .unwrap()
        .parse::<f64>()
        .unwrap()
    });
    // A closure and its upvalue.
    assert!(sizes.iter().all(|kib| *kib < 1.0), "{sizes:?}");
    let lua = with(dir.path(), Mode::On);
    run(&lua, "it = loadfile(DIR .. 'big.lua')").unwrap();
    run(&lua, "it = it()[1]").unwrap();
    // SAFETY: our own state; the global is on the stack while it is looked at.
    unsafe {
        skein_vm::ffi::lua_getglobal(lua.as_ptr(), c"it".as_ptr());
        assert!(shared::is_shared(lua.as_ptr(), -1));
    }
}

#[test]
fn threads_load_run_and_collect_while_others_freeze() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..40 {
        let code = format!(
            "local M = {{}} function M.f{i}(t) t.k{i} = (t.k{i} or 0) + 1; t['s' .. {i}] = 'v{i}'
            return function() return t.k{i}, t.s{i}, 'v{i}' == t.s{i} end end return M"
        );
        fs::write(dir.path().join(format!("m{i}.lua")), code).unwrap();
    }
    thread::scope(|scope| {
        for seed in 0..4 {
            let dir = dir.path();
            scope.spawn(move || {
                for round in 0..6 {
                    let lua = with(dir, Mode::On);
                    let code = format!(
                        "collectgarbage '{}' local t, n = {{}}, {seed}
                        for i = 1, 120 do
                            n = (n * 7 + 13) % 40
                            t['k' .. n] = t['k' .. n] or 0
                            local it = loadfile(DIR .. 'm' .. n .. '.lua')()['f' .. n](t)
                            local k, s, same = it()
                            assert(k == t['k' .. n] and s == 'v' .. n and same)
                            if i % 17 == 0 then collectgarbage() elseif i % 3 == 0 then collectgarbage 'step' end
                        end
                        local seen = 0 for k, v in pairs(t) do seen = seen + 1 assert(rawget(t, k) == v) end
                        return seen % 2",
                        ["generational", "incremental"][round % 2]
                    );
                    assert_eq!(run(&lua, &code).unwrap(), "0");
                    if seed == 0 && round % 3 == 2 {
                        cache::clear();
                    }
                }
            });
        }
    });
}
