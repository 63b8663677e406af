//! The wheel: timeouts by the digits of their expiry.
//!
//! Time is a number in base 64. An entry lies at the level of the highest digit in which its expiry differs from now, in
//! the slot of that digit. When now reaches a slot of a higher level, its entries move down; a slot of level 0 expires as
//! a whole. Setting and cancelling take the same time whatever is pending.
//!
//! # Invariants
//! * **W1** All entries expire after now.
//! * **W2** Entries of one expiry expire in the order they were set: a slot is a list with new entries at its end, and it
//!   moves down, in order, before now enters it, so before anything later is set below it.
//!
//! # From skynet
//! skynet_timer.c: near and the four levels t → [`Wheel`]'s levels; link_list → the lists of slots.

/// Slots of a level: one digit.
const SLOTS: usize = 64;
/// Bits of a digit.
const BITS: u32 = 6;
/// 2^42 ms are 139 years; the longest timeout is 2^31 ticks, 8 months.
const LEVELS: usize = 7;
/// No entry.
const NIL: u32 = u32::MAX;

/// Values by expiry, in ms.
pub struct Wheel<T> {
    now: u64,
    levels: [Level; LEVELS],
    entries: Vec<Entry<T>>,
    free: u32,
    len: usize,
    /// Entries ever set, to tell their lives apart.
    lives: u32,
}

/// Names a pending entry, for [`Wheel::cancel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    index: u32,
    life: u32,
}

struct Level {
    /// A bit per slot that has entries.
    occupied: u64,
    slots: [List; SLOTS],
}

#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

struct Entry<T> {
    expiry: u64,
    next: u32,
    before: u32,
    /// Which use of this entry it is: a key of an earlier one cancels nothing.
    life: u32,
    /// Level and slot.
    place: u16,
    value: Option<T>,
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Self::new(0)
    }
}

impl<T> Wheel<T> {
    /// An empty wheel at this time.
    pub fn new(now: u64) -> Self {
        let levels = [const { Level { occupied: 0, slots: [List { first: NIL, last: NIL }; SLOTS] } }; LEVELS];
        Self { now, levels, entries: Vec::new(), free: NIL, len: 0, lives: 0 }
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
        let index = self.take(expiry, value);
        self.place(index);
        self.len += 1;
        Key { index, life: self.entries[index as usize].life }
    }

    /// Takes back a value that is pending.
    pub fn cancel(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get(key.index as usize)?;
        if entry.life != key.life || entry.value.is_none() {
            return None;
        }
        let (before, next, place) = (entry.before, entry.next, usize::from(entry.place));
        let level = &mut self.levels[place / SLOTS];
        let list = &mut level.slots[place % SLOTS];
        match before {
            NIL => list.first = next,
            before => self.entries[before as usize].next = next,
        }
        match next {
            NIL => list.last = before,
            next => self.entries[next as usize].before = before,
        }
        if list.first == NIL {
            level.occupied &= !(1 << (place % SLOTS));
        }
        Some(self.give_back(key.index))
    }

    /// When the wheel next has something to do: an expiry, or entries to move down. Never later than the first expiry.
    pub fn next(&self) -> Option<u64> {
        self.first().map(|(_, _, at)| at)
    }

