//! `direct`: what `skynet.socket` does with the usual events, without a task.
//!
//! Nearly every event of a connection only changes a few fields of its record and wakes whoever waits for it. To run Lua for that takes a
//! task, which costs several times as much as the work. So the library hands over where its records are, and the dispatcher asks
//! [`handle`] first. What it does is what the handler in `lualib/skynet/socket.lua` does with the same event, field by field; whatever is
//! not usual (a limit, a pause, a hook, a record that is no more) is left to that handler.
//!
//! # Invariants
//! * **Q1** Nothing is changed before it is certain that nothing else has to be done than what is done here.
//! * **Q2** What runs here neither raises nor allocates for Lua: fields are read, set to nil, or set where there is a value.

use std::ffi::c_int;

use skein_runtime::socket::event::{EventKind, Head};

use super::{buffer, event, pool};
use crate::raw::{ffi, lua_State};
use crate::state::ServiceState;

/// Names of the fields of a record, in the order of their slots.
const FIELDS: [&std::ffi::CStr; 8] =
    [c"connected", c"connecting", c"listening", c"buffer", c"reader", c"want", c"whole", c"limit"];
const CONNECTED: i64 = 0;
const CONNECTING: i64 = 1;
const LISTENING: i64 = 2;
const BUFFER: i64 = 3;
const READER: i64 = 4;
const WANT: i64 = 5;
const WHOLE: i64 = 6;
const LIMIT: i64 = 7;

/// Slots of the table that [`direct`] makes: its arguments, and the names of the fields.
pub(crate) const DISPATCH: i64 = 1;
pub(crate) const UNPACK: i64 = 2;
const SOCKETS: i64 = 3;
const HOOKS: i64 = 4;
const POOL: i64 = 5;
/// More bytes than this unread are the handler's.
const MOST: i64 = 6;
const NAMES: i64 = 7;

/// What became of an event.
pub(crate) enum Handled {
    /// Nothing: it takes a task.
    Not,
    /// It is done.
    Done,
    /// It is done, and the sleeper on this coroutine is to be woken.
    Wakes(*mut lua_State),
}

/// `driver.direct(dispatch, unpack, sockets, hooks, pool, most): table`, for the field `direct` of a message class: as long as the class
/// has this handler and this `unpack`, usual events of `sockets` take no task.
pub(super) unsafe extern "C-unwind" fn direct(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; nothing with a destructor is alive when these raise.
    unsafe {
        for index in [DISPATCH, UNPACK] {
            ffi::luaL_checktype(state, index as c_int, ffi::LUA_TFUNCTION);
        }
        for index in [SOCKETS, HOOKS, POOL] {
            ffi::luaL_checktype(state, index as c_int, ffi::LUA_TTABLE);
        }
        ffi::luaL_checkinteger(state, MOST as c_int);
        ffi::lua_settop(state, MOST as c_int);
        ffi::lua_createtable(state, NAMES as c_int + FIELDS.len() as c_int, 0);
        for index in DISPATCH..=MOST {
            ffi::lua_pushvalue(state, index as c_int);
            ffi::lua_rawseti(state, -2, index);
        }
        for (index, name) in (NAMES..).zip(FIELDS) {
            ffi::lua_pushstring(state, name.as_ptr());
            ffi::lua_rawseti(state, -2, index);
        }
    }
    1
}

/// Does what the message at `address`, which is held, is about, if that is usual. `asleep` says of a coroutine whether it waits for a wake-up
/// that nobody has sent yet.
///
/// # Safety
/// `desk` is a Lua thread that runs nothing, with room for eight values; the table of [`direct`] is in its slot `at`. Slots above the
/// top are left there: the caller cuts them.
pub(crate) unsafe fn handle(
    service: &ServiceState,
    desk: *mut lua_State,
    at: c_int,
    address: usize,
    size: i64,
    asleep: impl Fn(*mut lua_State) -> bool,
) -> Handled {
    // SAFETY: by the caller's promise; the hand keeps the message, and nobody writes it while we read.
    unsafe {
        let Ok((body, size)) = service.hand.look(address, size) else { return Handled::Not };
        let Some((head, _)) = Head::read(std::slice::from_raw_parts(body, size)) else { return Handled::Not };
        let id = i64::from(head.id);
        ffi::lua_rawgeti(desk, at, SOCKETS);
        if ffi::lua_rawgeti(desk, -1, id) != ffi::LUA_TTABLE {
            return Handled::Not;
        }
        let record = Record { desk, at, index: ffi::lua_gettop(desk) };
        // Data come most often.
        if head.kind == EventKind::Data as i32 {
            record.data(service, address, head, asleep)
        } else if head.kind == EventKind::Connect as i32 {
            record.connected(asleep)
        } else if head.kind == EventKind::Close as i32 {
            ffi::lua_rawgeti(desk, at, HOOKS);
            let hooked = ffi::lua_rawgeti(desk, -1, id) != ffi::LUA_TNIL;
            if hooked { Handled::Not } else { record.closed(asleep) }
        } else {
            Handled::Not
        }
    }
}

/// The record of a socket, in slot `index` of the desk.
struct Record {
    desk: *mut lua_State,
    at: c_int,
    index: c_int,
}

/// Who waits.
enum Reader {
    Nobody,
    Asleep(*mut lua_State),
    /// Something that the handler has to look at.
    Other,
}

impl Record {
    /// Pushes a field, and says of which type it is.
    unsafe fn push(&self, field: i64) -> c_int {
        // SAFETY: as in `handle`; the record and the table are where they were.
        unsafe {
            ffi::lua_rawgeti(self.desk, self.at, NAMES + field);
            ffi::lua_rawget(self.desk, self.index)
        }
    }

