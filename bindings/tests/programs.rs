//! Real programs against a real node, and a node as their client: curl, openssl, nc, wrk, Python and Redis.
//!
//! Ignored unless asked for, since the programs have to be there: one that is not installed fails its test.

mod common;

use std::io::Write;
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

use common::{Running, Site, until};

/// A node that runs `programs/main.lua`, with a certificate of an authority of its own.
struct Server {
    site: &'static Site,
    node: Running<'static>,
    ports: Vec<(String, u16)>,
}

impl Server {
    fn start(more: &str) -> Server {
        // A test's directory outlives the test: that is soon.
        let site: &'static Site = Box::leak(Box::new(Site::empty()));
        site.write("main.lua", include_str!("programs/main.lua"));
        site.write("client.py", include_str!("programs/client.py"));
        site.config(&format!("enablessl = true\ncertfile = 'server.pem'\nkeyfile = 'server.key'\n{more}"));
        certificates(site);
        let mut node = site.start(&["config"]);
        let text = node.wait_for("ports", "ready");
        let ports = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, port)| (name.to_owned(), port.parse().expect("a port")))
            .collect();
        Server { site, node, ports }
    }

    fn port(&self, name: &str) -> u16 {
        self.ports.iter().find(|(its, _)| its == name).expect("a port of this name").1
    }

    /// Runs a program in the site; it must succeed. Gives what it printed.
    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let out = run(self.site, program, arguments, b"");
        assert!(
            out.status.success(),
            "{program} {arguments:?}: {:?}\n{}{}\n-- node:\n{}",
            out.status,
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr),
            self.site.read("stdout")
        );
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// A path of the HTTP server, by curl.
    #[track_caller]
    fn curl(&self, arguments: &[&str], name: &str, path: &str) -> String {
        let url = format!(
            "{}://127.0.0.1:{}{path}",
            if name == "https" { "https" } else { "http" },
            self.port(name)
        );
        self.run("curl", &[&["-sS", "--fail", "--max-time", "30"], arguments, &[url.as_str()]].concat())
    }

    /// The node still serves, and ends when it is told to.
    fn stop(self) {
        assert_eq!(self.curl(&[], "http", "/stop"), "stopping\n");
        let ended = self.node.wait();
        assert!(ended.status.success(), "{ended:?}");
    }
}

/// Runs a program with an input.
fn run(site: &Site, program: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(site.dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} has to be installed for this test: {error}"));
    // A program that does not read its input is content without.
    let _ = child.stdin.take().expect("piped").write_all(input);
    child.wait_with_output().expect("its output")
}

/// An authority, and a server's certificate for `localhost` and 127.0.0.1.
fn certificates(site: &Site) {
    site.write("names", "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n");
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let steps: [Vec<&str>; 3] = [
        [
            &["req", "-x509"],
            &key[..],
            &["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority", "-days", "2"],
        ]
        .concat(),
        [&["req"], &key[..], &["-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost"]]
            .concat(),
        vec![
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-out",
            "server.pem",
            "-days",
            "2",
            "-extfile",
            "names",
        ],
    ];
    for step in steps {
        let out = run(site, "openssl", &step, b"");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}

/// A program that serves, until it is dropped.
struct Helper(Child);

impl Helper {
    fn start(site: &Site, program: &str, arguments: &[&str], port: u16) -> Helper {
        let child = Command::new(program)
            .args(arguments)
            .current_dir(site.dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} has to be installed for this test: {error}"));
        let helper = Helper(child);
        until(|| TcpStream::connect(("127.0.0.1", port)).ok(), || format!("{program} does not listen"));
        helper
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that nobody has at this moment.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}

#[test]
#[ignore = "needs what .ci/programs installs"]
fn curl_reads_and_writes_in_every_way_it_knows() {
    let server = Server::start("");
    assert_eq!(server.curl(&["-H", "Host: me"], "http", "/a%20b?x=1"), "GET /a b me 0 \n");
    assert_eq!(server.curl(&["-H", "Host: me", "-d", "hello"], "http", "/form"), "POST /form me 5 hello\n");
    server.site.write("body", &"z".repeat(300_000));
    let chunked = ["-H", "Host: me", "-H", "Transfer-Encoding: chunked", "-H", "Expect:", "-T", "body"];
    assert!(server.curl(&chunked, "http", "/chunks").starts_with("PUT /chunks me 300000 zzz"));
    assert_eq!(server.curl(&[], "http", "/large").len(), 1 << 20);
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"], &["--http1.1"]] {
        let trusting = [&["--cacert", "ca.pem", "-H", "Host: me"], version].concat();
        assert_eq!(server.curl(&trusting, "https", "/secret"), "GET /secret me 0 \n");
        assert_eq!(server.curl(&trusting, "https", "/large").len(), 1 << 20);
    }
    // Without the authority curl refuses, and the node goes on.
    let url = format!("https://127.0.0.1:{}/", server.port("https"));
    assert_eq!(run(server.site, "curl", &["-sS", &url], b"").status.code(), Some(60));
    server.stop();
}

#[test]
#[ignore = "needs what .ci/programs installs"]
fn openssl_shakes_hands_and_garbage_does_not() {
    let mut server = Server::start("");
    let address = format!("127.0.0.1:{}", server.port("https"));
    for version in ["-tls1_2", "-tls1_3"] {
        let arguments = [
            "s_client",
            "-connect",
            &address,
            "-CAfile",
            "ca.pem",
            "-verify_return_error",
            "-quiet",
            version,
        ];
        let out = run(server.site, "openssl", &arguments, b"GET /hello HTTP/1.1\r\nHost: me\r\n\r\n");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(text.contains("GET /hello me 0"), "{text}{}", String::from_utf8_lossy(&out.stderr));
    }
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\xff\xff\x01", &[0xff; 5000], b"\x16\x03\x01\0\0", b""]
    {
        let mut stream = TcpStream::connect(&*address).expect("a connection");
        // The node may have closed before all of it was written.
        let _ = stream.write_all(garbage);
    }
    server.node.wait_for("stdout", "no handshake:");
    assert!(server.curl(&["--cacert", "ca.pem"], "https", "/after").contains("/after"));
    server.stop();
}

#[test]
#[ignore = "needs what .ci/programs installs"]
fn nc_gets_its_lines_back() {
    let server = Server::start("");
    let port = server.port("lines").to_string();
    let out = run(server.site, "nc", &["-N", "127.0.0.1", &port], b"hello\nworld\nhalf");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "HELLO\nWORLD\n");
    server.stop();
}

