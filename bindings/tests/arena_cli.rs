//! `skein arena` on the domain of a process that was killed.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use skein_arena::{Domain, DomainOptions};

const PATH: &str = "SKEIN_ARENA_CLI_TEST";

#[test]
#[ignore = "run by the others, in a process of its own"]
fn child() {
    let Some(path) = env::var_os(PATH).map(PathBuf::from) else { return };
    let domain = Domain::open(&DomainOptions::in_directory(path)).unwrap();
    let blocks: Vec<_> = (0..50).map(|_| domain.arena().copy_from(&[1; 100]).unwrap()).collect();
    println!("\nready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    drop(blocks);
}

/// Status and output of `skein arena WHAT PATH`.
fn arena(what: &str, path: &Path) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_skein")).args(["arena", what]).arg(path).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn the_domain_of_a_dead_process_is_listed_checked_and_swept() {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = base.path().join("domain");
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "child"])
        .env(PATH, &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|it| it.unwrap() == "ready"));

    let (status, text) = arena("ls", &path);
    assert!(status == 0 && text.contains("   1  alive ") && text.contains(&child.id().to_string()), "{text}");
    assert_eq!(arena("sweep", &path), (0, String::new()), "nobody is dead");
    child.kill().unwrap();
    child.wait().unwrap();

    assert_eq!(arena("check", &path), (0, "slot   1: dead, 50 blocks with owners\nno problems\n".to_owned()));
    let (status, text) = arena("stats", &path);
    assert!(
        status == 0 && text.contains("slot 1: dead") && text.contains("         160         50"),
        "{text}"
    );

    // A byte in the header of the first block: its class.
    let heap = fs::File::options().write(true).open(path.join("heap.001")).unwrap();
    heap.write_all_at(&[0x33], 12).unwrap();
    let (status, text) = arena("check", &path);
    assert!(status == 1 && text.contains("heap.001: block 0 of span 0 has class 51"), "{text}");
    assert!(text.ends_with("\n1 problem\n"), "{text}");

    let (status, text) = arena("sweep", &path);
    assert!(status == 0 && text.starts_with("slot 1: removed, 50 blocks of process"), "{text}");
    assert_eq!(arena("check", &path), (0, "no problems\n".to_owned()));

    let (status, text) = arena("check", &base.path().join("elsewhere"));
    assert!(status == 1 && text.starts_with("skein arena check: could not open "), "{text}");
    assert!(text.ends_with(": No such file or directory (os error 2)\n"), "{text}");
}

#[test]
fn a_domain_is_named_as_in_a_config() {
    let arena = |domain: &str| arena("ls", Path::new(domain));
    let name = format!("nobody-{}", std::process::id());
    let (status, text) = arena(&name);
    assert!(status == 1 && text.contains("/dev/shm/skein-"), "{text}");
    assert!(text.contains(&format!("-{name}: No such file or directory")), "{text}");
    let (status, text) = arena("no body");
    assert!(status == 1 && text.contains("\"no body\""), "{text}");
}
