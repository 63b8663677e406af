--- The debug commands every service understands. Loaded with the first of them.

---@param skynet table
---@param info fun(): (fun(...): ...)?  the function that answers INFO
---@return table<string, async fun(...)>
return function(skynet, info)
    local commands = {}
    local collecting = false

    --- KiB of Lua memory.
    function commands.MEM() skynet.retpack(collectgarbage "count") end

    --- Collects garbage. No reply.
    function commands.GC()
        skynet.ignoreret()
        if collecting then return end
        collecting = true
        local before = collectgarbage "count"
        local started = skynet.now()
        collectgarbage "collect"
        -- Others may be served before the figures are taken: what they dropped meanwhile counts, too.
        skynet.yield()
        local after = collectgarbage "count"
        skynet.error(
            string.format(
                "GC %.2f Kb -> %.2f Kb, cost %.2f sec",
                before,
                after,
                (skynet.now() - started) / 100
            )
        )
        collecting = false
    end

    --- Lets go of shared tables that are no longer current, as far as this service doesn't refer to them. No reply.
    function commands.SHARESCAN()
        skynet.ignoreret()
        require("skein.share").scan()
    end

    function commands.STAT()
        local stat = {
            task = skynet.task(),
            mqlen = skynet.stat "mqlen",
            cpu = skynet.stat "cpu",
            message = skynet.stat "message",
        }
        local bound = skynet.stat "bound"
        if bound > 0 then
            stat.bound, stat.refused = bound, skynet.stat "refused"
        end
        skynet.retpack(stat)
    end

    --- All tasks, or the one that waits for a session, or `"init"`.
    function commands.TASK(session)
        if session then
            skynet.retpack(skynet.task(session))
        else
            local all = {}
            skynet.task(all)
            skynet.retpack(all)
        end
    end

    function commands.UNIQTASK() skynet.retpack(skynet.uniqtask()) end

    function commands.KILLTASK(pattern)
        local task = skynet.killthread(pattern)
        if task then
            skynet.error(string.format("Kill %s", task))
            skynet.ret()
        else
            skynet.error(string.format("Kill %s : Not found", pattern))
            skynet.retpack "Not found"
        end
    end

    function commands.INFO(...)
        local source = info()
        if source then
            skynet.retpack(source(...))
        else
            skynet.retpack(nil)
        end
    end

    function commands.EXIT() skynet.exit() end

    --- Runs a chunk inside this service.
    function commands.RUN(source, filename, ...)
        local inject = require "skynet.inject"
        local args = table.pack(...)
        local ok, output =
            inject(skynet, source, filename, args, skynet.dispatch_message, skynet.register_protocol)
        collectgarbage "collect"
        skynet.retpack(ok, table.concat(output, "\n"))
    end

    --- Treats an address as dead. No reply.
    function commands.TERM(address)
        skynet.ignoreret()
        skynet.term(address)
    end

    --- Debugs this service until the debugger says `cont`.
    function commands.REMOTEDEBUG(fd, handle)
        require("skynet.remotedebug").start({}, fd, handle)
        skynet.ret()
    end

    function commands.SUPPORT(typename) skynet.retpack(skynet.dispatch(typename) ~= nil) end

    function commands.PING() skynet.ret() end

    --- Runs the stop hooks; this service has none (see `skein.on_stop`).
    function commands.STOP() skynet.retpack(true) end

    --- Never answers while this service lives; its exit answers with an error.
    function commands.LINK() skynet.response() end

    --- `[proto = "lua",] flag`: trace all requests of a class, none, or (nil) those whose sender is traced.
    function commands.TRACELOG(typename, flag)
        if type(typename) ~= "string" then
            typename, flag = "lua", typename
        end
        skynet.error(string.format("Turn trace log %s for %s", flag, typename))
        skynet.traceproto(typename, flag)
        skynet.ret()
    end

    return commands
end
