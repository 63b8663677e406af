--- How long does it take to launch a service, and how much memory has one that only waits?
local skynet = require "skynet"
local bench = require "bench"

local role = ...

local WARM <const> = 100
local SERVICES <const> = 2000

local function launch(n)
    for _ = 1, n do
        skynet.newservice(SERVICE_NAME, "idle")
    end
end

if role == "idle" then
    bench.echo()
else
    bench.start(function()
        launch(WARM)
        collectgarbage()
        local before = bench.rss()
        bench.cost("launch", SERVICES, bench.time(launch, SERVICES))
        bench.figure("idle_service", (bench.rss() - before) / SERVICES, "bytes")
    end)
end
