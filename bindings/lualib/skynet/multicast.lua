--- Channels: what one service publishes, each subscriber receives, and all of them share one block of memory.
---
--- `multicastd`, one for each node, knows who has subscribed. A message carries the channel in the place of its session.
local skynet = require "skynet"
local core = require "skynet.multicast.core"

local multicast = {}

---@type integer?  the address of this node's `multicastd`
local manager

--- Channels of this service that are subscribed to, by id. Others are the program's to keep.
---@type table<integer, skynet.multicast.Channel>
local subscribed = {}

---@class skynet.multicast.Channel
---@field channel integer  its id
---@field dispatch (async fun(channel: skynet.multicast.Channel, source: integer, ...: any))?
---@field private __pack fun(...: any): lightuserdata, integer
---@field private __unpack fun(message: lightuserdata, size: integer): ...
---@field private __subscribe boolean?
local Channel = {}
Channel.__index = Channel

--- Gives up the subscription with the object; for a subscribed one that is when the service ends.
function Channel:__gc()
    if self.__subscribe then self:unsubscribe() end
end

function Channel:__tostring() return string.format("[Multicast:%x]", self.channel) end

--- Destroys the channel for everybody.
function Channel:delete()
    skynet.send(manager, "lua", "DEL", assert(self.channel))
    self.channel = nil
    self.__subscribe = nil
end

--- Gives the values to every subscriber; when it returns, they are in the queues of those of this node.
---@async
---@param ... any
function Channel:publish(...)
    local channel = assert(self.channel)
    skynet.call(manager, "lua", "PUB", channel, core.pack(self.__pack(...)))
end

--- From now on messages of the channel come to `dispatch`.
---@async
function Channel:subscribe()
    local channel = assert(self.channel)
    if self.__subscribe then return end
    if skynet.call(manager, "lua", "SUB", channel) then
        -- Only the node that made the channel knows whether it is there.
        error(string.format("there is no channel %x", channel))
    end
    subscribed[channel] = self
    self.__subscribe = true
end

--- From now on they don't.
function Channel:unsubscribe()
    if not self.__subscribe then return end
    skynet.send(manager, "lua", "USUB", self.channel)
    self.__subscribe = nil
    if subscribed[self.channel] == self then subscribed[self.channel] = nil end
end

--- A channel: the one of `conf.channel`, or a new one.
---@async
---@param conf { channel: integer?, dispatch: function?, pack: function?, unpack: function? }?
---@return skynet.multicast.Channel
function multicast.new(conf)
    assert(manager, "Init first")
    conf = conf or {}
    return setmetatable({
        channel = conf.channel or skynet.call(manager, "lua", "NEW"),
        dispatch = conf.dispatch,
        __pack = conf.pack or skynet.pack,
        __unpack = conf.unpack or skynet.unpack,
    }, Channel)
end

--- Closes the package once its values are out, also when they can't be had.
local function unpacked(package, ok, ...)
    core.close(package)
    if ok then return ... end
    error((...), 0)
end

skynet.register_protocol {
    name = "multicast",
    id = skynet.PTYPE_MULTICAST,
    -- The channel says how its messages are read, and is known only when one is dispatched.
    unpack = core.unpack,
    dispatch = function(id, source, package, data, size)
        skynet.ignoreret()
        local channel = subscribed[id]
        local dispatch = channel and channel.dispatch
        if package == data then
            -- The message is the data, and goes as any message does.
            if dispatch then dispatch(channel, source, channel.__unpack(data, size)) end
        elseif dispatch then
            dispatch(channel, source, unpacked(package, pcall(channel.__unpack, data, size)))
        else
            core.close(package)
        end
    end,
}

skynet.init(function() manager = skynet.uniqueservice "multicastd" end)

return multicast
