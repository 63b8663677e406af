--- What one connection of a cluster has to send, and in which order.
---
--- A *source* sends units, each a frame or a large message: a first frame and its parts. What one source sends goes out in its order. A
--- small unit goes at once, in front of all parts, unless its source has something large in front of it. Parts of several sources take
--- turns, and so many of them lie in the socket at a time that it says when they are gone; the rest waits here, as the message it is: a
--- part is made when it is sent.
local skynet = require "skynet"
local driver = require "skynet.socketdriver"
local native = require "skein.cluster"

local queued = native.queued

--- Bytes of a part.
local PART <const> = 0x8000

--- From so many bytes in the socket on nothing is added: its warning has been sent, so the word that all is gone will come.
local LIMIT <const> = 1 << 20

---@class skein.cluster.Unit
---@field frame string
---@field message lightuserdata?  of a large one
---@field size integer?
---@field session integer?
---@field response boolean?
---@field from integer?  what follows was not sent; the frame is sent when `begun`
---@field begun boolean?
---@field cancelled boolean?  nothing of it is to be sent, unless it was begun

---@class skein.cluster.Lane
---@field source any
---@field [integer] skein.cluster.Unit
---@field first integer
---@field last integer

---@class skein.cluster.Output
---@field fd integer
---@field lanes table<any, skein.cluster.Lane>  sources whose units must not pass what is in the socket
---@field ring skein.cluster.Lane[]  those with units, in the order of their turns
---@field first integer
---@field last integer
---@field refused boolean?  the socket did not take something: what follows makes no sense any more
local Output = {}
Output.__index = Output

---@param fd integer
---@return skein.cluster.Output
local function new(fd) return setmetatable({ fd = fd, lanes = {}, ring = {}, first = 1, last = 0 }, Output) end

--- Puts a lane behind those whose turn comes first.
local function enter(self, lane)
    self.last = self.last + 1
    self.ring[self.last] = lane
end

--- Lets go of the message of a unit.
local function drop(unit)
    if unit.message then skynet.trash(unit.message, unit.size) end
    unit.message = nil
end

--- Takes out what a lane has next: a frame, or a part and its size. Nothing: the lane is empty.
---@return string|lightuserdata|nil
---@return integer?
local function take(lane)
    while lane.first <= lane.last do
        local unit = lane[lane.first]
        local data, length
        if unit.begun then
            data, length = native.part(unit.message, unit.size, unit.from, unit.session, unit.response)
            unit.from = unit.from + PART
        elseif not unit.cancelled then
            unit.begun = true
            data = unit.frame
        end
        if not data or not unit.message or unit.from >= unit.size then
            drop(unit)
            lane[lane.first] = nil
            lane.first = lane.first + 1
        end
        if data then return data, length end
    end
end

--- Sends parts in turns until the socket has enough, or nothing is left.
function Output:pump()
    local ring, fd = self.ring, self.fd
    while self.first <= self.last do
        if (queued(fd) or 0) >= LIMIT then return end
        local lane = ring[self.first]
        ring[self.first] = nil
        self.first = self.first + 1
        local data, length = take(lane)
        if data then
            if not driver.lsend(fd, data, length) then self.refused = true end
            if lane.first <= lane.last then enter(self, lane) end
        end
    end
    if next(self.lanes) and queued(fd) == 0 then self.lanes = {} end
end

--- Puts a unit into the lane of its source.
local function queue(self, source, unit)
    local lane = self.lanes[source]
    if not lane then
        lane = { first = 1, last = 0 }
        if source ~= nil then self.lanes[source] = lane end
    end
    lane.last = lane.last + 1
    lane[lane.last] = unit
    if lane.first == lane.last then enter(self, lane) end
    self:pump()
    if not unit.begun then return unit end
end

--- Sends a frame, now or later. `source` nil: its order does not matter.
---@param source any
---@param frame string
---@return skein.cluster.Unit?  if it may still be cancelled
function Output:send(source, frame)
    local lane = self.lanes[source]
    if lane and lane.first > lane.last and queued(self.fd) == 0 then
        -- What it must not pass is gone.
        self.lanes[source] = nil
        lane = nil
    end
    if lane then return queue(self, source, { frame = frame }) end
    if not driver.send(self.fd, frame) then self.refused = true end
end

--- Sends a large message behind the frame that announces it. Takes the message.
---@param source any
---@param frame string
---@param message lightuserdata
---@param size integer
---@param session integer
---@param response boolean
---@return skein.cluster.Unit?  if it may still be cancelled
function Output:large(source, frame, message, size, session, response)
    local unit = { frame = frame, message = message, size = size, session = session, response = response, from = 0 }
    return queue(self, source, unit)
end

--- The connection is over: lets go of everything.
function Output:clear()
    for i = self.first, self.last do
        local lane = self.ring[i]
        for k = lane.first, lane.last do
            drop(lane[k])
        end
    end
    self.ring, self.lanes, self.first, self.last = {}, {}, 1, 0
end

return new
