//! The orderly end of a node: SIGTERM, SIGINT and `skein.stop`, hooks and drain, and the deadline of both.

mod common;

use std::os::unix::process::ExitStatusExt;

use common::{Ended, Site};
use rustix::process::Signal;

/// A worker whose hook takes its time, and a main service that registers after it, so that its hook runs first.
const TWO: &str = r#"
    local skynet = require "skynet"
    local skein = require "skein"
    skynet.start(function()
        skynet.newservice "worker"
        skein.on_stop(function() skynet.error "main: first hook" end)
        skein.on_stop(function()
            skynet.error "main: second hook"
            error "no good"
        end)
        skynet.error "ready"
    end)
"#;

const WORKER: &str = r#"
    local skynet = require "skynet"
    local skein = require "skein"
    skynet.start(function()
        skein.on_stop(function()
            skynet.error "worker: hook begins"
            skynet.sleep(2)
            skynet.error "worker: hook ends"
        end)
    end)
"#;

/// A service whose hook never ends.
const STUCK: &str = r#"
    local skynet = require "skynet"
    local skein = require "skein"
    skynet.start(function()
        skein.on_stop(function()
            skynet.error "hook begins"
            skynet.wait "never"
        end)
        skynet.error "ready"
    end)
"#;

/// Where `text` stands in the output.
#[track_caller]
fn place(ended: &Ended, text: &str) -> usize {
    ended.stdout.find(text).unwrap_or_else(|| panic!("no `{text}`\n{ended:?}"))
}

#[test]
fn a_node_with_hooks_ends_in_order_and_with_status_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let site = Site::with_main(TWO);
        site.write("worker.lua", WORKER);
        let mut node = site.start(&["config"]);
        node.wait_for("stdout", "ready\n");
        node.signal(signal);
        let ended = node.wait();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        let order = [
            "main: second hook",
            "stop hook failed",
            "main: first hook",
            "worker: hook begins",
            "worker: hook ends",
            "stop: done",
        ];
        let places = order.map(|it| place(&ended, it));
        assert!(places.is_sorted(), "{ended:?}");
        place(&ended, &format!("stop: signal {}, 2 services have hooks", signal.as_raw()));
    }
}

#[test]
fn what_takes_longer_than_the_deadline_is_left_undone() {
    let site = Site::with_main(STUCK);
    site.config("stop_deadline = 0.1");
    let mut node = site.start(&["config"]);
    node.wait_for("stdout", "ready\n");
    node.signal(Signal::TERM);
    let ended = node.wait();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    // On a busy machine the hook may not even have begun by then.
    assert!(place(&ended, "call timeout") < place(&ended, "stop: done"), "{ended:?}");
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let site = Site::with_main(STUCK);
    site.config("stop_deadline = 100000");
    let mut node = site.start(&["config"]);
    node.wait_for("stdout", "ready\n");
    node.signal(Signal::TERM);
    node.wait_for("stdout", "hook begins\n");
    node.signal(Signal::TERM);
    assert_eq!(node.wait().status.signal(), Some(Signal::TERM.as_raw()));
}

#[test]
fn a_service_may_stop_the_node_and_those_that_ended_are_not_asked() {
    let site = Site::with_main(
        r#"
        local skynet = require "skynet"
        local skein = require "skein"
        skynet.start(function()
            local worker = skynet.newservice "worker"
            skynet.kill(worker)
            skein.on_stop(function() skynet.error "main: hook" end)
            skein.stop()
        end)
        require "skynet.manager"
        "#,
    );
    site.write("worker.lua", WORKER);
    let ended = site.run();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(place(&ended, "main: hook") < place(&ended, "stop: done"), "{ended:?}");
    assert!(!ended.stdout.contains("worker: hook"), "{ended:?}");
    assert!(!ended.stdout.contains("stop: hooks of"), "{ended:?}");
}
