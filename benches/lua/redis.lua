--- What does a client of Redis cost? GETs in pipelines, GETs of many tasks over one connection, large values, long arrays; the server is a
--- process of its own.
local skynet = require "skynet"
local socket = require "skynet.socket"
local redis = require "skynet.db.redis"
local bench = require "bench"

local PIPELINE <const> = 100
local TASKS <const> = 64
local ELEMENTS <const> = 1000

--- Starts a server, which ends when it is told to, and in any case some time later. The connection to it.
local function start()
    local port
    port = bench.port(function(it)
        -- Raises where somebody listens already.
        local id = assert(socket.listen("127.0.0.1", it))
        socket.close(id)
    end)
    os.execute("timeout 100 redis-server --port " .. port .. " --bind 127.0.0.1 --save '' >/dev/null &")
    for _ = 1, 500 do
        local ok, db = pcall(redis.connect, { host = "127.0.0.1", port = port })
        if ok then return db end
        skynet.sleep(2)
    end
    error "no redis-server"
end

bench.start(function()
    local db = start()
    local value = ("v"):rep(64)
    db:set("small", value)
    db:set("large", ("l"):rep(64 << 10))
    local ops = {}
    for i = 1, PIPELINE do
        ops[i] = { "GET", "small" }
    end
    bench.measure("redis_pipeline", PIPELINE, function(n)
        for _ = 1, n // PIPELINE do
            local replies = db:pipeline(ops, {})
            assert(#replies == PIPELINE and replies[PIPELINE].out == value)
        end
    end)
    bench.measure("redis_tasks", TASKS, function(n)
        bench.together(TASKS, function()
            for _ = 1, n // TASKS do
                assert(db:get "small" == value)
            end
        end)
    end)
    bench.measure("redis_large", 8, function(n)
        for _ = 1, n do
            assert(#db:get "large" == 64 << 10)
        end
    end)
    local rows = { "rows" }
    for i = 1, ELEMENTS do
        rows[i + 1] = "row number " .. i
    end
    db:rpush(rows)
    bench.measure("redis_range", ELEMENTS, function(n)
        for _ = 1, n // ELEMENTS do
            assert(#db:lrange("rows", 0, -1) == ELEMENTS)
        end
    end)
    pcall(db.shutdown, db, "NOSAVE")
end)
