//! A Lua state with memory of its own: counted, limited, and a place for others to ask it to stop.
//!
//! # Who touches what
//! [`Memory`] is shared between the state, whose worker allocates, and whoever watches the service. The counters have
//! one writer, the thread that runs the state; others may read them. The request to stop is [`crate::interrupt`]'s.
//!
//! Small blocks of a small state come from a [heap](crate::heap) of its own, which goes as a whole when the state is closed;
//! the rest comes from the allocator of the process, which the program chooses.
//!
//! # Invariants
//! * **M1** The request comes first in [`Memory`], and the words of `math.random` next: `csrc/interrupt.c` and `csrc/random.c` find them
//!   through the allocator's `ud`.
//! * **M2** A state outlives its last use and is closed before its `Memory` goes.
//!
//! # From skynet
//! service_snlua.c: `lalloc` → `allocate`, `mem`, `mem_limit`, `mem_report` → [`Memory`], `snlua_signal` →
//! [`Memory::interrupt`].

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::ffi::{c_uint, c_void};
use std::fmt;
use std::mem::offset_of;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use skein_arena::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use skein_arena::sync::cell::UnsafeCell;

use crate::ffi::{self, lua_Alloc, lua_State};
use crate::heap::{Heap, Picture};
use crate::interrupt::Request;
use crate::pages;
use crate::seed;

/// The first [`Memory::used`] that is worth a warning; each further one is at twice the last.
pub const FIRST_WARNING: usize = 32 << 20;

unsafe extern "C-unwind" {
    fn skein_newstate(allocate: lua_Alloc, memory: *mut c_void) -> *mut lua_State;
    fn skein_newaside(seed: c_uint) -> *mut lua_State;
    fn skein_settle(state: *mut lua_State);
}

/// Pages for a state that becomes an image. One that needs more becomes none.
const IMAGE_PAGES: usize = 192;

/// What a state has allocated, what it may, and whether it was asked to stop.
#[repr(C)]
pub struct Memory {
    request: Request,
    /// Where `math.random` is.
    randoms: [AtomicU64; 4],
    used: AtomicUsize,
    /// Of those, what was [charged](Memory::charge).
    outside: AtomicUsize,
    limit: AtomicUsize,
    warn_above: AtomicUsize,
    warn: Box<dyn Fn(usize) + Send + Sync>,
    /// Of the state, while there is one.
    heap: UnsafeCell<Heap>,
}

// SAFETY: the heap is used by the thread that runs the state only; all else is `Sync` by itself.
unsafe impl Sync for Memory {}

const _: () = assert!(offset_of!(Memory, request) == 0 && offset_of!(Memory, randoms) == 32);

