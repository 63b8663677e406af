--- A connection that many tasks share: each sends its request and gets its own response, and a connection that was lost is made
--- anew by the next request.
---
--- In *order mode* responses come in the order of requests, and each request brings the function that reads its response. In *session
--- mode* (`response` in the description) one function reads all of them and says whose each is.
---
--- Each connection has its own list of those who wait, so what is left of a lost one can't touch its successor.
local skynet = require "skynet"
local socket = require "skynet.socket"
local socketdriver = require "skynet.socketdriver"

local socketchannel = {}

--- What a request raises when the connection failed. Compare by identity.
local socket_error = setmetatable({}, { __tostring = function() return "[Error: socket]" end })
socketchannel.error = socket_error

--- What requests raise that wait for a connection when the channel is closed.
local CHANNEL_CLOSED <const> = "channel_closed"

--------------------------------------------------------------------------------------------------------- what a response reads from

---@class skynet.socketchannel.Socket
---@field [1] integer  the socket
local Socket = {}

local function checked(read)
    return function(self, ...)
        local data = read(self, ...)
        if not data then error(socket_error) end
        return data
    end
end

Socket.read = checked(function(self, size) return socket.read(self[1], size) end)
Socket.readline = checked(function(self, separator) return socket.readline(self[1], separator) end)

--- Methods of the sockets of a channel.
local function socket_methods(desc)
    return {
        __index = {
            read = desc.socket_read and checked(desc.socket_read) or Socket.read,
            readline = desc.socket_readline and checked(desc.socket_readline) or Socket.readline,
        },
    }
end

----------------------------------------------------------------------------------------------------------------------- connections

---@class skynet.socketchannel.Waiter
---@field response function?  order mode
---@field parts any[]?        values of a response in parts
---@field done boolean?
---@field ok boolean?
---@field value any
---@field thrown boolean?     `value` is to be raised as it is

---@class skynet.socketchannel.Connection
---@field fd integer
---@field host string
---@field port integer?
---@field sock skynet.socketchannel.Socket
---@field respond function?   session mode
---@field waiting table       order mode: by number; session mode: by session
---@field first integer
---@field last integer
---@field idle boolean?       the reader waits for a request
---@field dead boolean?
---@field channel table       the channel, weakly

--- Tells a waiter what came of its request.
local function finish(waiter, ok, value, thrown)
    waiter.done = true
    waiter.ok, waiter.value, waiter.thrown = ok, value, thrown
    skynet.wakeup(waiter)
end

