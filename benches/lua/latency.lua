--- How soon does a quiet service run? One that is sent a message by a service that goes on computing; and one that is called
--- while the whole node is quiet. Medians.
local skynet = require "skynet"
local bench = require "bench"

local role = ...

local SAMPLES <const> = 60
local BUSY <const> = 6e6 -- nanoseconds of computing after each message

--- Answers a request with how late the messages were that came since the last one.
local function quiet()
    local late = {}
    skynet.start(function()
        skynet.dispatch("lua", function(session, _, sent)
            if session == 0 then
                late[#late + 1] = skynet.hpc() - sent
            else
                skynet.retpack(late)
                late = {}
            end
        end)
    end)
end

local function compute(nanoseconds)
    local stop = skynet.hpc() + nanoseconds
    repeat
        local sum = 0
        for i = 1, 1000 do
            sum = sum + i
        end
    until skynet.hpc() >= stop
end

if role == "quiet" then
    quiet()
else
    bench.start(function()
        local peer = skynet.newservice(SERVICE_NAME, "quiet")
        skynet.call(peer, "lua")
        for _ = 1, SAMPLES do
            skynet.sleep(1)
            skynet.send(peer, "lua", skynet.hpc())
            compute(BUSY)
        end
        local late = skynet.call(peer, "lua")
        assert(#late == SAMPLES)
        bench.figure("idle_beside_busy", bench.median(late), "ns")

        local took = {}
        for i = 1, SAMPLES do
            skynet.sleep(1)
            local began = skynet.hpc()
            skynet.call(peer, "lua")
            took[i] = skynet.hpc() - began
        end
        bench.figure("idle_call", bench.median(took), "ns")
    end)
end
