--- What does a WebSocket message of 64 bytes cost that comes and goes back? The client's frames are made once, by hand, and 16 of them are
--- under way at any time, one on each connection.
local skynet = require "skynet"
local socket = require "skynet.socket"
local websocket = require "http.websocket"
local bench = require "bench"

local CONNECTIONS <const> = 16
local HANDSHAKE <const> = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    .. "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
-- A mask of zeros is a mask like others.
local FRAME <const> = "\x81\xc0\0\0\0\0" .. ("m"):rep(64)

local role, argument = ...

if role == "server" then
    local handle = {}
    function handle.message(id, data, format) websocket.write(id, data, format) end
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, fd)
            skynet.ignoreret()
            websocket.accept(fd, handle, "ws", "")
        end)
    end)
elseif role == "client" then
    local port = tonumber(argument)
    local connections = {}
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, command, count)
            if command == "connect" then
                for i = 1, count do
                    local fd = assert(socket.open("127.0.0.1", port))
                    socket.write(fd, HANDSHAKE)
                    assert(socket.readline(fd, "\r\n\r\n"))
                    connections[i] = fd
                end
            else
                bench.together(#connections, function(i)
                    local fd = connections[i]
                    for _ = 1, count do
                        socket.write(fd, FRAME)
                        assert(socket.read(fd, 66))
                    end
                end)
            end
            skynet.retpack()
        end)
    end)
else
    bench.start(function()
        local server = skynet.newservice("websockets", "server")
        local id
        local port = bench.port(function(port) id = socket.listen("127.0.0.1", port) end)
        socket.start(id, function(fd) skynet.send(server, "lua", fd) end)
        local client = skynet.newservice("websockets", "client", tostring(port))
        skynet.call(client, "lua", "connect", CONNECTIONS)
        bench.measure(
            "websocket_echo",
            CONNECTIONS,
            function(n) skynet.call(client, "lua", "run", n // CONNECTIONS) end
        )
    end)
end
