-- Hears of the end of services; answers how often it heard of one.
local skynet = require "skynet"
local dead = {}
skynet.register_protocol {
    name = "client",
    id = skynet.PTYPE_CLIENT,
    unpack = function() end,
    dispatch = function(_, address) dead[address] = (dead[address] or 0) + 1 end,
}
skynet.start(function()
    skynet.dispatch("lua", function(_, _, address) skynet.retpack(dead[address]) end)
end)
