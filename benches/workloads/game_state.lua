--- What an agent of a game sends when a player enters a scene: nested tables, short keys, small numbers.

local function player(id)
    local items = {}
    for i = 1, 20 do
        items[i] = { id = 1000 + i, count = i * 3, bound = i % 2 == 0, level = i % 7 }
    end
    local quests = {}
    for i = 1, 6 do
        quests["quest_" .. i] = { state = i % 3, step = i, targets = { i, i * 2, i * 3 } }
    end
    return {
        id = id,
        name = "player_" .. id,
        level = 57,
        exp = 1234567890123,
        position = { x = 103.25, y = -7.5, z = 4096.125, map = "capital" },
        attributes = { hp = 4200, mp = 1800, attack = 315, defence = 207, speed = 1.25, crit = 0.05 },
        items = items,
        quests = quests,
        friends = { 10001, 10002, 10003, 10004, 10005, 10006, 10007, 10008 },
        guild = { id = 77, name = "the quiet ones", rank = 3 },
    }
end

return player(4711)
