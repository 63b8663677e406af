--- Sockets, as a service reads and writes them: tasks wait, events of the runtime wake them.
---
--- An id belongs to one service at a time, the one that opened or started it; anybody may write to it. Functions marked `@async` may
--- suspend the calling task. Where they answer `nil, text` or `false, rest`, that is the world's fault; misuse raises.
local skynet = require "skynet"
local driver = require "skynet.socketdriver"

local running = coroutine.running
local suspend, wakeup = skynet.wait, skynet.wakeup
local readline, readall, pop = driver.readline, driver.readall, driver.pop

---@class skein.Socket
---@field id integer
---@field connected boolean
---@field connecting true|string|nil  true until it is known whether it connects; then why it did not
---@field listening boolean?
---@field udp boolean?
---@field buffer userdata?  what came and nobody has read
---@field reader thread|false|nil  the task that waits
---@field want false|nil|integer|string|true  what it waits for: so many bytes (0: any), a separator, the end
---@field whole integer?  so many bytes come in one piece
---@field closer thread?  the task that closes while another one reads
---@field paused boolean?
---@field limit integer?  more than this unread closes the socket
---@field callback function?  of a listener or datagrams
---@field warning fun(id: integer, kib: integer)?
---@field address string?  of a listener
---@field port integer?

--- Unread bytes from which on nothing more is read from the system.
local PAUSE_FROM <const> = 128 * 1024
--- From this size on, what a reader waits for is read in one piece.
local WHOLE_FROM <const> = 16 * 1024
--- What the driver answers when it has no id left.
local NO_ID <const> = "reach skynet socket number limit"

-- This name, and those of `callback` and `socket_message`, are known to code that is injected into services.
---@type table<integer, skein.Socket>
local socket_pool = setmetatable({}, {
    -- A service that ends closes what it has.
    __gc = function(all)
        for id in pairs(all) do
            driver.close(id)
        end
    end,
})
---@type table<integer, fun(id: integer)>
local close_hooks = {}
local pool = {}

local socket = {}

-------------------------------------------------------------------------------------------------------------------------- waiting

local function wake(s)
    local reader = s.reader
    if reader then
        s.reader = nil
        wakeup(reader)
    end
end

--- Waits for the next event that wakes.
---@async
local function wait(s)
    assert(not s.reader)
    local me = running()
    s.reader = me
    if s.whole and s.whole ~= s.want then
        -- Who wanted it waits no more.
        s.whole = nil
        driver.expect(s.buffer, pool, s.id, 0)
    end
    if s.paused then
        s.paused = nil
        skynet.error(string.format("Resume socket (%d)", s.id))
        driver.start(s.id)
    end
    suspend(me)
    if s.closer then wakeup(s.closer) end
end

--- Stops reading. What was on its way is taken before the caller goes on.
---@async
local function pause(s, size)
    if s.paused then return end
    s.paused = true
    driver.pause(s.id)
    if size then
        skynet.error(string.format("Pause socket (%d) size : %d", s.id, size))
    else
        skynet.error(string.format("Pause socket (%d)", s.id))
    end
    skynet.yield()
end

--- Waits until the runtime has said what became of an id.
---@async
---@return integer? id
---@return string? problem
local function connect(id, callback)
    assert(not close_hooks[id], "socket has onclose callback")
    local s = {
        id = id,
        connected = false,
        connecting = true,
        buffer = not callback and driver.buffer() or nil,
        callback = callback,
        -- There is room for them from the start.
        reader = false,
        want = false,
    }
    socket_pool[id] = s
    wait(s)
    local problem = s.connecting
    s.connecting = nil
    if s.connected then return id end
    if socket_pool[id] == s then socket_pool[id] = nil end
    return nil, problem
end

--------------------------------------------------------------------------------------------------------------------------- events

local socket_message = {}

