local skynet = require "skynet"
require "skynet.manager"

local MESSAGES <const> = 1000000

skynet.start(function()
    local sink = skynet.newservice "sink"
    for number = 1, MESSAGES do
        skynet.send(sink, "lua", "put", number)
    end
    print("queued " .. MESSAGES)
    local received, in_order = skynet.call(sink, "lua", "sum")
    print(string.format("received %d %s", received, in_order and "in order" or "OUT OF ORDER"))
    skynet.abort()
end)
