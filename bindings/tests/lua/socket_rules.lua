--! log: socket: error on
--! log: Connection reset by peer
--! log: socket: drop package from
--! log: socket: drop udp package from
--! log: K bytes need to send out (fd =
-- Rules of sockets that `socket.lua` is not about: in which order tasks run, what stale ids and hooks do, what is logged.
local skynet = require "skynet"
require "skynet.manager"
local socket = require "skynet.socket"
local driver = require "skynet.socketdriver"
local check = require "check"

local listener, port
local accepted = {}
local on_accept

--- A connection within this service: the end that connected, and the one that was accepted, not started.
local function pair()
    local id = assert(socket.open("127.0.0.1", port))
    for _ = 1, 500 do
        if #accepted > 0 then break end
        skynet.sleep(1)
    end
    return id, assert(table.remove(accepted, 1))
end

local function started()
    local id, peer = pair()
    assert(socket.start(peer))
    return id, peer
end

--- Waits until `f` says something.
local function eventually(id, f)
    for _ = 1, 1000 do
        local found = f()
        if found then return found end
        skynet.sleep(1)
    end
    check.ok(id, false, "never")
end


local function accepting()
    -- A task for each, begun in order; one that waits holds up nobody.
    local began, ended = {}, {}
    function on_accept(id)
        began[#began + 1] = id
        if #began == 1 then skynet.sleep(20) end
        ended[#ended + 1] = id
    end
    local ids = {}
    for i = 1, 3 do
        ids[i] = assert(socket.open("127.0.0.1", port))
    end
    eventually("accepted", function() return #ended == 3 end)
    on_accept = nil
    check.ok("accepted in order", began[1] < began[2] and began[2] < began[3])
    check.ok("a task for each", ended[1] == began[2] and ended[3] == began[1])
    for i = 1, 3 do
        socket.close_fd(began[i])
        socket.close(ids[i])
    end
end

local function starting()
    local id, peer = started()
    check.raises("close_fd of a known id", "Use socket.close instead", socket.close_fd, peer)
    -- The peer is gone, and nobody here knows the id any more: it can't be started again.
    socket.close(id)
    check.eq("peer gone", socket.read(peer), false)
    socket.abandon(peer)
    check.values("start after the end", table.pack(socket.start(peer)), nil, "socket closed")
    socket.close_fd(peer)
    check.values("start after close", table.pack(socket.start(peer)), nil, "invalid socket")
    id, peer = pair()
    socket.onclose(peer, function() end)
    check.raises("a stale hook", "socket has onclose callback", socket.start, peer)
    socket.onclose(peer, nil)
    check.eq("without it", socket.start(peer), peer)
    socket.close(peer)
    socket.close(id)
end

local function reading()
    local id, peer = started()
    local got
    skynet.fork(function() got = table.pack(socket.read(peer, 0)) end)
    skynet.yield()
    socket.write(id, "some")
    eventually("read of 0", function() return got end)
    check.values("read of 0", got, false, "some")
    got = nil
    skynet.fork(function() got = table.pack(socket.block(peer)) end)
    skynet.yield()
    check.eq("block waits", got, nil)
    socket.write(id, "thing")
    eventually("block", function() return got end)
    check.values("block", got, true)
    check.eq("block takes nothing", socket.read(peer), "thing")
    -- A separator of several bytes that comes in pieces.
    skynet.fork(function() got = table.pack(socket.readline(peer, "\r\n\r\n")) end)
    for _, piece in ipairs { "one\r", "\n", "two\r\n", "\r", "\nrest" } do
        got = nil
        socket.write(id, piece)
        skynet.sleep(2)
    end
    eventually("separator", function() return got end)
    check.values("separator", got, "one\r\ntwo")
    check.eq("behind it", socket.read(peer), "rest")
    -- What came before the end is read after it, in whatever way.
    socket.write(id, "line\nnumber" .. "the rest")
    socket.close(id)
    eventually("end", function() return socket.disconnected(peer) end)
    check.eq("line after the end", socket.readline(peer), "line")
    check.eq("bytes after the end", socket.read(peer, 6), "number")
    check.eq("all after the end", socket.readall(peer), "the rest")
    check.eq("nothing after all", socket.readall(peer), false)
    socket.close(peer)
    -- readall that waits gets all.
    id, peer = started()
    got = nil
    skynet.fork(function() got = table.pack(socket.readall(peer)) end)
    socket.write(id, "a")
    skynet.sleep(2)
    socket.write(id, "b")
    socket.close(id)
    eventually("readall", function() return got end)
    check.values("readall", got, "ab")
    socket.close(peer)
end

local function limits()
    local id, peer = started()
    socket.limit(peer, 100)
    local got
    skynet.fork(function() got = socket.read(peer, 5000) end)
    skynet.yield()
    socket.write(id, ("x"):rep(5000))
    eventually("limit", function() return got ~= nil end)
    check.eq("a read of more than the limit", got, ("x"):rep(5000))
    -- Nobody reads: it is closed, and what came is there.
    socket.write(id, ("y"):rep(200))
    eventually("limit", function() return socket.disconnected(peer) end)
    check.values("over the limit", table.pack(socket.readline(peer)), false, ("y"):rep(200))
    check.eq("the peer sees it", socket.read(id), false)
    socket.close(peer)
    socket.close(id)
end

local function closing()
    -- The hook runs once when the peer closes, and not again for our own close.
    local id, peer = started()
    local hooked = 0
    socket.onclose(peer, function() hooked = hooked + 1 end)
    socket.close(id)
    eventually("hook", function() return hooked > 0 end)
    socket.close(peer)
    skynet.sleep(2)
    check.eq("hooked once", hooked, 1)
    -- A task that reads hears of a shutdown, and of an id that is given away.
    for _, how in ipairs { "shutdown", "abandon" } do
        id, peer = started()
        local got
        skynet.fork(function() got = table.pack(pcall(socket.readline, peer)) end)
        skynet.yield()
        socket[how](peer)
        eventually(how, function() return got end)
        check.values(how .. " wakes the reader", got, true, false, "")
        check.eq(how .. " and the id", socket.invalid(peer), how == "abandon")
        socket.close(peer)
        if how == "abandon" then socket.close_fd(peer) end
        check.eq(how .. " at the peer", socket.read(id), false)
        socket.close(id)
    end
    -- skynet's closes a moment later.
    eventually("write after close", function() return not socket.write(id, "x") end)
    if check.skein then check.eq("low write after close", socket.lwrite(id, "x"), false) end
    check.eq("close again", socket.close(id), nil)
    check.eq("shutdown of nobody", socket.shutdown(id), nil)
    check.eq("pause of nobody", socket.pause(id), nil)
    check.eq("abandon of nobody", socket.abandon(id), nil)
end

--- A peer that goes with bytes unread goes with a reset.
local function resets()
    local id, peer = pair()
    local got, full
    socket.warning(id, function() full = true end)
    -- So much that it has arrived.
    for _ = 1, 16 do
        socket.write(id, ("x"):rep(1 << 20))
    end
    skynet.fork(function() got = table.pack(socket.read(id, 10)) end)
    eventually("full", function() return full end)
    socket.close_fd(peer)
    eventually("reset", function() return got end)
    check.values("reset", got, false, "")
    check.eq("reset", socket.disconnected(id), true)
    socket.close(id)
end

--- Events of ids that the service never started, and of datagrams without a callback.
local function strangers()
    local id = driver.connect("127.0.0.1", port)
    local peer = eventually("stranger", function() return table.remove(accepted, 1) end)
    socket.start(peer)
    socket.write(peer, "to a stranger")
    skynet.sleep(5)
    socket.close(peer)
    -- Its close event closes the id.
    eventually("closed", function()
        for _, it in ipairs(socket.netstat()) do
            if it.id == id then return false end
        end
        return true
    end)
    -- A connection to a listener without a callback is closed.
    local deaf = driver.listen("127.0.0.1", 0)
    local its_port
    driver.start(deaf)
    its_port = eventually("listed", function()
        for _, it in ipairs(socket.netstat()) do
            if it.id == deaf then return tonumber(it.sock:match ":(%d+)$") end
        end
    end)
    id = socket.open("127.0.0.1", its_port)
    check.eq("nobody accepts", socket.read(id), false)
    socket.close(id)
    driver.close(deaf)
    -- Datagrams.
    local server, got
    local function answer(_, from)
        got = true
        socket.sendto(server, from, "to a stranger")
    end
    local at
    for _ = 1, 100 do
        at = 20000 + math.random(20000)
        local ok, its = pcall(socket.udp_listen, "127.0.0.1", at, answer)
        server = ok and its
        if ok then break end
    end
    id = driver.udp_dial("127.0.0.1", at)
    check.eq("udp", driver.send(id, "ask"), true)
    eventually("udp", function() return got end)
    skynet.sleep(5)
    driver.close(id)
    check.raises("udp port", "udp init failed", socket.udp, print, "no such host", 1)
    check.raises("udp dial", "udp dial host failed", socket.udp_dial, "no such host", 1, print)
    check.raises("udp listen", "udp listen host failed", socket.udp_listen, "no such host", 1, print)
    check.raises("udp connect", "udp connect failed", socket.udp_connect, server, "no such host", 1)
    check.raises("udp connect of nobody", "udp connect failed", driver.udp_connect, 12345678, "127.0.0.1", 1)
    check.eq("udp to nobody", socket.sendto(12345678, "\1\0\1\127\0\0\1", "x"), false)
    check.eq("udp to a wrong family", socket.sendto(server, "\3\0\1\127\0\0\1", "x"), false)
    socket.close(server)
end

--- Without a callback a full socket is told of in the log.
local function warnings()
    local id, peer = pair()
    for _ = 1, 8 do
        socket.write(id, ("x"):rep(1 << 20))
    end
    skynet.sleep(5)
    socket.shutdown(id)
    socket.close(id)
    socket.close_fd(peer)
end

check.run("socket_rules", function()
    listener, _, port = socket.listen("127.0.0.1", 0)
    socket.start(listener, function(id)
        if on_accept then return on_accept(id) end
        accepted[#accepted + 1] = id
    end)
    accepting()
    starting()
    reading()
    limits()
    closing()
    resets()
    strangers()
    warnings()
end)
