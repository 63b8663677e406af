--- Configuration that all services of the process read through proxies, which follow updates by themselves.
local skynet = require "skynet"
local corelib = require "skynet.sharedata.corelib"

local sharedata = {}

local service
skynet.init(function() service = skynet.uniqueservice "sharedatad" end)

---@type table<string, sharedata.Proxy>  proxies that are in use
local cache = setmetatable({}, { __mode = "v" })

--- Waits for the versions that come after the one of `proxy`, as long as somebody uses it.
---@async
local function monitor(name, proxy)
    local ptr = proxy.__obj
    -- The task itself must not be what keeps the proxy.
    local weak = setmetatable({ proxy }, { __mode = "v" })
    proxy = nil
    while true do
        local newer = skynet.call(service, "lua", "monitor", name, ptr)
        if newer == nil then break end
        local held = weak[1]
        if held then corelib.update(held, newer) end
        -- The answer counted on it.
        skynet.send(service, "lua", "confirm", newer)
        if not held then break end
        ptr = newer
    end
    if cache[name] == weak[1] then cache[name] = nil end
end

--- The data of this name. The same proxy as long as it is in use.
---@async
---@param name string
---@return sharedata.Proxy
function sharedata.query(name)
    if cache[name] then return cache[name] end
    local ptr = skynet.call(service, "lua", "query", name)
    -- Another task may have asked meanwhile.
    if cache[name] and cache[name].__obj == ptr then
        skynet.send(service, "lua", "confirm", ptr)
        return cache[name]
    end
    local proxy = corelib.box(ptr)
    skynet.send(service, "lua", "confirm", ptr)
    skynet.fork(monitor, name, proxy)
    cache[name] = proxy
    return proxy
end

--- Defines new data: a table, nothing, or Lua text or `@file`, which returns a table or defines globals.
---@async
---@param name string
---@param value table|string|nil
---@param ... any  arguments of the text
function sharedata.new(name, value, ...) skynet.call(service, "lua", "new", name, value, ...) end

--- Replaces data, or defines it.
---@async
---@param name string
---@param value table|string|nil
---@param ... any  arguments of the text
function sharedata.update(name, value, ...) skynet.call(service, "lua", "update", name, value, ...) end

--- Takes data away. Proxies keep what they have.
---@async
---@param name string
function sharedata.delete(name) skynet.call(service, "lua", "delete", name) end

--- Brings all proxies of this service up to date, and collects garbage.
function sharedata.flush()
    for _, proxy in pairs(cache) do
        corelib.flush(proxy)
    end
    collectgarbage()
    require("skein.share").scan()
end

--- A plain copy of the data, or of what is at a path in it; nil if there is nothing.
---@async
---@param name string
---@param ... any  keys
---@return any
function sharedata.deepcopy(name, ...)
    local ptr = skynet.call(service, "lua", "query", name)
    local ok, value = pcall(corelib.copy, ptr, ...)
    skynet.send(service, "lua", "confirm", ptr)
    if not ok then error(value, 0) end
    return value
end

return sharedata
