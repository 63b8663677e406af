--- TLS over a socket, as the HTTP modules use it. Needs `enablessl = true` in the config.
---
--- A client that names its server checks the certificate: against the system's authorities and those of the config's `ssl_cafile`.
--- `ssl_verify = false` in the config, or `ctx:set_verify(false)`, turns that off. (skynet never checks.)
local skynet = require "skynet"
local socket = require "skynet.socket"
local c = require "ltls.c"
local sockethelper = require "http.sockethelper"

local tlshelper = {}

--- The client's handshake, as a function.
---@param fd integer
---@param tls ltls.Connection
---@return async fun()
function tlshelper.init_requestfunc(fd, tls)
    return function()
        local out = tls:handshake()
        while true do
            if out and out ~= "" then sockethelper.writefunc(fd)(out) end
            if tls:finished() then break end
            local data = socket.read(fd)
            if not data then error(sockethelper.socket_error) end
            out = tls:handshake(data)
        end
        -- What the last step made is not sent by `handshake`.
        local rest = tls:write()
        if rest ~= "" then sockethelper.writefunc(fd)(rest) end
    end
end

--- The server's handshake, as a function.
---@param fd integer
---@param tls ltls.Connection
---@return async fun()
function tlshelper.init_responsefunc(fd, tls)
    return function()
        while not tls:finished() do
            local data = socket.read(fd)
            if not data then error(sockethelper.socket_error) end
            local out = tls:handshake(data)
            if out and out ~= "" then sockethelper.writefunc(fd)(out) end
        end
        local rest = tls:write()
        if rest ~= "" then sockethelper.writefunc(fd)(rest) end
    end
end

--- A function that closes the TLS side; the socket stays.
---@param tls ltls.Connection
---@return fun()
function tlshelper.closefunc(tls)
    return function() tls:close() end
end

--- A function that reads: `n` bytes, or what is there.
---@param fd integer
---@param tls ltls.Connection
---@return async fun(size: integer?): string
function tlshelper.readfunc(fd, tls)
    local pending = ""
    --- At least one byte more.
    local function more()
        local text, over = tls:read()
        while text == "" do
            local data = not over and socket.read(fd)
            if not data then error(sockethelper.socket_error) end
            text, over = tls:read(data)
        end
        return text
    end
    return function(size)
        if not size then
            local text = pending ~= "" and pending or more()
            pending = ""
            return text
        end
        if #pending < size then
            local parts, have = { pending }, #pending
            pending = ""
            while have < size do
                local text = more()
                parts[#parts + 1] = text
                have = have + #text
            end
            pending = table.concat(parts)
        end
        local text = pending:sub(1, size)
        pending = pending:sub(size + 1)
        return text
    end
end

--- A function that reads until the other side closes.
---@param fd integer
---@param tls ltls.Connection
---@return async fun(): string
function tlshelper.readallfunc(fd, tls)
    return function()
        local text, over = tls:read()
        local parts = { text }
        while not over do
            local data = socket.read(fd)
            if not data then break end
            text, over = tls:read(data)
            parts[#parts + 1] = text
        end
        return table.concat(parts)
    end
end

--- A function that writes.
---@param fd integer
---@param tls ltls.Connection
---@return fun(content: string)
function tlshelper.writefunc(fd, tls)
    local write = sockethelper.writefunc(fd)
    return function(content)
        local out = tls:write(content)
        if out ~= "" then write(out) end
    end
end

---@type ltls.Context?
local clients

--- A context: certificates and what is checked. Contexts that nobody changes are all alike.
---@return ltls.Context
function tlshelper.newctx()
    local ctx = c.newctx()
    local authorities = skynet.getenv "ssl_cafile"
    if authorities then ctx:set_authorities(authorities) end
    if skynet.getenv "ssl_verify" == "false" then ctx:set_verify(false) end
    return ctx
end

--- The context for clients without one of their own: authorities are read once.
---@return ltls.Context
function tlshelper.clientctx()
    clients = clients or tlshelper.newctx()
    return clients
end

--- One side of a connection.
---@param method "client"|"server"
---@param ctx ltls.Context
---@param hostname string?  a client's: who the server has to be
---@return ltls.Connection
function tlshelper.newtls(method, ctx, hostname) return c.newtls(method, ctx, hostname) end

return tlshelper
