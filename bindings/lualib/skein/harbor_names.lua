--- The global names that `.cslave` knows, be it the one of a network or of a single node, and who waits for others.
local skynet = require "skynet"

---@type table<string, integer>
local names = {}
---@type table<string, function[]>  replies to those who ask for a name that is not there yet
local queries = {}

local M = {}

skynet.register_protocol {
    name = "harbor",
    id = skynet.PTYPE_HARBOR,
    pack = function(...) return ... end,
    unpack = skynet.tostring,
}

--- The handle of a name.
---@param name string
---@return integer?
function M.handle(name) return names[name] end

--- A name has an owner: those who wait for it hear so.
---@param name string
---@param handle integer
function M.learn(name, handle)
    names[name] = handle
    for _, reply in ipairs(queries[name] or {}) do
        reply(true, handle)
    end
    queries[name] = nil
end

--- Tells the native `harbor` service whose a name is.
---@param harbor integer
---@param name string
---@param handle integer
function M.tell(harbor, name, handle) skynet.redirect(harbor, handle, "harbor", 0, "N " .. name) end

--- Answers the running request with the handle of a name, that of a `.local` one at once, as soon as it is known.
---@param name string
---@return boolean  it waits, as the first one
function M.answer(name)
    if name:sub(1, 1) == "." then
        skynet.retpack(skynet.localname(name))
        return false
    end
    local handle = names[name]
    if handle then
        skynet.retpack(handle)
        return false
    end
    local waiting = queries[name]
    if waiting then
        waiting[#waiting + 1] = skynet.response()
        return false
    end
    queries[name] = { skynet.response() }
    return true
end

return M
