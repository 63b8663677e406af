//! `skynet.memory`: who holds how much.
//!
//! skynet counts what its C code allocates, by service. Here payloads live in the arena, which belongs to no service,
//! and the rest of a service is its Lua state. So the numbers are: by address, the bytes of the Lua state; under address
//! 0, the live blocks of the arena; `total` is the sum, and `block` the number of live blocks.
//!
//! # From skynet
//! lua-memory.c → the functions here, malloc_hook.c → [`alloc::by_service`] and the arena's counters.

use std::ffi::{CStr, c_int};
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use skein_arena::Stats;
use skein_runtime::{Handle, ServiceContext};
use skein_vm::ffi::{self, lua_CFunction, lua_State};
use skein_vm::state::Memory;

use crate::alloc;

const FUNCTIONS: [(&CStr, lua_CFunction); 10] = [
    (c"total", total),
    (c"block", block),
    (c"current", current),
    (c"info", info),
    (c"dump", dump),
    (c"dumpinfo", dumpinfo),
    (c"jestat", jestat),
    (c"mallctl", mallctl),
    (c"dumpheap", dumpheap),
    (c"profactive", profactive),
];

/// Opens `skynet.memory`. Stack: 1 out. Raises in a state without a service.
///
/// # Safety
///
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` with 20 free slots; no destructor is pending when it raises.
    unsafe { crate::core::make(state, &FUNCTIONS) }
}

/// The service that calls.
///
/// # Safety
///
/// As [`crate::core::service`].
unsafe fn context<'a>(state: *mut lua_State) -> &'a Arc<ServiceContext> {
    // SAFETY: by the caller's promise.
    unsafe { crate::core::service(state) }.context()
}

/// Does the work of a function outside of Lua; a panic becomes nothing.
fn work<R>(work: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

fn stats(ctx: &ServiceContext) -> Stats {
    ctx.node().arena().stats()
}

/// Bytes by address, the arena under 0.
fn bytes(ctx: &Arc<ServiceContext>) -> Vec<(u32, usize)> {
    let mut bytes = vec![(0, stats(ctx).live_bytes as usize)];
    bytes.extend(alloc::by_service(ctx.node()));
    bytes
}

/// `memory.total(): integer`, bytes of all Lua states and of live blocks.
unsafe extern "C-unwind" fn total(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; only an integer lives when the push raises.
    unsafe {
        let ctx = context(state);
        let total = work(|| bytes(ctx).iter().map(|(_, bytes)| *bytes as i64).sum());
        ffi::lua_pushinteger(state, total.unwrap_or(0));
    }
    1
}

/// `memory.block(): integer`, live blocks of the arena.
unsafe extern "C-unwind" fn block(state: *mut lua_State) -> c_int {
    // SAFETY: as in `total`.
    unsafe {
        let ctx = context(state);
        let blocks = work(|| stats(ctx).live_blocks as i64);
        ffi::lua_pushinteger(state, blocks.unwrap_or(0));
    }
    1
}

/// `memory.current(): integer`, bytes of the calling service's Lua state.
unsafe extern "C-unwind" fn current(state: *mut lua_State) -> c_int {
    // SAFETY: as in `total`.
    unsafe {
        let used = Memory::of(state).map_or(0, Memory::used);
        ffi::lua_pushinteger(state, used as i64);
    }
    1
}

/// `memory.info(): { [integer]: integer }`, bytes by address.
unsafe extern "C-unwind" fn info(state: *mut lua_State) -> c_int {
    // SAFETY: as in `total`. The list is in a userdata of Lua's while the table grows, so that raising leaks nothing.
    unsafe {
        let ctx = context(state);
        let count = work(|| bytes(ctx).len()).unwrap_or(0);
        let list = ffi::lua_newuserdatauv(state, count * size_of::<(u32, usize)>(), 0).cast::<(u32, usize)>();
        let filled = work(|| {
            let bytes = bytes(ctx);
            // Services may have come or gone meanwhile.
            let filled = bytes.len().min(count);
            list.copy_from_nonoverlapping(bytes.as_ptr(), filled);
            filled
        });
        let filled = filled.unwrap_or(0);
        ffi::lua_createtable(state, 0, filled as c_int);
        for at in 0..filled {
            let (handle, bytes) = list.add(at).read();
            ffi::lua_pushinteger(state, bytes as i64);
            ffi::lua_rawseti(state, -2, i64::from(handle));
        }
    }
    1
}

/// `memory.dump()`: writes [`info`] into the log.
unsafe extern "C-unwind" fn dump(state: *mut lua_State) -> c_int {
    // SAFETY: as in `total`.
    let ctx = unsafe { context(state) };
    let _ = work(|| {
        let node = ctx.node();
        node.log(Handle(0), b"dump all service mem:");
        let bytes = bytes(ctx);
        for (handle, bytes) in &bytes {
            node.log(Handle(0), format!(":{handle:08x} -> {}kb {}b", bytes >> 10, bytes % 1024).as_bytes());
        }
        let total: usize = bytes.iter().map(|(_, bytes)| bytes).sum();
        node.log(Handle(0), format!("+total: {}kb", total >> 10).as_bytes());
    });
    0
}

/// `memory.dumpinfo(options?: string)`: the arena's report, on stderr.
unsafe extern "C-unwind" fn dumpinfo(state: *mut lua_State) -> c_int {
    // SAFETY: as in `total`; the argument is only checked.
    let ctx = unsafe {
        ffi::luaL_optlstring(state, 1, std::ptr::null(), std::ptr::null_mut());
        context(state)
    };
    let _ = work(|| {
        let stats = stats(ctx);
        let mut report = format!(
            "arena: {} blocks of {} bytes; {} used of {}, {} committed, {} retained\n",
            stats.live_blocks,
            stats.live_bytes,
            stats.used_bytes,
            stats.limit,
            stats.committed_bytes,
            stats.retained_bytes
        );
        for class in &stats.classes {
            let _ =
                writeln!(report, "  {:>8} bytes: {} live in {} spans", class.block, class.live, class.spans);
        }
        let _ = writeln!(report, "  larger: {} live, {} bytes", stats.large_blocks, stats.large_bytes);
        // Who closed stderr does not want it.
        let _ = std::io::stderr().write_all(report.as_bytes());
    });
    0
}

/// `memory.jestat(): { [string]: integer }`: the arena's numbers under jemalloc's names.
unsafe extern "C-unwind" fn jestat(state: *mut lua_State) -> c_int {
    // SAFETY: as in `total`.
    unsafe {
        let ctx = context(state);
        let values = work(|| {
            let stats = stats(ctx);
            [
                (c"stats.allocated", stats.live_bytes),
                (c"stats.resident", stats.used_bytes + stats.retained_bytes),
                (c"stats.retained", stats.retained_bytes),
                (c"stats.mapped", stats.committed_bytes),
                (c"stats.active", stats.used_bytes),
            ]
        });
        ffi::lua_createtable(state, 0, 5);
        for (name, value) in values.into_iter().flatten() {
            ffi::lua_pushinteger(state, value as i64);
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
    }
    1
}

/// `memory.mallctl(name: string): integer`. There are no such numbers here: 0.
unsafe extern "C-unwind" fn mallctl(state: *mut lua_State) -> c_int {
    // SAFETY: as in `total`.
    unsafe {
        ffi::luaL_checklstring(state, 1, std::ptr::null_mut());
        no_jemalloc(state, "mallctl");
        ffi::lua_pushinteger(state, 0);
    }
    1
}

/// `memory.dumpheap()`: nothing to dump here.
unsafe extern "C-unwind" fn dumpheap(state: *mut lua_State) -> c_int {
    // SAFETY: as in `total`.
    unsafe { no_jemalloc(state, "dumpheap") };
    0
}

/// `memory.profactive(on?: boolean): boolean`. There is no heap profile here: false.
unsafe extern "C-unwind" fn profactive(state: *mut lua_State) -> c_int {
    // SAFETY: as in `total`.
    unsafe {
        no_jemalloc(state, "profactive");
        ffi::lua_pushboolean(state, 0);
    }
    1
}

/// Says in the log that a function has nothing behind it.
///
/// # Safety
///
/// As [`context`].
unsafe fn no_jemalloc(state: *mut lua_State, function: &str) {
    // SAFETY: promised by the caller.
    let ctx = unsafe { context(state) };
    let _ = work(|| ctx.node().log(Handle(0), format!("No jemalloc : {function}").as_bytes()));
}
