--- Packets between a master and its slaves: one byte of length, then packed values.
local skynet = require "skynet"
local socket = require "skynet.socket"

local wire = {}

--- Reads one packet; nothing at the end of the connection.
---@async
---@param fd integer
---@return any ...
function wire.read(fd)
    local size = socket.read(fd, 1)
    if not size then return end
    local bytes = size == "\0" and "" or socket.read(fd, size:byte())
    if not bytes then return end
    return skynet.unpack(bytes)
end

--- A packet of these values.
---@param ... any
---@return string
function wire.packet(...)
    local bytes = skynet.packstring(...)
    assert(#bytes <= 255, "too long")
    return string.char(#bytes) .. bytes
end

return wire
