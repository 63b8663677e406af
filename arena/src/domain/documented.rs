//! docs/arena-layout.md says where each field lies, and that is where it lies.
//!
//! The rows of its tables are made here from the code, and have to be there, word for word.

use std::{fs, mem::offset_of};

use super::superblock::at;
use crate::{
    layout::{ClassCounters, Counters, Half, MOST_AT_HAND, Magazine, Magazines, Shelf, Span, Superblock},
    transfer::{Control, Ledger, RING, Receiving, Reclaim, Ring, Sending, TICKETS},
};

/// The first and the last byte of a field.
fn bytes(first: usize, size: usize) -> String {
    format!("{first}–{}", first + size - 1)
}

/// The bytes of a field.
fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// Where a field of a type lies.
macro_rules! field {
    ($type:ty, $field:tt) => {
        bytes(offset_of!($type, $field), size_of_field(|it: &$type| &it.$field))
    };
}

/// A row of a table: what, and where.
fn row(what: &str, fields: &[String]) -> String {
    format!("| {what} | {} |", fields.join(", "))
}

/// Where the fields of the n-th of many lie.
fn each(first: usize, size: usize) -> String {
    format!("{first} + {size} · n")
}

fn rows() -> Vec<String> {
    macro_rules! fields {
        ($what:literal, $type:ty: $($field:tt),+) => { row($what, &[$(field!($type, $field)),+]) };
    }
    let counters = offset_of!(Superblock, counters);
    let counter = |offset: usize| bytes(counters + offset, 8);
    macro_rules! counters {
        ($what:literal: $($field:ident),+) => { row($what, &[$(counter(offset_of!(Counters, $field))),+]) };
    }
    let reclaim = offset_of!(Control, reclaim);
    vec![
        fields!("magic `skein\\0ar`", Superblock: magic),
        fields!("version, heap", Superblock: version, heap),
        fields!("base address of the data", Superblock: base),
        fields!("pages, spans", Superblock: pages, spans),
        fields!("where the page table, where the span table begins", Superblock: page_table, span_table),
        fields!("in a domain: build hash, id of the domain", Superblock: build, domain),
        fields!("in a domain: life, when the slot was taken", Superblock: incarnation, taken_ns),
        fields!("in a domain: process, state (1: complete)", Superblock: pid, state),
        fields!("usable pages, size classes", Superblock: committed, classes),
        fields!("where the magazine table begins, its entries", Superblock: magazine_table, magazines),
        counters!("pages: limit, used, free and not given back": limit_pages, used_pages, retained_pages),
        counters!("large blocks, their pages": large_blocks, large_pages),
        counters!("entries ever used of the span table, of the magazine table": span_entries, magazine_entries),
        counters!("highest generation of a block whose pages were freed": newest),
        counters!("a bit for each class whose shelf may have something": shelved),
        row(
            "class n: blocks that are out or at hand (u64), spans (u64)",
            &[each(counters + offset_of!(Counters, classes), size_of::<ClassCounters>())],
        ),
        fields!("first page, class", Span: first, class),
        fields!("blocks whose header is written (`carved`), those of them that are free", Span: carved, free_len),
        fields!("neighbours in the list of its class", Span: before, after),
        fields!("generation it began with, highest that came back", Span: birth, newest),
        fields!("first word below with a bit", Span: hint),
        fields!("a bit for each block that is free here", Span: free),
        fields!("heap, by the upper bits of its addresses; place in the table", Magazines: heap, slot),
        fields!("class plus one of the block that was freed last, 0 for none; that block", Magazines: last_class, last),
        row(
            "class n: number of blocks (u32), how many were taken last (u32), their addresses",
            &[each(offset_of!(Magazines, by_class), size_of::<Magazine>())],
        ),
        row("magic `skein\\0dm`", &[bytes(at::MAGIC, 8)]),
        row("layout version, number of slots (254)", &[bytes(at::VERSION, 4), bytes(at::SLOTS, 4)]),
        row("base of the range", &[bytes(at::BASE, 8)]),
        row("bits of a heap, bits of the range", &[bytes(at::BITS, 4), bytes(at::BITS + 4, 4)]),
        row(
            "build hash: sizes, classes and addresses of this crate, and what the embedder adds",
            &[bytes(at::BUILD, 8)],
        ),
        row("bytes of a control file", &[bytes(at::CONTROL, 8)]),
        row("id of the domain, seed for hashes: random", &[bytes(at::ID, 8), bytes(at::SEED, 8)]),
        row("when it was made, in nanoseconds since 1970", &[bytes(at::MADE_NS, 8)]),
        row("who made it: process, user", &[bytes(at::PID, 4), bytes(at::UID, 4)]),
        fields!("its life", Control: life),
        row(
            "grace periods that have ended, pieces that wait",
            &[
                bytes(reclaim + offset_of!(Reclaim, periods), 8),
                bytes(reclaim + offset_of!(Reclaim, waiting), 8),
            ],
        ),
        row(
            "reader that is waited for: slot, process, since when",
            &[
                bytes(reclaim + offset_of!(Reclaim, stalled_slot), 4),
                bytes(reclaim + offset_of!(Reclaim, stalled_process), 4),
                bytes(reclaim + offset_of!(Reclaim, stalled_since), 8),
            ],
        ),
        row("life of slot n that is mapped here", &[each(offset_of!(Control, attached), 8)]),
        row("how often readers of slot n were expelled", &[each(offset_of!(Control, expulsions), 8)]),
        row("records of readers that were ever used (u32)", &[bytes(offset_of!(Control, records), 4)]),
        row(
            "reader n: number, odd while it is pinned (u64); since when (u64)",
            &[each(offset_of!(Control, records) + 64, 64)],
        ),
        row(
            "to slot n: life, position of the first entry for it, of the next (u64 each)",
            &[each(offset_of!(Control, sending), size_of::<Sending>())],
        ),
        row(
            "from slot n: life, position of the next entry to be read (u64 each)",
            &[each(offset_of!(Control, receiving), size_of::<Receiving>())],
        ),
        row("ring to slot n", &[each(offset_of!(Control, rings), size_of::<Ring>())]),
        row("ledger of what is held of slot n", &[each(offset_of!(Control, ledgers), size_of::<Ledger>())]),
    ]
}

#[test]
fn each_offset_in_the_document_is_that_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/arena-layout.md");
    let document = fs::read_to_string(path).expect("the document lies beside the crate");
    let lines: Vec<&str> = document.lines().collect();
    let missing: Vec<String> = rows().into_iter().filter(|it| !lines.contains(&it.as_str())).collect();
    assert!(missing.is_empty(), "not in {path}:\n{}", missing.join("\n"));
    let shelf = format!(
        "four halves of {} bytes. A half: 0 empty, 1 being written, 2 full, 3 being read (u32); how many blocks (u32);\nfrom byte {} \
         on their addresses, {} at most.",
        size_of::<Half>(),
        offset_of!(Half, blocks),
        MOST_AT_HAND / 2
    );
    assert!(document.contains(&shelf), "{shelf}");
    assert_eq!(size_of::<Shelf>(), 4 * size_of::<Half>());
    assert!(
        document.contains(&format!("{RING} cells of 32 bytes"))
            && document.contains(&format!("{TICKETS} words"))
    );
}
