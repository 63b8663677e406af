//! Tables that all services of the process read and nobody copies: `skynet.sharetable.core` and `skein.share`.
//!
//! A table is built in a state of its own ([`sandbox`]) or by the caller, frozen into a segment of `skein-sharedata`, and named by
//! the address of its root, a light userdata that travels in messages. An address proves nothing: it is looked up among the
//! segments that are mapped, and a state that opens it takes a lease first, kept in its [`ServiceState`](crate::state::ServiceState) until the Lua state
//! is closed or until a proof says that nothing refers to the segment any more (`versions.rs`).
//!
//! # Invariants
//! * **F1** A state has a lease on every segment that it may refer to. Leases are dropped after the Lua state is closed.
//! * **F2** Whoever made a version holds it through [`OWNED`] until it is closed: a matrix has no finalizer, as in skynet.
//!
//! # From skynet
//! lua-sharetable.c: `matrix_from_file`, `load_matrixfile` → [`sandbox`], `mark_shared` and the patched machine →
//! [`skein_vm::shared`], `clone_table` → [`table`], `lco_stackvalues` → [`table`].

use std::collections::HashMap;
use std::ffi::{CStr, c_int, c_void};
use std::sync::{Arc, Mutex, MutexGuard};

use skein_sharedata::segment::{Contents, Origin};
use skein_sharedata::{Draft, Segment, Tables};
use skein_vm::seed;
use skein_vm::shared::{self, Allowed};

use crate::core::{Entry, make, service};
use crate::raw::{ffi, lua_State};

mod blob;
pub mod cli;
pub(crate) mod data;
pub(crate) mod domain;
mod matrix;
mod sandbox;
mod table;
pub(crate) mod versions;

const CORE: [Entry; 4] = [
    (c"matrix", matrix::matrix),
    (c"clone", table::clone),
    (c"is_sharedtable", table::is_sharedtable),
    (c"stackvalues", table::stackvalues),
];

const SHARE: [Entry; 14] = [
    (c"attach", domain::attach),
    (c"build", matrix::build),
    (c"domain", domain::domain),
    (c"freeze", matrix::freeze),
    (c"holders", versions::holders),
    (c"names", domain::names),
    (c"open", table::open),
    (c"publish", matrix::publish),
    (c"remove", domain::remove),
    (c"renew", versions::renew),
    (c"scan", versions::scan),
    (c"stats", versions::stats),
    (c"succeed", versions::succeed),
    (c"watch", domain::watch),
];

/// Opens `skynet.sharetable.core`. Stack: 1 out. Raises in a state without a service.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open_core(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe { make(state, &CORE) }
}

/// Opens `skein.share`. Stack: 1 out. Raises in a state without a service.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open_share(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe { make(state, &SHARE) }
}

/// The address that argument `index` shows; 0 if that is no userdata.
///
/// # Safety
/// `index` is a slot of `state`, or one above.
unsafe fn address(state: *mut lua_State, index: c_int) -> usize {
    // SAFETY: by the caller's promise.
    unsafe { ffi::lua_touserdata(state, index).addr() }
}

/// A version that somebody keeps.
struct Owned {
    segment: Arc<Segment>,
    /// How many do.
    count: usize,
}

/// Versions that somebody keeps (F2), by the address of the root.
static OWNED: Mutex<Option<HashMap<usize, Owned>>> = Mutex::new(None);

fn owned() -> MutexGuard<'static, Option<HashMap<usize, Owned>>> {
    OWNED.lock().unwrap_or_else(|broken| broken.into_inner())
}

/// Holds a version that is current for one more keeper: the address of its root.
fn keep(segment: Arc<Segment>) -> usize {
    let root = segment.root();
    segment.revive();
    let mut owned = owned();
    let all = owned.get_or_insert_default();
    // What was there before is the same segment, or none: it keeps its addresses.
    all.entry(root).and_modify(|it| it.count += 1).or_insert(Owned { segment, count: 1 });
    root
}

/// A keeper lets go. When the last one does, nobody here will ask for this version again.
fn let_go(root: usize) {
    let last = owned().as_mut().and_then(|all| {
        let it = all.get_mut(&root)?;
        it.count -= 1;
        if it.count == 0 { all.remove(&root) } else { None }
    });
    if let Some(last) = last {
        last.segment.retire();
    }
}

/// Where a version goes.
#[derive(Clone, Copy)]
enum To<'a> {
    /// Memory of this process.
    Process,
    /// A domain, whose current version of the name it becomes.
    Domain(&'a Arc<Tables>),
}

/// Freezes the table at `index` of `state` into a segment. Into a domain go no pointers: they mean nothing elsewhere.
///
/// # Safety
/// `state` is a live state that runs nothing but the caller.
unsafe fn segment_of(
    state: *mut lua_State,
    index: c_int,
    name: &CStr,
    allowed: Allowed,
    to: To<'_>,
) -> Result<Arc<Segment>, skein_sharedata::Error> {
    let (mut draft, allowed) = match to {
        To::Process => (Draft::new()?, allowed),
        To::Domain(tables) => (tables.draft()?, Allowed { pointers: false, ..allowed }),
    };
    let start = draft.start();
    let end = start.wrapping_add(draft.room());
    let mut full = None;
    let grow = |need| {
        full = draft.grow(need).err();
        full.is_none().then(|| start.wrapping_add(draft.room()))
    };
    // SAFETY: by the caller's promise; the draft is ours, and grows where it ends.
    let frozen = unsafe { shared::freeze(state, index, name, allowed, (start, end), grow) };
    let frozen = match (frozen, full) {
        (Ok(frozen), _) => frozen,
        // Why there was no room says more than that there was none.
        (Err(_), Some(full)) => return Err(full),
        (Err(text), None) => return Err(skein_sharedata::Error::Refused(text)),
    };
    let contents =
        Contents { used: frozen.used, root: frozen.root, tables: frozen.tables, strings: frozen.strings };
    let name = name.to_string_lossy();
    match to {
        To::Process => draft.seal(&name, contents, Origin { seed: seed::get(), machine: shared::machine() }),
        To::Domain(_) => draft.publish(&name, contents),
    }
}

/// An error with its causes.
pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(it) = cause {
        // What is transparent says it already.
        let more = it.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = it.source();
    }
    text
}

/// A pointer to a root, for the machine.
fn root_at(address: usize) -> *const c_void {
    std::ptr::with_exposed_provenance(address)
}
