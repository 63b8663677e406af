//! What an owner has unlinked and other processes may still be reading.
//!
//! A grace period is a list: which records of which processes were pinned when it began ([`super::reader`]). It is over when
//! each of them has moved on or belongs to a dead process. Only the owner of the memory has such lists, in memory of its
//! own: nothing that others write can shorten them but the records themselves, and those only let their own writers down.
//!
//! # Invariants
//! * **G1** What is retired was unlinked before: a reader that pins from now on does not find it (E2).
//! * **G2** A grace period begins after the last piece that it frees was retired, and one is under way at a time: pieces
//!   retired meanwhile wait for the next.
//! * **G3** A period that not all of the living could be asked about does not begin, until the patience is over: then all
//!   readers of those processes are expelled.
//! * **G4** A reader is waited for no longer than the patience says. Then it is expelled, which it can see
//!   ([`Pinned::read`](super::Pinned::read)), and named in the report.
//!
//! # When a process dies
//! A dead reader is struck off the list. A dead owner's lists are gone, as is the heap that they were about.

use std::{collections::BTreeSet, fmt};

use super::reader::{Expulsions, Records};
use crate::sync::atomic::{Ordering::*, fence};

/// The processes that may be reading this one's memory.
pub trait Others {
    /// Calls `look` with slot, life and records of each that lives. The slots of those that live and could not be looked at
    /// just now.
    fn each(&self, look: &mut dyn FnMut(u8, u64, &Records)) -> Vec<u8>;
    /// Calls `look` with the records of one; not, if that life has ended.
    fn with(&self, slot: u8, life: u64, look: &mut dyn FnMut(&Records));
}

/// A reader that has kept memory from being freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled {
    /// Slot of its process.
    pub slot: u8,
    /// Which life of the slot.
    pub life: u64,
    /// Which reader of that process.
    pub reader: u16,
    /// When it pinned by its own account, in nanoseconds since the system started.
    pub since: u64,
}

/// What came of [`Retired::collect`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Pieces that were freed just now.
    pub freed: usize,
    /// Pieces that wait.
    pub waiting: usize,
    /// The readers they wait for.
    pub stalled: Vec<Stalled>,
    /// The readers that were expelled just now.
    pub expelled: Vec<Stalled>,
    /// Slots of living processes whose readers could not be looked at just now. They are waited for as readers are.
    pub unseen: Vec<u8>,
}

struct Waiting {
    slot: u8,
    life: u64,
    reader: u16,
    number: u64,
}

struct Grace<T> {
    pieces: Vec<T>,
    began: u64,
    waiting: Vec<Waiting>,
}

/// Pieces that are dropped after a grace period. Dropping one only frees memory (E3).
pub struct Retired<T> {
    open: Vec<T>,
    grace: Option<Grace<T>>,
    /// Since when a period could not begin.
    since: Option<u64>,
    /// How long a reader is waited for, in nanoseconds.
    patience: u64,
    periods: u64,
}

impl<T> Retired<T> {
    /// An empty list whose readers are waited for `patience` nanoseconds.
    pub fn new(patience: u64) -> Retired<T> {
        Retired { open: Vec::new(), grace: None, since: None, patience, periods: 0 }
    }

    /// Frees the piece later. It is out of reach for whoever pins from now on (G1).
    pub fn retire(&mut self, piece: T) {
        self.open.push(piece);
    }

    /// How many pieces wait.
    pub fn len(&self) -> usize {
        self.open.len() + self.grace.as_ref().map_or(0, |it| it.pieces.len())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many grace periods have ended.
    pub fn periods(&self) -> u64 {
        self.periods
    }

    /// Frees what no reader can see any more. To be called now and then: after retiring, or when the process is idle.
    pub fn collect(&mut self, others: &impl Others, expulsions: &Expulsions, now: u64) -> Collected {
        let mut collected = Collected::default();
        if let Some(grace) = &mut self.grace {
            grace.advance(others);
            if now.saturating_sub(grace.began) > self.patience {
                grace.give_up(others, expulsions, &mut collected.expelled);
            }
        } else if !self.open.is_empty() {
            self.begin(others, expulsions, now, &mut collected);
        }
        if let Some(grace) = self.grace.take_if(|it| it.waiting.is_empty()) {
            self.periods += 1;
            collected.freed = grace.pieces.len();
            drop(grace);
        }
        if let Some(grace) = &self.grace {
            collected.stalled = grace.waiting.iter().map(|it| it.stalled(others)).collect();
        }
        collected.waiting = self.len();
        collected
    }

    /// Begins a period with all that is retired, if everybody can be asked (G3).
    fn begin(&mut self, others: &impl Others, expulsions: &Expulsions, now: u64, collected: &mut Collected) {
        let mut waiting = Vec::new();
        // Pairs with the fence in `Record::pin` (P2).
        fence(SeqCst);
        collected.unseen = others.each(&mut |slot, life, records| {
            waiting.extend(records.pinned().map(|(reader, number)| Waiting { slot, life, reader, number }));
        });
        if !collected.unseen.is_empty() {
            let since = *self.since.get_or_insert(now);
            if now.saturating_sub(since) <= self.patience {
                return;
            }
            collected.unseen.iter().for_each(|&slot| expulsions.expel(slot));
        }
        self.since = None;
        self.grace = Some(Grace { pieces: std::mem::take(&mut self.open), began: now, waiting });
    }
}

impl<T> Grace<T> {
    fn advance(&mut self, others: &impl Others) {
        self.waiting.retain(|it| {
            let mut there = false;
            others.with(it.slot, it.life, &mut |records| {
                there = records.get(it.reader).is_some_and(|record| !record.has_left(it.number));
            });
            there
        });
    }

