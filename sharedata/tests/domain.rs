//! Tables of a domain, between processes: who publishes, who reads, who is refused, what is removed.

#[macro_use]
#[path = "../../arena/tests/common/mod.rs"]
mod common;
mod tables;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::{Child, directory};
use skein_arena::sync::Arc;
use skein_sharedata::{Error, Segment, Tables};
use tables::{MACHINE, alone, mark, open, options, publish};

roles! {
    "publisher" => |path| {
        publish(&open(path), "items", 7, 100_000);
        common::say("done");
        common::wait();
    },
    "reader" => |path| {
        let tables = open(path);
        let segment = tables.current("items").unwrap().unwrap();
        common::say(&format!("{} {}", segment.version(), mark(&segment)));
        common::wait();
        common::say(&mark(&segment).to_string());
        common::wait();
        drop(segment);
        common::say("dropped");
        common::wait();
    },
}

/// The files of segments, by name.
fn segments(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(path.join("tables"))
        .unwrap()
        .map(|it| it.unwrap().path())
        .filter(|it| it.file_name().unwrap().to_string_lossy().starts_with("segment."))
        .collect();
    found.sort();
    found
}

#[test]
fn a_table_is_found_by_a_process_that_started_first() {
    let (_alone, path) = (alone(), directory().join("domain"));
    let tables = open(&path);
    assert!(tables.current("items").unwrap().is_none());
    let watch = tables.watch().unwrap();
    let mut child = Child::start("publisher", &path);
    child.line();
    let mut events = [0; 4096];
    assert!(rustix::io::read(&watch, &mut events).unwrap() > 0, "the watch says that something is new");
    let segment = tables.current("items").unwrap().unwrap();
    assert_eq!((segment.name(), segment.version(), mark(&segment)), ("items", 1, 7));
    // Whoever published it, dead or not.
    child.kill();
    assert_eq!(mark(&segment), 7);
    let again = tables.current("items").unwrap().unwrap();
    assert!(Arc::ptr_eq(&segment, &again), "mapped once for the process");
    let list = tables.list().unwrap();
    assert_eq!((list.len(), list[0].name.as_str(), list[0].version), (1, "items", 1));
    assert_eq!(list[0].readers, [std::process::id()]);
}

#[test]
fn a_version_stays_until_its_last_reader_is_done() {
    let (_alone, path) = (alone(), directory().join("domain"));
    let tables = open(&path);
    let first = publish(&tables, "items", 1, 1000);
    let mut reader = Child::start("reader", &path);
    assert_eq!(reader.line(), "1 1");
    let second = publish(&tables, "items", 2, 1000);
    assert_eq!((second.version(), segments(&path).len()), (2, 2));
    drop(first);
    assert_eq!(segments(&path).len(), 2, "the reader has it");
    let old = tables.others().unwrap();
    assert_eq!((old.len(), old[0].finished, old[0].readers.clone()), (1, true, vec![reader.id()]));
    reader.go();
    assert_eq!(reader.line(), "1");
    reader.go();
    assert_eq!(reader.line(), "dropped");
    assert_eq!(segments(&path).len(), 1, "the last reader took it along");
    assert_eq!(tables.others().unwrap(), []);
    drop(second);
    assert_eq!(segments(&path).len(), 1, "the current version needs no reader");
    assert_eq!(mark(&tables.current("items").unwrap().unwrap()), 2);
    reader.go();
    reader.end();
}

#[test]
fn what_a_dead_reader_held_is_swept() {
    let (_alone, path) = (alone(), directory().join("domain"));
    let tables = open(&path);
    drop(publish(&tables, "items", 1, 1000));
    let mut reader = Child::start("reader", &path);
    reader.line();
    drop(publish(&tables, "items", 2, 1000));
    assert_eq!(segments(&path).len(), 2);
    reader.kill();
    assert_eq!(tables.sweep().unwrap(), 1);
    assert_eq!(segments(&path).len(), 1);
    assert!(tables.remove("items").unwrap() && !tables.remove("items").unwrap());
    assert_eq!(segments(&path).len(), 0);
    assert!(tables.current("items").unwrap().is_none());
}

/// Why the table `items` cannot be opened.
fn refusal(tables: &Arc<Tables>) -> String {
    match tables.current("items") {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_segment_of_another_build_is_refused() {
    let (_alone, path) = (alone(), directory().join("domain"));
    drop(publish(&open(&path), "items", 1, 1000));
    let other = Tables::open(&options(&path), MACHINE + 1).unwrap();
    let text = refusal(&other);
    assert!(
        text.ends_with("was made by another build: the virtual machine is 0x1234 there and 0x1235 here"),
        "{text}"
    );
}

#[test]
fn any_altered_byte_and_any_cut_is_refused() {
    let (_alone, path) = (alone(), directory().join("domain"));
    let tables = open(&path);
    drop(publish(&tables, "items", 1, 3000));
    let file = &segments(&path)[0];
    let whole = fs::read(file).unwrap();
    let write = |bytes: &[u8]| {
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(file, bytes).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o400)).unwrap();
    };
    for at in (0..256).chain((256..256 + 3000).step_by(97)) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        write(&bytes);
        let text = refusal(&tables);
        assert!(text.contains("is damaged") || text.contains("another build"), "byte {at}: {text}");
    }
    for len in [0, 1, 100, 255, 256, 4096, whole.len() - 1] {
        write(&whole[..len]);
        let text = refusal(&tables);
        assert!(text.contains(&format!("it has {len} bytes, not {}", whole.len())), "{text}");
    }
    write(&[&whole[..], &[0]].concat());
    assert!(refusal(&tables).contains("bytes, not"));
    let (problems, count) = tables.check().unwrap();
    assert_eq!((problems.len(), count), (1, 1));
    write(&whole);
    assert_eq!(mark(&tables.current("items").unwrap().unwrap()), 1);
    assert_eq!(tables.check().unwrap().0.len(), 0);
}

