//! `skynet.sharedata.core`: trees of configuration by address, and immutable blobs.
//!
//! A tree is a frozen table of plain values. It and the tables inside of it are named by their addresses, light userdata that
//! travel in messages; an address is believed only if it is one of a tree's tables: each table says its number, and the tree knows
//! where the table of that number lies. Whoever asks takes a lease, so strings are handed out as they are.
//!
//! # Invariants
//! * **D1** A tree is known until it is deleted; its memory stays as long as a state has a lease.
//! * **D2** The count is what callers make of it, and says only whether `delete` may.
//!
//! # From skynet
//! lua-sharedata.c: `lnewconf` → [`new`], `lindexconf` → [`index`], `lnextkey` → [`nextkey`], `struct ctrl` → [`Ctrl`].

use std::collections::BTreeMap;
use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard};

use skein_arena::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use skein_sharedata::Segment;
use skein_vm::shared::{self, Allowed};
use skein_vm::versions;

use super::{To, address, blob, root_at, segment_of};
use crate::core::{Entry, make, service};
use crate::raw::{Raise, ffi, guard, lua_State, raise};

const FUNCTIONS: [Entry; 17] = [
    (c"new", new),
    (c"delete", delete),
    (c"markdirty", markdirty),
    (c"getref", getref),
    (c"incref", incref),
    (c"decref", decref),
    (c"box", boxed),
    (c"index", index),
    (c"nextkey", nextkey),
    (c"len", len),
    (c"hashlen", hashlen),
    (c"isdirty", isdirty),
    (c"needupdate", needupdate),
    (c"update", update),
    (c"addref", blob::addref),
    (c"release", blob::release),
    (c"ptr", blob::pointer),
];

/// The metatable of a box.
const BOX: &CStr = c"confctrl";

/// Tables inside of tables.
const DEPTH: c_int = 190;

/// A tree.
struct Tree {
    segment: Arc<Segment>,
    /// Where the table of a number lies, in 16ths.
    places: Vec<u32>,
    dirty: AtomicBool,
    count: AtomicI64,
}

/// What a box holds.
#[repr(C)]
struct Ctrl {
    root: usize,
    /// The tree that comes after it, once there is one; its table is the box's user value.
    next: usize,
}

/// All trees, by first address.
static TREES: Mutex<BTreeMap<usize, Arc<Tree>>> = Mutex::new(BTreeMap::new());

fn trees() -> MutexGuard<'static, BTreeMap<usize, Arc<Tree>>> {
    TREES.lock().unwrap_or_else(|broken| broken.into_inner())
}

/// Opens `skynet.sharedata.core`. Stack: 1 out. Raises in a state without a service.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe { make(state, &FUNCTIONS) }
}

/// The tree that a table at an address belongs to.
fn tree_of(address: usize) -> Option<Arc<Tree>> {
    let trees = trees();
    let (&base, tree) = trees.range(..=address).next_back()?;
    let offset = address - base;
    if !offset.is_multiple_of(16) || offset + 48 > tree.segment.size() {
        return None;
    }
    // SAFETY: inside of the segment, which is mapped and never written; any bytes are a number.
    let number = unsafe { ptr::with_exposed_provenance::<u64>(address).read() } as usize;
    let found = tree.places.get(number).is_some_and(|&place| place as usize * 16 == offset);
    found.then(|| Arc::clone(tree))
}

/// Does something with the tree of argument 1. Raises `Need a conf object` if that is none.
///
/// # Safety
/// `state` runs a function of ours in which nothing with a destructor is alive.
unsafe fn with_tree<T: Copy>(state: *mut lua_State, with: impl FnOnce(&Tree) -> T) -> T {
    // SAFETY: by the caller's promise.
    let at = unsafe { address(state, 1) };
    let found = guard(|| Ok(with(&*tree_of(at).ok_or_else(|| Raise::new("Need a conf object"))?)));
    match found {
        Ok(found) => found,
        // SAFETY: nothing with a destructor is alive.
        Err(error) => unsafe { raise(state, error) },
    }
}

