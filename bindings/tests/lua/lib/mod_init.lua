-- A module that wants something done before it is used.
local skynet = require "skynet"
local M = { args = { ... }, steps = {} }
skynet.init(function()
    skynet.sleep(2)
    M.steps[#M.steps + 1] = "first"
end)
skynet.init(function() M.steps[#M.steps + 1] = "second" end)
return M
