-- Fifty customers want lamps, and there are twenty: whoever asks, nobody gets one that another one got.
local skynet = require "skynet"
require "skynet.manager" -- for abort

local LAMPS <const> = 20
local CUSTOMERS <const> = 50

skynet.start(function()
    local stock = skynet.newservice "stock"
    local board = skynet.newservice "board"
    skynet.call(stock, "lua", "deliver", "lamp", LAMPS)

    local sold, late, left = 0, 0, CUSTOMERS
    for i = 1, CUSTOMERS do
        skynet.fork(function()
            if skynet.call(stock, "lua", "buy", "lamp", "customer " .. i) then
                sold = sold + 1
            else
                late = late + 1
            end
            left = left - 1
            if left == 0 then skynet.wakeup "closing time" end
        end)
    end
    skynet.wait "closing time"
    skynet.error("sold", sold, "of", LAMPS, "lamps;", late, "customers came too late")
    local buyers, count = skynet.call(stock, "lua", "report", "lamp")
    skynet.error(#buyers, "buyers are on record,", count, "lamps are left")
    -- The board hears it from Redis, as any other process would.
    skynet.error("the board says:", skynet.call(board, "lua", "news"))
    skynet.abort()
end)
