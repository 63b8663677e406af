-- How services are launched: conformance L1 to L14.
--! log: helpers/no_such_script.lua: No such file
--! log: dirs/no_such_script/init.lua: No such file
--! log: init service failed:
--! log: lua loader error :
local skynet = require "skynet"
local check = require "check"

local role, a, b, c, d = ...

if role == "args" then
    local words = table.pack(...)
    skynet.dispatch("lua", function() skynet.retpack(words) end)
    skynet.start(function() end)
elseif role == "fails" then
    skynet.start(function() error "on purpose" end)
elseif role == "leaves" then
    skynet.start(function() skynet.exit() end)
elseif role == "exit-is-start" then
    skynet.start(skynet.exit)
elseif role == "killed" then
    require "skynet.manager"
    skynet.start(function() skynet.kill(skynet.self()) end)
elseif role == "load-error" then
    error "while loading"
elseif role == "slow" then
    local order = {}
    skynet.init(function()
        skynet.sleep(2)
        order[#order + 1] = "init1"
    end)
    skynet.init(function() order[#order + 1] = "init2" end)
    skynet.dispatch("lua", function() skynet.retpack(table.concat(order, " ")) end)
    skynet.start(function()
        order[#order + 1] = "start"
        skynet.sleep(2)
        order[#order + 1] = "started"
    end)
elseif role == "globals" then
    skynet.dispatch(
        "lua",
        function()
            skynet.retpack(
                SERVICE_NAME,
                SERVICE_PATH,
                LUA_PATH == nil,
                LUA_CPATH == nil,
                LUA_SERVICE == nil,
                LUA_PRELOAD == nil
            )
        end
    )
    skynet.start(function() end)
else
    check.run("launch", function()
        -- L1
        local args = skynet.newservice("launch", "args", "a b", 3, 1.5)
        check.eq("L1", table.concat(skynet.call(args, "lua"), "|"), "args|a|b|3|1.5")
        -- L2
        check.raises("L2", "call failed", skynet.newservice, "launch", true)
        local none = skynet.newservice("launch", "args", nil, 2)
        check.eq("L2", table.concat(skynet.call(none, "lua"), "|"), "args")
        -- L3 L4 L5 L6
        check.raises("L3", "call failed", skynet.newservice, "no_such_script")
        check.raises("L3 load", "call failed", skynet.newservice, "launch", "load-error")
        check.raises("L4", "call failed", skynet.newservice, "launch", "fails")
        check.values("L5", table.pack(skynet.newservice("launch", "leaves")))
        check.values("L5 exit as start", table.pack(skynet.newservice("launch", "exit-is-start")))
        check.raises("L6", "call failed", skynet.newservice, "launch", "killed")
        -- L7
        local _, first = pcall(skynet.uniqueservice, "no_such_unique")
        local _, second = pcall(skynet.uniqueservice, "no_such_unique")
        check.ok("L7", first:find "call failed$" and second:find "call failed$", first .. " / " .. second)
        -- L8
        local slow = skynet.newservice("launch", "slow")
        check.eq("L8", skynet.call(slow, "lua"), "init1 init2 start started")
        -- L9
        check.eq("L9", skynet.launch "no_such_module", nil)
        -- L10
        local name, path, r1, r2, r3, r4 = skynet.call(skynet.newservice("launch", "globals"), "lua")
        check.eq("L10 name", name, "launch")
        check.ok("L10 path", path and path:sub(-1) == "/", path)
        check.ok("L10 cleared", r1 and r2 and r3 and r4)
        -- L13
        local list = skynet.call(".launcher", "lua", "LIST")
        check.eq("L13", list[skynet.address(args)], "snlua launch args a b 3 1.5")
        check.eq("L13 launcher", list[skynet.address(skynet.localname ".launcher")], nil)
        check.eq("L13 lower case", type(skynet.call(".launcher", "lua", "list")), "table")
        -- L14
        check.eq("L14", skynet.call(".launcher", "lua", "NOSUCH")[1], "Unknown command")
        -- The launcher's other commands.
        local stat = skynet.call(".launcher", "lua", "STAT")
        check.eq("STAT", math.type(stat[skynet.address(args)].message), "integer")
        local mem = skynet.call(".launcher", "lua", "MEM")
        check.ok("MEM", mem[skynet.address(args)]:find "^%d+%.%d%d Kb %(snlua launch args a b 3 1.5%)$")
        local killed = skynet.call(".launcher", "lua", "KILL", none)
        check.eq("KILL", killed[skynet.address(none)], "snlua launch args")
        check.raises("KILL gone", "call to invalid address", skynet.call, none, "lua")
        -- uniqueservice
        local one = skynet.uniqueservice("launch", "args", "first")
        check.eq("unique", skynet.uniqueservice("launch", "args", "second"), one)
        check.eq("unique arguments", table.concat(skynet.call(one, "lua"), "|"), "args|first")
        check.eq("queryservice", skynet.queryservice "launch", one)
        local global = skynet.uniqueservice(true, "launch", "args", "global")
        check.ok("unique global", global ~= one)
        check.eq("queryservice global", skynet.queryservice(true, "launch"), global)
        -- Concurrent callers share one launch.
        local got = {}
        local me = coroutine.running()
        for i = 1, 3 do
            skynet.fork(function()
                got[i] = skynet.uniqueservice("require_unique", "args")
                if #got == 3 then skynet.wakeup(me) end
            end)
        end
        skynet.wait(me)
        check.ok("unique shared", got[1] == got[2] and got[2] == got[3])
        local services = skynet.call(".service", "lua", "LIST")
        check.eq("LIST", services.launch, skynet.address(one))
        check.eq("LIST global", services["@launch"], skynet.address(global))
        check.contains("LIST error", services.no_such_unique, "Error: ")
        local none_, err = skynet.call(".service", "lua", "NOSUCH")
        check.eq("service_mgr unknown", none_, nil)
        check.eq("service_mgr unknown", err, "Invalid command NOSUCH")
        -- A query waits for somebody's launch.
        local queried, missed
        skynet.fork(function() queried = skynet.queryservice "queried_unique" end)
        skynet.fork(function() missed = select(2, pcall(skynet.queryservice, "missing_unique")) end)
        skynet.sleep(2)
        check.eq("query waits", queried, nil)
        check.contains(
            "query in progress",
            skynet.call(".service", "lua", "LIST").queried_unique,
            "Querying:"
        )
        local launched = skynet.uniqueservice "queried_unique"
        pcall(skynet.uniqueservice, "missing_unique")
        skynet.sleep(1)
        check.eq("query", queried, launched)
        check.contains("query fails", missed, "call failed")
        check.eq("query again", skynet.queryservice "queried_unique", launched)
        -- A unique service that leaves during its start: nobody gets a handle, the next one tries again.
        check.raises("unique exit", "assertion failed!", skynet.uniqueservice, "leaving_unique")
        check.raises("unique exit again", "assertion failed!", skynet.uniqueservice, "leaving_unique")
    end)
end
