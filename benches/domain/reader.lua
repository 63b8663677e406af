--- A process that reads tables of a domain: what a read takes beside a table of its own, and what memory it costs.
local skynet = require "skynet"
require "skynet.manager"
local sharetable = require "skynet.sharetable"

local mode = ...

--- Bytes that only this process has, page tables included.
local function private()
    local bytes = 0
    for _, file in ipairs { "/proc/self/smaps_rollup", "/proc/self/status" } do
        for line in io.lines(file) do
            local name, kib = line:match "^([%a_]+):%s+(%d+) kB"
            if name == "Private_Clean" or name == "Private_Dirty" or name == "VmPTE" then
                bytes = bytes + math.tointeger(kib) * 1024
            end
        end
    end
    return bytes
end

local function walk(t)
    local n = 0
    for _, v in pairs(t) do
        n = n + (type(v) == "table" and walk(v) or 1)
    end
    return n
end

local function copy(t)
    local made = {}
    for k, v in pairs(t) do
        made[k] = type(v) == "table" and copy(v) or v
    end
    return made
end

--- Median quotient of `f(shared)` and `f(own)`, taken in turns.
local function quotient(f, shared, own)
    local quotients = {}
    for round = 1, 41 do
        local times = {}
        for _, t in ipairs(round % 2 == 0 and { shared, own } or { own, shared }) do
            local began = os.clock()
            f(t)
            times[t] = os.clock() - began
        end
        quotients[round] = times[shared] / times[own]
    end
    table.sort(quotients)
    return quotients[21]
end

local function fields(items)
    local sum = 0
    for i = 1, 200000 do
        local item = items[i % 1000 + 1]
        sum = sum + item.price + item.tags[1]
    end
    return sum
end

local keys = {}
local function lookups(t)
    local sum = 0
    for i = 1, #keys do
        sum = sum + t[keys[i]]
    end
    return sum
end

skynet.start(function()
    sharetable.query "none"
    collectgarbage()
    collectgarbage()
    local before = private()
    local big = sharetable.query "big"
    assert(walk(big) == 375000)
    collectgarbage()
    collectgarbage()
    print(string.format("memory %.1f", (private() - before) / 1024))
    print "ready"
    local go = io.open "go"
    while not go do
        skynet.sleep(10)
        go = io.open "go"
    end
    if mode == "quiet" then skynet.abort() return end
    local some = table.move(big.items, 1, 1000, 1, {})
    print(string.format("fields and elements: %.2f x own", quotient(fields, big.items, copy(some))))
    local names = sharetable.query "names"
    local own = copy(names)
    for i = 1, 100000 do
        keys[i] = "name " .. i * 7919 % 100000
    end
    print(string.format("100,000 distinct keys: %.2f x own", quotient(lookups, names, own)))
    skynet.abort()
end)
