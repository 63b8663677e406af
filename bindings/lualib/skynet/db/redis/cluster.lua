--- A client of a Redis cluster: a connection for each node that is needed, each command sent to the node that has the slot of its key.
---
--- The slots are asked from the first node that answers. A node that says `MOVED` has the command sent to another one, and the slots
--- asked anew before the next; one that says `ASK` has only this command sent elsewhere.
local skynet = require "skynet"
local crc16 = require "skynet.db.redis.crc16"
local redis = require "skynet.db.redis"
local socketchannel = require "skynet.socketchannel"

local cluster = {}

local SLOTS <const> = 16384
--- How often a command is sent before it is given up.
local TRIES <const> = 16
--- The command goes elsewhere at once for the first of these; later there is a pause between, in hundredths of a second.
local AT_ONCE <const> = 8
local PAUSE <const> = 10
local MAX_CONNECTIONS <const> = 256

---@class skynet.redis.Node
---@field host string
---@field port integer
---@field name string?   "host:port"
---@field slave boolean?  a replica

---@class skynet.redis.ClusterOptions
---@field max_connections integer?  256
---@field auth string?
---@field username string?
---@field db integer?
---@field read_slave boolean?  commands go to replicas as well; those that write are sent on by them
---@field overload fun(is: boolean)?

---@class skynet.redis.Cluster
---@field startup_nodes skynet.redis.Node[]
---@field opt skynet.redis.ClusterOptions
---@field onmessage fun(data: string, channel: string, pattern: string?)?
---@field connections table<string, skynet.redis.Client>
---@field slots table<integer, skynet.redis.Node[]>  of each slot its nodes, the master first
---@field nodes skynet.redis.Node[]
---@field private watches table<string, skynet.redis.Watch>
---@field private opening table<string, table[]>  tasks that wait while another one connects to the same node
---@field private refresh boolean?  the slots have changed
---@field [string] async fun(self: skynet.redis.Cluster, ...: any): any
local rediscluster = {}

--------------------------------------------------------------------------------------------------------------------------- slots

--- The slot of a key: of what is between its first braces, if that is something.
---@param key any
---@return integer
function rediscluster:keyslot(key)
    local text = tostring(key)
    local tag = text:match "{(.-)}"
    return crc16(tag and tag ~= "" and tag or text) % SLOTS
end

--- Gives a node its name.
---@param node skynet.redis.Node
function rediscluster:set_node_name(node)
    if not node.name then node.name = node.host .. ":" .. node.port end
    node.slave = node.slave or false
end

--- A node of an answer to `CLUSTER SLOTS`. Who does not say its address has the one that was asked.
local function node_of(entry, asked, slave)
    local host = entry[1]
    if not host or host == "" or host == "?" then host = asked.host end
    return { host = host, port = entry[2], name = host .. ":" .. entry[2], slave = slave }
end

