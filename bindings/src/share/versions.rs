//! New versions of shared tables: how states go over to them, and how old ones end. `skein.share`.
//!
//! Whoever publishes says with `succeed` which version comes after which; the map from old tables to new ones is made there, once.
//! A state that calls `renew` has every reference to old versions replaced, and its leases on them end at once, unless something had
//! to stay. A state that does not is asked to `scan` some time later: a full collection tells what it still refers to.

use std::ffi::c_int;
use std::sync::Arc;

use skein_sharedata::Segment;
use skein_sharedata::segment::Forward;
use skein_vm::versions::{self, Old, Watch};

use super::{address, root_at, service, table};
use crate::raw::{Raise, bytes, ffi, guard, lua_State, raise};
use crate::state::ServiceState;

/// What a renewal under way looks at. Kept in the [`ServiceState`]: a memory error must not jump over it.
#[derive(Default)]
pub(crate) struct Renewal {
    /// In the order of `keep`.
    olds: Vec<Old>,
    keep: Vec<Arc<Forward>>,
}

/// `share.succeed(old, new)`. The version `new` comes after `old`: both pointers. Raises if one is not shared.
pub(super) unsafe extern "C-unwind" fn succeed(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    let (old, new) = unsafe { (address(state, 1), address(state, 2)) };
    let done = guard(|| {
        let missing = || Raise::new("Not a shared table");
        let old = Segment::of_root(old).ok_or_else(missing)?;
        let new = Segment::of_root(new).ok_or_else(missing)?;
        if Arc::ptr_eq(&old, &new) {
            return Err(Raise::new("a version cannot succeed itself"));
        }
        let tables = old.header().tables as usize;
        // SAFETY: we hold both segments; their tables were numbered when they were frozen.
        let map =
            unsafe { versions::forward(root_at(old.root()), tables, root_at(new.root()), new.span().0) };
        new.succeed(&old, map.ok_or_else(|| Raise::new("not enough memory"))?);
        Ok(())
    });
    match done {
        Ok(()) => 0,
        // SAFETY: nothing with a destructor is alive.
        Err(error) => unsafe { raise(state, error) },
    }
}

/// `share.renew(pointer, ...): boolean`. This state goes over to these versions, in one go. False if one of them is no longer
/// the current one: then the others are done. May raise a memory error, and be called again.
pub(super) unsafe extern "C-unwind" fn renew(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` and our upvalue; nothing with a destructor is alive.
    unsafe {
        let service = service(state);
        let top = ffi::lua_gettop(state);
        ffi::luaL_checkstack(state, 1, std::ptr::null());
        for index in 1..=top {
            table::push_root(state, address(state, index));
            ffi::lua_settop(state, top);
        }
        let olds = guard(|| Ok(begin(service, |now| (1..=top).any(|it| address(state, it) == now))));
        match olds {
            Ok(Some(olds)) => versions::renew(state, olds),
            Ok(None) => {}
            Err(error) => raise(state, error),
        }
        let current = guard(|| {
            end(service);
            Ok((1..=top).all(|it| Segment::of_root(address(state, it)).is_some_and(|it| !it.is_retired())))
        });
        ffi::lua_pushboolean(state, c_int::from(current.unwrap_or(false)));
    }
    1
}

/// Prepares a renewal from all old versions whose newest is `wanted`; where the list is.
fn begin(service: &ServiceState, wanted: impl Fn(usize) -> bool) -> Option<*mut [Old]> {
    let mut leases = service.leases.borrow_mut();
    leases.begin();
    let mut renewal = service.renewal.borrow_mut();
    *renewal = Renewal::default();
    for segment in leases.iter() {
        let Some(forward) = segment.forward() else { continue };
        let Some(now) = forward.to.upgrade() else { continue };
        if wanted(now.root()) {
            let (base, end) = segment.span();
            let map = forward.map.as_ptr();
            renewal.olds.push(Old { base, end, now: forward.base, map, left: 0 });
            renewal.keep.push(forward);
        }
    }
    // The list stays where it is until the next renewal begins.
    (!renewal.olds.is_empty())
        .then(|| std::ptr::slice_from_raw_parts_mut(renewal.olds.as_mut_ptr(), renewal.olds.len()))
}

/// Ends the leases that a renewal made superfluous.
fn end(service: &ServiceState) {
    let renewal = std::mem::take(&mut *service.renewal.borrow_mut());
    let mut leases = service.leases.borrow_mut();
    for old in renewal.olds.iter().filter(|it| it.left == 0) {
        leases.end(old.base);
    }
}

/// `share.scan(): integer, integer`. Collects garbage if this state has leases on versions that are no longer current, ends those
/// that nothing refers to, and answers how many are left, and of all leases.
pub(super) unsafe extern "C-unwind" fn scan(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` and our upvalue.
    let service = unsafe { service(state) };
    /// Watched at a time; the others wait for the next scan.
    const MOST: usize = 64;
    let mut watches = [Watch { base: 0, end: 0, seen: 0 }; MOST];
    let count = guard(|| {
        let mut leases = service.leases.borrow_mut();
        leases.begin();
        let old = leases.iter().filter(|it| it.is_retired()).take(MOST);
        Ok(old.zip(&mut watches).map(|(it, watch)| (watch.base, watch.end) = it.span()).count())
    });
    let count = count.unwrap_or(0);
    // SAFETY: a C function runs, and nothing with a destructor is alive.
    let done = count > 0 && unsafe { versions::scan(state, &mut watches[..count]) };
    let left = guard(|| {
        let mut leases = service.leases.borrow_mut();
        for watch in watches[..count].iter().filter(|it| done && it.seen == 0) {
            leases.end(watch.base);
        }
        Ok((leases.iter().filter(|it| it.is_retired()).count(), leases.len()))
    });
    let (left, all) = left.unwrap_or((0, 0));
    // SAFETY: as above.
    unsafe {
        ffi::lua_pushinteger(state, left as i64);
        ffi::lua_pushinteger(state, all as i64);
    }
    2
}

/// `share.holders(pointer): integer[]?`. The services that have a lease on a version; nothing if the version is gone.
pub(super) unsafe extern "C-unwind" fn holders(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` and our upvalue.
    unsafe {
        let (service, root) = (service(state), address(state, 1));
        let found = guard(|| {
            let segment = Segment::of_root(root);
            let bytes = segment.map(|it| it.holders().into_iter().flat_map(u32::to_ne_bytes).collect());
            Ok(bytes.map(|it| service.keep_text(it)))
        });
        let Ok(Some((at, len))) = found else { return 0 };
        // A finalizer that runs meanwhile may keep another text.
        ffi::lua_pushlstring(state, at.cast(), len);
        let holders = bytes(state, -1).unwrap_or_default();
        ffi::lua_createtable(state, (len / 4) as c_int, 0);
        for (place, holder) in holders.as_chunks().0.iter().enumerate() {
            ffi::lua_pushinteger(state, i64::from(u32::from_ne_bytes(*holder)));
            ffi::lua_rawseti(state, -2, place as i64 + 1);
        }
    }
    1
}

/// `share.stats(): integer, integer, integer`. Versions that are mapped in this process, their bytes, and the leases of this service.
pub(super) unsafe extern "C-unwind" fn stats(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` and our upvalue.
    let service = unsafe { service(state) };
    let found = guard(|| {
        let (count, bytes) = Segment::totals();
        Ok([count, bytes, service.leases.borrow().len()])
    });
    for number in found.unwrap_or_default() {
        // SAFETY: as above; nothing with a destructor is alive.
        unsafe { ffi::lua_pushinteger(state, number as i64) };
    }
    3
}
