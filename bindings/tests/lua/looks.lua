-- Services that sleep are looked at from outside; those that are busy, or have an answer of their own, are asked: services.md §4.
local skynet = require "skynet"
local check = require "check"

local role = ...

if role == "idle" then
    skynet.start(function()
        skynet.dispatch("lua", function() skynet.retpack(skynet.stat "message") end)
        skynet.fork(skynet.wait)
        skynet.timeout(1000000, function() end)
        skynet.fork(function() skynet.sleep(1000000, "token") end)
        skynet.fork(skynet.wakeup, "token")
    end)
elseif role == "own" then
    local debug = require "skynet.debug"
    debug.reg_debugcmd("STAT", function() skynet.retpack "my stat" end)
    debug.reg_debugcmd("MEM", function() skynet.retpack(1.5) end)
    skynet.start(function() end)
elseif role == "handler" then
    skynet.start(function()
        skynet.dispatch("debug", function(_, _, name) skynet.retpack("asked for " .. name) end)
    end)
elseif role == "filter" then
    local silent = false
    require("skynet.manager").filter(function(ty, ...)
        if ty == skynet.PTYPE_DEBUG and not silent then
            silent = true
            return skynet.PTYPE_TEXT, ...
        end
        return ty, ...
    end, function() end)
elseif role == "silent" then
    -- No callback: what comes is thrown away.
    require("skynet.core").send(".launcher", skynet.PTYPE_LUA, 0, skynet.packstring "LAUNCHOK")
else
    check.run("looks", function()
        local idle, own = skynet.newservice("looks", "idle"), skynet.newservice("looks", "own")
        local handler, filter = skynet.newservice("looks", "handler"), skynet.newservice("looks", "filter")
        local before = skynet.call(idle, "lua")
        local stats = skynet.call(".launcher", "lua", "STAT")
        local stat = stats[skynet.address(idle)]
        check.eq("tasks of a service that sleeps", stat.task, 2)
        check.eq("its mailbox", stat.mqlen, 0)
        check.eq("its messages are counted", stat.message >= before, true)
        check.eq("seconds", math.type(stat.cpu), "float")
        check.eq("what it says itself", skynet.call(idle, "debug", "STAT").task, stat.task)
        check.eq("an own command", stats[skynet.address(own)], "my stat")
        check.eq("an own handler", stats[skynet.address(handler)], "asked for STAT")
        check.eq("a filter in front", stats[skynet.address(filter)], "ERROR")
        local mems = skynet.call(".launcher", "lua", "MEM")
        check.contains("memory", mems[skynet.address(idle)], " Kb (snlua looks idle)")
        check.eq("an own command", mems[skynet.address(own)], "1.50 Kb (snlua looks own)")
        local kib = tonumber(mems[skynet.address(idle)]:match "^[%d.]+")
        local said = skynet.call(idle, "debug", "MEM")
        check.ok("what it says itself", math.abs(said - kib) < 64, said .. " " .. kib)
        -- It may not have come to rest when the first looks come.
        local LOOKS <const> = 50
        before = skynet.call(idle, "lua")
        for _ = 1, LOOKS do
            skynet.call(".launcher", "lua", "STAT")
        end
        check.ok("nobody wakes it", skynet.call(idle, "lua") < before + LOOKS)
        local silent = skynet.newservice("looks", "silent")
        stats, mems = skynet.call(".launcher", "lua", "STAT", 5), skynet.call(".launcher", "lua", "MEM", 5)
        check.eq("nobody there", stats[skynet.address(silent)], "TIMEOUT")
        check.eq("nobody there", mems[skynet.address(silent)], "TIMEOUT (snlua looks silent)")
    end)
end
