-- A unique service whose start takes a while.
local skynet = require "skynet"
skynet.start(function() skynet.sleep(3) end)
