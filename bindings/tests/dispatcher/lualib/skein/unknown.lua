--- Messages that nobody here knows what to do with. By default they are logged, and raise.
local core = require "skynet.core"

local string_format = string.format

local unknown = {}

local function raise(session, source) error(string_format("Unknown session : %s from %x", session, source)) end

--- A response nobody waits for.
function unknown.response(session, source, msg, sz)
    core.error(string_format("Response message : %s", core.tostring(msg, sz)))
    raise(session, source)
end

--- A send of a class nobody registered (its number), or that has no handler (its name).
function unknown.request(session, source, msg, sz, class)
    core.error(string_format("Unknown request (%s): %s", class, core.tostring(msg, sz)))
    raise(session, source)
end

--- Replaces what happens to a response nobody waits for.
---@param handler fun(session: integer, source: integer, msg: lightuserdata, sz: integer)
---@return function previous
function unknown.dispatch_unknown_response(handler)
    local previous = unknown.response
    unknown.response = handler
    return previous
end

--- Replaces what happens to a send that no class or handler takes.
---@param handler fun(session: integer, source: integer, msg: lightuserdata, sz: integer, class: string|integer)
---@return function previous
function unknown.dispatch_unknown_request(handler)
    local previous = unknown.request
    unknown.request = handler
    return previous
end

return unknown
