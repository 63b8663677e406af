//! The wheel: timeouts by the digits of their expiry.
//!
//! Time is a number in base 64. An entry lies at the level of the highest digit in which its expiry differs from now, in
//! the slot of that digit. When now reaches a slot of a higher level, its entries move down; a slot of level 0 expires as
//! a whole. Setting and cancelling take the same time whatever is pending, and going on can be done in pieces: whoever
//! shares the wheel behind a lock need not hold it for all that is due.
//!
//! # Invariants
//! * **W1** All entries in slots expire after now, and a slot is ahead of now's digit.
//! * **W2** Entries of one expiry expire in the order they were set: a slot is a list with new entries at its end, and it
//!   moves down, in order, before anything later is set below it. While it moves, in pieces, what is set for its time goes
//!   to its end.
//! * **W3** No entry of a slot expires before the slot's `soonest`. Cancelling leaves that as it is.
//!
//! # From skynet
//! skynet_timer.c: near and the four levels t → [`Wheel`]'s levels; link_list → the lists of slots.

use super::slab::Slab;

/// Slots of a level: one digit.
const SLOTS: usize = 64;
/// Bits of a digit.
const BITS: u32 = 6;
/// 2^42 ms are 139 years; the longest timeout is 2^31 ticks, 8 months.
const LEVELS: usize = 7;
/// No entry.
pub(super) const NIL: u32 = u32::MAX;

/// Where an entry keeps its level, above its expiry.
const LEVEL_SHIFT: u32 = 56;

/// Values by expiry, in ms.
pub struct Wheel<T> {
    now: u64,
    levels: [Level; LEVELS],
    /// What is left of the slot that now has reached, its level, and where its times end. An entry of that level and those
    /// times can be in no other list (W1).
    moving: List,
    moving_level: u32,
    moving_end: u64,
    entries: Slab<T>,
    len: usize,
}

/// Names a pending entry, for [`Wheel::cancel`]. Of an entry that has expired or was cancelled it names nothing, until 2^32 more
/// were set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    index: u32,
    life: u32,
}

/// Whether [`Wheel::advance`] came to its end.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advanced {
    /// Now is the time asked for.
    Done,
    /// The work allowed is done, and there is more: to be called again.
    More,
}

struct Level {
    /// A bit per slot that has entries.
    occupied: u64,
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy)]
struct Slot {
    list: List,
    soonest: u64,
}

#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

impl List {
    const EMPTY: Self = Self { first: NIL, last: NIL };
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Self::new(0)
    }
}

impl<T> Wheel<T> {
    /// An empty wheel at this time.
    pub fn new(now: u64) -> Self {
        const SLOT: Slot = Slot { list: List::EMPTY, soonest: u64::MAX };
        let levels = [const { Level { occupied: 0, slots: [SLOT; SLOTS] } }; LEVELS];
        Self { now, levels, moving: List::EMPTY, moving_level: 0, moving_end: now, entries: Slab::new(), len: 0 }
    }

    /// How many are pending.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets a value to expire. What should have expired by now does so at the next ms.
    pub fn set(&mut self, expiry: u64, value: T) -> Key {
        let expiry = expiry.clamp(self.now + 1, self.now + (1 << 41));
        let index = self.entries.take(expiry, value);
        if self.moving.first != NIL && expiry < self.moving_end {
            // W2: behind those of its time that have not moved yet.
            self.append(index, self.moving_level, expiry);
        } else {
            self.place(index, expiry);
        }
        self.len += 1;
        Key { index, life: self.entries[index].life }
    }

    /// Takes back a value that is pending.
    pub fn cancel(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.find(key.index, key.life)?;
        let (before, next, when) = (entry.before, entry.next, entry.when);
        if before != NIL {
            self.entries[before].next = next;
        }
        if next != NIL {
            self.entries[next].before = before;
        }
        let list = self.list(when);
        if before == NIL {
            list.first = next;
        }
        if next == NIL {
            list.last = before;
        }
        if list.first == NIL && !self.is_moving(when) {
            let (level, slot) = (level_of(when), slot_of(when, level_of(when)));
            let level = &mut self.levels[level as usize];
            level.occupied &= !(1 << slot);
            level.slots[slot].soonest = u64::MAX;
        }
        self.len -= 1;
        Some(self.entries.give_back(key.index))
    }

    /// When the next entry expires; or earlier, if the one that was to expire then has been cancelled.
    pub fn next(&self) -> Option<u64> {
        if self.moving.first != NIL {
            return Some(self.now);
        }
        self.first().map(|(level, slot, _)| self.levels[level].slots[slot].soonest)
    }

