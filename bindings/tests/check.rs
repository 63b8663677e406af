//! `skein check`: what a config resolves to, and each problem with file and key. Runs the real binary.

use std::path::Path;
use std::process::Command;

struct Checked {
    said: String,
    status: Option<i32>,
}

/// Checks a config of this text in a directory where `files` exist.
fn check(config: &str, files: &[&str]) -> Checked {
    let folder = tempfile::tempdir().expect("a scratch directory");
    for file in files {
        let place = folder.path().join(file);
        std::fs::create_dir_all(place.parent().expect("a file has a directory"))
            .expect("the directory can be made");
        std::fs::write(place, "").expect("the file can be written");
    }
    std::fs::write(folder.path().join("config"), config).expect("the config can be written");
    run(folder.path(), &["check", "config"])
}

fn run(folder: &Path, arguments: &[&str]) -> Checked {
    let output = Command::new(env!("CARGO_BIN_EXE_skein"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the binary starts");
    Checked { said: String::from_utf8_lossy(&output.stdout).into_owned(), status: output.status.code() }
}

#[track_caller]
fn assert_problem(config: &str, problem: &str) {
    let checked = check(config, &["main.lua"]);
    assert!(
        checked.said.lines().any(|line| line.starts_with(&format!("problem: {problem}"))),
        "no problem {problem:?} in:\n{}",
        checked.said
    );
    assert_eq!(checked.status, Some(1));
}

const GOOD: &str = "harbor = 0\nluaservice = './?.lua'\n";

#[test]
fn a_good_config_has_no_problems_and_says_where_everything_is() {
    let checked = check(GOOD, &["main.lua"]);
    assert_eq!(checked.status, Some(0), "{}", checked.said);
    for part in ["skein:/service/bootstrap.lua", "./main.lua", "skein:/lualib/loader.lua", "no problems"] {
        assert!(checked.said.contains(part), "{part} is not in:\n{}", checked.said);
    }
}

#[test]
fn a_file_of_ones_own_that_shadows_a_built_in_one_is_named() {
    let checked = check(&format!("{GOOD}lua_path = './own/?.lua'"), &["main.lua", "own/skynet.lua"]);
    let line = "shadow: ./own/skynet.lua is used instead of skein:/lualib/skynet.lua";
    assert!(checked.said.contains(line), "{}", checked.said);
}

#[test]
fn each_problem_names_the_file_and_the_key() {
    assert_problem(
        &format!("{GOOD}start = 'nobody'"),
        "config: start: no file for the service \"nobody\"; tried ./nobody.lua",
    );
    assert_problem(&format!("{GOOD}thread = 0"), "config: thread: ");
    assert_problem(&format!("{GOOD}arena_limit = 'much'"), "config: arena_limit: ");
    assert_problem(&format!("{GOOD}cluster_inbound_limit = 'much'"), "config: cluster_inbound_limit: ");
    assert_problem(&format!("{GOOD}cpath = './cservice/x.so'"), "config: cpath: every pattern needs a `?`");
    assert_problem(&format!("{GOOD}logger = './nowhere/a.log'"), "config: logger: no directory ./nowhere");
    assert_problem(&format!("{GOOD}daemon = './nowhere/a.pid'"), "config: daemon: no directory ./nowhere");
    assert_problem(&format!("{GOOD}preload = './nowhere.lua'"), "config: preload: cannot open ./nowhere.lua");
    assert_problem(
        &format!("{GOOD}lualoader = './nowhere.lua'"),
        "config: lualoader: cannot open ./nowhere.lua",
    );
    assert_problem(&format!("{GOOD}bootstrap = 'nomod x'"), "config: bootstrap: no module \"nomod\"");
    assert_problem(
        &format!("{GOOD}standalone = 'x:1'"),
        "config: standalone: must not be set when harbor is 0",
    );
    assert_problem("harbor = 'seven'", "config: harbor: expected a number from 0 to 255, found \"seven\"");
    assert_problem("luaservice = './?.lua'", "config: address: needed because harbor is not 0");
    assert_problem(&format!("{GOOD}profile = 'yes'"), "config: profile: expected true or false");
}

#[test]
fn what_the_application_may_bring_about_by_itself_is_no_problem() {
    let config = format!(
        "{GOOD}logpath = './logs/' enablessl = true cpath = './c/?.so' logservice = 'mine'\n\
         lualoader = './own.lua' preload = './a.lua;./b.lua;'"
    );
    let checked = check(&config, &["main.lua", "own.lua", "c/mine.so"]);
    assert_eq!(checked.status, Some(0), "{}", checked.said);
    for part in [
        "note: config: logpath: no directory ./logs",
        "note: config: certfile: cannot open ./server-cert.pem",
        "note: config: keyfile: cannot open ./server-key.pem",
        "note: config: preload: no file ./a.lua;./b.lua;; ./own.lua says what it means",
        "logservice = mine",
        "./c/mine.so",
    ] {
        assert!(checked.said.contains(part), "{part} is not in:\n{}", checked.said);
    }
}

#[test]
fn a_config_that_cannot_be_read_is_one_problem() {
    let checked = check("start = = 1", &[]);
    assert_eq!(checked.status, Some(1));
    assert!(checked.said.contains("config:1: unexpected symbol near '='"), "{}", checked.said);
    assert_eq!(checked.said.lines().count(), 1, "{}", checked.said);

    let scratch = tempfile::tempdir().expect("a scratch directory");
    let checked = run(scratch.path(), &["check", "nowhere"]);
    assert_eq!(checked.status, Some(1));
    assert!(checked.said.contains("nowhere"), "{}", checked.said);
}

#[test]
fn a_pid_file_of_a_running_process_is_a_problem() {
    let folder = tempfile::tempdir().expect("a scratch directory");
    std::fs::write(folder.path().join("main.lua"), "").expect("the file can be written");
    std::fs::write(folder.path().join("node.pid"), format!("{}\n", std::process::id())).expect("likewise");
    std::fs::write(folder.path().join("config"), format!("{GOOD}daemon = './node.pid'")).expect("likewise");
    let checked = run(folder.path(), &["check", "config"]);
    let line =
        format!("problem: config: daemon: ./node.pid names the running process {}", std::process::id());
    assert!(checked.said.contains(&line), "{}", checked.said);
}
