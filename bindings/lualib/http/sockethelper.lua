--- Sockets as the HTTP modules use them: functions that raise when the other side is gone.
local socket = require "skynet.socket"
local skynet = require "skynet"

local sockethelper = {}

--- What reading and writing raise when the socket is closed. Compare by identity. It tells once what happened.
local socket_error = setmetatable({}, {
    __tostring = function(self)
        local info = self.err_info
        self.err_info = nil
        return info and "[Socket Error] : " .. info or "[Socket Error]"
    end,
})
sockethelper.socket_error = socket_error

local function fail(info)
    socket_error.err_info = info
    error(socket_error)
end

--- A function that reads: `n` bytes, or what is there.
---@param fd integer
---@param pre string?  bytes that were read before
---@return async fun(size: integer?): string
function sockethelper.readfunc(fd, pre)
    local read = socket.read
    local function plain(size)
        local data = read(fd, size)
        if not data then fail("read failed fd = " .. fd) end
        return data
    end
    if not pre or pre == "" then return plain end
    return function(size)
        if pre == "" then return plain(size) end
        local data = pre
        if not size then
            pre = ""
            return data
        elseif size <= #pre then
            pre = data:sub(size + 1)
            return data:sub(1, size)
        end
        pre = ""
        return data .. plain(size - #data)
    end
end

--- What comes until the other side closes.
---@async
---@param fd integer
---@return string|false
function sockethelper.readall(fd) return socket.readall(fd) end

--- A function that writes.
---@param fd integer
---@return fun(content: string)
function sockethelper.writefunc(fd)
    local write = socket.write
    return function(content)
        if not write(fd, content) then fail("write failed fd = " .. fd) end
    end
end

local function describe(host, port, timeout, err, late)
    return string.format(
        "connect failed host = %s port = %s timeout = %s err = %s is_time_out = %s",
        host,
        port,
        timeout,
        err,
        late
    )
end

--- Connects, within `timeout` hundredths of a second if that is given. Raises with what was wrong.
---@async
---@param host string
---@param port integer
---@param timeout integer?
---@return integer fd
function sockethelper.connect(host, port, timeout)
    if not timeout then
        local fd, err = socket.open(host, port)
        if not fd then fail(describe(host, port, timeout, err, false)) end
        return fd
    end
    local done, late, fd, err
    local task = coroutine.running()
    skynet.fork(function()
        fd, err = socket.open(host, port)
        if late then
            -- Nobody waits any more.
            if fd then socket.close(fd) end
        else
            done = true
            skynet.wakeup(task)
        end
    end)
    skynet.sleep(timeout)
    late = not done
    if not fd then fail(describe(host, port, timeout, err, late)) end
    return fd
end

---@async
---@param fd integer
function sockethelper.close(fd) socket.close(fd) end

--- Closes at once; what was written may be lost.
---@param fd integer
function sockethelper.shutdown(fd) socket.shutdown(fd) end

return sockethelper