    /// Goes on to `to`, and hands out what expires on the way, in order: as far as `work` entries, each counted when it
    /// expires and when it moves down.
    pub fn advance(&mut self, to: u64, mut work: usize, mut expired: impl FnMut(T)) -> Advanced {
        loop {
            while self.moving.first != NIL {
                if work == 0 {
                    return Advanced::More;
                }
                work -= 1;
                if let Some(value) = self.move_one() {
                    expired(value);
                }
            }
            let Some((level, slot, at)) = self.first().filter(|(_, _, at)| *at <= to) else { break };
            self.now = at;
            self.moving_level = level as u32;
            self.moving_end = at + (1 << (BITS * self.moving_level));
            let level = &mut self.levels[level];
            level.occupied &= !(1 << slot);
            let left = core::mem::replace(&mut level.slots[slot], Slot { list: List::EMPTY, soonest: u64::MAX });
            self.moving = left.list;
        }
        self.now = self.now.max(to);
        Advanced::Done
    }

    /// The first of the slot that now has reached: expires, or moves down.
    fn move_one(&mut self) -> Option<T> {
        let index = self.moving.first;
        let entry = &self.entries[index];
        let expiry = expiry_of(entry.when);
        self.moving.first = entry.next;
        match self.moving.first {
            NIL => self.moving.last = NIL,
            next => self.entries[next].before = NIL,
        }
        if expiry <= self.now {
            self.len -= 1;
            return Some(self.entries.give_back(index));
        }
        self.place(index, expiry);
        None
    }

    /// Level, slot and beginning of the first slot that has entries: the lowest level's, because all of a higher level begin
    /// after what now is in.
    fn first(&self) -> Option<(usize, usize, u64)> {
        let (level, occupied) =
            self.levels.iter().map(|level| level.occupied).enumerate().find(|(_, occupied)| *occupied != 0)?;
        let shift = BITS * level as u32;
        // W1: a slot is ahead of now's digit, never behind it.
        let slot = occupied.trailing_zeros();
        let above = self.now >> (shift + BITS) << (shift + BITS);
        Some((level, slot as usize, above | u64::from(slot) << shift))
    }

    /// Appends an entry to the slot of its expiry, which is after now.
    fn place(&mut self, index: u32, expiry: u64) {
        let level = (expiry ^ self.now).ilog2() / BITS;
        let slot = slot_of(expiry, level);
        let it = &mut self.levels[level as usize];
        it.occupied |= 1 << slot;
        it.slots[slot].soonest = it.slots[slot].soonest.min(expiry);
        self.append(index, level, expiry);
    }

    /// Appends an entry to the list of its level and expiry.
    fn append(&mut self, index: u32, level: u32, expiry: u64) {
        let when = expiry | u64::from(level) << LEVEL_SHIFT;
        let list = self.list(when);
        let last = core::mem::replace(&mut list.last, index);
        if last == NIL {
            list.first = index;
        } else {
            self.entries[last].next = index;
        }
        let entry = &mut self.entries[index];
        entry.when = when;
        entry.next = NIL;
        entry.before = last;
    }

    fn is_moving(&self, when: u64) -> bool {
        level_of(when) == self.moving_level && expiry_of(when) < self.moving_end
    }

    /// The list that an entry is in.
    fn list(&mut self, when: u64) -> &mut List {
        if self.is_moving(when) {
            return &mut self.moving;
        }
        let level = level_of(when);
        &mut self.levels[level as usize].slots[slot_of(when, level)].list
    }
}

fn level_of(when: u64) -> u32 {
    (when >> LEVEL_SHIFT) as u32
}

fn slot_of(expiry: u64, level: u32) -> usize {
    (expiry >> (BITS * level)) as usize % SLOTS
}

