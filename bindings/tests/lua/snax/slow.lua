-- Its init and exit take their time, and fail when told to.
local skynet = require "skynet"

local inits = 0

function init(fails)
    skynet.sleep(20)
    if fails then error "init on purpose" end
    inits = inits + 1
end

function exit(fails)
    if fails then error "exit on purpose" end
    skynet.sleep(2)
end

function response.inits() return inits end
