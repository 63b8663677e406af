--! log: socket buffer overflow: fd=
--! log: Pause socket (
--! log: Resume socket (
-- Sockets between tasks of one service: reading, closing, limits, datagrams. Ids of checks are those of the specification.
local skynet = require "skynet"
require "skynet.manager"
local socket = require "skynet.socket"
local driver = require "skynet.socketdriver"
local check = require "check"

local listener, ip, port
local accepted = {}
local waiting

--- A connection within this service: the end that connected, and the one that was accepted, not started.
local function pair()
    local id = assert(socket.open(ip, port))
    while #accepted == 0 do
        waiting = coroutine.running()
        skynet.wait(waiting)
    end
    return id, table.remove(accepted, 1)
end

local function started()
    local id, peer = pair()
    check.eq("start", socket.start(peer), peer)
    return id, peer
end

local function raises(id, text, f, ...)
    local ok, err = pcall(f, ...)
    check.ok(id, not ok and tostring(err):find(text, 1, true), tostring(err))
end

local function opening()
    check.ok("K1", port > 0 and ip == "127.0.0.1")
    raises("K1", "Listen error", socket.listen, "127.0.0.1", port)
    local id, problem = socket.open("127.0.0.1", 1)
    check.ok("K2", id == nil and problem == "Connection refused", problem)
    raises("K2", "Invalid address not an address.", socket.open, "not an address")
    raises("K2", "Invalid port in address 127.0.0.1:x.", socket.open, "127.0.0.1:x")
    raises("K2", "Invalid port", socket.open, "127.0.0.1", 0)
    id = assert(socket.open("127.0.0.1:" .. port))
    local peer = table.remove(accepted, 1)
    while not peer do skynet.sleep(1) peer = table.remove(accepted, 1) end
    socket.close_fd(peer)
    check.eq("close_fd", socket.read(id), false)
    socket.close(id)
    id, problem = socket.start(12345678)
    check.ok("start of nobody", id == nil and problem == "invalid socket", problem)
    local a, b = started()
    raises("start twice", "socket is not closed", socket.start, a)
    socket.close(a)
    socket.close(b)
end

local function reading()
    local id, peer = started()
    socket.write(id, "one\ntwo\r\nabcdefrest")
    check.eq("K3", socket.readline(peer), "one")
    check.eq("K3", socket.readline(peer, "\r\n"), "two")
    check.eq("K3", socket.read(peer, 6), "abcdef")
    check.eq("K3", socket.read(peer), "rest")
    check.eq("K4", socket.disconnected(peer), false)
    socket.write(id, "xyz")
    socket.close(id)
    check.eq("K4", socket.disconnected(id), nil)
    check.eq("K4", socket.invalid(id), true)
    check.values("K3", table.pack(socket.read(peer, 10)), false, "xyz")
    check.values("K3", table.pack(socket.read(peer)), false, "")
    check.values("K3", table.pack(socket.readline(peer)), false, "")
    check.eq("K3", socket.readall(peer), false)
    check.eq("K4", socket.disconnected(peer), true)
    check.eq("block", socket.block(peer), false)
    socket.close(peer)
    socket.close(peer)
    raises("K6", "assertion failed", socket.read, peer)
    check.eq("block of nobody", socket.block(peer), false)
end

local function one_reader()
    local id, peer = started()
    skynet.fork(function() check.eq("K7", socket.read(peer), "late") end)
    skynet.yield()
    raises("K7", "assertion failed", socket.read, peer)
    raises("K7", "assertion failed", socket.readline, peer)
    socket.write(id, "late")
    skynet.sleep(5)
    socket.close(id)
    socket.close(peer)
end

local function writing()
    local id, peer = started()
    for _, data in ipairs { "text", 12, 1.5, { "a", 1, "b" }, {}, "" } do
        check.eq("K8", socket.write(id, data), true)
    end
    check.eq("K8", socket.write(id, driver.str2p "block"), true)
    check.eq("K8", socket.write(id, setmetatable({}, { __index = function(_, i) return i < 4 and "i" .. i or nil end })), true)
    check.eq("K8", socket.lwrite(id, "\n"), true)
    check.eq("K8", socket.readline(peer), "text121.5a1bblocki1i2i3")
    raises("K8", "string expected, got nil", socket.write, id, nil)
    raises("K8", "string expected, got boolean", socket.write, id, true)
    raises("K8", "string expected, got table", socket.write, id, { "a", {} })
    check.eq("K5", socket.write(12345678, "x"), false)
    socket.close(peer)
    skynet.sleep(2)
    check.eq("K5", socket.disconnected(id), true)
    check.eq("K5", socket.write(id, "first"), true)
    for _ = 1, 100 do
        if not socket.write(id, "more") then break end
        skynet.sleep(1)
    end
    check.eq("K5", socket.write(id, "never"), false)
    socket.close(id)
end

local function limits()
    local id, peer = started()
    socket.limit(peer, 1000)
    socket.write(id, ("x"):rep(2000))
    check.values("K9", table.pack(socket.readline(peer)), false, ("x"):rep(2000))
    socket.close(peer)
    socket.close(id)
end

local function closing()
    local id, peer = started()
    local order = {}
    skynet.fork(function()
        local ok, rest = socket.readline(peer)
        order[#order + 1] = "reader"
        check.values("K10", table.pack(ok, rest), false, "half a line")
    end)
    skynet.yield()
    socket.write(id, "half a line")
    skynet.sleep(5)
    local hooked = {}
    socket.onclose(peer, function(it) hooked[#hooked + 1] = it end)
    socket.close(peer)
    order[#order + 1] = "closer"
    check.eq("K10", table.concat(order, " "), "reader closer")
    skynet.sleep(1)
    check.ok("K11", #hooked == 1 and hooked[1] == peer)
    socket.close(id)
    -- What was written is still sent.
    id, peer = started()
    local text = ("0123456789"):rep(1000000)
    socket.warning(id, function() end)
    socket.write(id, text)
    socket.close(id)
    local all = {}
    while true do
        local data = socket.read(peer)
        if not data then break end
        all[#all + 1] = data
    end
    check.ok("close sends", table.concat(all) == text)
    socket.close(peer)
    id, peer = started()
    socket.shutdown(id)
    check.eq("shutdown", socket.read(id), false)
    socket.close(id)
    socket.close(peer)
end

local function pausing()
    local id, peer = started()
    local text = ("abcdefgh"):rep(100000)
    socket.write(id, text)
    skynet.sleep(10)
    local got = socket.read(peer, #text)
    check.ok("paused and resumed", got == text)
    socket.pause(peer)
    socket.write(id, "more\n")
    check.eq("pause", socket.readline(peer), "more")
    -- A large text to its end; differs: skynet waits for ever.
    if check.skein then
        skynet.fork(function()
            socket.write(id, text)
            socket.close(id)
        end)
        check.ok("readall", socket.readall(peer) == text)
    end
    socket.close(peer)
    socket.close(id)
end

local function warnings()
    local id, peer = started()
    local seen = {}
    socket.warning(id, function(it, kib) seen[#seen + 1] = kib end)
    socket.pause(peer)
    for _ = 1, 16 do
        socket.write(id, ("x"):rep(1 << 20))
    end
    for _ = 1, 16 do
        socket.read(peer, 1 << 20)
    end
    skynet.sleep(5)
    check.ok("warning", #seen > 1 and seen[1] >= 1024 and seen[1] < 2048 + 1024 and seen[#seen] == 0, table.concat(seen, " "))
    socket.close(id)
    socket.close(peer)
end

local function handing_over()
    local id, peer = pair()
    local agent = skynet.newservice("socket_agent")
    check.eq("handed over", skynet.call(agent, "lua", "serve", peer), peer)
    socket.write(id, "hello\n")
    check.eq("handed over", socket.readline(id), "agent: hello")
    -- A service that ends closes what it has.
    skynet.send(agent, "lua", "exit")
    check.values("closed with its service", table.pack(socket.readline(id)), false, "")
    socket.close(id)
    id, peer = started()
    socket.abandon(peer)
    check.eq("abandon", socket.invalid(peer), true)
    agent = skynet.newservice("socket_agent")
    check.eq("abandoned", skynet.call(agent, "lua", "serve", peer), peer)
    socket.write(id, "again\n")
    check.eq("abandoned", socket.readline(id), "agent: again")
    skynet.send(agent, "lua", "exit")
    socket.close(id)
end

local function datagrams()
    for _, host in ipairs { "127.0.0.1", "::1" } do
        local server
        local udp = 20000 + skynet.self() % 1000 + (skynet.starttime() * 7919 + skynet.now()) % 20000
        server = socket.udp_listen(host, udp, function(data, from)
            check.eq("K13", (socket.udp_address(from)), host)
            socket.sendto(server, from, "re " .. data)
        end)
        local me, got = coroutine.running(), nil
        local client = socket.udp_dial(host, udp, function(data)
            got = data
            skynet.wakeup(me)
        end)
        check.eq("K13", socket.write(client, "ping"), true)
        skynet.wait(me)
        check.eq("K13", got, "re ping")
        socket.close(client)
        client = socket.udp(function(data)
            got = data
            skynet.wakeup(me)
        end, host, 0)
        socket.udp_connect(client, host, udp)
        socket.write(client, { "a", "b" })
        skynet.wait(me)
        check.eq("K13", got, "re ab")
        socket.close(client)
        socket.close(server)
    end
    raises("K13", "Invalid udp address", socket.udp_address, "short")
    raises("K13", "udp listen host failed", socket.udp_listen, "127.0.0.1", 0, print)
end

local function the_rest()
    check.eq("K12", socket.header "\1\2", 258)
    raises("K12", "Invalid read ", socket.header, "")
    local found = false
    for _, it in ipairs(socket.netstat()) do
        if it.id == listener then
            found = true
            check.ok("netstat", it.type == "LISTEN" and it.address == skynet.self() and it.sock == ip .. ":" .. port)
        end
    end
    check.ok("netstat", found)
    check.eq("resolve", socket.resolve("127.0.0.1")[1], "127.0.0.1")
    -- Nothing is left but the listener.
    skynet.sleep(5)
    local mine = 0
    for _, it in ipairs(socket.netstat()) do
        if it.address == skynet.self() then mine = mine + 1 end
    end
    check.eq("nothing left", mine, 1)
end

--- One of the locals that a function of the library uses.
local function upvalue(f, name)
    for i = 1, math.huge do
        local found, value = debug.getupvalue(f, i)
        assert(found, name)
        if found == name then return value end
    end
end

--- How many events of a usual connection reach the handler of the class.
local function handled()
    local class = skynet._proto.socket
    local before, handler, calls = class.direct, class.dispatch, 0
    class.dispatch = function(...)
        calls = calls + 1
        return handler(...)
    end
    if before then
        class.direct = driver.direct(
            class.dispatch,
            class.unpack,
            upvalue(socket.start, "socket_pool"),
            upvalue(socket.start, "close_hooks"),
            upvalue(socket.readline, "pool"),
            128 * 1024
        )
    end
    local id, peer = started()
    socket.write(id, "a line\n")
    check.eq("handled", socket.readline(peer), "a line")
    socket.close(id)
    check.eq("handled", socket.read(peer), false)
    socket.close(peer)
    class.direct, class.dispatch = before, handler
    return calls
end

--- A handler that somebody puts in front of the library's sees all events.
local function handlers_in_front()
    local class = skynet._proto.socket
    local handler, kinds = class.dispatch, {}
    class.dispatch = function(session, source, kind, ...)
        kinds[#kinds + 1] = kind
        return handler(session, source, kind, ...)
    end
    local id, peer = started()
    socket.write(id, "x")
    check.eq("in front", socket.read(peer), "x")
    socket.close(id)
    socket.close(peer)
    class.dispatch = handler
    table.sort(kinds)
    check.eq("in front", table.concat(kinds, " "), "1 2 2 3 3 4")
end

local function everything()
    opening()
    reading()
    one_reader()
    writing()
    limits()
    closing()
    pausing()
    warnings()
    handing_over()
    datagrams()
    the_rest()
end

check.run("socket", function()
    listener, ip, port = socket.listen("127.0.0.1", 0)
    socket.start(listener, function(id)
        accepted[#accepted + 1] = id
        local co = waiting
        if co then
            waiting = nil
            skynet.wakeup(co)
        end
    end)
    everything()
    if check.skein then
        handlers_in_front()
        check.eq("a connection that is taken is the handler's", handled(), 1)
        -- The handler and what is done in its place do the same.
        skynet._proto.socket.direct = nil
        check.eq("all events are the handler's", handled(), 6)
        everything()
    end
end)