/// Takes a lease on the tree of argument 1, and pushes that table.
///
/// # Safety
/// As for [`with_tree`].
unsafe fn push_table(state: *mut lua_State) {
    // SAFETY: by the caller's promise; the lease keeps the table mapped.
    unsafe {
        let service = service(state);
        with_tree(state, |tree| service.leases.borrow_mut().take(&tree.segment));
        shared::push(state, root_at(address(state, 1)));
    }
}

/// `core.new(table): conf`, or `core.new(string)` and `core.new(lightuserdata, size)`: a blob.
unsafe extern "C-unwind" fn new(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; the freezer does not raise.
    unsafe {
        match ffi::lua_type(state, 1) {
            ffi::LUA_TSTRING | ffi::LUA_TLIGHTUSERDATA => return blob::new(state),
            _ => ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE),
        }
        ffi::lua_settop(state, 1);
        check(state, 1, 0);
        let made = guard(|| {
            let allowed = Allowed { plain: true, ..Allowed::default() };
            let segment = segment_of(state, 1, c"sharedata", allowed, To::Process)?;
            let (root, tables) = (segment.root(), segment.header().tables as usize);
            // SAFETY: we hold the segment; its tables were numbered when they were frozen.
            let places = versions::forward(root_at(root), tables, root_at(root), segment.span().0);
            let places = places.ok_or_else(|| Raise::new("memory error"))?;
            let base = segment.span().0;
            let tree = Tree { segment, places, dirty: AtomicBool::new(false), count: AtomicI64::new(0) };
            trees().insert(base, Arc::new(tree));
            Ok(root)
        });
        match made {
            Ok(root) => ffi::lua_pushlightuserdata(state, root_at(root).cast_mut()),
            Err(error) => raise(state, error),
        }
    }
    1
}

/// Raises unless the table at `index` is a tree of plain values.
///
/// # Safety
/// `index` is an absolute slot with a table; nothing with a destructor is alive.
unsafe fn check(state: *mut lua_State, index: c_int, depth: c_int) {
    // SAFETY: by the caller's promise; there is room for a few more values.
    unsafe {
        if depth > DEPTH || ffi::lua_checkstack(state, 4) == 0 {
            ffi::lua_pushstring(state, c"C stack overflow".as_ptr());
            ffi::lua_error(state);
        }
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, index) != 0 {
            match ffi::lua_type(state, -2) {
                ffi::LUA_TSTRING => {}
                ffi::LUA_TNUMBER if ffi::lua_isinteger(state, -2) != 0 => {}
                ffi::LUA_TNUMBER => invalid_key(state, -2),
                _ => {
                    let name = ffi::lua_typename(state, ffi::lua_type(state, -2));
                    ffi::lua_pushfstring(state, c"Invalid key type %s".as_ptr(), name);
                    ffi::lua_error(state);
                }
            }
            match ffi::lua_type(state, -1) {
                ffi::LUA_TBOOLEAN | ffi::LUA_TNUMBER | ffi::LUA_TSTRING => {}
                ffi::LUA_TTABLE => check(state, ffi::lua_gettop(state), depth + 1),
                other => {
                    let name = ffi::lua_typename(state, other);
                    ffi::lua_pushfstring(state, c"Unsupport value type %s".as_ptr(), name);
                    ffi::lua_error(state);
                }
            }
            ffi::lua_settop(state, -2);
        }
    }
}

/// Raises `Invalid key 1.5`.
///
/// # Safety
/// Slot `index` has a number; nothing with a destructor is alive.
unsafe fn invalid_key(state: *mut lua_State, index: c_int) {
    // SAFETY: by the caller's promise.
    unsafe {
        let key = ffi::lua_tonumberx(state, index, ptr::null_mut());
        ffi::lua_pushfstring(state, c"Invalid key %f".as_ptr(), key);
        ffi::lua_error(state);
    }
}

