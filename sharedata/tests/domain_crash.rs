//! Publishers and readers that are killed: at each labelled step, and at any instruction. The version before stays the current one, or
//! the new one is; it is whole; others go on; what the dead have left is swept.
//!
//! `SKEIN_CRASHES` is how many of the random kind there are; 60 if it is not set. `SKEIN_CRASH_SEED` begins with a certain one.

#[macro_use]
#[path = "../../arena/tests/common/mod.rs"]
mod common;
mod tables;

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;
use std::{env, fs, thread};

use common::{Child, Random, directory};
use skein_arena::sync::Arc;
use skein_sharedata::Tables;
use tables::{alone, mark, open, publish};

/// Which numbers a worker draws.
const SEED: &str = "SKEIN_CRASH_SEED";

roles! {
    "worker" => |path| worker(path, 3),
    "endless" => |path| worker(path, usize::MAX),
}

fn seed() -> u64 {
    env::var(SEED).map_or(1, |it| it.parse().unwrap())
}

/// Publishes, reads, removes and sweeps.
fn worker(path: &Path, rounds: usize) {
    let tables = open(path);
    common::say("ready");
    let mut random = Random(seed());
    for _ in 0..rounds {
        let first = publish(&tables, "items", random.next(), 16 * (3 + random.below(20_000)));
        let other = publish(&tables, "other", random.next(), 100);
        drop(first);
        for name in ["items", "other", "nothing"] {
            if let Some(segment) = tables.current(name).unwrap() {
                mark(&segment);
            }
        }
        tables.remove("other").unwrap();
        drop(other);
        tables.sweep().unwrap();
    }
}

/// Who died changed nothing but what is current: that is whole, newer than `before`, and nothing else is left after a sweep.
fn assert_sound(tables: &Arc<Tables>, before: u64, what: &str) -> u64 {
    let explain = |error: skein_sharedata::Error| -> ! { panic!("{what}: {error}") };
    tables.sweep().unwrap_or_else(|error| explain(error));
    let segment = tables.current("items").unwrap_or_else(|error| explain(error));
    let segment = segment.unwrap_or_else(|| panic!("{what}: the table is gone"));
    mark(&segment);
    assert!(segment.version() >= before, "{what}: version {} after {before}", segment.version());
    let (problems, _) = tables.check().unwrap_or_else(|error| explain(error));
    assert!(problems.is_empty(), "{what}: {problems:?}");
    assert_eq!(tables.others().unwrap(), [], "{what}");
    segment.version()
}

/// The names of the steps in the sources; a worker in a new domain passes each of them.
fn steps(path: &Path) -> Vec<String> {
    let all = common::labels(&["domain"]);
    let log = path.with_extension("steps");
    Child::start_with("worker", path, &[("SKEIN_STEPS", log.to_str().unwrap())]).end();
    let passed = fs::read_to_string(&log).unwrap();
    let passed: BTreeSet<&str> = passed.lines().collect();
    let missing: Vec<&String> = all.iter().filter(|it| !passed.contains(it.as_str())).collect();
    assert!(missing.is_empty(), "nobody came by {missing:?}");
    all
}

#[test]
fn a_process_may_die_at_each_step() {
    let (_alone, base) = (alone(), directory());
    let steps = steps(&base.join("first"));
    let path = base.join("domain");
    let tables = open(&path);
    let mut version = publish(&tables, "items", 1, 1000).version();
    let mut random = Random(7);
    let mut deaths = 0;
    for name in &steps {
        for count in [1, 2 + random.below(3)] {
            let deadly = format!("{name}:{count}");
            let seed = random.next().to_string();
            let variables = [("SKEIN_DIE_AT", deadly.as_str()), (SEED, &seed)];
            let status = Child::start_with("worker", &path, &variables).ended();
            assert!(status.success() || status.signal() == Some(9), "{deadly}: {status}");
            deaths += usize::from(status.signal() == Some(9));
            version = assert_sound(&tables, version, &deadly);
        }
    }
    // The leases are made once.
    assert!(deaths >= 2 * (steps.len() - 3) - 2, "{deaths} deaths at {} steps", steps.len());
}

#[test]
fn a_domain_in_the_making_may_be_left_at_each_step() {
    let (_alone, base) = (alone(), directory());
    for (at, name) in steps(&base.join("first")).iter().enumerate() {
        let path = base.join(format!("domain{at}"));
        let deadly = format!("{name}:1");
        let status = Child::start_with("worker", &path, &[("SKEIN_DIE_AT", &deadly)]).ended();
        assert_eq!(status.signal(), Some(9), "{deadly}: {status}");
        Child::start("worker", &path).end();
    }
}

#[test]
fn a_process_may_die_anywhere() {
    let crashes: u64 = env::var("SKEIN_CRASHES").map_or(60, |it| it.parse().unwrap());
    let (_alone, path) = (alone(), directory().join("domain"));
    let tables = open(&path);
    let mut version = publish(&tables, "items", 1, 1000).version();
    let first = seed();
    for seed in first..first + crashes {
        let mut random = Random(seed);
        let start =
            |random: &mut Random| Child::start_with("endless", &path, &[(SEED, &random.next().to_string())]);
        let mut victims: Vec<Child> = (0..1 + random.below(2)).map(|_| start(&mut random)).collect();
        // Some are killed before they have opened the domain.
        if random.below(8) != 0 {
            victims.iter_mut().for_each(|it| drop(it.line()));
        }
        thread::sleep(Duration::from_micros(random.below(6000) as u64));
        victims.iter_mut().for_each(Child::kill);
        version = assert_sound(&tables, version, &format!("seed {seed}"));
    }
    assert!(version > 1, "somebody published");
}
