--- What every script here shares: how long an operation takes, and how to say it. Runs on skynet and on skein.
---
--- A figure is one line of standard output, `name value unit`, written at once so that no log line can split it.
--- CPU is that of the whole process (`os.clock`), wall time that of the monotonic clock (`skynet.hpc`).
local skynet = require "skynet"
require "skynet.manager" -- for `abort`

---@class Bench
local bench = {}

--- How long the measured part of a figure runs, in seconds; the run that finds the number of operations comes before.
local SECONDS <const> = tonumber(skynet.getenv "bench_seconds") or 0.6

--- Says one figure.
---@param name string
---@param value number
---@param unit string
function bench.figure(name, value, unit)
    io.stdout:write(string.format("%s %.6g %s\n", name, value, unit))
    io.stdout:flush()
end

--- Says that a figure cannot be had here, and why.
---@param name string
---@param reason string
function bench.skip(name, reason)
    io.stdout:write(string.format("skip %s %s\n", name, (reason:gsub("%s+", " "))))
    io.stdout:flush()
end

--- Wall and CPU seconds of `f(...)`.
---@async
---@return number wall
---@return number cpu
function bench.time(f, ...)
    local cpu, wall = os.clock(), skynet.hpc()
    f(...)
    return (skynet.hpc() - wall) / 1e9, os.clock() - cpu
end

--- Says what an operation costs: `name.wall` and `name.cpu` in nanoseconds each, and `name.ops`, how many were measured.
---@param name string
---@param ops integer
---@param wall number  seconds of all of them
---@param cpu number   seconds of all of them
function bench.cost(name, ops, wall, cpu)
    bench.figure(name .. ".wall", wall / ops * 1e9, "ns")
    bench.figure(name .. ".cpu", cpu / ops * 1e9, "ns")
    bench.figure(name .. ".ops", ops, "ops")
end

--- Measures `f(n)`, which does `n` operations. `n` grows from `step` until it takes long enough, always as a multiple of
--- `step`; what ran until then has warmed the process up.
---@async
---@param name string
---@param step integer
---@param f async fun(n: integer)
function bench.measure(name, step, f)
    local n = step
    local wall = bench.time(f, n)
    while wall < SECONDS / 8 do
        n = n * (wall < SECONDS / 64 and 4 or 2)
        wall = bench.time(f, n)
    end
    n = math.max(1, math.floor(n * SECONDS / wall / step + 0.5)) * step
    collectgarbage()
    bench.cost(name, n, bench.time(f, n))
end

--- Calls `listen(port)` with ports of our own choice until it does not raise; the port it was. (Not all of skynet tells which port it took
--- when it was free to choose.)
---@param listen fun(port: integer)
---@return integer
function bench.port(listen)
    for _ = 1, 50 do
        local port = 18000 + math.random(14000)
        if pcall(listen, port) then return port end
    end
    error "no free port"
end

--- The median of a list; sorts it.
---@param values number[]
---@return number
function bench.median(values)
    table.sort(values)
    return values[(#values + 1) // 2]
end

--- Bytes of memory that the system has given to this process (`VmRSS`).
---@return integer
function bench.rss()
    for line in io.lines "/proc/self/status" do
        local kib = line:match "^VmRSS:%s+(%d+) kB"
        if kib then
            return math.tointeger(kib) * 1024
        end
    end
    error "no VmRSS in /proc/self/status"
end

--- `skynet.start` for the first service of a script: runs `f`, and ends the process, also after an error.
---@param f async fun()
function bench.start(f)
    skynet.start(function()
        skynet.fork(function()
            local ok, err = xpcall(f, debug.traceback)
            if not ok then
                io.stderr:write(err, "\n")
            end
            bench.figure("end", ok and 1 or 0, "ok")
            skynet.abort()
        end)
    end)
end

--- Runs `f(i)` for 1 to `count`, each as a task of its own, and returns when all are done.
---@async
---@param count integer
---@param f async fun(i: integer)
function bench.together(count, f)
    local left = count
    local all = {}
    for i = 1, count do
        skynet.fork(function()
            f(i)
            left = left - 1
            if left == 0 then
                skynet.wakeup(all)
            end
        end)
    end
    skynet.wait(all)
end

--- Launches `count` services of this script, in a ring: each is called with the address of the next one and of this service.
---@async
---@param role string  the script's argument
---@param count integer
---@return integer[]
function bench.ring(role, count)
    local members = {}
    for i = 1, count do
        members[i] = skynet.newservice(SERVICE_NAME, role)
    end
    for i = 1, count do
        skynet.call(members[i], "lua", members[i % count + 1], skynet.self())
    end
    return members
end

--- A function that runs `f()`, and returns when `count` messages of type `lua` have come. This service gets no others.
---@return async fun(count: integer, f: async fun())
function bench.gather()
    local left, all = 0, {}
    skynet.dispatch("lua", function()
        left = left - 1
        if left == 0 then
            skynet.wakeup(all)
        end
    end)
    return function(count, f)
        left = count
        f()
        skynet.wait(all)
    end
end

--- A service that answers each `lua` request with its values, `...` given to the script being `"echo"`.
function bench.echo()
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, ...)
            skynet.retpack(...)
        end)
    end)
end

return bench
