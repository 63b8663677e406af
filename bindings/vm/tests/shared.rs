//! Frozen tables as states see them: read like any table, refuse every write, survive every collector, and tell whether
//! somebody refers to them. Read in a second process too, through read-only pages.

mod common;

use std::ffi::{CStr, c_int, c_void};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::{env, ptr, thread};

use common::{run, state, text};
use skein_arena::range;
use skein_arena::sync::atomic::{AtomicUsize, Ordering};
use skein_vm::ffi::{self, lua_State};
use skein_vm::seed;
use skein_vm::shared::{self, SLOT_BITS, Target};
use skein_vm::state::State;
use tempfile::TempDir;

const BUILD: &str = include_str!("shared/build.lua");
const CHECK: &CStr = {
    const TEXT: &str = concat!(include_str!("shared/check.lua"), "\0");
    match CStr::from_bytes_with_nul(TEXT.as_bytes()) {
        Ok(text) => text,
        Err(_) => unreachable!(),
    }
};
const STRESS: &CStr = {
    const TEXT: &str = concat!(include_str!("shared/stress.lua"), "\0");
    match CStr::from_bytes_with_nul(TEXT.as_bytes()) {
        Ok(text) => text,
        Err(_) => unreachable!(),
    }
};

/// Room for the largest table of these tests.
const CAPACITY: usize = 8 << 20;

/// Set for the second process: file, address and root of a segment, and the seed.
const CHILD: &str = "SKEIN_TEST_SEGMENT";

/// A file of frozen objects, mapped read-only where it was built.
struct Segment {
    dir: TempDir,
    at: usize,
    root: usize,
}

fn map(file: &File, at: usize, protection: c_int) {
    // SAFETY: nothing of this process lies in the range but segments, each at an address of its own; a mapping of the
    // same file is replaced by one with other rights while nobody uses it.
    let mapped = unsafe {
        let at = ptr::with_exposed_provenance_mut(at);
        libc::mmap(at, CAPACITY, protection, libc::MAP_SHARED | libc::MAP_FIXED, file.as_raw_fd(), 0)
    };
    assert_eq!(mapped.addr(), at, "{}", std::io::Error::last_os_error());
}

/// Freezes what `code` returns; the message if that is refused.
fn freeze(code: &str, freezer: ffi::lua_CFunction) -> Result<Segment, String> {
    static NEXT: AtomicUsize = AtomicUsize::new(range::SEGMENTS);
    let dir = tempfile::tempdir().unwrap();
    let file =
        OpenOptions::new().read(true).write(true).create_new(true).open(dir.path().join("segment")).unwrap();
    file.set_len(CAPACITY as u64).unwrap();
    let at = NEXT.fetch_add(CAPACITY, Ordering::Relaxed);
    map(&file, at, libc::PROT_READ | libc::PROT_WRITE);
    let lua = state();
    let base = ptr::with_exposed_provenance_mut::<u8>(at);
    let mut target = Target {
        base,
        cur: base,
        // SAFETY: the end of the mapping.
        end: unsafe { base.add(CAPACITY) },
        flags: 0,
        root: ptr::null(),
        tables: 0,
        strings: 0,
    };
    let l = lua.as_ptr();
    // SAFETY: our own state; compiling and running are protected, and `target` outlives the call.
    unsafe {
        ffi::lua_pushcfunction(l, freezer);
        assert_eq!(
            ffi::luaL_loadbufferx(l, code.as_ptr().cast(), code.len(), c"=build".as_ptr(), ptr::null()),
            0
        );
        assert_eq!(ffi::lua_pcall(l, 0, 1, 0), 0);
        ffi::lua_pushlightuserdata(l, (&raw mut target).cast());
        if ffi::lua_pcall(l, 2, 0, 0) != ffi::LUA_OK {
            return Err(text(l));
        }
    }
    map(&file, at, libc::PROT_READ);
    Ok(Segment { dir, at, root: target.root.addr() })
}

