-- The end of a service: conformance T16, lua-api §3.10, §3.11.
--! no-log: never
local skynet = require "skynet"
local check = require "check"

local role, master = ...
master = math.tointeger(tonumber(master))

local function on_close(what)
    return setmetatable({}, {
        __close = function() skynet.send(master, "lua", what) end,
    })
end

if role == "mortal" then
    local CMD = {}
    function CMD.wait()
        local _ <close> = on_close "closed handler"
        skynet.wait "for ever"
    end
    function CMD.keep()
        local reply = skynet.response()
        skynet.fork(function()
            local _ <close> = on_close "closed fork"
            skynet.wait(reply)
        end)
    end
    function CMD.exit()
        local _ <close> = on_close "closed exiting"
        skynet.fork(skynet.error, "never: fork before exit")
        skynet.exit()
        skynet.error "never: code after exit"
    end
    function CMD.call(other)
        local _ <close> = on_close "closed caller"
        skynet.call(other, "lua", "wait_for_caller")
    end
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, name, ...) CMD[name](...) end)
    end)
elseif role == "server" then
    -- Notices that its caller is gone.
    local replies = {}
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, name)
            if name == "wait_for_caller" then
                replies[1] = skynet.response()
            else
                skynet.retpack(replies[1] "TEST")
            end
        end)
    end)
else
    check.run("exit", function()
        local notes = {}
        skynet.dispatch("lua", function(_, _, what) notes[#notes + 1] = what end)
        local monitor = skynet.monitor "exit_monitor"
        check.eq("monitor", skynet.queryservice(true, "exit_monitor"), monitor)

        local mortal = skynet.newservice("exit", "mortal", skynet.self())
        local server = skynet.newservice("exit", "server", skynet.self())
        local failed = {}
        for _, what in ipairs { "wait", "keep" } do
            skynet.fork(function()
                local ok, err = pcall(skynet.call, mortal, "lua", what)
                failed[what] = not ok and err
            end)
        end
        skynet.send(mortal, "lua", "call", server)
        skynet.sleep(2)
        check.eq("caller is there", skynet.call(server, "lua", "test"), true)
        check.raises("exit", "call failed", skynet.call, mortal, "lua", "exit")
        skynet.sleep(2)
        check.contains("request in a handler", failed.wait, "call failed")
        check.contains("request of a closure", failed.keep, "call failed")
        check.eq("T16 the exiting task last", notes[#notes], "closed exiting")
        table.sort(notes)
        check.eq(
            "T16",
            table.concat(notes, ", "),
            "closed caller, closed exiting, closed fork, closed handler"
        )
        check.eq("peers are told", skynet.call(server, "lua", "test"), false)
        check.raises("gone", "call to invalid address", skynet.call, mortal, "lua", "wait")
        check.eq("monitor heard", skynet.call(monitor, "lua", mortal), 1)
        -- A kill: no code runs, the handlers never answer, the monitor hears of it.
        notes = {}
        mortal = skynet.newservice("exit", "mortal", skynet.self())
        local hanging = true
        local task = skynet.fork(function()
            pcall(skynet.call, mortal, "lua", "wait")
            hanging = false
        end)
        skynet.sleep(1)
        skynet.kill(mortal)
        skynet.sleep(2)
        check.eq("kill runs nothing", #notes, 0)
        check.eq("monitor heard of the kill", skynet.call(monitor, "lua", mortal), 1)
        if check.skein then
            check.eq("C9: the caller hears of the kill", hanging, false)
        else
            skynet.term(mortal)
            skynet.yield()
        end
        check.eq("term", hanging, false)
        check.eq("task ended", coroutine.status(task), "suspended")
        check.eq("launcher forgot", skynet.call(".launcher", "lua", "LIST")[skynet.address(mortal)], nil)
        if check.skein then
            -- Answers that were put aside, and a link.
            mortal = skynet.newservice("exit", "mortal", skynet.self())
            local ended = {}
            skynet.fork(function() ended.keep = pcall(skynet.call, mortal, "lua", "keep") end)
            skynet.fork(function() ended.link = pcall(skynet.call, mortal, "debug", "LINK") end)
            skynet.sleep(1)
            skynet.kill(mortal)
            skynet.sleep(2)
            check.values("kill with answers put aside", table.pack(ended.keep, ended.link), false, false)
        end
        -- A call made by name is failed by that name only.
        local result
        skynet.name("EXIT_SERVER", server)
        skynet.fork(function()
            local ok = pcall(skynet.call, "EXIT_SERVER", "lua", "wait_for_caller")
            result = ok
        end)
        skynet.sleep(1)
        skynet.term(server)
        skynet.yield()
        check.eq("term by number", result, nil)
        skynet.term "EXIT_SERVER"
        skynet.yield()
        check.eq("term by name", result, false)
        -- An error message by hand: fails the session, whoever sent it.
        local session
        skynet.fork(function()
            local co = coroutine.running()
            skynet.timeout(0, function() session = skynet.task(co) end)
            result = pcall(skynet.call, server, "lua", "wait_for_caller")
        end)
        skynet.sleep(1)
        result = nil
        skynet.redirect(skynet.self(), server, "error", session, "")
        skynet.sleep(0)
        check.eq("error by hand", result, false)
        skynet.redirect(skynet.self(), server, "error", 99999, "")
        skynet.sleep(0)
    end)
end
