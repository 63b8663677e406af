--- `clusterd`, one for each node: where nodes are, which names this one has, and the services that do the work.
---
--- The setting `cluster` names a Lua file whose globals are `node = "host:port"`, or false for one that is down; names that begin with
--- `__` are options. For each node that is asked for there is a `clustersender`, for each connection that comes a `clusteragent`.
local skynet = require "skynet"
local core = require "skynet.cluster.core"
local cache = require "skynet.codecache"
require "skynet.manager"

cache.mode "OFF" -- a list of nodes that was changed is read again

local own_name = core.nodename()

---@type table<string, boolean>
local options = { nowaiting = false }

--- Where nodes are; false: down.
---@type table<string, string|false>
local addresses = {}

--- `clustersender` of nodes that were asked for; they stay.
---@type table<string, integer>
local senders = {}
--- Those that are connected to the address that is there now, as far as we know.
---@type table<string, string>
local reached = {}
--- Who waits for a sender that somebody else is making.
---@type table<string, table[]>
local making = {}
--- Who waits for a node that is not known.
---@type table<string, table[]>
local absent = {}

--- Handles by name, and names by handle.
---@type table<string, integer>, table<integer, string>
local handles, names = {}, {}

---@class clusterd.Inbound
---@field agent integer?
---@field peer string
---@field closed boolean?

--- Connections that came, by socket.
---@type table<integer, clusterd.Inbound>
local inbound = {}

--- Proxies, or who waits for one, by node and address.
---@type table<string, integer|table[]>
local proxies = {}

local command = {}

local function wake(places)
    for _, place in ipairs(places or {}) do
        skynet.wakeup(place)
    end
end

--------------------------------------------------------------------------------------------------------------------------- nodes

--- Lets those go on who wait for `node`.
local function release(node)
    local places = absent[node]
    absent[node] = nil
    wake(places)
end

--- Merges a table of addresses and options.
local function merge(config)
    for name, value in pairs(config) do
        if type(name) == "string" and name:sub(1, 2) == "__" then
            local option = name:sub(3)
            options[option] = value
            skynet.error(string.format("Config %s = %s", option, value))
        else
            assert(value == false or type(value) == "string", "an address is a string, or false")
        end
    end
    for name, address in pairs(config) do
        local is_option = type(name) == "string" and name:sub(1, 2) == "__"
        if not is_option and addresses[name] ~= address then
            addresses[name] = address
            reached[name] = nil
            local sender = senders[name]
            -- Those who have the sender already go with it, to the new address or nowhere.
            if sender then skynet.fork(pcall, skynet.call, sender, "lua", "changenode", address) end
            release(name)
        end
    end
    if options.nowaiting then
        for name in pairs(absent) do
            release(name)
        end
    end
end

--- What the file says that the setting `cluster` names.
local function read_file()
    local file = skynet.getenv "cluster"
    if not file then return {} end
    local config = {}
    assert(loadfile(file, "bt", config))()
    return config
end

--- Where a node is; waits for one that is not known, unless that is switched off.
---@async
---@return string|false|nil
local function address_of(node)
    if addresses[node] == nil and not options.nowaiting then
        local place = {}
        if absent[node] then
            table.insert(absent[node], place)
        else
            absent[node] = { place }
            skynet.error(string.format("Waiting for cluster node [%s]", node))
        end
        local first = absent[node][1] == place
        skynet.wait(place)
        if first and addresses[node] ~= nil then
            skynet.error(string.format("Cluster node [%s] resolved : %s", node, addresses[node]))
        end
    end
    return addresses[node]
end

--- A sender that is connected.
---@async
---@return integer?
local function make_sender(node)
    local address = address_of(node)
    if not address then
        if address == nil then error(string.format("cluster node [%s] is absent.", node)) end
        return nil
    end
    if reached[node] == address then return senders[node] end
    local sender = senders[node]
    if not sender then
        sender = skynet.newservice("clustersender", node, own_name, address)
        senders[node] = sender
    end
    if pcall(skynet.call, sender, "lua", "changenode", address) and addresses[node] == address then
        reached[node] = address
        return sender
    end
    error(string.format("changenode [%s] (%s) failed", node, address))
end

--- The sender of a node, or nothing if it can't be reached. Those who ask at the same time get the same answer.
---@async
---@return integer?
function command.sender(_, node)
    local address = addresses[node]
    if address and reached[node] == address then return senders[node] end
    local others = making[node]
    if others then
        local place = {}
        table.insert(others, place)
        skynet.wait(place)
        return place.sender
    end
    others = {}
    making[node] = others
    local ok, sender = pcall(make_sender, node)
    making[node] = nil
    if not ok then
        skynet.error(sender)
        sender = nil
    end
    for _, place in ipairs(others) do
        place.sender = sender
        skynet.wakeup(place)
    end
    return sender
end

---@return table<string, integer>
function command.senders() return senders end

