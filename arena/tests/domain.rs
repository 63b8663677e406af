//! A domain as its processes see it: who is there, what one reads of another's heap, what a death leaves.

#[macro_use]
mod common;

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use common::{Child, LONG, directory};
use skein_arena::{Block, Domain, DomainError, DomainOptions, Slot, domain};

fn open(path: &Path) -> Domain {
    Domain::open(&DomainOptions::in_directory(path)).unwrap()
}

roles! {
    "holder" => holder,
    "reader" => reader,
    "leaver" => leaver,
    "parent" => parent,
    "names" => names_and_places,
}

/// Has a small and a large block, and frees the small one when it is told.
fn holder(path: &Path) {
    let domain = open(path);
    let small = domain.arena().copy_from(b"read by others").unwrap();
    let mut large = domain.arena().alloc(3 << 20).unwrap();
    large.bytes_mut().unwrap().fill(7);
    let addresses: Vec<String> = [&small, &large].map(|it| it.as_ptr().addr().to_string()).into();
    common::say(&format!("{} {}", domain.slot(), addresses.join(" ")));
    common::wait();
    drop(small);
    common::say("freed");
    common::wait();
}

/// Maps slot 1, and lets go when it is told.
fn reader(path: &Path) {
    let domain = open(path);
    let peer = domain.peer(Slot::new(1).unwrap()).unwrap();
    common::say(&format!("{} {}", domain.slot(), peer.pid()));
    common::wait();
    drop(peer);
    domain.sweep().unwrap();
    common::say("let go");
    common::wait();
}

/// Leaves when it is told.
fn leaver(path: &Path) {
    let domain = open(path);
    common::say(&domain.slot().to_string());
    common::wait();
    assert!(domain.leave().unwrap());
}

/// One process at a time has a domain, so what the test asserts happens in a process of its own too.
fn parent(path: &Path) {
    let domain = open(path);
    assert_eq!(domain.slot().number(), 1);
    assert!(matches!(
        Domain::open(&DomainOptions::in_directory(path)),
        Err(DomainError::AlreadyOpen { path: other }) if other == path
    ));

    let mut holder = Child::start("holder", path);
    let line = holder.line();
    let [slot, small, large] = <[u64; 3]>::try_from(common::numbers(&line)).unwrap();
    let slot = Slot::new(slot as u8).unwrap();
    assert_eq!(slot.number(), 2);
    let living: Vec<_> = domain.peers().unwrap().iter().map(|it| (it.slot, it.pid)).collect();
    assert_eq!(living, [(domain.slot(), std::process::id()), (slot, holder.id())]);

    let peer = domain.peer(slot).unwrap();
    assert_eq!((peer.pid(), peer.is_alive()), (holder.id(), true));
    let bytes = |address: u64| -> Vec<u8> {
        let found = peer.find(address).unwrap();
        // SAFETY: the child keeps the block until it is told.
        unsafe { std::slice::from_raw_parts(found.header.add(1).cast::<u8>().as_ptr(), found.size).to_vec() }
    };
    assert_eq!(bytes(small), b"read by others");
    assert!(bytes(large).iter().all(|&it| it == 7) && bytes(large).len() == 3 << 20);
    assert_eq!((peer.stats().live_blocks, peer.stats().large_blocks), (2, 1));
    // Whatever address it is told, it answers.
    let base = skein_arena::range::heap_base(2) as u64;
    for address in (0..1000).map(|it| base + it * 16).chain([
        0,
        1,
        u64::MAX,
        base - 16,
        small + 16,
        large + 4096,
        base + (1 << 34),
    ]) {
        if address != small && address != large {
            assert!(matches!(peer.find(address), Err(DomainError::NoBlock { at, .. }) if at == address));
        }
    }
    holder.go();
    assert_eq!(holder.line(), "freed");
    assert!(peer.find(small).is_err() && peer.find(large).is_ok());

    // Its death changes nothing for who maps it, until that one lets go.
    holder.kill();
    assert!(!peer.is_alive());
    assert_eq!(bytes(large).len(), 3 << 20);
    assert_eq!(
        domain.sweep().unwrap().held.iter().map(|it| (it.slot, it.by)).collect::<Vec<_>>(),
        [(slot, domain.slot())]
    );
    let mut next = Child::start("leaver", path);
    assert_eq!(next.line(), "3", "the slot of a dead process that is still mapped was taken");
    let sees = domain.peer(slot).unwrap();
    assert_eq!(sees.pid(), peer.pid());
    drop((peer, sees));
    let swept = domain.sweep().unwrap();
    assert_eq!(
        swept.removed.iter().map(|it| (it.slot, it.pid, it.blocks)).collect::<Vec<_>>(),
        [(slot, holder.id(), 1)]
    );
    assert!(swept.removed[0].bytes >= 3 << 20, "{swept:?}");
    assert!(matches!(domain.peer(slot), Err(DomainError::NoPeer { .. })));

    // Who leaves takes its files along.
    next.go();
    next.end();
    assert_eq!(domain.peers().unwrap().len(), 1);
    assert!(domain.leave().unwrap());
    assert!(!path.exists(), "the last one leaves nothing");
}

