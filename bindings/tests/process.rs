//! The process as an operator sees it: what it prints, where, with which status, and how it takes signals.
//!
//! Texts are skynet's, as observed from commit f19d1605; where skein differs on purpose, docs/operating.md says so.

mod common;

use std::fs;

use common::{Site, until};
use rustix::process::{Pid, Signal, test_kill_process};

/// Ends by itself once its lines have reached the log.
const HELLO: &str = r#"
    local skynet = require "skynet"
    require "skynet.manager"
    skynet.start(function()
        skynet.error "hello"
        skynet.timeout(20, skynet.abort)
    end)
"#;

/// The same, once the test says so by a file `go`.
const LATER: &str = r#"
    local skynet = require "skynet"
    require "skynet.manager"
    skynet.start(function()
        skynet.error "first"
        while not io.open "go" do skynet.sleep(5) end
        skynet.error "second"
        skynet.sleep(10)
        skynet.abort()
    end)
"#;

#[test]
fn a_single_node_starts_in_skynets_order_and_with_its_addresses() {
    let site = Site::with_main(HELLO);
    let ended = site.run();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let expected = [
        "[:00000002] LAUNCH snlua bootstrap",
        "[:00000003] LAUNCH snlua launcher",
        "[:00000004] LAUNCH snlua cdummy",
        "[:00000005] LAUNCH harbor 0 4",
        "[:00000006] LAUNCH snlua datacenterd",
        "[:00000007] LAUNCH snlua service_mgr",
        "[:00000008] LAUNCH snlua main",
        "[:00000008] hello",
        "[:00000002] KILL self",
    ];
    let mut lines: Vec<_> = ended.stdout.lines().collect();
    for line in expected {
        let at = lines
            .iter()
            .position(|it| *it == line)
            .unwrap_or_else(|| panic!("no `{line}`\n{}", ended.stdout));
        lines.remove(at);
    }
    assert_eq!(lines, [""; 0], "and nothing else");
    assert_eq!(ended.stderr, "");
}

/// What a config makes the process say before it ends with status 1.
struct Refusal {
    name: &'static str,
    config: &'static str,
    stderr: &'static str,
}

const REFUSALS: [Refusal; 18] = [
    Refusal {
        name: "arena_limit",
        config: "arena_limit = 'much'",
        stderr: "config: key arena_limit: expected a number of bytes",
    },
    Refusal {
        name: "cluster_inbound_limit",
        config: "harbor = 0\ncluster_inbound_limit = '12MM'",
        stderr: "config: key cluster_inbound_limit: expected a number of bytes",
    },
    Refusal { name: "syntax", config: "x = = 1", stderr: "config:1: unexpected symbol near '='" },
    Refusal {
        name: "runtime",
        config: "error 'x'",
        stderr: "config:1: attempt to call a nil value (global 'error')",
    },
    Refusal { name: "unset", config: "x = '$SKEIN_UNSET'", stderr: "os.getenv() failed: SKEIN_UNSET" },
    Refusal { name: "comment", config: "-- $SKEIN_UNSET", stderr: "os.getenv() failed: SKEIN_UNSET" },
    Refusal { name: "include", config: "include 'nope'", stderr: "./nope: No such file or directory" },
    Refusal { name: "table", config: "x = {}", stderr: "Invalid config table key = x" },
    Refusal { name: "function", config: "x = function() end", stderr: "Invalid config table key = x" },
    Refusal { name: "key", config: "local t = _ENV t[1] = 2", stderr: "Invalid config table" },
    Refusal { name: "thread 0", config: "thread = 0", stderr: "Invalid thread 0 , should be in [1,1024]" },
    Refusal {
        name: "thread 1025",
        config: "thread = 1025",
        stderr: "Invalid thread 1025 , should be in [1,1024]",
    },
    Refusal {
        name: "thread text",
        config: "thread = 'many'",
        stderr: "Invalid thread 0 , should be in [1,1024]",
    },
    Refusal { name: "cpath", config: "cpath = './x.so'", stderr: "Invalid C service path" },
    Refusal { name: "logservice", config: "logservice = 'nomod'", stderr: "Can't launch nomod service" },
    Refusal { name: "tried", config: "logservice = 'nomod'", stderr: "try open nomod failed : " },
    Refusal { name: "log file", config: "logger = './nodir/x.log'", stderr: "Can't launch logger service" },
    Refusal { name: "bootstrap", config: "bootstrap = 'nomod x'", stderr: "try open nomod failed : " },
];

#[test]
fn a_config_that_cannot_be_served_ends_the_process_with_one_line() {
    for Refusal { name, config, stderr } in REFUSALS {
        let site = Site::empty();
        site.write("config", &format!("{config}\nharbor = 0\n"));
        let ended = site.run();
        assert_eq!(ended.status.code(), Some(1), "{name}: {ended:?}");
        assert!(ended.stderr.contains(stderr), "{name}: expected `{stderr}`\n{}", ended.stderr);
    }
}

