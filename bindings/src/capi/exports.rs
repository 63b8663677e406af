//! The functions themselves. `include/skein.h` says what each does; here is how.
//!
//! C functions answer, they do not raise: what goes wrong is a line in the log and the value that means failure. A panic ends
//! here, for C has no way to go on from one.
//!
//! # From skynet
//! skynet.h: the functions of the same names.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Mutex;

use skein_arena::{Block, range};
use skein_runtime::{Handle, MessageType, SendError, ServiceContext};

use super::running::{self, discard};
use super::service::{Callback, CallbackFn};

/// Flag in a message type: the body is given away, and not copied.
const DONT_COPY: c_int = 0x1_0000;
/// Flag in a message type: make a session.
const ALLOCATE_SESSION: c_int = 0x2_0000;
/// What a refused send answers.
const INVALID: c_int = -1;
/// What a send of too much answers.
const TOO_LARGE: c_int = -2;
/// Names of other nodes' services are cut to this.
const GLOBAL_NAME: usize = 16;

thread_local! {
    /// The last answer of a command, good until the next one of this thread.
    static ANSWER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

unsafe extern "C" {
    // csrc/skynet_error.c: only C can take arguments of any number.
    fn skynet_error(context: *const c_void, format: *const c_char, ...);
    fn malloc(size: usize) -> *mut c_void;
    fn realloc(memory: *mut c_void, size: usize) -> *mut c_void;
    fn free(memory: *mut c_void);
}

/// Values that C code asked for: it may keep them for ever.
static VALUES: Mutex<BTreeSet<CString>> = Mutex::new(BTreeSet::new());

/// Makes the linker keep what only other people's objects ask for.
pub(super) fn keep() {
    let functions: [*const (); 16] = [
        skynet_send as _,
        skynet_sendname as _,
        skynet_command as _,
        skynet_callback as _,
        skynet_queryname as _,
        skynet_isremote as _,
        skynet_current_handle as _,
        skynet_now as _,
        skynet_starttime as _,
        skynet_getenv as _,
        skynet_setenv as _,
        skynet_debug_memory as _,
        skynet_strdup as _,
        skynet_lalloc as _,
        skynet_error as _,
        skynet_context_handle as _,
    ];
    black_box(functions);
}

/// `int skynet_send(context, source, destination, type, session, msg, sz)`: the session, -1 or -2.
///
/// # Safety
/// `context` is NULL or a live service's; `message` has `size` bytes. With `PTYPE_TAG_DONTCOPY` it came from `malloc` or is a
/// message's body, and is given away whatever the answer.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_send(
    context: *const ServiceContext,
    source: u32,
    destination: u32,
    ty: c_int,
    session: c_int,
    message: *mut c_void,
    size: usize,
) -> c_int {
    // SAFETY: passed on.
    unsafe { send(context, source, To::Handle(Handle(destination)), ty, session, message, size) }
}

/// `int skynet_sendname(context, source, destination, type, session, msg, sz)`: to `:hex`, `.name` or a global name.
///
/// # Safety
/// As [`skynet_send`]; `destination` is NULL or ends in a NUL.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_sendname(
    context: *const ServiceContext,
    source: u32,
    destination: *const c_char,
    ty: c_int,
    session: c_int,
    message: *mut c_void,
    size: usize,
) -> c_int {
    // SAFETY: passed on.
    unsafe { send(context, source, To::Name(text(destination)), ty, session, message, size) }
}

/// `const char *skynet_command(context, cmd, parm)`: the answer, good until the next command of this thread; NULL for none.
///
/// # Safety
/// `context` is NULL or a live service's; both texts are NULL or end in a NUL.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_command(
    context: *const ServiceContext,
    name: *const c_char,
    parameter: *const c_char,
) -> *const c_char {
    // SAFETY: by the caller's promise.
    let (ctx, name, parameter) = unsafe { (context.as_ref(), text(name), text(parameter)) };
    let Some(ctx) = ctx else { return ptr::null() };
    let answer = guarded(ctx, || ctx.command(name, parameter)).flatten();
    answer.map_or(ptr::null(), kept)
}

