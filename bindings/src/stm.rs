//! `skynet.stm`: a blob that one service writes and any service reads, each version at most once.
//!
//! A version is one arena payload, owned by the object and by each reader that has it in hand; nothing is copied, and whoever
//! reads an old one keeps it until its next read. `copy` makes a *ticket*, a light userdata for another service, which `newcopy`
//! there turns into a reader, once.
//!
//! # From skynet
//! lua-stm.c: `stm_object` → [`Shared`], `stm_copy` → [`Version`], `boxstm` → [`Writer`], `boxreader` → [`Reader`].

use std::collections::HashMap;
use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::LazyLock;

use skein_arena::sync::{Arc, Mutex};

use crate::multicast::package::Package;
use crate::object::{self, Object};
use crate::raw::{Raise, check_bytes, ffi, guard, lua_State, raise, raise_argument};
use crate::state::ServiceState;

const FUNCTIONS: [(&CStr, ffi::lua_CFunction); 3] = [(c"new", new), (c"copy", copy), (c"newcopy", newcopy)];

/// What writer and readers share.
struct Shared(Mutex<Version>);

struct Version {
    /// Counts up from 1.
    number: u64,
    /// Nothing once the writer is gone.
    body: Option<Package>,
}

impl Shared {
    fn with<R>(&self, work: impl FnOnce(&mut Version) -> R) -> R {
        // What a panic interrupted is whole: both fields are set by plain assignments.
        work(&mut self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    /// Puts in the next version; the one before is freed outside of the lock.
    fn publish(&self, body: Option<Package>) {
        let before = self.with(|version| {
            version.number += 1;
            std::mem::replace(&mut version.body, body)
        });
        drop(before);
    }
}

/// Objects that were copied and not yet claimed, by address, and how often.
type Tickets = HashMap<usize, (Arc<Shared>, usize)>;

static TICKETS: LazyLock<Mutex<Tickets>> = LazyLock::new(Mutex::default);

fn with_tickets<R>(work: impl FnOnce(&mut Tickets) -> R) -> R {
    // As for `Shared::with`.
    work(&mut TICKETS.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

struct Writer {
    shared: Arc<Shared>,
    /// The service whose Lua state owns this, which it outlives.
    service: *const ServiceState,
}

impl Object for Writer {
    const NAME: &'static CStr = c"stm writer";
    const CALL: Option<ffi::lua_CFunction> = Some(write);
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.publish(None);
    }
}

struct Reader {
    shared: Arc<Shared>,
    /// The version that was read last.
    seen: u64,
    /// Where its bytes are, in the service's hand.
    shown: usize,
    /// As for [`Writer`].
    service: *const ServiceState,
}

impl Object for Reader {
    const NAME: &'static CStr = c"stm reader";
    const CALL: Option<ffi::lua_CFunction> = Some(read);
}

impl Reader {
    /// Gives back what was read last.
    fn release(&mut self) {
        if self.shown != 0 {
            // SAFETY: the service outlives its Lua state, which owns this reader.
            let service = unsafe { &*self.service };
            // Whoever sent or freed it has taken our envelope around it.
            let _ = service.hand.discard(self.shown);
            self.shown = 0;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.release();
    }
}

/// `luaopen_skynet_stm`: pushes the module's table. Raises in a state without a service.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive.
    unsafe { crate::core::make(state, &FUNCTIONS) }
}

/// The version that the arguments from `first` on are: a string, or a block in hand with its size, which is taken.
///
/// # Safety
/// As [`raise`].
unsafe fn check_body(state: *mut lua_State, first: c_int) -> Body {
    // SAFETY: by the caller's promise.
    unsafe {
        if ffi::lua_type(state, first) == ffi::LUA_TLIGHTUSERDATA {
            let size = ffi::luaL_checkinteger(state, first + 1);
            return Body::Block(ffi::lua_touserdata(state, first).addr(), size);
        }
        let text: *const [u8] = check_bytes(state, first);
        Body::Text(text)
    }
}

/// Arguments that make a version, as plain data.
#[derive(Clone, Copy)]
enum Body {
    Block(usize, i64),
    Text(*const [u8]),
}

impl Body {
    /// # Safety
    /// A text is still in its slot.
    unsafe fn package(self, service: &ServiceState) -> Result<Package, Raise> {
        let block = match self {
            Body::Block(address, size) => service.hand.take(service.arena, address, size)?,
            // SAFETY: by the caller's promise.
            Body::Text(text) => service.arena.copy_from(unsafe { &*text })?,
        };
        Ok(Package::new(block))
    }
}

/// `stm.new(text: string | lightuserdata, size: integer?): userdata`, a writer. Takes a block.
unsafe extern "C-unwind" fn new(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`. Nothing with a destructor is alive when something raises.
    unsafe {
        let service = crate::core::service(state);
        let body = check_body(state, 1);
        let slot = object::push::<Writer>(state);
        let made = guard(|| {
            let version = Version { number: 1, body: Some(body.package(service)?) };
            let shared = Arc::new(Shared(Mutex::new(version)));
            *slot.value.try_borrow_mut()? = Some(Writer { shared, service });
            Ok(())
        });
        match made {
            Ok(()) => 1,
            Err(error) => raise(state, error),
        }
    }
}

/// `writer(text: string | lightuserdata, size: integer?)`: the next version. Takes a block.
unsafe extern "C-unwind" fn write(state: *mut lua_State) -> c_int {
    // SAFETY: as in `new`, but for the upvalue.
    unsafe {
        let Some(slot) = object::get::<Writer>(state, 1) else {
            raise_argument(state, 1, Raise::new("stm writer expected"))
        };
        let body = check_body(state, 2);
        let written = guard(|| {
            let value = slot.value.try_borrow()?;
            let writer = value.as_ref().ok_or_else(|| Raise::new("a closed stm writer"))?;
            writer.shared.publish(Some(body.package(&*writer.service)?));
            Ok(())
        });
        match written {
            Ok(()) => 0,
            Err(error) => raise(state, error),
        }
    }
}

/// `stm.copy(writer: userdata): lightuserdata`, for one reader in another service.
unsafe extern "C-unwind" fn copy(state: *mut lua_State) -> c_int {
    // SAFETY: as in `new`.
    unsafe {
        let Some(slot) = object::get::<Writer>(state, 1) else {
            raise_argument(state, 1, Raise::new("stm writer expected"))
        };
        let ticket = guard(|| {
            let value = slot.value.try_borrow()?;
            let writer = value.as_ref().ok_or_else(|| Raise::new("a closed stm writer"))?;
            let address = ptr::from_ref(&*writer.shared).addr();
            with_tickets(|all| {
                all.entry(address).or_insert_with(|| (Arc::clone(&writer.shared), 0)).1 += 1;
            });
            Ok(address)
        });
        match ticket {
            Ok(address) => ffi::lua_pushlightuserdata(state, ptr::without_provenance_mut::<c_void>(address)),
            Err(error) => raise(state, error),
        }
    }
    1
}

/// `stm.newcopy(ticket: lightuserdata): userdata`, a reader.
unsafe extern "C-unwind" fn newcopy(state: *mut lua_State) -> c_int {
    // SAFETY: as in `new`.
    unsafe {
        let service = crate::core::service(state);
        ffi::luaL_checktype(state, 1, ffi::LUA_TLIGHTUSERDATA);
        let address = ffi::lua_touserdata(state, 1).addr();
        let slot = object::push::<Reader>(state);
        let made = guard(|| {
            let shared = with_tickets(|all| {
                let (shared, left) = all.get_mut(&address)?;
                *left -= 1;
                if *left > 0 {
                    return Some(Arc::clone(shared));
                }
                all.remove(&address).map(|(shared, _)| shared)
            });
            let shared = shared.ok_or_else(|| Raise::new("no stm copy, or one that has its reader"))?;
            *slot.value.try_borrow_mut()? = Some(Reader { shared, seen: 0, shown: 0, service });
            Ok(())
        });
        match made {
            Ok(()) => 1,
            Err(error) => raise(state, error),
        }
    }
}

/// `reader(f: function, ud: any?): boolean, ...`: true and what `f(message, size, ud)` answers, if there is a version that this reader has
/// not seen.
unsafe extern "C-unwind" fn read(state: *mut lua_State) -> c_int {
    // SAFETY: as in `write`. The bytes stay in the service's hand until the next read that finds something.
    unsafe {
        let Some(slot) = object::get::<Reader>(state, 1) else {
            raise_argument(state, 1, Raise::new("stm reader expected"))
        };
        ffi::luaL_checktype(state, 2, ffi::LUA_TFUNCTION);
        ffi::lua_settop(state, 3);
        let news = guard(|| {
            let mut value = slot.value.try_borrow_mut()?;
            let reader = value.as_mut().ok_or_else(|| Raise::new("a closed stm reader"))?;
            let (number, body) = reader.shared.with(|version| (version.number, version.body.clone()));
            let Some(body) = body else {
                reader.release();
                return Ok(None);
            };
            if number == reader.seen {
                return Ok(None);
            }
            let service = &*reader.service;
            let envelope = body.envelope(service.arena)?;
            let size = envelope.len();
            reader.release();
            let at = service.hand.give(envelope);
            (reader.seen, reader.shown) = (number, at.addr());
            Ok(Some((at, size)))
        });
        let (at, size) = match news {
            Ok(Some(news)) => news,
            Ok(None) => {
                ffi::lua_pushboolean(state, 0);
                return 1;
            }
            Err(error) => raise(state, error),
        };
        ffi::lua_pushboolean(state, 1);
        ffi::lua_pushvalue(state, 2);
        ffi::lua_pushlightuserdata(state, at.cast_mut().cast());
        ffi::lua_pushinteger(state, size as i64);
        ffi::lua_pushvalue(state, 3);
        ffi::lua_callk(state, 3, ffi::LUA_MULTRET, 0, None);
        ffi::lua_gettop(state) - 3
    }
}
