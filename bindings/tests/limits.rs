//! What a node carries: many services, long mailboxes, an arena at its limit. Each test runs the real binary.

use std::path::Path;
use std::process::Command;

/// Runs `bindings/tests/limits/NAME.lua` as the start service and returns everything the node printed.
fn run(name: &str, settings: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/limits");
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let config = scratch.path().join("config");
    let text =
        format!("start = {name:?}\nharbor = 0\nluaservice = \"{}/?.lua\"\n{settings}\n", folder.display());
    std::fs::write(&config, text).expect("the config can be written");
    let output = Command::new(env!("CARGO_BIN_EXE_skein"))
        .arg(&config)
        .current_dir(scratch.path())
        .output()
        .expect("the binary starts");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{}", output.status, tail(&said));
    said
}

/// The end of a long output, for a failure that can be read.
fn tail(said: &str) -> &str {
    let from = said.len().saturating_sub(4000);
    said.get(from..).unwrap_or(said)
}

#[track_caller]
fn assert_says(said: &str, line: &str) {
    assert!(said.lines().any(|it| it.ends_with(line)), "no line ends with {line:?} in:\n{}", tail(said));
}

#[test]
fn ten_thousand_services_live_at_once_and_answer() {
    let said = run("many_services", "thread = 2");
    assert_says(&said, "alive 10000");
    assert_says(&said, "answered 10000");
}

#[test]
fn a_million_messages_wait_in_one_mailbox_and_all_arrive_in_order() {
    // One worker: nobody drains the mailbox while the sender runs.
    let said = run("long_mailbox", "thread = 1");
    assert_says(&said, "queued 1000000");
    assert_says(&said, "received 1000000 in order");
    assert!(said.contains("May overload, message queue length = "), "{}", tail(&said));
}

#[test]
fn an_arena_at_its_limit_raises_errors_and_recovers() {
    let said = run("full_arena", "thread = 1\narena_limit = \"16M\"");
    assert_says(&said, "refused with an error that names arena_limit");
    assert_says(&said, "the timer fired");
    assert_says(&said, "drained");
    assert_says(&said, "a call works again");
}
