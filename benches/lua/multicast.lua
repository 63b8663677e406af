--- What does it cost to give 64 KB to a hundred services at once? Per delivery.
local skynet = require "skynet"
local bench = require "bench"

local role, id = ...

local SUBSCRIBERS <const> = 100
local SLICE <const> = 4 -- publications on the way at most

local found, multicast = pcall(require, "skynet.multicast")

local function subscriber()
    local received = 0
    skynet.start(function()
        local channel = multicast.new {
            channel = tonumber(id),
            dispatch = function(_, _, text)
                received = received + #text
            end,
        }
        channel:subscribe()
        skynet.dispatch("lua", function()
            skynet.retpack(received)
        end)
    end)
end

local function main()
    if not found then
        return bench.skip("multicast_64k", "there is no skynet.multicast yet")
    end
    local channel = multicast.new()
    local subscribers = {}
    for i = 1, SUBSCRIBERS do
        subscribers[i] = skynet.newservice(SERVICE_NAME, "subscriber", channel.channel)
    end
    local text, sent = string.rep("x", 64 << 10), 0
    bench.measure("multicast_64k", SUBSCRIBERS * SLICE, function(n)
        for i = 1, n // SUBSCRIBERS do
            channel:publish(text)
            if i % SLICE == 0 then
                bench.together(SUBSCRIBERS, function(at)
                    skynet.call(subscribers[at], "lua")
                end)
            end
        end
        sent = sent + n // SUBSCRIBERS * #text
    end)
    for i = 1, SUBSCRIBERS do
        assert(skynet.call(subscribers[i], "lua") == sent, "each publication arrived once")
    end
end

if role == "subscriber" then
    subscriber()
else
    bench.start(main)
end
