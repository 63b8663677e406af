//! `Arena::find`: the payload of a live block, or nothing, whatever the pointer.

use std::{collections::HashSet, ptr::without_provenance};

use skein_arena::{Arena, Block, Kind, Options, range};

fn arena() -> Arena {
    Arena::private(&Options::default()).unwrap()
}

fn found(at: usize) -> bool {
    Arena::find(without_provenance(at)).is_some()
}

#[test]
fn pointers_that_are_not_ours_are_not_found() {
    let arena = arena();
    let block = arena.copy_from(b"here").unwrap();
    let heap = Box::new([0_u8; 64]);
    let stack = [0_u8; 64];
    static STATIC: [u8; 64] = [0; 64];
    for at in [heap.as_ptr(), stack.as_ptr(), STATIC.as_ptr(), found as *const u8, std::ptr::null()] {
        for offset in 0..64 {
            assert!(!found(at.addr() + offset));
        }
    }
    for at in [
        usize::MAX,
        usize::MAX - 15,
        1,
        16,
        range::BASE - 16,
        range::BASE + (1 << range::BITS),
        range::SEGMENTS,
    ] {
        assert!(!found(at));
    }
    assert!(found(block.as_ptr().addr()));
}

#[test]
fn reserved_addresses_without_a_page_or_a_heap_are_not_found() {
    let arena = arena();
    let block = arena.alloc(10).unwrap();
    let heap = range::heap_of(block.as_ptr()).unwrap();
    let (base, whole) = (range::heap_base(heap), 1 << range::HEAP_BITS);
    let committed = arena.stats().committed_bytes as usize;
    for at in (base + committed..base + whole).step_by((whole / 1000) & !15) {
        assert!(!found(at) && !found(at + 32) && !found(at + 48));
    }
    // Private heaps are the first, and then the last ones.
    for heap in (100..200).chain(255..260) {
        assert!(!found(range::heap_base(heap) + 32));
    }
}

#[test]
fn only_the_first_byte_of_a_payload_names_it() {
    let arena = arena();
    for size in [0, 1, 40, 1000, 4000, 30_000, 40_000, 300_000] {
        let block = arena.alloc(size).unwrap();
        let at = block.as_ptr().addr();
        for other in (at - 40..at + size + 2).filter(|&it| it != at) {
            assert!(!found(other), "{size} bytes at {at:#x}: found {other:#x}");
        }
        let it = Arena::find(block.as_ptr()).unwrap();
        assert_eq!((it.size, it.owners, it.generation), (size, 1, block.generation()));
        assert_eq!(Some(it.heap), range::heap_of(block.as_ptr()));
        let header = block.into_raw();
        assert_eq!(it.header, header);
        // SAFETY: just given away.
        drop(unsafe { Block::from_raw(header) });
    }
}

#[test]
fn what_was_freed_is_not_found() {
    let arena = arena();
    for size in [0, 40, 5000, 50_000] {
        let blocks: Vec<Block> = (0..100).map(|_| arena.alloc(size).unwrap()).collect();
        let addresses: HashSet<usize> = blocks.iter().map(|it| it.as_ptr().addr()).collect();
        assert_eq!(addresses.len(), 100, "two live blocks share an address");
        assert!(addresses.iter().all(|&it| found(it)));
        drop(blocks);
        assert!(!addresses.iter().any(|&it| found(it)));
        arena.trim();
        assert!(!addresses.iter().any(|&it| found(it)));
    }
}

#[test]
fn blocks_without_bytes_of_their_own_are_not_found() {
    let arena = arena();
    let shared = arena.copy_from(b"shared").unwrap().share();
    let blocks = [arena.envelope().unwrap(), arena.forward(shared.clone()).unwrap()];
    for block in blocks {
        assert!(matches!(block.kind(), Kind::Empty | Kind::Forward));
        let header = block.into_raw();
        assert!(!found(header.addr().get() + 32));
        // SAFETY: just given away.
        drop(unsafe { Block::from_raw(header) });
    }
}

/// A page that held one class is cut up for another: old bytes must not pass for headers.
#[test]
fn bytes_of_former_lives_are_no_blocks() {
    let arena = arena();
    // A header with one owner is not hard to guess.
    let fake: Vec<u8> = [1, 0, 0, 0, 7, 0, 0, 0].repeat(600);
    drop((0..200).map(|_| arena.copy_from(&fake).unwrap()).collect::<Vec<_>>());
    arena.trim();
    let blocks: Vec<Block> = (0..20).map(|_| arena.alloc(100).unwrap()).collect();
    let live: HashSet<usize> = blocks.iter().map(|it| it.as_ptr().addr()).collect();
    let start = range::heap_base(range::heap_of(blocks[0].as_ptr()).unwrap());
    for at in (start..start + arena.stats().committed_bytes as usize).step_by(16) {
        assert_eq!(found(at), live.contains(&at), "{at:#x}");
    }
}

#[test]
fn another_life_has_another_generation() {
    for size in [0, 40, 5000, 50_000] {
        let arena = arena();
        let mut seen = HashSet::new();
        let mut reused = 0;
        for round in 0..300 {
            let blocks: Vec<Block> = (0..round % 40 + 1).map(|_| arena.alloc(size).unwrap()).collect();
            for block in &blocks {
                reused += usize::from(seen.iter().any(|&(at, _)| at == block.as_ptr()));
                assert!(
                    seen.insert((block.as_ptr(), block.generation())),
                    "a life was lived twice: {block:?}"
                );
            }
            drop(blocks);
            // Through the magazines, through the spans, and through the free pages.
            if round % 7 == 0 {
                arena.trim();
            }
            if seen.len() > 2000 {
                seen.clear();
            }
        }
        assert!(reused > 100, "blocks of {size} bytes were reused {reused} times only");
    }
}

#[test]
fn a_stale_address_of_another_class_is_another_generation_too() {
    let arena = arena();
    let mut lives = HashSet::new();
    let mut met = 0;
    for round in 0..200 {
        // Classes whose blocks begin at the same places: each is twice the size of the one before.
        let size = [200, 400, 800, 1600, 3200, 50_000][round % 6];
        let blocks: Vec<Block> = (0..30).map(|_| arena.alloc(size).unwrap()).collect();
        for block in &blocks {
            met += usize::from(lives.iter().any(|&(at, _)| at == block.as_ptr()));
            assert!(lives.insert((block.as_ptr(), block.generation())));
        }
        drop(blocks);
        arena.trim();
    }
    assert!(met > 1000, "{met}");
}

#[test]
fn asking_while_others_allocate_does_no_harm() {
    let arena = arena();
    let stop = std::sync::mpsc::channel::<()>();
    let asker = std::thread::spawn(move || {
        let mut hits = 0_u64;
        while stop.1.try_recv().is_err() {
            let committed = arena.stats().committed_bytes as usize;
            let Some(base) =
                arena.alloc(0).ok().and_then(|it| range::heap_of(it.as_ptr())).map(range::heap_base)
            else {
                continue;
            };
            hits += (base..base + committed).step_by(496).filter(|&it| found(it)).count() as u64;
        }
        hits
    });
    for round in 0..500 {
        let size = [50, 700, 9000, 60_000][round % 4];
        drop((0..50).map(|_| arena.alloc(size).unwrap()).collect::<Vec<_>>());
        if round % 10 == 0 {
            arena.trim();
        }
    }
    stop.0.send(()).unwrap();
    asker.join().unwrap();
}