/// `void skynet_callback(context, ud, cb)`: what the service's messages go to from now on.
///
/// # Safety
/// `context` is the running C service's; `function` may be called with `ud` as long as the service lives.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_callback(
    context: *const ServiceContext,
    ud: *mut c_void,
    function: Option<CallbackFn>,
) {
    if !running::set_callback(context, Callback { function, ud }) {
        // SAFETY: by the caller's promise.
        if let Some(ctx) = unsafe { context.as_ref() } {
            ctx.log("error: skynet_callback: only a running service in C may set its own callback");
        }
    }
}

/// `uint32_t skynet_queryname(context, name)`: the address of `:hex` or `.name`, 0 for none.
///
/// # Safety
/// As [`skynet_command`].
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_queryname(context: *const ServiceContext, name: *const c_char) -> u32 {
    // SAFETY: by the caller's promise.
    let (ctx, name) = unsafe { (context.as_ref(), text(name)) };
    let Some(ctx) = ctx else { return 0 };
    match name {
        [b':', hex @ ..] => Handle::parse_hex(hex).0,
        [b'.', ..] => ctx.node().query(name).map_or(0, |it| it.0),
        other => {
            ctx.log([b"error: Don't support query global name ".as_slice(), other].concat());
            0
        }
    }
}

/// `int skynet_isremote(context, handle, harbor)`: whether an address is another node's, whose number is written.
///
/// # Safety
/// `context` is NULL or a live service's; `harbor` is NULL or may be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_isremote(
    context: *const ServiceContext,
    handle: u32,
    harbor: *mut c_int,
) -> c_int {
    // SAFETY: by the caller's promise.
    let Some(ctx) = (unsafe { context.as_ref() }) else { return 0 };
    if !harbor.is_null() {
        // SAFETY: by the caller's promise.
        unsafe { *harbor = c_int::from(Handle(handle).harbor()) };
    }
    c_int::from(ctx.node().is_remote(Handle(handle)))
}

/// `uint32_t skynet_current_handle(void)`: the service that runs on this thread, 0 for none.
#[unsafe(no_mangle)]
pub(super) extern "C" fn skynet_current_handle() -> u32 {
    running::handle().map_or(0, |it| it.0)
}

/// `uint32_t skynet_context_handle(context)`: a service's address.
///
/// # Safety
/// `context` is NULL or a live service's.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_context_handle(context: *const ServiceContext) -> u32 {
    // SAFETY: by the caller's promise.
    unsafe { context.as_ref() }.map_or(0, |ctx| ctx.handle().0)
}

/// `uint64_t skynet_now(void)`: hundredths of a second since the node started.
#[unsafe(no_mangle)]
extern "C" fn skynet_now() -> u64 {
    super::node().map_or(0, |node| node.now())
}

/// `uint32_t skynet_starttime(void)`: when the node started, in seconds since 1970.
#[unsafe(no_mangle)]
extern "C" fn skynet_starttime() -> u32 {
    super::node().map_or(0, |node| node.starttime())
}

/// `const char *skynet_getenv(key)`: a value of the environment, good for ever; NULL for none.
///
/// # Safety
/// `key` is NULL or ends in a NUL.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_getenv(key: *const c_char) -> *const c_char {
    // SAFETY: by the caller's promise.
    let key = unsafe { text(key) };
    let Some(value) = super::node().and_then(|node| node.env().get(key)) else { return ptr::null() };
    let mut values = VALUES.lock().unwrap_or_else(|it| it.into_inner());
    // What C was told once stays there; a key of another node of this process may have another value.
    let value = CString::new(value).unwrap_or_default();
    match values.get(&value) {
        Some(value) => value.as_ptr(),
        None => {
            let at = value.as_ptr();
            values.insert(value);
            at
        }
    }
}