local function on_data(id, size, data)
    local s = socket_pool[id]
    if not s or not s.buffer then
        skynet.error("socket: drop package from " .. id)
        driver.drop(data, size)
        return
    end
    local total = driver.push(s.buffer, pool, data, size)
    s.whole = nil
    local want = s.want
    if math.type(want) == "integer" then
        if total < want then return end
    else
        if s.limit and total > s.limit then
            skynet.error(string.format("socket buffer overflow: fd=%d size=%d", id, total))
            driver.close(id)
            return
        end
        if want == true then return end
        if want and not driver.readline(s.buffer, nil, want) then return end
    end
    -- Pausing lets other events in: who is woken afterwards is who waited now, and not who waits by then.
    local reader = want and s.reader
    if reader then s.want, s.reader = nil, nil end
    if total > PAUSE_FROM then pause(s, total) end
    if reader then skynet.wakeup(reader) end
end

local function on_connect(id, number, text)
    local s = socket_pool[id]
    if not s or s.connected then return end
    s.connected = true
    s.connecting = nil
    if s.listening then
        s.address, s.port = text, number
    end
    wake(s)
end

local function on_close(id)
    local s = socket_pool[id]
    if s then
        s.connected = false
        wake(s)
    else
        driver.close(id)
    end
    local hook = close_hooks[id]
    if hook then
        close_hooks[id] = nil
        hook(id)
    end
end

local function on_accept(id, new, address)
    local s = socket_pool[id]
    if s and s.callback then
        s.callback(new, address)
    else
        driver.close(new)
    end
end

local function on_error(id, _, text)
    local s = socket_pool[id]
    if not s then
        driver.shutdown(id)
        skynet.error("socket: error on unknown " .. id .. " " .. text)
        return
    end
    if s.connected and (s.callback or s.listening) then
        skynet.error("socket: accept error: " .. text)
        return
    end
    if s.connected then
        skynet.error("socket: error on " .. id .. " " .. text)
    elseif s.connecting then
        s.connecting = text
    end
    s.connected = false
    driver.shutdown(id)
    wake(s)
end

local function on_udp(id, size, data, address)
    local s = socket_pool[id]
    if not s or not s.callback then
        skynet.error("socket: drop udp package from " .. id)
        driver.drop(data, size)
        return
    end
    local text = skynet.tostring(data, size)
    driver.drop(data, size)
    s.callback(text, address)
end

local function on_warning(id, kib)
    local s = socket_pool[id]
    if not s then return end
    if s.warning then
        s.warning(id, kib)
    else
        skynet.error(string.format("WARNING: %d K bytes need to send out (fd = %d)", kib, id))
    end
end

socket_message[1] = on_data
socket_message[2] = on_connect
socket_message[3] = on_close
socket_message[4] = on_accept
socket_message[5] = on_error
socket_message[6] = on_udp
socket_message[7] = on_warning

local function dispatch(_, _, kind, ...) socket_message[kind](...) end

skynet.register_protocol {
    name = "socket",
    id = skynet.PTYPE_SOCKET,
    unpack = driver.unpack,
    dispatch = dispatch,
    -- What is usual is done as `on_data`, `on_connect` and `on_close` do it, without a task.
    direct = driver.direct(dispatch, driver.unpack, socket_pool, close_hooks, pool, PAUSE_FROM),
}

-------------------------------------------------------------------------------------------------------------------------- opening

--- Connects. Without a port: `"host:port"` or `"[v6]:port"`.
---@async
---@param address string
---@param port integer?
---@return integer? id
---@return string? problem
function socket.open(address, port)
    local id = driver.connect(address, port)
    if id < 0 then return nil, NO_ID end
    return connect(id)
end

--- The id of a descriptor of the process.
---@async
---@param fd integer
---@return integer? id
---@return string? problem
function socket.bind(fd)
    local id = driver.bind(fd)
    if id < 0 then return nil, NO_ID end
    return connect(id)
end

--- The id of the standard input.
---@async
---@return integer? id
---@return string? problem
function socket.stdin() return socket.bind(0) end