fn expiry_of(when: u64) -> u64 {
    when & ((1 << LEVEL_SHIFT) - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Goes all the way.
    fn advance<T>(wheel: &mut Wheel<T>, to: u64, expired: impl FnMut(T)) {
        assert_eq!(wheel.advance(to, usize::MAX, expired), Advanced::Done);
    }

    #[test]
    fn expires_in_order_of_time_and_then_of_setting() {
        let mut wheel = Wheel::new(5);
        for (expiry, name) in [(100, 'd'), (70, 'b'), (100, 'e'), (10, 'a'), (5_000_000, 'g'), (100, 'f'), (70, 'c')] {
            wheel.set(expiry, name);
        }
        let mut order = String::new();
        advance(&mut wheel, 9, |name| order.push(name));
        assert_eq!(order, "");
        advance(&mut wheel, 100, |name| order.push(name));
        assert_eq!(order, "abcdef");
        assert_eq!(wheel.next(), Some(5_000_000));
        advance(&mut wheel, 5_000_000, |name| order.push(name));
        assert_eq!((order.as_str(), wheel.next()), ("abcdefg", None));
    }

    #[test]
    fn a_cancelled_key_is_dead_even_when_its_entry_lives_again() {
        let mut wheel = Wheel::new(0);
        let first = wheel.set(10, 1);
        let keep = wheel.set(10, 2);
        assert_eq!(wheel.cancel(first), Some(1));
        assert_eq!(wheel.cancel(first), None);
        wheel.set(20, 3);
        assert_eq!(wheel.cancel(first), None, "its entry is 3's by now");
        let mut seen = Vec::new();
        advance(&mut wheel, 15, |it| seen.push(it));
        assert_eq!((seen, wheel.len()), (vec![2], 1));
        assert_eq!(wheel.cancel(keep), None);
    }

    #[test]
    fn says_when_the_next_one_expires_whatever_level_it_lies_at() {
        for expiry in [1, 63, 64, 65, 4095, 4097, 3_600_000, 1 << 40] {
            let mut wheel = Wheel::new(0);
            wheel.set(expiry + 1000, ());
            wheel.set(expiry, ());
            assert_eq!(wheel.next(), Some(expiry));
            advance(&mut wheel, expiry - 1, |()| panic!("early"));
            assert_eq!(wheel.next(), Some(expiry));
        }
    }

    #[test]
    fn what_is_set_while_a_slot_moves_comes_behind_what_was_set_before() {
        let mut wheel = Wheel::new(0);
        let names: Vec<_> = (0..10).collect();
        for name in &names {
            wheel.set(70, *name);
        }
        let mut seen = Vec::new();
        assert_eq!(wheel.advance(64, 3, |it| seen.push(it)), Advanced::More);
        let cancelled = wheel.set(70, 10);
        wheel.set(70, 11);
        wheel.set(68, 12);
        assert_eq!(wheel.cancel(cancelled), Some(10));
        advance(&mut wheel, 100, |it| seen.push(it));
        assert_eq!(seen, [12, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(u64),
        Cancel(usize),
        Advance(u64, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let span = prop_oneof![0..70_u64, 0..5000_u64, 0..20_000_000_u64, Just(1 << 34)];
        let work = prop_oneof![0..5_usize, Just(usize::MAX)];
        prop_oneof![
            4 => span.clone().prop_map(Step::Set),
            1 => (0..1000_usize).prop_map(Step::Cancel),
            2 => (span, work).prop_map(|(by, work)| Step::Advance(by, work)),
        ]
    }

    proptest! {
        #[test]
        fn random_programs_agree_with_a_sorted_map(start in 0..1_u64 << 38, program in prop::collection::vec(step(), 1..200)) {
            let mut wheel = Wheel::new(start);
            let mut model = BTreeMap::new();
            let mut keys = Vec::new();
            let (mut now, mut serial) = (start, 0_u64);
            for step in program {
                match step {
                    Step::Set(after) => {
                        serial += 1;
                        // A wheel that is behind takes what is due as due at its own next ms.
                        let expiry = (now + after).max(wheel.now + 1);
                        keys.push((wheel.set(now + after, serial), (expiry, serial)));
                        model.insert((expiry, serial), ());
                    }
                    Step::Cancel(pick) => {
                        if let Some((key, place)) = keys.get(pick % keys.len().max(1)) {
                            prop_assert_eq!(wheel.cancel(*key).is_some(), model.remove(place).is_some());
                        }
                    }
                    Step::Advance(by, work) => {
                        now += by;
                        let mut seen = Vec::new();
                        let advanced = wheel.advance(now, work, |it| seen.push(it));
                        let expected: Vec<_> = model.keys().take(seen.len()).copied().collect();
                        prop_assert!(expected.iter().all(|it| it.0 <= now));
                        model.retain(|it, ()| !expected.contains(it));
                        prop_assert_eq!(seen, expected.into_iter().map(|it| it.1).collect::<Vec<_>>());
                        let behind = model.keys().next().is_some_and(|it| it.0 <= now);
                        match advanced {
                            Advanced::Done => prop_assert!(!behind && wheel.now == now),
                            Advanced::More => prop_assert!(work != usize::MAX),
                        }
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                let first = model.keys().next().map(|it| it.0);
                prop_assert_eq!(wheel.next().is_some(), first.is_some());
                prop_assert!(wheel.next().unwrap_or(0) <= first.unwrap_or(u64::MAX));
            }
        }
    }
}