/// `void skynet_setenv(key, value)`: a key that has a value keeps it.
///
/// # Safety
/// Both are NULL or end in a NUL.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_setenv(key: *const c_char, value: *const c_char) {
    // SAFETY: by the caller's promise.
    let (key, value) = unsafe { (text(key), text(value)) };
    if let Some(node) = super::node()
        && !node.env().set(key, value)
    {
        let key = String::from_utf8_lossy(key);
        node.log(Handle::NONE, format!("error: skynet_setenv: {key} has a value already").as_bytes());
    }
}

/// `void skynet_debug_memory(info)`: says on stderr how much memory the running service has.
///
/// # Safety
/// `info` is NULL or ends in a NUL.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_debug_memory(info: *const c_char) {
    // SAFETY: by the caller's promise.
    let info = String::from_utf8_lossy(unsafe { text(info) });
    let handle = skynet_current_handle();
    let bytes = super::node()
        .map(|node| crate::alloc::by_service(&node))
        .and_then(|all| all.into_iter().find(|it| it.0 == handle))
        .map_or(0, |it| it.1);
    eprintln!("[:{handle:08x}] {info} {bytes} bytes");
}

/// `char *skynet_strdup(str)`: a copy for `free`; NULL without memory.
///
/// # Safety
/// `string` is NULL or ends in a NUL.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_strdup(string: *const c_char) -> *mut c_char {
    // SAFETY: by the caller's promise; the copy has room for the text and its NUL.
    unsafe {
        let text = text(string);
        let copy = malloc(text.len() + 1).cast::<u8>();
        if !copy.is_null() {
            ptr::copy_nonoverlapping(text.as_ptr(), copy, text.len());
            copy.add(text.len()).write(0);
        }
        copy.cast()
    }
}

/// `void *skynet_lalloc(ud, ptr, osize, nsize)`: a `lua_Alloc` over `malloc`, for states that C code makes itself.
///
/// # Safety
/// As for a `lua_Alloc`.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_lalloc(
    _: *mut c_void,
    memory: *mut c_void,
    _: usize,
    size: usize,
) -> *mut c_void {
    // SAFETY: by the caller's promise.
    unsafe {
        if size == 0 {
            free(memory);
            return ptr::null_mut();
        }
        realloc(memory, size)
    }
}

/// What `skynet_error` found in its arguments, for the log.
///
/// # Safety
/// `context` is NULL or a live service's, and `text` has `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn skein_log_from_c(context: *const ServiceContext, text: *const u8, len: usize) {
    // SAFETY: by the caller's promise.
    let (ctx, text) = unsafe { (context.as_ref(), slice::from_raw_parts(text, len)) };
    match (ctx, super::node()) {
        (Some(ctx), _) => ctx.log(text),
        (None, Some(node)) => node.log(Handle::NONE, text),
        (None, None) => eprintln!("{}", String::from_utf8_lossy(text)),
    }
}

/// Where a message goes.
enum To<'a> {
    Handle(Handle),
    Name(&'a [u8]),
}

/// # Safety
/// As [`skynet_send`].
unsafe fn send(
    context: *const ServiceContext,
    source: u32,
    to: To<'_>,
    ty: c_int,
    session: c_int,
    message: *mut c_void,
    size: usize,
) -> c_int {
    // SAFETY: by the caller's promise.
    let Some(ctx) = (unsafe { context.as_ref() }) else { return INVALID };
    let sent = guarded(ctx, || {
        let given = ty & DONT_COPY != 0;
        let allocate = ty & ALLOCATE_SESSION != 0;
        let wrong_session = allocate && session != 0;
        if wrong_session || size > skein_arena::MAX_PAYLOAD {
            if given {
                // SAFETY: it was given to us.
                unsafe { drop_given(message) };
            }
            if wrong_session {
                ctx.log(format!("error: skynet_send: session must be 0 to allocate one, not {session}"));
                return INVALID;
            }
            return too_large(ctx, &to);
        }
        // SAFETY: by the caller's promise.
        let body = match unsafe { body(ctx, given, message, size) } {
            Ok(body) => body,
            Err(why) => {
                ctx.log(format!("error: skynet_send: {why}"));
                return INVALID;
            }
        };
        let source = (source != 0).then_some(Handle(source));
        let session = (!allocate).then_some(session);
        let sent = match to {
            To::Handle(to) => ctx.send(to, source, MessageType(ty as u8), session, body),
            To::Name(name) => {
                let name = match name {
                    [b':' | b'.', ..] => name,
                    global => &global[..global.len().min(GLOBAL_NAME)],
                };
                ctx.send_name(name, source, MessageType(ty as u8), session, body)
            }
        };
        match sent {
            Ok(session) => session,
            Err(SendError::NoDestination | SendError::ZeroDestination) => INVALID,
            Err(why) => {
                ctx.log(format!("error: skynet_send: {why}"));
                INVALID
            }
        }
    });
    sent.unwrap_or(INVALID)
}

