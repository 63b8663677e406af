//! The clients of databases against real servers on ports that are free: a node runs a script of `databases/`, which says itself what
//! it expects and ends with `PASS <name>`. While it runs it may have servers killed and started (`databases/lib/order.lua`).
//!
//! Ignored unless asked for, where servers have to be there: one that is not installed fails its test. MongoDB can't be installed where
//! this is checked; its client talks with a server that was written for it.

mod common;

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Site, until};
use skein_arena::sync::atomic::{AtomicBool, Ordering};

/// A port that nobody has at this moment.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}

/// A program that serves, killed when it is dropped.
struct Server {
    name: &'static str,
    port: u16,
    command: Command,
    child: Option<Child>,
}

impl Server {
    fn new(site: &Site, name: &'static str, port: u16, program: &str, arguments: &[String]) -> Server {
        let log = |end| fs::File::create(site.path(&format!("{name}.{end}"))).expect("a file for the output");
        let mut command = Command::new(program);
        command.args(arguments).current_dir(site.dir()).stdin(Stdio::null());
        command.stdout(log("out")).stderr(log("err"));
        Server { name, port, command, child: None }
    }

    /// Starts it, and waits until it takes connections.
    fn start(&mut self) {
        let program = self.command.get_program().to_string_lossy().into_owned();
        let child = self.command.spawn();
        self.child = Some(
            child.unwrap_or_else(|error| panic!("{program} has to be installed for this test: {error}")),
        );
        until(
            || TcpStream::connect(("127.0.0.1", self.port)).ok(),
            || format!("{} does not listen on {}", self.name, self.port),
        );
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail when it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A Redis with nothing in it, and `more` in its config.
fn redis(site: &Site, name: &'static str, port: u16, more: &[&str]) -> Server {
    let port_text = port.to_string();
    let usual = ["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--enable-debug-command", "yes"];
    let arguments: Vec<String> = usual.iter().chain(more).map(|it| (*it).to_owned()).collect();
    let mut server = Server::new(site, name, port, "redis-server", &arguments);
    server.start();
    server
}

/// Does what a script asks for, until `done`.
fn obey(site: &Site, servers: &mut [Server], done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        let order = site.read("order");
        if let Some((verb, name)) = order.split_once(' ') {
            let server = servers.iter_mut().find(|it| it.name == name).expect("a server of this name");
            match verb {
                "kill" => server.kill(),
                "start" => server.start(),
                _ => panic!("what is `{verb}`?"),
            }
            fs::remove_file(site.path("order")).expect("the order");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs `databases/<name>.lua` with these config keys.
#[track_caller]
fn run(site: &Site, name: &str, servers: &mut [Server], keys: &str) {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    site.config(&format!(
        "thread = 2\n\
         start = \"{name}\"\n\
         luaservice = \"{root}/databases/?.lua\"\n\
         lua_path = \"{root}/databases/lib/?.lua;{root}/lua/lib/?.lua\"\n\
         {keys}"
    ));
    let done = AtomicBool::new(false);
    let ended = std::thread::scope(|scope| {
        let keeper = scope.spawn(|| obey(site, servers, &done));
        let ended = site.run();
        done.store(true, Ordering::Relaxed);
        keeper.join().expect("orders were obeyed");
        ended
    });
    let passed = ended.stdout.lines().any(|line| line.starts_with(&format!("PASS {name} ")));
    assert!(ended.status.success() && passed, "{name}\n{}\n{}", ended.stdout, ended.stderr);
}

#[test]
#[ignore = "needs what .ci/programs installs"]
fn redis_does_what_it_is_told() {
    let site = Site::empty();
    let port = free_port();
    let mut servers = [redis(&site, "redis", port, &[])];
    run(&site, "redis", &mut servers, &format!("redis_port = {port}"));
}

#[test]
#[ignore = "needs what .ci/programs installs"]
fn a_cluster_of_redis_moves_its_slots_and_loses_nodes() {
    let site = Site::empty();
    let mut servers = Vec::new();
    let mut keys = String::new();
    for (index, name) in (1..).zip(["node1", "node2", "node3", "node4"]) {
        let (port, bus) = (free_port(), free_port());
        let (bus_text, file) = (bus.to_string(), format!("{name}.conf"));
        let more = [
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus_text,
            "--cluster-config-file",
            &file,
            "--cluster-node-timeout",
            "3000",
            "--repl-diskless-sync-delay",
            "0",
        ];
        servers.push(redis(&site, name, port, &more));
        keys += &format!("node{index} = {port}\nbus{index} = {bus}\n");
    }
    run(&site, "redis_cluster", &mut servers, &keys);
}

/// A MariaDB with nothing in it but a database `t` and two users.
fn mariadb(site: &Site, name: &'static str, port: u16) -> Server {
    let data = format!("--datadir={}", site.path("data").display());
    let socket = site.path("socket");
    // As root it would refuse to run otherwise.
    let usual = ["--no-defaults", "--user=root", &data, "--skip-name-resolve"];
    let setup = ["--auth-root-authentication-method=normal", "--skip-test-db"];
    let made = Command::new("mariadb-install-db").args(usual).args(setup).current_dir(site.dir()).output();
    let made =
        made.unwrap_or_else(|error| panic!("mariadb-server has to be installed for this test: {error}"));
    assert!(
        made.status.success(),
        "{}{}",
        String::from_utf8_lossy(&made.stdout),
        String::from_utf8_lossy(&made.stderr)
    );
    site.write(
        "users.sql",
        "create database t;\n\
         create user app@'%' identified via mysql_native_password using password('secret');\n\
         create user open@'%' identified by '';\n\
         grant all on *.* to app@'%';\n\
         grant all on *.* to open@'%';\n",
    );
    let mut arguments: Vec<String> = usual.iter().map(|it| (*it).to_owned()).collect();
    arguments.extend([
        format!("--port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--socket={}", socket.display()),
        format!("--pid-file={}", site.path("pid").display()),
        "--innodb-flush-log-at-trx-commit=0".to_owned(),
        "--max-allowed-packet=67108864".to_owned(),
    ]);
    let mut server = Server::new(site, name, port, "mariadbd", &arguments);
    server.start();
    let mut client = Command::new("mariadb");
    client.arg("--no-defaults").arg(format!("--socket={}", socket.display())).args(["-u", "root"]);
    client.stdin(fs::File::open(site.path("users.sql")).expect("it was written"));
    let asked = client.output().expect("mariadb-client has to be installed for this test");
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    server
}

#[test]
#[ignore = "needs what .ci/programs installs"]
fn mariadb_does_what_it_is_told() {
    let site = Site::empty();
    let port = free_port();
    let mut servers = [mariadb(&site, "mysql", port)];
    run(&site, "mysql", &mut servers, &format!("mysql_port = {port}"));
}

#[test]
#[ignore = "needs what .ci/programs installs"]
fn mysqls_own_passwords_are_proved_to_a_server_of_ours() {
    run(&Site::empty(), "mysql_login", &mut [], "");
}

#[test]
fn mongo_does_what_it_is_told_by_a_server_of_ours() {
    run(&Site::empty(), "mongo", &mut [], "");
}

#[test]
#[ignore = "needs what .ci/programs installs"]
fn the_shop_sells_what_it_has() {
    let site = Site::empty();
    let port = free_port();
    let _server = redis(&site, "redis", port, &[]);
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shop");
    // The example's own config, but for the port and for where it is run.
    let config = fs::read_to_string(format!("{example}/config.lua")).expect("a config");
    site.write("config", &format!("{config}\nluaservice = \"{example}/?.lua\"\nredis_port = {port}\n"));
    let ended = site.run();
    let expected = fs::read_to_string(format!("{example}/expected")).expect("what it says");
    for line in expected.lines() {
        assert!(ended.stdout.contains(line), "`{line}` is missing\n{}\n{}", ended.stdout, ended.stderr);
    }
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
#[ignore = "needs what .ci/programs installs"]
fn what_the_page_about_databases_shows_comes_out() {
    let page =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/databases.md")).expect("the page");
    let program = page.split("```lua\n").find(|it| it.starts_with("-- main.lua")).expect("a program");
    let program = program.split("```").next().expect("its end");
    let site = Site::empty();
    let port = free_port();
    let _server = redis(&site, "redis", port, &[]);
    site.write("main.lua", &program.replace("6379", &port.to_string()));
    site.config("");
    let ended = site.run();
    for line in ["\n19\n", "\nnil\n", "\ntrue\t19\ntrue\t20\nfalse\t", "WRONGTYPE"] {
        assert!(ended.stdout.contains(line), "{line:?} is missing\n{}\n{}", ended.stdout, ended.stderr);
    }
    assert!(ended.status.success(), "{ended:?}");
}
