-- Hears what is published in Redis, and tells it to whoever asks.
local skynet = require "skynet"
local redis = require "skynet.db.redis"

local heard
local waiting = {}

--- Waits for messages, for ever: a connection that is lost is made anew, with its subscriptions.
local function listen(watch)
    while true do
        local ok, text = pcall(watch.message, watch)
        if ok then
            heard = text
            for at, response in ipairs(waiting) do
                response(true, heard)
                waiting[at] = nil
            end
        end
    end
end

skynet.start(function()
    local server = { host = "127.0.0.1", port = tonumber(skynet.getenv "redis_port") }
    local watch = redis.watch(server)
    watch:subscribe "shop:news"
    -- Nothing that is published from now on is missed: the server says that somebody listens.
    local db = redis.connect(server)
    while db:pubsub("NUMSUB", "shop:news")[2] == 0 do
        skynet.sleep(1)
    end
    db:disconnect()
    skynet.fork(listen, watch)
    -- Asked before there is news, the answer comes with it.
    skynet.dispatch("lua", function()
        if heard then
            skynet.retpack(heard)
        else
            waiting[#waiting + 1] = skynet.response()
        end
    end)
end)
