//! The files of a domain's tables with bytes altered, cut off or added, with and without sums that fit: a table that is whole, or an
//! error that says why not; then the domain as it was, and its table again.
//!
//! The first byte says which file, and whether its sum is made to fit; the second what is done to its length; each three that follow
//! are a distance and what is xored there.
#![no_main]

use std::cell::OnceCell;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::slice;

use libfuzzer_sys::fuzz_target;
use skein_arena::DomainOptions;
use skein_sharedata::segment::{Contents, HEADER};
use skein_sharedata::{Error, Segment, Tables};

const MACHINE: u64 = 7;
const NAME: &str = "items";
/// Bytes before the entries of a catalogue.
const HEAD: usize = 64;

/// A domain with one table, and what its files have to be.
struct Kept {
    domain: PathBuf,
    /// Each with what it contains, and its mode.
    files: [(PathBuf, Vec<u8>, u32); 3],
    _place: tempfile::TempDir,
}

fn state() -> Kept {
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let domain = place.path().join("domain");
    let tables = open(&domain).unwrap();
    let draft = tables.draft().unwrap();
    let used = 4000;
    for at in 0..used / 8 {
        // SAFETY: a new draft has room for more.
        unsafe { draft.start().cast::<usize>().add(at).write(at * at) };
    }
    let root = draft.start().addr();
    drop(draft.publish(NAME, Contents { used, root, tables: 1, strings: 0 }).unwrap());
    let folder = tables.path();
    let names = fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    let segment = names.into_iter().find(|it| it.starts_with("segment.")).unwrap();
    let file = |name: &str, mode| (folder.join(name), fs::read(folder.join(name)).unwrap(), mode);
    let files = [file("catalogue", 0o600), file(&segment, 0o400), file("leases", 0o600)];
    Kept { domain, files, _place: place }
}

fn open(domain: &Path) -> Result<std::sync::Arc<Tables>, Error> {
    Tables::open(&DomainOptions::in_directory(domain), MACHINE)
}

fn put(path: &Path, bytes: &[u8], mode: u32) {
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// As docs/share-layout.md has it.
fn sum(bytes: &[u8]) -> u64 {
    let mix = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let mut sums = [1, 2, 3, 4];
    for step in bytes.chunks(32) {
        let mut words = [0; 32];
        words[..step.len()].copy_from_slice(step);
        for (sum, word) in sums.iter_mut().zip(words.as_chunks().0) {
            *sum = mix(*sum, u64::from_le_bytes(*word));
        }
    }
    mix(sums.into_iter().fold(0, mix), bytes.len() as u64)
}

fn set(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

/// Alters a file as the input says. Its sum may fit afterwards; then only what is no content of the table was altered.
fn altered(input: &[u8], which: usize, sum_fits: bool, bytes: &mut Vec<u8>) {
    let [length, edits @ ..] = input else { return };
    match length {
        0..=99 => {}
        100..=199 => bytes.truncate(bytes.len() * usize::from(length - 100) / 100),
        200.. => bytes.resize(bytes.len() + usize::from(*length), 0),
    }
    let end = if which == 1 && sum_fits { HEADER.min(bytes.len()) } else { bytes.len() };
    for edit in edits.as_chunks().0 {
        let [low, high, change] = *edit;
        if let Some(byte) = bytes[..end].get_mut(usize::from(u16::from_le_bytes([low, high]))) {
            *byte ^= change;
        }
    }
    match which {
        0 if sum_fits && bytes.len() >= HEAD => {
            let sum = sum(&bytes[HEAD..]);
            set(bytes, 32, sum);
        }
        1 if sum_fits && bytes.len() >= HEADER => {
            let size = u64::from_le_bytes(bytes[32..40].try_into().unwrap()) as usize;
            let contents = bytes.get(HEADER..size).map_or(0, sum);
            set(bytes, 72, contents);
            let all = sum(&bytes[..HEADER]);
            set(bytes, 72, all);
        }
        _ => {}
    }
}

/// What is behind the header has to be what was published.
fn check(segment: &Segment, published: &[u8]) {
    let len = segment.header().size as usize;
    let first = std::ptr::with_exposed_provenance::<u8>(segment.span().0);
    // SAFETY: the segment is mapped while it is borrowed, with this size, and never written.
    let bytes = unsafe { slice::from_raw_parts(first, len) };
    assert!(len >= HEADER && bytes[HEADER..] == published[HEADER..len], "it was altered, and not refused");
    assert!(segment.contains(segment.root()) && segment.contains(segment.root() + 47));
}

fn use_all(tables: &std::sync::Arc<Tables>, published: &[u8]) {
    let said = |error: Error| assert!(!error.to_string().is_empty());
    match tables.current(NAME) {
        Ok(Some(segment)) => check(&segment, published),
        Ok(None) => {}
        Err(error) => said(error),
    }
    let _ = tables.names().map_err(said);
    let _ = tables.list().map_err(said);
    let _ = tables.others().map_err(said);
    if let Ok((problems, _)) = tables.check().map_err(said) {
        problems.into_iter().for_each(said);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&first, rest)) = input.split_first() else { return };
    thread_local!(static KEPT: OnceCell<Kept> = const { OnceCell::new() });
    KEPT.with(|it| try_one(it.get_or_init(state), first, rest));
});

fn try_one(kept: &Kept, first: u8, rest: &[u8]) {
    let which = usize::from(first % 3);
    let (path, bytes, mode) = &kept.files[which];
    let mut other = bytes.clone();
    altered(rest, which, first & 128 != 0, &mut other);
    put(path, &other, *mode);
    let published = &kept.files[1].1;
    if let Ok(tables) = open(&kept.domain) {
        use_all(&tables, published);
    }
    put(path, bytes, *mode);
    let segment = open(&kept.domain).unwrap().current(NAME).unwrap().unwrap();
    check(&segment, published);
}
