//! The only helpers over `lua_State`: how a Lua function written in Rust reads, works and answers.
//!
//! Functions under skynet's names are raw C functions that raise strings with a position, as skynet's do. Lua raises by
//! `longjmp`, so every function keeps three steps apart:
//! * **read** the arguments: may raise, so nothing with a destructor is alive;
//! * **work** inside [`guard`]: ordinary Rust that may own anything, makes no Lua call that can raise, and returns plain
//!   data; a panic ends here;
//! * **answer**: push results, or raise. Only plain data is left.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::fmt::{self, Write};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;

use skein_vm::external;
pub(crate) use skein_vm::{
    ffi::{self, lua_State},
    interrupt,
};

unsafe extern "C-unwind" {
    /// Raises that argument `argument` is not what was expected. Not declared by `ffi`.
    pub(crate) fn luaL_typeerror(state: *mut lua_State, argument: c_int, expected: *const c_char) -> c_int;
}

/// Longest text of an error. What is longer is cut.
const TEXT: usize = 240;

thread_local! {
    /// The text of the error that this thread is about to raise, and its length.
    static PENDING: Cell<([u8; TEXT], usize)> = const { Cell::new(([0; TEXT], 0)) };
}

/// A Lua error whose text waits in its thread, so that it can be raised when everything else is gone.
///
/// There is one at a time: make it, return, raise it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raise(());

impl Raise {
    /// The error `what`.
    #[cold]
    pub(crate) fn new(what: impl fmt::Display) -> Raise {
        let mut text = Text { bytes: [0; TEXT], len: 0 };
        // A text that does not fit is cut; that is no failure.
        let _ = write!(text, "{what}");
        PENDING.set((text.bytes, text.len));
        Raise(())
    }
}

struct Text {
    bytes: [u8; TEXT],
    len: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        let len = text.floor_char_boundary(room.len());
        room[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.len += len;
        if len < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

impl<E: std::error::Error> From<E> for Raise {
    fn from(error: E) -> Raise {
        Raise::new(error)
    }
}

/// Does the work of a raw function. A panic becomes an error like others.
#[inline(always)]
pub(crate) fn guard<T: Copy>(work: impl FnOnce() -> Result<T, Raise>) -> Result<T, Raise> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done,
        Err(panic) => Err(panicked(panic)),
    }
}

#[cold]
fn panicked(panic: Box<dyn std::any::Any + Send>) -> Raise {
    let what = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason given");
    Raise::new(format_args!("a native function panicked: {what}"))
}

/// Raises `error` with the position of the Lua code that called the running function.
///
/// # Safety
/// `state` runs a C function, and nothing with a destructor is alive in it.
#[cold]
pub(crate) unsafe fn raise(state: *mut lua_State, error: Raise) -> ! {
    let Raise(()) = error;
    let (text, len) = PENDING.get();
    // SAFETY: a C function may always push two values; by the caller's promise the jump skips no destructor.
    unsafe {
        ffi::luaL_where(state, 1);
        ffi::lua_pushlstring(state, text.as_ptr().cast(), len);
        ffi::lua_concat(state, 2);
        ffi::lua_error(state)
    }
}

/// Raises `error` as it is, without a position: what skynet raises inside of a call of its own.
///
/// # Safety
/// As [`raise`].
#[cold]
pub(crate) unsafe fn raise_bare(state: *mut lua_State, error: Raise) -> ! {
    let Raise(()) = error;
    let (text, len) = PENDING.get();
    // SAFETY: as `raise`.
    unsafe {
        ffi::lua_pushlstring(state, text.as_ptr().cast(), len);
        ffi::lua_error(state)
    }
}

/// Raises `bad argument #arg to 'function' (what)`.
///
/// # Safety
/// As [`raise`].
#[cold]
pub(crate) unsafe fn raise_argument(state: *mut lua_State, arg: c_int, error: Raise) -> ! {
    let Raise(()) = error;
    let (text, len) = PENDING.get();
    // SAFETY: as `raise`; the pushed copy of the text ends in a NUL and outlives the call.
    unsafe {
        let what = ffi::lua_pushlstring(state, text.as_ptr().cast(), len);
        ffi::luaL_argerror(state, arg, what);
    }
    unreachable!("luaL_argerror came back")
}

/// The bytes of the string at `index`. For anything but a string or a number: none.
///
/// # Safety
/// `index` is a valid slot, and stays so, with the same value, while the bytes are used. A number is turned into a string
/// in its slot, which may raise a memory error.
#[inline]
pub(crate) unsafe fn bytes<'a>(state: *mut lua_State, index: c_int) -> Option<&'a [u8]> {
    let mut len = 0;
    // SAFETY: Lua keeps the string as long as it is in its slot, by the caller's promise.
    unsafe {
        let first = ffi::lua_tolstring(state, index, &mut len);
        (!first.is_null()).then(|| slice::from_raw_parts(first.cast(), len))
    }
}

