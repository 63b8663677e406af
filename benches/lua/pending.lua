--- How much memory does a timer take while it waits? A hundred thousand, due in an hour.
local skynet = require "skynet"
local bench = require "bench"

local TIMERS <const> = 100000
local HOUR <const> = 360000

bench.start(function()
    local function never() end
    for _ = 1, 100 do
        skynet.timeout(HOUR, never)
    end
    collectgarbage()
    local before = bench.rss()
    for _ = 1, TIMERS do
        skynet.timeout(HOUR, never)
    end
    collectgarbage()
    bench.figure("pending_timer", (bench.rss() - before) / TIMERS, "bytes")
end)
