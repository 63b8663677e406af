--- What do BSON documents cost? The record of a player, as a game keeps it in MongoDB, and a small one.
local bson = require "bson"
local bench = require "bench"

local STEP <const> = 16

local function player()
    local items, friends = {}, {}
    for i = 1, 40 do
        items[i] = { id = 10000 + i, count = i * 3, quality = i % 5, bound = i % 2 == 0, name = "item of the player " .. i }
    end
    for i = 1, 20 do
        friends[i] = 900000 + i
    end
    return {
        _id = bson.objectid "0123456789abcdef01234567",
        name = "a player with a name",
        level = 57,
        experience = 123456789012,
        position = { x = 12.5, y = -3.75, map = "castle" },
        created = bson.date(1500000000),
        items = items,
        friends = friends,
        settings = { music = true, sound = false, language = "en", volume = 0.8 },
    }
end

bench.start(function()
    local records = { record = player(), small = { op = "update", uid = 10086, score = 1.5, ok = true } }
    for _, name in ipairs { "record", "small" } do
        local record = records[name]
        bench.measure("bson_encode_" .. name, STEP, function(n)
            for _ = 1, n do
                bson.encode(record)
            end
        end)
        local document = bson.encode(record)
        bench.measure("bson_decode_" .. name, STEP, function(n)
            for _ = 1, n do
                bson.decode(document)
            end
        end)
    end
    local inner = bson.encode(records.small)
    bench.measure("bson_order", STEP, function(n)
        for _ = 1, n do
            bson.encode_order("insert", "players", "ordered", true, "documents", { inner, inner }, "$db", "game")
        end
    end)
end)
