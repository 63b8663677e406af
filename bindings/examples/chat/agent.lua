-- One client. Packets are lines of text: the first is a name, what follows is said in the room.
local skynet = require "skynet"
local socket = require "skynet.socket"

local room = tonumber((...))
local fd, name

local function tell(text) socket.write(fd, string.pack(">s2", text)) end

local function hear(text)
    if #text > 500 then
        tell "* that is too long"
    elseif not name then
        if not text:find "^%w+$" then
            tell "* a name consists of letters and digits"
            return
        end
        -- The client may hear of its arrival, and speak, before the room's answer is here.
        name = text
        if not skynet.call(room, "lua", "join", fd, text) then
            name = nil
            tell("* somebody is called " .. text .. " already")
        end
    else
        skynet.send(room, "lua", "say", name, text)
    end
end

skynet.register_protocol {
    name = "client",
    id = skynet.PTYPE_CLIENT,
    unpack = skynet.tostring,
    dispatch = function(_, _, text)
        skynet.ignoreret()
        hear(text)
    end,
}

local command = {}

function command.start(conf)
    fd = conf.fd
    skynet.call(conf.gate, "lua", "forward", fd)
    -- What is written before that is dropped.
    tell "* what is your name?"
    skynet.retpack()
end

function command.disconnect()
    if name then skynet.call(room, "lua", "leave", name) end
    skynet.exit()
end

skynet.start(function()
    skynet.dispatch("lua", function(_, _, what, ...) command[what](...) end)
end)
