//! The handle table: who found a service under a pin may use it, while others retire it, free it, and grow the table.
//!
//! Broken by hand, one at a time, and caught:
//! * `forget` drops at once; `grow` frees the old slots at once;
//! * the store in `register`, the load in `find`, the swap in `grow`: Relaxed;
//! * `retire` looks and clears outside of the lock.
#![cfg(loom)]

use std::sync::Arc;

use loom::{cell::UnsafeCell, thread};
use skein_arena::epoch;
use skein_runtime::handle::{
    Handle,
    table::{Entry, HandleTable},
};

/// Its drop writes what readers read: loom reports the two if they meet.
struct Service {
    handle: Handle,
    life: UnsafeCell<u32>,
}

// SAFETY: the cell is written when nobody can reach it any more, which is what the models check.
unsafe impl Sync for Service {}
// SAFETY: as above.
unsafe impl Send for Service {}

impl Entry for Service {
    fn handle(&self) -> Handle {
        self.handle
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // SAFETY: dropped once.
        self.life.with_mut(|it| unsafe { *it = 0 });
    }
}

type Table = loom::sync::Arc<HandleTable<Service>>;

fn register(table: &Table) -> Handle {
    let made = table.register(|handle| {
        let life = UnsafeCell::new(0);
        // SAFETY: nobody else knows it yet. Written here, so that a reader must see it published.
        life.with_mut(|it| unsafe { *it = handle.0 });
        Arc::new(Service { handle, life })
    });
    made.unwrap().handle
}

/// What a sender does: finds, uses.
fn find(table: &Table, handle: Handle) -> bool {
    let guard = epoch::pin();
    let Some(service) = table.find(handle, &guard) else { return false };
    // SAFETY: a read, while pinned.
    assert_eq!(service.life.with(|it| unsafe { *it }), handle.0);
    true
}

fn retire(table: &Table, handle: Handle) -> bool {
    let guard = epoch::pin();
    let Some(service) = table.retire(handle, &guard) else { return false };
    // SAFETY: retired here, once.
    unsafe { table.forget(service.as_ptr(), &guard) };
    drop(guard);
    // Towards the end of the grace period, as far as the others' pins allow.
    for _ in 0..3 {
        epoch::pin().flush();
    }
    true
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

#[test]
fn a_found_service_outlives_its_retirement() {
    check(|| {
        let table = Table::new(HandleTable::new(0));
        let handle = register(&table);
        let reader = thread::spawn({
            let table = table.clone();
            move || find(&table, handle)
        });
        assert!(retire(&table, handle));
        reader.join().unwrap();
        assert!(!find(&table, handle));
    });
}

#[test]
fn one_of_two_retires_it() {
    check(|| {
        let table = Table::new(HandleTable::new(0));
        let handle = register(&table);
        let other = thread::spawn({
            let table = table.clone();
            move || retire(&table, handle)
        });
        let mine = retire(&table, handle);
        assert!(mine ^ other.join().unwrap());
        assert!(table.is_empty());
    });
}

#[test]
fn a_lookup_during_growth_finds_who_was_there_all_along() {
    check(|| {
        let table = Table::new(HandleTable::new(0));
        let first = register(&table);
        for _ in 0..3 {
            register(&table);
        }
        let reader = thread::spawn({
            let table = table.clone();
            move || assert!(find(&table, first))
        });
        // The fifth needs a table of eight.
        let fifth = register(&table);
        assert!(find(&table, fifth));
        reader.join().unwrap();
    });
}

#[test]
fn a_new_service_is_found_whole_or_not_at_all() {
    check(|| {
        let table = Table::new(HandleTable::new(0));
        let reader = thread::spawn({
            let table = table.clone();
            move || find(&table, Handle(1))
        });
        assert_eq!(register(&table), Handle(1));
        reader.join().unwrap();
    });
}
