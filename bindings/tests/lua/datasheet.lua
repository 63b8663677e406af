--- `skynet.datasheet`: what a builder makes, readers in any service see, and updates reach the tables they hold.
local skynet = require "skynet"
local check = require "check"

local role = ...

if role == "reader" then
    local datasheet = require "skynet.datasheet"
    skynet.start(function()
        local sheet
        skynet.dispatch("lua", function(_, _, command, ...)
            if command == "query" then
                sheet = datasheet.query(...)
                skynet.retpack(sheet[1], sheet.sub and sheet.sub.x)
            elseif command == "look" then
                skynet.retpack(sheet[1], type(sheet.sub) == "table" and sheet.sub.x or sheet.sub)
            elseif command == "exit" then
                skynet.retpack()
                skynet.exit()
            end
        end)
    end)
    return
end

--! log: create data first
local builder = require "skynet.datasheet.builder"
local datasheet = require "skynet.datasheet"
local service = require "skynet.service"

--- Waits until `f()` holds: news takes its time.
local function eventually(name, f)
    for _ = 1, 500 do
        if f() then return end
        skynet.sleep(1)
    end
    check.ok(name, false, "never happened")
end

check.run("datasheet", function()
    builder.new("first", { 1, sub = { x = 10 } })
    builder.new("compiled", builder.compile { "c" })
    check.raises("new twice", "assertion failed", builder.new, "first", {})
    check.raises("update of nothing", "assertion failed", builder.update, "nothing", {})

    local mine = datasheet.query "first"
    check.eq("D6 item", mine[1], 1)
    check.eq("D6 sub-table", mine.sub.x, 10)
    check.ok("D6 the same table", datasheet.query "first" == mine)
    check.eq("a compiled one", datasheet.query("compiled")[1], "c")
    check.raises("unknown", "call failed", datasheet.query, "unknown")
    check.raises("unknown is remembered", "call failed", datasheet.query, "unknown")

    local readers = {}
    for i = 1, 3 do
        readers[i] = skynet.newservice("datasheet", "reader")
        local item, x = skynet.call(readers[i], "lua", "query", "first")
        check.eq("reader", item .. " " .. x, "1 10")
    end

    local sub = mine.sub
    builder.update("first", { 2, sub = { x = 20 } })
    eventually("mine is refilled", function() return mine[1] == 2 end)
    check.ok("a sub-table keeps its identity", mine.sub == sub)
    check.eq("its contents are new", sub.x, 20)
    for i, reader in ipairs(readers) do
        eventually("reader " .. i, function()
            local item, x = skynet.call(reader, "lua", "look")
            return item == 2 and x == 20
        end)
    end

    -- A sub-table that is gone is no table any more; one of its readers may have left meanwhile.
    skynet.call(readers[1], "lua", "exit")
    builder.update("first", { 3, sub = "scalar" })
    eventually("a scalar", function() return mine.sub == "scalar" end)
    check.raises("what is gone", "Invalid proxy (index = 1)", function() return sub.x end)
    eventually("reader 2", function() return select(2, skynet.call(readers[2], "lua", "look")) == "scalar" end)
    builder.update("first", { 3, sub = "scalar" })

    -- Old versions are collected, also those of services that died; what is left are the three of now.
    skynet.call(readers[2], "lua", "exit")
    require "skynet.manager"
    skynet.kill(readers[3])
    local server = service.query "datasheet"
    eventually("old versions are collected", function()
        local info = skynet.call(server, "debug", "INFO")
        for key in pairs(info) do
            if type(key) ~= "string" then return false end
        end
        return info.first and info.compiled and info.first.monitors == 1
    end)
    for round = 1, 20 do
        builder.update("first", { round, list = { { round } } })
    end
    eventually("the last of many", function() return mine.list and mine.list[1][1] == 20 end)
end)
