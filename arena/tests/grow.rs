//! Blocks that grow, and bodies seen as plain data.

use std::{io::Write, ptr::NonNull};

use bytes::BufMut;
use skein_arena::{Arena, Block, Envelope, Error, Kind, MAX_PAYLOAD, Options, ViewError};

fn arena() -> Arena {
    Arena::private(&Options::default()).unwrap()
}

#[test]
fn a_large_writer_grows_without_moving() {
    let arena = arena();
    let mut writer = arena.writer(40_000).unwrap();
    let at = writer.written().as_ptr();
    for chunk in 0..1000_u32 {
        writer.put_slice(&chunk.to_le_bytes().repeat(250)).unwrap();
    }
    assert_eq!((writer.written().as_ptr(), writer.len()), (at, 1_000_000));
    let block = writer.finish();
    assert!(block.chunks(1000).zip(0..1000_u32).all(|(it, chunk)| it == chunk.to_le_bytes().repeat(250)));
    assert_eq!(arena.stats().large_bytes, (1_000_033_u64).next_multiple_of(4096));
}

/// A writer went where there was most room behind it, so a program that packed one string of 1 MiB after the other faulted each in
/// anew, and gave the last one's pages back to the system.
#[test]
fn long_pieces_are_written_where_the_last_ones_were() {
    let arena = arena();
    let text = vec![b'x'; 1 << 20];
    let write = |hint| {
        let mut writer = arena.writer(hint).unwrap();
        writer.put_u8(5).unwrap();
        writer.put_slice(&text).unwrap();
        writer.put_slice(b"and a little more").unwrap();
        writer.finish()
    };
    let first = write(22);
    let small = arena.alloc(100_000).unwrap();
    let at = first.as_ptr();
    drop(first);
    for hint in [22, 60_000, 300_000, 1 << 20] {
        assert_eq!(write(hint).as_ptr(), at, "room for {hint} bytes at first");
    }
    drop(small);
}

#[test]
fn a_large_block_grows_until_another_is_in_its_way() {
    let arena = arena();
    let mut block = arena.alloc(50_000).unwrap();
    block.bytes_mut().unwrap().fill(7);
    assert!(block.grow_in_place(3 << 20));
    assert_eq!((block.len(), Arena::find(block.as_ptr()).unwrap().size), (3 << 20, 3 << 20));
    block.truncate(50_000);
    let behind = block.as_ptr().addr() + 50_033_usize.next_multiple_of(4096);
    let mut others = Vec::new();
    while others.iter().all(|it: &Block| it.as_ptr().addr() != behind) {
        assert!(others.len() < 1000, "pages right behind a block are used again");
        others.push(arena.alloc(40_000).unwrap());
    }
    assert!(!block.grow_in_place(100_000) && block.len() == 50_000);
    assert!(block.iter().all(|&it| it == 7));
}

#[test]
fn growing_in_place_is_for_bytes_and_changes_nothing_otherwise() {
    let arena = arena();
    let payload = arena.copy_from(b"whole").unwrap().share();
    let mut forward = arena.forward(payload.clone()).unwrap();
    let mut empty = arena.envelope().unwrap();
    let mut small = arena.copy_from(b"small").unwrap();
    assert!(!forward.grow_in_place(6) && !empty.grow_in_place(1) && !small.grow_in_place(1000));
    assert!(small.grow_in_place(3) && !small.grow_in_place(MAX_PAYLOAD + 1));
    assert_eq!((&small[..], &forward[..]), (&b"small"[..], &b"whole"[..]));
}

