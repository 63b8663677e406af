-- Hears from the gate who comes and goes; gives each connection an agent.
local skynet = require "skynet"

local room = tonumber((...))
local gate
---@type table<integer, integer>
local agents = {}

local function release(fd)
    local agent = agents[fd]
    agents[fd] = nil
    if agent then
        skynet.call(gate, "lua", "kick", fd)
        skynet.send(agent, "lua", "disconnect")
    end
end

local notice = {}

function notice.open(fd, addr)
    local agent = skynet.newservice("agent", tostring(room))
    agents[fd] = agent
    skynet.call(agent, "lua", "start", { gate = gate, fd = fd, addr = addr })
end

notice.close = release
notice.error = release

function notice.warning(fd, kib)
    -- Who does not read what is said has to go before it fills the memory.
    if kib > 4096 then release(fd) end
end

-- Nothing is forwarded to us.
function notice.data() end

skynet.start(function()
    gate = skynet.newservice "gate"
    skynet.dispatch("lua", function(_, _, command, kind, ...)
        if command == "socket" then
            skynet.ignoreret()
            notice[kind](...)
        elseif command == "start" then
            skynet.retpack(skynet.call(gate, "lua", "open", kind))
        end
    end)
end)
