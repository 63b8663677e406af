-- Answers what it is asked, and nothing else.
local skynet = require "skynet"

skynet.start(function()
    skynet.dispatch("lua", function(_, _, ...)
        skynet.retpack(...)
    end)
end)