fn frozen(code: &str) -> Segment {
    freeze(code, shared::shr_freeze).unwrap()
}

/// Pushes the frozen table of a segment.
fn push(lua: &State, root: usize) {
    // SAFETY: `root` is a frozen table of a segment that stays mapped; the stack has room.
    unsafe { shared::shr_push(lua.as_ptr(), ptr::with_exposed_provenance(root)) };
}

/// Makes the frozen table the global `root`.
fn set_root(lua: &State, root: usize) {
    push(lua, root);
    // SAFETY: a value is on the stack; memory is not limited.
    unsafe { ffi::lua_setglobal(lua.as_ptr(), c"root".as_ptr()) };
}

/// Calls a script with the frozen table and `more`: how many results, and the first as text.
fn call(lua: &State, code: &CStr, root: usize, more: &[&CStr]) -> String {
    let l = lua.as_ptr();
    // SAFETY: our own state; compiling and running are protected.
    unsafe {
        ffi::lua_settop(l, 0);
        let len = code.to_bytes().len();
        assert_eq!(ffi::luaL_loadbufferx(l, code.as_ptr(), len, c"=script".as_ptr(), ptr::null()), 0);
        push(lua, root);
        for argument in more {
            if ffi::lua_stringtonumber(l, argument.as_ptr()) == 0 {
                ffi::lua_pushstring(l, argument.as_ptr());
            }
        }
        let status = ffi::lua_pcall(l, 1 + more.len() as c_int, 1, 0);
        let text = text(l);
        assert_eq!(status, ffi::LUA_OK, "{text}");
        text
    }
}

#[test]
fn every_state_reads_it_and_none_writes_it() {
    let segment = frozen(BUILD);
    for _ in 0..2 {
        let told = call(&state(), CHECK, segment.root, &[]);
        assert_eq!(told, "script:39: attempt to modify a shared (read-only) table (upvalue 't')", "{told}");
    }
}

#[test]
fn what_cannot_be_shared_is_refused() {
    for (code, told) in [
        ("return { x = { print } }", "cannot share a function value"),
        ("return { function() end }", "cannot share a function value"),
        ("return { coroutine.create(print) }", "cannot share a thread value"),
        ("return { [io.stdout] = 1 }", "cannot share a userdata value"),
        ("return setmetatable({}, { __gc = print })", "cannot share a function value"),
        ("return { string.rep('x', 9 << 20) }", "shared segment is full"),
        ("return 'text'", "bad argument #1 to '?' (table expected, got string)"),
    ] {
        assert_eq!(freeze(code, shared::shr_freeze).err().as_deref(), Some(told), "{code}");
    }
}

#[test]
fn a_second_process_reads_it_through_read_only_pages() {
    if let Ok(told) = env::var(CHILD) {
        return second_process(&told);
    }
    let segment = frozen(BUILD);
    let file = segment.dir.path().join("segment");
    let told = format!("{} {} {} {}", segment.at, segment.root, seed::get(), file.display());
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_second_process_reads_it_through_read_only_pages", "--nocapture"])
        .env(CHILD, told)
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    assert!(String::from_utf8_lossy(&child.stdout).contains("the second process is content"));
}

fn second_process(told: &str) {
    let mut parts = told.splitn(4, ' ');
    let mut number = || parts.next().unwrap().parse::<usize>().unwrap();
    let (at, root, hash_seed) = (number(), number(), number());
    seed::set(hash_seed as u32).unwrap();
    map(&File::open(parts.next().unwrap()).unwrap(), at, libc::PROT_READ);
    call(&state(), CHECK, root, &[]);
    call(&state(), STRESS, root, &[c"generational", c"10"]);
    println!("the second process is content");
}

