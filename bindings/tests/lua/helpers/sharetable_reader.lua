-- A service that holds a shared table: "n", "update", "hold", "drop", "leases".
local skynet = require "skynet"
local sharetable = require "skynet.sharetable"

local name = ...
local held

local command = {}

function command.n() return held.n end
function command.update() sharetable.update(name) end
function command.query() held = sharetable.query(name) end
function command.drop() held = nil end

skynet.start(function()
    held = sharetable.query(name)
    skynet.dispatch("lua", function(_, _, what) skynet.retpack(command[what]()) end)
end)
