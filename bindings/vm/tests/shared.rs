//! Frozen tables as states see them: read like any table, refuse every write, survive every collector, and tell whether
//! somebody refers to them. Read in a second process too, through read-only pages.

mod common;

use std::ffi::{CStr, c_int};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::{env, ptr, thread};

use common::{run, state, text};
use skein_arena::range;
use skein_arena::sync::atomic::{AtomicUsize, Ordering};
use skein_vm::ffi::{self, lua_State};
use skein_vm::seed;
use skein_vm::shared::{self, Allowed};
use skein_vm::state::State;
use skein_vm::versions::{self, Old, Watch};
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
    tables: usize,
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
fn freeze(code: &str, allowed: Allowed) -> Result<Segment, String> {
    static NEXT: AtomicUsize = AtomicUsize::new(range::SEGMENTS);
    let dir = tempfile::tempdir().unwrap();
    let file =
        OpenOptions::new().read(true).write(true).create_new(true).open(dir.path().join("segment")).unwrap();
    file.set_len(CAPACITY as u64).unwrap();
    let at = NEXT.fetch_add(CAPACITY, Ordering::Relaxed);
    map(&file, at, libc::PROT_READ | libc::PROT_WRITE);
    let lua = state();
    // Behind the place of a header: an offset of 0 would mean "gone".
    let base = ptr::with_exposed_provenance_mut::<u8>(at + 256);
    let l = lua.as_ptr();
    // Room in small pieces, so that it has to grow.
    let mut size = 4096;
    // SAFETY: our own state; compiling and running are protected, and the room lies in the mapping.
    let frozen = unsafe {
        assert_eq!(
            ffi::luaL_loadbufferx(l, code.as_ptr().cast(), code.len(), c"=build".as_ptr(), ptr::null()),
            0
        );
        assert_eq!(ffi::lua_pcall(l, 0, 1, 0), 0, "{}", text(l));
        shared::freeze(l, -1, c"config", allowed, (base, base.add(size)), |need| {
            size += need.next_multiple_of(4096);
            (size <= CAPACITY - 256).then(|| base.wrapping_add(size))
        })?
    };
    map(&file, at, libc::PROT_READ);
    Ok(Segment { dir, at, root: frozen.root, tables: frozen.tables })
}

fn frozen(code: &str) -> Segment {
    freeze(code, Allowed::default()).unwrap()
}

