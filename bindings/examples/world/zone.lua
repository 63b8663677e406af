-- One zone: knows who is in it, and tells everybody what happens in their sight.
local skynet = require "skynet"
local map = require "map"

local id = math.tointeger(tonumber((...)))

---@type integer[]  zone → handle, of all zones
local zones
---@type table<integer, { x: integer, y: integer }>  agent → where it is
local agents = {}

-- What this zone did; compared with what others did when the world ends.
local count = {
    population = 0,
    entered = 0,
    left = 0,
    moves = 0,
    broadcasts = 0, -- messages to agents
    shouts_sent = 0, -- messages to neighbours
    shouts_heard = 0,
    calls = 0,
}

--- Tells every agent here that sees the place, but the one it is about.
local function broadcast(who, x, y)
    local message
    for agent, at in pairs(agents) do
        if agent ~= who and map.in_sight(at, x, y) then
            -- Packed once; a string can be sent many times.
            message = message or skynet.packstring("saw", who, x, y)
            skynet.rawsend(agent, "lua", message)
            count.broadcasts = count.broadcasts + 1
        end
    end
end

--- The same, and the zones around where somebody might see it.
local function announce(who, x, y)
    broadcast(who, x, y)
    map.each_neighbour(x, y, function(zone)
        skynet.send(zones[zone], "lua", "shout", who, x, y)
        count.shouts_sent = count.shouts_sent + 1
    end)
end

local CMD = {}

--- The other zones. Before this, nobody is here.
function CMD.open(_, all) zones = all end

function CMD.enter(agent, x, y)
    assert(map.zone_at(x, y) == id, "wrong zone")
    assert(not agents[agent], "here already")
    agents[agent] = { x = x, y = y }
    count.population = count.population + 1
    count.entered = count.entered + 1
    announce(agent, x, y)
end

function CMD.leave(agent)
    assert(agents[agent], "not here")
    agents[agent] = nil
    count.population = count.population - 1
    count.left = count.left + 1
end

function CMD.move(agent, x, y)
    assert(map.zone_at(x, y) == id, "wrong zone")
    local at = assert(agents[agent], "not here")
    at.x, at.y = x, y
    count.moves = count.moves + 1
    announce(agent, x, y)
end

--- Something happened in another zone, near the border.
function CMD.shout(_, who, x, y)
    count.shouts_heard = count.shouts_heard + 1
    broadcast(who, x, y)
end

function CMD.report() return count end

skynet.start(function()
    skynet.dispatch("lua", function(session, source, name, ...)
        local handler = assert(CMD[name], name)
        if session == 0 then
            handler(source, ...)
        else
            count.calls = count.calls + 1
            skynet.retpack(handler(source, ...))
        end
    end)
end)
