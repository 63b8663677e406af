//! A quiet node sleeps: nobody wakes up to look whether there is something to do.
//!
//! Counted is how often a thread of the process went to sleep (`voluntary_ctxt_switches` in `/proc/PID/task`): who sleeps and
//! is not woken does not count, however loaded the machine is.

mod common;

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use common::{Running, Site, until};

/// How long a node is watched.
const WATCH: Duration = Duration::from_secs(2);

/// Services of which each has answered a call, so that all workers have been awake; then what the test adds.
fn node(then: &str) -> Site {
    let site = Site::with_main(&format!(
        r#"
        local skynet = require "skynet"
        if ... then
            skynet.start(function()
                skynet.dispatch("lua", function() skynet.retpack() end)
            end)
        else
            skynet.start(function()
                for i = 1, 40 do
                    skynet.fork(function()
                        skynet.call(skynet.newservice("main", "peer"), "lua")
                    end)
                end
                skynet.sleep(20)
                {then}
                skynet.error "quiet now"
            end)
        end
        "#
    ));
    site.config("thread = 4");
    site
}

/// How often threads of a process have gone to sleep so far.
fn sleeps(node: &Running) -> u64 {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{}/task", node.id())).expect("the process lives") {
        let status = task.expect("a thread").path().join("status");
        let status = fs::read_to_string(status).expect("no thread ends while the node is quiet");
        let count = status.lines().find_map(|it| it.strip_prefix("voluntary_ctxt_switches:"));
        sum += count.expect("the kernel counts them").trim().parse::<u64>().expect("a number");
    }
    sum
}

/// The same while nothing is asked of the node, after it has come to rest.
fn while_watched(node: &mut Running) -> u64 {
    node.wait_for("stdout", "quiet now");
    let mut before = sleeps(node);
    // What the last message set in motion may still be on its way.
    until(
        || {
            sleep(Duration::from_millis(250));
            let now = sleeps(node);
            std::mem::replace(&mut before, now).eq(&now).then_some(())
        },
        || "the node never came to rest".to_owned(),
    );
    let before = sleeps(node);
    sleep(WATCH);
    sleeps(node) - before
}

#[test]
fn a_node_without_work_never_wakes_up() {
    let site = node("");
    let mut node = site.start(&["config"]);
    assert_eq!(while_watched(&mut node), 0);
}

#[test]
fn a_timer_in_an_hour_wakes_nobody_now() {
    let site = node("for i = 1, 100 do skynet.timeout(360000 + i, function() end) end");
    let mut node = site.start(&["config"]);
    // A wheel may move far timers closer now and then, but not often.
    let count = while_watched(&mut node);
    assert!(count <= 4, "{count} sleeps in {WATCH:?}");
}

#[test]
fn a_timer_wakes_no_more_threads_than_it_needs() {
    // Every 100 ms: the thread of the timers, and one worker.
    let site = node("skynet.fork(function() while true do skynet.sleep(10) end end)");
    let mut node = site.start(&["config"]);
    node.wait_for("stdout", "quiet now");
    sleep(Duration::from_millis(250));
    let before = sleeps(&node);
    sleep(WATCH);
    let count = sleeps(&node) - before;
    let due = WATCH.as_millis() as u64 / 100 + 1;
    assert!(count >= due, "{count} sleeps: the timer does not run");
    // Two are needed; the rest is for a wheel that moves timers closer, and for locks.
    assert!(count <= 4 * due, "{count} sleeps for {due} timers");
}
