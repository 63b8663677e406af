-- Requires another module that registers an init function, while it is loading.
local skynet = require "skynet"
local order = {}
skynet.init(function() order[#order + 1] = "outer" end)
local inner = require "mod_inner"
order[#order + 1] = "inner ready: " .. tostring(inner.ready)
return order
