//! The range as a process finds it: whole, under a limit on address space or on memory, or taken.
#![cfg(not(skein_tsan))]

use std::{env, process::Command};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use skein_arena::{Arena, Block, Error, Options, range};

/// Tells the test below what it is a child for.
const ROLE: &str = "SKEIN_RANGE_TEST";

/// Runs the test `child` of this file in a process of its own, under a limit as the shell has it.
fn in_child(role: &str, limit: &str) {
    let script = format!("ulimit {limit}; exec \"$0\" --exact --ignored --nocapture child");
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(env::current_exe().unwrap())
        .env(ROLE, role)
        .env("RUST_TEST_THREADS", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{role}: {text}{errors}");
}

#[test]
#[ignore = "run by the others, in a process of its own"]
fn child() {
    let first = Arena::private(&Options::default());
    match env::var(ROLE).as_deref() {
        Ok("small") => {
            // 8 GiB of address space: half of it is the range, and the first heap is as long as that.
            let arena = first.unwrap();
            assert_eq!(range::reserved(), 4 << 30);
            assert_eq!(arena.stats().limit, 4 << 30);
            let block = arena.copy_from(&[1; 1 << 20]).unwrap();
            assert_eq!(Arena::find(block.as_ptr()).unwrap().size, 1 << 20);
            let error = Arena::private(&Options::default()).unwrap_err();
            assert_eq!(
                error.to_string(),
                "no heap is left: 1 fit the 4294967296 bytes of reserved address space"
            );
            let held = arena.alloc(3 << 30).unwrap();
            assert!(matches!(arena.alloc(3 << 30), Err(Error::Full { limit, .. }) if limit == 4 << 30));
            drop(held);
        }
        Ok("tiny") => {
            let error = first.unwrap_err();
            assert!(matches!(error, Error::Reserve { .. }), "{error:?}");
            assert_eq!(
                error.to_string(),
                "could not reserve 67108864 bytes of address space at 0x200000000000"
            );
        }
        Ok("refused") => refused(first.unwrap()),
        other => panic!("no such role: {other:?}"),
    }
}

/// Allocates until the system gives no more pages, looks at what it has, and goes on with what it gives back.
fn refused(arena: Arena) {
    // Of the lists, which must not be what is refused.
    let (mut large, mut small): (Vec<Block>, Vec<Block>) =
        (Vec::with_capacity(1000), Vec::with_capacity(1 << 20));
    let error = loop {
        match arena.alloc(1 << 20) {
            Ok(mut block) => {
                block.bytes_mut().unwrap().fill(large.len() as u8);
                large.push(block);
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Map { .. }), "{error:?}");
    assert!(large.len() > 100, "{} blocks", large.len());
    // There is a rest for smaller ones.
    for size in [10_000, 100] {
        let error = loop {
            match arena.alloc(size) {
                Ok(block) => small.push(block),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Map { .. }), "{error:?}");
    }
    assert_eq!(arena.stats().live_blocks as usize, large.len() + small.len());
    assert!(large.iter().enumerate().all(|(at, it)| it.iter().all(|&byte| byte == at as u8)));
    let before = large.len();
    drop((large, small));
    assert_eq!(arena.stats().live_blocks, 0);
    let again: Vec<_> = (0..before).map(|_| arena.alloc(1 << 20).unwrap()).collect();
    assert_eq!(arena.stats().live_blocks as usize, again.len());
}

#[test]
fn under_a_limit_on_memory_a_refused_page_loses_nothing() {
    in_child("refused", "-d 524288");
}

#[test]
fn under_a_limit_the_range_is_smaller() {
    in_child("small", "-v 8388608");
}

#[test]
fn a_limit_that_leaves_nothing_is_an_error() {
    in_child("tiny", "-v 65536");
}

#[test]
fn a_taken_range_is_an_error() {
    // Not in a child: the mapping has to come before the first arena of the process, and here no other test opens one.
    let at = std::ptr::with_exposed_provenance_mut(range::BASE + (1 << 40));
    // SAFETY: nothing is mapped there, or this fails.
    unsafe { mmap_anonymous(at, 4096, ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE) }
        .unwrap();
    let error = Arena::private(&Options::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the address range at 0x200000000000, 17592186044416 bytes, is taken by something else"
    );
    // And it stays one.
    assert!(matches!(Arena::private(&Options::default()), Err(Error::AddressTaken { .. })));
    assert_eq!(range::reserved(), 0);
}
