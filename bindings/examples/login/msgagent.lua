-- Works for one user: counts requests, and says them back.
local skynet = require "skynet"

local uid = ...
local count = 0

skynet.register_protocol {
    name = "client",
    id = skynet.PTYPE_CLIENT,
    unpack = skynet.tostring,
    dispatch = function(_, _, text)
        count = count + 1
        skynet.ret(("%s, request %d: %s"):format(uid, count, text))
    end,
}

skynet.start(function()
    skynet.dispatch("lua", function() skynet.exit() end)
end)
