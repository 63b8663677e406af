--- Services of other nodes, by name: `cluster.call(node, address, ...)`.
---
--- A *node* is a name of the cluster's configuration. An *address* there is a handle, `".name"`, a global name, or `"@name"` for what was
--- given to `cluster.register`. What one service sends to a node goes out in the order in which it was said, also while the connection is
--- being made.
local skynet = require "skynet"

---@type integer
local clusterd

local cluster = {}

--- `clustersender` of nodes.
---@type table<string, integer>
local senders = {}

---@class skein.cluster.Place
---@field send (fun(sender: integer?))?  what to do in its turn; without it a task waits
---@field come boolean?  it is its turn
---@field sender integer?
---@field gone boolean?  it waits no more

--- Who waits for the sender of a node, in order.
---@type table<string, skein.cluster.Place[]>
local places = {}

--- Lets those who wait go on, one behind the other: nobody passes them before the last one has.
local function serve(node, sender)
    local list = places[node]
    while true do
        local place = table.remove(list, 1)
        if not place then break end
        if place.send then
            place.send(sender)
        elseif not place.gone then
            place.come, place.sender = true, sender
            skynet.wakeup(place)
            -- It runs when we suspend, and sends before it does.
            skynet.yield()
        end
    end
    places[node] = nil
    senders[node] = sender
end

--- A place in the line of a node.
---@return skein.cluster.Place
local function line_up(node, send)
    local place = { send = send }
    local list = places[node]
    if list then
        table.insert(list, place)
    else
        places[node] = { place }
        skynet.fork(function()
            local ok, sender = pcall(skynet.call, clusterd, "lua", "sender", node)
            if not ok then skynet.error(sender) end
            serve(node, ok and sender or nil)
        end)
    end
    return place
end

--- The service of this node that sends to `node`; nothing if it can't be reached.
---@async
---@param node string
---@return integer?
function cluster.get_sender(node)
    local sender = senders[node]
    if sender then return sender end
    local place = line_up(node)
    skynet.wait(place)
    return place.sender
end

--- Sends a request that is packed, once there is a sender.
---@async
local function call_packed(node, address, message, size)
    local sender = cluster.get_sender(node)
    if not sender then skynet.trash(message, size) end
    return skynet.call(sender, "lua", "req", address, message, size)
end

--- Calls a service of another node. Raises when the call fails there, when nobody has the name, or when the connection is lost.
---@async
---@param node string
---@param address integer|string
---@param ... any
---@return any ...
function cluster.call(node, address, ...)
    local sender = senders[node]
    if sender then return skynet.call(sender, "lua", "req", address, skynet.pack(...)) end
    return call_packed(node, address, skynet.pack(...))
end

--- As `call`, but raises when there is no answer after `ti`. What was not sent by then never is; what was may be executed there.
---@async
---@param ti integer  1/100 s
---@param node string
---@param address integer|string
---@param ... any
---@return any ...
function cluster.call_timeout(ti, node, address, ...)
    local message, size = skynet.pack(...)
    local limit = skynet.now() + ti
    local sender = senders[node]
    if not sender then
        local place = line_up(node)
        skynet.sleep(ti, place)
        place.gone = not place.come
        sender = place.sender
        if place.gone then
            skynet.trash(message, size)
            error(string.format("cluster.call to %s: the deadline has passed", node), 2)
        end
        if not sender then skynet.trash(message, size) end
        ti = math.max(limit - skynet.now(), 1)
    end
    local answer = table.pack(pcall(skynet.call, sender, "lua", "req", address, message, size, ti))
    if answer[1] then return table.unpack(answer, 2, answer.n) end
    if skynet.now() >= limit then
        error(string.format("cluster.call to %s: the deadline has passed", node), 2)
    end
    error(answer[2], 2)
end

--- Sends to a service of another node. What is lost is only logged.
---@param node string
---@param address integer|string
---@param ... any
function cluster.send(node, address, ...)
    local sender = senders[node]
    if sender then
        skynet.send(sender, "lua", "push", address, skynet.pack(...))
        return
    end
    local message, size = skynet.pack(...)
    line_up(node, function(its_sender)
        if its_sender then
            skynet.send(its_sender, "lua", "push", address, message, size)
        else
            skynet.trash(message, size)
        end
    end)
end

--- Listens: on a port of all addresses, 0 for any, or where the configuration says that the node `port` is.
---@async
---@param port integer|string
---@param maxclient integer?
---@return string address  or the node
---@return integer? port
function cluster.open(port, maxclient)
    if type(port) == "string" then return skynet.call(clusterd, "lua", "listen", port, nil, maxclient) end
    return skynet.call(clusterd, "lua", "listen", "0.0.0.0", port, maxclient)
end

--- Merges a table of nodes and options into the configuration; without one, reads its file again.
---@async
---@param config table<string, string|boolean>?
function cluster.reload(config) skynet.call(clusterd, "lua", "reload", config) end

--- A service of this node that hands `lua` and `snax` messages on. With one argument: `"node@name"` or `"node.name"`.
---@async
---@param node string
---@param name string|integer|nil
---@return integer handle
function cluster.proxy(node, name) return skynet.call(clusterd, "lua", "proxy", node, name) end

--- A snax service of another node; without an address, the unique one called `name`.
---@async
---@param node string
---@param name string
---@param address string|integer|nil
---@return snax.Object
function cluster.snax(node, name, address)
    local snax = require "skynet.snax"
    address = address or assert(cluster.call(node, ".service", "QUERY", "snaxd", name))
    return snax.bind(cluster.proxy(node, address), name)
end

--- Publishes a service of this node under `"@name"`. The name must be free; one that the service had before is given up.
---@async
---@param name string
---@param addr integer?  this service
function cluster.register(name, addr)
    assert(type(name) == "string")
    assert(addr == nil or math.type(addr) == "integer")
    skynet.call(clusterd, "lua", "register", name, addr)
end

--- Takes a name back.
---@async
---@param name string
function cluster.unregister(name)
    assert(type(name) == "string")
    skynet.call(clusterd, "lua", "unregister", name)
end

--- The handle behind a registered name of another node. Raises if nobody has it.
---@async
---@param node string
---@param name string  without its `@`
---@return integer handle
function cluster.query(node, name) return call_packed(node, 0, skynet.pack(name)) end

--- How the connections to other nodes are, by name, and which nodes are connected to this one, by socket.
---@async
---@return table<string, table> to
---@return table<integer, string> from
function cluster.links() return skynet.call(clusterd, "lua", "links") end

skynet.init(function() clusterd = skynet.uniqueservice "clusterd" end)

return cluster
