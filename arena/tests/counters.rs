//! The counters. One test, since what is copied is counted for the whole process.

use skein_arena::{Arena, Options, Stats, count_copied_in, count_copied_out};

fn copied(stats: &Stats) -> [u64; 3] {
    [stats.copied_in, stats.copied_out, stats.moved]
}

#[test]
fn counters_tell_what_was_copied_and_what_lives() {
    let arena = Arena::private(&Options { limit: Some(64 << 20) }).unwrap();
    assert_eq!((arena.stats().limit, arena.limit()), (64 << 20, Some(64 << 20)));
    assert_eq!((arena.stats().used_bytes, arena.stats().live_blocks), (0, 0));
    assert_eq!(copied(&arena.stats()), [0, 0, 0]);

    // Copying in counts; handing on, sharing and reading do not.
    let block = arena.copy_from(&[1; 1000]).unwrap();
    let payload = block.share();
    let forward = arena.forward(payload.clone()).unwrap();
    assert_eq!(payload.clone().into_bytes().len() + forward.len(), 2000);
    assert_eq!(copied(&arena.stats()), [1000, 0, 0]);

    // What a writer moves is counted apart.
    let mut writer = arena.writer(100).unwrap();
    writer.put_slice(&[1; 100]).unwrap();
    assert_eq!(copied(&arena.stats()), [1000, 0, 0]);
    writer.put_slice(&[1; 1000]).unwrap();
    assert_eq!(copied(&arena.stats()), [1000, 0, 100]);
    let written = writer.finish();
    // In place nothing moves.
    let mut writer = arena.writer(40_000).unwrap();
    writer.put_slice(&vec![1; 1_000_000]).unwrap();
    drop(writer);
    assert_eq!(copied(&arena.stats()), [1000, 0, 100]);

    // Other threads count too.
    std::thread::spawn(|| count_copied_out(30)).join().unwrap();
    count_copied_out(3);
    count_copied_in(1);
    assert_eq!(copied(&arena.stats()), [1001, 33, 100]);

    // Two blocks of some 1000 bytes, and the envelope; blocks include header and NUL.
    let stats = arena.stats();
    let live: Vec<(usize, u64)> =
        stats.classes.iter().map(|it| (it.block, it.live)).filter(|it| it.1 > 0).collect();
    assert_eq!(live, [(48, 1), (1280, 2)]);
    assert_eq!((stats.live_blocks, stats.live_bytes), (3, 48 + 2 * 1280));
    let large = arena.alloc(100_000).unwrap();
    assert_eq!((arena.stats().large_blocks, arena.stats().large_bytes), (1, 25 * 4096));
    assert_eq!(arena.stats().live_bytes, 48 + 2 * 1280 + 25 * 4096);
    drop((payload, forward, written, large));
    assert_eq!((arena.stats().live_blocks, arena.stats().live_bytes, arena.stats().large_blocks), (0, 0, 0));
}
