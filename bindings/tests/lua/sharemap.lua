--- `skynet.sharemap`: what a writer commits, readers see when they ask.
local skynet = require "skynet"
local sharemap = require "skynet.sharemap"
local check = require "check"

local role = ...

if role == "reader" then
    local reader
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, command, ...)
            if command == "open" then
                reader = sharemap.reader("Hero", ...)
                skynet.retpack(reader.name, reader.level)
            else
                skynet.retpack(reader:update(), reader.name, reader.level, reader.at and reader.at.x)
            end
        end)
    end)
    return
end

check.run("sharemap", function()
    local path = os.tmpname()
    local out = assert(io.open(path, "w"))
    out:write ".Point { x 0 : integer y 1 : integer }  .Hero { name 0 : string level 1 : integer at 2 : Point items 3 : *integer }"
    out:close()
    sharemap.register(path)
    os.remove(path)

    local writer = sharemap.writer("Hero", { name = "Ann", level = 1 })
    local other = skynet.newservice(SERVICE_NAME, "reader")
    check.values("at first", table.pack(skynet.call(other, "lua", "open", writer:copy())), "Ann", 1)
    check.values("nothing new", table.pack(skynet.call(other, "lua", "update")), false, "Ann", 1, nil)

    writer.level = 2
    writer.at = { x = 5 }
    check.values("not committed", table.pack(skynet.call(other, "lua", "update")), false, "Ann", 1, nil)
    writer:commit()
    check.values("committed", table.pack(skynet.call(other, "lua", "update")), true, "Ann", 2, 5)
    check.values("once", table.pack(skynet.call(other, "lua", "update")), false, "Ann", 2, 5)
    check.eq("the writer reads its own", writer.level, 2)

    local reader = sharemap.reader("Hero", writer:copy())
    local at = reader.at
    writer.name = nil
    writer.at.x = 9
    writer.items = { 1, 2 }
    writer:commit()
    check.eq("before an update", reader.at.x, 5)
    check.eq("update", reader:update(), true)
    check.eq("a field that went", reader.name, nil)
    check.values("tables of before", table.pack(at.x, reader.at.x, #reader.items), 5, 9, 2)
    check.ok("no field can be set", not pcall(function() reader.level = 3 end))
    check.ok("nor a new one", not pcall(function() reader.nosuch = 3 end))

    writer.level = "high"
    check.raises("a wrong value", "Hero.level[0] is not an integer (Is a string)", writer.commit, writer)
    check.eq("changes nothing", reader:update(), false)
    check.raises("an unknown type", "type not found", sharemap.writer, "Nope")
    if check.skein then
        -- skynet lets a ticket be used twice, and breaks in the end.
        local ticket = writer:copy()
        sharemap.reader("Hero", ticket)
        check.ok("a ticket is good once", not pcall(sharemap.reader, "Hero", ticket))
    end
end)
