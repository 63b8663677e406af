//! The life of a Lua service, from its launch to its log lines. Plain scripts over `skynet.core`: no library needed.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use skein_bindings::node;
use skein_runtime::Settings;
use tempfile::TempDir;

/// The loader of these tests: runs `<dir>/<name>.lua` with the words behind the name.
const LOADER: &str = r#"
local words = {}
for word in (...):gmatch "%S+" do words[#words + 1] = word end
core = require "skynet.core"
assert(loadfile(DIR .. words[1] .. ".lua"))(table.unpack(words, 2))
"#;

/// Runs the service `main` of a folder until no service is left: what it logged, without addresses of tables.
fn run(dir: &TempDir, main: &str) -> Vec<String> {
    run_with(dir, main, |_| {})
}

fn run_with(dir: &TempDir, main: &str, change: impl FnOnce(&mut Settings)) -> Vec<String> {
    let at = |name: &str| dir.path().join(name).display().to_string();
    if !Path::new(&at("loader.lua")).exists() {
        fs::write(at("loader.lua"), format!("DIR = '{}/'{LOADER}", dir.path().display())).unwrap();
    }
    let mut settings = Settings::new();
    settings
        .set("thread", "2")
        .set("harbor", "0")
        .set("logger", at("log"))
        .set("bootstrap", format!("snlua {main}"))
        .set("lualoader", at("loader.lua"));
    change(&mut settings);
    let node = node(settings).unwrap();
    node.start().unwrap();
    // A node ends with its last service; a watchdog ends a test that forgot one.
    let watched = std::sync::Arc::downgrade(&node);
    std::thread::spawn(move || {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
            if watched.upgrade().is_none_or(|it| it.counters().services == 0) {
                return;
            }
        }
        eprintln!("a service is left");
        std::process::exit(1);
    });
    node.wait();
    let log = fs::read_to_string(at("log")).unwrap();
    // `DD/MM/YY HH:MM:SS.CC [:ADDR] text`
    log.lines().map(|line| line.split_once("[:").map_or(line, |(_, rest)| rest).to_owned()).collect()
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

#[test]
fn a_service_loads_talks_and_ends() {
    let dir = folder(&[(
        "main.lua",
        r#"
        core.error("words", ...)
        core.callback(function(type, msg, size, session, source)
            core.error("message", type, core.tostring(msg, size), session)
            core.command("ABORT")
        end)
        core.send(tonumber(core.command("REG"):sub(2), 16), 10, 7, "to myself")
        "#,
    )]);
    let log = run(&dir, "main one two");
    let texts: Vec<&str> =
        log.iter().filter_map(|line| line.split_once("] ")).map(|(_, text)| text).collect();
    assert!(texts.contains(&"words one two"), "{log:?}");
    assert!(texts.contains(&"message 10 to myself 7"), "{log:?}");
}
