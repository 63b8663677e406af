--- `.cslave`: this node's place in a harbor network. Talks to the master, connects to the other nodes, and gives the connections to
--- the native `harbor` service, which carries the messages.
local skynet = require "skynet"
local socket = require "skynet.socket"
local names = require "skein.harbor_names"
local wire = require "skein.harbor_wire"
require "skynet.manager"

--- Nodes by number: true while connected, false once down.
---@type table<integer, boolean>
local connected = {}
---@type table<integer, function[]>  replies to those who wait for a node to go down
local links = {}
---@type table<integer, function[]>  to those who wait for it to come
local connects = {}
---@type function[]  to those who wait for the master to go
local master_links = {}
local master_gone = false
---@type integer  native service
local harbor
---@type integer
local master_fd
--- Names that came before the network was complete.
---@type { name: string, handle: integer }[]?
local early = {}

local harbor_id = assert(math.tointeger(skynet.getenv "harbor"))

local function answer_all(replies)
    for _, reply in ipairs(replies or {}) do
        reply(true)
    end
end

--- A global name has an owner.
local function learn(name, handle)
    names.learn(name, handle)
    if early then
        early[#early + 1] = { name = name, handle = handle }
    else
        names.tell(harbor, name, handle)
    end
end

local function tell_master(...)
    if not master_gone then socket.write(master_fd, wire.packet(...)) end
end

local function up(id)
    connected[id] = true
    answer_all(connects[id])
    connects[id] = nil
end

local function down(id)
    connected[id] = false
    answer_all(links[id])
    links[id] = nil
end

--- Gives a connection to the native service.
---@param how "S"|"A"  whether we made it or took it
local function hand_over(how, fd, id)
    socket.abandon(fd)
    skynet.send(harbor, "harbor", string.format("%s %d %d", how, fd, id))
    up(id)
end

--- Connects to a node that is new.
---@async
local function connect_to(id, address)
    if connected[id] ~= nil then
        return skynet.error(string.format("Harbor %d is known already", id))
    end
    local ok, why = pcall(function()
        local fd = assert(socket.open(address), "Can't connect to " .. tostring(address))
        skynet.error(string.format("Connect to harbor %d (fd=%d), %s", id, fd, address))
        hand_over("S", fd, id)
    end)
    if not ok then skynet.error(why) end
end

local from_master = {}

function from_master.C(id, address) skynet.fork(connect_to, id, address) end

function from_master.N(name, handle) learn(name, handle) end

--- The master lost a node; our own link tells us about it.
function from_master.D() end

--- Serves the master until it goes.
---@async
local function serve_master()
    while true do
        local kind, first, second = wire.read(master_fd)
        if kind == nil then break end
        local serve = from_master[kind]
        if serve then
            serve(first, second)
        else
            skynet.error("Unknown command from the master " .. tostring(kind))
        end
    end
    skynet.error "Master disconnect"
    master_gone = true
    socket.close(master_fd)
    answer_all(master_links)
end

local command = {}

function command.REGISTER(name, handle)
    assert(names.handle(name) == nil)
    learn(name, handle)
    tell_master("R", name, handle)
end

function command.QUERYNAME(name)
    if names.answer(name) then tell_master("Q", name) end
end

local function wait_in(replies, id)
    replies[id] = replies[id] or {}
    table.insert(replies[id], skynet.response())
end

--- Answers when a node is down; one that is not there is.
function command.LINK(id)
    if connected[id] then
        wait_in(links, id)
    else
        skynet.ret()
    end
end

--- Answers when a node is there.
function command.CONNECT(id)
    if connected[id] then
        skynet.ret()
    else
        wait_in(connects, id)
    end
end

--- Answers when the master is gone.
function command.LINKMASTER()
    if master_gone then
        skynet.ret()
    else
        master_links[#master_links + 1] = skynet.response()
    end
end

--- What the native service says: `Q name`, it does not know that; `D id`, a node is down.
skynet.register_protocol {
    name = "text",
    id = skynet.PTYPE_TEXT,
    unpack = skynet.tostring,
    dispatch = function(_, _, text)
        local kind, argument = text:match "^(%u) (.+)$"
        if kind == "Q" then
            local handle = names.handle(argument)
            if handle then
                names.tell(harbor, argument, handle)
            else
                tell_master("Q", argument)
            end
        elseif kind == "D" then
            down(assert(math.tointeger(argument)))
        else
            skynet.error("Unknown command " .. text)
        end
    end,
}

skynet.dispatch("lua", function(_, _, name, ...)
    local f = assert(command[name], name)
    f(...)
end)

--- Takes the connections of the nodes that were there before us.
---@async
local function take_connections(listener, count)
    if count == 0 then return socket.close(listener) end
    local me = coroutine.running()
    socket.start(listener, function(fd, peer)
        skynet.error(string.format("New connection (fd = %d, %s)", fd, peer))
        socket.start(fd)
        local byte = socket.read(fd, 1)
        local id = byte and byte:byte()
        if not id or connected[id] ~= nil then
            skynet.error(string.format("a connection from %s says it is harbor %s", peer, id))
            return socket.close(fd)
        end
        skynet.error(string.format("Harbor %d connected (fd = %d)", id, fd))
        hand_over("A", fd, id)
        count = count - 1
        if count == 0 then
            socket.close(listener)
            skynet.wakeup(me)
        end
    end)
    skynet.wait(me)
end

skynet.start(function()
    local master = assert(skynet.getenv "master", "the key `master` is missing")
    local address = assert(skynet.getenv "address", "the key `address` is missing")
    skynet.error("slave connect to master " .. master)
    master_fd = assert(socket.open(master), "Can't connect to master")
    harbor = assert(skynet.launch("harbor", harbor_id, skynet.self()))
    local listener = socket.listen(address)

    socket.write(master_fd, wire.packet("H", harbor_id, address))
    local kind, count = wire.read(master_fd)
    assert(kind == "W" and math.type(count) == "integer", "handshake failed: the master refused harbor " .. harbor_id)
    skynet.error(string.format("Waiting for %d harbors", count))
    skynet.fork(serve_master)
    take_connections(listener, count)
    skynet.error "Shakehand ready"
    local kept = early
    early = nil
    for _, it in ipairs(kept) do
        names.tell(harbor, it.name, it.handle)
    end
end)
