//! No sequence of calls of native functions ends the process, whatever they are given and have left behind.
//!
//! A short walk by fixed seeds. `SKEIN_ANY_CALLS=SEED:TURNS` takes others, and goes on for longer; with a machine that checks itself
//! (CONTRIBUTING.md) it also finds functions that use its API wrongly.

mod common;

use common::Site;

#[test]
fn native_functions_survive_what_others_have_left_behind() {
    let chosen = std::env::var("SKEIN_ANY_CALLS").unwrap_or_else(|_| "1:50".into());
    let (seed, turns) = chosen.split_once(':').expect("SKEIN_ANY_CALLS is SEED:TURNS");
    let site = Site::with_main(include_str!("any_calls.lua"));
    site.write("natives.lua", include_str!("natives.lua"));
    site.config(&format!(
        "thread = 4\nlogger = \"log\"\narena_limit = \"1G\"\nseed = {seed}\nturns = {turns}"
    ));
    let ended = site.run();
    let shown = || {
        let tail = |text: &str| text.lines().rev().take(20).collect::<Vec<_>>().join("\n");
        format!("{:?}\n{}\n{}", ended.status, tail(&ended.stdout), tail(&ended.stderr))
    };
    assert!(ended.status.success(), "{}", shown());
    let line = ended.stdout.lines().find_map(|line| line.strip_prefix("CALLED "));
    let calls: u64 = line.and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("{}", shown()));
    assert!(calls >= 300, "only {calls} calls");
}