#[test]
#[ignore = "needs what .ci/programs installs"]
fn wrk_finds_no_errors() {
    let server = Server::start("");
    let url = format!("http://127.0.0.1:{}/hello", server.port("http"));
    let text = server.run("wrk", &["-t1", "-c16", "-d1s", "-H", "Connection: close", &url]);
    assert!(text.contains("requests in"), "{text}");
    // The server closes after each response, which wrk counts as an error of reading.
    let fine =
        !text.contains("Socket errors") || text.contains("connect 0,") && text.contains("write 0, timeout 0");
    assert!(fine && !text.contains("Non-2xx"), "{text}");
    server.stop();
}

#[test]
#[ignore = "needs what .ci/programs installs"]
fn pythons_clients_are_content() {
    let server = Server::start("");
    let (http, https) = (server.port("http").to_string(), server.port("https").to_string());
    assert_eq!(server.run("python3", &["client.py", &http, &https]), "python is content\n");
    server.stop();
}

#[test]
#[ignore = "needs what .ci/programs installs"]
fn a_node_fetches_from_python_and_openssl() {
    let server = Server::start("ssl_cafile = 'ca.pem'");
    let port = free_port();
    let text = port.to_string();
    let python =
        Helper::start(server.site, "python3", &["-m", "http.server", &text, "--bind", "127.0.0.1"], port);
    server.site.write("file", "by python\n");
    let path = format!("/fetch?host=127.0.0.1:{port}&path=/file");
    assert_eq!(server.curl(&[], "http", &path), "200 by python\n");
    drop(python);
    let port = free_port();
    let text = port.to_string();
    let arguments = ["s_server", "-accept", &text, "-cert", "server.pem", "-key", "server.key", "-WWW"];
    let openssl = Helper::start(server.site, "openssl", &arguments, port);
    let fetch =
        |host: &str| server.curl(&[], "http", &format!("/fetch?host=https://{host}:{port}&path=/file"));
    assert_eq!(fetch("localhost"), "200 by python\n");
    // The certificate says 127.0.0.1 and localhost; this name leads there as well.
    let refused = fetch("127.0.0.2");
    assert!(refused.starts_with("failed: ") && refused.contains("certificate"), "{refused}");
    drop(openssl);
    assert_eq!(server.curl(&[], "http", "/wss"), "true true");
    server.stop();
}

#[test]
#[ignore = "needs what .ci/programs installs"]
fn an_unknown_authority_is_refused_unless_told_otherwise() {
    let start = |more| {
        let server = Server::start(more);
        let port = free_port();
        let text = port.to_string();
        let arguments = ["s_server", "-accept", &text, "-cert", "server.pem", "-key", "server.key", "-WWW"];
        let openssl = Helper::start(server.site, "openssl", &arguments, port);
        server.site.write("file", "over tls\n");
        let answer = server.curl(&[], "http", &format!("/fetch?host=https://localhost:{port}&path=/file"));
        drop(openssl);
        server.stop();
        answer
    };
    let refused = start("");
    assert!(refused.starts_with("failed: ") && refused.contains("UnknownIssuer"), "{refused}");
    assert_eq!(start("ssl_verify = false"), "200 over tls\n");
}

#[test]
#[ignore = "needs what .ci/programs installs"]
fn redis_answers_over_one_connection() {
    let server = Server::start("");
    let port = free_port();
    let text = port.to_string();
    let redis = Helper::start(
        server.site,
        "redis-server",
        &["--port", &text, "--bind", "127.0.0.1", "--save", ""],
        port,
    );
    assert_eq!(
        server.curl(&[], "http", &format!("/redis?port={port}")),
        "OK 100 100000 false unknown command"
    );
    drop(redis);
    server.stop();
}
