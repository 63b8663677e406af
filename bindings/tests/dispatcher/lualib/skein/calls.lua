--- Messages out of a service: send, call, and the answers to what came in.
local core = require "skynet.core"
local state = require "skein.state"

-- The stock one: it never suspends.
local require = require
local coroutine_yield = coroutine.yield
local core_send = core.send
local core_trace = core.trace

local PTYPE_RESPONSE <const> = state.PTYPE.RESPONSE
local PTYPE_ERROR <const> = state.PTYPE.ERROR
local PTYPE_TRACE <const> = state.PTYPE.TRACE

local NEAR_END = state.NEAR_END
local waiting = state.waiting
local session_of = state.session_of
local source_of = state.source_of
local call_target = state.call_target
local closures = state.closures
local tags = state.tags
local proto = state.proto

local calls = {}

--- `":%08x"` for a handle; other addresses as text.
---@param address skein.Address
---@return string
function calls.address(address)
    if type(address) == "number" then return string.format(":%08x", address) end
    return tostring(address)
end

------------------------------------------------------------------------------------------------------------------------ sending

--- Sends a message that wants no answer.
---@param address skein.Address
---@param typename string
---@param ... any
---@return integer|false|nil  0 when delivered; nothing when nobody is there; false when it is too large
function calls.send(address, typename, ...)
    local p = proto[typename]
    return core_send(address, p.id, 0, p.pack(...))
end

--- `send` of a string, or of a pointer whose block changes owner.
---@param address skein.Address
---@param typename string
---@param msg string|lightuserdata
---@param sz integer?
---@return integer|false|nil
function calls.rawsend(address, typename, msg, sz)
    local p = proto[typename]
    return core_send(address, p.id, 0, msg, sz)
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
        local task = state.running
        if p.id == PTYPE_RESPONSE then
            if state.forgotten then state.forgotten:drop(dest, session) end
        elseif task and session_of[task] == session and source_of[task] == source then
            session_of[task] = nil
        end
    end
    return sent
end

------------------------------------------------------------------------------------------------------------------------ calling

--- Raises at the line that called the function of this module; without such a line (`pcall(skynet.call, …)`) at its own, so that the
--- text always begins with a position, which programs strip.
local function raise(text)
    local caller = debug.getinfo(4, "l")
    error(text, caller and caller.currentline > 0 and 4 or 1)
end

--- Suspends until the answer to `session` is there.
---@async
local function await(address, session)
    if session > NEAR_END then state.careful = true end
    call_target[session] = address
    waiting[session] = state.running
    local ok, msg, sz = coroutine_yield "SUSPEND"
    call_target[session] = nil
    if not ok then raise "call failed" end
    return msg, sz
end

--- Tells the peer the tag that its next request from us carries.
local function send_tag(address, tag)
    core_trace(tag, "call", 3)
    core_send(address, PTYPE_TRACE, 0, tag)
end

--- A request could not be sent.
local function unsent(session, address)
    if session == false then
        raise "call of a message that is too large"
    elseif address ~= nil then
        raise("call to invalid address " .. calls.address(address))
    end
    raise "call to invalid address"
end

--- Sends a request and waits for its answer.
---@async
---@param address skein.Address
---@param typename string
---@param ... any
---@return any ...
function calls.call(address, typename, ...)
    local tag = tags[state.running]
    if tag then send_tag(address, tag) end
    local p = proto[typename]
    if state.careful then require("skein.sessions").clear_way() end
    local session = core_send(address, p.id, nil, p.pack(...))
    if not session then unsent(session, address) end
    return p.unpack(await(address, session))
end

--- `call` without packing and unpacking.
---@async
---@param address skein.Address
---@param typename string
---@param msg string|lightuserdata
---@param sz integer?
---@return lightuserdata msg, integer sz  valid until the task suspends
function calls.rawcall(address, typename, msg, sz)
    local tag = tags[state.running]
    if tag then send_tag(address, tag) end
    local p = proto[typename]
    if state.careful then require("skein.sessions").clear_way() end
    local session = core_send(address, p.id, nil, msg, sz)
    if not session then unsent(session) end
    local answer, size = await(address, session)
    return answer, size
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
    core_trace(tag, "tracecall begin")
    core_send(address, PTYPE_TRACE, 0, tag)
    local p = proto[typename]
    if state.careful then require("skein.sessions").clear_way() end
    local session = core_send(address, p.id, nil, msg, sz)
    if not session then unsent(session) end
    local answer, size = await(address, session)
    core_trace(tag, "tracecall end")
    return answer, size
end

---------------------------------------------------------------------------------------------------------------------- answering

--- Answers the request that the running task serves.
---@param msg string|lightuserdata|nil
---@param sz integer?
---@return boolean delivered
function calls.ret(msg, sz)
    msg = msg or ""
    local task = state.running
    local session = session_of[task]
    if not session then error("No session", 2) end
    session_of[task] = nil
    local tag = tags[task]
    if tag then core_trace(tag, "response") end
    if session == 0 then -- a send: nobody waits
        if sz ~= nil then core.trash(msg, sz) end
        return false
    end
    local source = source_of[task]
    local sent = core_send(source, PTYPE_RESPONSE, session, msg, sz)
    if sent == false then core_send(source, PTYPE_ERROR, session, "") end
    return sent and true or false
end

--- `ret(pack(...))`.
---@param ... any
---@return boolean delivered
function calls.retpack(...) return calls.ret(core.pack(...)) end

--- Session and source of the request that the running task serves.
---@return integer? session  nil once it is answered
---@return integer? source
function calls.context()
    local task = state.running
    return session_of[task], source_of[task]
end

--- The request of the running task will not be answered: its session means something else.
function calls.ignoreret()
    local task = state.running
    if task then session_of[task] = nil end
end

local function nobody_waits() end

--- Takes the answer out of the task: whoever calls the result answers the request, at any time, once.
---@param pack (fun(...): string|lightuserdata, integer?)?  `skynet.pack` by default
---@return fun(ok: boolean|"TEST", ...): boolean?  true when delivered, false when the caller is gone
function calls.response(pack)
    pack = pack or core.pack
    local task = state.running
    local session = session_of[task]
    if not session then error("no session", 2) end
    session_of[task] = nil
    if session == 0 then return nobody_waits end
    local source = source_of[task]

    local function reply(ok, ...)
        if ok == "TEST" then return closures[reply] ~= nil end
        if not pack then error("Can't response more than once", 2) end
        local delivered = false
        if closures[reply] then
            local sent
            if ok then
                sent = core_send(source, PTYPE_RESPONSE, session, pack(...))
                if sent == false then core_send(source, PTYPE_ERROR, session, "") end
            else
                sent = core_send(source, PTYPE_ERROR, session, "")
            end
            delivered = sent ~= nil
            closures[reply] = nil
        end
        pack = nil
        return delivered
    end

    closures[reply] = source
    return reply
end

return calls
