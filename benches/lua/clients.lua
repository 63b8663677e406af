--- What does a request of a client cost that comes through a gate, is answered by its agent, and goes back? 64 clients, each with an agent
--- of its own; clients are tasks of two services of the same process, so the figure is for both ends.
local skynet = require "skynet"
local socket = require "skynet.socket"
local bench = require "bench"

local CLIENTS <const> = 64
local role, argument = ...

local function packet(text) return string.pack(">s2", text) end

local REQUEST <const> = packet(("q"):rep(62))

if role == "agent" then
    local gate = tonumber(argument)
    skynet.register_protocol {
        name = "client",
        id = skynet.PTYPE_CLIENT,
        unpack = skynet.tostring,
        dispatch = function(fd, _, text)
            skynet.ignoreret()
            socket.write(fd, packet(text))
        end,
    }
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, fd)
            skynet.call(gate, "lua", "forward", fd)
            skynet.retpack()
        end)
    end)
elseif role == "client" then
    local port = tonumber(argument)
    local connections = {}
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, command, count)
            if command == "connect" then
                for i = 1, count do
                    connections[i] = assert(socket.open("127.0.0.1", port))
                end
            else
                bench.together(#connections, function(i)
                    local fd = connections[i]
                    for _ = 1, count do
                        socket.write(fd, REQUEST)
                        assert(socket.read(fd, 64))
                    end
                end)
            end
            skynet.retpack()
        end)
    end)
else
    local agents = {}
    bench.start(function()
        local gate = skynet.newservice "gate"
        local free = {}
        for i = 1, CLIENTS do
            free[i] = skynet.newservice("clients", "agent", tostring(gate))
        end
        skynet.dispatch("lua", function(_, _, _, kind, fd)
            if kind == "open" then
                local agent = table.remove(free)
                skynet.call(agent, "lua", fd)
                agents[#agents + 1] = agent
            end
        end)
        local port = bench.port(function(port)
            local conf = { address = "127.0.0.1", port = port, maxclient = 1024, nodelay = true }
            skynet.call(gate, "lua", "open", conf)
        end)
        local clients = {}
        for i = 1, 2 do
            clients[i] = skynet.newservice("clients", "client", tostring(port))
            skynet.call(clients[i], "lua", "connect", CLIENTS // 2)
        end
        while #agents < CLIENTS do
            skynet.sleep(1)
        end
        bench.measure("gate_64", CLIENTS, function(n)
            bench.together(#clients, function(i) skynet.call(clients[i], "lua", "run", n // CLIENTS) end)
        end)
    end)
end
