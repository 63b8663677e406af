//! Memory comes back: a mailbox that was drained and services that were killed leave no more than they should.
//!
//! The script is `benches/lua/memory.lua`, which the driver of the benches runs at full size on a release build. Here sizes are
//! smaller, and bounds scale with them; `SKEIN_FULL=1` asks for the full ones.

mod common;

use std::collections::HashMap;
use std::path::Path;

use common::Site;

const MIB: f64 = 1048576.0;

/// How much the system may have given to the process beyond what it had before, once a mailbox is empty again.
const DRAINED: f64 = 64.0 * MIB;

/// Which part of what services took may stay after any round of kills: the free pages that are kept for the next services, and
/// what of their Rust parts shares pages with others. When every thread's allocator kept what it had once, it was a half or more.
const LEFT: f64 = 0.25;

/// How much larger than after the first round the process may be after a later one, at full size.
const GROWTH: f64 = 10.0; // percent

#[test]
fn a_drained_mailbox_and_killed_services_give_their_memory_back() {
    let full = std::env::var_os("SKEIN_FULL").is_some();
    let (messages, services) = if full { (1_000_000, 10_000) } else { (1_000_000, 1_000) };
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/lua");
    let scripts = scripts.display();
    let site = Site::empty();
    site.config(&format!(
        "start = \"memory\"\nluaservice = \"{scripts}/?.lua\"\nlua_path = \"{scripts}/?.lua\"\n\
         logger = \"./log\"\nbench_messages = {messages}\nbench_services = {services}"
    ));
    let ended = site.run();
    let said: HashMap<&str, f64> = ended.stdout.lines().filter_map(figure).collect();
    assert_eq!(said.get("end"), Some(&1.0), "{ended:?}");

    // What waits takes its place; otherwise the test would measure nothing.
    assert!(said["drained_peak"] >= 32.0 * f64::from(messages), "{said:#?}");
    assert!(said["drained"] <= DRAINED, "{said:#?}");
    assert!(said["killed_peak"] >= 10_000.0 * f64::from(services), "{said:#?}");
    for round in 1..=5 {
        let left = said[&*format!("killed_round_{round}")];
        assert!(left <= LEFT * said["killed_peak"], "round {round}: {said:#?}");
    }
    // A small process's size is mostly not about services.
    assert!(!full || said["killed_growth"] <= GROWTH, "{said:#?}");
}

/// A line `name value unit`.
fn figure(line: &str) -> Option<(&str, f64)> {
    let mut words = line.split(' ');
    Some((words.next()?, words.next()?.parse().ok()?))
}