/// `core.delete(conf)`. The root of a tree that nobody counts on; others stay.
unsafe extern "C-unwind" fn delete(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe {
        let root = address(state, 1);
        with_tree(state, |tree| {
            if tree.segment.root() == root && tree.count.load(Ordering::Relaxed) <= 0 {
                tree.segment.retire();
                trees().remove(&tree.segment.span().0);
            }
        });
    }
    0
}

/// `core.markdirty(conf)`.
unsafe extern "C-unwind" fn markdirty(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe {
        with_tree(state, |tree| {
            tree.segment.retire();
            // Relaxed: who sees it asks for what comes next by message.
            tree.dirty.store(true, Ordering::Relaxed);
        });
    }
    0
}

/// `core.isdirty(conf): boolean`.
unsafe extern "C-unwind" fn isdirty(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe {
        let dirty = with_tree(state, |tree| tree.dirty.load(Ordering::Relaxed));
        ffi::lua_pushboolean(state, c_int::from(dirty));
    }
    1
}

/// Adds to the count of a tree; what it is then.
fn add(tree: &Tree, more: i64) -> i64 {
    tree.count.fetch_add(more, Ordering::Relaxed) + more
}

/// `core.getref(conf): integer`.
unsafe extern "C-unwind" fn getref(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe { ffi::lua_pushinteger(state, with_tree(state, |tree| add(tree, 0))) };
    1
}

/// `core.incref(conf): integer`.
unsafe extern "C-unwind" fn incref(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe { ffi::lua_pushinteger(state, with_tree(state, |tree| add(tree, 1))) };
    1
}

/// `core.decref(conf): integer`.
unsafe extern "C-unwind" fn decref(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe { ffi::lua_pushinteger(state, with_tree(state, |tree| add(tree, -1))) };
    1
}

/// `core.box(conf): userdata`. Counts until it is collected.
unsafe extern "C-unwind" fn boxed(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; counted when nothing can raise any more.
    unsafe {
        let root = address(state, 1);
        let service = service(state);
        with_tree(state, |tree| service.leases.borrow_mut().take(&tree.segment));
        let made = ffi::lua_newuserdatauv(state, size_of::<Ctrl>(), 1).cast::<Ctrl>();
        made.write(Ctrl { root: 0, next: 0 });
        if ffi::luaL_newmetatable(state, BOX.as_ptr()) != 0 {
            ffi::lua_pushcclosure(state, unbox, 0);
            ffi::lua_setfield(state, -2, c"__gc".as_ptr());
        }
        ffi::lua_setmetatable(state, -2);
        with_tree(state, |tree| add(tree, 1));
        (*made).root = root;
    }
    1
}

/// The box at an argument; raises if that is none.
///
/// # Safety
/// As for [`with_tree`].
unsafe fn ctrl<'a>(state: *mut lua_State) -> &'a mut Ctrl {
    // SAFETY: by the caller's promise. A program with `debug.setmetatable` may lie about the type, so the size is checked; what
    // is in there is a number that is looked up.
    unsafe {
        let found = ffi::luaL_checkudata(state, 1, BOX.as_ptr()).cast::<Ctrl>();
        if ffi::lua_rawlen(state, 1) as usize != size_of::<Ctrl>() {
            ffi::luaL_argerror(state, 1, c"not a box".as_ptr());
        }
        &mut *found
    }
}

/// The finalizer of a box.
unsafe extern "C-unwind" fn unbox(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    let root = unsafe { std::mem::take(&mut ctrl(state).root) };
    let _ = guard(|| {
        if let Some(tree) = tree_of(root) {
            add(&tree, -1);
        }
        Ok(())
    });
    0
}