--- Takes over what a node says about slots.
local function learn(self, ranges, asked)
    local nodes, slots, known = {}, {}, {}
    for _, range in ipairs(ranges) do
        local owners = {}
        for at = 3, #range do
            local node = node_of(range[at], asked, at > 3)
            owners[#owners + 1] = node
            if not known[node.name] then
                known[node.name] = true
                nodes[#nodes + 1] = node
            end
        end
        for slot = range[1], range[2] do
            slots[slot] = owners
        end
    end
    if #nodes == 0 then return false end
    self.nodes, self.slots = nodes, slots
    return true
end

--- Asks the nodes who has which slots, until one answers. Raises if none does.
---@async
function rediscluster:initialize_slots_cache()
    local candidates, known = {}, {}
    for _, list in ipairs { self.nodes, self.startup_nodes } do
        for _, node in ipairs(list) do
            self:set_node_name(node)
            if not known[node.name] then
                known[node.name] = true
                candidates[#candidates + 1] = node
            end
        end
    end
    for _, node in ipairs(candidates) do
        local ok, ranges = pcall(function() return self:get_connection(node):cluster "slots" end)
        if ok and learn(self, ranges, node) then
            self.refresh = false
            return
        end
        if not ok then skynet.error(string.format("redis cluster: %s: %s", node.name, tostring(ranges))) end
    end
    error "Can't reach a single startup node."
end

--- Forgets who has which slots.
function rediscluster:flush_slots_cache() self.slots = {} end

--------------------------------------------------------------------------------------------------------------------- connections

--- A new connection to a node.
---@async
---@param node skynet.redis.Node
---@return skynet.redis.Client
function rediscluster:get_redis_link(node)
    local opt = self.opt
    local link = redis.connect {
        host = node.host,
        port = node.port,
        auth = opt.auth,
        username = opt.username,
        db = opt.db,
        overload = opt.overload,
    }
    if opt.read_slave and node.slave then link:readonly() end
    return link
end

--- Closes connections until there is room for another one.
function rediscluster:close_existing_connection()
    local most = self.opt.max_connections or MAX_CONNECTIONS
    local count = 0
    for _ in pairs(self.connections) do
        count = count + 1
    end
    while count >= most do
        local name, link = next(self.connections)
        if not name then break end
        self.connections[name] = nil
        pcall(link.disconnect, link)
        count = count - 1
    end
end

--- Closes all connections, those of subscriptions too.
function rediscluster:close_all_connection()
    local connections, watches = self.connections, self.watches
    self.connections, self.watches = {}, {}
    for _, list in ipairs { connections, watches } do
        for _, link in pairs(list) do
            pcall(link.disconnect, link)
        end
    end
end

--- `make(node)`, for tasks that ask for the same node at once only one time.
---@async
local function once(self, list, node, make)
    self:set_node_name(node)
    local name = node.name
    local waiting = self.opening[list] or {}
    self.opening[list] = waiting
    while not self[list][name] and waiting[name] do
        local place = {}
        table.insert(waiting[name], place)
        skynet.wait(place)
    end
    local link = self[list][name]
    if link then return link end
    waiting[name] = {}
    local ok, made = pcall(make, node)
    local places = waiting[name]
    waiting[name] = nil
    if ok then self[list][name] = made end
    for _, place in ipairs(places) do
        skynet.wakeup(place)
    end
    return ok and made or error(made, 0)
end

--- The connection to a node.
---@async
---@param node skynet.redis.Node
---@return skynet.redis.Client
function rediscluster:get_connection(node)
    return once(self, "connections", node, function()
        self:close_existing_connection()
        return self:get_redis_link(node)
    end)
end

--- Nodes in an order of chance.
local function shuffled(...)
    local all = {}
    for _, list in ipairs { ... } do
        table.move(list, 1, #list, #all + 1, all)
    end
    for at = #all, 2, -1 do
        local other = math.random(at)
        all[at], all[other] = all[other], all[at]
    end
    return all
end

--- A connection to some node that answers.
---@async
---@return skynet.redis.Client
function rediscluster:get_random_connection()
    for _, node in ipairs(shuffled(self.nodes, self.startup_nodes)) do
        local ok, link = pcall(self.get_connection, self, node)
        if ok then
            local alive, word = pcall(link.ping, link)
            if alive and word == "PONG" then return link end
        end
    end
    error "Can't reach a single startup node."
end

--- A node that has a slot: its master, or one by chance if replicas may be read.
local function owner(self, slot)
    local owners = self.slots[slot]
    if not owners then return nil end
    return self.opt.read_slave and owners[math.random(#owners)] or owners[1]
end

--- The connection to a node that has a slot; to some node if nobody knows.
---@async
---@param slot integer
---@return skynet.redis.Client
function rediscluster:get_connection_by_slot(slot)
    local node = owner(self, slot)
    return node and self:get_connection(node) or self:get_random_connection()
end

------------------------------------------------------------------------------------------------------------------------ commands

--- Commands that have no key, and concern a node or a connection of the program's choice.
local KEYLESS <const> = { info = true, multi = true, exec = true, slaveof = true, config = true, shutdown = true }
--- Commands whose keys follow their number, which is the third word.
local COUNTED <const> = { eval = true, evalsha = true, eval_ro = true, evalsha_ro = true, fcall = true, fcall_ro = true }
--- Commands whose first key is not the second word.
local FIRST_KEY <const> = { object = 3, memory = 3, bitop = 3, debug = 3, xgroup = 3, xinfo = 3 }

--- The key that says where a command goes, nil if there is none. Raises if there are several in different slots.
---@param argv any[]  the words, the command's name first
---@return any
function rediscluster:get_key_from_command(argv)
    local name = tostring(argv[1]):lower()
    if KEYLESS[name] then return nil end
    if COUNTED[name] then
        local count = tonumber(argv[3]) or 0
        local slot
        for at = 4, 3 + count do
            local its = self:keyslot(argv[at])
            slot = slot or its
            if its ~= slot then error(name .. " - all keys must map to the same key slot") end
        end
        -- Without a key any node will do; the script's name chooses one.
        return count > 0 and argv[4] or argv[2]
    end
    return argv[FIRST_KEY[name] or 2]
end

--- The node that `MOVED slot host:port` or `ASK slot host:port` names. Without a host it is the one that was asked.
local function elsewhere(text, asked)
    local slot, host, port = text:match "^%a+ (%d+) (.*):(%d+)"
    if not slot then return nil end
    if host == "" then host = asked and asked.host end
    return tonumber(slot), { host = host, port = tonumber(port), name = host .. ":" .. port }
end

--- Where a try of a command goes.
---@async
local function link_of(self, target, slot)
    if target then return self:get_connection(target), target end
    local node = owner(self, slot)
    if node then return self:get_connection(node), node end
    return self:get_random_connection()
end

--- Sends a command to where its key is. `cmd` may also be an array of the command and its arguments.
---@async
---@param cmd any
---@param ... any
---@return any
function rediscluster:call(cmd, ...)
    local argv = type(cmd) == "table" and cmd or table.pack(cmd, ...)
    if argv.n == 2 and type(argv[2]) == "table" then
        argv = table.pack(argv[1], table.unpack(argv[2], 1, argv[2].n or #argv[2]))
    end
    local name = tostring(argv[1])
    local key = self:get_key_from_command(argv)
    if key == nil then error("No way to dispatch this command to Redis Cluster: " .. name) end
    local slot = self:keyslot(key)
    local words = { table.unpack(argv, 2, argv.n or #argv) }
    words.n = (argv.n or #argv) - 1
    local target, asking, last
    for try = 1, TRIES do
        if self.refresh or not next(self.slots) then pcall(self.initialize_slots_cache, self) end
        local linked, link, node = pcall(link_of, self, target, slot)
        local ok, value
        if linked then
            if asking then
                local ops = { { "ASKING" }, table.move(words, 1, words.n, 2, { name, n = words.n + 1 }) }
                ok, value = pcall(link.pipeline, link, ops)
            else
                ok, value = pcall(link[name], link, words)
            end
            if ok then return value end
        else
            value = link
        end
        last = value
        target, asking = nil, false
        -- The text of an error of the server may stand behind a position.
        local word = type(value) == "string" and value:match "%f[%u](MOVED %d+ .*)$"
            or type(value) == "string" and value:match "%f[%u](ASK %d+ .*)$"
        if word then
            local its_slot, there = elsewhere(word, node)
            target = there
            asking = word:sub(1, 3) == "ASK"
            if not asking and there then
                self.slots[its_slot] = { there }
                self.refresh = true
                -- The next try asks for the slots first, and goes where it was told in any case.
            end
        elseif linked and value ~= socketchannel.error and not tostring(value):find("CLUSTERDOWN", 1, true)
            and not tostring(value):find("TRYAGAIN", 1, true) then
            error(value, 0)
        else
            -- A node that is gone, or a cluster that has no owner for the slot yet.
            self.refresh = true
        end
        if try > AT_ONCE or not word then skynet.sleep(PAUSE) end
    end
    error("Too many Cluster redirections?,maybe node is disconnected (last error: " .. tostring(last) .. ")")
end

------------------------------------------------------------------------------------------------------------------- subscriptions

--- The connection for subscriptions to a node. What it hears goes to `onmessage`.
---@async
---@param node skynet.redis.Node
---@return skynet.redis.Watch
function rediscluster:get_watch_connection(node)
    return once(self, "watches", node, function()
        local opt = self.opt
        local link = redis.watch {
            host = node.host,
            port = node.port,
            auth = opt.auth,
            username = opt.username,
            db = opt.db,
            overload = opt.overload,
        }
        skynet.fork(function()
            -- Who is closed has no methods any more.
            while link.message do
                local ok, data, channel, pattern = pcall(link.message, link)
                if ok and self.onmessage then
                    local told, err = xpcall(self.onmessage, debug.traceback, data, channel, pattern)
                    if not told then skynet.error(err) end
                elseif not ok and link.message then
                    -- The channel goes on trying, with pauses.
                    skynet.yield()
                end
            end
        end)
        return link
    end)
end

--- The connection for subscriptions to a node that has a slot.
---@async
---@param slot integer
---@return skynet.redis.Watch
function rediscluster:get_watch_connection_by_slot(slot)
    local node = owner(self, slot)
    if not node then
        self:initialize_slots_cache()
        node = owner(self, slot) or shuffled(self.nodes, self.startup_nodes)[1]
    end
    return self:get_watch_connection(node)
end

--- Subscriptions stay where the slot of the channel's name is, so that the same call undoes them.
for _, name in ipairs { "subscribe", "psubscribe", "unsubscribe", "punsubscribe" } do
    rediscluster[name] = function(self, ...)
        for _, channel in ipairs { ... } do
            local link = self:get_watch_connection_by_slot(self:keyslot(channel))
            link[name](link, channel)
        end
    end
end

---------------------------------------------------------------------------------------------------------------------------- made

local meta = {
    __index = function(_, name)
        local method = rediscluster[name]
        if method then return method end
        -- Fields that are not set must not become commands.
        if name == "refresh" or name == "onmessage" then return nil end
        method = function(self, ...) return self:call(name, ...) end
        rediscluster[name] = method
        return method
    end,
}

--- A client of the cluster that the nodes belong to. Raises if none of them answers.
---@async
---@param startup_nodes skynet.redis.Node|skynet.redis.Node[]
---@param opt skynet.redis.ClusterOptions?
---@param onmessage fun(data: string, channel: string, pattern: string?)?
---@return skynet.redis.Cluster
function cluster.new(startup_nodes, opt, onmessage)
    if startup_nodes.host then startup_nodes = { startup_nodes } end
    local self = setmetatable({
        startup_nodes = startup_nodes,
        opt = opt or {},
        onmessage = onmessage,
        connections = {},
        watches = {},
        slots = {},
        nodes = {},
        opening = {},
    }, meta)
    self:initialize_slots_cache()
    return self
end

return cluster