impl Memory {
    /// Memory without a limit. `warn` is called with the bytes used when they pass [`FIRST_WARNING`], and when they
    /// have doubled since; it runs inside an allocation, so it may not use the state.
    pub fn new(warn: impl Fn(usize) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            request: Request::new(),
            randoms: Default::default(),
            used: AtomicUsize::new(0),
            outside: AtomicUsize::new(0),
            limit: AtomicUsize::new(usize::MAX),
            warn_above: AtomicUsize::new(FIRST_WARNING),
            warn: Box::new(warn),
            heap: UnsafeCell::new(Heap::new()),
        })
    }

    /// Memory for a state that becomes a part of an [`Image`](crate::image::Image): without a limit, in blank pages. `None`: there
    /// are none.
    pub fn for_image() -> Option<Arc<Self>> {
        let mut memory = Self::new(|_| {});
        let heap = Heap::blank(IMAGE_PAGES)?;
        Arc::get_mut(&mut memory)?.heap = UnsafeCell::new(heap);
        Some(memory)
    }

    /// Memory for a state that builds one thing and ends ([`State::settle`]), without a limit.
    pub fn passing() -> Arc<Self> {
        let mut memory = Self::new(|_| {});
        if let Some(memory) = Arc::get_mut(&mut memory) {
            memory.heap = UnsafeCell::new(Heap::passing());
        }
        memory
    }

    /// What the heap looks like.
    ///
    /// # Safety
    ///
    /// Nobody runs the state meanwhile.
    pub(crate) unsafe fn picture(&self) -> Option<Picture> {
        // SAFETY: promised by the caller.
        unsafe { self.heap(|heap| heap.picture()) }
    }

    /// Does something with the heap.
    ///
    /// # Safety
    ///
    /// Called by the thread that runs the state, and not from `with`.
    #[inline]
    unsafe fn heap<R>(&self, with: impl FnOnce(&mut Heap) -> R) -> R {
        // SAFETY: promised by the caller.
        self.heap.with_mut(|heap| with(unsafe { &mut *heap }))
    }

    /// [`allocate`]: frees a block.
    ///
    /// # Safety
    ///
    /// As for [`allocate`].
    #[inline]
    unsafe fn free(&self, block: *mut u8, size: usize) {
        // SAFETY: promised by the caller.
        unsafe {
            if pages::holds(block.addr()) {
                self.heap(|heap| heap.give(block, size));
            } else {
                self.heap(|heap| heap.remove_large(block));
                dealloc(block, of_system(size));
            }
        }
    }

    /// [`allocate`]: a block of `new` bytes with the contents of one of `old` bytes, which is freed; null if there is no
    /// memory, and then nothing has changed.
    ///
    /// # Safety
    ///
    /// As for [`allocate`].
    #[inline]
    unsafe fn change(&self, block: *mut u8, old: usize, new: usize) -> *mut u8 {
        // SAFETY: promised by the caller.
        unsafe {
            if block.is_null() {
                return self.take(new);
            }
            if !pages::holds(block.addr()) {
                let Ok(layout) = Layout::from_size_align(new, ALIGN) else { return ptr::null_mut() };
                let moved = realloc(block, of_system(old), new);
                if !moved.is_null() {
                    self.heap(|heap| {
                        heap.remove_large(block);
                        heap.add_large(moved, layout);
                    });
                }
                return moved;
            }
            if Heap::fits(old, new) {
                return block;
            }
            let moved = self.take(new);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(block, old.min(new));
                self.heap(|heap| heap.give(block, old));
            }
            moved
        }
    }

    /// A new block.
    ///
    /// # Safety
    ///
    /// As for [`allocate`].
    #[inline]
    unsafe fn take(&self, size: usize) -> *mut u8 {
        // SAFETY: promised by the caller.
        unsafe {
            match self.heap(|heap| heap.take(size)) {
                Some(at) => at.as_ptr(),
                None => {
                    let Ok(layout) = Layout::from_size_align(size, ALIGN) else { return ptr::null_mut() };
                    let at = alloc(layout);
                    self.heap(|heap| heap.add_large(at, layout));
                    at
                }
            }
        }
    }

    /// The memory of a running state, if that is one of ours.
    ///
    /// # Safety
    ///
    /// `state` is a live state, and stays so while the answer is used.
    pub unsafe fn of<'a>(state: *mut lua_State) -> Option<&'a Self> {
        let mut memory = ptr::null_mut();
        // SAFETY: promised by the caller.
        let found = unsafe { ffi::lua_getallocf(state, &mut memory) };
        // SAFETY: whoever has our allocator was made by `State::new`, whose `Memory` outlives the state (M2).
        ptr::fn_addr_eq(found, ALLOCATE).then(|| unsafe { &*memory.cast::<Self>() })
    }

    /// Begins `math.random` of the state anew, with these words.
    pub(crate) fn seed_random(&self, words: [u64; 4]) {
        for (place, word) in self.randoms.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
    }

    /// Bytes the state has allocated. Lua's own count leaves out what long strings hold.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Lets allocations fail that would take the state above `limit` bytes: Lua raises `not enough memory`.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Counts `bytes` that the state holds outside of its allocator; false, and nothing counted, if that is above the limit.
    pub(crate) fn charge(&self, bytes: usize) -> bool {
        let used = self.used.load(Ordering::Relaxed).saturating_add(bytes);
        if used > self.limit.load(Ordering::Relaxed) {
            return false;
        }
        self.used.store(used, Ordering::Relaxed);
        self.outside.store(self.outside.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
        if used > self.warn_above.load(Ordering::Relaxed) {
            self.warn(used);
        }
        true
    }

    /// Takes back what was charged.
    pub(crate) fn discharge(&self, bytes: usize) {
        for count in [&self.used, &self.outside] {
            count.store(count.load(Ordering::Relaxed).wrapping_sub(bytes), Ordering::Relaxed);
        }
    }

    /// Raises `signal 0` in the code that the state runs, or will run next, once for each request. Says whether this is a
    /// new one: there is one at a time. Only states that were [entered](crate::interrupt::enter) are open to it.
    pub fn interrupt(&self) -> bool {
        self.request.ask()
    }

    /// Whether a request waits for the state to run.
    pub fn is_interrupted(&self) -> bool {
        self.request.is_asked()
    }

    #[cold]
    fn warn(&self, used: usize) {
        let mut above = self.warn_above.load(Ordering::Relaxed);
        while above < used {
            above = above.saturating_mul(2);
        }
        self.warn_above.store(above, Ordering::Relaxed);
        // A warning that panics is a warning less; the allocation goes on.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.warn)(used)));
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("used", &self.used)
            .field("limit", &self.limit)
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

/// What the machine needs of a block, and every C module of `malloc`.
const ALIGN: usize = 16;

/// The layout of a block that the process's allocator made.
///
/// # Safety
///
/// There is such a block, of `size` bytes.
#[inline]
unsafe fn of_system(size: usize) -> Layout {
    // SAFETY: promised by the caller: the layout was checked when the block was made.
    unsafe { Layout::from_size_align_unchecked(size, ALIGN) }
}

/// [`allocate`], at one address: states are known by it.
static ALLOCATE: lua_Alloc = allocate;

/// The machine's allocator.
///
/// # Safety
///
/// `memory` is the `Memory` of the calling state, and `block` is null or came from here with `old` bytes.
unsafe extern "C" fn allocate(
    memory: *mut c_void,
    block: *mut c_void,
    old: usize,
    new: usize,
) -> *mut c_void {
    // SAFETY: promised by the caller.
    let memory = unsafe { &*memory.cast::<Memory>() };
    let before = memory.used.load(Ordering::Relaxed);
    // The usual: an object of a small state comes or goes, and there is a free block of its size.
    // SAFETY: promised by the caller.
    unsafe {
        if block.is_null() {
            let used = before.wrapping_add(new);
            if used <= memory.limit.load(Ordering::Relaxed).min(memory.warn_above.load(Ordering::Relaxed))
                && let Some(at) = memory.heap(|heap| heap.take_waiting(new))
            {
                memory.used.store(used, Ordering::Relaxed);
                return at.as_ptr().cast();
            }
        } else if new == 0 && memory.heap(|heap| heap.give_usual(block.cast(), old)) {
            memory.used.store(before.wrapping_sub(old), Ordering::Relaxed);
            return ptr::null_mut();
        }
    }
    // SAFETY: promised by the caller.
    unsafe { allocate_elsewhere(memory, block, old, new) }
}

/// [`allocate`], but for the usual.
///
/// # Safety
///
/// As there.
// Apart, so that the usual saves no registers.
#[inline(never)]
unsafe fn allocate_elsewhere(memory: &Memory, block: *mut c_void, old: usize, new: usize) -> *mut c_void {
    // For a new block `old` is a kind of object.
    let old = if block.is_null() { 0 } else { old };
    let used = memory.used.load(Ordering::Relaxed).wrapping_sub(old).wrapping_add(new);
    if new == 0 {
        // A block of no bytes is null.
        if old > 0 {
            // SAFETY: promised by the caller.
            unsafe { memory.free(block.cast(), old) };
        }
        memory.used.store(used, Ordering::Relaxed);
        return ptr::null_mut();
    }
    if new > old && used > memory.limit.load(Ordering::Relaxed) {
        return ptr::null_mut();
    }
    // SAFETY: promised by the caller.
    let moved = unsafe { memory.change(block.cast(), old, new) };
    if moved.is_null() {
        // The machine counts on it that blocks shrink: the old one is large enough.
        if new > old {
            return moved.cast();
        }
        memory.used.store(used, Ordering::Relaxed);
        return block;
    }
    memory.used.store(used, Ordering::Relaxed);
    if used > memory.warn_above.load(Ordering::Relaxed) {
        memory.warn(used);
    }
    moved.cast()
}

/// A Lua state; closed when dropped.
#[derive(Debug)]
pub struct State {
    main: NonNull<lua_State>,
    memory: Arc<Memory>,
    settled: bool,
}

// SAFETY: a Lua state belongs to no thread. Only its owner reaches it, and whoever shares pointers into it promised
// (`as_ptr`) to use them only while the owner may.
unsafe impl Send for State {}

impl State {
    /// An empty state: no libraries, the collector running. `None` if there is no memory for it. A `Memory` is for one state
    /// at a time.
    pub fn new(memory: Arc<Memory>) -> Option<Self> {
        // SAFETY: `allocate` fits the machine's contract; `memory` lives until the state is closed (M2).
        let main = unsafe { skein_newstate(ALLOCATE, Arc::as_ptr(&memory).cast_mut().cast()) };
        Some(Self { main: NonNull::new(main)?, memory, settled: false })
    }

    /// A state that lies complete in a heap.
    ///
    /// # Safety
    ///
    /// `main` is the main thread of a state in `heap`, `used` bytes large, which allocates from `memory`; and that is fresh.
    pub(crate) unsafe fn adopt(main: *mut lua_State, memory: Arc<Memory>, heap: Heap, used: usize) -> Self {
        // SAFETY: nobody uses the memory yet.
        unsafe { memory.heap(|it| *it = heap) };
        memory.used.store(used, Ordering::Relaxed);
        // SAFETY: an address inside a run of pages.
        Self { main: unsafe { NonNull::new_unchecked(main) }, memory, settled: false }
    }

    /// The main thread of the state, for the functions of [`ffi`]. Valid while `self` lives; calls may raise, which
    /// outside of a protected call ends the process.
    pub fn as_ptr(&self) -> *mut lua_State {
        self.main.as_ptr()
    }

    /// Runs now what closing would run, variables to be closed and finalizers, and empties the stack; from here on nothing is
    /// collected. The state then ends with its memory, without a look at its objects. False, and nothing is changed: that would
    /// lose something, because the memory is not a [passing](Memory::passing) one, or a string shows a block.
    ///
    /// # Safety
    /// No function of the state runs. No object of it has to be freed by code of others, apart from finalizers.
    pub unsafe fn settle(&mut self) -> bool {
        // SAFETY: we own the state, so no other thread uses its heap.
        let passing = unsafe { self.memory.heap(|heap| heap.is_passing()) };
        if !self.settled && passing && self.memory.outside.load(Ordering::Relaxed) == 0 {
            // SAFETY: promised by the caller. Finalizers run protected inside.
            unsafe { skein_settle(self.main.as_ptr()) };
            // A finalizer may have made such a string.
            self.settled = self.memory.outside.load(Ordering::Relaxed) == 0;
        }
        self.settled
    }

    /// Its memory.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // SAFETY: we own the state, so no other thread uses its heap. Finalizers run protected inside.
        unsafe {
            if !self.settled {
                self.memory.heap(Heap::close);
                ffi::lua_close(self.main.as_ptr());
            }
            self.memory.heap(|heap| *heap = Heap::new());
        }
        self.memory.request.close();
    }
}

/// A state with a hash seed of its own, no libraries and no limit: for what is read before the seed of the process is known. It meets
/// no shared object. Closed when dropped.
#[derive(Debug)]
pub struct Aside(NonNull<lua_State>);

impl Aside {
    /// An empty state. `None` if there is no memory for it.
    ///
    /// # Panics
    ///
    /// As [`seed::noise`].
    pub fn new() -> Option<Aside> {
        // SAFETY: no preconditions.
        NonNull::new(unsafe { skein_newaside(seed::noise() as c_uint) }).map(Aside)
    }

    /// As [`State::as_ptr`].
    pub fn as_ptr(&self) -> *mut lua_State {
        self.0.as_ptr()
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // SAFETY: we own the state. Finalizers run protected inside.
        unsafe { ffi::lua_close(self.0.as_ptr()) };
    }
}
