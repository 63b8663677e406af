--- What does a one-way message cost? Eight services send to one, which counts; each waits for it after every 100.
local skynet = require "skynet"
local bench = require "bench"

local role, sink = ...

local SENDERS <const> = 8
local SLICE <const> = 100

local function receiver()
    skynet.start(function()
        local count = 0
        skynet.dispatch("lua", function(session, _, amount)
            count = count + amount
            if session ~= 0 then
                skynet.retpack(count)
            end
        end)
    end)
end

local function sender()
    local to = tonumber(sink)
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, slices)
            for _ = 1, slices do
                for _ = 2, SLICE do
                    skynet.send(to, "lua", 1)
                end
                skynet.call(to, "lua", 1)
            end
            skynet.ret()
        end)
    end)
end

local function main()
    local to = skynet.newservice(SERVICE_NAME, "receiver")
    local senders = {}
    for i = 1, SENDERS do
        senders[i] = skynet.newservice(SERVICE_NAME, "sender", to)
    end
    local sent = 0
    bench.measure("fan_in", SENDERS * SLICE, function(n)
        bench.together(SENDERS, function(i)
            skynet.call(senders[i], "lua", n // (SENDERS * SLICE))
        end)
        sent = sent + n
    end)
    assert(skynet.call(to, "lua", 0) == sent, "each message arrived once")
end

if role == "receiver" then
    receiver()
elseif role == "sender" then
    sender()
else
    bench.start(main)
end