#[test]
fn what_one_process_writes_the_others_read_until_they_let_go() {
    Child::start("parent", &directory().join("domain")).end();
}

#[test]
fn a_slot_that_is_mapped_somewhere_is_not_given_away() {
    let path = directory().join("domain");
    let mut holder = Child::start("holder", &path);
    holder.line();
    let mut reader = Child::start("reader", &path);
    assert_eq!(reader.line(), format!("2 {}", holder.id()));
    holder.kill();
    // Whoever opens next sweeps, but not what the reader has mapped.
    let mut third = Child::start("leaver", &path);
    assert_eq!(third.line(), "3");
    third.go();
    third.end();
    reader.go();
    assert_eq!(reader.line(), "let go");
    let mut fourth = Child::start("leaver", &path);
    assert_eq!(fourth.line(), "1");
    fourth.go();
    fourth.end();
    // A reader that dies lets go as well, and its own slot is swept by hand.
    reader.kill();
    let swept = domain::sweep(&path, LONG).unwrap();
    assert_eq!(swept.removed.iter().map(|it| it.slot.number()).collect::<Vec<_>>(), [2]);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 2, "the domain itself stays");
}

#[test]
fn nobody_else_can_look_into_a_domain() {
    let path = directory().join("domain");
    let mut leaver = Child::start("leaver", &path);
    leaver.line();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
    for entry in fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().mode() & 0o7777, 0o600, "{:?}", entry.path());
    }
    leaver.go();
    leaver.end();
}

/// Private arenas and the slots of a domain share the range.
fn names_and_places(path: &Path) {
    for name in ["", ".", "..", "a/b", ".hidden", "a b", &"x".repeat(65)] {
        let error = Domain::open(&DomainOptions::named(name)).unwrap_err();
        assert!(matches!(error, DomainError::Name { .. }), "{error}");
    }
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(domain::path_of("game-1").unwrap(), Path::new(&format!("/dev/shm/skein-{uid}-game-1")));

    let arenas: Vec<_> =
        (0..254).map(|_| skein_arena::Arena::private(&Default::default()).unwrap()).collect();
    let block = arenas[0].copy_from(b"private").unwrap();
    assert_eq!(skein_arena::range::heap_of(block.as_ptr()), Some(0));
    // Numbers 0 and 254 down to 2 are taken, so the one slot that is left is ours.
    let domain = open(path);
    assert_eq!(domain.slot().number(), 1);
    let shared: Block = domain.arena().copy_from(b"shared").unwrap();
    assert_eq!(skein_arena::range::heap_of(shared.as_ptr()), Some(1));
    assert!(skein_arena::Arena::private(&Default::default()).is_err());
    let mut other = Child::start("leaver", path);
    assert_eq!(other.line(), "2");
    let error = domain.peer(Slot::new(2).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "the addresses of slot 2 are in use in this process");
    other.go();
    other.end();
    domain.leave().unwrap();
}

#[test]
fn private_arenas_and_slots_do_not_meet() {
    Child::start("names", &directory().join("domain")).end();
}
