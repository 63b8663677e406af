--- `clusterproxy`: a service of another node, as one of this. Arguments: the node, and the address there.
---
--- Requests and sends of the classes `lua` and `snax` are handed on as they are.
local skynet = require "skynet"
local cluster = require "skynet.cluster"
require "skynet.manager"

local node, address = ...
address = address:match "^%d+$" and math.tointeger(tonumber(address)) or address

skynet.register_protocol {
    name = "system",
    id = skynet.PTYPE_SYSTEM,
    unpack = function(...) return ... end,
}

local forwarded = {
    [skynet.PTYPE_LUA] = skynet.PTYPE_SYSTEM,
    [skynet.PTYPE_SNAX] = skynet.PTYPE_SYSTEM,
    [skynet.PTYPE_RESPONSE] = skynet.PTYPE_RESPONSE,
}

skynet.forward_type(forwarded, function()
    local sender = assert(cluster.get_sender(node), "the node cannot be reached")
    skynet.dispatch("system", function(session, _, message, size)
        if session == 0 then
            skynet.send(sender, "lua", "push", address, message, size)
        else
            skynet.ret(skynet.rawcall(sender, "lua", skynet.pack("req", address, message, size)))
        end
    end)
end)
