//! `skynet.codecache`, `skynet.profile` and `skynet.memory`, as a service uses them.

mod common;

use common::fine;

#[test]
fn the_code_cache_is_switched_by_name() {
    fine(
        r##"
        local cache = require "skynet.codecache"
        assert(cache.mode() == "ON" and select("#", cache.mode "OFF") == 0 and cache.mode() == "OFF")
        cache.mode "EXIST" assert(cache.mode(nil) == "EXIST") cache.mode "ON"
        local ok, why = pcall(cache.mode, "on")
        assert(why == "bad argument #1 to '?' (invalid option 'on')" or why:find "invalid option 'on'", why)
        ok, why = pcall(cache.mode, {})
        assert(not ok and why:find "string expected, got table", why)
        local function write(text) local f = assert(io.open("./code.lua", "w")) f:write(text) f:close() end
        write "return 1"
        assert(loadfile "./code.lua" () == 1)
        write "return 2"
        assert(loadfile "./code.lua" () == 1)
        assert(select("#", cache.clear()) == 0)
        assert(loadfile "./code.lua" () == 2)
        "##,
    );
}

#[test]
fn cpu_time_of_coroutines_is_measured() {
    fine(
        r##"
        local profile = require "skynet.profile"
        local function burn(seconds) local t = os.clock() while os.clock() - t < seconds do end end
        local ok, why = pcall(profile.stop)
        assert(why == "Call profile.start() before profile.stop()", why)
        for _, wrong in ipairs { "x", 1, false } do
            ok, why = pcall(profile.start, wrong)
            assert(why:find "thread expected", why)
        end
        assert(not pcall(profile.start, nil) and not pcall(profile.stop, nil))
        profile.start()
        ok, why = pcall(profile.start)
        assert(why:match "^Thread 0x%x+ start profile more than once$", why)
        burn(0.03)
        local t = profile.stop()
        assert(t > 0.005 and t < 5, t)
        -- Only its own resumes count, and those of coroutines inside.
        local co = coroutine.create(function()
            profile.start()
            coroutine.wrap(function() burn(0.02) end)()
            coroutine.yield()
            burn(0.02)
            coroutine.yield(profile.stop())
        end)
        assert(coroutine.resume(co))
        burn(0.2)
        local _, own = assert(coroutine.resume(co))
        assert(own > 0.01 and own < 0.15, own)
        -- From outside, before its first resume and while it is suspended.
        co = coroutine.create(function() burn(0.02) coroutine.yield() burn(0.02) end)
        profile.start(co)
        burn(0.1)
        assert(coroutine.resume(co)) assert(coroutine.resume(co))
        local total = profile.stop(co)
        assert(total > 0.01 and total < 0.09, total)
        assert(not pcall(profile.stop, co))
        -- Coroutines that nobody stopped are collected.
        local weak = setmetatable({ coroutine.create(print) }, { __mode = "v" })
        profile.start(weak[1])
        collectgarbage() collectgarbage()
        assert(weak[1] == nil)
        "##,
    );
}

#[test]
fn resume_and_wrap_are_those_of_lua() {
    fine(
        r##"
        local function all(...) local t = table.pack(...) for i = 1, t.n do t[i] = tostring(t[i]) end return table.concat(t, ",") end
        local co = coroutine.create(function(...) local a = coroutine.yield(...) return a, nil end)
        assert(all(coroutine.resume(co, 1, nil, 3)) == "true,1,nil,3")
        assert(all(coroutine.resume(co, "x")) == "true,x,nil")
        assert(all(coroutine.resume(co)) == "false,cannot resume dead coroutine")
        assert(all(coroutine.resume(coroutine.running())) == "false,cannot resume non-suspended coroutine")
        assert(select(2, pcall(coroutine.resume, 1)):find "thread expected")
        assert(select(2, pcall(coroutine.wrap, 1)):find "function expected")
        local gen = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end)
        assert(gen() == 1 and gen() == 2 and gen() == 3 and gen() == nil)
        local ok, why = pcall(gen)
        assert(not ok and why:find "cannot resume dead coroutine$", why)
        -- An error closes the coroutine, strings say where they passed, other errors stay what they are.
        local closed
        local bad = coroutine.wrap(function()
            local guard <close> = setmetatable({}, { __close = function() closed = true end })
            error "told"
        end)
        ok, why = pcall(function() bad() end)
        assert(not ok and closed and why:match "told$" and select(2, why:gsub("main.lua", "")) == 2, why)
        local object = {}
        bad = coroutine.wrap(function() error(object) end)
        assert(select(2, pcall(bad)) == object)
        -- Many values, deep nesting.
        local many = coroutine.wrap(function(...) coroutine.yield(select("#", ...), ...) end)
        local t = table.pack(many(table.unpack({}, 1, 5000)))
        assert(t[1] == 5000 and t.n == 5001)
        local function deep(n) if n == 0 then return "bottom" end return coroutine.wrap(deep)(n - 1) end
        assert(deep(100) == "bottom")
        assert(not pcall(deep, 1000))
        assert(coroutine.wrap(function() return pcall(error, "x") end)() == false)
        "##,
    );
}

#[test]
fn memory_numbers_have_the_types_the_console_formats() {
    let ended = fine(
        r##"
        local memory = require "skynet.memory"
        collectgarbage()
        local before = memory.current()
        big = string.rep("x", 1 << 20)
        assert(math.type(before) == "integer" and memory.current() - before > 900000)
        local info, sum = memory.info(), 0
        for handle, bytes in pairs(info) do
            assert(math.type(handle) == "integer" and math.type(bytes) == "integer")
            sum = sum + bytes
        end
        assert(info[skynet.self()] >= 1 << 20 and info[0])
        assert(math.type(memory.total()) == "integer" and memory.total() >= 1 << 20)
        local block = skynet.pack(string.rep("x", 5000))
        local blocks = memory.block()
        skynet.trash(block, 0)
        assert(math.type(blocks) == "integer" and blocks > memory.block())
        for _, name in ipairs { "allocated", "resident", "retained", "mapped", "active" } do
            assert(string.format("%d", memory.jestat()["stats." .. name]))
        end
        assert(memory.mallctl "any" == 0 and memory.profactive() == false and memory.profactive(true) == false)
        assert(not pcall(memory.mallctl) and not pcall(memory.mallctl, {}))
        assert(select("#", memory.dump()) == 0 and select("#", memory.dumpinfo()) == 0)
        memory.dumpinfo "opts" memory.dumpheap()
        skynet.sleep(5)
        "##,
    );
    assert!(ended.stdout.contains("[:00000000] dump all service mem:\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("[:00000000] :00000008 -> 1"), "{}", ended.stdout);
    assert!(ended.stdout.contains("[:00000000] +total: "), "{}", ended.stdout);
    assert!(ended.stderr.contains("arena: "), "{}", ended.stderr);
}