/// The block of a message. A body that was given to us is ours, or freed, whatever happens.
///
/// # Safety
/// As [`skynet_send`].
unsafe fn body(
    ctx: &ServiceContext,
    given: bool,
    message: *mut c_void,
    size: usize,
) -> Result<Option<Block>, String> {
    let arena = ctx.node().arena();
    let Some(at) = NonNull::new(message.cast::<u8>()) else {
        return if size == 0 { Ok(None) } else { Err(format!("a null pointer has no {size} bytes to send")) };
    };
    if !given {
        // SAFETY: by the caller's promise.
        let bytes = unsafe { slice::from_raw_parts(at.as_ptr(), size) };
        let block = arena.copy_from(bytes).map_err(|it| it.to_string())?;
        ctx.add_copied_in(size);
        return Ok(Some(block));
    }
    if range::contains(at.as_ptr()) {
        return running::take(arena, at.addr().get(), size).map(Some).map_err(|it| it.to_string());
    }
    // SAFETY: what is not the arena's came from `malloc`, by the caller's promise.
    match unsafe { arena.foreign(at, size, free_foreign) } {
        Ok(block) => Ok(Some(block)),
        Err(why) => {
            // SAFETY: it was given to us, and the arena did not take it.
            unsafe { free(message) };
            Err(why.to_string())
        }
    }
}

/// # Safety
/// `message` was given to us.
pub(super) unsafe fn drop_given(message: *mut c_void) {
    if range::contains(message.cast()) {
        discard(message.addr());
    } else {
        // SAFETY: by the caller's promise it came from `malloc`.
        unsafe { free(message) };
    }
}

/// # Safety
/// As `free`.
pub(super) unsafe fn free_foreign(at: NonNull<u8>, _: usize) {
    // SAFETY: by the caller's promise.
    unsafe { free(at.as_ptr().cast()) }
}

fn too_large(ctx: &ServiceContext, to: &To<'_>) -> c_int {
    match to {
        To::Handle(to) => ctx.log(format!("error: The message to {:x} is too large", to.0)),
        To::Name(name) => {
            ctx.log([b"error: The message to ".as_slice(), name, b" is too large"].concat());
        }
    }
    TOO_LARGE
}

/// Runs `work`; a panic is logged, and nothing comes back.
pub(super) fn guarded<T>(ctx: &ServiceContext, work: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(work));
    if done.is_err() {
        ctx.log("error: a function of the C interface panicked");
    }
    done.ok()
}

/// Keeps `answer` for C, up to its first NUL as C sees it.
fn kept(mut answer: Vec<u8>) -> *const c_char {
    answer.push(0);
    ANSWER.with_borrow_mut(|it| {
        *it = answer;
        it.as_ptr().cast()
    })
}

/// # Safety
/// `text` is NULL or ends in a NUL, and is good for `'a`.
pub(super) unsafe fn text<'a>(text: *const c_char) -> &'a [u8] {
    // SAFETY: by the caller's promise.
    if text.is_null() { &[] } else { unsafe { CStr::from_ptr(text) }.to_bytes() }
}
