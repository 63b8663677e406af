-- Answers what a server of users passes on.
local skynet = require "skynet"

skynet.register_protocol {
    name = "client",
    id = skynet.PTYPE_CLIENT,
    unpack = skynet.tostring,
    dispatch = function(_, _, text) skynet.ret("passed on: " .. text) end,
}

skynet.start(function() end)
