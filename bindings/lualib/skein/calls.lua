--- Messages out of a service, as far as native code does not send them.
local core = require "skynet.core"
local dispatch = require "skein.dispatch"

local proto = dispatch.proto()

local PTYPE_RESPONSE <const> = 1
local PTYPE_TRACE <const> = 12

local calls = {}

--- `":%08x"` for a handle; other addresses as text.
---@param address skein.Address
---@return string
function calls.address(address)
    if type(address) == "number" then return string.format(":%08x", address) end
    return tostring(address)
end

--- `send` of a string, or of a pointer whose block changes owner.
---@param address skein.Address
---@param typename string
---@param msg string|lightuserdata
---@param sz integer?
---@return integer|false|nil
function calls.rawsend(address, typename, msg, sz)
    local p = proto[typename]
    return core.send(address, p.id, 0, msg, sz)
end

--- A raw send in the name of another service. Passing on the request that is being served, with its session, hands over the
--- duty to answer it; so does answering a request by hand.
---@param dest skein.Address
---@param source integer  0: this service
---@param typename string
---@param session integer?  nil: a new one
---@param ... any  string, or pointer and size
---@return integer|false|nil
function calls.redirect(dest, source, typename, session, ...)
    local p = proto[typename]
    local sent = core.redirect(dest, source, p.id, session, ...)
    if sent and session and session ~= 0 then
        if p.id == PTYPE_RESPONSE then
            dispatch.answered(dest, session)
        else
            dispatch.handed_on(source, session)
        end
    end
    return sent
end

--- `rawcall` between two trace lines, with `tag` sent along.
---@async
---@param tag string
---@param address skein.Address
---@param typename string
---@param msg string|lightuserdata
---@param sz integer?
---@return lightuserdata msg, integer sz
function calls.tracecall(tag, address, typename, msg, sz)
    core.trace(tag, "tracecall begin")
    core.send(address, PTYPE_TRACE, 0, tag)
    local answer, size = dispatch.silentcall(address, typename, msg, sz)
    core.trace(tag, "tracecall end")
    return answer, size
end

return calls
