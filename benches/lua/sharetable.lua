--- What do shared tables cost: a read beside that of an own table, a new version, and going over to it in 25 services, without
--- and with 20,000 tables of their own?
local skynet = require "skynet"
local sharetable = require "skynet.sharetable"
local bench = require "bench"

local role, own = ...

local HOLDERS <const> = 25
local ITEMS <const> = 60000 -- 17 MB in skynet
local ROUNDS <const> = 3

local SOURCE <const> = [[
local version, count = ...
local items = {}
for i = 1, count do
    items[i] = { id = i, name = "item" .. i, price = i * version, tags = { i % 7, i % 11 } }
end
return { version = version, items = items }]]

local function holder()
    local root
    local mine = {}
    skynet.start(function()
        root = sharetable.query "big"
        for i = 1, math.tointeger(own) do
            mine[i] = { i, root.items[i] }
        end
        collectgarbage()
        skynet.dispatch("lua", function()
            sharetable.update "big"
            skynet.retpack(root.version)
        end)
    end)
end

--- All holders go over at once.
local function update(holders, version)
    local left, me = #holders, coroutine.running()
    for _, address in ipairs(holders) do
        skynet.fork(function()
            assert(skynet.call(address, "lua") == version)
            left = left - 1
            if left == 0 then skynet.wakeup(me) end
        end)
    end
    skynet.wait(me)
end

local function read(items, n)
    local sum, count = 0, 1000
    for i = 1, n do
        local item = items[i % count + 1]
        sum = sum + item.price + item.tags[1]
    end
    return sum
end

local function main()
    local load_wall, load_cpu = bench.time(function() return load(SOURCE)(0, ITEMS) end)
    bench.cost("share_load_alone", 1, load_wall, load_cpu)
    collectgarbage()
    local version = 1
    sharetable.loadstring("big", SOURCE, version, ITEMS)
    local rss = bench.rss()
    for _, tables in ipairs { 0, 20000 } do
        local holders = {}
        for i = 1, HOLDERS do
            holders[i] = skynet.newservice(SERVICE_NAME, "holder", tables)
        end
        local publishes, updates, walls = {}, {}, {}
        for round = 1, ROUNDS do
            version = version + 1
            local _, cpu = bench.time(sharetable.loadstring, "big", SOURCE, version, ITEMS)
            publishes[round] = cpu
            walls[round], updates[round] = bench.time(update, holders, version)
        end
        local name = tables == 0 and "share_update" or "share_update_20k"
        if tables == 0 then bench.cost("share_publish", 1, bench.median(publishes), bench.median(publishes)) end
        bench.cost(name, HOLDERS, bench.median(walls), bench.median(updates))
        for _, address in ipairs(holders) do
            skynet.kill(address)
        end
    end
    skynet.sleep(300)
    bench.figure("share_kept", math.max(0, bench.rss() - rss), "bytes")
    local shared = sharetable.query("big").items
    local copy = load(SOURCE)(version, 1000).items
    for name, items in pairs { share_read = shared, share_read_own = copy } do
        bench.measure(name, 1000, function(n) read(items, n) end)
    end
end

if role == "holder" then
    holder()
else
    bench.start(main)
end