#[test]
fn all_collectors_leave_it_alone_while_threads_read() {
    let segment = frozen(BUILD);
    let root = segment.root;
    let threads: Vec<_> = [c"generational", c"incremental", c"full"]
        .into_iter()
        .cycle()
        .take(4)
        .map(|mode| {
            thread::spawn(move || {
                let lua = state();
                call(&lua, STRESS, root, &[mode, c"20"]);
                for _ in 0..3 {
                    call(&lua, CHECK, root, &[]);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Whether a state refers to anything in a segment.
fn refers(lua: &State, segment: &Segment) -> bool {
    let mut notes = vec![0_u8; 1 << (range::BITS - SLOT_BITS)];
    // SAFETY: one byte for each slot of the range, and no finalizer runs.
    assert_eq!(unsafe { shared::shr_scan(lua.as_ptr(), notes.as_mut_ptr()) }, 1);
    let first = (segment.at - range::BASE) >> SLOT_BITS;
    notes[first..first + (CAPACITY >> SLOT_BITS)].contains(&1)
}

#[test]
fn a_scan_tells_whether_a_state_still_refers_to_a_segment() {
    let segment = frozen(BUILD);
    let lua = state();
    assert!(!refers(&lua, &segment));
    for (what, code, expected) in [
        ("a global", "", true),
        (
            "only a string in an upvalue",
            "local x = root.list[5].name; f = function() return x end; root = nil",
            true,
        ),
        ("nothing", "f = nil", false),
        (
            "only a local of a suspended coroutine",
            "co = coroutine.wrap(function(t) local d = t.deep.next.next; coroutine.yield() return d end) co(root) root = nil",
            true,
        ),
        ("nothing again", "co = nil", false),
        ("a dead key only", "k = {}; k[root] = 1; k[next(k)] = nil root = nil", false),
        (
            "an old global",
            "g = root root = nil collectgarbage('generational') for i = 1, 10 do collectgarbage('step') end",
            true,
        ),
    ] {
        if code.is_empty() || code.contains("root") {
            set_root(&lua, segment.root);
        }
        run(&lua, code).unwrap();
        assert_eq!(refers(&lua, &segment), expected, "{what}");
    }
}

#[test]
fn frozen_code_makes_closures_in_any_state() {
    let code = "return function(...) local n = 0
        return select('#', ...), function() n = n + 1 return n .. _VERSION end end";
    let segment = freeze(code, shared::shr_freezecode).unwrap();
    for _ in 0..2 {
        let lua = state();
        let l = lua.as_ptr();
        // SAFETY: our own state; `root` is a prototype of a segment that stays mapped, and memory is not limited.
        unsafe {
            ffi::lua_pushcfunction(l, shared::shr_closure);
            ffi::lua_pushlightuserdata(l, ptr::with_exposed_provenance_mut::<c_void>(segment.root));
            assert_eq!(ffi::lua_pcall(l, 1, 1, 0), ffi::LUA_OK);
            ffi::lua_setglobal(l, c"make".as_ptr());
        }
        let told =
            run(&lua, "local n, count = make(1, 2, 3) collectgarbage() count() return n .. count()").unwrap();
        assert_eq!(told, "32Lua 5.5");
    }
}

#[test]
fn shared_values_are_told_from_own_ones() {
    let segment = frozen("return { inner = {} }");
    let lua = state();
    set_root(&lua, segment.root);
    let is_shared = |lua: &State, code: &str| {
        run(lua, &format!("it = {code}")).unwrap();
        let l: *mut lua_State = lua.as_ptr();
        // SAFETY: our own state with room on its stack.
        unsafe {
            ffi::lua_getglobal(l, c"it".as_ptr());
            let shared = shared::shr_isshared(l, -1) != 0;
            ffi::lua_settop(l, 0);
            shared
        }
    };
    for (code, expected) in [
        ("root", true),
        ("root.inner", true),
        ("next(root)", true),
        ("{ root }", false),
        ("1", false),
        ("'x'", false),
    ] {
        assert_eq!(is_shared(&lua, code), expected, "{code}");
    }
}
