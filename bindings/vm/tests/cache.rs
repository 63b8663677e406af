//! Files as the machine sees them: kept chunks and embedded files. One test: both are of the whole process.

mod common;

use std::fs;
use std::path::Path;

use common::{run, state};
use skein_vm::cache::{self, Mode};
use skein_vm::embedded;

fn library(name: &[u8]) -> Option<&'static [u8]> {
    match name {
        b"skein:/lib/inner.lua" => Some(b"local name, path = ... return { name = name, path = path }"),
        b"skein:/lib/broken.lua" => Some(b"x ="),
        b"skein:/lib/where.lua" => Some(b"\nerror('here')"),
        _ => None,
    }
}

fn write(path: &Path, code: &str) {
    fs::write(path, code).unwrap();
}

#[test]
fn files_come_from_the_disk_the_program_or_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.lua");
    let lua = state();
    run(&lua, &format!("DIR = '{}/' NAME = DIR .. 'a.lua'", dir.path().display())).unwrap();
    let load = "return assert(loadfile(NAME))()";

    // What was compiled once is found again, by every state, even when the file is gone.
    write(&file, "return 'first'");
    assert_eq!(run(&lua, load).unwrap(), "first");
    write(&file, "return 'second'");
    assert_eq!(run(&lua, load).unwrap(), "first");
    fs::remove_file(&file).unwrap();
    assert_eq!(run(&lua, "return dofile(NAME)").unwrap(), "first");
    let other = state();
    run(&other, &format!("NAME = '{}'", file.display())).unwrap();
    assert_eq!(run(&other, load).unwrap(), "first");
    // At a hit the mode is not looked at.
    assert_eq!(run(&lua, "return loadfile(NAME, 'b')()").unwrap(), "first");
    assert_eq!(cache::stats().chunks, 1);

    // Names are forgotten, functions are not.
    run(&lua, "kept = loadfile(NAME)").unwrap();
    cache::clear();
    let gone = run(&lua, load).unwrap_err();
    assert!(gone.ends_with(&format!("cannot open {}: No such file or directory", file.display())), "{gone}");
    assert_eq!(run(&lua, "collectgarbage() return kept()").unwrap(), "first");
    assert_eq!(cache::stats().chunks, 0);
    assert!(cache::stats().forgotten > 0);

    // A failed load is tried again.
    write(&file, "x =");
    assert!(run(&lua, load).unwrap_err().contains("unexpected symbol near <eof>"));
    write(&file, "return 'third'");
    assert_eq!(run(&lua, load).unwrap(), "third");
    assert_eq!(run(&lua, "return select(2, loadfile(DIR .. 'none', 'b'))").unwrap().lines().count(), 1);

    // Modes belong to the state.
    // SAFETY: our own states, with room on their stacks and no limit on their memory.
    unsafe {
        assert_eq!(cache::mode(lua.as_ptr()), Mode::On);
        cache::set_mode(lua.as_ptr(), Mode::Off);
        assert_eq!((cache::mode(lua.as_ptr()), cache::mode(other.as_ptr())), (Mode::Off, Mode::On));
    }
    write(&file, "return 'fourth'");
    assert_eq!(run(&lua, load).unwrap(), "fourth");
    assert_eq!(run(&other, load).unwrap(), "third");
    // SAFETY: as above.
    unsafe { cache::set_mode(lua.as_ptr(), Mode::Exist) };
    assert_eq!(run(&lua, load).unwrap(), "third");
    cache::clear();
    assert_eq!(run(&lua, load).unwrap(), "fourth");
    assert_eq!(cache::stats().chunks, 0);
    // SAFETY: as above.
    unsafe { cache::set_mode(lua.as_ptr(), Mode::On) };

    // Each load is a function of its own, over globals or what it is given.
    write(&file, "local n = 0 value = 'set' return function() n = n + 1 return n end");
    let code = "local one, two = loadfile(NAME)(), loadfile(NAME)() one() one() two()
        local env = {} loadfile(NAME, 't', env)()
        local name, up = debug.getupvalue(loadfile(NAME), 1)
        return one() .. two() .. env.value .. value .. name .. tostring(up == _G)";
    assert_eq!(run(&lua, code).unwrap(), "32setset_ENVtrue");

    // Positions, names and lines are those of the file.
    write(&dir.path().join("lines.lua"), "local function inner()\n  error 'told'\nend\nreturn inner");
    for _ in 0..2 {
        let told = run(&lua, "return select(2, pcall(loadfile(DIR .. 'lines.lua')()))").unwrap();
        assert_eq!(told, format!("{}/lines.lua:2: told", dir.path().display()));
    }
    // Long strings, numbers, nested functions: all of it survives being kept.
    write(
        &dir.path().join("rich.lua"),
        "local t = { ('long '):rep(50), 1.5, -7, 1 << 62, [[a literal of more than forty characters, so a long string]], \
         nil, true, function(a, ...) return a, ... end } return t",
    );
    let code = "local a, b = loadfile(DIR .. 'rich.lua')(), loadfile(DIR .. 'rich.lua')()
        for i = 1, 7 do assert(a[i] == b[i]) end collectgarbage() return a[5] .. select('#', b[8](1, 2, 3))";
    assert_eq!(run(&lua, code).unwrap(), "a literal of more than forty characters, so a long string3");

    // Embedded files are opened like any other.
    embedded::provide(library);
    run(&lua, "package.path = DIR .. '?.lua;skein:/lib/?.lua'").unwrap();
    for (code, value) in [
        ("local it = require 'inner' return it.name .. ' ' .. it.path", "inner skein:/lib/inner.lua"),
        ("return package.searchpath('inner', package.path)", "skein:/lib/inner.lua"),
        ("return select(2, package.searchpath('no', 'skein:/lib/?.lua'))", "no file 'skein:/lib/no.lua'"),
        ("return loadfile('skein:/lib/inner.lua')('x').name", "x"),
        (
            "return select(2, loadfile('skein:/lib/none'))",
            "cannot open skein:/lib/none: No such file or directory",
        ),
        (
            "return select(2, loadfile('skein:/lib/broken.lua'))",
            "skein:/lib/broken.lua:1: unexpected symbol near <eof>",
        ),
        ("return select(2, pcall(dofile, 'skein:/lib/where.lua'))", "skein:/lib/where.lua:2: here"),
        ("return select(2, loadfile('skein:/lib/inner.lua', 'b', {}))", ""),
        ("return tostring((io.open('skein:/lib/inner.lua')))", "nil"),
    ] {
        let found = run(&lua, code).unwrap();
        // A kept chunk does not look at the mode: the case before the last one loads.
        if !value.is_empty() {
            assert_eq!(found, value, "{code}");
        }
    }
    write(&dir.path().join("inner.lua"), "return { name = 'mine', path = '' }");
    assert_eq!(run(&state(), "return 1").unwrap(), "1");
    let code = "package.loaded.inner = nil return require('inner').name";
    assert_eq!(run(&lua, code).unwrap(), "mine");
}
