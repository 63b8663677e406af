-- Several requests that take turns, as skynet.queue lets them.
local skynet = require "skynet"
local queue = require "skynet.queue"

local lock
local order = {}

function init() lock = queue() end

function accept.locked(ti, name)
    lock(function()
        skynet.sleep(ti)
        order[#order + 1] = name
    end)
end

function accept.free(ti, name)
    skynet.sleep(ti)
    order[#order + 1] = name
end

function response.order() return table.concat(order, " ") end