/// `core.needupdate(box): conf?, table?`. What `update` left.
unsafe extern "C-unwind" fn needupdate(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe {
        match ctrl(state).next {
            0 => 0,
            next => {
                ffi::lua_pushlightuserdata(state, root_at(next).cast_mut());
                ffi::lua_getiuservalue(state, 1, 1);
                2
            }
        }
    }
}

/// `core.update(box, conf, table)`. What comes after the tree in the box.
unsafe extern "C-unwind" fn update(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe {
        let ctrl = ctrl(state);
        ffi::luaL_checktype(state, 2, ffi::LUA_TLIGHTUSERDATA);
        ffi::luaL_checktype(state, 3, ffi::LUA_TTABLE);
        let next = address(state, 2);
        if next == ctrl.root {
            return ffi::luaL_error(state, c"You should update a new object".as_ptr());
        }
        ffi::lua_settop(state, 3);
        ffi::lua_setiuservalue(state, 1, 1);
        ctrl.next = next;
    }
    0
}

/// `core.index(conf, key): value`. A table inside is a conf.
unsafe extern "C-unwind" fn index(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe {
        ffi::lua_settop(state, 2);
        match ffi::lua_type(state, 2) {
            ffi::LUA_TNIL => {
                with_tree(state, |_| ());
                return 0;
            }
            ffi::LUA_TNUMBER if ffi::lua_isinteger(state, 2) != 0 => {}
            ffi::LUA_TNUMBER => invalid_key(state, 2),
            _ => _ = ffi::luaL_checklstring(state, 2, ptr::null_mut()),
        }
        push_table(state);
        ffi::lua_pushvalue(state, 2);
        match ffi::lua_rawget(state, 3) {
            ffi::LUA_TNIL => 0,
            ffi::LUA_TTABLE => {
                let inner: *const c_void = ffi::lua_topointer(state, -1);
                ffi::lua_pushlightuserdata(state, inner.cast_mut());
                1
            }
            _ => 1,
        }
    }
}

/// `core.nextkey(conf, key?): key?`. All keys, in an order that stays.
unsafe extern "C-unwind" fn nextkey(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; `lua_next` is asked only for keys that are there, and so does not raise.
    unsafe {
        ffi::lua_settop(state, 2);
        let known = match ffi::lua_type(state, 2) {
            ffi::LUA_TNIL | ffi::LUA_TSTRING => true,
            ffi::LUA_TNUMBER => ffi::lua_isinteger(state, 2) != 0,
            _ => {
                ffi::luaL_checklstring(state, 2, ptr::null_mut());
                false
            }
        };
        push_table(state);
        if !known {
            return 0;
        }
        ffi::lua_pushvalue(state, 2);
        if ffi::lua_type(state, 2) != ffi::LUA_TNIL {
            if ffi::lua_rawget(state, 3) == ffi::LUA_TNIL {
                return 0;
            }
            ffi::lua_settop(state, 3);
            ffi::lua_pushvalue(state, 2);
        }
        if ffi::lua_next(state, 3) == 0 {
            return 0;
        }
        ffi::lua_settop(state, -2);
    }
    1
}

/// `core.len(conf): integer`. How many elements the array has.
unsafe extern "C-unwind" fn len(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe {
        push_table(state);
        ffi::lua_pushinteger(state, ffi::lua_rawlen(state, -1) as i64);
    }
    1
}

/// `core.hashlen(conf): integer`. How many other keys there are.
unsafe extern "C-unwind" fn hashlen(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; keys come from `lua_next` itself.
    unsafe {
        ffi::lua_settop(state, 1);
        push_table(state);
        let border = ffi::lua_rawlen(state, 2) as i64;
        let mut count = 0;
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, 2) != 0 {
            let element = ffi::lua_isinteger(state, -2) != 0
                && (1..=border).contains(&ffi::lua_tointegerx(state, -2, ptr::null_mut()));
            count += i64::from(!element);
            ffi::lua_settop(state, -2);
        }
        ffi::lua_pushinteger(state, count);
    }
    1
}
