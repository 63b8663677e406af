//! Reading Lua values where they are: no copies on a stack, one call per value.
//!
//! What these functions give are views of the machine's objects. They are good while no Lua code runs and nothing is
//! allocated or written in the state: then no table changes its shape and nothing is collected. Objects must be reachable
//! from the stack. Within that, nothing here raises, so that a walk may own things.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::{ptr, slice};

use crate::ffi::lua_State;

/// Whether whoever called the running C function drops what it answers.
///
/// # Safety
/// `state` runs a C function.
#[inline(always)]
pub unsafe fn is_for_nothing(state: *mut lua_State) -> bool {
    unsafe extern "C-unwind" {
        fn skein_wanted(state: *mut lua_State) -> c_int;
    }
    // SAFETY: by the caller's promise.
    unsafe { skein_wanted(state) == 0 }
}

/// A table of the state. See the module for how long it is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table(*const c_void);

/// A value. Strings and tables are views.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// `nil`, or what is not there.
    Nil,
    /// A boolean.
    Boolean(bool),
    /// A number, integer.
    Integer(i64),
    /// A number, real.
    Real(f64),
    /// A string.
    String(&'a [u8]),
    /// A light userdata.
    Pointer(usize),
    /// A table.
    Table(Table),
    /// A full userdata: its bytes, which Lua code may write to, and its metatable, as `lua_topointer` names it.
    Userdata(*const [u8], *const c_void),
    /// A function, a thread: its `LUA_T*`.
    Other(c_int),
}

/// `skein_Item` of `csrc/walk.c`. Which fields are set depends on the kind.
#[repr(C)]
struct Item {
    bits: MaybeUninit<u64>,
    bytes: MaybeUninit<*const u8>,
    kind: u32,
    ty: MaybeUninit<u32>,
    size: MaybeUninit<usize>,
}

impl Item {
    #[inline(always)]
    const fn new() -> Item {
        let unset = MaybeUninit::uninit();
        Item {
            bits: unset,
            bytes: MaybeUninit::uninit(),
            kind: 0,
            ty: MaybeUninit::uninit(),
            size: MaybeUninit::uninit(),
        }
    }

    /// # Safety
    /// C has filled it in, and the object that it tells of lives for `'a`.
    #[inline(always)]
    unsafe fn read<'a>(&self) -> Value<'a> {
        // SAFETY: each kind comes with its fields (csrc/walk.c); a string has as many bytes as its size says.
        unsafe {
            match self.kind {
                0 => Value::Nil,
                1 => Value::Boolean(false),
                2 => Value::Boolean(true),
                3 => Value::Integer(self.bits.assume_init() as i64),
                4 => Value::Real(f64::from_bits(self.bits.assume_init())),
                5 => Value::String(slice::from_raw_parts(self.bytes.assume_init(), self.size.assume_init())),
                6 => Value::Pointer(self.bits.assume_init() as usize),
                7 => Value::Table(Table(ptr::with_exposed_provenance(self.bits.assume_init() as usize))),
                9 => {
                    let bytes = ptr::slice_from_raw_parts(self.bytes.assume_init(), self.size.assume_init());
                    let metatable = ptr::with_exposed_provenance(self.bits.assume_init() as usize);
                    Value::Userdata(bytes, metatable)
                }
                _ => Value::Other(self.ty.assume_init() as c_int),
            }
        }
    }
}

unsafe extern "C" {
    fn skein_walk_slot(state: *mut lua_State, index: c_int, item: *mut Item);
    fn skein_walk_slots(state: *mut lua_State, first: c_int, count: c_int, items: *mut Item);
    fn skein_walk_border(state: *mut lua_State, table: *const c_void, event: *const c_void) -> i64;
    fn skein_walk_is_plain(table: *const c_void) -> c_int;
    fn skein_walk_field(
        state: *mut lua_State,
        table: *const c_void,
        key: *const c_void,
        item: *mut Item,
    ) -> c_int;
    fn skein_walk_item(table: *const c_void, index: i64, item: *mut Item);
    fn skein_walk_pair(table: *const c_void, at: u64, border: i64, key: *mut Item, value: *mut Item) -> u64;
}

