-- What faults do: no caller hangs, and the service goes on. Design: each open request is answered when its service ends,
-- whatever ended it. The first part holds for skein only.
--! log: cannot resume dead coroutine
--! log: not enough memory
--! log: unpack fails
--! log: signal 0
--! no-log: never
local skynet = require "skynet"
local core = require "skynet.core"
local check = require "check"

local role = ...

if role == "mortal" then
    local CMD = {}
    local kept
    function CMD.wait()
        skynet.wait "for ever"
    end
    function CMD.keep()
        kept = skynet.response()
    end
    function CMD.forget() end
    function CMD.call(peer)
        skynet.retpack(pcall(skynet.call, peer, "lua", "wait"))
    end
    function CMD.busy()
        local till = skynet.hpc() + 50 * 1000 * 1000
        repeat
        until skynet.hpc() > till
        skynet.exit()
    end
    function CMD.kill_self()
        skynet.kill(skynet.self())
    end
    function CMD.loop()
        while true do
        end
    end
    function CMD.grow()
        local t = {}
        for i = 1, 1e9 do
            -- Large enough that what is left when one does not fit is enough for the traceback.
            t[i] = ("x"):rep(100000) .. i
        end
    end
    function CMD.echo(...)
        skynet.retpack(...)
    end
    function CMD.reply()
        return kept(true)
    end
    skynet.memlimit(16 * 1024 * 1024)
    skynet.register_protocol {
        name = "odd",
        id = 99,
        pack = skynet.packstring,
        unpack = function()
            error "unpack fails"
        end,
        dispatch = function()
            skynet.error "never: the handler of what can't be unpacked"
        end,
    }
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, name, ...)
            CMD[name](...)
        end)
    end)
    return
end

--- Calls in a task of its own; the result says how that ended.
local function call(...)
    local result = {}
    skynet.fork(function(...)
        local ok, err = pcall(skynet.call, ...)
        result.ended, result.ok, result.err = true, ok, err
    end, ...)
    return result
end

local function failed(id, result)
    if check.skein then
        for _ = 1, 200 do
            if result.ended then
                break
            end
            skynet.sleep(1)
        end
        check.ok(id, result.ended, "the caller hangs")
        check.contains(id, result.err, "call failed")
    end
end

