-- A service that does its work while it starts, and is gone then.
local skynet = require "skynet"

skynet.start(function() skynet.exit() end)