/// The bytes of argument `index`; raises unless it is a string or a number.
///
/// # Safety
/// As [`bytes`], and as [`raise`].
#[inline]
pub(crate) unsafe fn check_bytes<'a>(state: *mut lua_State, index: c_int) -> &'a [u8] {
    let mut len = 0;
    // SAFETY: Lua keeps the string as long as it is in its slot, by the caller's promise.
    unsafe {
        let first = ffi::luaL_checklstring(state, index, &mut len);
        slice::from_raw_parts(first.cast(), len)
    }
}

/// Adds functions of C to the table on top of the stack.
///
/// # Safety
/// As [`raise`], with a free slot; there is a table on top.
pub(crate) unsafe fn set_functions(state: *mut lua_State, functions: &[(&CStr, ffi::lua_CFunction)]) {
    for &(name, function) in functions {
        // SAFETY: by the caller's promise.
        unsafe {
            ffi::lua_pushcclosure(state, function, 0);
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
    }
}

/// Answers a string of these bytes, or raises.
///
/// # Safety
/// As [`raise`], with a free slot.
#[inline]
pub(crate) unsafe fn push_bytes<const N: usize>(
    state: *mut lua_State,
    made: Result<[u8; N], Raise>,
) -> c_int {
    // SAFETY: by the caller's promise; Lua copies the bytes.
    unsafe {
        match made {
            Ok(bytes) => {
                ffi::lua_pushlstring(state, bytes.as_ptr().cast(), N);
                1
            }
            Err(error) => raise(state, error),
        }
    }
}

/// Answers a string that `fill` writes into `room` bytes and says the length of, or raises what it refuses. `fill` runs guarded,
/// and finds zeros. What is not short is written into Lua's own memory.
///
/// # Safety
/// As [`raise`], with four free slots. `fill` owns nothing: a memory error skips it.
#[inline]
pub(crate) unsafe fn push_filled(
    state: *mut lua_State,
    room: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<usize, Raise>,
) -> c_int {
    const SHORT: usize = 8192;
    if room <= SHORT {
        let mut buffer = [const { MaybeUninit::<u8>::uninit() }; SHORT];
        let first = buffer.as_mut_ptr().cast::<u8>();
        // SAFETY: by the caller's promise; `room` bytes of the buffer are set before they are looked at.
        unsafe {
            first.write_bytes(0, room);
            match guard(|| fill(slice::from_raw_parts_mut(first, room))) {
                Ok(len) => external::push_copy(state, slice::from_raw_parts(first, len.min(room))),
                Err(error) => raise(state, error),
            }
        }
        return 1;
    }
    let mut buffer = MaybeUninit::<ffi::luaL_Buffer>::uninit();
    // SAFETY: by the caller's promise. The buffer stays where it is, and nobody pushes anything until its string is made; what is
    // raised before that closes it.
    unsafe {
        let first = ffi::luaL_buffinitsize(state, buffer.as_mut_ptr(), room).cast::<u8>();
        first.write_bytes(0, room);
        match guard(|| fill(slice::from_raw_parts_mut(first, room))) {
            Ok(len) => {
                ffi::luaL_pushresultsize(buffer.as_mut_ptr(), len.min(room));
                1
            }
            Err(error) => raise(state, error),
        }
    }
}

/// The bytes of argument `index` as C sees them, up to the first NUL; raises unless it is a string or a number.
///
/// # Safety
/// As [`bytes`], and as [`raise`].
#[inline]
pub(crate) unsafe fn check_text<'a>(state: *mut lua_State, index: c_int) -> &'a [u8] {
    let mut len = 0;
    // SAFETY: by the caller's promise; a string is followed by a NUL, so there is one in `len + 1` bytes.
    unsafe {
        let first: *const c_char = ffi::luaL_checklstring(state, index, &mut len);
        let text = slice::from_raw_parts(first.cast::<u8>(), len);
        text.split(|&byte| byte == 0).next().unwrap_or(text)
    }
}

/// Name of the type of slot `index`, as Lua says it; `no value` when there is none.
///
/// # Safety
/// `index` is a valid slot, or one above.
pub(crate) unsafe fn type_name(state: *mut lua_State, index: c_int) -> &'static str {
    // SAFETY: type names are static, ASCII and end in a NUL.
    unsafe {
        let name = ffi::lua_typename(state, ffi::lua_type(state, index));
        std::ffi::CStr::from_ptr(name).to_str().unwrap_or("?")
    }
}
