//! Files of a domain that are not what they have to be, and a file system without room: each an error that says so, and
//! nothing changed.

#[macro_use]
mod common;

use std::{
    env, fs,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use common::{Child, directory};
use skein_arena::{Domain, DomainError, DomainOptions, Error, Slot, check, domain};

/// A hash that an embedder adds.
const BUILD: &str = "SKEIN_TEST_BUILD";

roles! {
    "holder" => holder,
    "opener" => opener,
    "full" => full,
    "short of files" => short_of_files,
}

/// Has a small and a large block, and leaves when it is told.
fn holder(path: &Path) {
    let domain = Domain::open(&DomainOptions::in_directory(path)).unwrap();
    let small = domain.arena().copy_from(b"still here").unwrap();
    let large = domain.arena().alloc(100_000).unwrap();
    common::say(&format!("{} {}", small.as_ptr().addr(), large.as_ptr().addr()));
    common::wait();
    assert_eq!(&small[..], b"still here");
    domain.leave().unwrap();
}

/// Says what comes of opening, and of mapping slot 1.
fn opener(path: &Path) {
    let build = env::var(BUILD).map_or(0, |it| it.parse().unwrap());
    let options = DomainOptions::in_directory(path).build(build).patience(Duration::from_millis(50));
    let domain = match Domain::open(&options) {
        Ok(domain) => domain,
        Err(error) => return common::say(&format!("open: {error} / {error:?}")),
    };
    match domain.peer(Slot::new(1).unwrap()) {
        Err(error) => {
            common::say(&format!("peer: {error} / {error:?}"));
            // Leaving reads the same file.
            let _ = domain.leave();
        }
        Ok(_) => {
            common::say("fine");
            domain.leave().unwrap();
        }
    }
}

/// What a new process says about the domain.
fn opened(path: &Path) -> String {
    let mut opener = Child::start("opener", path);
    let said = opener.line();
    opener.end();
    said
}

/// A field of a file: where it is, and what an error calls it.
struct Place(&'static str, u64, &'static str);

const FIELDS: [Place; 24] = [
    Place("domain", 0, "Magic"),
    Place("domain", 8, "Version"),
    Place("domain", 12, "Slots"),
    Place("domain", 16, "Base"),
    Place("domain", 24, "Bits"),
    Place("domain", 28, "Bits"),
    Place("domain", 32, "Build"),
    Place("domain", 40, "Control"),
    // Which id is right nobody knows; the tables of others have another.
    Place("domain", 48, "Domain"),
    Place("tables.001", 0, "Magic"),
    Place("tables.001", 8, "Version"),
    Place("tables.001", 12, "Heap"),
    Place("tables.001", 16, "Base"),
    Place("tables.001", 24, "Pages"),
    Place("tables.001", 28, "Spans"),
    Place("tables.001", 32, "PageTable"),
    Place("tables.001", 40, "SpanTable"),
    Place("tables.001", 48, "Build"),
    Place("tables.001", 56, "Domain"),
    Place("tables.001", 84, "State"),
    Place("tables.001", 91, "Committed"),
    Place("tables.001", 92, "Classes"),
    Place("tables.001", 96, "MagazineTable"),
    Place("tables.001", 104, "Magazines"),
];

#[test]
fn each_field_of_a_file_is_compared() {
    let path = directory().join("domain");
    let mut holder = Child::start("holder", &path);
    holder.line();
    assert_eq!(opened(&path), "fine");
    let files = || -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(&path).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let before = files();
    for Place(name, offset, field) in FIELDS {
        let file = fs::File::options().read(true).write(true).open(path.join(name)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 0x55], offset).unwrap();
        let said = opened(&path);
        let checked = check::check(&path);
        file.write_all_at(&byte, offset).unwrap();
        // Other numbers of pages mean other places for what comes behind.
        let named =
            said.contains(&format!("field: {field}")) || field == "Pages" && said.contains("Mismatch");
        let file = format!("file: {:?}", path.join(if field == "Domain" { "tables.001" } else { name }));
        assert!(named && said.contains("Mismatch") && said.contains(&file), "{name}, {field}: {said}");
        match checked {
            Err(DomainError::Mismatch { .. }) => {}
            Ok(report) => assert!(report.problems.len() == 1, "{name}, {field}: {:?}", report.problems),
            Err(other) => panic!("{name}, {field}: {other}"),
        }
        assert_eq!(files(), before, "{name}, {field}");
    }
    // Nothing was lost.
    assert_eq!(opened(&path), "fine");
    holder.go();
    holder.end();
}