--- Takes an id over and begins to read, or, of a listener, to take connections: each goes to `callback(id, address)` in a task of
--- its own, and is not started.
---@async
---@param id integer
---@param callback async fun(id: integer, address: string)?
---@return integer? id
---@return string? problem
function socket.start(id, callback)
    local s = socket_pool[id]
    if s and not s.listening then error("socket is not closed", 2) end
    assert(not close_hooks[id], "socket has onclose callback")
    driver.start(id)
    return connect(id, callback)
end

--- Listens. Takes no connections before it is started.
---@async
---@param address string
---@param port integer?
---@param backlog integer?
---@return integer id
---@return string ip
---@return integer port
function socket.listen(address, port, backlog)
    local id = driver.listen(address, port, backlog)
    local s = { id = id, connected = false, listening = true }
    assert(not socket_pool[id])
    socket_pool[id] = s
    wait(s)
    return id, s.address, s.port
end

------------------------------------------------------------------------------------------------------------------------- reading

---@param id integer
---@return skein.Socket
local function known(id) return assert(socket_pool[id]) end

--- What is there, at least a byte; with `size`: exactly so many bytes. At the end of the stream: false and the rest.
---@async
---@param id integer
---@param size integer?
---@return string|false
---@return string?
function socket.read(id, size)
    local s = socket_pool[id] or known(id)
    local buffer = s.buffer
    if size == nil then
        local all = readall(buffer, pool)
        if all ~= "" then return all end
        if not s.connected then return false, all end
        assert(not s.want)
        s.want = 0
        wait(s)
        all = readall(buffer, pool)
        if all ~= "" then return all end
        return false, all
    end
    local bytes = pop(buffer, pool, size)
    if bytes then return bytes end
    if not s.connected or s.closer then return false, readall(buffer, pool) end
    assert(not s.want)
    s.want = size
    if size >= WHOLE_FROM and not s.whole and driver.expect(buffer, pool, id, size) then s.whole = size end
    wait(s)
    bytes = pop(buffer, pool, size)
    if bytes then return bytes end
    return false, readall(buffer, pool)
end

--- Everything until the peer closes. false if it has closed before and nothing is left.
---@async
---@param id integer
---@return string|false
function socket.readall(id)
    local s = known(id)
    if not s.connected then
        local rest = readall(s.buffer, pool)
        return rest ~= "" and rest
    end
    assert(not s.want)
    s.want = true
    wait(s)
    s.want = nil
    return readall(s.buffer, pool)
end

--- What is before the next separator. At the end of the stream: false and the rest.
---@async
---@param id integer
---@param separator string?  "\n"
---@return string|false
---@return string?
function socket.readline(id, separator)
    separator = separator or "\n"
    local s = socket_pool[id] or known(id)
    local buffer = s.buffer
    local line = readline(buffer, pool, separator)
    if line then return line end
    if not s.connected then return false, readall(buffer, pool) end
    assert(not s.want)
    s.want = separator
    wait(s)
    line = readline(buffer, pool, separator)
    if line then return line end
    return false, readall(buffer, pool)
end

--- Waits for the next event, and takes nothing. Whether the socket is still connected.
---@async
---@param id integer
---@return boolean
function socket.block(id)
    local s = socket_pool[id]
    if not s or not s.connected then return false end
    assert(not s.want)
    s.want = 0
    wait(s)
    return s.connected
end

--- Stops reading until the next read that waits.
---@async
---@param id integer
function socket.pause(id)
    local s = socket_pool[id]
    if s and s.connected then pause(s) end
end

--- With more than `size` bytes unread and nobody waiting for a number of bytes, the socket is closed.
---@param id integer
---@param size integer?
function socket.limit(id, size) known(id).limit = size end

------------------------------------------------------------------------------------------------------------------------- writing

--- Sends a string, a number, a table of such, a userdata, or a block and its size. false: there is no such socket, or not any more.
---@type fun(id: integer, data: any, size: integer?): boolean
socket.write = driver.send

--- As `write`, but only when nothing else waits to be sent.
---@type fun(id: integer, data: any, size: integer?): boolean
socket.lwrite = driver.lsend

