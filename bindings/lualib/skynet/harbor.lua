--- Names and links of the harbor network; in single-node mode its dummy answers.
local skynet = require "skynet"

local harbor = {}

--- Registers a global name.
---@param name string
---@param handle integer?  this service by default
function harbor.globalname(name, handle)
    skynet.send(".cslave", "lua", "REGISTER", name, handle or skynet.self())
end

--- The handle behind a global name, as soon as it is known; that of `".local"` at once.
---@async
---@param name string
---@return integer?
function harbor.queryname(name) return skynet.call(".cslave", "lua", "QUERYNAME", name) end

--- Returns when harbor `id` is down.
---@async
---@param id integer
function harbor.link(id) skynet.call(".cslave", "lua", "LINK", id) end

--- Returns when harbor `id` is connected.
---@async
---@param id integer
function harbor.connect(id) skynet.call(".cslave", "lua", "CONNECT", id) end

--- Returns when the connection to the master is lost.
---@async
function harbor.linkmaster() skynet.call(".cslave", "lua", "LINKMASTER") end

return harbor
