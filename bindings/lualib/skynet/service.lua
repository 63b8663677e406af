--- Services that are named and defined by a Lua function instead of a file.
---
--- The function goes as bytecode to a fresh service (`service_cell`), so it can't bring local variables along: it requires what it needs.
local skynet = require "skynet"

local service = {}

---@type table<string, integer>  what we asked for before; a service closed by others stays here
local known = {}

local provider_handle
---@async
local function provider()
    provider_handle = provider_handle or skynet.uniqueservice "service_provider"
    return provider_handle
end

--- A function that can travel: no upvalue but the globals.
local function check(f)
    assert(type(f) == "function")
    assert(debug.getupvalue(f, 2) == nil)
    local name = debug.getupvalue(f, 1)
    assert(name == nil or name == "_ENV")
end

--- The service `name`; started with `f(...)` as its main chunk when there is none.
---@async
---@param name string
---@param f async fun(...)
---@param ... any
---@return integer handle
function service.new(name, f, ...)
    local handle, booting = skynet.call(provider(), "lua", "test", name)
    if not handle then
        if booting then
            handle = skynet.call(provider(), "lua", "query", name)
        else
            check(f)
            handle = skynet.call(provider(), "lua", "launch", name, string.dump(f), ...)
        end
    end
    known[name] = handle
    return handle
end

--- The service `name`, as soon as there is one.
---@async
---@param name string
---@return integer handle
function service.query(name)
    local handle = known[name]
    if not handle then
        handle = skynet.call(provider(), "lua", "query", name)
        known[name] = handle
    end
    return handle
end

--- Ends the service `name`.
---@async
---@param name string
---@return boolean closed  false when there is none, or it is still starting
function service.close(name)
    known[name] = nil
    local handle = skynet.call(provider(), "lua", "close", name)
    if handle then
        require "skynet.manager"
        skynet.kill(handle)
        return true
    end
    return false
end

return service
