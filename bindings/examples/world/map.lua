-- The shape of the world: a grid of square zones, each of them a service.
local map = {
    columns = 4,
    rows = 3,
    size = 48, -- steps from one side of a zone to the other
    sight = 9, -- how far an agent sees, across borders too
    tick = 5, -- hundredths of a second between two moves of an agent
}

map.zones = map.columns * map.rows
map.width = map.columns * map.size
map.height = map.rows * map.size

--- The zone of a place.
---@param x integer  0 to width - 1
---@param y integer  0 to height - 1
---@return integer zone  1 to zones
function map.zone_at(x, y) return y // map.size * map.columns + x // map.size + 1 end

--- Whether `a` sees what happens at a place.
---@param a { x: integer, y: integer }
---@param x integer
---@param y integer
---@return boolean
function map.in_sight(a, x, y) return math.abs(a.x - x) <= map.sight and math.abs(a.y - y) <= map.sight end

--- Calls `f(zone)` for every other zone that can be seen from a place.
---@param x integer
---@param y integer
---@param f fun(zone: integer)
function map.each_neighbour(x, y, f)
    local home = map.zone_at(x, y)
    local left, right = math.max(x - map.sight, 0), math.min(x + map.sight, map.width - 1)
    local top, bottom = math.max(y - map.sight, 0), math.min(y + map.sight, map.height - 1)
    for row = top // map.size, bottom // map.size do
        for column = left // map.size, right // map.size do
            local zone = row * map.columns + column + 1
            if zone ~= home then f(zone) end
        end
    end
end

--- Whether something lies at a place that is worth points.
---@param x integer
---@param y integer
---@return integer points  0: nothing there
function map.treasure(x, y)
    if (x * 7919 + y * 104729) % 97 == 0 then return 1 + (x + y) % 5 end
    return 0
end

return map
