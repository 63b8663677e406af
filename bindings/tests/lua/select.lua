-- Parallel requests: conformance R1 to R6.
--! no-log: Response message
local skynet = require "skynet"
local check = require "check"

local role = ...

if role == "peer" then
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, what, ti, ...)
            if what == "raise" then error "on purpose" end
            skynet.sleep(ti)
            skynet.retpack(what, ...)
        end)
    end)
else
    check.run("select", function()
        local rec = check.recorder()
        local peer = skynet.newservice("select", "peer")
        -- R1
        local requests = skynet.request { peer, "lua", "a", 0, nil, 5, nil, n = 7, tag = "A" }
        requests { 0xffffff, "lua", "dead1", tag = "B" } { 0xffffff, "lua", "dead2", tag = "C" }
        check.eq("R1 add", requests:add { peer, "lua", "raise", tag = "D" }, requests)
        local ok
        for req, resp in requests:select() do
            rec(req.tag .. ":" .. (resp and resp[1] or tostring(resp)))
            if resp then ok = resp end
        end
        local order = rec()
        check.contains("R1 unsent first", order, "C:nil B:nil ")
        check.ok("R1 others", order:find("A:a", 1, true) and order:find("D:false", 1, true), order)
        check.values("R1 values", ok, "a", nil, 5, nil)
        check.eq("R1 no timeout", requests.timeout, nil)
        -- R2
        requests = skynet.request { peer, "lua", "fast", 1 } { peer, "lua", "slow", 8 }
        local t = skynet.now()
        for req, resp in requests:select(4) do
            rec(req[3] .. "=" .. resp[1])
        end
        check.eq("R2", rec(), "fast=fast")
        check.eq("R2 timeout", requests.timeout, true)
        check.ok("R2 time", skynet.now() - t >= 4 and skynet.now() - t < 8)
        -- R3
        for req in skynet.request({ peer, "lua", "x", 1 }):add({ peer, "lua", "y", 3 }):select(10) do
            rec(req[3])
            break
        end
        check.eq("R3", rec(), "x")
        skynet.sleep(15)
        check.eq("R3 nothing left", skynet.task(), 0)
        check.eq("R3 no tombstones", next(skynet.uniqtask()), nil)
        -- An error for a closed set leaves nothing either.
        for _ in skynet.request({ peer, "lua", "x", 0 }):add({ peer, "lua", "raise" }):select() do
            break
        end
        skynet.sleep(2)
        if check.skein then check.eq("R3 late error", next(skynet.uniqtask()), nil) end
        -- R4
        check.raises("R4", "assertion failed!", requests.add, requests, {})
        check.raises("R4", "assertion failed!", requests.select, requests)
        check.raises("R4", "assertion failed!", skynet.request().add, skynet.request(), 1)
        -- R5
        for _ in skynet.request():select() do
            rec "never"
        end
        check.eq("R5", rec(), "")
        -- R6
        for req in
            skynet.request { peer, "lua", "c", 6 } { peer, "lua", "a", 1 } { peer, "lua", "b", 3 }:select()
        do
            rec(req[3])
        end
        check.eq("R6", rec(), "a b c")
        -- Blocking calls inside the loop; all answers arrive meanwhile.
        local n = 0
        for _, resp in
            skynet.request { peer, "lua", "p", 1 } { peer, "lua", "q", 1 } { peer, "lua", "r", 2 }:select(50)
        do
            skynet.sleep(5)
            skynet.call(peer, "lua", "inside", 0)
            n = n + #resp
        end
        check.eq("blocking loop", n, 3)
        -- By hand.
        requests = skynet.request { peer, "lua", "hand", 1 } { peer, "lua", "late", 5 }
        local next_reply = requests:select()
        local req, resp = next_reply()
        check.eq("by hand", req[3] .. resp[1], "handhand")
        requests:close()
        skynet.sleep(8)
        check.eq("by hand closed", skynet.task(), 0)
        -- A killed peer fails its part.
        local mortal = skynet.newservice("select", "peer")
        skynet.fork(function()
            skynet.sleep(2)
            skynet.send(mortal, "debug", "EXIT")
        end)
        for request, response in skynet.request { mortal, "lua", "m", 100 } { peer, "lua", "ok", 1 }:select() do
            rec(request[3] .. ":" .. tostring(response and response[1]))
        end
        check.eq("peer leaves", rec(), "ok:ok m:false")
    end)
end
