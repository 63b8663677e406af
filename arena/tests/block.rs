//! `Block`, `Payload`, `BlockWriter` as a Rust program uses them.

use std::{io::Write, ptr::NonNull, sync::atomic::Ordering::Relaxed};

use bytes::Buf;
use skein_arena::{Arena, Block, Envelope, Kind, Options, sync::atomic::AtomicUsize};

fn arena() -> Arena {
    Arena::private(&Options::default()).unwrap()
}

/// The byte behind a payload.
fn behind(block: &Block) -> u8 {
    // SAFETY: a NUL is always there.
    unsafe { block.as_ptr().add(block.len()).read() }
}

#[test]
fn owners_are_one_pointer_wide() {
    assert_eq!(size_of::<Option<Block>>(), size_of::<usize>());
    assert_eq!(size_of::<Option<skein_arena::Payload>>(), size_of::<usize>());
}

#[test]
fn an_empty_payload_is_not_no_payload() {
    let arena = arena();
    let none = arena.envelope().unwrap();
    let zero = arena.alloc(0).unwrap();
    assert!(none.as_ptr().is_null() && !zero.as_ptr().is_null());
    assert_eq!((none.kind(), zero.kind()), (Kind::Empty, Kind::Bytes));
    assert!(none.is_empty() && zero.is_empty());
    assert_eq!(behind(&zero), 0);
}

#[test]
fn a_nul_follows_whatever_was_there_before() {
    let arena = arena();
    for size in 0..200 {
        let mut block = arena.alloc(size).unwrap();
        block.bytes_mut().unwrap().fill(0xff);
        assert_eq!(behind(&block), 0);
        block.truncate(size / 2);
        assert_eq!((block.len(), behind(&block)), (size / 2, 0));
        block.truncate(size);
        assert_eq!(block.len(), size / 2, "truncating does not lengthen");
    }
}

#[test]
fn an_envelope_stays_with_its_block() {
    let mut block = arena().copy_from(b"question").unwrap();
    let envelope = Envelope { source: 0xff00_0012, session: -3, ty: 255 };
    block.set_envelope(envelope);
    block.truncate(5);
    assert_eq!((block.envelope(), &block[..], block.kind()), (envelope, &b"quest"[..], Kind::Bytes));
    let reply = block.become_empty();
    assert_eq!((reply.envelope(), reply.len(), reply.kind()), (envelope, 0, Kind::Empty));
    // A block that is used again knows nothing of it.
    drop(reply);
    assert_eq!(arena().copy_from(b"another").unwrap().envelope(), Envelope::default());
}

#[test]
fn a_payload_becomes_bytes_and_parts_of_it_without_a_copy() {
    let arena = arena();
    let payload = arena.copy_from(b"GET /path").unwrap().share();
    let at = payload.as_ptr();
    let mut bytes = payload.clone().into_bytes();
    let path = bytes.slice(4..);
    bytes.advance(4);
    assert_eq!(bytes.as_ptr(), at.wrapping_add(4));
    assert_eq!(&path[..], b"/path");
    drop((payload, bytes));
    assert_eq!(arena.stats().live_blocks, 1, "a part keeps the whole");
    drop(path);
    assert_eq!(arena.stats().live_blocks, 0);
}

#[test]
fn the_last_owner_may_write_again() {
    let payload = arena().copy_from(b"draft").unwrap().share();
    let other = payload.clone();
    assert_eq!((payload.owners(), payload.generation()), (2, other.generation()));
    let payload = payload.try_unique().unwrap_err();
    drop(other);
    let mut block = payload.try_unique().unwrap();
    block.bytes_mut().unwrap()[0] = b'D';
    assert_eq!(&block[..], b"Draft");
}

#[test]
fn a_forward_is_an_envelope_round_what_others_own() {
    let arena = arena();
    let news = arena.copy_from(b"news").unwrap().share();
    let mut receivers: Vec<Block> = (0..10).map(|_| arena.forward(news.clone()).unwrap()).collect();
    for (session, block) in receivers.iter_mut().enumerate() {
        block.set_envelope(Envelope { source: 1, session: session as i32, ty: 2 });
        assert!(block.bytes_mut().is_none());
        assert_eq!((block.as_ptr(), block.len(), block.kind()), (news.as_ptr(), 4, Kind::Forward));
    }
    assert_eq!((news.owners(), arena.stats().live_blocks), (11, 11));
    // Sharing a forward yields what it forwards: forwards do not nest.
    let again = receivers.pop().unwrap().share();
    assert_eq!((again.kind(), again.as_ptr()), (Kind::Bytes, news.as_ptr()));
    drop(again);
    let replies: Vec<Block> = receivers.into_iter().map(Block::become_empty).collect();
    assert_eq!((news.owners(), replies[3].envelope().session), (1, 3));
    drop(news);
    assert_eq!(arena.stats().live_blocks, 9);
}

