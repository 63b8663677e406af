-- Keeps the stock in Redis. All tasks share one connection, and their commands are on the way at the same time.
local skynet = require "skynet"
local redis = require "skynet.db.redis"

---@type skynet.redis.Client
local db

--- Takes one piece, if there is one, and writes down who got it: one step for everybody who uses the server.
local TAKE <const> = [[
    local left = tonumber(redis.call("GET", KEYS[1]) or 0)
    if left < 1 then return -1 end
    redis.call("RPUSH", KEYS[2], ARGV[1])
    return redis.call("DECR", KEYS[1])
]]

local function keys(goods) return "shop:" .. goods .. ":left", "shop:" .. goods .. ":buyers" end

local command = {}

--- So many pieces are there from now on.
function command.deliver(goods, count)
    local left, buyers = keys(goods)
    -- Both at once: a pipeline sends several commands, and reads their replies together.
    db:pipeline { { "SET", left, count }, { "DEL", buyers } }
    return true
end

--- Whether the customer got one.
function command.buy(goods, customer)
    local left, buyers = keys(goods)
    local count = db:eval(TAKE, 2, left, buyers, customer)
    if count == 0 then db:publish("shop:news", goods .. "s are sold out") end
    return count >= 0
end

--- Who bought, and how many are left.
function command.report(goods)
    local left, buyers = keys(goods)
    return db:lrange(buyers, 0, -1), tonumber(db:get(left))
end

skynet.start(function()
    db = redis.connect { host = "127.0.0.1", port = tonumber(skynet.getenv "redis_port") }
    skynet.dispatch("lua", function(_, _, name, ...) skynet.retpack(command[name](...)) end)
end)
