-- Dots that move in a square and bounce off its walls, twenty times a second. Whoever subscribed gets each picture.
local skynet = require "skynet"

local DOTS <const> = 120
local SIDE <const> = 1000
local TICK <const> = 5

local dots = {}
---@type table<integer, true>
local subscribers = {}

local function move(dot, axis, speed)
    local at = dot[axis] + dot[speed]
    if at < 0 or at > SIDE then
        dot[speed] = -dot[speed]
        at = math.max(0, math.min(SIDE, at))
    end
    dot[axis] = at
end

--- The world as text: x, y and colour of each dot.
local function picture()
    local out = {}
    for i, dot in ipairs(dots) do
        out[i] = ("%.0f,%.0f,%d;"):format(dot.x, dot.y, dot.colour)
    end
    return table.concat(out)
end

local function run()
    while true do
        for _, dot in ipairs(dots) do
            move(dot, "x", "dx")
            move(dot, "y", "dy")
        end
        if next(subscribers) then
            local text = picture()
            for agent in pairs(subscribers) do
                skynet.send(agent, "lua", "picture", text)
            end
        end
        skynet.sleep(TICK)
    end
end

local command = {}

function command.subscribe(agent) subscribers[agent] = true end

function command.unsubscribe(agent) subscribers[agent] = nil end

function command.population() return #dots end

skynet.start(function()
    for i = 1, DOTS do
        dots[i] = {
            x = math.random(0, SIDE),
            y = math.random(0, SIDE),
            dx = math.random() * 16 - 8,
            dy = math.random() * 16 - 8,
            colour = i * 360 // DOTS,
        }
    end
    skynet.fork(run)
    skynet.dispatch("lua", function(session, source, what)
        local result = command[what](source)
        if session ~= 0 then skynet.retpack(result) end
    end)
end)