/// The value in slot `index`.
///
/// # Safety
/// `index` is a valid slot of `state`; the value is used as the module says.
#[inline]
pub unsafe fn slot<'a>(state: *mut lua_State, index: c_int) -> Value<'a> {
    let mut item = Item::new();
    // SAFETY: by the caller's promise.
    unsafe {
        skein_walk_slot(state, index, &mut item);
        item.read()
    }
}

/// The values of several slots, which were all looked at in one call.
pub struct Slots<const N: usize>([Item; N]);

impl<const N: usize> Slots<N> {
    /// Looks at the `count` slots from `first` on, at most `N`. What is above the top is nil.
    ///
    /// # Panics
    /// If `count` is more than `N`.
    ///
    /// # Safety
    /// `state` runs a C function, and `first` is at least 1. The values are used as the module says.
    #[inline(always)]
    pub unsafe fn look(state: *mut lua_State, first: c_int, count: usize) -> Slots<N> {
        assert!(count <= N, "room for {N} values");
        let mut slots = Slots([const { Item::new() }; N]);
        // SAFETY: by the caller's promise; there is room for `count` items.
        unsafe { skein_walk_slots(state, first, count as c_int, slots.0.as_mut_ptr()) };
        slots
    }

    /// The value at place `at`, from 0 on; nil where nobody looked.
    ///
    /// # Safety
    /// It is used as the module says.
    #[inline(always)]
    pub unsafe fn value<'a>(&self, at: usize) -> Value<'a> {
        // SAFETY: by the caller's promise; C has filled it in, or it is the nil that it began as.
        unsafe { self.0[at].read() }
    }
}

impl Table {
    /// The border of the table (its raw length), or `None` if its metatable has a field named `event`: the address, as
    /// `lua_topointer` gives it, of a short string of the state.
    ///
    /// # Safety
    /// The table is good, as the module says, and belongs to `state`; `event` is null, or such a string.
    #[inline]
    pub unsafe fn border(self, state: *mut lua_State, event: *const c_void) -> Option<i64> {
        // SAFETY: by the caller's promise.
        let border = unsafe { skein_walk_border(state, self.0, event) };
        (border >= 0).then_some(border)
    }

    /// The value at `index`, which is at least 1; raw.
    ///
    /// # Safety
    /// The table is good, as the module says.
    #[inline]
    pub unsafe fn item<'a>(self, index: i64) -> Value<'a> {
        let mut item = Item::new();
        // SAFETY: by the caller's promise.
        unsafe {
            skein_walk_item(self.0, index, &mut item);
            item.read()
        }
    }

    /// Whether the table has no metatable.
    ///
    /// # Safety
    /// The table is good, as the module says.
    #[inline]
    pub unsafe fn is_plain(self) -> bool {
        // SAFETY: by the caller's promise.
        unsafe { skein_walk_is_plain(self.0) != 0 }
    }

    /// The value under the string `name`, as indexing gives it; `None` if that would call a metamethod.
    ///
    /// # Safety
    /// The table is good, as the module says, and belongs to `state`; `name` is the address, as `lua_topointer` gives it, of a string
    /// of the state.
    #[inline]
    pub unsafe fn field<'a>(self, state: *mut lua_State, name: *const c_void) -> Option<Value<'a>> {
        let mut item = Item::new();
        // SAFETY: by the caller's promise.
        unsafe { (skein_walk_field(state, self.0, name, &mut item) != 0).then(|| item.read()) }
    }

    /// The first pair from place `at` on (0 to begin with), in the order of `next` and without the keys `1..=border`;
    /// and the place behind it.
    ///
    /// # Safety
    /// The table is good, as the module says; `at` came from this function, for the same table and border.
    #[inline]
    pub unsafe fn pair<'a>(self, at: u64, border: i64) -> Option<(Value<'a>, Value<'a>, u64)> {
        let (mut key, mut value) = (Item::new(), Item::new());
        // SAFETY: by the caller's promise; both are filled in when there is a pair.
        unsafe {
            match skein_walk_pair(self.0, at, border, &mut key, &mut value) {
                0 => None,
                next => Some((key.read(), value.read(), next)),
            }
        }
    }
}
