//! Breaking into the code of a state from any thread: who is asked, how the thread is found, what it is told.
//!
//! Loops and calls pay nothing for it; a resume and a message pay a few instructions. A request raises the flag of the
//! state and sends a signal to the thread that runs it, whose handler (`csrc/interrupt.c`) sets a hook in the coroutine
//! that runs there: a thread touches only what it runs itself. A state that nobody runs finds its flag when it is entered
//! next ([`enter`]). A loop inside of a C function cannot be broken, and neither can a finalizer: the hook waits until Lua
//! code runs that hooks may see.
//!
//! # Protocol
//! A thread that enters a state writes its seat, then reads the flag. Who asks writes the flag, then reads the seats. One
//! of the two sees the other, for `membarrier` orders the sides as if both had a fence, which only the asker pays for.
//! Without `membarrier` every seat is told.
//!
//! # Invariants
//! * **I1** A seat is on the list until its thread ends: who has the list may signal the threads on it.
//! * **I2** A signal is a hint: a thread that runs something else by now looks at the flag of that, and goes on.
//!
//! # From skynet
//! `snlua_signal` and `signal_hook` of service_snlua.c → `Request::ask` and `csrc/interrupt.c`.

use std::cell::Cell;
use std::ffi::c_int;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, offset_of};
use std::ptr;
use std::sync::OnceLock;

use skein_arena::sync::Mutex;
use skein_arena::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering};

use crate::ffi::lua_State;

const IDLE: i32 = 0;
const ASKED: i32 = 1;
const CLOSED: i32 = -1;

unsafe extern "C" {
    fn skein_here() -> *const Seat;
    fn skein_on_signal(number: c_int);
}

unsafe extern "C-unwind" {
    fn skein_enter(state: *mut lua_State, before: *mut Seat);
    fn skein_leave(before: *const Seat);
}

/// The request word of a state, with what the machine keeps beside it (`skein_Request`).
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Request {
    asked: AtomicI32,
    _hook: [AtomicI32; 2],
    _machine: [AtomicUsize; 2],
}

const _: () = assert!(size_of::<Request>() == 32 && offset_of!(Request, asked) == 0);

/// What a thread runs (`skein_Seat`).
#[repr(C)]
struct Seat {
    request: AtomicPtr<Request>,
    _current: AtomicPtr<lua_State>,
}

/// A seat on the list.
struct Listed {
    seat: *const Seat,
    thread: libc::pthread_t,
}

// SAFETY: seats and threads on the list are alive (I1), and of a seat only an atomic is read.
unsafe impl Send for Listed {}

static SEATS: Mutex<Vec<Listed>> = Mutex::new(Vec::new());

fn seats() -> std::sync::MutexGuard<'static, Vec<Listed>> {
    // Nothing between lock and unlock can leave the list half changed.
    SEATS.lock().unwrap_or_else(|broken| broken.into_inner())
}

/// Keeps a thread's seat on the list.
struct Place(*const Seat);

impl Drop for Place {
    fn drop(&mut self) {
        seats().retain(|it| it.seat != self.0);
    }
}

thread_local! {
    static LISTED: Cell<bool> = const { Cell::new(false) };
    static PLACE: Place = take_place();
}

fn take_place() -> Place {
    // SAFETY: the address of a thread-local variable; `pthread_self` cannot fail.
    let (seat, thread) = unsafe { (skein_here(), libc::pthread_self()) };
    seats().push(Listed { seat, thread });
    Place(seat)
}

/// The calling thread runs a state until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Running {
    before: MaybeUninit<[usize; 2]>,
    /// Of this thread.
    _here: PhantomData<*mut ()>,
}

const _: () = assert!(size_of::<Seat>() == size_of::<[usize; 2]>());

/// Makes what the calling thread runs from now on open to interruption. `state` is the coroutine that is called; others
/// are followed from there. Entered states nest.
///
/// # Safety
///
/// `state` is live, and used by no other thread, until the answer is dropped.
#[inline]
pub unsafe fn enter(state: *mut lua_State) -> Running {
    if !LISTED.get() {
        list();
    }
    let mut before = MaybeUninit::<[usize; 2]>::uninit();
    // SAFETY: promised by the caller; `before` has the size of a seat, which the call fills.
    unsafe { skein_enter(state, before.as_mut_ptr().cast()) };
    Running { before, _here: PhantomData }
}

#[cold]
fn list() {
    // A thread that is ending has no place any more: what it runs is not interrupted.
    let _ = PLACE.try_with(|_| ());
    LISTED.set(true);
}

impl Drop for Running {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: filled by `skein_enter` of this thread.
        unsafe { skein_leave(self.before.as_ptr().cast()) };
    }
}

impl Request {
    pub(crate) const fn new() -> Self {
        Self {
            asked: AtomicI32::new(IDLE),
            _hook: [const { AtomicI32::new(0) }; 2],
            _machine: [const { AtomicUsize::new(0) }; 2],
        }
    }

    /// Asks, and tells the thread that runs the state. Says whether that is a new request.
    pub(crate) fn ask(&self) -> bool {
        let new = self.asked.compare_exchange(IDLE, ASKED, Ordering::SeqCst, Ordering::Relaxed);
        // An old one is told again: it costs little, and whoever asks twice has waited.
        if let Ok(_) | Err(ASKED) = new {
            self.tell();
        }
        new.is_ok()
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) == ASKED
    }

    pub(crate) fn close(&self) {
        self.asked.store(CLOSED, Ordering::Release);
    }

    fn tell(&self) {
        let Some(signal) = signal() else { return };
        let all = !fence_everywhere();
        for it in seats().iter() {
            // SAFETY: the thread is alive (I1); the request in its seat is compared, not used.
            unsafe {
                if all || ptr::eq((*it.seat).request.load(Ordering::SeqCst), self) {
                    libc::pthread_kill(it.thread, signal);
                }
            }
        }
    }
}

/// The signal, with its handler installed: the highest of the real-time signals that nobody uses, but for the last, which
/// debuggers like. `None` if all are taken; then a request waits for the next message.
fn signal() -> Option<c_int> {
    static SIGNAL: OnceLock<Option<c_int>> = OnceLock::new();
    *SIGNAL.get_or_init(|| (libc::SIGRTMIN() + 1..libc::SIGRTMAX()).rev().find(|&it| install(it)))
}

fn install(signal: c_int) -> bool {
    // SAFETY: the structures are plain data that the calls read or fill. The handler allocates nothing, takes no lock and
    // leaves `errno` alone.
    unsafe {
        let mut now = std::mem::zeroed::<libc::sigaction>();
        if libc::sigaction(signal, ptr::null(), &mut now) != 0 || now.sa_sigaction != libc::SIG_DFL {
            return false;
        }
        let mut ours = std::mem::zeroed::<libc::sigaction>();
        ours.sa_sigaction = skein_on_signal as *const () as usize;
        ours.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        libc::sigemptyset(&mut ours.sa_mask);
        libc::sigaction(signal, &ours, ptr::null_mut()) == 0
    }
}

/// A fence in every running thread of the process. `false` if the kernel has none.
fn fence_everywhere() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let call = |command: c_int| {
        // SAFETY: `membarrier` touches no memory of ours.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    };
    *REGISTERED.get_or_init(|| call(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED))
        && call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
}
