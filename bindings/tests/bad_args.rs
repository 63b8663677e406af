//! No combination of wrong arguments to a native function ends the process.

mod common;

use common::Site;

#[test]
fn every_native_function_survives_every_bad_value() {
    let site = Site::with_main(include_str!("bad_args.lua"));
    site.write("natives.lua", include_str!("natives.lua"));
    let ended = site.run();
    let tail = |text: &str| text.lines().rev().take(30).collect::<Vec<_>>().join("\n");
    let shown = || format!("{:?}\n{}\n{}", ended.status, tail(&ended.stdout), tail(&ended.stderr));
    assert!(ended.status.success(), "{}", shown());
    let line = ended.stdout.lines().find_map(|line| line.strip_prefix("WALKED "));
    let calls: u64 =
        line.and_then(|it| it.split(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{}", shown()));
    assert!(calls > 50_000, "only {calls} calls");
}
