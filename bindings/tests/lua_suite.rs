//! Runs each script of `tests/lua` as the start service of a real node.
//!
//! A script says itself what it expects, and ends with `PASS <name>`. Two kinds of comments in it are about what the log must hold,
//! which a service can't see: `--! log: text` (somewhere in the output) and `--! no-log: text` (nowhere). A `#` in the text stands for what
//! a clock says.
//! The same scripts run on skynet, see `tests/lua/lib/check.lua`.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::Site;

/// Where the scripts are.
fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lua")
}

/// The output with `#` for each number of six digits and more.
fn without_clocks(output: &str) -> String {
    let mut text = String::with_capacity(output.len());
    let mut digits = String::new();
    // One character more than there is, to end a number.
    for each in output.chars().chain(['\n']) {
        if each.is_ascii_digit() {
            digits.push(each);
            continue;
        }
        text.push_str(if digits.len() < 6 { &digits } else { "#" });
        digits.clear();
        text.push(each);
    }
    text
}

/// Runs one script, and panics with the whole output when something is missing.
#[track_caller]
fn run(name: &str, more: &str) {
    let root = scripts();
    let root = root.display();
    let site = Site::empty();
    site.config(&format!(
        "thread = 4\n\
         start = \"{name}\"\n\
         luaservice = \"{root}/?.lua;{root}/helpers/?.lua;{root}/dirs/?/init.lua\"\n\
         lib = \"{root}/lib\"\n\
         lua_path = lib .. \"/?.lua\"\n\
         snax = \"{root}/snax/?.lua\"\n\
         meta = \"{root}/../../lualib/meta\"\n\
         extra_key = \"from config\"\n\
         {more}"
    ));
    let ended = site.run();
    let output = &ended.stdout;
    let shown = || format!("{name}\n-- stdout:\n{output}\n-- stderr:\n{}", ended.stderr);
    assert!(ended.status.success(), "{:?} {}", ended.status, shown());
    assert!(output.lines().any(|line| line.starts_with(&format!("PASS {name} "))), "no PASS {}", shown());
    let clockless = without_clocks(output);
    let script = fs::read_to_string(scripts().join(format!("{name}.lua"))).expect("the script");
    for line in script.lines() {
        if let Some(text) = line.strip_prefix("--! log: ") {
            assert!(
                output.contains(text) || clockless.contains(text),
                "`{text}` is not in the output of {}",
                shown()
            );
        } else if let Some(text) = line.strip_prefix("--! no-log: ") {
            assert!(!output.contains(text), "`{text}` is in the output of {}", shown());
        }
    }
}

/// One test per script, and one that none is left out.
macro_rules! scripts {
    ($($test:ident = $name:literal $(with $more:literal)?;)*) => {
        $(
            #[test]
            fn $test() {
                run($name, concat!($($more)?));
            }
        )*

        #[test]
        fn every_script_has_its_test() {
            let mut found: Vec<_> = fs::read_dir(scripts())
                .expect("the scripts")
                .map(|entry| entry.expect("an entry").path())
                .filter(|path| path.extension().is_some_and(|it| it == "lua"))
                .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
                .collect();
            found.sort();
            let mut named = vec![$($name),*];
            named.sort_unstable();
            assert_eq!(found, named);
        }
    };
}

scripts! {
    calls_and_replies = "calls";
    clusters_of_one_node = "cluster";
    coroutines_that_may_block = "coroutine";
    values_for_everybody = "datacenter";
    debug_commands = "debug";
    sheets_of_data = "datasheet";
    names_by_udp = "dns";
    faults_and_deaths = "faults";
    the_end_of_a_service = "exit";
    gates_and_logins = "gates";
    rules_of_gates = "gate_rules";
    rules_of_socketchannels = "socketchannel_rules";
    requests_and_responses = "http";
    code_in_the_scope_of_a_function = "injectcode";
    launching_services = "launch";
    what_the_loader_sets_up = "loader" with "preload = lib .. \"/preload.lua\"";
    stubs_for_editors = "meta";
    messages_one_at_a_time = "mqueue";
    channels_with_many_subscribers = "multicast";
    proxies_and_filters = "manager";
    names_and_settings = "names";
    critical_sections = "queue";
    packing_and_unpacking = "pack";
    modules_that_initialise = "require";
    parallel_requests = "select";
    services_from_functions = "service";
    sockets_within_a_service = "socket";
    rules_of_sockets = "socket_rules";
    connections_that_tasks_share = "socketchannel";
    tables_that_are_committed = "sharemap";
    services_that_sleep = "looks";
    services_with_methods = "snax";
    services_with_methods_from_elsewhere = "snax_loader"
        with "snax_loader = lib .. \"/snax_loader.lua\"; snax_interface_g = \"snax_globals\"";
    configuration_behind_proxies = "sharedata";
    shared_tables = "sharetable";
    versions_of_shared_tables = "sharetable_versions";
    a_storm_of_everything = "storm";
    tasks_and_time = "tasks";
    deadlines_and_bounds = "skein";
    services_that_are_started_again = "supervisor";
    both_sides_of_tls = "tls";
    trace_lines = "trace";
    frames_of_websockets = "websocket";
}
