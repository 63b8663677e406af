//! What happens at the limit, and what the system gets back.

use skein_arena::{Arena, Block, Error, Kind, Options};

const MIB: u64 = 1 << 20;

fn arena(limit: Option<u64>) -> Arena {
    Arena::private(&Options { limit }).unwrap()
}

/// Allocates until the arena is full; at least one block fits.
fn fill(arena: Arena, size: usize) -> Vec<Block> {
    let mut blocks = Vec::new();
    loop {
        match arena.alloc(size) {
            Ok(block) => blocks.push(block),
            Err(Error::Full { size: wanted, limit }) => {
                assert_eq!((wanted, limit), (size, arena.limit().unwrap()));
                assert!(!blocks.is_empty());
                return blocks;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// Pages of this process that are in memory.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn a_full_arena_says_so_and_serves_again_once_something_is_dropped() {
    for size in [0, 40, 1000, 5000, 32 << 10, 100_000] {
        let arena = arena(Some(4 * MIB));
        let mut blocks = fill(arena, size);
        let used = arena.stats().used_bytes;
        assert!(used <= 4 * MIB, "{used}");
        // Not far from it either: nine tenths are there for the asking.
        assert!(used >= 36 * MIB / 10 - 110_000, "blocks of {size}: {used}");

        let before = blocks.len();
        blocks.truncate(before / 2);
        blocks.extend(fill(arena, size));
        assert!(blocks.len() + 2 >= before, "{} of {before} blocks of {size}", blocks.len());
    }
}

#[test]
fn what_one_size_leaves_another_can_take() {
    let arena = arena(Some(8 * MIB));
    let sizes = [30_000, 48, 200_000, 700, 4000];
    for (round, &size) in sizes.iter().cycle().take(20).enumerate() {
        let blocks = fill(arena, size);
        let bytes = blocks.len() * size;
        assert!(
            bytes as u64 > 4 * MIB || size < 100,
            "round {round}: only {bytes} bytes in blocks of {size}"
        );
    }
}

#[test]
fn envelopes_are_served_from_what_is_kept_for_them() {
    let arena = arena(Some(4 * MIB));
    let shared = arena.copy_from(b"news").unwrap().share();
    let _blocks = [fill(arena, 100_000), fill(arena, 1000), fill(arena, 0)];

    let mut envelopes: Vec<Block> = (0..1000).map(|_| arena.envelope().unwrap()).collect();
    envelopes.extend((0..1000).map(|_| arena.forward(shared.clone()).unwrap()));
    assert!(envelopes.iter().all(|it| it.kind() == Kind::Empty || &it[..] == b"news"));
    // That has an end too.
    let mut more = 0;
    let error = loop {
        match arena.envelope() {
            Ok(envelope) => envelopes.push(envelope),
            Err(error) => break error,
        }
        more += 1;
        assert!(more < 1_000_000);
    };
    assert!(matches!(error, Error::Full { size: 0, limit } if limit == 4 * MIB));
    assert!(arena.stats().used_bytes <= 4 * MIB);
}

#[test]
fn a_dropped_request_becomes_its_error_reply_in_a_full_arena() {
    let arena = arena(Some(2 * MIB));
    let mut blocks = fill(arena, 200_000);
    let used = arena.stats().used_bytes;
    let reply = blocks.pop().unwrap().become_empty();
    assert_eq!((reply.kind(), reply.len(), reply.as_ptr()), (Kind::Empty, 0, std::ptr::null()));
    // It keeps one page of the large block, and the rest serves others.
    assert!(arena.stats().used_bytes < used - 190_000);
    assert!(arena.alloc(150_000).is_ok());
}

#[test]
fn a_writer_at_the_limit_keeps_what_it_has() {
    let arena = arena(Some(2 * MIB));
    let mut writer = arena.writer(0).unwrap();
    let error = loop {
        if let Err(error) = writer.put_slice(&[7; 1000]) {
            break error;
        }
    };
    assert!(matches!(error, Error::Full { .. }));
    let written = writer.len();
    // A move needs the old and the new block at once, but not twice as much as is written.
    assert!(written > 800_000, "{written}");
    let block = writer.finish();
    assert_eq!(block.len(), written);
    assert!(block.iter().all(|&it| it == 7));
}

#[test]
fn limits_that_cannot_work_are_refused() {
    let error = Arena::private(&Options { limit: Some(1000) }).unwrap_err();
    assert_eq!(error.to_string(), "an arena limit of 1000 bytes is below the least of 1048576");
    let error = arena(None).alloc(1 << 32).unwrap_err();
    assert_eq!(error.to_string(), "a payload of 4294967296 bytes is larger than the largest of 4294967232");
}

#[test]
#[cfg_attr(skein_tsan, ignore = "a million blocks do not fit the heap of this build")]
fn a_million_queued_messages_do_not_stay_in_memory() {
    const MESSAGES: usize = 1_000_000;
    let arena = arena(None);
    let empty = resident_bytes();
    let mut queue = std::collections::VecDeque::with_capacity(MESSAGES);
    for number in 0..MESSAGES {
        queue.push_back(arena.copy_from(&number.to_le_bytes().repeat(12)).unwrap());
    }
    let full = resident_bytes() - empty;
    assert!(full > 128 << 20, "{full}");
    for number in 0..MESSAGES {
        let block = queue.pop_front().unwrap();
        assert_eq!(block[..8], number.to_le_bytes());
    }
    drop(queue);
    let stats = arena.stats();
    assert_eq!((stats.live_blocks, stats.live_bytes), (0, 0));
    assert!(stats.used_bytes < MIB && stats.retained_bytes <= 16 * MIB, "{stats:?}");
    // With room for what the other tests of this process do meanwhile.
    let left = resident_bytes().saturating_sub(empty);
    assert!(left < full / 2, "{left} of {full} bytes stayed");

    arena.trim();
    let stats = arena.stats();
    assert_eq!((stats.used_bytes, stats.retained_bytes), (0, 0), "{stats:?}");
}

/// Eight threads had a block of every size and sleep: what they kept at hand pinned every span of a small arena, and it
/// refused the smallest block with nothing alive.
#[test]
fn threads_that_sleep_do_not_hold_a_small_arena_full() {
    let arena = arena(Some(MIB));
    let asleep = std::sync::Barrier::new(9);
    let checked = std::sync::Barrier::new(9);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (asleep, checked) = (&asleep, &checked);
            scope.spawn(move || {
                // At the limit some are refused; that is not the point here.
                for size in (0..40).map(|step| 16 + step * 24 + thread) {
                    drop(arena.alloc(size));
                }
                arena.flush();
                asleep.wait();
                checked.wait();
            });
        }
        asleep.wait();
        let blocks: Vec<_> = (0..1000).map(|_| arena.alloc(300).map(drop)).collect();
        let large = arena.alloc(512 << 10).map(drop);
        checked.wait();
        assert!(blocks.iter().all(Result::is_ok) && large.is_ok(), "{large:?} {:?}", arena.stats());
    });
}

#[test]
fn large_blocks_give_their_pages_back() {
    let arena = arena(None);
    let mut writer = arena.writer(10).unwrap();
    writer.put_slice(&vec![1; 5 << 20]).unwrap();
    writer.put_u8(2).unwrap();
    let block = writer.finish();
    let stats = arena.stats();
    assert_eq!((stats.large_blocks, stats.live_blocks), (1, 1));
    assert!(
        stats.large_bytes <= (5 << 20) + 8192,
        "a finished writer keeps what it needs: {}",
        stats.large_bytes
    );
    drop(block);
    assert_eq!((arena.stats().large_bytes, arena.stats().live_bytes), (0, 0));
}
