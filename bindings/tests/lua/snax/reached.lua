-- A snax service for other nodes.
local snax = require "skynet.snax"

local count = 0

function init(first)
    count = math.tointeger(first)
    snax.enablecluster()
end

function accept.add(n) count = count + n end

function response.get() return count end
