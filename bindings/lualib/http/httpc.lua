--- The client's side of HTTP/1.1. `host` is `[http://|https://]name[:port]`, an IPv6 address in brackets.
---
--- Beyond skynet's: with `httpc.keepalive` set, connections are kept for the next request to the same host.
local skynet = require "skynet"
local socket = require "skynet.socket"
local internal = require "http.internal"
local sockethelper = require "http.sockethelper"

local httpc = {
    --- How long a request may take, connecting included, in hundredths of a second; nil: as long as it takes.
    ---@type integer?
    timeout = nil,
    --- How many connections to a host are kept between requests; nil: none, as skynet's client does.
    ---@type integer?
    keepalive = nil,
}

--- Hundredths of a second that a connection is kept.
local IDLE_LIMIT <const> = 1000

----------------------------------------------------------------------------------------------------------------------- where to go

local DEFAULT_PORT <const> = { http = 80, https = 443 }

--- Parts of what callers name as host.
---@return string protocol
---@return string name    to connect to
---@return integer port
---@return string field   for the header
local function parse_host(host)
    local protocol, rest = host:match "^(%a+)://(.*)$"
    protocol = (protocol or "http"):lower()
    if not DEFAULT_PORT[protocol] then error("Invalid protocol: " .. protocol) end
    rest = rest or host
    rest = rest:match "^([^/]*)"
    local name, port = rest:match "^%[([^%]]*)%](.*)$"
    if not name then
        if select(2, rest:gsub(":", "")) > 1 then
            error(string.format("Invalid host: bare IPv6 address '%s', use '[%s]' instead", rest, rest))
        end
        name, port = rest:match "^([^:]*)(.*)$"
    end
    local number = DEFAULT_PORT[protocol]
    if port ~= "" then number = assert(tonumber(port:match "^:(%d+)$"), "Invalid port: " .. rest) end
    assert(name ~= "", "Invalid host: no name")
    return protocol, name, number, rest
end

---@type string?
local dns_server

--- From now on names are looked up by `skynet.dns`, which does not block.
---@param server string?
---@param port integer?
function httpc.dns(server, port)
    local dns = require "skynet.dns"
    if server then dns.server(server, port) end
    dns_server = dns
end

local function is_address(name) return name:find "^[%d%.]+$" or name:find(":", 1, true) end

--- Cuts the connection when the time of a request is over. Returns what to call when it is done.
local function deadline(interface, timeout, began)
    if not timeout then return function() end end
    local done = false
    skynet.timeout(math.max(0, timeout - (skynet.now() - began)), function()
        if not done then
            interface.late = true
            sockethelper.shutdown(interface.fd)
        end
    end)
    return function() done = true end
end

--- A connection as the functions of `http.internal` want it.
---@async
local function connect(protocol, name, port, began)
    local address = name
    if dns_server and not is_address(name) then address = dns_server.resolve(name) or name end
    local timeout = httpc.timeout
    local fd = sockethelper.connect(address, port, timeout)
    local interface = {
        fd = fd,
        socket_error = sockethelper.socket_error,
        close = function() sockethelper.close(fd) end,
    }
    if protocol == "https" then
        local tlshelper = require "http.tlshelper"
        local tls = tlshelper.newtls("client", tlshelper.clientctx(), name)
        local finish = deadline(interface, timeout, began)
        local ok, err = pcall(tlshelper.init_requestfunc(fd, tls))
        finish()
        if not ok then
            tls:close()
            sockethelper.close(fd)
            error(err, 0)
        end
        interface.read = tlshelper.readfunc(fd, tls)
        interface.write = tlshelper.writefunc(fd, tls)
        interface.readall = tlshelper.readallfunc(fd, tls)
        interface.close = function()
            tls:close()
            sockethelper.close(fd)
        end
    else
        interface.read = sockethelper.readfunc(fd)
        interface.write = sockethelper.writefunc(fd)
        interface.readall = function() return sockethelper.readall(fd) end
    end
    return interface
end

------------------------------------------------------------------------------------------------------- connections that are kept

---@type table<string, table[]>  by protocol, name and port
local kept = {}

local function take_kept(key)
    local list = kept[key]
    while list and #list > 0 do
        local interface = table.remove(list)
        if skynet.now() - interface.since < IDLE_LIMIT and not socket.disconnected(interface.fd) then
            return interface
        end
        interface.close()
    end
end

local function expire(key)
    local list = kept[key]
    local now = skynet.now()
    while list[1] and now - list[1].since >= IDLE_LIMIT do
        table.remove(list, 1).close()
    end
    if #list == 0 then
        kept[key] = nil
    else
        skynet.timeout(IDLE_LIMIT, function() expire(key) end)
    end
end

