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

use skein_sharedata::Segment;
use skein_sharedata::segment::{Contents, Draft, Origin};
use skein_vm::seed;
use skein_vm::shared::{self, Allowed};

use crate::core::{Entry, make, service};
use crate::raw::{ffi, lua_State};

mod blob;
pub(crate) mod data;
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

const SHARE: [Entry; 8] = [
    (c"build", matrix::build),
    (c"freeze", matrix::freeze),
    (c"holders", versions::holders),
    (c"open", table::open),
    (c"renew", versions::renew),
    (c"scan", versions::scan),
    (c"stats", versions::stats),
    (c"succeed", versions::succeed),
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

/// Versions whose maker has not let go of them (F2), by the address of the root.
static OWNED: Mutex<Option<HashMap<usize, Arc<Segment>>>> = Mutex::new(None);

fn owned() -> MutexGuard<'static, Option<HashMap<usize, Arc<Segment>>>> {
    OWNED.lock().unwrap_or_else(|broken| broken.into_inner())
}

/// Holds a new version for its maker: the address of its root.
fn keep(segment: Arc<Segment>) -> usize {
    let root = segment.root();
    owned().get_or_insert_default().insert(root, segment);
    root
}

/// Its maker lets go.
fn let_go(root: usize) {
    let segment = owned().as_mut().and_then(|all| all.remove(&root));
    if let Some(segment) = segment {
        segment.retire();
    }
}

/// Freezes the table at `index` of `state` into a segment of this process.
///
/// # Safety
/// `state` is a live state that runs nothing but the caller.
unsafe fn segment_of(
    state: *mut lua_State,
    index: c_int,
    name: &CStr,
    allowed: Allowed,
) -> Result<Arc<Segment>, skein_sharedata::Error> {
    let mut draft = Draft::new()?;
    let start = draft.start();
    let end = start.wrapping_add(draft.room());
    let grow = |need| {
        draft.grow(need).ok()?;
        Some(start.wrapping_add(draft.room()))
    };
    // SAFETY: by the caller's promise; the draft is ours, and grows where it ends.
    let frozen = unsafe { shared::freeze(state, index, name, allowed, (start, end), grow) }
        .map_err(skein_sharedata::Error::Refused)?;
    let contents =
        Contents { used: frozen.used, root: frozen.root, tables: frozen.tables, strings: frozen.strings };
    let origin = Origin { seed: seed::get(), machine: shared::machine() };
    draft.seal(&name.to_string_lossy(), contents, origin)
}

/// A pointer to a root, for the machine.
fn root_at(address: usize) -> *const c_void {
    std::ptr::with_exposed_provenance(address)
}
