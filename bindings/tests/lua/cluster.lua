-- Clusters within one process, which calls itself: G1 to G7, and our additions.
--! log: Register [main] :00000008
--! log: Unregister [second]
--! log: Invalid name
--! log: name not found
--! log: cluster node [nowhere] is absent.
--! log: Config nowaiting = true
--! log: Waiting for cluster node [later]
--! log: Cluster node [later] resolved : 127.0.0.1:
--! log: Close cluster sender 127.0.0.1:
--! log: : call failed
--! no-log: unknown session
local skynet = require "skynet"
local cluster = require "skynet.cluster"
local check = require "check"
require "skynet.manager"

--- A port that was free a moment ago: not all of skynet tells which one it took for a node.
local function free_port()
    local socket = require "skynet.socket"
    local id, _, port = socket.listen("127.0.0.1", 0)
    socket.close(id)
    return port
end

local pushed = {}
local handlers = {
    echo = function(...) return ... end,
    fail = function() error "failed" end,
    length = function(text) return #text end,
    slow = function(ti, ...)
        skynet.sleep(ti)
        return ...
    end,
}

local function listening(address)
    -- G1
    check.values("G1", table.pack(cluster.open "db"), "db", nil)
    local host, port = cluster.open(0)
    check.eq("G1", host, "0.0.0.0")
    check.ok("G1", port > 0)
    check.raises("G1", "call failed", cluster.open, "nowhere")
    check.raises("G1", "call failed", cluster.open, "down")
    check.raises("G1", "call failed", cluster.reload, { wrong = 1 })
    check.eq("address", address ~= nil, true)
end

local function names(me)
    -- G2, G3, G6
    cluster.register "main"
    check.values("G2 @name", table.pack(cluster.call("db", "@main", "echo", 1, nil, "x", nil)), 1, nil, "x", nil)
    check.values("G2 handle", table.pack(cluster.call("db", me, "echo", 2)), 2)
    skynet.register ".here"
    check.values("G2 .name", table.pack(cluster.call("db", ".here", "echo", 3)), 3)
    check.values("G2 :hex", table.pack(cluster.call("db", skynet.address(me), "echo", 3)), 3)
    skynet.register "HERE"
    check.values("G2 global", table.pack(cluster.call("db", "HERE", "echo", 4)), 4)
    check.eq("query", cluster.query("db", "main"), me)

    check.raises("G3 unknown", "call failed", cluster.call, "db", "@nobody", "echo")
    check.raises("G3 failing", "call failed", cluster.call, "db", "@main", "fail")
    check.raises("G3 query", "call failed", cluster.query, "db", "nobody")
    check.raises("G3 dead", "call failed", cluster.call, "db", 0xfffff0, "echo")
    check.raises("names have 255 bytes", "call failed", cluster.call, "db", "@" .. ("x"):rep(255), "echo")
    check.values("and then", table.pack(cluster.call("db", "@main", "echo", 5)), 5)

    check.raises("G6 taken", "call failed", cluster.register, "main", 1)
    check.raises("G6 taken", "call failed", cluster.register, "main")
    cluster.register "second"
    check.raises("a handle has one name", "call failed", cluster.call, "db", "@main", "echo")
    check.values("and that is", table.pack(cluster.call("db", "@second", "echo", 6)), 6)
    cluster.unregister "second"
    cluster.unregister "second"
    check.raises("G6", "call failed", cluster.call, "db", "@second", "echo")
    cluster.register "main"
    check.values("G6", table.pack(cluster.call("db", "@main", "echo", 7)), 7)
    check.raises("types", "", cluster.register, 1)
    check.raises("types", "", cluster.register, "x", "y")
    check.raises("types", "", cluster.unregister, 1)
end

local function nodes(address)
    -- G4
    local nobody = "dest address type (nil) must be a string or number."
    check.raises("G4 absent", nobody, cluster.call, "nowhere", "@main", "echo")
    check.raises("G4 down", nobody, cluster.call, "down", "@main", "echo")
    check.raises("G4 refused", nobody, cluster.call, "refused", "@main", "echo")
    check.values("G4 send", table.pack(cluster.send("nowhere", "@main", "echo")))
    check.values("G4 send", table.pack(cluster.send("down", "@main", "echo")))
    check.eq("no sender", cluster.get_sender "down", nil)
    check.ok("a sender", math.type(cluster.get_sender "db") == "integer")

    cluster.reload { __nowaiting = false }
    skynet.timeout(5, function() cluster.reload { later = address } end)
    check.values("a node that comes", table.pack(cluster.call("later", "@main", "echo", 8)), 8)
    skynet.timeout(5, function() cluster.reload { never = false } end)
    check.raises("and one that does not", nobody, cluster.call, "never", "@main", "echo")
    skynet.timeout(5, function() cluster.reload { __nowaiting = true } end)
    check.raises("or is not waited for", nobody, cluster.call, "ever", "@main", "echo")

    cluster.reload { later = false }
    check.raises("G4 disabled", "call failed", cluster.call, "later", "@main", "echo")
    check.values("G4 send", table.pack(cluster.send("later", "@main", "echo")))
    cluster.reload { later = address }
    skynet.sleep(10)
    check.values("and back", table.pack(cluster.call("later", "@main", "echo", 9)), 9)
end

