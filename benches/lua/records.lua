--- What do sproto messages cost? A player with items and friends, five numbers, and a list of 500. (A script called `sproto` would hide the module.)
local sproto = require "sproto"
local bench = require "bench"

local STEP <const> = 100

local SCHEMA <const> = [[
.Item { id 0 : integer  count 1 : integer  name 2 : string  bound 3 : boolean }
.Friend { id 0 : integer  name 1 : string  level 2 : integer  online 3 : boolean }
.Player {
    id 0 : integer  name 1 : string  level 2 : integer  gold 3 : integer  x 4 : double  y 5 : double
    items 6 : *Item(id)  friends 7 : *Friend  flags 8 : *boolean  scores 9 : *integer  title 10 : string
}
.Move { id 0 : integer  x 1 : integer  y 2 : integer  dir 3 : integer  running 4 : boolean }
.Scores { list 0 : *integer }
]]

local player = {
    id = 100042, name = "somebody", level = 57, gold = 123456789012, x = 12.5, y = -3.25,
    items = {}, friends = {}, flags = { true, false, true }, scores = { 1, 20, 300, 4000, 50000 }, title = "the brave",
}
for i = 1, 30 do
    player.items[1000 + i] = { id = 1000 + i, count = i * 3, name = "item" .. i, bound = i % 2 == 0 }
end
for i = 1, 10 do
    player.friends[i] = { id = 200000 + i, name = "friend" .. i, level = i * 5, online = i % 3 == 0 }
end
local scores = { list = {} }
for i = 1, 500 do
    scores.list[i] = i * 37
end
local VALUES <const> = { Player = player, Move = { id = 7, x = 1200, y = 340, dir = 3, running = true }, Scores = scores }

bench.start(function()
    local sp = sproto.parse(SCHEMA)
    for _, name in ipairs { "Player", "Move", "Scores" } do
        local value = VALUES[name]
        local label = name:lower()
        bench.measure("sproto_encode_" .. label, STEP, function(n)
            for _ = 1, n do
                sp:encode(name, value)
            end
        end)
        local bytes = sp:encode(name, value)
        bench.measure("sproto_decode_" .. label, STEP, function(n)
            for _ = 1, n do
                sp:decode(name, bytes)
            end
        end)
        bench.measure("sproto_pack_" .. label, STEP, function(n)
            for _ = 1, n do
                sproto.pack(bytes)
            end
        end)
        local packed = sproto.pack(bytes)
        bench.measure("sproto_unpack_" .. label, STEP, function(n)
            for _ = 1, n do
                sproto.unpack(packed)
            end
        end)
    end
end)
