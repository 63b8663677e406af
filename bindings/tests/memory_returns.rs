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

/// How much larger than after the first round the process may be after a later one, at full size.
const GROWTH: f64 = 10.0; // percent

/// The same at the smaller size, from the second round on: a leak grows with every round, while what allocators keep for each
/// thread is filled once, in the first rounds, and is a larger part of the whole here. Two kilobytes that stay behind from each
/// service would be seen.
const GROWTH_SMALL: f64 = 6.0 * MIB;

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
    if full {
        assert!(said["killed_growth"] <= GROWTH, "{said:#?}");
    }
    let growth = said["killed_round_5"] - said["killed_round_2"];
    assert!(full || growth <= GROWTH_SMALL, "{said:#?}");
    // And most of what they took is back after any of them.
    assert!(said["killed_round_5"] <= 0.9 * said["killed_peak"], "{said:#?}");
}

/// A line `name value unit`.
fn figure(line: &str) -> Option<(&str, f64)> {
    let mut words = line.split(' ');
    Some((words.next()?, words.next()?.parse().ok()?))
}
