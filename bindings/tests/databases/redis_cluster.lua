-- The client of a Redis cluster: three masters and a replica, put together here by commands to each.
local skynet = require "skynet"
require "skynet.manager"
local check = require "check"
local order = require "order"
local redis = require "skynet.db.redis"
local rediscluster = require "skynet.db.redis.cluster"
local crc16 = require "skynet.db.redis.crc16"

local ports, buses = {}, {}
for i = 1, 4 do
    ports[i] = tonumber(skynet.getenv("node" .. i))
    buses[i] = tonumber(skynet.getenv("bus" .. i))
end

--- Waits for something that others have to do.
local function wait(what, done)
    for _ = 1, 3000 do
        if done() then return end
        skynet.sleep(2)
    end
    error(what .. " did not happen")
end

--- Makes one cluster of the nodes: a third of the slots for each of the first three, the fourth a replica of the first.
local function build()
    local nodes, ids = {}, {}
    for i = 1, 4 do
        nodes[i] = redis.connect { host = "127.0.0.1", port = ports[i] }
        ids[i] = nodes[i]:cluster "myid"
    end
    local bounds = { { 0, 5460 }, { 5461, 10922 }, { 10923, 16383 } }
    for i = 1, 3 do
        nodes[i]:cluster("addslotsrange", bounds[i][1], bounds[i][2])
        nodes[i]:cluster("set-config-epoch", i)
    end
    for i = 2, 4 do
        nodes[1]:cluster("meet", "127.0.0.1", ports[i], buses[i])
    end
    wait("that they meet", function()
        for i = 1, 4 do
            local text = nodes[i]:cluster "nodes"
            for j = 1, 4 do
                if not text:find(ids[j] .. " 127", 1, true) then return false end
            end
            if text:find("handshake", 1, true) then return false end
        end
        return true
    end)
    nodes[4]:cluster("replicate", ids[1])
    wait("that the cluster is fine", function()
        for i = 1, 4 do
            if not nodes[i]:cluster("info"):find("cluster_state:ok", 1, true) then return false end
            if select(2, nodes[i]:cluster("nodes"):gsub("slave", "")) ~= 1 then return false end
        end
        return nodes[4]:info("replication"):find("master_link_status:up", 1, true)
    end)
    return nodes, ids
end

local function check_slots(c)
    check.eq("crc", crc16 "123456789", 0x31C3)
    check.eq("crc", crc16 "", 0)
    check.eq("slot", c:keyslot "123456789", 0x31C3)
    check.eq("tag", c:keyslot "a{123456789}b", 0x31C3)
    check.eq("first tag", c:keyslot "{123456789}{b}", 0x31C3)
    check.eq("empty tag", c:keyslot "{}x", crc16 "{}x" % 16384)
    check.eq("open tag", c:keyslot "{x", crc16 "{x" % 16384)
    check.eq("a number", c:keyslot(12), c:keyslot "12")
    local node = redis.connect { host = "127.0.0.1", port = ports[1] }
    for _, key in ipairs { "a", "{tag}more", "foo{}{bar}", "foo{{bar}}zap", ("x"):rep(1000) } do
        check.eq("as the server counts", c:keyslot(key), node:cluster("keyslot", key))
    end
    node:disconnect()
    check.eq("key", c:get_key_from_command { "get", "k" }, "k")
    check.eq("key", c:get_key_from_command { "EVAL", "return 1", 2, "{a}1", "{a}2", 3 }, "{a}1")
    check.eq("key", c:get_key_from_command { "object", "encoding", "k" }, "k")
    check.eq("key", c:get_key_from_command { "info" }, nil)
end

local function check_commands(c)
    for i = 1, 100 do
        check.eq("set", c:set("key" .. i, i), "OK")
    end
    for i = 1, 100 do
        check.eq("get", c:get("key" .. i), tostring(i))
    end
    check.eq("exists", c:exists "key5", true)
    check.eq("a table", c:mset { "{t}a", 1, "{t}b", 2 }, "OK")
    check.eq("a table", table.concat(c:mget("{t}a", "{t}b"), ","), "1,2")
    check.eq("call", c:call("incr", "{t}a"), 2)
    check.eq("call", c:call { "incr", "{t}a" }, 3)
    check.eq("eval", c:eval("return redis.call('get', KEYS[1]) .. ARGV[1]", 1, "{t}a", "!"), "3!")
    check.eq("eval without keys", c:eval("return 7", 0), 7)
    check.raises("slots", "eval - all keys must map to the same key slot", c.eval, c, "return 1", 2, "a", "b")
    check.raises("slots", "CROSSSLOT", c.mget, c, "a", "b")
    check.raises("type", "WRONGTYPE", c.lpush, c, "key1", 1)
    for _, name in ipairs { "info", "multi", "exec", "slaveof", "config", "shutdown" } do
        check.raises(name, "No way to dispatch this command to Redis Cluster: " .. name, c[name], c)
    end
    local left, wrong = 200, 0
    for i = 1, left do
        skynet.fork(function()
            if c:get("key" .. i % 100 + 1) ~= tostring(i % 100 + 1) then wrong = wrong + 1 end
            left = left - 1
        end)
    end
    wait("200 tasks", function() return left == 0 end)
    check.eq("tasks", wrong, 0)
    check.eq("random", c:get_random_connection():ping(), "PONG")
    check.eq("by slot", c:get_connection_by_slot(c:keyslot "key7"):get "key7", "7")
    local count = 0
    for _ in pairs(c.connections) do
        count = count + 1
    end
    check.ok("a connection for each node at most", count <= 4)
