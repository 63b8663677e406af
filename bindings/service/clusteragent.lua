--- `clusteragent`, one for each connection of another node: its requests are called here, and answered as they come.
---
--- Arguments: `clusterd`, the gate, and the connection there. Each request has a task, so answers need not come in the order of requests;
--- they go to the socket directly. A frame that is none raises in its task, and the connection goes on.
local skynet = require "skynet"
local core = require "skynet.cluster.core"
local new_output = require "skein.cluster_output"

local clusterd, gate, fd = ...
clusterd, gate, fd = math.tointeger(clusterd), math.tointeger(gate), math.tointeger(fd)

local output = new_output(fd)

--- Large requests that are not complete, by session. Their first element is how many bytes they will have; nothing comes behind it when
--- what came does not fit.
---@type table<integer, { [integer]: any, address: integer|string|nil, push: boolean?, tag: string?, left: integer }>
local large = {}

--- The tag of the next request.
---@type string?
local trace_tag

------------------------------------------------------------------------------------------------------------------------ names

--- Handles of registered names, or who asks for one.
---@type table<string, integer|table>
local names = {}

--- The handle of a name without its `@`. Those who ask at the same time ask once.
---@async
---@param name string
---@return integer?
local function handle_of(name)
    local known = names[name]
    if math.type(known) == "integer" then return known end
    if known then
        local place = {}
        table.insert(known, place)
        skynet.wait(place)
        return place.handle
    end
    local asking = {}
    names[name] = asking
    local ok, handle = pcall(skynet.call, clusterd, "lua", "queryname", name)
    if not ok then handle = nil end
    -- Names may have changed meanwhile: then the answer is good for those who asked, and no longer.
    if names[name] == asking then names[name] = handle end
    for _, place in ipairs(asking) do
        place.handle = handle
        skynet.wakeup(place)
    end
    return handle
end

---------------------------------------------------------------------------------------------------------------------- answers

--- Sends a response. Large ones of different requests take turns.
local function respond(session, ok, message, size)
    local response = core.packresponse(session, ok, message, size)
    if type(response) == "string" then
        output:send(nil, response)
    else
        output:send(nil, response[1], response, 2)
    end
end

--- Says why a request failed, to who waits for an answer.
local function fail(session, push, why)
    if not push then respond(session, false, tostring(why)) end
end

---------------------------------------------------------------------------------------------------------------------- requests

--- Calls whom a request is for, and answers it.
---@async
local function serve(address, session, message, size, push, tag)
    if address == 0 then
        local ok, name = pcall(skynet.unpack, message, size)
        skynet.trash(message, size)
        local handle = ok and type(name) == "string" and handle_of(name)
        if handle then
            respond(session, true, skynet.packstring(handle))
        else
            fail(session, push, "name not found")
        end
        return
    end
    if core.isname(address) then
        local handle = handle_of(address:sub(2))
        if not handle then
            skynet.trash(message, size)
            return fail(session, push, "Invalid name")
        end
        address = handle
    end
    if push then
        skynet.rawsend(address, "lua", message, size)
        return
    end
    local ok, answer, length
    if tag then
        ok, answer, length = pcall(skynet.tracecall, tag, address, "lua", message, size)
    else
        ok, answer, length = pcall(skynet.rawcall, address, "lua", message, size)
    end
    if ok then
        respond(session, true, answer, length)
    else
        fail(session, false, answer)
    end
end

--- A part of a large request; with the last one it is served.
---@async
local function take_part(session, message, size, more)
    local request = large[session]
    if not request then
        if not more then
            skynet.trash(message, size)
            return fail(session, false, "Invalid name")
        end
        request = { left = -1 }
        large[session] = request
    end
    if request.left >= size then
        core.append(request, message, size)
        request.left = request.left - size
    else
        -- It is not kept: a total is only believed when that many bytes have come.
        request.left = -1
        skynet.trash(message, size)
    end
    if more then return end
    large[session] = nil
    local whole, length
    if request.left == 0 then
        whole, length = core.concat(request)
    end
    if not whole then return fail(session, request.push, "Invalid large req") end
    serve(request.address, session, whole, length, request.push, request.tag)
end

skynet.register_protocol {
    name = "client",
    id = skynet.PTYPE_CLIENT,
    unpack = function(message, size) return message, size end,
    dispatch = function(_, _, frame, length)
        -- The session is the connection: there is nobody to answer.
        skynet.ignoreret()
        local address, session, message, size, more, push = core.unpackrequest(frame, length)
        if session == nil then
            trace_tag = address
        elseif address == false then
            take_part(session, message, size, more)
        else
            local tag = trace_tag
            trace_tag = nil
            if more then
                large[session] = { size, address = address, push = push, tag = tag, left = size }
            else
                serve(address, session, message, size, push, tag)
            end
        end
    end,
}

----------------------------------------------------------------------------------------------------------------------- commands

local command = {}

--- The connection is over.
function command.exit() skynet.exit() end

--- Names mean something else now.
function command.namechange() names = {} end

--- Nothing waits in the socket any more.
function command.drained() output:pump() end

skynet.start(function()
    skynet.dispatch("lua", function(_, source, name, ...)
        skynet.ignoreret()
        local f = command[name]
        if f then
            f(...)
        else
            skynet.error(string.format("Invalid command %s from %s", tostring(name), skynet.address(source)))
        end
    end)
    -- It fails when the other side is gone already; then `exit` is on its way.
    pcall(skynet.call, gate, "lua", "forward", fd)
end)
