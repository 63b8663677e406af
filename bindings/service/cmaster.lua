--- The master of a harbor network: knows every node and every global name. Started on the node whose config has `standalone`,
--- which is the address it listens on.
local skynet = require "skynet"
local socket = require "skynet.socket"
local wire = require "skein.harbor_wire"

---@class cmaster.Slave
---@field id integer
---@field address string
---@field fd integer?  nil once it went down: its number is never free again

---@type table<integer, cmaster.Slave>
local slaves = {}
---@type table<string, integer>
local names = {}

local function tell(slave, ...)
    if slave.fd then socket.write(slave.fd, wire.packet(...)) end
end

local function tell_all(...)
    for _, slave in pairs(slaves) do
        tell(slave, ...)
    end
end

--- Lets a slave in, or raises.
---@async
local function shake_hands(fd)
    local kind, id, address = wire.read(fd)
    assert(kind == "H", "Invalid handshake type " .. tostring(kind))
    assert(math.type(id) == "integer" and id ~= 0, "Invalid slave id " .. tostring(id))
    local known = slaves[id]
    if known then error(string.format("Slave %d already register on %s", id, known.address)) end
    local count = 0
    for _, slave in pairs(slaves) do
        if slave.fd then
            tell(slave, "C", id, address)
            count = count + 1
        end
    end
    local slave = { id = id, address = address, fd = fd }
    slaves[id] = slave
    tell(slave, "W", count)
    return slave
end

local requests = {}

--- Registers a global name; the first one wins here, and everybody hears of every one.
function requests.R(_, name, handle)
    names[name] = names[name] or handle
    tell_all("N", name, handle)
end

--- Asks for a global name. One that nobody has is answered when somebody registers it.
function requests.Q(slave, name)
    local handle = names[name]
    if handle then tell(slave, "N", name, handle) end
end

--- Serves a slave until it goes.
---@async
local function serve(slave)
    while true do
        local kind, name, handle = wire.read(slave.fd)
        if kind == nil then return end
        local request = requests[kind]
        if request and type(name) == "string" then
            request(slave, name, handle)
        else
            skynet.error(string.format("Invalid slave message type %s", kind))
        end
    end
end

skynet.start(function()
    local address = skynet.getenv "standalone"
    skynet.error("master listen socket " .. tostring(address))
    local listener = socket.listen(address)
    socket.start(listener, function(fd, peer)
        skynet.error(string.format("connect from %s %d", peer, fd))
        socket.start(fd)
        local ok, slave = pcall(shake_hands, fd)
        if not ok then
            skynet.error(string.format("disconnect fd = %d, error = %s", fd, slave))
            return socket.close(fd)
        end
        skynet.error(string.format("Harbor %d (fd=%d) report %s", slave.id, fd, slave.address))
        ok = xpcall(serve, function(why) skynet.error(debug.traceback(why)) end, slave)
        slave.fd = nil
        socket.close(fd)
        skynet.error(string.format("slave %d is down", slave.id))
        tell_all("D", slave.id)
    end)
end)