end

local function check_redirections(c, nodes, ids)
    local slot = c:keyslot "moved"
    local right = c.slots[slot]
    local wrong
    for other = 0, 16383, 5461 do
        if c.slots[other][1].name ~= right[1].name then wrong = c.slots[other] end
    end
    -- Who believes in another owner is told.
    c.slots[slot] = wrong
    check.eq("moved", c:set("moved", "there"), "OK")
    check.eq("learned", c.slots[slot][1].name, right[1].name)
    c:flush_slots_cache()
    check.eq("flushed", c:get "moved", "there")
    -- A slot on its way: what is not there any more is asked for elsewhere, once.
    local from, to
    for i = 1, 3 do
        if right[1].port == ports[i] then
            from = i
        elseif wrong[1].port == ports[i] then
            to = i
        end
    end
    nodes[to]:cluster("setslot", slot, "importing", ids[from])
    nodes[from]:cluster("setslot", slot, "migrating", ids[to])
    check.eq("still there", c:get "moved", "there")
    check.eq("asked", c:set("{moved}new", "on its way"), "OK")
    check.eq("asked", c:get "{moved}new", "on its way")
    check.eq("no news of the slot", c.slots[slot][1].name, right[1].name)
    nodes[from]:migrate("127.0.0.1", ports[to], "moved", 0, 5000)
    for _, at in ipairs { to, from } do
        nodes[at]:cluster("setslot", slot, "node", ids[to])
    end
    -- The node that is asked for the slots may not have heard of it yet.
    wait("the slot's move", function()
        check.eq("moved for good", c:get "moved", "there")
        return c.slots[slot][1].port == ports[to]
    end)
end

local function check_messages(c, heard)
    c:subscribe("news", "more")
    c:psubscribe "w.*"
    local publisher = redis.connect { host = "127.0.0.1", port = ports[2] }
    local function publish(channel, text, key)
        -- Nobody tells who hears it on other nodes; what counts is that it comes.
        wait(text, function()
            publisher:publish(channel, text)
            skynet.sleep(2)
            return heard[key]
        end)
    end
    publish("news", "one", "one news nil")
    publish("more", "two", "two more nil")
    publish("w.x", "three", "three w.x w.*")
    c:unsubscribe "news"
    publisher:disconnect()
end

local function check_replicas()
    local reader = rediscluster.new({ host = "127.0.0.1", port = ports[2] }, { read_slave = true, max_connections = 2 })
    for i = 1, 100 do
        check.eq("write", reader:set("r" .. i, i), "OK")
    end
    wait("that all of it is copied", function()
        for i = 1, 100 do
            if reader:get("r" .. i) ~= tostring(i) then return false end
        end
        return true
    end)
    local count = 0
    for _ in pairs(reader.connections) do
        count = count + 1
    end
    check.ok("no more connections than allowed", count <= 2)
    reader:close_all_connection()
    check.eq("closed", next(reader.connections), nil)
end

check.run("redis_cluster", function()
    local nodes, ids = build()
    local heard = {}
    local c = rediscluster.new(
        { { host = "127.0.0.1", port = 1 }, { host = "127.0.0.1", port = ports[1] } },
        {},
        function(data, channel, pattern) heard[data .. " " .. channel .. " " .. tostring(pattern)] = true end
    )
    check_slots(c)
    check_commands(c)
    check_redirections(c, nodes, ids)
    check_messages(c, heard)
    check_replicas()

    -- The first master dies, and its replica takes over.
    local key
    for i = 1, 10000 do
        key = "f" .. i
        if c.slots[c:keyslot(key)][1].port == ports[1] then break end
    end
    c:set(key, "survives")
    wait("the copy", function()
        nodes[4]:readonly()
        return nodes[4]:get(key) == "survives"
    end)
    order "kill node1"
    local value
    wait("the replica's election", function()
        local ok, got = pcall(c.get, c, key)
        value = ok and got
        return ok
    end)
    check.eq("failed over", value, "survives")
    check.eq("failed over", c.slots[c:keyslot(key)][1].port, ports[4])
    check.eq("write", c:set(key, 2), "OK")

    -- A slot whose node is gone for good.
    order "kill node4"
    check.raises("gone", "Too many Cluster redirections?,maybe node is disconnected (last error: ", c.get, c, key)
    check.raises("no node", "Can't reach a single startup node.", rediscluster.new, { host = "127.0.0.1", port = 1 })
    c:close_all_connection()
end)