#[test]
fn a_file_that_was_cut_off_is_an_error() {
    let path = directory().join("domain");
    let mut holder = Child::start("holder", &path);
    holder.line();
    holder.kill();
    for (name, lengths) in [
        ("domain", &[0, 100, 4095][..]),
        ("doorbells", &[0, 4096]),
        ("tables.001", &[0, 80, 4095, 4096, 1 << 20]),
        ("heap.001", &[0, 4096]),
        ("control.001", &[0, 4096]),
    ] {
        let at = path.join(name);
        let whole = fs::read(&at).ok().filter(|it| it.len() < 1 << 20);
        let length = fs::metadata(&at).unwrap().len();
        for &cut in lengths {
            let saved = path.with_extension("saved");
            fs::rename(&at, &saved).unwrap();
            let mut bytes = vec![0; cut];
            fs::File::open(&saved).unwrap().read_exact_at(&mut bytes, 0).unwrap();
            fs::write(&at, &bytes).unwrap();
            fs::set_permissions(&at, fs::Permissions::from_mode(0o600)).unwrap();
            let checked = check::check(&path);
            if ["domain", "doorbells"].contains(&name) {
                let said = opened(&path);
                assert!(said.contains("Length") && said.contains(name), "{name} cut to {cut}: {said}");
            }
            match checked {
                Err(DomainError::Length { found, .. }) => assert_eq!(found, cut as u64),
                Err(other) => panic!("{name} cut to {cut}: {other}"),
                // Tables that end before their state were never finished; so were a control file and a heap without them.
                Ok(report) if name == "tables.001" && cut < 88 => {
                    assert_eq!(report.slots[0].state, check::SlotState::Unfinished);
                }
                Ok(report) => assert!(!report.problems.is_empty(), "{name} cut to {cut}: {report:?}"),
            }
            fs::rename(&saved, &at).unwrap();
            assert_eq!(fs::metadata(&at).unwrap().len(), length);
        }
        assert!(whole.is_none_or(|it| fs::read(&at).unwrap() == it));
    }
    assert!(check::check(&path).unwrap().problems.is_empty());
}