local function keep(key, interface)
    local list = kept[key]
    if not list then
        list = {}
        kept[key] = list
        skynet.timeout(IDLE_LIMIT, function()
            if kept[key] then expire(key) end
        end)
    end
    if #list >= httpc.keepalive then
        interface.close()
        return
    end
    interface.since = skynet.now()
    list[#list + 1] = interface
end

--- Whether the other side keeps the connection as well.
local function stays_open(header)
    local connection = header.connection
    return type(connection) ~= "string" or not connection:lower():find("close", 1, true)
end

--- Methods that may be sent again when a kept connection turns out to be dead.
local REPEATABLE <const> = { GET = true, HEAD = true, PUT = true, DELETE = true, OPTIONS = true }

-------------------------------------------------------------------------------------------------------------------------- requests

--- One request over a new connection, or a kept one.
---@async
local function exchange(interface, began, method, host, url, recvheader, header, content)
    local finish = deadline(interface, httpc.timeout, began)
    local ok, status, body, reusable = pcall(function()
        local code, rest, fields = internal.request(interface, method, host, url, recvheader, header, content)
        interface.answered = true
        if method == "HEAD" then return code, "", rest == "" and stays_open(fields) end
        local text, whole = internal.response(interface, code, rest, fields)
        return code, text, whole and stays_open(fields)
    end)
    finish()
    return ok, status, body, reusable and not interface.late
end

--- Sends a request. Raises if there is no whole response to it.
---@async
---@param method string
---@param hostname string
---@param url string
---@param recvheader table?  gets the fields of the response
---@param header table?
---@param content string?
---@return integer status
---@return string body
function httpc.request(method, hostname, url, recvheader, header, content)
    local protocol, name, port, host = parse_host(hostname)
    local began = skynet.now()
    local key = httpc.keepalive and protocol .. name .. ":" .. port
    local interface = key and take_kept(key)
    if interface then
        interface.answered = false
        local ok, status, body, reusable =
            exchange(interface, began, method, host, url, recvheader, header, content)
        if ok then
            if reusable then
                keep(key, interface)
            else
                interface.close()
            end
            return status, body
        end
        interface.close()
        if interface.answered or interface.late or not REPEATABLE[method] then error(status, 0) end
        -- It died while nobody looked: once more over a new one.
    end
    interface = connect(protocol, name, port, began)
    local ok, status, body, reusable =
        exchange(interface, began, method, host, url, recvheader, header, content)
    if ok and key and reusable then
        keep(key, interface)
    else
        interface.close()
    end
    if not ok then error(status, 0) end
    return status, body
end

--- The status of a `HEAD` request.
---@async
---@param hostname string
---@param url string
---@param recvheader table?
---@param header table?
---@param content string?
---@return integer status
function httpc.head(hostname, url, recvheader, header, content)
    return (httpc.request("HEAD", hostname, url, recvheader, header, content))
end

--- A `GET` request.
---@async
---@param hostname string
---@param url string
---@param recvheader table?
---@param header table?
---@param content string?
---@return integer status
---@return string body
function httpc.get(hostname, url, recvheader, header, content)
    return httpc.request("GET", hostname, url, recvheader, header, content)
end

local function escape(text)
    return (text:gsub("[^A-Za-z0-9_]", function(it) return string.format("%%%02X", it:byte()) end))
end

--- A `POST` request with the fields of a form.
---@async
---@param hostname string
---@param url string
---@param form table<string, any>
---@param recvheader table?
---@return integer status
---@return string body
function httpc.post(hostname, url, form, recvheader)
    local header = { ["content-type"] = "application/x-www-form-urlencoded" }
    local fields = {}
    for name, value in pairs(form) do
        fields[#fields + 1] = escape(tostring(name)) .. "=" .. escape(tostring(value))
    end
    return httpc.request("POST", hostname, url, recvheader, header, table.concat(fields, "&"))
end

--- As `request`, but the body comes in parts: `for part, stream in httpc.request_stream(…) do`.
---@async
---@param method string
---@param hostname string
---@param url string
---@param recvheader table?
---@param header table?
---@param content string?
---@return http.Stream
function httpc.request_stream(method, hostname, url, recvheader, header, content)
    local protocol, name, port, host = parse_host(hostname)
    local began = skynet.now()
    local interface = connect(protocol, name, port, began)
    local finish = deadline(interface, httpc.timeout, began)
    local ok, stream = pcall(function()
        local code, rest, fields = internal.request(interface, method, host, url, recvheader, header, content)
        if method == "HEAD" then fields = { ["content-length"] = "0" } end
        return internal.response_stream(interface, code, rest, fields)
    end)
    if not ok then
        finish()
        interface.close()
        error(stream, 0)
    end
    stream.onclose = function()
        finish()
        -- May be called by the collector, which must not wait.
        skynet.fork(interface.close)
    end
    return stream
end

return httpc
