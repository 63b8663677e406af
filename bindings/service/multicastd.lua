--- `multicastd`, one for each node: who has subscribed to which channel, and the way of what is published.
---
--- The low byte of a channel's id is the node that made it. That node knows all nodes with subscribers; a publication goes to the
--- subscribers of the own node and, when others have some, to the node of the channel, which passes it on.
local skynet = require "skynet"
local datacenter = require "skynet.datacenter"
local core = require "skynet.multicast.core"
local delivery = require "skein.multicast"

local harbor = skynet.harbor(skynet.self())

--- Subscribers of this node, by channel.
---@type table<integer, table<integer, true>>
local subscribers = {}
--- How many those are.
---@type table<integer, integer>
local counts = {}
--- Other nodes with subscribers to channels of this one.
---@type table<integer, table<integer, true>>
local nodes = {}
--- `multicastd` of other nodes.
---@type table<integer, integer>
local managers = setmetatable({}, {
    __index = function(all, id)
        local manager = datacenter.get("multicast", id)
        all[id] = manager
        return manager
    end,
})

-- The id before the first one.
local last_id = (harbor - 256) & 0x7fffffff

local function owner(channel) return channel % 256 end

--- Gives a package to the subscribers of this node.
local function deliver(channel, source, pointer, size)
    delivery.deliver(pointer, size, channel, source, subscribers[channel] or {})
end

--- Sends bytes to the manager of another node.
local function send_remote(channel, source, node, data, size)
    skynet.redirect(managers[node], source, "multicast", channel, data, size)
end

--- Passes a publication to the other nodes of a channel of ours.
local function pass_on(channel, source, data, size)
    local text
    for node in pairs(nodes[channel] or {}) do
        text = text or skynet.tostring(data, size)
        send_remote(channel, source, node, text)
    end
end

local command = {}

--- The id of a new channel.
---@return integer
function command.NEW()
    local id = last_id
    repeat
        id = core.nextid(id)
    until not subscribers[id]
    last_id = id
    subscribers[id], counts[id], nodes[id] = {}, 0, {}
    return id
end

--- Ends a channel: here, and where it has subscribers.
function command.DEL(_, channel)
    if owner(channel) ~= harbor then
        skynet.send(managers[owner(channel)], "lua", "DEL", channel)
        return
    end
    for node in pairs(nodes[channel] or {}) do
        skynet.send(managers[node], "lua", "DELR", channel)
    end
    subscribers[channel], counts[channel], nodes[channel] = nil, nil, nil
end

--- The node of a channel says that it is gone.
function command.DELR(_, channel)
    subscribers[channel], counts[channel] = nil, nil
end

--- A publication of a service of this node.
function command.PUB(source, channel, pointer, size)
    assert(size == 8, "a package pointer has 8 bytes")
    if owner(channel) == harbor then
        if not subscribers[channel] then
            core.close(core.bind(pointer, 1))
            return
        end
        if next(nodes[channel]) then
            local _, data, length = core.unpack(pointer, size)
            pass_on(channel, source, data, length)
            skynet.trash(data, length)
        end
        deliver(channel, source, pointer, size)
    elseif managers[owner(channel)] then
        -- All subscribers, those of this node too, get it by way of the channel's node.
        send_remote(channel, source, owner(channel), core.remote(pointer))
    else
        core.close(core.bind(pointer, 1))
    end
end

--- Another node has its first subscriber to a channel of ours. True if there is no such channel.
---@return true?
function command.SUBR(source, channel)
    local node = skynet.harbor(source)
    if not nodes[channel] then return true end
    assert(owner(channel) == harbor and node ~= harbor)
    nodes[channel][node] = true
end

--- And now it has none.
function command.USUBR(source, channel)
    local node = skynet.harbor(source)
    assert(node ~= harbor)
    if nodes[channel] then nodes[channel][node] = nil end
end

--- A service of this node subscribes. True if there is no such channel at its node.
---@return true?
function command.SUB(source, channel)
    local group = subscribers[channel]
    if not group then
        if owner(channel) ~= harbor then
            -- Others may subscribe while we ask.
            if skynet.call(managers[owner(channel)], "lua", "SUBR", channel) then return true end
        end
        group = subscribers[channel]
        if not group then
            group = {}
            subscribers[channel], counts[channel] = group, 0
            if owner(channel) == harbor then nodes[channel] = nodes[channel] or {} end
        end
    end
    if not group[source] then
        group[source] = true
        counts[channel] = counts[channel] + 1
    end
end

--- And leaves.
function command.USUB(source, channel)
    local group = assert(subscribers[channel])
    if not group[source] then return end
    group[source] = nil
    counts[channel] = counts[channel] - 1
    if counts[channel] == 0 and owner(channel) ~= harbor then
        subscribers[channel], counts[channel] = nil, nil
        skynet.send(managers[owner(channel)], "lua", "USUBR", channel)
    end
end

--- Commands that nobody waits for.
local SILENT <const> = { USUB = true, DEL = true, DELR = true, USUBR = true }

-- A publication that comes from another node: the bytes as they are.
skynet.register_protocol {
    name = "multicast",
    id = skynet.PTYPE_MULTICAST,
    unpack = function(data, size) return data, size end,
    dispatch = function(channel, source, data, size)
        skynet.ignoreret()
        pass_on(channel, source, data, size)
        deliver(channel, source, core.packremote(data, size))
    end,
}

skynet.start(function()
    skynet.dispatch("lua", function(_, source, name, ...)
        local f = assert(command[name], name)
        if SILENT[name] then
            skynet.ignoreret()
            f(source, ...)
        else
            skynet.retpack(f(source, ...))
        end
    end)
    local manager = skynet.self()
    local before = datacenter.set("multicast", harbor, manager)
    assert(before == nil, "there is a multicastd already")
end)