--- Merges a table, or the file.
function command.reload(_, config) merge(config or read_file()) end

--------------------------------------------------------------------------------------------------------------------- connections

--- Listens, with a gate of its own. Without a port, `address` is the name of a node.
---@async
function command.listen(_, address, port, maxclient)
    local name
    if port == nil then
        name = address
        address = assert(addresses[name], tostring(name) .. " is down")
    end
    local gate = skynet.newservice "gate"
    local conf = { address = address, port = port, maxclient = maxclient, nodelay = true }
    local ok, host, bound = pcall(skynet.call, gate, "lua", "open", conf)
    if not ok then
        skynet.kill(gate)
        error(host, 0)
    end
    if name then return name, nil end
    return host, bound
end

local notice = {}

---@async
function notice.open(gate, fd, peer)
    skynet.error(string.format("socket accept from %s", peer))
    local connection = { peer = peer }
    inbound[fd] = connection
    local agent = skynet.newservice("clusteragent", skynet.self(), gate, fd)
    if connection.closed then
        skynet.send(agent, "lua", "exit")
    else
        connection.agent = agent
    end
end

--- The end of a connection: the gate forgets it, the agent ends.
function notice.close(gate, fd)
    skynet.send(gate, "lua", "kick", fd)
    local connection = inbound[fd]
    if not connection then return end
    inbound[fd] = nil
    connection.closed = true
    if connection.agent then skynet.send(connection.agent, "lua", "exit") end
end

function notice.error(gate, fd, text)
    skynet.error(string.format("socket error from %d : %s", fd, text))
    notice.close(gate, fd)
end

function notice.warning(_, fd, kib)
    local connection = inbound[fd]
    if not connection or not connection.agent then return end
    if kib == 0 then
        skynet.send(connection.agent, "lua", "drained")
    elseif kib > 1024 then
        skynet.error(string.format("WARNING: %d K bytes need to send out (fd = %d %s)", kib, fd, connection.peer))
    end
end

--- What the gates tell. Nobody reads what comes before an agent does, so there is no data.
function command.socket(gate, kind, ...)
    skynet.ignoreret()
    local f = notice[kind]
    if f then f(gate, ...) end
end

--------------------------------------------------------------------------------------------------------------------------- names

--- Agents ask again.
local function names_changed()
    for _, connection in pairs(inbound) do
        if connection.agent then skynet.send(connection.agent, "lua", "namechange") end
    end
end

--- A name for a handle, by default that of who asks. It must be free; another one of the handle is given up.
function command.register(source, name, handle)
    assert(type(name) == "string", "a name is a string")
    handle = handle or source
    assert(math.type(handle) == "integer", "a handle is an integer")
    assert(handles[name] == nil, "the name is taken")
    local before = names[handle]
    if before then handles[before] = nil end
    handles[name], names[handle] = handle, name
    names_changed()
    skynet.error(string.format("Register [%s] :%08x", name, handle))
end

function command.unregister(_, name)
    local handle = handles[name]
    if not handle then return end
    handles[name], names[handle] = nil, nil
    names_changed()
    skynet.error(string.format("Unregister [%s] :%08x", name, handle))
end

---@return integer?
function command.queryname(_, name) return handles[name] end

--- The proxy of an address of a node. Without an address: `"node@name"` or `"node.name"`.
---@async
---@return integer
function command.proxy(_, node, address)
    if address == nil then
        node, address = tostring(node):match "^([^@.]+)([@.].+)$"
        if not node then error "Invalid name" end
    end
    local key = string.format("%s %s", node, address)
    local known = proxies[key]
    if math.type(known) == "integer" then return known end
    if known then
        local place = {}
        table.insert(known, place)
        skynet.wait(place)
        return assert(place.proxy, "call failed")
    end
    local others = {}
    proxies[key] = others
    local ok, proxy = pcall(skynet.newservice, "clusterproxy", node, address)
    proxies[key] = ok and proxy or nil
    for _, place in ipairs(others) do
        place.proxy = ok and proxy
        skynet.wakeup(place)
    end
    if not ok then error(proxy, 0) end
    return proxy
end

-------------------------------------------------------------------------------------------------------------------------- health

--- How the connections to other nodes are, and which came from others.
---@async
---@return table<string, table> to
---@return table<integer, string> from
function command.links()
    local to, from = {}, {}
    for node, sender in pairs(senders) do
        local ok, report = pcall(skynet.call, sender, "lua", "report")
        to[node] = ok and report or { state = "no sender" }
        to[node].address = addresses[node] or nil
    end
    for fd, connection in pairs(inbound) do
        from[fd] = connection.peer
    end
    return to, from
end

skynet.start(function()
    merge(read_file())
    skynet.dispatch("lua", function(_, source, name, ...)
        local f = assert(command[name], name)
        if name == "socket" then return f(source, ...) end
        skynet.retpack(f(source, ...))
    end)
    skynet.register ".clusterd"
end)
