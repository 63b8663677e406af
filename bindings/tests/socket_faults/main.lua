--- A server that peers are to break: lines are sent back, requests answered. Its ports are the first two lines of the file `ports`.
local skynet = require "skynet"
local socket = require "skynet.socket"
local httpd = require "http.httpd"
local sockethelper = require "http.sockethelper"

--- As much as the peer lets us send.
local function flood(fd)
    local block = ("x"):rep(64 << 10)
    for _ = 1, 1000 do
        if not socket.write(fd, block) then return end
        skynet.yield()
    end
end

--- Connections that were made, of those to the first port.
local made = 0

--- The task that reads nothing until another connection says so.
local heedless

local function lines(fd)
    socket.start(fd)
    made = made + 1
    while true do
        local line = socket.readline(fd)
        if not line then break end
        if line == "sockets" then
            line = tostring(#socket.netstat())
        elseif line == "made" then
            line = tostring(made)
        elseif line == "flood" then
            flood(fd)
        elseif line == "ignore" then
            socket.write(fd, "for now\n")
            heedless = coroutine.running()
            skynet.wait(heedless)
        elseif line == "attend" then
            skynet.wakeup(heedless)
        end
        socket.write(fd, line .. "\n")
    end
    socket.close(fd)
end

local function request(fd)
    socket.start(fd)
    local code = httpd.read_request(sockethelper.readfunc(fd), 8192)
    if code then httpd.write_response(sockethelper.writefunc(fd), code, "hello\n") end
    socket.close(fd)
end

skynet.start(function()
    local ports = {}
    for i, serve in ipairs { lines, request } do
        local id, _, port = socket.listen("127.0.0.1", 0, 1024)
        socket.start(id, function(fd)
            -- Peers that go in the middle are what this is about.
            pcall(serve, fd)
        end)
        ports[i] = port
    end
    local file = assert(io.open("ports", "w"))
    file:write(ports[1], "\n", ports[2], "\nready\n")
    file:close()
end)
