--- What does a request and its answer cost? One caller and one callee; and 64 pairs of them at once.
local skynet = require "skynet"
local bench = require "bench"

local role = ...

--- Calls `peer` as often as it is told, and answers when it is done.
local function caller(peer)
    peer = tonumber(peer)
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, n)
            for i = 1, n do
                skynet.call(peer, "lua", i)
            end
            skynet.ret()
        end)
    end)
end

local PAIRS <const> = 64

local function main()
    local callers = {}
    for i = 1, PAIRS do
        local echo = skynet.newservice(SERVICE_NAME, "echo")
        callers[i] = skynet.newservice(SERVICE_NAME, "caller", echo)
    end
    bench.measure("ping_pong", 1000, function(n)
        skynet.call(callers[1], "lua", n)
    end)
    bench.measure("pairs_64", PAIRS * 20, function(n)
        bench.together(PAIRS, function(i)
            skynet.call(callers[i], "lua", n // PAIRS)
        end)
    end)
end

if role == "echo" then
    bench.echo()
elseif role == "caller" then
    caller(select(2, ...))
else
    bench.start(main)
end
