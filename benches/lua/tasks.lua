--- What do the tasks of one service cost: a fork, a wakeup, a yield, and a call to oneself?
local skynet = require "skynet"
local bench = require "bench"

local BATCH <const> = 100

--- Tasks that end at once, a hundred at a time.
local function fork(n)
    local done = 0
    local function count()
        done = done + 1
    end
    for _ = 1, n // BATCH do
        for _ = 1, BATCH do
            skynet.fork(count)
        end
        skynet.yield()
    end
    assert(done == n)
end

--- A hundred sleepers, woken in turns; what is measured is a wakeup with the wait that follows it.
local function wakeup(n)
    local tokens, stop, woken = {}, false, 0
    for i = 1, BATCH do
        tokens[i] = skynet.fork(function()
            while not stop do
                skynet.wait()
                woken = woken + 1
            end
        end)
    end
    skynet.yield()
    for _ = 1, n // BATCH do
        for i = 1, BATCH do
            skynet.wakeup(tokens[i])
        end
        skynet.yield()
    end
    assert(woken == n)
    stop = true
    for i = 1, BATCH do
        skynet.wakeup(tokens[i])
    end
    skynet.yield()
end

--- Two tasks that wake each other: no batch helps.
local function handover(n)
    local ping, pong, left = {}, {}, n // 2
    skynet.fork(function()
        while left > 0 do
            skynet.wait(pong)
            left = left - 1
            skynet.wakeup(ping)
        end
    end)
    skynet.yield()
    while left > 0 do
        skynet.wakeup(pong)
        skynet.wait(ping)
    end
end

local function yield(n)
    for _ = 1, n do
        skynet.yield()
    end
end

local function call(n)
    local self = skynet.self()
    for i = 1, n do
        skynet.call(self, "lua", i, "text")
    end
end

skynet.dispatch("lua", function(_, _, ...)
    skynet.retpack(...)
end)

bench.start(function()
    bench.measure("fork", 2 * BATCH, fork)
    bench.measure("wakeup", 2 * BATCH, wakeup)
    bench.measure("handover", 2 * BATCH, handover)
    bench.measure("yield", 2 * BATCH, yield)
    bench.measure("call_self", 2 * BATCH, call)
end)
