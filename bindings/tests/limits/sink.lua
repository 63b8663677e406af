-- Takes numbered messages and remembers whether they came in order.
local skynet = require "skynet"

local last, in_order = 0, true

skynet.start(function()
    skynet.dispatch("lua", function(_, _, command, number)
        if command == "put" then
            in_order = in_order and number == last + 1
            last = number
        else
            skynet.retpack(last, in_order)
        end
    end)
end)