    /// Goes on to `to`, and hands out what expires on the way, in order.
    pub fn advance(&mut self, to: u64, mut expired: impl FnMut(T)) {
        while let Some((level, slot, at)) = self.first().filter(|(_, _, at)| *at <= to) {
            self.now = at;
            let list = core::mem::replace(&mut self.levels[level].slots[slot], List { first: NIL, last: NIL });
            self.levels[level].occupied &= !(1 << slot);
            let mut index = list.first;
            while index != NIL {
                let next = self.entries[index as usize].next;
                if self.entries[index as usize].expiry <= at {
                    expired(self.give_back(index));
                } else {
                    self.place(index);
                }
                index = next;
            }
        }
        self.now = self.now.max(to);
        if self.len == 0 {
            // A million timeouts once are no reason to keep their room for ever.
            self.entries = Vec::new();
            self.free = NIL;
        }
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

    /// Appends an entry to the slot of its expiry.
    fn place(&mut self, index: u32) {
        let expiry = self.entries[index as usize].expiry;
        let digit = (expiry ^ self.now).max(1).ilog2() / BITS;
        let slot = (expiry >> (BITS * digit)) as usize % SLOTS;
        let level = &mut self.levels[digit as usize];
        level.occupied |= 1 << slot;
        let list = &mut level.slots[slot];
        let last = core::mem::replace(&mut list.last, index);
        if last == NIL {
            list.first = index;
        } else {
            self.entries[last as usize].next = index;
        }
        let entry = &mut self.entries[index as usize];
        entry.next = NIL;
        entry.before = last;
        entry.place = (digit as usize * SLOTS + slot) as u16;
    }

    fn take(&mut self, expiry: u64, value: T) -> u32 {
        self.lives = self.lives.wrapping_add(1);
        let life = self.lives;
        if self.free == NIL {
            let index = self.entries.len() as u32;
            assert!(index != NIL, "2^32 timeouts are pending");
            self.entries.push(Entry { expiry, next: NIL, before: NIL, life, place: 0, value: Some(value) });
            return index;
        }
        let index = self.free;
        let entry = &mut self.entries[index as usize];
        self.free = entry.next;
        entry.expiry = expiry;
        entry.life = life;
        entry.value = Some(value);
        index
    }

    fn give_back(&mut self, index: u32) -> T {
        let entry = &mut self.entries[index as usize];
        entry.next = core::mem::replace(&mut self.free, index);
        self.len -= 1;
        entry.value.take().expect("an entry in a slot has a value")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn expires_in_order_of_time_and_then_of_setting() {
        let mut wheel = Wheel::new(5);
        for (expiry, name) in [(100, 'd'), (70, 'b'), (100, 'e'), (10, 'a'), (5_000_000, 'g'), (100, 'f'), (70, 'c')] {
            wheel.set(expiry, name);
        }
        let mut order = String::new();
        wheel.advance(9, |name| order.push(name));
        assert_eq!(order, "");
        wheel.advance(100, |name| order.push(name));
        assert_eq!(order, "abcdef");
        assert!(wheel.next().is_some_and(|at| at <= 5_000_000));
        wheel.advance(5_000_000, |name| order.push(name));
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
        wheel.advance(15, |it| seen.push(it));
        assert_eq!((seen, wheel.len()), (vec![2], 1));
        assert_eq!(wheel.cancel(keep), None);
    }

    #[test]
    fn an_entry_of_a_timeout_takes_forty_bytes() {
        // Handle, session and envelope are 16 bytes; the envelope itself is a block of 32 more, plus its class's rounding.
        assert_eq!(size_of::<Entry<(u32, i32, core::ptr::NonNull<u8>)>>(), 40);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(u64),
        Cancel(usize),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let span = prop_oneof![0..70_u64, 0..5000_u64, 0..20_000_000_u64, Just(1 << 34)];
        prop_oneof![
            3 => span.clone().prop_map(Step::Set),
            1 => (0..1000_usize).prop_map(Step::Cancel),
            2 => span.prop_map(Step::Advance),
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
                        let expiry = (now + after).max(now + 1);
                        keys.push((wheel.set(now + after, serial), (expiry, serial)));
                        model.insert((expiry, serial), ());
                    }
                    Step::Cancel(pick) => {
                        if let Some((key, place)) = keys.get(pick % keys.len().max(1)) {
                            prop_assert_eq!(wheel.cancel(*key).is_some(), model.remove(place).is_some());
                        }
                    }
                    Step::Advance(by) => {
                        now += by;
                        let mut seen = Vec::new();
                        wheel.advance(now, |it| seen.push(it));
                        let later = model.split_off(&(now + 1, 0));
                        let expected: Vec<_> = core::mem::replace(&mut model, later).into_keys().map(|it| it.1).collect();
                        prop_assert_eq!(seen, expected);
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                let first = model.keys().next().map(|it| it.0);
                prop_assert_eq!(wheel.next().is_some(), first.is_some());
                prop_assert!(wheel.next().unwrap_or(0) <= first.unwrap_or(u64::MAX));
                prop_assert!(wheel.next().unwrap_or(u64::MAX) > now);
            }
        }
    }
}
