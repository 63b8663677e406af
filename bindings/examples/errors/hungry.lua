-- Takes memory until it may not have more.
local skynet = require "skynet"

skynet.memlimit(8 << 20)

local function eat()
    local eaten = {}
    while true do
        eaten[#eaten + 1] = string.rep("x", 4096) .. #eaten
    end
end

local CMD = {
    eat = eat,
    eat_carefully = function() return pcall(eat) end,
}

skynet.start(function()
    skynet.dispatch("lua", function(_, _, name) skynet.retpack(CMD[name]()) end)
end)
