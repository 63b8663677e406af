--- What does a node do that has nothing to do? Context switches of all its threads, and CPU time, for each second of two.
local skynet = require "skynet"
local bench = require "bench"

local role = ...

local SECONDS <const> = 2

--- The status files of all threads, listed once: listing them starts a program.
local function threads()
    local files = {}
    local list <close> = assert(io.popen "ls -d /proc/$PPID/task/*/status")
    for file in list:lines() do
        files[#files + 1] = file
    end
    return files
end

local function switches(files)
    local sum = 0
    for _, file in ipairs(files) do
        for line in io.lines(file) do
            sum = sum + (tonumber(line:match "ctxt_switches:%s+(%d+)") or 0)
        end
    end
    return sum
end

if role == "peer" then
    bench.echo()
else
    bench.start(function()
        bench.together(40, function()
            skynet.call(skynet.newservice(SERVICE_NAME, "peer"), "lua")
        end)
        local files = threads()
        skynet.sleep(50)
        local before = switches(files)
        local _, cpu = bench.time(skynet.sleep, SECONDS * 100)
        bench.figure("quiet_switches", (switches(files) - before) / SECONDS, "/s")
        bench.figure("quiet_cpu", cpu / SECONDS * 1e9, "ns/s")
    end)
end
