--- Asks the cache, and does not wait for ever.
local skynet = require "skynet"
local skein = require "skein"

local command = {}

function command.work(n) skynet.retpack(1 + skein.call_timeout(6000, ".cache", "lua", "square", n)) end

--- Keeps the request, and never answers it.
function command.never() skynet.wait(skynet.response()) end

skynet.start(function()
    skein.on_stop(function() skynet.error "the worker has put its work away" end)
    skynet.dispatch("lua", function(_, _, name, ...) command[name](...) end)
end)
