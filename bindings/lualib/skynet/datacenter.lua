--- Values by path, kept for the whole network by the service `DATACENTER`.
local skynet = require "skynet"

local datacenter = {}

--- The value at a path of keys; a branch comes as a table.
---@async
---@param ... any
---@return any
function datacenter.get(...) return skynet.call("DATACENTER", "lua", "QUERY", ...) end

--- Sets the value at a path of keys: the last argument. Returns the one before.
---@async
---@param ... any
---@return any
function datacenter.set(...) return skynet.call("DATACENTER", "lua", "UPDATE", ...) end

--- The value at a path, as soon as there is one.
---@async
---@param ... any
---@return any
function datacenter.wait(...) return skynet.call("DATACENTER", "lua", "WAIT", ...) end

return datacenter