--- A value of a response; a request gets an array if there are several.
local function settle(waiter, ok, value)
    local parts = waiter.parts
    if ok and parts then
        parts[#parts + 1] = value
        value = parts
    end
    finish(waiter, ok, value)
end

local function collect(waiter, value)
    local parts = waiter.parts or {}
    waiter.parts = parts
    parts[#parts + 1] = value
end

--- The end of a connection: all who wait on it fail with `err`.
---@param connection skynet.socketchannel.Connection
local function fail(connection, err)
    if connection.dead then return end
    connection.dead = true
    local channel = connection.channel[1]
    if channel and channel.connection == connection then
        channel.connection, channel.__sock = nil, false
    end
    -- Closing waits for the reader, who may be the one that failed.
    skynet.fork(socket.close, connection.fd)
    local waiting = connection.waiting
    connection.waiting = {}
    if connection.respond then
        for _, waiter in pairs(waiting) do
            finish(waiter, false, err, true)
        end
    else
        for i = connection.first, connection.last do
            finish(waiting[i], false, err, true)
        end
        if connection.idle then skynet.wakeup(connection) end
    end
end

---@async
---@param connection skynet.socketchannel.Connection
local function read_in_order(connection)
    while not connection.dead do
        local waiter = connection.waiting[connection.first]
        if not waiter then
            connection.idle = true
            skynet.wait(connection)
            connection.idle = false
        else
            local read, ok, value, more = pcall(waiter.response, connection.sock)
            if connection.dead then return end
            if not read then return fail(connection, ok) end
            if ok and more then
                collect(waiter, value)
            else
                connection.waiting[connection.first] = nil
                connection.first = connection.first + 1
                settle(waiter, ok, value)
            end
        end
    end
end

---@async
---@param connection skynet.socketchannel.Connection
local function read_by_session(connection)
    while not connection.dead do
        local read, session, ok, value, more = pcall(connection.respond, connection.sock)
        if connection.dead then return end
        if not read or session == nil then
            return fail(connection, not read and session ~= nil and session or socket_error)
        end
        local waiter = connection.waiting[session]
        if not waiter then
            skynet.error("socket: unknown session :", session)
        elseif ok and more then
            collect(waiter, value)
        else
            connection.waiting[session] = nil
            settle(waiter, ok, value)
        end
    end
end

--- What became of a response.
---@async
local function await(waiter)
    if not waiter.done then skynet.wait(waiter) end
    if waiter.ok then return waiter.value end
    if waiter.thrown then error(waiter.value, 0) end
    error(waiter.value)
end

--- Waits for a response of this connection.
---@async
local function wait_response(connection, response)
    local waiter = {}
    if connection.respond then
        connection.waiting[response] = waiter
    else
        waiter.response = response
        connection.last = connection.last + 1
        connection.waiting[connection.last] = waiter
        if connection.idle then skynet.wakeup(connection) end
    end
    return await(waiter)
end

--------------------------------------------------------------------------------------------------------------------------- channels

---@class skynet.socketchannel.Channel
---@field private connection skynet.socketchannel.Connection?
---@field private desc table
---@field private methods table
---@field private connecting table[]?  tokens of those who wait while somebody connects
---@field private owner thread?        the task that connects: `auth` may use the channel before others
---@field private changes integer      how often `changehost` was called
---@field __host string                these have skynet's names, because applications read them
---@field __port integer?
---@field __backup table?
---@field __sock skynet.socketchannel.Socket|false  of the connection, if there is one
---@field __closed boolean
---@field __overload boolean           too much waits to be sent
local Channel = {}
Channel.__index = Channel

--- Tells when too much waits to be sent, and when it is gone.
local function watch_output(connection, overload)
    local overloaded = false
    local function tell(now)
        overloaded = now
        local channel = connection.channel[1]
        if channel then channel.__overload = now end
        overload(now)
    end
    socket.warning(connection.fd, function(fd, size)
        if size == 0 then
            if overloaded then tell(false) end
        elseif not overloaded then
            tell(true)
        else
            local text = "WARNING: %d K bytes need to send out (fd = %d %s %s)"
            skynet.error(string.format(text, size, fd, connection.host, connection.port))
        end
    end)
end

--- Connects to one address.
---@async
---@return skynet.socketchannel.Connection?
---@return string? err
function Channel:open(host, port)
    local fd, err = socket.open(host, port)
    if not fd then return nil, err end
    local desc = self.desc
    if desc.nodelay then socketdriver.nodelay(fd) end
    local connection = {
        fd = fd,
        host = host,
        port = port,
        sock = setmetatable({ fd }, self.methods),
        respond = desc.response,
        waiting = {},
        first = 1,
        last = 0,
        -- A reader must not keep a channel alive that everybody else forgot.
        channel = setmetatable({ self }, { __mode = "v" }),
    }
    if desc.overload then watch_output(connection, desc.overload) end
    if desc.response then
        skynet.fork(read_by_session, connection)
    else
        socket.onclose(fd, function()
            if connection.idle and not connection.dead then
                skynet.error("socket closed by peer :", host, port)
                fail(connection, socket_error)
            end
        end)
        skynet.fork(read_in_order, connection)
    end
    return connection
end

--- Lets `auth` use a new connection.
---@async
---@return boolean ok
---@return any err
function Channel:authorize(connection)
    local auth = self.desc.auth
    if not auth then return true end
    self.owner = coroutine.running()
    local ok, err = pcall(auth, self)
    self.owner = nil
    if not ok then
        if err ~= socket_error then skynet.error("socket: auth failed", err) end
        fail(connection, socket_error)
        return false, err
    end
    return not connection.dead, socket_error
end

--- The next address of the list that was not tried.
local function next_backup(backup, tried, port)
    for _, entry in ipairs(backup or {}) do
        local host = entry
        local its_port = port
        if type(entry) == "table" then
            host, its_port = entry.host, entry.port or port
        end
        local key = host .. ":" .. tostring(its_port)
        if not tried[key] then return host, its_port, key end
    end
end

--- Tries the current address, and then the others.
---@async
---@return boolean ok
---@return any err
function Channel:connect_round()
    local tried = {}
    local host, port = self.__host, self.__port
    tried[host .. ":" .. tostring(port)] = true
    while true do
        local connection, err = self:open(host, port)
        if connection and self.__closed then
            fail(connection, CHANNEL_CLOSED)
            return false, CHANNEL_CLOSED
        end
        local changes = self.changes
        if connection then
            self.connection, self.__sock = connection, connection.sock
            self.__host, self.__port = host, port
            local ok
            ok, err = self:authorize(connection)
            if self.changes == changes and ok then return true end
            fail(connection, socket_error)
        end
        if self.__closed then return false, CHANNEL_CLOSED end
        if self.changes ~= changes then
            tried = {}
            host, port = self.__host, self.__port
            tried[host .. ":" .. tostring(port)] = true
        else
            local key
            host, port, key = next_backup(self.__backup, tried, self.__port)
            if not host then
                return false, connection and "no more backup host" or err
            end
            tried[key] = true
            skynet.error("socket: connect to backup host", host, port)
        end
    end
end

--- Connects, in one round or until it succeeds.
---@async
---@return boolean ok
function Channel:connect_now(once)
    if once then
        local ok, err = self:connect_round()
        if not ok then skynet.error("Connect failed", tostring(err), self.__host, self.__port) end
        return ok
    end
    local pause = 0
    while not self.__closed do
        local ok, err = self:connect_round()
        if ok then
            skynet.error("socket: connect to", self.__host, self.__port)
            return true
        end
        skynet.error("socket: connect", tostring(err))
        if pause > 1000 then
            skynet.error("socket: try to reconnect", self.__host, self.__port)
            skynet.sleep(pause)
            pause = 100
        else
            skynet.sleep(pause)
            pause = pause + 100
        end
    end
    return false
end

--- The connection, if it is there and usable.
---@return skynet.socketchannel.Connection?
function Channel:live()
    local connection = self.connection
    if not connection then return nil end
    if self.connecting and self.owner ~= coroutine.running() then return nil end
    if socket.disconnected(connection.fd) then
        skynet.error("socket: disconnect detected", connection.host, connection.port)
        fail(connection, socket_error)
        return nil
    end
    return connection
end

--- A usable connection. Raises if there is none to be had.
---@async
---@param once boolean?  one round, and not until it succeeds
---@return skynet.socketchannel.Connection
function Channel:acquire(once)
    local connection = self:live()
    if connection then return connection end
    if self.owner == coroutine.running() then error(socket_error) end
    if self.connecting then
        local place = {}
        table.insert(self.connecting, place)
        skynet.wait(place)
    else
        self.connecting = {}
        local called, ok = pcall(self.connect_now, self, once)
        local places = self.connecting
        self.connecting = nil
        for _, place in ipairs(places) do
            skynet.wakeup(place)
        end
        if not called then error(ok, 0) end
    end
    return self.connection or error(socket_error)
end

--- Connects; opens a closed channel again.
---@async
---@param once boolean?  one round; otherwise until it succeeds
---@return true
function Channel:connect(once)
    self.__closed = false
    self:acquire(once)
    return true
end

local function send(connection, data, padding)
    local fd = connection.fd
    local sent
    if padding then
        -- Large requests do not hold up others.
        sent = socket.lwrite(fd, data)
        for _, part in ipairs(padding) do
            sent = sent and socket.lwrite(fd, part)
        end
    else
        sent = socket.write(fd, data)
    end
    if not sent then
        fail(connection, socket_error)
        error(socket_error)
    end
end

--- Sends a request, and waits for its response if there is to be one. Raises `socketchannel.error` if the connection fails, and what the
--- response said if it is a failure.
---@async
---@param data string
---@param response any       order mode: the function that reads the response; session mode: the session; nil: there is none
---@param padding string[]?  more of the request
---@return any
function Channel:request(data, response, padding)
    assert(not self.__closed, "channel is closed")
    local connection = self:acquire(true)
    send(connection, data, padding)
    if response == nil then return nil end
    return wait_response(connection, response)
end

--- Waits for a response to no request of ours.
---@async
---@param response any
---@return any
function Channel:response(response)
    assert(not self.__closed, "channel is closed")
    return wait_response(self:acquire(false), response)
end

--- Ends the connection, and all requests that wait. `connect` opens the channel again.
function Channel:close()
    if self.__closed then return end
    self.__closed = true
    local connection = self.connection
    if connection then fail(connection, socket_error) end
end

Channel.__gc = Channel.close

--- From now on the channel goes to another address. A connection that is there is dropped.
---@param host string
---@param port integer?
function Channel:changehost(host, port)
    self.__host = host
    if port then self.__port = port end
    self.changes = self.changes + 1
    local connection = self.connection
    -- `auth` goes on with the connection it has; whoever connects starts again then.
    if connection and not self.connecting then fail(connection, socket_error) end
end

--- Other addresses, to be tried when the next connection is made.
---@param backup table
function Channel:changebackup(backup) self.__backup = backup end

--- A channel. Nothing is connected before the first request, or `connect`.
---@param desc { host: string, port: integer?, backup: table?, auth: function?, response: function?, nodelay: boolean?, overload: function?, socket_read: function?, socket_readline: function? }
---@return skynet.socketchannel.Channel
function socketchannel.channel(desc)
    return setmetatable({
        desc = desc,
        methods = socket_methods(desc),
        changes = 0,
        __host = assert(desc.host, "no host"),
        __port = desc.port,
        __backup = desc.backup,
        __sock = false,
        __closed = false,
        __overload = false,
    }, Channel)
end

return socketchannel
