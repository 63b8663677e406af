-- One agent: walks through the world, from zone to zone, and remembers what it saw.
local skynet = require "skynet"
local map = require "map"

local id = math.tointeger(tonumber((...)))

local NAMES <const> = { "wren", "rook", "crane", "finch", "heron", "plover", "swift", "tern" }
local name = string.format("%s-%d", NAMES[id % #NAMES + 1], id)

---@type integer[]  zone → handle
local zones
---@type integer  the score service
local score

local x, y, zone
local stopped = false

local count = { moves = 0, crossings = 0, saw = 0, points = 0, finds = 0 }

-- An own generator, so that each agent walks its own way, and the same in each run.
local seed = id * 2654435761 % 0x100000000
local function random(n)
    seed = (seed * 1664525 + 1013904223) % 0x100000000
    return seed // 65536 % n
end

local dx, dy = 1, 0

--- The next place; now and then, and at the edge of the world, in a new direction.
local function walk()
    if random(8) == 0 then
        dx, dy = random(3) - 1, random(3) - 1
    end
    local nx, ny = x + dx, y + dy
    if nx < 0 or nx >= map.width then
        dx = -dx
        nx = x
    end
    if ny < 0 or ny >= map.height then
        dy = -dy
        ny = y
    end
    return nx, ny
end

local function step()
    x, y = walk()
    local next_zone = map.zone_at(x, y)
    if next_zone == zone then
        skynet.call(zones[zone], "lua", "move", x, y)
    else
        skynet.call(zones[zone], "lua", "leave")
        zone = next_zone
        skynet.call(zones[zone], "lua", "enter", x, y)
        count.crossings = count.crossings + 1
    end
    count.moves = count.moves + 1
    local points = map.treasure(x, y)
    if points > 0 then
        count.points = count.points + points
        count.finds = count.finds + 1
        skynet.send(score, "lua", "add", name, points)
    end
end

local CMD = {}

--- Steps into the world, and begins to walk.
function CMD.start(all, score_service)
    zones, score = all, score_service
    x, y = random(map.width), random(map.height)
    zone = map.zone_at(x, y)
    skynet.call(zones[zone], "lua", "enter", x, y)
    skynet.fork(function()
        while not stopped do
            skynet.sleep(map.tick, "next step")
            if not stopped then step() end
        end
        skynet.wakeup "stopped"
        stopped = "all done"
    end)
end

--- Ends the walk; answers when the step that is under way is made.
function CMD.stop()
    stopped = true
    skynet.wakeup "next step"
    while stopped ~= "all done" do
        skynet.wait "stopped"
    end
end

--- Another agent moved in my sight.
function CMD.saw() count.saw = count.saw + 1 end

function CMD.report() return count end

function CMD.leave() skynet.exit() end

skynet.start(function()
    skynet.dispatch("lua", function(session, _, command, ...)
        if session == 0 then
            CMD[command](...)
        else
            skynet.retpack(CMD[command](...))
        end
    end)
end)
