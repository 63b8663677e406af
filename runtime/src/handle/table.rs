//! From an address to its service, without a lock.
//!
//! A table of a power of two of slots, indexed by the low bits of the number. Lookups read it under an epoch pin;
//! registering, retiring and growing take turns behind one lock.
//!
//! # Invariants
//! * **T1** A slot's pointer is one strong count of its entry, given up by [`HandleTable::forget`] only after a grace period: who
//!   found an entry under a pin may use it until the pin ends.
//! * **T2** `forget` comes after [`HandleTable::retire`], once.
//! * **T3** A number is not used again before all others were: the search goes on where it ended, and wraps.
//!
//! A lookup that began before a growth reads the old slots. It may find an entry retired since: as if it had come a moment
//! earlier.
//!
//! # From skynet
//! skynet_handle.c: handle_storage → [`HandleTable`]; its reader-writer lock → the epoch; skynet_handle_grab's count → T1.

use core::{marker::PhantomData, ops::Deref};
use std::sync::Arc;

use skein_arena::{
    epoch::{self, Atomic, Guard, Owned},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicPtr, Ordering},
    },
};

use super::Handle;

/// Slots of a new table.
const FIRST_SIZE: usize = 4;
/// Slots of the largest.
const LAST_SIZE: usize = if cfg!(loom) { 8 } else { 1 << 24 };

/// What a table can hold: it knows its own address.
pub trait Entry {
    /// The address it was registered under.
    fn handle(&self) -> Handle;
}

/// Entries by handle.
pub struct HandleTable<T: Entry> {
    slots: Atomic<Slots<T>>,
    writer: Mutex<Writer>,
    harbor: u8,
}

/// Pointers from `Arc::into_raw`, or null.
struct Slots<T>(Box<[AtomicPtr<T>]>);

struct Writer {
    /// The last number given out.
    last: u32,
    live: usize,
}

/// An entry that was found under a pin.
pub struct Found<'g, T>(*const T, PhantomData<&'g Guard>);

impl<T> Found<'_, T> {
    /// The pointer that `Arc::into_raw` made, which a reference to the entry would not give back.
    pub fn as_ptr(&self) -> *const T {
        self.0
    }
}

impl<T> Deref for Found<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: counted while the pin lasts (T1), and we do not outlive it.
        unsafe { &*self.0 }
    }
}

/// All numbers are taken; how many that is.
#[derive(Debug, PartialEq, Eq)]
pub struct TableFull(pub u32);

impl<T> Slots<T> {
    fn new(size: usize) -> Self {
        Self((0..size).map(|_| AtomicPtr::new(core::ptr::null_mut())).collect())
    }

    fn slot(&self, local: u32) -> &AtomicPtr<T> {
        &self.0[local as usize & (self.0.len() - 1)]
    }
}

