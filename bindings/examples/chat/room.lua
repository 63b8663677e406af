-- Who is here, and what they hear. A line is packed once, however many hear it.
local skynet = require "skynet"
local socket = require "skynet.socket"

---@type table<string, integer>
local members = {}

local function broadcast(text)
    local packet = string.pack(">s2", text)
    for _, fd in pairs(members) do
        socket.write(fd, packet)
    end
end

local command = {}

function command.join(fd, name)
    if members[name] then return false end
    members[name] = fd
    broadcast("* " .. name .. " is here")
    return true
end

function command.say(name, text)
    if members[name] then broadcast(name .. ": " .. text) end
end

function command.leave(name)
    members[name] = nil
    broadcast("* " .. name .. " has left")
    return true
end

function command.count()
    local count = 0
    for _ in pairs(members) do
        count = count + 1
    end
    return count
end

skynet.start(function()
    skynet.dispatch("lua", function(session, _, what, ...)
        local result = command[what](...)
        if session ~= 0 then skynet.retpack(result) end
    end)
end)
