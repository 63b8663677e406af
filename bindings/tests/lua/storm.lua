-- Many services that call, select, sleep, wake, fail, leave and kill at random. Whatever happens, every call must end, and nothing may
-- be left behind. `storm_seed` in the config makes another storm. On skynet it fails: calls get lost there.
--! no-log: Response message
--! no-log: attempt to
local skynet = require "skynet"
local check = require "check"

local ACTORS <const> = 24
local STEPS <const> = 150

local role, seed = ...
seed = tonumber(seed or 0) + 1000 * tonumber(skynet.getenv "storm_seed" or 0)

local function generator(state)
    return function(n)
        state = (state * 6364136223846793005 + 1442695040888963407)
        return (state >> 33) % n + 1
    end
end

if role == "victim" then
    -- Answers late, or leaves before.
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, what)
            if what == "leave" then skynet.exit() end
            if what == "put aside" then
                local reply = skynet.response()
                skynet.timeout(2, function() reply(true, what) end)
                return
            end
            skynet.sleep(2)
            skynet.retpack(what)
        end)
    end)
elseif role == "actor" then
    local random = generator(seed)
    ---@type integer[]
    local peers
    local count = { calls = 0, ok = 0, failed = 0 }

    local function call(address, ...)
        count.calls = count.calls + 1
        local ok, answer = pcall(skynet.call, address, "lua", ...)
        if ok then
            count.ok = count.ok + 1
            assert(answer == (...), "somebody else's answer")
        else
            count.failed = count.failed + 1
            assert(answer:find "call failed" or answer:find "call to invalid address", answer)
        end
    end

    local function peer() return peers[random(#peers)] end

    local actions = {
        function() call(peer(), "echo") end,
        function() call(peer(), "slow") end,
        function() call(peer(), "raise") end,
        function() call(peer(), "put aside") end,
        function() skynet.send(peer(), "lua", "echo") end,
        function()
            local requests = skynet.request()
            for i = 1, random(4) do
                requests { peer(), "lua", ({ "echo", "slow", "raise" })[random(3)], n = 3, at = i }
            end
            for _ in requests:select(random(3) > 1 and random(3) or nil) do
                if random(4) == 1 then break end
            end
        end,
        function()
            local token = {}
            skynet.timeout(random(3), function() skynet.wakeup(token) end)
            skynet.sleep(random(3), token)
        end,
        function()
            local sleeper = skynet.fork(skynet.sleep, 50)
            skynet.yield()
            assert(skynet.killthread(sleeper) == sleeper)
        end,
        function()
            local caller = skynet.fork(call, peer(), "slow")
            skynet.yield()
            if skynet.killthread(caller) then
                count.calls = count.calls - 1 -- it will never say how it went
            end
        end,
        function()
            -- Calls to a service that ends with them in its hands.
            local victim = skynet.newservice("storm", "victim")
            for _, what in ipairs { "late", "put aside" } do
                skynet.fork(call, victim, what)
            end
            skynet.sleep(random(3) - 1)
            if check.skein and random(2) == 1 then
                skynet.kill(victim)
            else
                call(victim, "leave")
            end
        end,
    }

    local CMD = {}
    function CMD.echo(what) skynet.retpack(what) end
    function CMD.slow(what)
        skynet.sleep(random(3) - 1)
        skynet.retpack(what)
    end
    function CMD.raise() error "on purpose" end
    CMD["put aside"] = function(what)
        local reply = skynet.response()
        skynet.fork(function()
            skynet.yield()
            reply(random(4) > 1, what)
        end)
    end
    function CMD.run(_, all)
        peers = all
        for _ = 1, STEPS do
            actions[random(#actions)]()
        end
        skynet.retpack(true)
    end
    function CMD.report()
        local left = skynet.task()
        local closures = 0
        if check.skein then
            closures = require("skein.dispatch").open_requests()
        end
        -- The request being served is one of them.
        skynet.retpack(count, left, closures - (check.skein and 1 or 0))
    end
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, name, ...) CMD[name](name, ...) end)
    end)
else
    check.run("storm", function()
        local actors = {}
        for i = 1, ACTORS do
            actors[i] = skynet.newservice("storm", "actor", i)
        end
        local requests = skynet.request()
        for _, actor in ipairs(actors) do
            requests { actor, "lua", "run", actors }
        end
        local done = 0
        for _, answer in requests:select(3000) do
            if answer and answer[1] == true then done = done + 1 end
        end
        check.eq("all ended", done, ACTORS)
        skynet.sleep(20) -- the last timers
        local calls, ok, failed = 0, 0, 0
        for i, actor in ipairs(actors) do
            local count, left, open = skynet.call(actor, "lua", "report")
            calls, ok, failed = calls + count.calls, ok + count.ok, failed + count.failed
            check.eq("tasks left in " .. i, left, 0)
            check.eq("requests left in " .. i, open, 0)
        end
        check.eq("every call ended", ok + failed, calls)
        check.ok("some went well, some failed", ok > 100 and failed > 100)
        -- docs/operating.md, Workers.
        local did = {}
        for name in ("turns from_slot from_injector steals slots_taken looks wakes woken parks contended"):gmatch "%S+" do
            did[name] = skynet.stat("sched." .. name)
            check.eq(name, math.type(did[name]), "integer")
        end
        check.ok("turns", did.turns > calls, did.turns)
        check.ok("of these", did.from_slot > 0 and did.from_slot < did.turns, did.from_slot)
        check.ok("timers", did.from_injector > 0, did.from_injector)
        check.ok("sleeps", did.parks > 0 and did.woken > 0)
        print(string.format("%d calls, %d failed", calls, failed))
    end)
end
