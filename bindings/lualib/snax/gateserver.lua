--- A server for many clients whose packets have a length of two bytes in front: `gateserver.start(handler)`.
---
--- A connection is counted when it was accepted and until its end is told; it is read after `openclient`. A service that uses this
--- can't use `skynet.socket`: both take the messages of sockets.
local skynet = require "skynet"
local netpack = require "skynet.netpack"
local socketdriver = require "skynet.socketdriver"

local gateserver = {}

---@class snax.gateserver.Handler
---@field message async fun(fd: integer, packet: lightuserdata, size: integer)  owns the packet
---@field connect async fun(fd: integer, addr: string)
---@field open (fun(source: integer, conf: table): ...)?
---@field disconnect fun(fd: integer)?
---@field error fun(fd: integer, text: string)?
---@field warning fun(fd: integer, kib: integer)?
---@field command (fun(cmd: string, source: integer, ...): ...)?
---@field embed boolean?  the caller starts the service

--- Packets that came together, and those in pieces.
---@type skynet.netpack.Queue?
local queue

--- The listening socket, and who waits for it to be there.
local listener
local opening

local most, count = 1024, 0
local nodelay = true

--- Connections that were counted and not yet told to be over.
---@type table<integer, true>
local counted = {}
--- Whether packets of a connection go to the handler. A connection is in here until `closeclient`.
---@type table<integer, boolean>
local clients = {}

--- Begins to read a connection.
---@param fd integer
function gateserver.openclient(fd)
    if clients[fd] then socketdriver.start(fd) end
end

--- Closes a connection. What is released already stays so.
---@param fd integer
function gateserver.closeclient(fd)
    if clients[fd] ~= nil then
        clients[fd] = nil
        socketdriver.close(fd)
    end
end

--- Serves the gate. `skynet.start` is called in here, unless the handler says `embed`.
---@param handler snax.gateserver.Handler
function gateserver.start(handler)
    assert(handler.message)
    assert(handler.connect)

    local command = {}

    function command.open(source, conf)
        assert(not listener, "the gate is open")
        local address = conf.address or "0.0.0.0"
        local port = conf.port
        if port then port = assert(math.tointeger(port), "port is no integer") end
        skynet.error("Listen on", address, port)
        most = conf.maxclient or 1024
        -- What a turn writes goes out in one piece anyway: nothing is won by waiting for the peer.
        nodelay = conf.nodelay ~= false
        listener = socketdriver.listen(address, port, conf.backlog)
        opening = {}
        skynet.wait(opening)
        conf.address, conf.port = opening.address, opening.port
        opening = nil
        socketdriver.start(listener)
        if handler.open then return handler.open(source, conf) end
    end

    function command.close()
        assert(listener, "the gate is not open")
        local fd = listener
        listener = nil
        socketdriver.close(fd)
    end

    local function deliver(fd, packet, size)
        if clients[fd] then
            handler.message(fd, packet, size)
        else
            skynet.error(string.format("Drop message from fd (%d) : %s", fd, netpack.tostring(packet, size)))
        end
    end

    --- Delivers what waits. Should the handler suspend, another task goes on with the rest.
    local function deliver_all()
        local fd, packet, size = netpack.pop(queue)
        if not fd then return end
        skynet.fork(deliver_all)
        while fd do
            deliver(fd, packet, size)
            fd, packet, size = netpack.pop(queue)
        end
    end

    local event = { data = deliver, more = deliver_all }

    function event.init(fd, address, port)
        if opening and fd == listener and not opening.port then
            opening.address, opening.port = address, port
            skynet.wakeup(opening)
        end
    end

    function event.open(fd, address)
        count = count + 1
        counted[fd] = true
        if count >= most then
            socketdriver.shutdown(fd)
            return
        end
        if nodelay then socketdriver.nodelay(fd) end
        clients[fd] = true
        handler.connect(fd, address)
    end

    function event.close(fd)
        if counted[fd] then
            counted[fd] = nil
            count = count - 1
            -- Its owner still has to release it.
            if clients[fd] then clients[fd] = false end
            if handler.disconnect then handler.disconnect(fd) end
        elseif fd == listener then
            listener = nil
        end
    end

    function event.error(fd, text)
        if fd == listener then
            skynet.error("gateserver accept error:", text)
            return
        end
        socketdriver.shutdown(fd)
        if handler.error then handler.error(fd, text) end
    end

    function event.warning(fd, kib)
        if handler.warning then handler.warning(fd, kib) end
    end

    skynet.register_protocol {
        name = "socket",
        id = skynet.PTYPE_SOCKET,
        unpack = function(message, size) return netpack.filter(queue, message, size) end,
        dispatch = function(_, _, its_queue, kind, ...)
            queue = its_queue
            if kind then event[kind](...) end
        end,
    }

    local function serve()
        skynet.dispatch("lua", function(_, source, cmd, ...)
            local f = command[cmd]
            if f then
                skynet.ret(skynet.pack(f(source, ...)))
            else
                assert(handler.command, cmd)
                skynet.ret(skynet.pack(handler.command(cmd, source, ...)))
            end
        end)
    end

    if handler.embed then
        serve()
    else
        skynet.start(serve)
    end
end

return gateserver
