--- `clustersender`, one for each node that this one has to do with: requests and responses over one connection.
---
--- Arguments: the node, the name of this one, and where the node listens. Messages of requests come as light userdata inside of the
--- request, and are handed to the connection; responses go back as they came.
local skynet = require "skynet"
local link = require "skein.cluster_link"

local node, own_name, init_host, init_port = ...

local command = {}

--- A response is bytes already.
local function as_it_is(...) return ... end

--- Trace lines of both tags; the answer is the tag of the other side.
local function traced(tag, session)
    if tag:sub(1, 1) ~= "(" then
        local new = string.format("(%s-%s-%d)%s", own_name, node, session, tag)
        skynet.tracelog(tag, "session " .. new)
        tag = new
    end
    skynet.tracelog(tag, "cluster " .. node)
    return tag
end

--- A traced request is answered by its task, so that the trace tells of it.
---@async
local function traced_request(tag, source, address, message, size, ti)
    local response, length
    local answered, done, ok = {}, false, false
    local function answer(...)
        done, ok, response, length = true, ...
        skynet.wakeup(answered)
    end
    link.request(source, address, answer, message, size, ti, function(session) return traced(tag, session) end)
    if not done then skynet.wait(answered) end
    if ok then
        skynet.ret(response, length)
    else
        skynet.error(response)
        skynet.response()(false)
    end
end

---@async
function command.req(source, address, message, size, ti)
    local tag = skynet.tracetag()
    if tag then return traced_request(tag, source, address, message, size, ti) end
    local respond = skynet.response(as_it_is)
    local function answer(ok, response, length)
        if ok then
            respond(true, response, length)
        else
            skynet.error(response)
            respond(false)
        end
    end
    local ok, why = pcall(link.request, source, address, answer, message, size, ti)
    if not ok then answer(false, why) end
end

function command.push(source, address, message, size) link.push(source, address, message, size) end

--- Goes to another address, and connects; without one: ends the connection.
---@async
function command.changenode(_, host, port)
    if not host then
        skynet.error(string.format("Close cluster sender %s %s", link.host, link.port))
        link.change(false)
    else
        local ok = link.change(host, math.tointeger(tonumber(port)))
        if not ok then error "[Error: socket]" end
    end
    skynet.ret(skynet.pack(nil))
end

--- How the connection is.
function command.report() skynet.ret(skynet.pack(link.report())) end

skynet.start(function()
    link.host, link.port = init_host, math.tointeger(tonumber(init_port))
    skynet.dispatch("lua", function(_, source, name, ...)
        local f = assert(command[name], name)
        f(source, ...)
    end)
    skynet.info_func(link.report)
end)
