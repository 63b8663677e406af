-- A gate of its own that closes a connection at its first packet.
local netpack = require "skynet.netpack"
local gateserver = require "snax.gateserver"

local heard, connects, disconnects = {}, 0, 0
local handler = {}

function handler.open(_, conf) return conf.address, conf.port end

function handler.connect(fd)
    connects = connects + 1
    gateserver.openclient(fd)
end

function handler.message(fd, packet, size)
    heard[#heard + 1] = netpack.tostring(packet, size)
    gateserver.closeclient(fd)
    gateserver.closeclient(fd)
end

function handler.disconnect() disconnects = disconnects + 1 end

function handler.command(cmd)
    if cmd == "heard" then return table.concat(heard, ",") end
    return connects .. " " .. disconnects
end

gateserver.start(handler)
