//! Layout version 1, byte by byte: what this crate writes is what the golden file holds, and it reads that.
//!
//! A change that fails here is a new [`VERSION`](crate::layout::VERSION), with a golden file of its own. `SKEIN_GOLDEN=write` makes it.

use std::{fs, fs::File, os::unix::fs::FileExt, path::Path};

use super::{Directory, DomainBlock, Part, Slot, superblock::HeapBlock};
use crate::{
    Header,
    layout::{BUILD, Entry, PAGE, Shape, Span},
    map::{Identity, Tables, build_of},
    range,
    sync::atomic::Ordering::*,
};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/layout_v1.bin");

/// Page-table entries and bytes of a header that the golden file has.
const ENTRIES: usize = 32;
const SHAPE: Shape = Shape::of((1 << range::HEAP_BITS) / PAGE);

fn block() -> DomainBlock {
    let (id, seed) = (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
    DomainBlock { build: build_of(7), id, seed, made_ns: 1_795_431_464_943_635_693, pid: 4711, uid: 1000 }
}

/// The parts of a tables file that the golden file has, and where.
fn parts() -> [(usize, usize); 3] {
    [(0, PAGE), (SHAPE.page_table, ENTRIES * 4), (SHAPE.span_table, size_of::<Span>())]
}

/// Tables with a span and a large block, by this crate.
fn written(directory: &Path) -> Vec<u8> {
    let file =
        File::options().read(true).write(true).create_new(true).open(directory.join("written")).unwrap();
    let DomainBlock { build, id: domain, .. } = block();
    let identity = Identity { build, domain, incarnation: 0x1122_3344_5566_7788, taken_ns: 99, pid: 815 };
    let tables = Tables::create(&file, 1, SHAPE.pages, identity).unwrap();
    crate::map::promise(&file, 0, SHAPE.span_table + PAGE).unwrap();
    tables.set_committed(300);
    for page in 0..16 {
        tables.set(page, Entry::Span(0));
    }
    tables.set(20, Entry::Large(5));
    let span = tables.span(0);
    for (at, value) in
        [(&span.class, 3), (&span.carved, 70), (&span.free_len, 2), (&span.birth, 9), (&span.newest, 11)]
    {
        at.store(value, Relaxed);
    }
    span.free[1].store(0b11_0000, Relaxed);
    let counters = tables.counters();
    for (at, value) in [
        (&counters.limit_pages, 1 << 20),
        (&counters.used_pages, 21),
        (&counters.large_blocks, 1),
        (&counters.large_pages, 5),
        (&counters.span_entries, 1),
        (&counters.classes[3].out, 68),
        (&counters.classes[3].spans, 1),
    ] {
        at.store(value, Relaxed);
    }
    let mut bytes = block().to_bytes();
    for (offset, size) in parts() {
        let mut part = vec![0; size];
        file.read_exact_at(&mut part, offset as u64).unwrap();
        bytes.extend(part);
    }
    let header = Header::free(3, 9);
    header.begin(100, 3, crate::Kind::Bytes);
    // SAFETY: a header is 32 bytes without padding, all of them written.
    bytes.extend(unsafe { std::slice::from_raw_parts((&raw const header).cast::<u8>(), Header::SIZE) });
    bytes
}

#[test]
fn version_one_is_written_bit_for_bit() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = written(directory.path());
    if std::env::var("SKEIN_GOLDEN").is_ok_and(|it| it == "write") {
        fs::write(GOLDEN, &bytes).unwrap();
    }
    let golden = fs::read(GOLDEN).unwrap();
    let differs = bytes.iter().zip(&golden).position(|(ours, theirs)| ours != theirs);
    assert_eq!(differs, None, "the first byte that differs; the build hash is {BUILD:#x}");
    assert_eq!(bytes.len(), golden.len());
}

#[test]
fn version_one_is_read() {
    let golden = fs::read(GOLDEN).unwrap();
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("domain");
    let directory = Directory::open(&path, true).unwrap();
    let file = directory.create_file(DomainBlock::NAME).unwrap();
    file.write_all_at(&golden[..PAGE], 0).unwrap();
    let read = DomainBlock::read(&directory, Some(build_of(7))).unwrap();
    assert_eq!(read, block());

    let slot = Slot::new(1).unwrap();
    let file = directory.create_file(&Part::Tables.of(slot)).unwrap();
    file.set_len(SHAPE.size as u64).unwrap();
    let mut at = PAGE;
    for (offset, size) in parts() {
        file.write_all_at(&golden[at..at + size], offset as u64).unwrap();
        at += size;
    }
    let heap = HeapBlock::read(&file, &path, slot, &read).unwrap();
    assert_eq!((heap.shape, heap.life, heap.pid, heap.taken_ns), (SHAPE, 0x1122_3344_5566_7788, 815, 99));
    let tables = Tables::of_peer(&file, heap.shape).unwrap();
    assert_eq!(
        (tables.committed(), tables.entry(15), tables.entry(16)),
        (300, Entry::Span(0), Entry::Nothing)
    );
    assert_eq!((tables.entry(20), tables.span(0).carved.load(Relaxed)), (Entry::Large(5), 70));
    let stats = crate::Stats::of(&tables);
    assert_eq!((stats.live_blocks, stats.used_bytes, stats.large_bytes), (69, 21 * 4096, 5 * 4096));
    // The header: one owner of generation 9, 100 bytes, class 3, bytes.
    let word = |at: usize| u64::from_le_bytes(golden[at..at + 8].try_into().unwrap());
    assert_eq!((word(at), word(at + 8), golden.len()), (9 << 32 | 1, 3 << 32 | 100, at + 32));
}