--- Has `callback(id, kib)` called when 1 MiB waits to be sent, at each doubling, and with 0 when nothing does any more.
---@param id integer
---@param callback fun(id: integer, kib: integer)?
function socket.warning(id, callback) known(id).warning = callback end

------------------------------------------------------------------------------------------------------------------------- closing

--- Closes. What was written is still sent; a task that reads gets what is left first.
---@async
---@param id integer
function socket.close(id)
    local s = socket_pool[id]
    if not s then return end
    driver.close(id)
    if s.connected then
        -- Nobody is to resume it.
        s.paused = nil
        if s.reader then
            assert(not s.closer)
            s.closer = coroutine.running()
            skynet.wait(s.closer)
        else
            wait(s)
        end
        s.connected = false
    end
    if socket_pool[id] == s then socket_pool[id] = nil end
end

--- Ends a connection at once. The id still has to be closed.
---@param id integer
function socket.shutdown(id)
    if socket_pool[id] then driver.shutdown(id) end
end

--- Closes an id that this service never started.
---@param id integer
function socket.close_fd(id)
    assert(socket_pool[id] == nil, "Use socket.close instead")
    driver.close(id)
end

--- Forgets an id that another service is going to start.
---@param id integer
function socket.abandon(id)
    local s = socket_pool[id]
    if s then
        s.connected = false
        wake(s)
        socket_pool[id] = nil
    end
end

--- Has `callback(id)` called once when the socket has closed, whoever closed it.
---@param id integer
---@param callback fun(id: integer)?
function socket.onclose(id, callback) close_hooks[id] = callback end

--- Whether this service does not know the id.
---@param id integer
---@return boolean
function socket.invalid(id) return socket_pool[id] == nil end

--- Whether the other end is gone; nil for an id that is unknown.
---@param id integer
---@return boolean?
function socket.disconnected(id)
    local s = socket_pool[id]
    if s then return not (s.connected or s.connecting) end
end

----------------------------------------------------------------------------------------------------------------------- datagrams

local function datagrams(id, callback)
    socket_pool[id] = { id = id, connected = true, udp = true, callback = callback }
    return id
end

--- A datagram socket. `callback(data, from)` runs for each datagram in a task of its own.
---@param callback async fun(data: string, from: string)
---@param host string?
---@param port integer?
---@return integer id
function socket.udp(callback, host, port) return datagrams(driver.udp(host, port), callback) end

--- A datagram socket that is bound to an address.
---@param host string
---@param port integer
---@param callback async fun(data: string, from: string)
---@return integer id
function socket.udp_listen(host, port, callback) return datagrams(driver.udp_listen(host, port), callback) end

--- A datagram socket that `write` sends to an address with.
---@param host string
---@param port integer
---@param callback async fun(data: string, from: string)
---@return integer id
function socket.udp_dial(host, port, callback) return datagrams(driver.udp_dial(host, port), callback) end

--- Says where `write` sends to.
---@param id integer
---@param host string
---@param port integer?
---@param callback async fun(data: string, from: string)?
function socket.udp_connect(id, host, port, callback)
    local s = socket_pool[id]
    if s then
        assert(s.udp)
        if callback then s.callback = callback end
    else
        datagrams(id, callback)
    end
    driver.udp_connect(id, host, port)
end

--- Sends a datagram to where another one came from.
---@type fun(id: integer, from: string, data: any, size: integer?): boolean
socket.sendto = driver.udp_send

--- Ip and port of what a callback got as `from`.
---@type fun(from: string): string, integer
socket.udp_address = driver.udp_address

-------------------------------------------------------------------------------------------------------------------------- the rest

--- The number in 1 to 4 bytes, high byte first.
---@type fun(bytes: string): integer
socket.header = driver.header

--- All sockets of the process.
---@type fun(): table[]
socket.netstat = driver.info

--- The addresses of a host. Blocks the thread; raises what the resolver says.
---@type fun(host: string): string[]
socket.resolve = driver.resolve

return socket