#[test]
fn a_part_of_a_payload_is_forwarded_and_keeps_the_whole() {
    let arena = arena();
    let news = arena.copy_from(b"head: news").unwrap().share();
    let part = arena.forward_part(news.clone(), 6, 4).unwrap();
    assert_eq!((&part[..], part.as_ptr()), (&b"news"[..], news[6..].as_ptr()));
    assert_eq!(part.forwarded().map(|it| (it.as_ptr(), it.len())), Some((news.as_ptr(), 10)));
    let end = arena.forward_part(news.clone(), 10, 0).unwrap();
    assert!(end.is_empty());
    assert_eq!(news.owners(), 3);
    drop((news, end));
    let whole = part.share();
    assert_eq!((&whole[..], whole.owners()), (&b"head: news"[..], 1));
    assert!(whole.try_unique().unwrap().forwarded().is_none());
    assert_eq!(arena.stats().live_blocks, 0);
}

#[test]
#[should_panic(expected = "a part is inside of its payload")]
fn a_part_that_is_not_inside_is_refused() {
    let arena = arena();
    let news = arena.copy_from(b"news").unwrap().share();
    let _ = arena.forward_part(news, 2, 3);
}

#[test]
fn foreign_memory_is_freed_once_whoever_has_it_last() {
    static FREED: AtomicUsize = AtomicUsize::new(0);
    unsafe fn free(at: NonNull<u8>, len: usize) {
        assert_eq!(len, 6);
        FREED.fetch_add(1, Relaxed);
        // SAFETY: `make` leaked a box of six.
        drop(unsafe { Box::from_raw(at.cast::<[u8; 6]>().as_ptr()) });
    }
    fn make(arena: Arena) -> Block {
        let memory = NonNull::from(Box::leak(Box::new(*b"malloc")));
        // SAFETY: leaked for this, and `free` takes it back.
        unsafe { arena.foreign(memory.cast(), 6, free) }.unwrap()
    }
    let arena = arena();
    let mut expected = 0;
    let mut freed = |what: &str| {
        expected += 1;
        assert_eq!(FREED.load(Relaxed), expected, "{what}");
    };

    drop(make(arena));
    freed("dropped");
    // Shorter for its readers; freed in full.
    let mut block = make(arena);
    block.truncate(3);
    block.bytes_mut().unwrap()[0] = b'M';
    assert_eq!((&block[..], block.kind()), (&b"Mal"[..], Kind::Foreign));
    drop(block);
    freed("truncated");
    drop(make(arena).become_empty());
    freed("emptied");
    let payload = make(arena).share();
    let forward = arena.forward(payload.clone()).unwrap();
    drop(payload.into_bytes().slice(1..3));
    assert_eq!(&forward[..], b"malloc");
    std::thread::spawn(move || drop(forward)).join().unwrap();
    freed("shared");
    let header = make(arena).into_raw();
    // SAFETY: given away the line before.
    drop(unsafe { Block::from_raw(header) });
    freed("raw");
    assert_eq!(arena.stats().live_blocks, 0);
}

#[test]
fn a_writer_takes_all_that_fits_a_payload() {
    let arena = arena();
    let mut writer = arena.writer(0).unwrap();
    assert!(writer.is_empty());
    for number in 0..10_000_u32 {
        writer.put_u32_le(number).unwrap();
    }
    writer.put_u8(1).unwrap();
    writer.put_u16_le(0x0302).unwrap();
    writer.put_u64_le(u64::MAX).unwrap();
    writer.put_f64_le(0.5).unwrap();
    writer.write_all(b"text").unwrap();
    writer.written_mut()[0] = 9;
    writer.try_reserve(5).unwrap();
    writer.spare_mut()[..5].copy_from_slice(b"spare");
    writer.advance(5);
    writer.truncate(writer.len() - 2);
    let len = 40_000 + 1 + 2 + 8 + 8 + 4 + 3;
    assert_eq!(writer.len(), len);
    let block = writer.finish();
    assert_eq!((block.len(), behind(&block)), (len, 0));
    assert_eq!((block[0], &block[4..8], &block[len - 7..]), (9, &[1, 0, 0, 0][..], &b"textspa"[..]));
}

#[test]
#[should_panic(expected = "advanced past the room")]
fn a_writer_does_not_advance_past_its_room() {
    let mut writer = arena().writer(100).unwrap();
    let room = writer.capacity();
    writer.advance(room + 1);
}

#[test]
fn a_good_hint_moves_nothing() {
    let arena = arena();
    for hint in [0, 100, 5000, 70_000] {
        let mut writer = arena.writer(hint).unwrap();
        let at = writer.written().as_ptr();
        writer.put_slice(&vec![1; hint]).unwrap();
        assert_eq!(writer.finish().as_ptr(), at);
    }
}
