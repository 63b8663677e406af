--- `.cslave` of a single node: global names work within the process, and there is nobody to link to.
---
--- The native `harbor` service keeps messages to a name nobody registered yet; it learns the name from us and sends them on.
local skynet = require "skynet"
local names = require "skein.harbor_names"
require "skynet.manager"

---@type integer  native service
local harbor

local command = {}

function command.REGISTER(name, handle)
    assert(names.handle(name) == nil)
    names.learn(name, handle)
    names.tell(harbor, name, handle)
end

function command.QUERYNAME(name) names.answer(name) end

--- Every other node is down.
function command.LINK() skynet.ret() end

function command.CONNECT()
    skynet.error "Can't connect to other harbor in single node mode"
    skynet.response() -- kept, never used
end

--- The harbor asks for names it does not know; it hears of them when they are registered.
skynet.register_protocol {
    name = "text",
    id = skynet.PTYPE_TEXT,
    unpack = skynet.tostring,
    dispatch = function() end,
}

skynet.dispatch("lua", function(_, _, name, ...)
    local f = assert(command[name], name)
    f(...)
end)

skynet.start(function()
    local id = tonumber(skynet.getenv "harbor")
    assert(id == 0)
    harbor = assert(skynet.launch("harbor", id, skynet.self()))
end)
