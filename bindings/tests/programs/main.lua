-- What real programs talk to: HTTP, HTTPS, WebSocket and lines. Ports go to the file `ports`; commands come as paths of HTTP.
local skynet = require "skynet"
require "skynet.manager"
local socket = require "skynet.socket"
local socketchannel = require "skynet.socketchannel"
local httpd = require "http.httpd"
local httpc = require "http.httpc"
local url = require "http.url"
local websocket = require "http.websocket"
local sockethelper = require "http.sockethelper"
local tlshelper = require "http.tlshelper"

local server_context = websocket.server_context()

--- Requests to Redis over one connection: the values of two commands that were sent at once.
local function redis(port)
    local channel = socketchannel.channel { host = "127.0.0.1", port = tonumber(port) }
    local function reply(sock)
        local line = sock:readline "\r\n"
        local kind, rest = line:sub(1, 1), line:sub(2)
        if kind == "+" or kind == ":" then return true, rest end
        if kind == "-" then return false, rest end
        local size = assert(tonumber(rest))
        return true, size >= 0 and sock:read(size + 2):sub(1, -3) or "nil"
    end
    local function call(...)
        local words = { "*" .. select("#", ...) }
        for _, word in ipairs { ... } do
            words[#words + 1] = "$" .. #word .. "\r\n" .. word
        end
        return channel:request(table.concat(words, "\r\n") .. "\r\n", reply)
    end
    local out = {}
    out[1] = call("SET", "key", ("v"):rep(100000))
    local left = 100
    for _ = 1, left do
        skynet.fork(function()
            call("INCR", "count")
            left = left - 1
        end)
    end
    while left > 0 do
        skynet.sleep(1)
    end
    out[2] = call("GET", "count")
    out[3] = tostring(#call("GET", "key"))
    local ok, err = pcall(call, "NONSENSE")
    out[4] = tostring(ok) .. " " .. tostring(err):match "unknown command"
    channel:close()
    return table.concat(out, " ")
end

---@type table<string, integer>
local ports = {}

--- A WebSocket over TLS to ourselves.
local function secure_echo(size)
    local id = websocket.connect("wss://localhost:" .. ports.wss .. "/")
    websocket.write(id, ("s"):rep(size), "binary")
    local same = websocket.read(id) == ("s"):rep(size)
    websocket.close(id)
    return tostring(same)
end

--- Answers a request.
local function answer(method, where, header, body)
    local path, query = url.parse(where)
    local fields = url.parse_query(query or "")
    if path == "/stop" then
        skynet.timeout(10, skynet.abort)
        return 200, "stopping\n"
    elseif path == "/large" then
        return 200, ("0123456789abcdef"):rep(65536)
    elseif path == "/fetch" then
        local ok, status, text = pcall(httpc.get, fields.host, fields.path)
        return 200, ok and status .. " " .. text or "failed: " .. tostring(status)
    elseif path == "/wss" then
        return 200, secure_echo(5) .. " " .. secure_echo(200000)
    elseif path == "/redis" then
        return 200, redis(fields.port)
    end
    return 200, ("%s %s %s %d %s\n"):format(method, path, header.host or "-", #body, body:sub(1, 40))
end

local echo = {}
function echo.message(id, data, format) websocket.write(id, data, format) end

local function serve_http(fd, read, write)
    local code, where, method, header, body = httpd.read_request(read, 1 << 20)
    if not code then return end
    if code ~= 200 then
        httpd.write_response(write, code)
    elseif header.upgrade then
        websocket.accept(fd, echo, "ws", "", { upgrade = { header = header, method = method, url = where } })
    else
        local ok, status, text = pcall(answer, method, where, header, body)
        httpd.write_response(write, ok and status or 500, ok and text or tostring(status))
    end
end

local serve = {}

function serve.http(fd)
    socket.start(fd)
    serve_http(fd, sockethelper.readfunc(fd), sockethelper.writefunc(fd))
    socket.close(fd)
end

function serve.https(fd)
    socket.start(fd)
    local tls = tlshelper.newtls("server", server_context)
    local ok, err = pcall(tlshelper.init_responsefunc(fd, tls))
    if ok then
        serve_http(fd, tlshelper.readfunc(fd, tls), tlshelper.writefunc(fd, tls))
    else
        skynet.error("no handshake:", err)
    end
    tls:close()
    socket.close(fd)
end

function serve.wss(fd) assert(websocket.accept(fd, echo, "wss")) end

function serve.lines(fd)
    socket.start(fd)
    local line = socket.readline(fd)
    while line do
        socket.write(fd, line:upper() .. "\n")
        line = socket.readline(fd)
    end
    socket.close(fd)
end

skynet.start(function()
    local out = {}
    for _, name in ipairs { "http", "https", "wss", "lines" } do
        local id, _, port = socket.listen("127.0.0.1", 0)
        socket.start(id, serve[name])
        ports[name] = port
        out[#out + 1] = name .. " " .. port
    end
    local file = assert(io.open("ports.new", "w"))
    file:write(table.concat(out, "\n"), "\nready\n")
    file:close()
    os.rename("ports.new", "ports")
end)
