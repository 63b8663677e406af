--- Does memory come back? After a million messages that waited in one mailbox, and after thousands of services that were killed.
--- Sizes are what the system has given to the process, once it has settled.
local skynet = require "skynet"
local bench = require "bench"

local role = ...

local MESSAGES <const> = math.tointeger(skynet.getenv "bench_messages") or 1000000
local SERVICES <const> = math.tointeger(skynet.getenv "bench_services") or 10000
local ROUNDS <const> = 5

--- The size of the process, once it has not fallen for a second.
local function settled()
    collectgarbage()
    local least, since = bench.rss(), 0
    while since < 10 do
        skynet.sleep(10)
        local now = bench.rss()
        since = now < least and 0 or since + 1
        least = math.min(least, now)
    end
    return least
end

--- Nobody takes a message out of the mailbox of a service that is still sending to itself.
local function drain(count)
    local received, all = 0, {}
    skynet.dispatch("lua", function(_, _, i)
        received = received + 1
        assert(i == received, "in order")
        if received == count then
            skynet.wakeup(all)
        end
    end)
    local self = skynet.self()
    for i = 1, count do
        skynet.send(self, "lua", i, "a message")
    end
    local peak = bench.rss()
    skynet.wait(all)
    return peak
end

local function launch(count)
    local services = {}
    for i = 1, count do
        services[i] = skynet.newservice(SERVICE_NAME, "idle")
    end
    return services
end

local function main()
    drain(1000)
    local before = settled()
    bench.figure("drained_peak", drain(MESSAGES) - before, "bytes")
    bench.figure("drained", settled() - before, "bytes")

    launch(10)
    local first, most, alive = nil, 0, nil
    local start = settled()
    for round = 1, ROUNDS do
        local services = launch(SERVICES)
        alive = alive or bench.rss() - start
        for i = 1, SERVICES do
            skynet.kill(services[i])
        end
        local left = settled()
        bench.figure("killed_round_" .. round, left - start, "bytes")
        first = first or left
        most = math.max(most, left)
    end
    bench.figure("killed_peak", alive, "bytes")
    bench.figure("killed_left", first - start, "bytes")
    bench.figure("killed_growth", (most / first - 1) * 100, "%")
end

if role == "idle" then
    bench.echo()
else
    bench.start(main)
end
