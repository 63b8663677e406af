-- Debug commands: conformance N9 to N11, lua-api §6.
--! log: GC
--! log: Kill thread:
--! log: Kill nothing like it : Not found
--! log: Turn trace log true for lua
local skynet = require "skynet"
local check = require "check"
require("skynet.debug").reg_debugcmd("HELLO", function(name) skynet.retpack("hello " .. name) end)

local role = ...

if role == "peer" then
    local CMD = {}
    local secret = { value = 1 }

    function CMD.sleep() skynet.sleep(500) end
    function CMD.secret() skynet.retpack(secret.value) end
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, name, ...) CMD[name](...) end)
    end)
elseif role == "info" then
    skynet.start(function()
        skynet.info_func(function(...) return "info", ... end)
    end)
elseif role == "init" then
    skynet.start(function() skynet.sleep(10) end)
else
    check.run("debug", function()
        local peer = skynet.newservice("debug", "peer")
        local function ask(...) return skynet.call(peer, "debug", ...) end
        -- N9
        check.values("PING", table.pack(ask "PING"))
        check.values("INFO", table.pack(ask "INFO"), nil)
        local info = skynet.newservice("debug", "info")
        check.values(
            "INFO func",
            table.pack(skynet.call(info, "debug", "INFO", 1, nil, 2)),
            "info",
            1,
            nil,
            2
        )
        check.eq("SUPPORT", ask("SUPPORT", "lua"), true)
        check.eq("SUPPORT", ask("SUPPORT", "nosuch"), false)
        check.raises("unknown", "call failed", ask, "NOSUCH")
        check.eq("MEM", math.type(ask "MEM"), "float")
        check.values("RUN", table.pack(ask("RUN", "print(1, 'a') print(...)", "file", 7)), true, "1\ta\n7")
        local ok, text = ask("RUN", "error 'oops'", "file")
        check.eq("RUN error", ok, false)
        check.contains("RUN error", text, "oops")
        ok, text = ask("RUN", "syntax error", "file")
        check.eq("RUN syntax", ok, false)
        check.contains("RUN syntax", text, "file:1:")
        -- N10
        ok, text = ask("RUN", "print(type(_P.lua.CMD), type(_P.lua.CMD.secret), type(_U))", "file")
        check.eq("N10", text, "table\tfunction\ttable")
        ask(
            "RUN",
            "local CMD = _P.lua.CMD; local s = require 'skynet'; function CMD.secret() s.retpack(42) end",
            "file"
        )
        check.eq("N10 replaced", skynet.call(peer, "lua", "secret"), 42)
        ask("RUN", "leaked = 5", "file")
        ok, text = ask("RUN", "print(tostring(leaked), SERVICE_NAME)", "file")
        check.eq("RUN globals", text, "nil\tdebug")
        -- RUN may suspend.
        ok, text = ask("RUN", "require('skynet').sleep(1) print 'slept'", "file")
        check.eq("RUN sleeps", text, "slept")
        -- STAT, TASK, UNIQTASK, KILLTASK
        local stat = ask "STAT"
        check.eq("STAT", stat.task, 0)
        check.eq("STAT", math.type(stat.mqlen), "integer")
        check.eq("STAT", math.type(stat.message), "integer")
        check.eq("STAT", type(stat.cpu), "number")
        local failed
        skynet.fork(function() failed = not pcall(skynet.call, peer, "lua", "sleep") end)
        skynet.sleep(1)
        check.eq("STAT task", ask("STAT").task, 1)
        local key, trace = next(ask "TASK")
        local thread, session = key:match "^(thread: 0x%x+) session: (%d+)$"
        check.ok("TASK", thread, key)
        check.contains("TASK", trace, "stack traceback:")
        check.contains("TASK session", ask("TASK", math.tointeger(session)), "stack traceback:")
        check.eq("TASK no session", ask("TASK", 99999), "No session")
        check.ok("UNIQTASK", next(ask "UNIQTASK"):find "^1\tsessions:%[%d+%]\n$")
        check.values("KILLTASK", table.pack(ask("KILLTASK", thread)))
        skynet.sleep(1)
        check.eq("KILLTASK fails the caller", failed, true)
        check.eq("KILLTASK", ask("KILLTASK", "nothing like it"), "Not found")
        -- TASK init, while the start function runs.
        skynet.fork(skynet.newservice, "debug", "init")
        skynet.sleep(2)
        local starting
        for address, name in pairs(skynet.call(".launcher", "lua", "LIST")) do
            if name == "snlua debug init" then starting = address end
        end
        check.contains("TASK init", skynet.call(starting, "debug", "TASK", "init"), "stack traceback:")
        -- GC (no reply), TRACELOG, a command of our own.
        skynet.send(peer, "debug", "GC")
        check.values("TRACELOG", table.pack(ask("TRACELOG", true)))
        check.values("TRACELOG", table.pack(ask("TRACELOG", "lua", nil)))
        check.eq("reg_debugcmd", ask("HELLO", "you"), "hello you")
        -- TERM has no reply either.
        skynet.send(peer, "debug", "TERM", skynet.self())
        -- N11
        local linked = "waiting"
        skynet.fork(function() linked = pcall(skynet.call, peer, "debug", "LINK") end)
        skynet.sleep(1)
        check.eq("N11 waits", linked, "waiting")
        check.raises("EXIT", "call failed", ask, "EXIT")
        skynet.sleep(1)
        check.eq("N11", linked, false)
    end)
end