#[test]
fn appending_to_any_kind_of_block_keeps_its_bytes_and_its_envelope() {
    unsafe fn keep(_: NonNull<u8>, _: usize) {}
    static FOREIGN: [u8; 3] = *b"abc";
    let arena = arena();
    let envelope = Envelope { source: 1, session: -2, ty: 3 };
    // SAFETY: statics are readable for ever, and nobody writes to this block before it is copied.
    let foreign = unsafe { arena.foreign(NonNull::from(&FOREIGN).cast(), 3, keep) }.unwrap();
    let forward = arena.forward(arena.copy_from(b"abc").unwrap().share()).unwrap();
    let bytes = arena.copy_from(b"abc").unwrap();
    for (mut block, start) in
        [(foreign, "abc"), (forward, "abc"), (bytes, "abc"), (arena.envelope().unwrap(), "")]
    {
        block.set_envelope(envelope);
        for number in 0..2000 {
            write!(block, "{number},").unwrap();
        }
        let expected: String = start
            .chars()
            .chain((0..2000).flat_map(|it| format!("{it},").into_bytes()).map(char::from))
            .collect();
        assert_eq!(
            (&block[..], block.kind(), block.envelope()),
            (expected.as_bytes(), Kind::Bytes, envelope)
        );
        // SAFETY: a NUL is always there.
        assert_eq!(unsafe { block.as_ptr().add(block.len()).read() }, 0);
    }
}

#[test]
fn blocks_and_writers_take_what_buf_mut_gives() {
    fn fill(mut out: impl BufMut) {
        out.put_u32(0x0102_0304);
        out.put_slice(&[9; 5000]);
        out.put_bytes(8, 40_000);
        out.put(&b"end"[..]);
    }
    let arena = arena();
    let mut block = arena.alloc(0).unwrap();
    let mut writer = arena.writer(0).unwrap();
    fill(&mut block);
    fill(&mut writer);
    let written = writer.finish();
    assert_eq!(block[..], written[..]);
    assert_eq!((block.len(), &block[..5], &block[45_004..]), (45_007, &[1, 2, 3, 4, 9][..], &b"end"[..]));
}

#[test]
fn a_block_at_the_limit_keeps_what_it_has() {
    let arena = Arena::private(&Options { limit: Some(1 << 20) }).unwrap();
    let mut block = arena.alloc(0).unwrap();
    let error = loop {
        if let Err(error) = block.write_all(&[5; 10_000]) {
            break error;
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory);
    assert!(matches!(error.get_ref().unwrap().downcast_ref(), Some(Error::Full { .. })));
    assert!(block.len() >= 400_000 && block.iter().all(|&it| it == 5), "{}", block.len());
    assert!(matches!(block.try_reserve(MAX_PAYLOAD), Err(Error::TooLarge { .. })));
}

#[test]
#[should_panic(expected = "raise arena_limit")]
fn buf_mut_panics_in_a_full_arena() {
    let arena = Arena::private(&Options { limit: Some(1 << 20) }).unwrap();
    arena.alloc(0).unwrap().put_bytes(1, 2 << 20);
}

#[test]
fn views_check_size_alignment_and_owners() {
    let arena = arena();
    let mut block = arena.copy_from_plain(&[1_u64, 2, 3][..]).unwrap();
    block.view_mut::<[u64]>().unwrap()[1] = 20;
    assert_eq!(block.view::<[u64; 3]>(), Ok(&[1, 20, 3]));
    assert_eq!(block.view::<[u64; 2]>(), Err(ViewError::Size { size: 24 }));
    block.truncate(20);
    assert_eq!(block.view::<[u64]>(), Err(ViewError::Size { size: 20 }));

    // A part of a payload begins where it begins.
    let payload = block.share();
    let odd = arena.forward_part(payload.clone(), 1, 8).unwrap();
    let address = odd.as_ptr().addr();
    assert_eq!(odd.view::<u64>(), Err(ViewError::Misaligned { address }));
    assert_eq!(odd.view::<[u8; 8]>().unwrap()[7], 20);
    let mut even = arena.forward_part(payload, 8, 8).unwrap();
    assert_eq!(even.view::<u64>(), Ok(&20));
    assert_eq!(even.view_mut::<u64>(), Err(ViewError::Shared));
    let mut nothing: Block = arena.envelope().unwrap();
    assert_eq!(nothing.view::<u8>(), Err(ViewError::Size { size: 0 }));
    assert_eq!(nothing.view_mut::<[u8]>().unwrap(), [0_u8; 0]);
}