local function proxies(me)
    -- G5
    local proxy = cluster.proxy "db@main"
    check.values("G5", table.pack(skynet.call(proxy, "lua", "echo", 1, nil)), 1, nil)
    check.raises("G5", "call failed", skynet.call, proxy, "lua", "fail")
    check.eq("G5 once", cluster.proxy("db", "@main"), proxy)
    check.values("G5 handle", table.pack(skynet.call(cluster.proxy("db", me), "lua", "echo", 2)), 2)
    check.values("G5 .name", table.pack(skynet.call(cluster.proxy "db.here", "lua", "echo", 3)), 3)
    check.raises("G5", "call failed", cluster.proxy, "db")
    check.raises("G5", "call failed", cluster.proxy, "nowhere", "@main")
    for i = 1, 20 do
        skynet.send(proxy, "lua", "push", i)
    end
    skynet.call(proxy, "lua", "echo")
    check.eq("G5 send", table.concat(pushed, " ", #pushed - 19), "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20")

    local snax = require "skynet.snax"
    local object = snax.uniqueservice("reached", 5)
    local remote = cluster.snax("db", "reached")
    remote.post.add(2)
    check.eq("snax request", remote.req.get(), 7)
    check.eq("snax by address", cluster.snax("db", "reached", object.handle).req.get(), 7)
end

local function sizes(me)
    -- G7
    for _, size in ipairs { 0, 0x7ff0, 0x7fff, 0x8000, 0x8001, 0x10000, 0x10001, 100 << 10, 3 << 20 } do
        -- The string has a head of some bytes: both sides of every limit come.
        for less = 0, 8, 4 do
            local text = ("0123456789abcdef"):rep(size // 16 + 1):sub(1, math.max(size - less, 0))
            check.ok("G7 name", cluster.call("db", "@main", "echo", text) == text, tostring(#text))
            check.ok("G7 handle", cluster.call("db", me, "echo", text) == text, tostring(#text))
            check.eq("G7 up", cluster.call("db", me, "length", text), #text)
            pushed = {}
            cluster.send("db", "@main", "push", text)
            cluster.send("db", me, "push", text)
            while #pushed < 2 do
                skynet.sleep(1)
            end
            check.ok("G7 send", pushed[1] == text and pushed[2] == text, tostring(#text))
        end
    end
end

--- Several large calls and small ones at once, each with its own answer.
local function mixed(me)
    local left, fine = 40, true
    local done = {}
    for i = 1, left do
        skynet.fork(function()
            local text = string.char(64 + i):rep(i % 4 == 0 and 1000000 or i * 3000)
            fine = fine and cluster.call("db", i % 2 == 0 and me or "@main", "echo", text) == text
            left = left - 1
            if left == 0 then skynet.wakeup(done) end
        end)
    end
    skynet.wait(done)
    check.ok("many at once", fine)
end

--- What one service sends arrives in its order, large and small, and while the connection is being made.
local function order(address, me)
    cluster.reload { fresh = address }
    pushed = {}
    for i = 1, 300 do
        cluster.send("fresh", me, "push", i)
    end
    check.values("a call behind", table.pack(cluster.call("fresh", me, "echo", 0)), 0)
    local sorted = #pushed == 300
    for i = 1, #pushed do
        sorted = sorted and pushed[i] == i
    end
    check.ok("in order from the first on", sorted, table.concat(pushed, " "))
    if not check.skein then return end
    pushed = {}
    for i = 1, 60 do
        cluster.send("fresh", me, "push", i % 3 == 0 and ("%06d"):format(i):rep(50000) or ("%06d"):format(i))
    end
    cluster.call("fresh", me, "echo", 0)
    sorted = #pushed == 60
    for i = 1, #pushed do
        sorted = sorted and tonumber(pushed[i]:sub(1, 6)) == i
    end
    check.ok("large ones are not passed", sorted)
end

--- Ours: a call that waits for so long and no longer.
local function deadlines(me)
    check.values("in time", table.pack(cluster.call_timeout(6000, "db", me, "echo", 1, nil)), 1, nil)
    local begin = skynet.now()
    check.raises("too late", "the deadline has passed", cluster.call_timeout, 10, "db", me, "slow", 100, 1)
    check.ok("not before", skynet.now() - begin >= 10)
    check.raises("fails as others", "call failed", cluster.call_timeout, 6000, "db", me, "fail")
    cluster.reload { __nowaiting = false }
    check.raises("a node that never comes", "the deadline has passed", cluster.call_timeout, 5, "late", me, "echo")
    cluster.reload { __nowaiting = true }
    -- Its answer comes behind all of that, and is not an unknown one.
    check.values("the late answer is dropped", table.pack(cluster.call("db", me, "slow", 150, 2)), 2)
    local to, from = cluster.links()
    check.eq("state", to.db.state, "up")
    check.eq("late", to.db.late, 1)
    check.eq("drops", to.db.drops, 0)
    check.ok("from", next(from) ~= nil)
end

check.run("cluster", function()
    local me = skynet.self()
    skynet.dispatch("lua", function(session, _, name, ...)
        if name == "push" then
            pushed[#pushed + 1] = ...
            return
        end
        skynet.retpack(handlers[name](...))
    end)
    local address = "127.0.0.1:" .. free_port()
    local closed = "127.0.0.1:" .. free_port()
    cluster.reload { __nowaiting = true, db = address, down = false, refused = closed }
    listening(address)
    names(me)
    nodes(address)
    proxies(me)
    sizes(me)
    mixed(me)
    order(address, me)
    if check.skein then deadlines(me) end
end)