#[test]
fn a_bootstrap_that_is_missing_is_logged_before_the_end() {
    let site = Site::empty();
    site.config("bootstrap = 'nomod x'");
    let ended = site.run();
    assert_eq!(ended.stdout, "[:00000000] Bootstrap error : nomod x\n\n");
    assert_eq!(ended.status.code(), Some(1));
}

#[test]
fn a_config_file_that_is_missing_is_named() {
    let site = Site::empty();
    let ended = site.start(&["nofile"]).wait();
    assert!(ended.stderr.contains("./nofile: No such file or directory"), "{ended:?}");
    assert_eq!(ended.status.code(), Some(1));
}

#[test]
fn without_a_config_the_usage_is_told() {
    let site = Site::empty();
    let ended = site.start(&[]).wait();
    assert!(ended.stderr.starts_with("Need a config file."), "{ended:?}");
    assert!(ended.stderr.contains("\nusage: "), "{ended:?}");
    assert_eq!(ended.status.code(), Some(1));
}

#[test]
fn scripts_that_fail_are_logged_and_the_node_goes_on() {
    let cases = [
        ("return +", "[:00000008] lua loader error : "),
        ("error 'at load'", "[:00000008] lua loader error : ./main.lua:1: at load\nstack traceback:"),
        (
            "require 'skynet'.start(function() error 'in start' end)",
            "[:00000008] init service failed: ./main.lua:1: in start\nstack traceback:",
        ),
        ("require 'skynet'.start(function() error {} end)", "[:00000008] init service failed: table: 0x"),
    ];
    for (main, line) in cases {
        let site = Site::with_main(main);
        let mut node = site.start(&["config"]);
        node.wait_for("stdout", "[:00000008] KILL self");
        let log = node.wait_for("stdout", "[:00000002] KILL self");
        assert!(log.contains(line), "{main}: expected `{line}`\n{log}");
    }
}

#[test]
fn a_script_that_is_missing_names_every_path_tried() {
    let site = Site::empty();
    site.config("luaservice = './?.lua;./more/?.lua'");
    let mut node = site.start(&["config"]);
    let log = node.wait_for("stdout", "[:00000002] KILL self");
    assert!(
        log.contains("cannot open ./main.lua: No such file or directory\ncannot open ./more/main.lua: "),
        "{log}"
    );
}

#[test]
fn the_node_ends_when_its_last_service_is_gone() {
    let site = Site::with_main(
        r#"
        local skynet = require "skynet"
        require "skynet.manager"
        skynet.start(function()
            skynet.timeout(10, function()
                for address = 1, 7 do skynet.kill(address) end
                skynet.exit()
            end)
        end)
        "#,
    );
    assert_eq!(site.run().status.code(), Some(0));
}

#[test]
fn hangup_opens_the_log_file_again() {
    let site = Site::with_main(LATER);
    site.config("logger = 'game.log'");
    let mut node = site.start(&["config"]);
    node.wait_for("game.log", "] first\n");
    fs::rename(site.path("game.log"), site.path("game.log.1")).unwrap();
    node.signal(Signal::HUP);
    until(|| site.path("game.log").exists().then_some(()), || "no new log file".to_owned());
    site.write("go", "");
    let ended = node.wait();
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(0), ""));

    let (old, new) = (site.read("game.log.1"), site.read("game.log"));
    assert!(!old.contains("second") && !new.contains("first"), "{old}\n--\n{new}");
    let line = new.lines().find(|it| it.ends_with("[:00000008] second")).expect("the second line");
    let time: String = line.chars().take(21).map(|it| if it.is_ascii_digit() { '9' } else { it }).collect();
    assert_eq!(time, "99/99/99 99:99:99.99 ");
}

#[test]
fn other_signals_have_their_default_action() {
    use std::os::unix::process::ExitStatusExt;
    for signal in [Signal::TERM, Signal::INT] {
        let site = Site::with_main(LATER);
        let mut node = site.start(&["config"]);
        node.wait_for("stdout", "] first\n");
        node.signal(Signal::PIPE); // ignored
        node.signal(signal);
        assert_eq!(node.wait().status.signal(), Some(signal.as_raw()));
    }
}

