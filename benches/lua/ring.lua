--- What does a message cost when each one is for another service? A thousand services in a ring, 32 messages going round.
local skynet = require "skynet"
local bench = require "bench"

local role = ...

local SERVICES <const> = 1000
local MESSAGES <const> = 32

local function member()
    skynet.start(function()
        local next, done
        skynet.dispatch("lua", function(session, _, a, b)
            if session ~= 0 then
                next, done = a, b
                skynet.ret()
            elseif a == 0 then
                skynet.send(done, "lua")
            else
                skynet.send(next, "lua", a - 1)
            end
        end)
    end)
end

local function main()
    local members = bench.ring("member", SERVICES)
    local gather = bench.gather()
    bench.measure("ring_1000", MESSAGES * 100, function(n)
        gather(MESSAGES, function()
            for i = 1, MESSAGES do
                skynet.send(members[i * (SERVICES // MESSAGES)], "lua", n // MESSAGES)
            end
        end)
    end)
end

if role == "member" then
    member()
else
    bench.start(main)
end
