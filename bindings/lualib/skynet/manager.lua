--- Adds to `skynet` what supervisors need: launching native modules, killing, naming, forwarding.
local skynet = require "skynet"
local core = require "skynet.core"
local lifecycle = require "skein.lifecycle"

--- The longest global name.
local NAME_LIMIT <const> = 16

--- Creates a service of a native module. Does not wait for its start, and the launcher does not know it.
---@param ... string|number  module and arguments
---@return integer? handle
function skynet.launch(...) return core.addresscommand("LAUNCH", table.concat({ ... }, " ")) end

--- Removes a service at once.
---@param name integer|string  handle, `":hex"` or `".name"`
function skynet.kill(name)
    if type(name) == "string" and name:sub(1, 1) == ":" then name = tonumber(name:sub(2), 16) or name end
    if type(name) == "number" then
        skynet.send(".launcher", "lua", "REMOVE", name, true)
        name = skynet.address(name)
    end
    core.command("KILL", name)
end

--- Removes every service; the process ends.
function skynet.abort() core.command "ABORT" end

--- A global name: to be told to the harbor.
local function register_globally(name, handle)
    assert(name:sub(1, 1) ~= ":" and #name < NAME_LIMIT and tonumber(name) == nil)
    skynet.send(".cslave", "lua", "REGISTER", name, handle)
end

--- Names this service.
---@param name string  `".local"`, or a global name
function skynet.register(name)
    if name:sub(1, 1) == "." then
        core.command("REG", name)
    else
        register_globally(name, skynet.self())
    end
end

--- Names a service.
---@param name string  `".local"`, or a global name
---@param handle integer
function skynet.name(name, handle)
    if name:sub(1, 1) == "." then
        core.command("NAME", name .. " " .. skynet.address(handle))
    else
        register_globally(name, handle)
    end
end

--- `skynet.start` for a proxy: messages of the classes in `map` arrive as class `map[ptype]`, and their blocks stay with the handler.
---@param map table<integer, integer>
---@param start_func async fun()
function skynet.forward_type(map, start_func)
    local dispatch = skynet.dispatch_message
    lifecycle.start_with(function(ptype, msg, sz, ...)
        local forwarded = map[ptype]
        if forwarded then return dispatch(forwarded, msg, sz, ...) end
        local ok, err = pcall(dispatch, ptype, msg, sz, ...)
        core.trash(msg, sz)
        if not ok then error(err, 0) end
    end, true, start_func)
end

--- `skynet.start` where each message first goes through `f`, whose results are dispatched.
---@param f fun(ptype: integer, msg: lightuserdata, sz: integer, session: integer, source: integer): ...
---@param start_func async fun()
function skynet.filter(f, start_func)
    local dispatch = skynet.dispatch_message
    lifecycle.start_with(function(...) dispatch(f(...)) end, nil, start_func)
end

--- Makes a service of the whole network the one that hears of every service's end.
---@async
---@param service string
---@param query boolean?  do not start it
---@return integer handle
function skynet.monitor(service, query)
    local monitor
    if query then
        monitor = skynet.queryservice(true, service)
    else
        monitor = skynet.uniqueservice(true, service)
    end
    assert(monitor, "Monitor launch failed")
    core.command("MONITOR", skynet.address(monitor))
    return monitor
end

return skynet
