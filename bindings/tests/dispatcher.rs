//! The native dispatcher against a plain one in Lua: both do the same with the same random programs.
//!
//! `tests/dispatcher/lualib` is the library with its dispatcher in Lua, over `skynet.core` alone. `programs.lua` runs random
//! programs of forks, sleeps, wake-ups, calls, answers, errors, kills and ends, and prints what they see. The traces must be
//! equal, line by line, and so must what the log says of errors.

mod common;

use std::path::Path;

use common::Site;

/// What a run printed, and what it logged.
struct Run {
    trace: Vec<String>,
    log: Vec<String>,
}

fn run(first: u32, last: u32, lua_path: &str) -> Run {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dispatcher");
    let tests = tests.display();
    let site = Site::empty();
    site.config(&format!(
        "start = \"programs {first} {last}\"\n\
         luaservice = \"{tests}/?.lua\"\n\
         lua_path = \"{}\"\n",
        lua_path.replace("$", &tests.to_string())
    ));
    let ended = site.run();
    assert!(ended.status.success(), "{:?}\n{}\n{}", ended.status, ended.stdout, ended.stderr);
    let mut run = Run { trace: Vec::new(), log: Vec::new() };
    for line in ended.stdout.lines() {
        if line.starts_with("TRACE> ") {
            run.trace.push(line.to_owned());
        } else if ["lua call", "Maybe forgot", "Unknown request", "Response message"]
            .iter()
            .any(|it| line.contains(it))
        {
            run.log.push(without_place(line));
        }
    }
    assert!(run.trace.last().is_some_and(|it| it == "TRACE> all ended"), "it did not end:\n{}", ended.stdout);
    run
}

/// A log line without the place where the error was raised, and without addresses: they differ.
fn without_place(line: &str) -> String {
    let line = line.split_once(" 0x").map_or(line, |(before, _)| before);
    let Some((before, text)) = line.split_once("\x1b[31m") else { return line.to_owned() };
    let text = match text.split_once(".lua:") {
        Some((_, rest)) => rest.split_once(": ").map_or(rest, |(_, text)| text),
        None => text,
    };
    [before, text].concat()
}

#[track_caller]
fn compare(what: &str, native: &[String], plain: &[String]) {
    for (at, (native_line, plain_line)) in native.iter().zip(plain).enumerate() {
        if native_line != plain_line {
            let before = &native[at.saturating_sub(25)..at];
            panic!("{what} {at} differs\n{}\nnative: {native_line}\nplain:  {plain_line}", before.join("\n"));
        }
    }
    assert_eq!(native.len(), plain.len(), "one {what} is longer");
}

#[test]
fn both_dispatchers_do_the_same_with_random_programs() {
    let (first, last) = match std::env::var("SKEIN_SEEDS") {
        Ok(seeds) => {
            let (first, last) = seeds.split_once("..").expect("SKEIN_SEEDS is first..last");
            (first.parse().expect("a number"), last.parse().expect("a number"))
        }
        Err(_) => (1, 60),
    };
    let native = run(first, last, "./none/?.lua");
    let plain = run(first, last, "$/lualib/?.lua");
    assert!(native.trace.len() > 1000 * 10, "{} lines are no test", native.trace.len());
    compare("trace line", &native.trace, &plain.trace);
    compare("log line", &native.log, &plain.log);
}
