--- What does a request cost in something like a game? 400 agents in 20 rooms with 4 databases, each agent with a client that
--- has one request on the way at a time: seven of ten move (the room tells eight neighbours, and all places to everybody now and
--- then), two use an item (the room is asked), one saves the player (nested state, to a database).
local skynet = require "skynet"
local bench = require "bench"

local role, a, b = ...

local AGENTS <const> = 400
local ROOMS <const> = 20
local DATABASES <const> = 4
local CLIENTS <const> = 4
local NEIGHBOURS <const> = 8 -- who are told of a move
local SHOW <const> = 20 -- moves in a room until all are told all places

local services = {}

function services.database()
    local players = {}
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, id, player)
            players[id] = player
            skynet.retpack(true, player.level)
        end)
    end)
end

function services.room()
    local members, places, moves = {}, {}, 0
    local command = {}

    function command.enter(agent)
        members[#members + 1] = agent
        skynet.retpack(#members)
    end

    function command.move(place, id, x, y)
        places[place] = { id = id, x = x, y = y }
        for i = place + 1, place + NEIGHBOURS do
            local neighbour = members[(i - 1) % #members + 1]
            skynet.send(neighbour, "lua", "moved", id, x, y)
        end
        moves = moves + 1
        if moves % SHOW == 0 then
            for i = 1, #members do
                skynet.send(members[i], "lua", "see", places)
            end
        end
    end

    function command.use(place, item)
        local target = places[(place + item) % #members + 1]
        skynet.retpack(target and target.id or 0, 100 + item)
    end

    skynet.start(function()
        skynet.dispatch("lua", function(_, _, name, ...)
            command[name](...)
        end)
    end)
end

function services.agent()
    local room, database = tonumber(a), tonumber(b)
    local player = dofile(skynet.getenv "bench_workloads" .. "/game_state.lua")
    local id, place = skynet.self(), nil
    local seen, near, request = 0, 0, {}

    function request.move(x, y)
        local position = player.position
        position.x, position.y = position.x + x, position.y + y
        skynet.send(room, "lua", "move", place, id, position.x, position.y)
        skynet.retpack(position.x, position.y)
    end

    function request.use(slot)
        local item = player.items[slot]
        item.count = item.count + 1
        local target, damage = skynet.call(room, "lua", "use", place, slot)
        skynet.retpack { target = target, damage = damage, left = item.count }
    end

    function request.save()
        skynet.retpack(skynet.call(database, "lua", id, player))
    end

    function request.moved(_, x, y)
        near = x * x + y * y < 1e6 and near + 1 or near
    end

    function request.see(places)
        seen = seen + #places
    end

    skynet.start(function()
        skynet.dispatch("lua", function(_, _, name, ...)
            request[name](...)
        end)
        place = skynet.call(room, "lua", "enter", id)
    end)
end

--- Plays for some agents: `requests` from each of them.
function services.client()
    local requests <const> = { "move", "use", "move", "move", "save", "move", "move", "use", "move", "move" }
    local function play(agent, count, seed)
        for i = seed, seed + count - 1 do
            skynet.call(agent, "lua", requests[i % #requests + 1], i % 20 + 1, i % 3 - 1)
        end
    end
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, agents, count)
            bench.together(#agents, function(i)
                play(agents[i], count, i)
            end)
            skynet.ret()
        end)
    end)
end

local function main()
    local function several(count, ...)
        local addresses = {}
        for i = 1, count do
            addresses[i] = skynet.newservice(SERVICE_NAME, ...)
        end
        return addresses
    end
    local rooms, databases = several(ROOMS, "room"), several(DATABASES, "database")
    local clients, agents = several(CLIENTS, "client"), {}
    for i = 1, AGENTS do
        local list = agents[i % CLIENTS + 1] or {}
        agents[i % CLIENTS + 1] = list
        list[#list + 1] = skynet.newservice(SERVICE_NAME, "agent", rooms[i % ROOMS + 1], databases[i % DATABASES + 1])
    end
    bench.measure("game", AGENTS * 5, function(n)
        bench.together(CLIENTS, function(i)
            skynet.call(clients[i], "lua", agents[i], n // AGENTS)
        end)
    end)
end

if role then
    services[role]()
else
    bench.start(main)
end
