--- What does a timer cost from `timeout` until its function has run? A hundred thousand, due over half a second.
local skynet = require "skynet"
local bench = require "bench"

local TIMERS <const> = 100000
local TICKS <const> = 50

local function run(n)
    local left, all = n, {}
    local function due()
        left = left - 1
        if left == 0 then
            skynet.wakeup(all)
        end
    end
    for i = 1, n do
        skynet.timeout(1 + i % TICKS, due)
    end
    skynet.wait(all)
end

bench.start(function()
    run(TIMERS // 10)
    collectgarbage()
    bench.cost("timer", TIMERS, bench.time(run, TIMERS))
end)
