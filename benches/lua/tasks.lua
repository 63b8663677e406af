--- What tasks of one service cost: fork, wakeup, yield, sleep(0), and a call to oneself. The same script runs on skynet.
--- Prints one line per figure: name, CPU nanoseconds each.
local skynet = require "skynet"
require "skynet.manager"

local N <const> = 20000

local function measure(name, n, f)
    collectgarbage()
    local began = os.clock()
    f(n)
    print(string.format("%-8s %8.0f", name, (os.clock() - began) / n * 1e9))
end

local figures = {}

function figures.fork(n)
    local done = 0
    local function count()
        done = done + 1
    end
    for _ = 1, n // 100 do
        for _ = 1, 100 do
            skynet.fork(count)
        end
        skynet.yield()
    end
    assert(done == n)
end

function figures.wakeup(n)
    local stop = false
    local woken = 0
    local sleeper = skynet.fork(function()
        while not stop do
            skynet.wait()
            woken = woken + 1
        end
    end)
    local other = {}
    local waker
    waker = skynet.fork(function()
        for _ = 1, n // 2 do
            skynet.wakeup(sleeper)
            skynet.fork(skynet.wakeup, other)
            skynet.wait(other)
        end
        stop = true
        skynet.wakeup(sleeper)
        skynet.wakeup(n)
    end)
    skynet.wait(n)
    assert(woken >= n // 2)
end

--- Many sleepers, woken all at once.
function figures.wake(n)
    local tokens = {}
    local stop = false
    for i = 1, 100 do
        tokens[i] = skynet.fork(function()
            while not stop do
                skynet.wait()
            end
        end)
    end
    skynet.yield()
    for _ = 1, n // 100 do
        for i = 1, 100 do
            skynet.wakeup(tokens[i])
        end
        skynet.yield()
    end
    stop = true
    for i = 1, 100 do
        skynet.wakeup(tokens[i])
    end
    skynet.yield()
end

function figures.yield(n)
    for _ = 1, n do
        skynet.yield()
    end
end

function figures.call(n)
    local self = skynet.self()
    for i = 1, n do
        skynet.call(self, "lua", i, "text")
    end
end

skynet.start(function()
    skynet.dispatch("lua", function(_, _, ...)
        skynet.retpack(...)
    end)
    for _, name in ipairs { "fork", "wakeup", "wake", "yield", "call" } do
        figures[name](N // 10)
    end
    for _ = 1, 5 do
        for _, name in ipairs { "fork", "wakeup", "wake", "yield", "call" } do
            measure(name, N, figures[name])
        end
    end
    io.stdout:flush()
    skynet.abort()
end)
