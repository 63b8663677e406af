--- How long does an operator wait for a console command on a node with 10,000 services?
local skynet = require "skynet"
local socket = require "skynet.socket"
local bench = require "bench"

local SERVICES <const> = 10000
local ROUNDS <const> = 5

--- Milliseconds from a command to the end of its answer, the middle one of some.
local function ask(id, command)
    local times = {}
    for i = 1, ROUNDS do
        local begin = skynet.hpc()
        socket.write(id, command .. "\n")
        repeat
            local line = socket.readline(id)
        until line == "<CMD OK>"
        times[i] = skynet.hpc() - begin
    end
    return bench.median(times)
end

if ... == "idle" then
    skynet.start(function() end)
else
    bench.start(function()
        for _ = 1, SERVICES do
            skynet.newservice(SERVICE_NAME, "idle")
        end
        local port = bench.port(function(port) skynet.newservice("debug_console", "127.0.0.1", port) end)
        local id = socket.open("127.0.0.1", port)
        socket.readline(id)
        for _, command in ipairs { "list", "stat", "mem" } do
            bench.figure("console_" .. command, ask(id, command), "ns")
        end
    end)
end
