--- `clusteragent`, one for each connection of another node: its requests are called here, and answered as they come.
---
--- Arguments: `clusterd`, the gate, and the connection there. Each request has a task, so answers need not come in the order of requests;
--- they go to the socket directly. A frame that is none raises in its task, and the connection goes on.
local skynet = require "skynet"
local core = require "skynet.cluster.core"
local native = require "skein.cluster"
local new_inbound = require "skein.cluster_inbound"
local new_output = require "skein.cluster_output"

local clusterd, gate, fd = ...
clusterd, gate, fd = math.tointeger(clusterd), math.tointeger(gate), math.tointeger(fd)

local output = new_output(fd)

--- Large requests that are not complete.
local inbound = new_inbound()

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

--- A response of more bytes goes in parts.
local LARGE <const> = 0x8000

--- Sends a response. Large ones of different requests take turns.
local function respond(session, ok, message, size)
    if ok and size > LARGE then
        message, size = native.keep(message, size)
        output:large(nil, native.announce(nil, session, size), message, size, session, true)
    else
        output:send(nil, core.packresponse(session, ok, message, size))
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
            local answer = skynet.packstring(handle)
            respond(session, true, answer, #answer)
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

local NO_ROOM <const> = "Too many unfinished large requests"

--- The other side begins more than it finishes.
local function hang_up()
    skynet.error(string.format("cluster connection %d: %s", fd, NO_ROOM))
    skynet.send(gate, "lua", "kick", fd)
end

--- A large request begins.
local function begin(session, request, size)
    local taken = inbound:begin(session, request, size)
    if taken == nil then
        hang_up()
    elseif not taken then
        fail(session, request.push, NO_ROOM)
    end
end

--- A part of a large request; with the last one it is served.
---@async
local function take_part(session, message, size, more)
    local request, whole, length = inbound:part(session, message, size, more)
    if request == false then
        hang_up()
    elseif whole then
        serve(request.address, session, whole, length, request.push, request.tag)
    elseif request then
        fail(session, request.push, length or NO_ROOM)
    end
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
                begin(session, { address = address, push = push, tag = tag }, size)
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
