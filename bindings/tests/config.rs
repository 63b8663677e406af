//! Configuration files, good and bad.

use std::fs;
use std::path::Path;

use skein_bindings::config;
use tempfile::TempDir;

/// Writes files into a new folder.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

/// Reads the config of a folder: all keys on one line, or the error, without the name of the folder.
fn read(dir: &Path) -> String {
    let shown = match config::read(dir.join("config")) {
        Err(error) => error.to_string(),
        Ok(settings) => settings
            .iter()
            .map(|(key, value)| {
                format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value))
            })
            .collect::<Vec<_>>()
            .join(" "),
    };
    shown.replace(&format!("{}/", dir.display()), "")
}

#[test]
fn values_become_text_as_lua_writes_them() {
    for (text, keys) in [
        ("", ""),
        ("thread = 8 harbor = 0x10", "harbor=16 thread=8"),
        (
            "a = 1.5 b = 3.0 c = 1e100 d = 2^53 e = -1e15",
            "a=1.5 b=3.0 c=1e+100 d=9007199254740992.0 e=-1e+15",
        ),
        ("yes = true no = false none = nil", "no=false yes=true"),
        ("empty = '' lines = 'a\\nb'", "empty= lines=a\nb"),
        ("a = 'x' b = a .. '!'", "a=x b=x!"),
        ("return 'ignored'", ""),
        ("include = 'mine'", "include=mine"),
        ("local hidden = 1", ""),
        ("_G = 'no such thing here'", "_G=no such thing here"),
    ] {
        assert_eq!(read(folder(&[("config", text)]).path()), keys, "{text}");
    }
}

#[test]
fn included_files_write_into_the_same_table() {
    let dir = folder(&[
        ("config", "first = 'a' include 'sub/one' after = inner .. '!'"),
        ("sub/one", "inner = first .. 'b' include 'two'"),
        ("sub/two", "deepest = inner"),
    ]);
    assert_eq!(read(dir.path()), "after=ab! deepest=ab first=a inner=ab");
    let other = folder(&[("all", "absolute = true")]);
    let text = format!("include '{}/all'", other.path().display());
    assert_eq!(read(folder(&[("config", &text)]).path()), "absolute=true");
}

#[test]
fn environment_variables_are_text_of_the_file() {
    let home = std::env::var("PATH").unwrap();
    let dir = folder(&[("config", "-- $PATH\npath = '$PATH' cost = '5$' both = '$$PATH.'")]);
    assert_eq!(read(dir.path()), format!("both=${home}. cost=5$ path={home}"));
}

#[test]
fn what_is_wrong_is_told_in_one_line() {
    for (text, told) in [
        ("= 1", "config:1: unexpected symbol near '='"),
        ("\nx = error('no')", "config:2: attempt to call a nil value (global 'error')"),
        ("print 'x'", "config:1: attempt to call a nil value (global 'print')"),
        ("a = 1\n-- $NO_SUCH_VARIABLE", "config:2: os.getenv() failed: NO_SUCH_VARIABLE"),
        (
            "b = {} a = function() end",
            "config: Invalid config table key = a: expected a string, number or boolean, found a function",
        ),
        (
            "local g = {} x = g",
            "config: Invalid config table key = x: expected a string, number or boolean, found a table",
        ),
        ("include 'sub/broken'", "sub/broken:2: syntax error near <eof>"),
        ("\n\ninclude 'nope.lua'", "config:3: nope.lua: No such file or directory"),
        ("include 'sub/variable'", "sub/variable:1: os.getenv() failed: NO_SUCH_VARIABLE"),
        ("include 'config'", "config: include: more than 100 files deep"),
        ("#!/usr/bin/skein\n", "config:1: unexpected symbol near '#'"),
        ("\u{feff}a = 1", "config:1: unexpected symbol near '<\\239>'"),
        ("\u{1b}Lua", "config: attempt to load a binary chunk (mode is 't')"),
    ] {
        let dir = folder(&[("config", text), ("sub/broken", "\nx"), ("sub/variable", "$NO_SUCH_VARIABLE")]);
        assert_eq!(read(dir.path()), told, "{text}");
    }
    assert_eq!(read(folder(&[]).path()), "config: No such file or directory");
}

#[test]
fn a_file_without_a_slash_is_named_like_in_a_shell() {
    let error = config::read("no-such-config").unwrap_err().to_string();
    assert_eq!(error, "./no-such-config: No such file or directory");
}
