--- `.cslave` of a single node: global names work within the process, and there is nobody to link to.
---
--- The native `harbor` service keeps messages to a name nobody registered yet; it learns the name from us and sends them on.
local skynet = require "skynet"
require "skynet.manager"

---@type table<string, integer>
local names = {}
---@type table<string, function[]>  replies to those who ask for a name that is not there yet
local queries = {}
---@type integer  native service
local harbor

local command = {}

function command.REGISTER(name, handle)
    assert(names[name] == nil)
    names[name] = handle
    for _, reply in ipairs(queries[name] or {}) do
        reply(true, handle)
    end
    queries[name] = nil
    skynet.redirect(harbor, handle, "harbor", 0, "N " .. name)
end

function command.QUERYNAME(name)
    if name:sub(1, 1) == "." then
        skynet.retpack(skynet.localname(name))
        return
    end
    local handle = names[name]
    if handle then
        skynet.retpack(handle)
        return
    end
    local waiting = queries[name] or {}
    queries[name] = waiting
    waiting[#waiting + 1] = skynet.response()
end

--- Every other node is down.
function command.LINK() skynet.ret() end

function command.CONNECT()
    skynet.error "Can't connect to other harbor in single node mode"
    skynet.response() -- kept, never used
end

skynet.register_protocol {
    name = "harbor",
    id = skynet.PTYPE_HARBOR,
    pack = function(...) return ... end,
    unpack = skynet.tostring,
}

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