/// Pushes the frozen table of a segment.
fn push(lua: &State, root: usize) {
    // SAFETY: `root` is a frozen table of a segment that stays mapped; the stack has room.
    unsafe { shared::push(lua.as_ptr(), ptr::with_exposed_provenance(root)) };
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
fn what_cannot_be_shared_is_refused_with_its_path() {
    let plain = Allowed::default();
    let skynet = Allowed { pointers: true, functions: true, as_skynet: true, ..Allowed::default() };
    for (allowed, code, told) in [
        (plain, "return { x = { print } }", "config.x[1]: a function cannot be shared"),
        (
            plain,
            "return { items = { 1, 2, { on_use = function() end } } }",
            "config.items[3].on_use: a function cannot be shared",
        ),
        (plain, "return { ['a b'] = coroutine.create(print) }", "config[\"a b\"]: a thread cannot be shared"),
        (plain, "return { [io.stdout] = 1 }", "config[userdata]: a key that is a userdata cannot be shared"),
        (plain, "return { [1.5] = io.stdout }", "config[1.5]: a userdata cannot be shared"),
        (
            plain,
            "return { t = setmetatable({}, { __gc = print }) }",
            "config.t<metatable>: a metatable with __gc cannot be shared",
        ),
        (
            plain,
            "return { t = setmetatable({}, { __index = print }) }",
            "config.t<metatable>.__index: a function cannot be shared",
        ),
        (plain, "return { string.rep('x', 9 << 20) }", "no room for a shared table"),
        (plain, "return 'text'", "not a table"),
        (
            plain,
            "local t = { print } for i = 1, 50 do t = { t } end return t",
            "config...[1]: a function cannot be shared",
        ),
        (
            skynet,
            "local n = 1 return { f = function() return n end }",
            "config.f: a function with upvalues cannot be shared (Invalid function with upvalue)",
        ),
        (
            skynet,
            "return { string.gmatch('x', 'x') }",
            "config[1]: a function with upvalues cannot be shared (Invalid function with upvalue)",
        ),
        (
            skynet,
            "return { a = io.stdout }",
            "config.a: a userdata cannot be shared (Invalid type [userdata])",
        ),
        (
            skynet,
            "return { a = setmetatable({}, {}) }",
            "config.a<metatable>: a metatable cannot be shared (Can't share metatable)",
        ),
    ] {
        assert_eq!(freeze(code, allowed).err().as_deref(), Some(told), "{code}");
    }
}

#[test]
fn functions_without_upvalues_are_called_in_any_state() {
    let code = "local t = { f = function(a, ...) local n = 0
        local function count() n = n + 1 return n .. a end
        count() return count(), select and 1 end }
        t.g = t.f t.type = type return t"
        .replace("select and 1", "...");
    let segment =
        freeze(&code, Allowed { pointers: true, functions: true, as_skynet: true, ..Allowed::default() })
            .unwrap();
    for _ in 0..2 {
        let lua = state();
        set_root(&lua, segment.root);
        let told = run(
            &lua,
            "assert(root.f == root.g and root.type == type and type(root.f) == 'function')
            collectgarbage() local co = coroutine.wrap(root.f)
            assert(debug.getinfo(root.f, 'u').nparams == 1 and #string.dump(root.f) > 50)
            return co('x', 5) .. select(2, root.f(1, 7))",
        );
        assert_eq!(told.unwrap(), "2x7");
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
    let mut watches = [Watch { base: segment.at, end: segment.at + CAPACITY, seen: 0 }];
    // SAFETY: our own state, which runs nothing.
    assert!(unsafe { versions::scan(lua.as_ptr(), &mut watches) });
    watches[0].seen != 0
}

#[test]
fn weak_references_hold_nothing() {
    let segment = frozen(BUILD);
    for (what, code, expected) in [
        ("a weak value", "w = setmetatable({ root.a }, { __mode = 'v' })", false),
        ("a weak key", "w = setmetatable({ [root.a] = 1 }, { __mode = 'k' })", false),
        (
            "an ephemeron that refers to itself",
            "w = setmetatable({ [root.a] = { root.a } }, { __mode = 'k' })",
            false,
        ),
        (
            "an ephemeron of shared ones",
            "w = setmetatable({ [root.a] = root.list }, { __mode = 'k' })",
            false,
        ),
        ("both weak", "w = setmetatable({ [root.a] = root.list }, { __mode = 'kv' })", false),
        (
            "a chain of ephemerons that begins nowhere",
            "w = setmetatable({}, { __mode = 'k' }) local a = {} w[root.a] = a w[a] = root.list",
            false,
        ),
        (
            "a chain of ephemerons that begins somewhere",
            "w = setmetatable({}, { __mode = 'k' }) a = {} local b = {} w[a] = b w[b] = root.list w[root.list] = {}",
            true,
        ),
        (
            "a weak value and a strong one",
            "w = setmetatable({ root.a }, { __mode = 'v' }) s = root.list",
            true,
        ),
        ("a string, which is a value", "w = setmetatable({ root.name }, { __mode = 'v' })", true),
    ] {
        for mode in ["generational", "incremental"] {
            let lua = state();
            set_root(&lua, segment.root);
            run(&lua, &format!("collectgarbage '{mode}' {code} root = nil")).unwrap();
            assert_eq!(refers(&lua, &segment), expected, "{what}, {mode}");
            if !expected {
                assert_eq!(run(&lua, "return tostring(next(w))").unwrap(), "nil", "{what}");
            }
            run(&lua, "for i = 1, 3 do collectgarbage() end for k, v in pairs(w) do assert(k and v) end")
                .unwrap();
        }
    }
}

/// Takes a state over from one segment to another: how many references had to stay.
fn renew(lua: &State, old: &Segment, now: &Segment) -> usize {
    let at = |root| ptr::with_exposed_provenance(root);
    // SAFETY: both are mapped.
    let map = unsafe { versions::forward(at(old.root), old.tables, at(now.root), now.at) }.unwrap();
    let mut olds = [Old { base: old.at, end: old.at + CAPACITY, now: now.at, map: map.as_ptr(), left: 0 }];
    // SAFETY: our own state, with memory enough; the map is that of the two.
    unsafe { versions::renew(lua.as_ptr(), &mut olds) };
    olds[0].left
}

#[test]
fn a_state_goes_over_to_the_next_version_wherever_it_refers_to_the_last() {
    let old = frozen("return { n = 1, a = { x = 1, b = { y = 1 } }, list = { { 1 }, { 2 }, { 3 } }, gone = {}, name = 'sword',
        long = string.rep('long', 50), [2.5] = {}, [true] = {}, was = {} }");
    let now = frozen(
        "return { n = 2, a = { x = 2, b = { y = 2 }, c = {} }, list = { { 10 }, { 20 } }, name = 'axe',
        [2.5] = { 1 }, [true] = { 2 }, was = 1, more = {} }",
    );
    for mode in ["generational", "incremental"] {
        let lua = state();
        set_root(&lua, old.root);
        run(
            &lua,
            &format!(
                r#"collectgarbage "{mode}"
            local up = root.a
            f = function() return up end
            co = coroutine.wrap(function(t) local b = t.b coroutine.yield() return b end) co(root.a)
            keyed = {{ [root.list[1]] = "one", [root.list[3]] = "three", [root.name] = "named", [root.long] = "l", z = root.gone, m = root.was }}
            for i = 1, 100 do keyed["k" .. i] = i end
            meta = setmetatable({{}}, root.a)
            array = {{ root.list, root.list[2], root.list[3], root.list[1] }}
            other = {{ root[2.5], root[true] }}
            weak = setmetatable({{ root.a }}, {{ __mode = "v" }})
            debug.setuservalue(io.stdout, root.a, 1)
            text = root.name
            debug.setmetatable(1, root.a)
            for i = 1, 20 do collectgarbage "step" end
            "#
            ),
        )
        .unwrap();
        assert_eq!(renew(&lua, &old, &now), 0);
        run(
            &lua,
            r#"
            assert(root.n == 2 and f() == root.a and co() == root.a.b and f().x == 2)
            assert(keyed[root.list[1]] == "one" and keyed.sword == "named" and keyed.z == nil and keyed.m == nil)
            assert(keyed[string.rep("long", 50)] == "l" and keyed.k77 == 77)
            local n = 0 for k, v in pairs(keyed) do assert(v ~= "three") n = n + 1 end assert(n == 103, n)
            assert(getmetatable(meta) == root.a and array[1] == root.list and array[2] == root.list[2])
            assert(array[3] == nil and array[4] == root.list[1] and other[1][1] == 1 and other[2][1] == 2)
            assert(weak[1] == root.a and text == "sword" and debug.getmetatable(1) == root.a)
            debug.setmetatable(1, nil)
            collectgarbage() collectgarbage()
            "#,
        )
        .unwrap();
        assert!(!refers(&lua, &old) && refers(&lua, &now));
    }
}

#[test]
fn strings_that_c_code_looks_at_stay() {
    let old = frozen("return { name = 'a b c', deep = {} }");
    let now = frozen("return { name = 'x', deep = {} }");
    let lua = state();
    set_root(&lua, old.root);
    run(&lua, "next_word = root.name:gmatch '%a' next_word() root = nil").unwrap();
    assert!(renew(&lua, &old, &now) > 0);
    assert!(refers(&lua, &old));
    assert_eq!(run(&lua, "return next_word() .. next_word()").unwrap(), "bc");
}

#[test]
fn functions_of_an_old_version_keep_it() {
    let allowed = Allowed { pointers: true, functions: true, as_skynet: true, ..Allowed::default() };
    let code = "return { f = function() return 'old' end, make = function() return function() return 'made' end end }";
    let old = freeze(code, allowed).unwrap();
    let now = freeze(&code.replace("old", "new"), allowed).unwrap();
    for (keep, told) in [
        ("f = root.f", "old"),
        ("f = root.make()", "made"),
        ("f = coroutine.wrap(root.make) f = f()", "made"),
    ] {
        let lua = state();
        set_root(&lua, old.root);
        run(&lua, &format!("{keep} collectgarbage()")).unwrap();
        assert!(renew(&lua, &old, &now) > 0, "{keep}");
        assert_eq!(run(&lua, "return f() .. root.f()").unwrap(), format!("{told}new"));
        assert!(refers(&lua, &old), "{keep}");
        run(&lua, "f = nil collectgarbage()").unwrap();
        assert_eq!(renew(&lua, &old, &now), 0, "{keep}");
    }
}

#[test]
fn many_keys_change_their_places() {
    let old = frozen("local t = {} for i = 1, 1000 do t[i] = {} end return t");
    let now = frozen("local t = {} for i = 1, 900 do t[i] = { i } end return t");
    let lua = state();
    set_root(&lua, old.root);
    run(&lua, "by = {} for i, t in ipairs(root) do by[t] = i by['x' .. i] = t end").unwrap();
    assert_eq!(renew(&lua, &old, &now), 0);
    run(
        &lua,
        "for i, t in ipairs(root) do assert(by[t] == i and by['x' .. i] == t) end
        local n = 0 for _ in pairs(by) do n = n + 1 end assert(n == 1800, n) collectgarbage()",
    )
    .unwrap();
    assert!(!refers(&lua, &old));
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
            let shared = shared::is_shared(l, -1);
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

/// `(table, n)`: writes to the table by the n-th function of the API that can; nothing if there is no such function.
unsafe extern "C-unwind" fn write_in_c(lua: *mut lua_State) -> c_int {
    // SAFETY: called by the test below with these arguments; the stack of a C function has room.
    unsafe {
        let which = ffi::lua_tointeger(lua, 2);
        ffi::lua_settop(lua, 1);
        let value = || ffi::lua_pushinteger(lua, 7);
        match which {
            0 => {
                ffi::lua_pushstring(lua, c"inner".as_ptr());
                value();
                ffi::lua_settable(lua, 1);
            }
            1 => {
                value();
                ffi::lua_setfield(lua, 1, c"new".as_ptr());
            }
            2 => {
                value();
                ffi::lua_seti(lua, 1, 1);
            }
            3 => {
                ffi::lua_pushstring(lua, c"inner".as_ptr());
                value();
                ffi::lua_rawset(lua, 1);
            }
            4 => {
                value();
                ffi::lua_rawseti(lua, 1, 1);
            }
            5 => {
                value();
                ffi::lua_rawsetp(lua, 1, (&raw const WRITES).cast());
            }
            6 => {
                ffi::lua_createtable(lua, 0, 0);
                ffi::lua_setmetatable(lua, 1);
            }
            7 => {
                ffi::luaL_getsubtable(lua, 1, c"made".as_ptr());
            }
            8 => {
                value();
                ffi::luaL_ref(lua, 1);
            }
            _ => {}
        }
    }
    0
}

/// How many ways there are.
static WRITES: i64 = 9;

#[test]
fn who_writes_in_c_is_refused_like_a_script() {
    let segment = frozen("return { 1, 2, inner = { 3 } }");
    let lua = state();
    set_root(&lua, segment.root);
    // SAFETY: our own state with room on its stack.
    unsafe {
        ffi::lua_pushcclosure(lua.as_ptr(), write_in_c, 0);
        ffi::lua_setglobal(lua.as_ptr(), c"write".as_ptr());
    }
    for which in 0..WRITES {
        let why = run(&lua, &format!("write(root, {which})")).unwrap_err();
        assert!(why.contains("attempt to modify a shared (read-only) table"), "{which}: {why}");
    }
    assert_eq!(run(&lua, "return #root .. root[1] .. root.inner[1]").unwrap(), "213");
}
