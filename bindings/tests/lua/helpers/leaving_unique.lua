-- Leaves before its start is through.
local skynet = require "skynet"
skynet.start(function() skynet.exit() end)