#[test]
fn a_directory_that_is_not_ours_alone_is_refused() {
    let base = directory();
    let path = base.join("domain");
    let mut holder = Child::start("holder", &path);
    holder.line();

    let link = base.join("link");
    symlink(&path, &link).unwrap();
    let said = opened(&link);
    assert!(said.contains(r#"FileType"#) && said.contains(r#"found: "symbolic link""#), "{said}");
    let file = base.join("file");
    fs::write(&file, "not a directory").unwrap();
    assert!(opened(&file).contains(r#"found: "file", expected: "directory""#));
    assert_eq!(fs::read(&file).unwrap(), b"not a directory");

    let mode = |at: &Path, mode| fs::set_permissions(at, fs::Permissions::from_mode(mode)).unwrap();
    for (name, right, wrong) in [("", 0o700, 0o755), ("domain", 0o600, 0o644), ("tables.001", 0o600, 0o660)] {
        let at = path.join(name);
        mode(&at, wrong);
        let said = opened(&path);
        mode(&at, right);
        assert!(said.contains("Mode") && said.contains(&format!("{wrong:04o}, not {right:04o}")), "{said}");
    }
    for name in ["heap.001", "control.001"] {
        let at = path.join(name);
        let away = base.join("away");
        fs::rename(&at, &away).unwrap();
        symlink(&away, &at).unwrap();
        let said = opened(&path);
        fs::remove_file(&at).unwrap();
        fs::rename(&away, &at).unwrap();
        assert!(said.contains(r#"found: "symbolic link", expected: "file""#), "{name}: {said}");
    }
    // Only the superuser gives files away, and continuous integration is one.
    if rustix::process::geteuid().is_root() {
        for name in ["", "domain", "lock.001"] {
            let at = path.join(name);
            std::os::unix::fs::chown(&at, Some(12345), None).unwrap();
            let said = opened(&path);
            std::os::unix::fs::chown(&at, Some(0), None).unwrap();
            assert!(said.contains("belongs to user 12345, not to 0"), "{name}: {said}");
        }
    }
    assert_eq!(opened(&path), "fine");
    holder.go();
    holder.end();
}

#[test]
fn processes_of_different_builds_do_not_meet() {
    let path = directory().join("domain");
    let mut holder = Child::start("holder", &path);
    holder.line();
    let mut other = Child::start_with("opener", &path, &[(BUILD, "77")]);
    let said = other.line();
    other.end();
    assert!(
        said.contains("field: Build") && said.contains("/domain is not ours to use: the build hash is"),
        "{said}"
    );
    holder.go();
    holder.end();
}

#[test]
fn who_waits_for_a_stopped_process_waits_no_longer_than_asked() {
    let path = directory().join("domain");
    let mut holder = Child::start("holder", &path);
    holder.line();
    let locked = fs::File::open(&path).unwrap();
    rustix::fs::flock(&locked, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let said = opened(&path);
    assert!(said.contains("was not let go for 50ms"), "{said}");
    assert!(matches!(
        domain::sweep(&path, Duration::from_millis(10)),
        Err(DomainError::Busy { waited, .. }) if waited == Duration::from_millis(10)
    ));
    drop(locked);
    holder.go();
    holder.end();
}

/// Fills a file system of 8 MiB.
fn full(path: &Path) {
    let domain = Domain::open(&DomainOptions::in_directory(path)).unwrap();
    let mut blocks = Vec::new();
    let error = loop {
        match domain.arena().alloc(100_000) {
            Ok(mut block) => {
                // If there were no memory behind it, this would be a signal.
                block.bytes_mut().unwrap().fill(blocks.len() as u8);
                blocks.push(block);
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::SharedFull { .. }), "{error:?}");
    assert!(blocks.len() > 20, "{} blocks", blocks.len());
    for size in [10, 1000, 10_000] {
        loop {
            match domain.arena().alloc(size) {
                Ok(mut block) => {
                    block.bytes_mut().unwrap().fill(9);
                    blocks.push(block);
                }
                Err(error) => break assert!(matches!(error, Error::SharedFull { .. }), "{error:?}"),
            }
        }
    }
    assert!(blocks.iter().take(20).enumerate().all(|(at, it)| it.iter().all(|&byte| byte == at as u8)));
    // A second process does not fit either, and leaves nothing.
    let names = || fs::read_dir(path).unwrap().count();
    let before = names();
    let said = opened(path);
    assert!(said.contains("SharedFull"), "{said}");
    assert_eq!(names(), before);
    // What is given back can be used again, by anybody.
    blocks.clear();
    domain.arena().trim();
    assert_eq!(opened(path), "fine");
    for _ in 0..20 {
        let mut block = domain.arena().alloc(100_000).unwrap();
        block.bytes_mut().unwrap().fill(1);
        blocks.push(block);
    }
    drop(blocks);
    assert!(check::check(path).unwrap().problems.is_empty());
    domain.leave().unwrap();
}

#[test]
fn a_full_file_system_is_an_error_and_no_signal() {
    if !rustix::process::geteuid().is_root() {
        // Who may not mount has a file system of 1 TiB, say, that nobody fills: the limit on files says the same.
        return a_limit_on_files_is_an_error_and_no_signal();
    }
    let path = directory();
    // A mount of its own, which goes with the process.
    let script = format!("mount -t tmpfs -o size=8m,mode=700 skein {} && exec \"$0\" \"$@\"", path.display());
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .arg(env::current_exe().unwrap());
    Child::start_by(command, "full", &path.join("domain"), &[]).end();
}

/// The process may make no file as long as the heap would have to be.
fn short_of_files(path: &Path) {
    let domain = Domain::open(&DomainOptions::in_directory(path)).unwrap();
    let error = domain.arena().alloc(600 << 20).unwrap_err();
    assert!(matches!(error, Error::SharedFull { .. }), "{error:?}");
    drop(domain.arena().alloc(1000).unwrap());
    domain.leave().unwrap();
}

#[test]
fn a_limit_on_files_is_an_error_and_no_signal() {
    // There a heap is shorter than what the limit leaves.
    if skein_arena::range::SMALL {
        return;
    }
    let path: PathBuf = directory().join("domain");
    // In units of 512 bytes or of 1 KiB, as the shell likes: more than the tables, less than the block.
    let mut command = Command::new("bash");
    command.args(["-c", "ulimit -f 512000; exec \"$0\" \"$@\""]).arg(env::current_exe().unwrap());
    Child::start_by(command, "short of files", &path, &[]).end();
    // Less than the tables: no slot, and nothing left of it.
    let mut command = Command::new("bash");
    command.args(["-c", "ulimit -f 1000; exec \"$0\" \"$@\""]).arg(env::current_exe().unwrap());
    let mut opener = Child::start_by(command, "opener", &path, &[]);
    let said = opener.line();
    opener.end();
    assert!(said.contains("SharedFull"), "{said}");
    assert!(fs::read_dir(&path).unwrap().all(|it| it.unwrap().metadata().unwrap().size() <= 16384));
}
