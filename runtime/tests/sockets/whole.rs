//! Bytes whose number is known, in one piece.

use std::io::Write;

use skein_runtime::socket::EventKind;

use super::{Bench, PATIENCE, common, owner};

/// Asks for `size` bytes in one piece, of which `begun` are here.
fn whole(bench: &Bench, id: i32, told: u64, size: usize, begun: &[u8]) -> bool {
    let copy = |into: &mut [u8]| into.copy_from_slice(begun);
    bench.network().expect(bench.service, id, told, size, begun.len(), copy).unwrap()
}

#[test]
fn bytes_whose_number_is_known_come_in_one_piece_without_a_copy() {
    let bench = Bench::new();
    let (id, mut peer) = bench.accepted();
    let body: Vec<u8> = (0..200_000_u32).map(|it| (it % 251) as u8).collect();
    peer.write_all(&body[..100]).unwrap();
    let begun = bench.data(id, 100);
    assert!(whole(&bench, id, 100, body.len(), &begun));
    let copied = bench.network().counters().copied;
    for piece in body[100..].chunks(30_000) {
        let before = bench.network().counters().read;
        peer.write_all(piece).unwrap();
        let come = || bench.network().counters().read == before + piece.len() as u64;
        assert!(common::eventually(come));
    }
    let event = bench.next();
    assert!(event.kind == EventKind::Data && event.data.unwrap()[..] == body);
    assert_eq!(bench.network().counters().copied, copied);
    // What comes behind it comes as ever, also in the same packet.
    assert!(whole(&bench, id, 200_000, 20_000, b""));
    peer.write_all(&[&body[..20_000], b"and more"].concat()).unwrap();
    assert_eq!(bench.next().data.unwrap().len(), 20_000);
    assert_eq!(bench.data(id, 8), b"and more");
}

#[test]
fn what_came_of_a_piece_is_told_of_before_the_end_and_when_nobody_wants_it() {
    let bench = Bench::new();
    let (id, mut peer) = bench.accepted();
    assert!(whole(&bench, id, 0, 50_000, b""));
    peer.write_all(b"some").unwrap();
    assert!(common::eventually(|| bench.network().counters().read == 4));
    bench.network().expect_nothing(bench.service, id);
    assert_eq!(bench.data(id, 4), b"some");
    assert!(whole(&bench, id, 4, 50_000, b""));
    peer.write_all(b"a part").unwrap();
    assert!(common::eventually(|| bench.network().counters().read == 10));
    // Who takes it over has nothing to do with what the one before waited for.
    let (other, events) = owner(&bench.world, "other");
    bench.network().start(other, id);
    assert_eq!(bench.data(id, 6), b"a part");
    assert_eq!(events.recv_timeout(PATIENCE).unwrap().kind, EventKind::Connect);
    bench.network().start(bench.service, id);
    bench.expect(EventKind::Connect, id, "transfer");
    assert!(whole(&bench, id, 0, 50_000, b""));
    peer.write_all(b"last words").unwrap();
    drop(peer);
    assert_eq!(bench.data(id, 10), b"last words");
    bench.expect(EventKind::Close, id, "");
}

#[test]
fn a_piece_is_not_begun_while_more_is_on_its_way_nor_for_what_is_only_announced() {
    let bench = Bench::new();
    let (id, mut peer) = bench.accepted();
    peer.write_all(b"hello").unwrap();
    let begun = bench.data(id, 5);
    assert!(!whole(&bench, id, 4, 50_000, b""), "a byte is on its way");
    assert!(!whole(&bench, id, 5, 1 << 20, &begun), "a mebibyte is announced, and five bytes are here");
    assert!(!whole(&bench, id, 5, usize::MAX, &begun));
    assert!(!whole(&bench, id, 5, 5, &begun), "nothing is missing");
    assert!(!whole(&bench, id + 1, 5, 50_000, &begun));
    let (other, _events) = owner(&bench.world, "other");
    assert!(!bench.network().expect(other, id, 5, 50_000, 0, |_| {}).unwrap(), "somebody else's");
    assert!(whole(&bench, id, 5, 50_000, &begun));
    assert!(!whole(&bench, id, 0, 50_000, b""), "one at a time");
    bench.network().close(id);
    assert_eq!(bench.data(id, 5), b"hello");
    bench.expect(EventKind::Close, id, "");
}

/// A byte for each of many connections held a block of all that they announced.
#[test]
fn many_that_announce_much_and_send_little_get_no_more_than_a_share() {
    let bench = Bench::new();
    let connections: Vec<_> = (0..160).map(|_| bench.connected()).collect();
    let granted: Vec<i32> =
        connections.iter().map(|it| it.0).filter(|id| whole(&bench, *id, 0, 256 << 10, b"")).collect();
    assert_eq!(granted.len(), 128, "32 MiB");
    // Who gives up leaves room, and so does who is gone.
    bench.network().expect_nothing(bench.service, granted[0]);
    bench.network().shutdown(granted[1]);
    bench.expect(EventKind::Close, granted[1], "");
    let late: Vec<i32> = connections[150..].iter().map(|it| it.0).collect();
    let more = late.iter().filter(|id| whole(&bench, **id, 0, 256 << 10, b"")).count();
    assert_eq!(more, 2);
}