    fn give_up(&mut self, others: &impl Others, expulsions: &Expulsions, expelled: &mut Vec<Stalled>) {
        expelled.extend(self.waiting.iter().map(|it| it.stalled(others)));
        for slot in self.waiting.drain(..).map(|it| it.slot).collect::<BTreeSet<_>>() {
            expulsions.expel(slot);
        }
    }
}

impl Waiting {
    fn stalled(&self, others: &impl Others) -> Stalled {
        let mut since = 0;
        others.with(self.slot, self.life, &mut |records| {
            since = records.get(self.reader).map_or(0, |it| it.since());
        });
        Stalled { slot: self.slot, life: self.life, reader: self.reader, since }
    }
}

impl<T> fmt::Debug for Retired<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retired").field("waiting", &self.len()).field("periods", &self.periods).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{
        epoch::{Expelled, Readers},
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicU64, AtomicUsize},
            thread,
        },
    };

    /// Processes in memory: slot, life, records, and whether they live.
    struct Village(Vec<(u8, u64, &'static Records, AtomicBool)>);

    impl Village {
        fn of(count: u8) -> Village {
            let one = |slot| {
                (slot, 100 + u64::from(slot), &*Box::leak(Box::<Records>::default()), AtomicBool::new(true))
            };
            Village((1..=count).map(one).collect())
        }
    }

    impl Others for Village {
        fn each(&self, look: &mut dyn FnMut(u8, u64, &Records)) -> Vec<u8> {
            self.0.iter().filter(|it| it.3.load(Relaxed)).for_each(|it| look(it.0, it.1, it.2));
            Vec::new()
        }

        fn with(&self, slot: u8, life: u64, look: &mut dyn FnMut(&Records)) {
            self.0
                .iter()
                .filter(|it| it.0 == slot && it.1 == life && it.3.load(Relaxed))
                .for_each(|it| look(it.2));
        }
    }

    /// Counts its own end.
    struct Piece(Arc<AtomicUsize>);

    impl Drop for Piece {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn a_reader_delays_what_it_could_see_and_nothing_else() {
        let (village, expulsions) = (Village::of(2), Expulsions::default());
        let reader = Readers::new(village.0[0].2).join().unwrap();
        let freed = Arc::new(AtomicUsize::new(0));
        let mut retired = Retired::new(u64::MAX);

        let pinned = reader.pin(5);
        retired.retire(Piece(Arc::clone(&freed)));
        let first = retired.collect(&village, &expulsions, 10);
        assert_eq!(first.stalled, [Stalled { slot: 1, life: 101, reader: 0, since: 5 }]);
        retired.retire(Piece(Arc::clone(&freed)));
        assert_eq!((retired.collect(&village, &expulsions, 11).waiting, freed.load(Relaxed)), (2, 0));

        drop(pinned);
        // Pinned again, but after both were out of reach.
        let later = reader.pin(12);
        let second = retired.collect(&village, &expulsions, 12);
        assert_eq!((second.freed, second.waiting), (1, 1));
        drop(later);
        assert_eq!(retired.collect(&village, &expulsions, 13).freed, 1);
        assert_eq!((freed.load(Relaxed), retired.periods(), retired.is_empty()), (2, 2, true));
    }

    #[test]
    fn nested_pins_end_with_the_outermost() {
        let (village, expulsions) = (Village::of(1), Expulsions::default());
        let reader = Readers::new(village.0[0].2).join().unwrap();
        let mut retired = Retired::new(u64::MAX);
        let outer = reader.pin(1);
        drop(reader.pin(2));
        retired.retire(());
        assert_eq!(retired.collect(&village, &expulsions, 3).waiting, 1);
        drop(outer);
        assert_eq!(retired.collect(&village, &expulsions, 4).freed, 1);
    }

    #[test]
    fn a_dead_reader_is_swept() {
        let (village, expulsions) = (Village::of(2), Expulsions::default());
        let reader = Readers::new(village.0[1].2).join().unwrap();
        std::mem::forget(reader.pin(1));
        let mut retired = Retired::new(u64::MAX);
        retired.retire(());
        assert_eq!(retired.collect(&village, &expulsions, 2).stalled.len(), 1);
        village.0[1].3.store(false, Relaxed);
        assert_eq!(retired.collect(&village, &expulsions, 3).freed, 1);
        assert_eq!(expulsions.count(2), 0);
    }

    #[test]
    fn a_stalled_reader_is_expelled_and_can_tell() {
        let (village, expulsions) = (Village::of(2), Expulsions::default());
        let reader = Readers::new(village.0[1].2).join().unwrap();
        let pinned = reader.pin(1);
        assert_eq!(pinned.read(&expulsions, 2, || 7), Ok(7));

        let mut retired = Retired::new(1000);
        retired.retire(());
        assert_eq!(retired.collect(&village, &expulsions, 50).waiting, 1);
        assert_eq!(retired.collect(&village, &expulsions, 1050).waiting, 1);
        let outcome = pinned.read(&expulsions, 2, || {
            let collected = retired.collect(&village, &expulsions, 1051);
            assert_eq!((collected.freed, collected.expelled.len()), (1, 1));
            assert_eq!(collected.expelled[0].slot, 2);
        });
        assert_eq!(outcome, Err(Expelled));
        assert_eq!((expulsions.count(1), expulsions.count(2)), (0, 1));
    }

    /// A village of which one cannot be looked at.
    struct Fog(Village);

    impl Others for Fog {
        fn each(&self, look: &mut dyn FnMut(u8, u64, &Records)) -> Vec<u8> {
            self.0.each(&mut |slot, life, records| {
                if slot != 2 {
                    look(slot, life, records)
                }
            });
            vec![2]
        }

        fn with(&self, slot: u8, life: u64, look: &mut dyn FnMut(&Records)) {
            self.0.with(slot, life, look);
        }
    }

    #[test]
    fn who_cannot_be_asked_is_waited_for_and_then_expelled() {
        let (fog, expulsions) = (Fog(Village::of(2)), Expulsions::default());
        let mut retired = Retired::new(1000);
        retired.retire(());
        for now in [5, 1005] {
            let collected = retired.collect(&fog, &expulsions, now);
            assert_eq!((collected.freed, collected.waiting, &collected.unseen[..]), (0, 1, &[2][..]));
        }
        assert_eq!(retired.collect(&fog.0, &expulsions, 1006).freed, 1);
        retired.retire(());
        assert_eq!((retired.collect(&fog, &expulsions, 2000).freed, expulsions.count(2)), (0, 0));
        assert_eq!((retired.collect(&fog, &expulsions, 3001).freed, expulsions.count(2)), (1, 1));
    }

    #[test]
    fn readers_of_two_processes_never_meet_what_was_freed() {
        let village = Village::of(2);
        let expulsions = Expulsions::default();
        // A root of numbers: what is freed becomes zero.
        let cells: Vec<AtomicU64> = (0..512).map(|_| AtomicU64::new(1)).collect();
        let root = AtomicUsize::new(0);
        let done = AtomicBool::new(false);
        struct Cell<'a>(&'a AtomicU64);
        impl Drop for Cell<'_> {
            fn drop(&mut self) {
                self.0.store(0, Release);
            }
        }
        thread::scope(|scope| {
            for (_, _, records, _) in &village.0 {
                scope.spawn(|| {
                    let reader = Readers::new(records).join().unwrap();
                    while !done.load(Relaxed) {
                        let pinned = reader.pin(1);
                        let seen = root.load(Acquire);
                        assert_eq!(cells[seen].load(Acquire), 1);
                        std::hint::spin_loop();
                        assert_eq!(cells[seen].load(Acquire), 1);
                        drop(pinned);
                    }
                });
            }
            let mut retired = Retired::new(u64::MAX);
            for next in 1..cells.len() {
                let old = root.swap(next, AcqRel);
                retired.retire(Cell(&cells[old]));
                retired.collect(&village, &expulsions, 1);
            }
            while !retired.is_empty() {
                retired.collect(&village, &expulsions, 1);
                thread::yield_now();
            }
            done.store(true, Relaxed);
        });
    }
}