check.run("faults", function()
    skynet.register_protocol { name = "odd", id = 99, pack = skynet.packstring, unpack = skynet.unpack }
    local new = function()
        return skynet.newservice("faults", "mortal")
    end

    -- Killed with requests open: in a suspended handler, behind a closure, forgotten; and in its own call.
    local mortal = new()
    local open = { call(mortal, "lua", "wait"), call(mortal, "lua", "keep"), call(mortal, "lua", "forget") }
    open[4] = call(mortal, "lua", "call", new())
    skynet.sleep(2)
    skynet.kill(mortal)
    for i, result in ipairs(open) do
        failed("killed " .. i, result)
    end
    -- Killed by itself in the middle of a request, and with requests queued.
    failed("kills itself", call(new(), "lua", "kill_self"))
    mortal = new()
    open = { call(mortal, "lua", "busy"), call(mortal, "lua", "echo"), call(mortal, "lua", "echo") }
    for i, result in ipairs(open) do
        failed("queued " .. i, result)
    end
    -- Forgotten, and then an exit.
    mortal = new()
    open = { call(mortal, "lua", "forget") }
    skynet.sleep(1)
    skynet.send(mortal, "debug", "EXIT")
    failed("exit", open[1])

    if check.skein then
        mortal = new()
        check.raises("unpack", "call failed", skynet.call, mortal, "odd", "x")
        -- Memory, and a signal that breaks into a loop: the service goes on.
        check.raises("memory", "call failed", skynet.call, mortal, "lua", "grow")
        check.eq("goes on", skynet.call(mortal, "lua", "echo", 1), 1)
        local looping = call(mortal, "lua", "loop")
        skynet.sleep(2)
        core.command("SIGNAL", skynet.address(mortal) .. " 0")
        failed("signal", looping)
        check.eq("goes on", skynet.call(mortal, "lua", "echo", 2), 2)

        -- A coroutine that somebody closes by hand: its requester hears of it when its turn comes.
        local served
        skynet.dispatch("lua", function()
            served = coroutine.running()
            skynet.sleep(5)
        end)
        local closed = call(skynet.self(), "lua")
        skynet.sleep(1)
        coroutine.close(served)
        failed("closed by hand", closed)
        -- One that somebody resumes by hand: its sleep ends early, and its timer does no harm later.
        local ended
        local sleeper = skynet.fork(function()
            skynet.sleep(1)
            ended = true
        end)
        skynet.yield()
        coroutine.resume(sleeper)
        check.eq("resumed by hand", ended, true)
        skynet.sleep(2)
        -- Forks and timers too; and a coroutine without work.
        check.eq("fork by hand", (coroutine.resume(skynet.fork(function() end))), true)
        check.eq("timer by hand", (coroutine.resume(skynet.timeout(1, function() end))), true)
        coroutine.close(skynet.fork(skynet.error, "never: a closed fork"))
        coroutine.close(skynet.timeout(0, function() end))
        local idle = skynet.fork(function() end)
        skynet.yield()
        check.eq("idle by hand", (coroutine.resume(idle)), false)
        for _ = 1, 3 do
            skynet.fork(function() end)
        end
        skynet.sleep(2)
        -- What runs below a handler, called by hand with anything.
        local below
        skynet.dispatch("lua", function(...)
            below = below or debug.getinfo(2, "f").func
            skynet.retpack(...)
        end)
        skynet.call(skynet.self(), "lua", 1)
        if below then
            for n = 0, 9 do
                pcall(below, table.unpack({ print, print, 1, 2, 3, 4, 5, 6, 7 }, 1, n))
                pcall(below, table.unpack({ {}, {}, {}, {}, {}, {}, {} }, 1, n))
            end
        end
        check.eq("goes on", (select(3, skynet.call(skynet.self(), "lua", 5))), 5)
        -- Bad arguments are errors of the caller, and nothing else.
        for name, f in pairs(require "skein.dispatch") do
            if type(f) == "function" and not (name == "leave" or name == "finish" or name == "start" or name:find "^unknown") then
                for _, args in ipairs { {}, { nil, nil }, { print }, { "x", "y", "z" }, { -1, -1, -1 }, { 1e300 }, { {}, {} } } do
                    if not ((name == "wait" or name == "yield" or name == "sleep") and #args <= 3) then
                        pcall(f, table.unpack(args, 1, 4))
                    end
                end
            end
        end
        skynet.trace_timeout(false)
        -- Outside of a task, and where nothing may yield.
        check.raises("in sort", "attempt to yield across", table.sort, { 1, 2 }, function()
            skynet.sleep(0)
        end)
        check.raises("call in sort", "attempt to yield across", table.sort, { 1, 2 }, function()
            skynet.call(skynet.self(), "lua")
        end)
        -- Pointers that are nobody's, or somebody else's by now.
        local p, n = skynet.pack(1)
        skynet.trash(p, n)
        check.raises("stale", "not held", skynet.rawcall, skynet.self(), "lua", p, n)
        skynet.fork(function()
            check.raises("no request", "No session", skynet.ret, skynet.pack(1))
        end)
        skynet.yield()
        -- A response that can't be packed leaves the request open, and its failing task answers it.
        skynet.dispatch("lua", function()
            local msg = skynet.pack(1)
            skynet.ret(msg, 1 << 20)
        end)
        check.raises("what is shorter", "call failed", skynet.call, skynet.self(), "lua")
        skynet.dispatch("lua", function()
            skynet.retpack(print)
        end)
        check.raises("what does not pack", "call failed", skynet.call, skynet.self(), "lua")
        -- Time of a task is measured across its suspensions.
        local profile = require "skynet.profile"
        local me, time = coroutine.running(), nil
        skynet.fork(function()
            profile.start()
            -- CPU time, as what is measured: others may keep the processor meanwhile.
            local till = os.clock() + 0.005
            repeat
            until os.clock() > till
            skynet.sleep(3)
            time = profile.stop()
            skynet.wakeup(me)
        end)
        skynet.wait(me)
        check.ok("profile", time > 0.001 and time < 0.03, time)
        -- Coroutines of a burst are given up.
        collectgarbage()
        collectgarbage()
        local before = collectgarbage "count"
        for _ = 1, 5000 do
            skynet.fork(function() end)
        end
        skynet.yield()
        local burst = collectgarbage "count" - before
        for _ = 1, 4 do
            collectgarbage()
        end
        local kept = collectgarbage "count" - before
        check.ok("trimmed", kept < burst / 4, string.format("%.0f of %.0f KiB", kept, burst))
        -- Hooks and to-be-closed variables of tasks.
        local lines, hooked = 0, true
        skynet.fork(function()
            debug.sethook(function() lines = lines + 1 end, "l")
            skynet.yield()
            local _ = 1
            debug.sethook()
            hooked = false
        end)
        while hooked do
            skynet.sleep(1)
        end
        check.ok("hook", lines > 1, lines)
    end
end)