impl<T: Entry + Send + Sync + 'static> HandleTable<T> {
    /// An empty table whose handles have these harbor bits.
    pub fn new(harbor: u8) -> Self {
        Self {
            slots: Atomic::new(Slots::new(FIRST_SIZE)),
            writer: Mutex::new(Writer { last: 0, live: 0 }),
            harbor,
        }
    }

    /// Finds the entry of a handle.
    #[inline]
    pub fn find<'g>(&self, handle: Handle, guard: &'g Guard) -> Option<Found<'g, T>> {
        // Acquire pairs with the Release in `grow`: the slots are filled.
        // SAFETY: never null, and old slots outlive every pin from before their retirement.
        let slots = unsafe { self.slots.load(Ordering::Acquire, guard).deref() };
        // Acquire pairs with the Release in `register`: the entry is complete.
        let entry = slots.slot(handle.local()).load(Ordering::Acquire);
        let found = (!entry.is_null()).then_some(Found(entry.cast_const(), PhantomData))?;
        (found.handle() == handle).then_some(found)
    }

    /// Takes the next number with a free slot, and puts there what `make` makes of the handle.
    pub fn register(&self, make: impl FnOnce(Handle) -> Arc<T>) -> Result<Arc<T>, TableFull> {
        let mut writer = self.writer();
        let guard = epoch::pin();
        loop {
            // SAFETY: as in `find`; and we are the one writer.
            let slots = unsafe { self.slots.load(Ordering::Acquire, &guard).deref() };
            let size = slots.0.len();
            let first = writer.last.wrapping_add(1);
            let mut numbers = (first..=Handle::LOCAL_MAX).chain(1..).take(size);
            if let Some(local) = numbers.find(|local| slots.slot(*local).load(Ordering::Relaxed).is_null()) {
                let entry = make(Handle(u32::from(self.harbor) << 24 | local));
                assert_eq!(entry.handle().local(), local, "an entry keeps its handle");
                writer.last = local;
                writer.live += 1;
                slots.slot(local).store(Arc::into_raw(Arc::clone(&entry)).cast_mut(), Ordering::Release);
                return Ok(entry);
            }
            if size == LAST_SIZE {
                return Err(TableFull(size as u32));
            }
            self.grow(slots, &guard);
        }
    }

    /// Doubles the slots. Two entries that shared the low bits would have shared a slot, so each finds its own.
    fn grow(&self, old: &Slots<T>, guard: &Guard) {
        let new = Slots::new(old.0.len() * 2);
        for slot in &old.0 {
            let entry = slot.load(Ordering::Relaxed);
            // SAFETY: null, or counted: only writers retire, and we are the one.
            if let Some(it) = unsafe { entry.as_ref() } {
                new.slot(it.handle().local()).store(entry, Ordering::Relaxed);
            }
        }
        let old = self.slots.swap(Owned::new(new), Ordering::AcqRel, guard);
        // SAFETY: swapped out, so only pins from before now can see it. Pointers have no drop.
        unsafe { guard.defer_free(old) };
    }

    /// Takes an entry out of reach. Its count stays until [`Self::forget`]. `None`: nobody has this handle (any more).
    pub fn retire<'g>(&self, handle: Handle, guard: &'g Guard) -> Option<Found<'g, T>> {
        let mut writer = self.writer();
        let entry = self.find(handle, guard)?;
        // SAFETY: as in `find`.
        let slots = unsafe { self.slots.load(Ordering::Acquire, guard).deref() };
        slots.slot(handle.local()).store(core::ptr::null_mut(), Ordering::Release);
        writer.live -= 1;
        Some(entry)
    }

    /// Gives up the table's count of a retired entry, when nobody can still be looking at it.
    ///
    /// # Safety
    /// T2: `retire` returned this entry, and this is called once for it.
    pub unsafe fn forget(&self, entry: *const T, guard: &Guard) {
        let entry = SendPtr(entry);
        // SAFETY: the count came from `Arc::into_raw` in `register`; the entry is `Send`, whichever thread drops it.
        unsafe {
            guard.defer(move || {
                let SendPtr(entry) = { entry };
                drop(Arc::from_raw(entry));
            });
        }
    }

    /// Every handle now registered, in the order of slots.
    pub fn handles(&self) -> Vec<Handle> {
        let guard = epoch::pin();
        // SAFETY: as in `find`.
        let slots = unsafe { self.slots.load(Ordering::Acquire, &guard).deref() };
        let entries = slots.0.iter().filter_map(|slot| {
            // SAFETY: null, or counted while we are pinned (T1).
            unsafe { slot.load(Ordering::Acquire).as_ref() }
        });
        entries.map(Entry::handle).collect()
    }

    /// How many are registered.
    pub fn len(&self) -> usize {
        self.writer().live
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<T: Entry> Drop for HandleTable<T> {
    fn drop(&mut self) {
        // SAFETY: `&mut self`: nobody looks anything up any more.
        unsafe {
            let guard = epoch::unprotected();
            let slots = self.slots.swap(epoch::Shared::null(), Ordering::AcqRel, guard).into_owned();
            for slot in &slots.0 {
                let entry = slot.load(Ordering::Relaxed);
                if !entry.is_null() {
                    drop(Arc::from_raw(entry));
                }
            }
        }
    }
}

/// A pointer on its way to the thread that happens to run the deferred drop.
struct SendPtr<T>(*const T);
// SAFETY: only used to drop an `Arc` of a `Send + Sync` type.
unsafe impl<T> Send for SendPtr<T> {}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    struct Named(Handle);

    impl Entry for Named {
        fn handle(&self) -> Handle {
            self.0
        }
    }

    fn register(table: &HandleTable<Named>) -> Handle {
        table.register(|handle| Arc::new(Named(handle))).unwrap().0
    }

    fn retire(table: &HandleTable<Named>, handle: Handle) -> bool {
        let guard = epoch::pin();
        let Some(entry) = table.retire(handle, &guard) else { return false };
        // SAFETY: just retired, and only here.
        unsafe { table.forget(entry.as_ptr(), &guard) };
        true
    }

    #[test]
    fn numbers_run_as_skynets_do_when_fifteen_live_and_one_is_replaced() {
        let table = HandleTable::new(1);
        for local in 1..=15 {
            assert_eq!(register(&table), Handle(0x0100_0000 | local));
        }
        for expected in [16, 32, 48, 64] {
            let handle = register(&table);
            assert_eq!(handle.local(), expected);
            assert!(retire(&table, handle));
            assert!(!retire(&table, handle), "only once");
        }
    }

    #[test]
    fn numbers_wrap_past_the_largest_and_skip_zero() {
        let table = HandleTable::new(0);
        let first = register(&table);
        table.writer().last = Handle::LOCAL_MAX - 1;
        assert_eq!(register(&table).local(), Handle::LOCAL_MAX);
        let wrapped = register(&table);
        assert!(wrapped.local() != 0 && wrapped != first, "{wrapped}");
    }

    /// skynet's rule, in the plainest words.
    #[derive(Default)]
    struct Model {
        live: BTreeMap<u32, ()>,
        size: u32,
        last: u32,
    }

    impl Model {
        fn register(&mut self) -> u32 {
            self.size = self.size.max(4);
            loop {
                for step in 1..=self.size {
                    let number = self.last + step;
                    if self.live.keys().all(|live| live % self.size != number % self.size) {
                        self.last = number;
                        self.live.insert(number, ());
                        return number;
                    }
                }
                self.size *= 2;
            }
        }
    }

    proptest! {
        #[test]
        fn random_programs_agree_with_the_model(program in prop::collection::vec((0..3_u8, 0..64_usize), 1..300)) {
            let table = HandleTable::new(0);
            let mut model = Model::default();
            for (operation, pick) in program {
                let picked = model.live.keys().nth(pick % model.live.len().max(1)).copied();
                match (operation, picked) {
                    (0 | 1, _) => prop_assert_eq!(register(&table).0, model.register()),
                    (_, Some(number)) => {
                        model.live.remove(&number);
                        prop_assert!(retire(&table, Handle(number)));
                    }
                    (_, None) => prop_assert!(!retire(&table, Handle(pick as u32 + 1))),
                }
                prop_assert_eq!(table.len(), model.live.len());
                let guard = epoch::pin();
                for number in 0..=model.last + 1 {
                    let found = table.find(Handle(number), &guard).is_some();
                    prop_assert_eq!(found, model.live.contains_key(&number), "number {}", number);
                }
            }
        }
    }
}
