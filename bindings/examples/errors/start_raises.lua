-- A service that cannot start.
local skynet = require "skynet"

skynet.start(function() error "the start function raises" end)