#[test]
fn a_daemon_holds_its_pid_file_and_removes_it() {
    let site = Site::with_main(LATER);
    site.config("daemon = './game.pid'\nlogger = 'game.log'");
    site.write("game.pid", "999999\n"); // left behind by one that died
    assert_eq!(site.run().status.code(), Some(0), "the parent");
    let log = || site.read("game.log");
    until(|| log().contains("] first\n").then_some(()), log);

    let text = site.read("game.pid");
    let pid = Pid::from_raw(text.strip_suffix('\n').expect("a line end").parse().expect("a pid")).unwrap();
    for stream in 0..3 {
        let target = fs::read_link(format!("/proc/{}/fd/{stream}", pid.as_raw_nonzero())).unwrap();
        assert_eq!(target.to_str(), Some("/dev/null"));
    }
    let second = site.run();
    assert_eq!(second.stderr, format!("Skynet is already running, pid = {}.\n", pid.as_raw_nonzero()));
    assert_eq!(second.status.code(), Some(1));

    site.write("go", "");
    until(|| test_kill_process(pid).is_err().then_some(()), || format!("the daemon did not end\n{}", log()));
    assert!(!site.path("game.pid").exists());
    assert!(log().contains("] second\n"));
}

#[test]
fn messages_of_a_service_are_logged_between_logon_and_logoff() {
    let site = Site::with_main(
        r#"
        local skynet = require "skynet"
        require "skynet.manager"
        local core = require "skynet.core"
        skynet.start(function()
            skynet.dispatch("lua", function(_, _, ...) skynet.retpack(...) end)
            local me = skynet.address(skynet.self())
            core.command("LOGON", me)
            skynet.call(skynet.self(), "lua", 1, "a")
            core.command("LOGOFF", me)
            skynet.call(skynet.self(), "lua", 2)
            skynet.sleep(10)
            skynet.abort()
        end)
        "#,
    );
    site.config("logpath = '.'");
    let ended = site.run();
    assert!(ended.stdout.contains("[:00000008] Open log file ./00000008.log\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("[:00000008] Close log file :00000008\n"), "{}", ended.stdout);

    let text = site.read("00000008.log");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert_eq!(lines[0][..2], ["open", "time:"]);
    assert_eq!([lines[1][0], lines[1][1], lines[1][4]], [":00000008", "10", "0a010c61"]); // the request
    assert_eq!([lines[2][0], lines[2][1], lines[2][4]], [":00000008", "1", "0a010c61"]); // the answer
    assert_eq!(lines[1][2], lines[2][2], "both of one session");
    assert_eq!(lines[3][..2], ["close", "time:"]);
}

#[test]
fn a_signal_command_ends_an_endless_loop() {
    let site = Site::with_main(
        r#"
        local skynet = require "skynet"
        require "skynet.manager"
        local core = require "skynet.core"
        skynet.start(function()
            local busy = skynet.newservice "busy"
            skynet.fork(function() skynet.error("call", pcall(skynet.call, busy, "lua", "loop")) end)
            skynet.sleep(20)
            core.command("SIGNAL", skynet.address(busy) .. " 0")
            skynet.error("after", skynet.call(busy, "lua", "echo"))
            skynet.sleep(10)
            skynet.abort()
        end)
        "#,
    );
    site.write(
        "busy.lua",
        r#"
        local skynet = require "skynet"
        skynet.start(function()
            skynet.dispatch("lua", function(_, _, what)
                while what == "loop" do end
                skynet.retpack(what)
            end)
        end)
        "#,
    );
    let log = site.run().stdout;
    assert!(log.contains("[:00000009] recv a signal 0\n"), "{log}");
    assert!(log.contains("busy.lua:5: signal 0\n"), "{log}");
    assert!(log.contains("[:00000008] call false "), "{log}");
    assert!(log.contains("[:00000008] after echo\n"), "{log}");
}

#[test]
fn a_memory_limit_is_an_error_in_the_service_that_has_it() {
    let site = Site::with_main(
        r#"
        local skynet = require "skynet"
        require "skynet.manager"
        skynet.start(function()
            skynet.error("small", skynet.call(skynet.newservice "small", "lua"))
            skynet.error("mine", #string.rep("x", 1 << 22))
            skynet.sleep(10)
            skynet.abort()
        end)
        "#,
    );
    site.write(
        "small.lua",
        r#"
        local skynet = require "skynet"
        skynet.memlimit(2 << 20)
        skynet.start(function()
            skynet.dispatch("lua", function() skynet.retpack(pcall(string.rep, "x", 1 << 22)) end)
        end)
        "#,
    );
    let log = site.run().stdout;
    assert!(log.contains("[:00000009] Set memory limit to 2.00 M\n"), "{log}");
    assert!(log.contains("[:00000008] small false not enough memory\n"), "{log}");
    assert!(log.contains("[:00000008] mine 4194304\n"), "{log}");
}

#[test]
fn strings_that_show_blocks_count_for_the_memory_limit_of_who_keeps_them() {
    let site = Site::with_main(
        r#"
        local skynet = require "skynet"
        require "skynet.manager"
        skynet.start(function()
            local small = skynet.newservice "small"
            local taken, ok = -1, true
            while ok and taken < 1000 do
                ok, taken = pcall(skynet.call, small, "lua", ("x"):rep(1 << 16)), taken + 1
            end
            skynet.error("refused", not ok and taken > 16 and taken < 32)
            skynet.call(small, "lua", "drop")
            skynet.error("again", skynet.call(small, "lua", ("y"):rep(1 << 16)))
            skynet.abort()
        end)
        "#,
    );
    site.write(
        "small.lua",
        r#"
        local skynet = require "skynet"
        skynet.memlimit(2 << 20)
        skynet.start(function()
            local kept = {}
            skynet.dispatch("lua", function(_, _, text)
                if text == "drop" then
                    kept = {}
                    collectgarbage()
                else
                    kept[#kept + 1] = text
                end
                skynet.retpack(#kept)
            end)
        end)
        "#,
    );
    let log = site.run().stdout;
    assert!(log.contains("refused true\n"), "{log}");
    assert!(log.contains("again 1\n"), "{log}");
}

#[test]
fn a_logger_written_in_lua_takes_its_place() {
    let site = Site::with_main(LATER);
    site.config("logservice = 'snlua'\nlogger = 'userlog'");
    site.write(
        "userlog.lua",
        r#"
        local skynet = require "skynet"
        local function say(...) io.write(...) io.write "\n" io.flush() end
        skynet.register_protocol {
            name = "text", id = skynet.PTYPE_TEXT, unpack = skynet.tostring,
            dispatch = function(_, source, text) say(skynet.address(source), " said ", text) end,
        }
        skynet.register_protocol {
            name = "system", id = skynet.PTYPE_SYSTEM, unpack = function(...) return ... end,
            dispatch = function(session, source) say("hangup ", session, " ", source) end,
        }
        skynet.start(function() end)
        "#,
    );
    let mut node = site.start(&["config"]);
    node.wait_for("stdout", ":00000008 said first\n");
    node.signal(Signal::HUP);
    node.wait_for("stdout", "hangup 0 0\n");
    site.write("go", "");
    assert_eq!(node.wait().status.code(), Some(0));
}

#[test]
fn a_log_service_that_fails_leaves_its_lines_to_standard_error() {
    let site = Site::with_main(
        r#"
        local skynet = require "skynet"
        require "skynet.manager"
        skynet.error "nobody reads this"
        skynet.start(function() skynet.abort() end)
        "#,
    );
    site.config("logservice = 'snlua'\nlogger = 'userlog'");
    site.write("userlog.lua", "error 'no disk'");
    let ended = site.run();
    assert!(ended.stderr.contains("[:00000001] lua loader error : ./userlog.lua:1: no disk\n"), "{ended:?}");
    assert!(ended.stderr.contains("[:00000008] nobody reads this\n"), "{ended:?}");
}

#[test]
fn a_service_that_does_not_return_is_reported() {
    let site = Site::with_main(
        r#"
        local skynet = require "skynet"
        require "skynet.manager"
        skynet.start(function()
            local from = skynet.hpc()
            while skynet.hpc() - from < 11e9 do end
            skynet.error(skynet.endless(), skynet.endless())
            skynet.sleep(10)
            skynet.abort()
        end)
        "#,
    );
    let mut node = site.start(&["config"]);
    // A timer has no sender.
    let text = "[:00000000] error: A message from [ :00000000 ] to [ :00000008 ] maybe in an endless loop (version = ";
    node.wait_for("stdout", text);
    node.wait_for("stdout", "[:00000008] true false\n");
    assert_eq!(node.wait().status.code(), Some(0));
}

#[test]
fn whoever_waits_for_a_service_is_told_when_it_is_killed() {
    let site = Site::with_main(
        r#"
        local skynet = require "skynet"
        require "skynet.manager"
        skynet.start(function()
            local service = skynet.newservice "slow"
            for _, what in ipairs { "suspended", "detached", "forgotten", "answered" } do
                skynet.fork(function() skynet.error(what, pcall(skynet.call, service, "lua", what)) end)
            end
            skynet.sleep(10)
            skynet.kill(service)
            skynet.timeout(20, skynet.abort)
        end)
        "#,
    );
    site.write(
        "slow.lua",
        r#"
        local skynet = require "skynet"
        skynet.start(function()
            skynet.dispatch("lua", function(_, _, what)
                if what == "suspended" then skynet.wait() end
                if what == "detached" then KEPT = skynet.response() end
                if what == "answered" then skynet.retpack "done" skynet.wait() end
            end)
        end)
        "#,
    );
    let log = site.run().stdout;
    for what in ["suspended", "detached", "forgotten"] {
        let line = log
            .lines()
            .find(|it| it.contains(&format!("] {what} false ")))
            .unwrap_or_else(|| panic!("{what}\n{log}"));
        assert!(line.ends_with("call failed"), "{line}");
    }
    assert!(log.contains("] answered true done\n"), "{log}");
}
