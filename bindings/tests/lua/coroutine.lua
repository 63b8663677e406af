-- skynet.coroutine: lua-api §7.1.
local skynet = require "skynet"
local coroutine = require "skynet.coroutine"
local check = require "check"

check.run("coroutine", function()
    local me = coroutine.running()
    -- A generator that blocks on its way.
    local co = coroutine.create(function(...)
        local got = { ... }
        for i = 1, 3 do
            skynet.sleep(1)
            got = { coroutine.yield(i, got[1]) }
        end
        return "end", got[1]
    end)
    check.values("first", table.pack(coroutine.resume(co, "a")), true, 1, "a")
    check.eq("suspended", coroutine.status(co), "suspended")
    check.values("second", table.pack(coroutine.resume(co, "b")), true, 2, "b")
    check.values("third", table.pack(coroutine.resume(co, "c")), true, 3, "c")
    check.values("end", table.pack(coroutine.resume(co, "d")), true, "end", "d")
    check.eq("dead", coroutine.status(co), "dead")
    check.values("resume dead", table.pack(coroutine.resume(co)), false, "cannot resume dead coroutine")
    -- Errors.
    check.values("foreign", table.pack(coroutine.resume(me)), false, "cannot resume none skynet coroutine")
    co = coroutine.create(function()
        skynet.sleep(3)
        error "inside"
    end)
    local results
    skynet.fork(function() results = table.pack(coroutine.resume(co)) end)
    skynet.yield()
    check.eq("blocked", coroutine.status(co), "blocked")
    check.values(
        "resume blocked",
        table.pack(coroutine.resume(co)),
        false,
        "cannot resume a skynet coroutine suspend by skynet framework"
    )
    skynet.sleep(5)
    check.eq("error", results[1], false)
    check.contains("error", results[2], "inside")
    -- A call within.
    skynet.dispatch("lua", function(_, _, ...)
        skynet.sleep(1)
        skynet.retpack(...)
    end)
    local step = coroutine.wrap(function()
        coroutine.yield(skynet.call(skynet.self(), "lua", "one"))
        coroutine.yield(skynet.call(skynet.self(), "lua", "two"))
    end)
    check.eq("call", step(), "one")
    check.eq("call", step(), "two")
    check.values("call", table.pack(step()))
    local object = {}
    local ok, err = pcall(coroutine.wrap(function() error(object) end))
    check.ok("wrap raises unchanged", not ok and err == object)
    ok, err = pcall(coroutine.wrap(function() error("text", 0) end))
    check.contains("wrap raises unchanged", err, "text") -- skynet puts a position in front
    -- Nested: both levels may block.
    local outer = coroutine.wrap(function()
        local inner = coroutine.wrap(function()
            skynet.sleep(1)
            coroutine.yield "inner"
            skynet.sleep(1)
            return "inner end"
        end)
        coroutine.yield(inner())
        skynet.sleep(1)
        coroutine.yield(inner())
    end)
    check.eq("nested", outer(), "inner")
    check.eq("nested", outer(), "inner end")
    -- thread
    local t, is_task = coroutine.thread()
    check.ok("thread of a task", t == me and is_task == true)
    coroutine.wrap(function()
        local root, own = coroutine.thread()
        check.ok("thread inside", root == me and own == false)
        coroutine.wrap(function()
            root, own = coroutine.thread()
            check.ok("thread deeper", root == me and own == false)
        end)()
    end)()
    -- The rest of the library.
    co = coroutine.create(function()
        local _ <close> = setmetatable({}, {
            __close = function() object.closed = true end,
        })
        coroutine.yield()
    end)
    coroutine.resume(co)
    check.eq("close", coroutine.close(co), true)
    check.eq("closed", object.closed, true)
    check.eq("isyieldable", coroutine.isyieldable(), true)
    check.eq("running", coroutine.running(), me)
    -- ret from inside belongs to the task.
    skynet.dispatch("lua", function()
        coroutine.wrap(function() skynet.retpack "from inside" end)()
    end)
    check.eq("ret inside", skynet.call(skynet.self(), "lua"), "from inside")
end)