#[test]
fn a_file_that_somebody_could_write_or_that_is_a_link_is_refused() {
    let (_alone, path) = (alone(), directory().join("domain"));
    let tables = open(&path);
    drop(publish(&tables, "items", 1, 1000));
    let file = segments(&path).remove(0);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refusal(&tables).ends_with("has mode 0644, not 0400"), "{}", refusal(&tables));
    let aside = path.join("aside");
    fs::rename(&file, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &file).unwrap();
    assert!(refusal(&tables).contains("is a symbolic link, not a file"));
    fs::remove_file(&file).unwrap();
    assert!(refusal(&tables).ends_with("is damaged: it is gone"), "{}", refusal(&tables));
}

#[test]
fn another_users_file_and_folder_are_refused() {
    // Only root can make a file another user's.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (_alone, path) = (alone(), directory().join("domain"));
    let tables = open(&path);
    drop(publish(&tables, "items", 1, 1000));
    let file = segments(&path).remove(0);
    let give = |path: &Path, uid| std::os::unix::fs::chown(path, Some(uid), None).unwrap();
    give(&file, 12345);
    assert!(refusal(&tables).ends_with("belongs to user 12345, not to 0"));
    give(&file, 0);
    for it in [path.join("tables/catalogue"), path.join("tables"), path.clone()] {
        give(&it, 12345);
        let opened = Tables::open(&options(&path), MACHINE).and_then(|it| it.current("items"));
        let text = opened.err().map(|it| it.to_string());
        assert!(
            text.as_deref().is_some_and(|it| it.ends_with("belongs to user 12345, not to 0")),
            "{text:?}"
        );
        give(&it, 0);
    }
}

#[test]
fn a_damaged_catalogue_is_an_error_and_nothing_is_published_over_it() {
    let (_alone, path) = (alone(), directory().join("domain"));
    let tables = open(&path);
    drop(publish(&tables, "items", 1, 1000));
    let file = fs::File::options().write(true).open(path.join("tables/catalogue")).unwrap();
    file.write_all_at(b"X", 70).unwrap();
    // A process that read it before goes on with what it read: only a new catalogue is read again.
    let tables = open(&path);
    assert!(refusal(&tables).ends_with("is damaged: its sum is wrong: it was altered"));
    assert!(matches!(tables.draft(), Err(Error::Damaged { .. })));
}

#[test]
fn names_that_are_none_are_refused() {
    let (_alone, tables) = (alone(), open(&directory().join("domain")));
    for name in ["", "a\0b", &"x".repeat(128)] {
        let text = tables::try_publish(&tables, name, 1, 1000).unwrap_err().to_string();
        assert!(text.starts_with("a shared table of a domain cannot be called"), "{text}");
    }
    assert_eq!(tables.list().unwrap().len(), 0);
    drop(tables::try_publish(&tables, &"x".repeat(127), 1, 1000).unwrap());
    assert_eq!(tables.list().unwrap().len(), 1);
}

#[test]
fn a_draft_that_is_dropped_leaves_nothing() {
    let (_alone, path) = (alone(), directory().join("domain"));
    let tables = open(&path);
    let mut draft = tables.draft().unwrap();
    draft.grow(5 << 20).unwrap();
    assert_eq!(segments(&path).len(), 1);
    assert_eq!(tables.sweep().unwrap(), 0, "who fills it lives");
    drop(draft);
    assert_eq!(segments(&path).len(), 0);
}

#[test]
fn addresses_go_round_and_are_never_those_of_a_segment_that_is_read() {
    let (_alone, path) = (alone(), directory().join("domain"));
    let tables = open(&path);
    let mut kept: Vec<Arc<Segment>> = Vec::new();
    for round in 0..400 {
        let segment = publish(&tables, &format!("table {}", round % 7), round, 500);
        let (base, end) = segment.span();
        assert!(kept.iter().all(|it| it.span().1 <= base || end <= it.span().0));
        if round % 50 == 0 {
            kept.push(segment);
        }
    }
    for (round, segment) in kept.iter().enumerate() {
        assert_eq!(mark(segment), round as u64 * 50);
    }
    assert_eq!(segments(&path).len(), 7 + kept.len());
}

#[test]
fn threads_that_open_and_drop_the_same_table_meet_no_gap() {
    let (_alone, path) = (alone(), directory().join("domain"));
    let tables = open(&path);
    drop(publish(&tables, "items", 3, 1000));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let segment = tables.current("items").unwrap().unwrap();
                    assert_eq!(mark(&segment), 3);
                }
            });
        }
    });
    assert_eq!(tables.list().unwrap()[0].readers, Vec::<u32>::new());
}
