--- Keeps squares. At most a thousand requests wait for it; more fail at once.
local skynet = require "skynet"
local skein = require "skein"
require "skynet.manager"

local squares = {}
local command = {}

function command.square(n)
    squares[n] = squares[n] or n * n
    skynet.retpack(squares[n])
end

function command.crash()
    skynet.error "the cache ends"
    skynet.exit()
end

skynet.start(function()
    skein.set_mailbox(1000)
    skynet.dispatch("lua", function(_, _, name, ...) command[name](...) end)
    skynet.name(".cache", skynet.self())
end)
