//! The pool of buffer nodes, as a program sees it.
//!
//! skynet keeps the chunks that were read in nodes, and nodes in a table of the program's: free ones under 1, and from 2 on chunks
//! of 16, 32, … 4096 nodes. Here a chunk needs no node. What a program can see is kept: the table grows by an entry when more
//! chunks are stored than it has nodes for, and the log warns of too many entries.
//!
//! The count is in a userdata under 1, one for each table.

use std::cell::Cell;
use std::ffi::c_int;

use skein_runtime::Handle;

use crate::raw::{ffi, lua_State};
use crate::state::ServiceState;

/// Nodes of the first entry are twice this.
const FIRST: u64 = 8;
/// Entries beyond this have no more nodes than the one before.
const MOST_DOUBLINGS: i64 = 9;
/// Entries above which the log warns.
const MANY: i64 = 32;
/// Says that a userdata is ours, with its address.
const MAGIC: usize = usize::from_ne_bytes(*b"skpool\0\x01");

/// Nodes of one table.
#[repr(C)]
pub(super) struct Pool {
    tag: usize,
    nodes: Cell<u64>,
    used: Cell<u64>,
}

/// Pushes the metatable of counts.
///
/// # Safety
/// `state` has free slots; may raise.
pub(super) unsafe fn open(state: *mut lua_State) {
    // SAFETY: by the caller's promise.
    unsafe {
        ffi::lua_createtable(state, 0, 1);
        ffi::lua_pushboolean(state, 0);
        ffi::lua_setfield(state, -2, c"__metatable".as_ptr());
    }
}

impl Pool {
    /// Counts one node more, if that needs no new entry.
    pub(super) fn take_free(&self) -> bool {
        let free = self.used.get() < self.nodes.get();
        if free {
            self.used.set(self.used.get() + 1);
        }
        free
    }

    /// Counts one node less.
    pub(super) fn give_back(&self) {
        self.used.set(self.used.get().saturating_sub(1));
    }
}

/// What the tag of a count at `address` is: what nobody else can have written there.
fn tag(address: usize) -> usize {
    address.rotate_left(7) ^ (open as *const () as usize) ^ MAGIC
}

/// The userdata at the top of the stack, if it is a count.
///
/// # Safety
/// There is a value on the stack. The answer is good while it stays there.
pub(super) unsafe fn count<'a>(state: *mut lua_State) -> Option<&'a Pool> {
    // SAFETY: by the caller's promise; words are read only of a full userdata that has them, and one with this tag was made by `take`.
    unsafe {
        if ffi::lua_type(state, -1) != ffi::LUA_TUSERDATA
            || ffi::lua_rawlen(state, -1) as usize != size_of::<Pool>()
        {
            return None;
        }
        let at = ffi::lua_touserdata(state, -1).cast_const().cast::<Pool>();
        ((&raw const (*at).tag).read() == tag(at.addr())).then(|| &*at)
    }
}

/// Counts one node more in the pool at `index`, a table.
///
/// # Safety
/// As [`count`]; may raise a memory error, and runs no code of a program's: nothing with a destructor may be alive.
pub(super) unsafe fn take(state: *mut lua_State, service: &ServiceState, index: c_int) {
    // SAFETY: by the caller's promise. The userdata stays on the stack while it is used.
    unsafe {
        let top = ffi::lua_gettop(state);
        ffi::lua_rawgeti(state, index, 1);
        let pool = match count(state) {
            Some(pool) => pool,
            None => {
                let made = ffi::lua_newuserdatauv(state, size_of::<Pool>(), 0).cast::<Pool>();
                made.write(Pool { tag: tag(made.addr()), nodes: Cell::new(0), used: Cell::new(0) });
                ffi::lua_pushvalue(state, ffi::lua_upvalueindex(2));
                ffi::lua_setmetatable(state, -2);
                ffi::lua_pushvalue(state, -1);
                ffi::lua_rawseti(state, index, 1);
                &*made
            }
        };
        if pool.used.get() == pool.nodes.get() {
            let entries = ffi::lua_rawlen(state, index) as i64;
            let nodes = FIRST << entries.min(MOST_DOUBLINGS);
            ffi::lua_newuserdatauv(state, 0, 0);
            ffi::lua_rawseti(state, index, entries + 1);
            pool.nodes.set(pool.nodes.get() + nodes);
            if entries + 1 > MANY {
                let _ = crate::raw::guard(|| {
                    let line = format!("Too many socket pool ({})", entries + 1);
                    service.ctx.node().log(Handle::NONE, line.as_bytes());
                    Ok(())
                });
            }
        }
        pool.used.set(pool.used.get() + 1);
        ffi::lua_settop(state, top);
    }
}

/// Counts `nodes` less in the pool at `index`, if that is a table which has a count.
///
/// # Safety
/// As [`count`]; raises nothing.
pub(super) unsafe fn give(state: *mut lua_State, index: c_int, nodes: usize) {
    // SAFETY: by the caller's promise.
    unsafe {
        if nodes == 0 || ffi::lua_type(state, index) != ffi::LUA_TTABLE {
            return;
        }
        ffi::lua_rawgeti(state, index, 1);
        if let Some(pool) = count(state) {
            pool.used.set(pool.used.get().saturating_sub(nodes as u64));
        }
        ffi::lua_settop(state, -2);
    }
}