    /// The type of a field.
    unsafe fn kind(&self, field: i64) -> c_int {
        // SAFETY: as above.
        unsafe {
            let kind = self.push(field);
            ffi::lua_settop(self.desk, -2);
            kind
        }
    }

    unsafe fn is_true(&self, field: i64) -> bool {
        // SAFETY: as above.
        unsafe {
            self.push(field);
            let is = ffi::lua_toboolean(self.desk, -1) != 0;
            ffi::lua_settop(self.desk, -2);
            is
        }
    }

    /// Sets a field to nil.
    unsafe fn clear(&self, field: i64) {
        // SAFETY: as above; nil is never inserted (Q2).
        unsafe {
            ffi::lua_rawgeti(self.desk, self.at, NAMES + field);
            ffi::lua_pushnil(self.desk);
            ffi::lua_rawset(self.desk, self.index);
        }
    }

    /// Sets `connected`, which has a value (Q2).
    unsafe fn set_connected(&self, to: bool) {
        // SAFETY: as above.
        unsafe {
            ffi::lua_rawgeti(self.desk, self.at, NAMES + CONNECTED);
            ffi::lua_pushboolean(self.desk, to.into());
            ffi::lua_rawset(self.desk, self.index);
        }
    }

    unsafe fn reader(&self, asleep: impl Fn(*mut lua_State) -> bool) -> Reader {
        // SAFETY: as above. The record keeps the coroutine, or whoever waits for it does.
        unsafe {
            let kind = self.push(READER);
            let (reader, is) = (ffi::lua_tothread(self.desk, -1), ffi::lua_toboolean(self.desk, -1) != 0);
            ffi::lua_settop(self.desk, -2);
            match kind {
                ffi::LUA_TNIL => Reader::Nobody,
                ffi::LUA_TBOOLEAN if !is => Reader::Nobody,
                ffi::LUA_TTHREAD if asleep(reader) => Reader::Asleep(reader),
                _ => Reader::Other,
            }
        }
    }

    /// Whoever waits is told.
    unsafe fn wakes(&self, reader: Reader) -> Handled {
        match reader {
            Reader::Asleep(reader) => {
                // SAFETY: as above.
                unsafe { self.clear(READER) };
                Handled::Wakes(reader)
            }
            Reader::Nobody | Reader::Other => Handled::Done,
        }
    }

    unsafe fn connected(&self, asleep: impl Fn(*mut lua_State) -> bool) -> Handled {
        // SAFETY: as above.
        unsafe {
            let fresh = self.push(CONNECTED) == ffi::LUA_TBOOLEAN && ffi::lua_toboolean(self.desk, -1) == 0;
            ffi::lua_settop(self.desk, -2);
            let reader = self.reader(asleep);
            if !fresh || self.is_true(LISTENING) || matches!(reader, Reader::Other) {
                return Handled::Not;
            }
            self.set_connected(true);
            self.clear(CONNECTING);
            self.wakes(reader)
        }
    }

    unsafe fn closed(&self, asleep: impl Fn(*mut lua_State) -> bool) -> Handled {
        // SAFETY: as above.
        unsafe {
            let reader = self.reader(asleep);
            if self.kind(CONNECTED) != ffi::LUA_TBOOLEAN || matches!(reader, Reader::Other) {
                return Handled::Not;
            }
            self.set_connected(false);
            self.wakes(reader)
        }
    }

    unsafe fn data(
        &self,
        service: &ServiceState,
        address: usize,
        head: Head,
        asleep: impl Fn(*mut lua_State) -> bool,
    ) -> Handled {
        let desk = self.desk;
        // SAFETY: as above. Buffer and count are anchored on the desk while they are used, and no Lua runs that could use them.
        unsafe {
            let reader = self.reader(asleep);
            if self.kind(LIMIT) != ffi::LUA_TNIL || matches!(reader, Reader::Other) {
                return Handled::Not;
            }
            let want = self.push(WANT);
            let want_at = ffi::lua_gettop(desk);
            self.push(BUFFER);
            let Some(stream) = buffer::find(desk, want_at + 1) else { return Handled::Not };
            ffi::lua_rawgeti(desk, self.at, MOST);
            let most = ffi::lua_tointegerx(desk, -1, std::ptr::null_mut()) as usize;
            let size = usize::try_from(head.ud).unwrap_or(usize::MAX);
            let total = stream.len().saturating_add(size);
            let enough = match want {
                ffi::LUA_TNIL | ffi::LUA_TSTRING => 0,
                ffi::LUA_TBOOLEAN if ffi::lua_toboolean(desk, want_at) == 0 => 0,
                ffi::LUA_TNUMBER if ffi::lua_isinteger(desk, want_at) != 0 => {
                    ffi::lua_tointegerx(desk, want_at, std::ptr::null_mut())
                }
                _ => return Handled::Not,
            };
            if total > most {
                return Handled::Not;
            }
            ffi::lua_rawgeti(desk, self.at, POOL);
            ffi::lua_rawgeti(desk, -1, 1);
            let Some(pool) = pool::count(desk).filter(|it| it.take_free()) else { return Handled::Not };
            let Some(block) = event::take(service, address, size) else {
                pool.give_back();
                return Handled::Not;
            };
            stream.push(block.share());
            let satisfied = match want {
                ffi::LUA_TNUMBER => total as i64 >= enough,
                ffi::LUA_TSTRING => {
                    let separator = crate::raw::bytes(desk, want_at).unwrap_or_default();
                    stream.find(separator).is_some()
                }
                _ => false,
            };
            self.clear(WHOLE);
            if !satisfied {
                return Handled::Done;
            }
            if matches!(reader, Reader::Asleep(_)) {
                self.clear(WANT);
            }
            self.wakes(reader)
        }
    }
}
