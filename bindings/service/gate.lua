--- `gate`: connections of clients, whose packets go to their agents.
---
--- Notices go to the watchdog as `lua "socket", kind, fd, ...`; packets of a connection that was forwarded go to its agent as
--- class `client`, session = fd. Such a packet is the block that the socket delivered, never a copy.
local skynet = require "skynet"
local gateserver = require "snax.gateserver"

local watchdog

---@class gate.Connection
---@field addr string
---@field agent integer?
---@field client integer?  the source of its packets

---@type table<integer, gate.Connection>
local connections = {}

skynet.register_protocol {
    name = "client",
    id = skynet.PTYPE_CLIENT,
}

local function notify(...) skynet.send(watchdog, "lua", "socket", ...) end

local handler = {}

function handler.open(source, conf)
    watchdog = conf.watchdog or source
    return conf.address, conf.port
end

function handler.connect(fd, addr)
    connections[fd] = { addr = addr }
    notify("open", fd, addr)
end

function handler.message(fd, packet, size)
    local connection = connections[fd]
    local agent = connection and connection.agent
    if agent then
        -- The packet goes with it.
        skynet.redirect(agent, connection.client, "client", fd, packet, size)
    else
        notify("data", fd, skynet.tostring(packet, size))
        skynet.trash(packet, size)
    end
end

function handler.disconnect(fd)
    connections[fd] = nil
    notify("close", fd)
end

function handler.error(fd, text)
    connections[fd] = nil
    notify("error", fd, text)
end

function handler.warning(fd, kib) notify("warning", fd, kib) end

local command = {}

function command.forward(source, fd, client, agent)
    local connection = assert(connections[fd], "no such connection")
    connection.client = client or 0
    connection.agent = agent or source
    gateserver.openclient(fd)
end

function command.accept(_, fd)
    local connection = assert(connections[fd], "no such connection")
    connection.agent, connection.client = nil, nil
    gateserver.openclient(fd)
end

function command.kick(_, fd) gateserver.closeclient(fd) end

function handler.command(cmd, source, ...)
    local f = assert(command[cmd], cmd)
    return f(source, ...)
end

gateserver.start(handler)
