-- Points of all agents.
local skynet = require "skynet"

local points = {}
local total, finds = 0, 0
local best = { name = "nobody", points = 0 }

local CMD = {}

function CMD.add(name, more)
    local sum = (points[name] or 0) + more
    points[name] = sum
    total = total + more
    finds = finds + 1
    if sum > best.points then best = { name = name, points = sum } end
end

function CMD.top() return best.name, best.points end

function CMD.report() return { points = total, finds = finds } end

skynet.start(function()
    skynet.dispatch("lua", function(session, _, command, ...)
        if session == 0 then
            CMD[command](...)
        else
            skynet.retpack(CMD[command](...))
        end
    end)
end)
